//! A seeded simulation: a provider's and a joiner's real session machine, a model network between
//! them, time that jumps from event to event.
//!
//! A seed draws the state, the timing and the faults. Whatever happens, the joiner publishes exactly
//! the provider's state or nothing, both sides end in bounded time, and without faults both succeed.

mod joiner;
mod network;
mod provider;
mod random;
mod state;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use longhaul_core::id::{ClusterId, Epoch, ItemId, Lane, MemberId, Token, TransferId};
use longhaul_core::integrity::Integrity;
use longhaul_core::reason::{Reason, Side};
use longhaul_core::session::{Command, Config, Session};
use longhaul_core::time::Instant;
use longhaul_core::wire::{ChunkLen, FRAME_MAX, Frame};

use joiner::Joiner;
use network::{Delivery, Network};
use provider::Provider;
pub use random::Random;
use state::State;

/// The machine under test, with a window small enough to fill.
pub(crate) type Machine = Session<4, 64>;

const STALL: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Which faults a seed has drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A connection is cut at this time.
    pub cut_at: Option<u64>,
    /// Nothing is delivered any more from this time on, on live connections.
    pub silent_at: Option<u64>,
    /// One delivery in so many has a flipped bit.
    pub flip_one_in: Option<u64>,
    /// One read at the provider in so many fails.
    pub read_error_one_in: Option<u64>,
    /// One write at the joiner in so many fails.
    pub write_error_one_in: Option<u64>,
}

impl Faults {
    fn draw(random: &mut Random) -> Self {
        let mut faults = Self::default();
        match random.below(10) {
            0 | 1 => faults.cut_at = Some(random.below(400_000_000)),
            2 => faults.silent_at = Some(random.below(400_000_000)),
            3 | 4 => faults.flip_one_in = Some(20 + random.below(2000)),
            5 => faults.read_error_one_in = Some(1 + random.below(100)),
            6 => faults.write_error_one_in = Some(1 + random.below(100)),
            _ => {}
        }
        faults
    }

    const fn any(&self) -> bool {
        self.cut_at.is_some()
            || self.silent_at.is_some()
            || self.flip_one_in.is_some()
            || self.read_error_one_in.is_some()
            || self.write_error_one_in.is_some()
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The joiner has published.
    pub published: bool,
    /// Why the provider failed, if it did.
    pub provider: Option<Reason>,
    /// Why the joiner failed, if it did.
    pub joiner: Option<Reason>,
    /// Items sent again.
    pub retries: u64,
    /// A hash over everything that happened, in order.
    pub trace: u64,
}

/// Something that will happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Deliver { lane: usize, to: Side },
    LaneUp { side: Side, lane: u16 },
    Tick { side: Side },
    Surveyed,
    ReadDone { lane: Lane, id: ItemId, offset: u64, len: u32 },
    Closed { id: ItemId },
    Begun,
    Opened { id: ItemId },
    Landed { id: ItemId, matched: bool },
    Synced,
    Installed,
}

/// What is to come, in the order of time; what is due at one time comes in the order it was put in.
#[derive(Default)]
pub(crate) struct Agenda {
    now: u64,
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    next: u64,
}

impl Agenda {
    pub(crate) fn after(&mut self, nanos: u64, event: Event) {
        self.at(self.now + nanos, event);
    }

    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.heap.push(Reverse((time.max(self.now), self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    fn pop(&mut self) -> Option<Event> {
        let Reverse((time, number)) = self.heap.pop()?;
        self.now = time;
        self.events.remove(&number)
    }

    pub(crate) const fn now(&self) -> Instant {
        Instant::from_nanos(self.now)
    }
}

/// Runs one seed.
///
/// # Panics
/// If a promise is broken; the message names the seed.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let faults = Faults::draw(&mut random);
    run_with(seed, faults)
}

/// Runs one seed with faults of one's own choosing.
///
/// # Panics
/// If a promise is broken; the message names the seed.
#[must_use]
pub fn run_with(seed: u64, faults: Faults) -> Outcome {
    let mut world = World::new(seed, faults);
    world.run();
    world.judge()
}

struct World {
    seed: u64,
    faults: Faults,
    random: Random,
    agenda: Agenda,
    network: Network,
    provider: Provider,
    joiner: Joiner,
    dialler: Side,
    trace: u64,
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let state = State::draw(&mut random);
        let integrity = [Integrity::Crc32c, Integrity::Crc32c, Integrity::Blake3][random.below(3) as usize];
        let dialler = if random.below(2) == 0 { Side::Joiner } else { Side::Provider };
        let chunk = ChunkLen::new(1 << (12 + random.below(8))).expect("a power of two in range");
        let config = |side, member| Config {
            side,
            member: MemberId([member; 16]),
            cluster: ClusterId::default(),
            transfer: TransferId([3; 16]),
            epoch: Epoch(0),
            token: Token([4; 16]),
            integrity,
            lanes: 1 + (seed % 3) as u16,
            chunk,
            read_depth: 1 + (seed % 4) as u8,
            max_retries: 3,
            stall_timeout: STALL,
            handshake_timeout: HANDSHAKE,
        };
        let (give, take) = (config(Side::Provider, 1), config(Side::Joiner, 2));
        Self {
            seed,
            faults,
            agenda: Agenda::default(),
            network: Network::new(),
            provider: Provider::new(give, dialler == Side::Provider, state.clone(), integrity),
            joiner: Joiner::new(take, dialler == Side::Joiner, state, integrity),
            random,
            dialler,
            trace: 0,
        }
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace.rotate_left(5) ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn run(&mut self) {
        self.network.connect(0);
        self.drain();
        if let Some(time) = self.faults.cut_at {
            self.network.cut_at(time);
        }
        if let Some(time) = self.faults.silent_at {
            self.network.silent_at(time);
        }
        let mut steps = 0_u64;
        while let Some(event) = self.agenda.pop() {
            steps += 1;
            assert!(steps < 5_000_000, "seed {}: a livelock", self.seed);
            self.note(self.agenda.now().as_nanos());
            self.step(&event);
            self.drain();
            if self.provider.is_over() && self.joiner.is_over() {
                break;
            }
        }
    }

    fn step(&mut self, event: &Event) {
        let now = self.agenda.now();
        match *event {
            Event::Deliver { lane, to } => self.deliver(lane, to),
            Event::LaneUp { side, lane } => {
                let machine = self.machine(side);
                if let Some(machine) = machine {
                    machine.handle_lane_up(Lane(lane), now);
                }
            }
            Event::Tick { side } => {
                if let Some(machine) = self.machine(side) {
                    machine.handle_timeout(now);
                }
            }
            Event::Surveyed => self.provider.surveyed(now),
            Event::ReadDone { lane, id, offset, len } => {
                let fails = self.faults.read_error_one_in.is_some_and(|n| self.random.below(n) == 0);
                self.provider.read_done(lane, id, offset, len, fails, now);
            }
            Event::Closed { id } => self.provider.closed(id, now),
            Event::Begun => self.joiner.with(|machine| machine.handle_begun(now)),
            Event::Opened { id } => self.joiner.with(|machine| machine.handle_opened(id, now)),
            Event::Landed { id, matched } => self.joiner.landed(id, matched, now),
            Event::Synced => self.joiner.with(|machine| machine.handle_durable(now)),
            Event::Installed => self.joiner.install(),
        }
    }

    fn machine(&mut self, side: Side) -> Option<&mut Machine> {
        match side {
            Side::Provider => self.provider.machine.as_mut(),
            Side::Joiner => self.joiner.machine.as_mut(),
        }
    }

    fn deliver(&mut self, lane: usize, to: Side) {
        match self.network.deliver(lane, to, &self.faults, &mut self.random, &mut self.agenda) {
            Delivery::Nothing => {}
            Delivery::Ended => {
                if let Some(machine) = self.machine(to).filter(|machine| !machine.is_over()) {
                    machine.handle_lane_lost(Lane(lane as u16));
                }
            }
            Delivery::Bytes(bytes) => {
                self.note(bytes.len() as u64);
                let (now, random, agenda) = (self.agenda.now(), &mut self.random, &mut self.agenda);
                match to {
                    Side::Provider => self.provider.receive(lane, &bytes, now, random, agenda),
                    Side::Joiner => {
                        let fails = self.faults.write_error_one_in.is_some_and(|n| random.below(n) == 0);
                        self.joiner.receive(lane, &bytes, fails, now, random, agenda);
                    }
                }
            }
        }
    }

    /// One mutation, then drain: both machines, until neither has anything to say.
    fn drain(&mut self) {
        let now = self.agenda.now();
        loop {
            let mut moved = self.provider.drain(now, &mut self.random, &mut self.agenda);
            moved |= self.joiner.drain(now, &mut self.random, &mut self.agenda);
            for lane in self.provider.dials.drain(..).chain(self.joiner.dials.drain(..)) {
                self.network.connect(lane.index());
                let delay = self.random.below(3_000_000);
                let other = self.dialler.peer();
                self.agenda.after(delay, Event::LaneUp { side: self.dialler, lane: lane.0 });
                self.agenda
                    .after(delay + self.random.below(3_000_000), Event::LaneUp { side: other, lane: lane.0 });
                moved = true;
            }
            moved |= self.transmit(Side::Provider);
            moved |= self.transmit(Side::Joiner);
            if !moved {
                break;
            }
        }
        for side in [Side::Provider, Side::Joiner] {
            if let Some(deadline) = self.machine(side).and_then(|machine| machine.poll_timeout()) {
                let due = match side {
                    Side::Provider => &mut self.provider.tick,
                    Side::Joiner => &mut self.joiner.tick,
                };
                if *due != Some(deadline) {
                    *due = Some(deadline);
                    self.agenda.at(deadline.as_nanos(), Event::Tick { side });
                }
            }
        }
    }

    fn transmit(&mut self, from: Side) -> bool {
        let mut moved = false;
        let mut out = vec![0; FRAME_MAX];
        for lane in 0..4 {
            while self.network.has_room(lane, from) {
                let (len, payload) = match from {
                    Side::Provider => self.provider.transmit(lane, &mut out),
                    Side::Joiner => self.joiner.transmit(lane, &mut out),
                };
                if len == 0 {
                    break;
                }
                moved = true;
                let mut bytes = out[..len].to_vec();
                bytes.extend_from_slice(&payload);
                // A lane attaches in its first frame, which the listener has read already.
                if lane > 0 && longhaul_attach(&bytes) {
                    continue;
                }
                self.network.send(lane, from, &bytes, &mut self.random, &mut self.agenda);
            }
        }
        moved
    }

    fn judge(self) -> Outcome {
        let Self { seed, faults, provider, joiner, agenda, trace, .. } = self;
        let context = format!("seed {seed}, {faults:?}");
        assert!(provider.is_over() && joiner.is_over(), "{context}: a side hangs");
        let reason = |machine: &Option<Machine>| {
            machine.as_ref().and_then(|machine| machine.failure().map(|failure| failure.reason()))
        };
        let outcome = Outcome {
            published: joiner.published,
            provider: reason(&provider.machine),
            joiner: reason(&joiner.machine),
            retries: joiner.retries,
            trace,
        };
        if joiner.published {
            joiner.assert_complete(&context);
        } else {
            assert!(
                outcome.joiner.is_some() || joiner.machine.is_none(),
                "{context}: nothing published, no reason"
            );
        }
        if !faults.any() {
            let why = (&provider.machine, &joiner.machine);
            let failures =
                (why.0.as_ref().and_then(Session::failure), why.1.as_ref().and_then(Session::failure));
            assert!(
                joiner.published && outcome.provider.is_none(),
                "{context}: failed without a fault: {failures:?}"
            );
        }
        if faults.flip_one_in.is_none() {
            let failure = |machine: &Option<Machine>| machine.as_ref().and_then(Session::failure);
            for failure in [failure(&provider.machine), failure(&joiner.machine)] {
                let broken = failure.filter(|failure| failure.reason() == Reason::Protocol);
                assert_eq!(broken, None, "{context}: nobody broke the protocol");
            }
        }
        let bound = 4 * STALL.as_nanos() as u64 + 600_000_000_000;
        assert!(agenda.now().as_nanos() < bound, "{context}: it took too long");
        outcome
    }
}

fn longhaul_attach(bytes: &[u8]) -> bool {
    parse(bytes).is_some_and(|(frame, _)| matches!(frame, Frame::Attach(_)))
}

/// The first frame of `bytes`, if it is whole, and its length.
fn parse(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    use longhaul_core::wire::{HEADER_LEN, Header};
    let header = Header::parse(bytes.first_chunk::<HEADER_LEN>()?).ok()?;
    let end = HEADER_LEN + header.len as usize;
    let body = bytes.get(HEADER_LEN..end)?;
    Some((Frame::parse(&header, body).ok()?, end))
}

/// Commands that both sides carry out alike.
fn dialled(command: Command, dials: &mut Vec<Lane>) -> Option<Command> {
    match command {
        Command::Dial { lane } => {
            dials.push(lane);
            None
        }
        other => Some(other),
    }
}
