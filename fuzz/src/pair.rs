//! Two honest sessions, and an adversary who carries their frames.
//!
//! It delivers in any order of lanes, holds writers up, fails dials and cuts connections. That much is
//! *gentle*: it is what networks do, and the state must arrive. It also drops, doubles, swaps and flips
//! frames, flips payloads, and lets time run out: then the session may fail.
//!
//! In every case what is published is the provider's state, and once the adversary has no more to say,
//! every session ends.

use std::collections::VecDeque;
use std::time::Duration;

use longhaul_core::id::{ClusterId, Epoch, ItemId, Lane, MemberId, Token, TransferId};
use longhaul_core::integrity::Integrity;
use longhaul_core::item::ItemName;
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{Config, SessionError, State, capability, refusal};
use longhaul_core::time::Instant;
use longhaul_core::wire::{ChunkLen, FRAME_MAX, Failed, Frame, HEADER_LEN, Header, Init, Roles};

use crate::bytes::Choices;
use crate::member::{Given, LANES, Machine, Member, Packet};
use crate::state::any_state;

const DIALLER: usize = 0;
const LISTENER: usize = 1;
/// What is done at once in a round, a side and a lane each.
const ROUND: usize = 16;
/// Rounds after which a session that does not end is said to hang.
const ROUNDS_MAX: usize = 20_000;

/// A connection: what is on its way to either side, and who has closed it.
#[derive(Default)]
struct Connection {
    to: [VecDeque<Packet>; 2],
    closed: [bool; 2],
    /// It is cut: what is under way may still come, nothing more is taken.
    cut: bool,
}

struct Pair {
    now: Instant,
    /// The listener's member comes with the first Init.
    members: [Option<Member>; 2],
    listener: Option<(Config, Given, bool)>,
    token: Token,
    /// Each side's lanes: their connections.
    lanes: [[Option<usize>; LANES]; 2],
    connections: Vec<Connection>,
    /// Connections of which the listener has not read the first frame.
    accepting: VecDeque<usize>,
    gentle: bool,
}

/// Who they are and what they have, then what the adversary does.
///
/// # Panics
/// If something else than the provider's state is published, if a session hangs, or if a gentle adversary
/// keeps a state from arriving.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut pair = Pair::new(&mut choices);
    while !choices.is_empty() && !pair.is_over() {
        pair.step(&mut choices);
    }
    pair.peace();
    pair.judge();
}

fn config(
    choices: &mut Choices<'_>,
    roles: Roles,
    requests: u16,
    integrity: Integrity,
    resume: bool,
) -> Config {
    Config {
        roles,
        requests: if roles.joins { requests } else { 0 },
        member: MemberId([if roles.provides { 1 } else { 2 }; 16]),
        cluster: ClusterId::default(),
        transfer: TransferId([3; 16]),
        epoch: Epoch(0),
        token: Token([0; 16]),
        capabilities: if resume { capability::ALL } else { capability::ALL & !capability::RESUME },
        integrity,
        lanes: 1 + choices.below(LANES - 1) as u16,
        chunk: choices.pick(&[ChunkLen::MAX, ChunkLen::DEFAULT, ChunkLen::MIN]),
        fresh: true,
        read_depth: 1 + choices.below(3) as u8,
        max_retries: 3,
        stall_timeout: Duration::from_secs(1000),
        handshake_timeout: Duration::from_secs(500),
        seed: 1,
    }
}

impl Pair {
    fn new(choices: &mut Choices<'_>) -> Self {
        let flags = choices.byte();
        let dialler_joins = flags & 1 != 0;
        let both = flags & 0b1110 == 0b1110;
        let resume = flags & 0b111_0000 != 0b111_0000;
        // The joiner has something of an earlier run.
        let holds = flags & 0b1110 == 0b0110;
        let integrity = if flags & 0b1000_0000 == 0 { Integrity::Crc32c } else { Integrity::Blake3 };
        let requests = 1 + choices.below(3) as u16;
        let roles = |joins| match (both, joins) {
            (true, _) => Roles::BOTH,
            (false, true) => Roles::JOINER,
            (false, false) => Roles::PROVIDER,
        };
        let mut side = |joins| {
            let mut config = config(choices, roles(joins), requests, integrity, resume);
            config.member = MemberId([1 + u8::from(joins); 16]);
            config.fresh = !holds;
            let unknown = choices.yes();
            let tasks = if config.roles.provides { requests } else { 0 };
            let states = (0..tasks).map(|_| (choices.below(8) != 7).then(|| any_state(choices))).collect();
            (config, states, unknown)
        };
        let dialler = side(dialler_joins);
        let listener = side(!dialler_joins);
        let now = Instant::ZERO;
        let machine = Machine::dial(dialler.0, now);
        let member = Member::new(machine, now, integrity, dialler.1, dialler.2, !dialler.0.fresh);
        let mut pair = Self {
            now,
            members: [Some(member), None],
            listener: Some(listener),
            token: Token([0; 16]),
            lanes: [[None; LANES]; 2],
            connections: vec![Connection::default()],
            accepting: VecDeque::from([0]),
            gentle: resume,
        };
        pair.lanes[DIALLER][0] = Some(0);
        pair.settle(DIALLER);
        pair
    }

    fn is_over(&self) -> bool {
        let over = |member: &Option<Member>| member.as_ref().is_none_or(|member| member.machine.is_over());
        over(&self.members[DIALLER]) && over(&self.members[LISTENER])
    }

    /// Drains a side and carries its closings and frames out.
    fn settle(&mut self, side: usize) {
        self.close_lanes(side);
        self.flush(side);
    }

    fn close_lanes(&mut self, side: usize) {
        let Some(member) = &mut self.members[side] else { return };
        member.drain();
        for lane in std::mem::take(&mut member.closed) {
            if let Some(at) = self.lanes[side][lane.index()].take() {
                self.connections[at].closed[side] = true;
                self.connections[at].to[side].clear();
            }
        }
    }

    fn flush(&mut self, side: usize) {
        let Some(member) = &mut self.members[side] else { return };
        for (lane, packet) in std::mem::take(&mut member.sent) {
            let Some(at) = self.lanes[side][lane.index()] else { continue };
            let connection = &mut self.connections[at];
            if !connection.cut && !connection.closed[1 - side] {
                connection.to[1 - side].push_back(packet);
            }
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let what = choices.byte();
        let side = usize::from(what >> 7);
        let lane = Lane(u16::from(what >> 5) % LANES as u16);
        match what & 31 {
            0..=5 => drop(self.deliver(side, lane)),
            6..=11 => drop(self.work(side, choices)),
            12..=14 => drop(self.round()),
            15 | 16 => {
                if let Some(member) = &mut self.members[side] {
                    member.blocked[lane.index()] ^= true;
                    self.settle(side);
                }
            }
            17 => drop(self.dial(true)),
            18 => drop(self.dial(false)),
            19 => drop(self.accept()),
            20 | 21 => self.cut(side, lane, choices),
            22 => self.pass(Duration::from_millis(100)),
            23 => {
                if let Some(member) = &mut self.members[side] {
                    member.machine.handle_durable_before(ItemId(choices.byte().into()), self.now);
                    self.settle(side);
                }
            }
            24 => self.fail(side, choices),
            _ => self.harm(side, lane, choices),
        }
    }

    /// The next thing on a lane: a payload, a frame, or its end.
    fn deliver(&mut self, side: usize, lane: Lane) -> bool {
        let Some(at) = self.lanes[side][lane.index()] else { return false };
        let Some(member) = &mut self.members[side] else { return false };
        let connection = &mut self.connections[at];
        if member.is_arriving(lane) {
            member.arrive(lane, false);
        } else if let Some(packet) = connection.to[side].pop_front() {
            member.receive(lane, packet);
        } else if connection.cut || connection.closed[1 - side] {
            connection.closed[side] = true;
            self.lanes[side][lane.index()] = None;
            member.lane_gone(lane);
            member.machine.handle_lane_lost(lane, self.now);
        } else {
            return false;
        }
        self.settle(side);
        true
    }

    fn work(&mut self, side: usize, choices: &mut Choices<'_>) -> bool {
        let Some(member) = &mut self.members[side] else { return false };
        let worked = member.work(choices);
        self.settle(side);
        worked
    }

    /// A little of everything.
    fn round(&mut self) -> bool {
        let mut moved = self.accept();
        moved |= self.dial(true);
        for side in [DIALLER, LISTENER] {
            moved |= (0..ROUND).take_while(|_| self.work(side, &mut Choices::new(&[]))).count() > 0;
            for lane in (0..LANES as u16).map(Lane) {
                moved |= (0..ROUND).take_while(|_| self.deliver(side, lane)).count() > 0;
            }
        }
        moved
    }

    /// Carries out the dialler's oldest dial.
    fn dial(&mut self, succeeds: bool) -> bool {
        let Some(member) = &mut self.members[DIALLER] else { return false };
        if member.dials.is_empty() {
            return false;
        }
        let lane = member.dials.remove(0);
        if succeeds {
            self.connections.push(Connection::default());
            let at = self.connections.len() - 1;
            self.accepting.push_back(at);
            self.lanes[DIALLER][lane.index()] = Some(at);
            if !member.machine.handle_lane_up(lane, self.now) {
                self.lanes[DIALLER][lane.index()] = None;
            }
        } else {
            member.machine.handle_dial_failed(lane, self.now);
        }
        self.settle(DIALLER);
        true
    }

    /// The listener reads a new connection's first frame.
    fn accept(&mut self) -> bool {
        let Some(&at) = self.accepting.front() else { return false };
        let connection = &mut self.connections[at];
        let Some(packet) = connection.to[LISTENER].pop_front() else {
            if connection.cut || connection.closed[DIALLER] {
                connection.closed[LISTENER] = true;
                self.accepting.pop_front();
                return true;
            }
            // Others may have come behind one that is silent.
            self.accepting.rotate_left(1);
            return false;
        };
        self.accepting.pop_front();
        let parsed = packet.frame.split_first_chunk::<HEADER_LEN>().and_then(|(head, body)| {
            let header = Header::parse(head).ok()?;
            Frame::parse(&header, body).ok()
        });
        let admitted = match parsed {
            Some(Frame::Init(init)) => self.admit(at, &init),
            Some(Frame::Attach(attach)) => attach.token == self.token && self.attach(at, attach.lane),
            _ => false,
        };
        if !admitted {
            self.connections[at].closed[LISTENER] = true;
        }
        true
    }

    fn admit(&mut self, at: usize, init: &Init) -> bool {
        let token = Token([self.token.0[0] + 1; 16]);
        let admitted = match (&mut self.members[LISTENER], self.listener.take()) {
            (Some(member), _) => member.machine.handle_resume(init, token, self.now),
            (None, Some((config, given, unknown))) => {
                Machine::accept(Config { token, ..config }, init, self.now).map(|machine| {
                    let member =
                        Member::new(machine, self.now, config.integrity, given, unknown, !config.fresh);
                    self.members[LISTENER] = Some(member);
                })
            }
            (None, None) => Err(SessionError::Gone),
        };
        if let Err(error) = admitted {
            let mut out = [0; FRAME_MAX];
            let len = refusal(&error, Side::Provider, &mut out);
            let packet = Packet { frame: out[..len].to_vec(), payload: Vec::new() };
            self.connections[at].to[DIALLER].push_back(packet);
            return false;
        }
        self.token = token;
        self.close_lanes(LISTENER);
        self.lanes[LISTENER][0] = Some(at);
        self.flush(LISTENER);
        true
    }

    fn attach(&mut self, at: usize, lane: Lane) -> bool {
        let Some(member) = &mut self.members[LISTENER] else { return false };
        if lane.index() >= LANES || self.lanes[LISTENER][lane.index()].is_some() || member.machine.is_over() {
            return false;
        }
        self.lanes[LISTENER][lane.index()] = Some(at);
        if !member.machine.handle_lane_up(lane, self.now) {
            self.lanes[LISTENER][lane.index()] = None;
        }
        self.settle(LISTENER);
        true
    }

    /// Cuts a connection; of what is under way some may still come.
    fn cut(&mut self, side: usize, lane: Lane, choices: &mut Choices<'_>) {
        let Some(at) = self.lanes[side][lane.index()] else { return };
        let connection = &mut self.connections[at];
        connection.cut = true;
        // Whoever was not greeted begins anew, and is another transfer; and nothing is kept for who only said who it is.
        let [dialler, listener] = &self.members;
        self.gentle &= dialler.as_ref().is_some_and(|dialler| dialler.machine.state() != State::Greeting)
            && listener.as_ref().is_some_and(|listener| listener.is_established);
        for to in [DIALLER, LISTENER] {
            let kept = choices.below(8);
            connection.to[to].truncate(kept);
            // Half a payload is none.
            let holds = self.lanes[to][lane.index()] == Some(at);
            if let Some(member) = self.members[to].as_mut().filter(|_| kept == 0 && holds) {
                member.forget_payload(lane);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        for side in [DIALLER, LISTENER] {
            let Some(member) = &mut self.members[side] else { continue };
            member.now = self.now;
            if member.machine.poll_timeout().is_some_and(|at| at <= self.now) {
                member.machine.handle_timeout(self.now);
            }
            self.settle(side);
        }
    }

    fn fail(&mut self, side: usize, choices: &mut Choices<'_>) {
        // Seldom: it ends everything.
        if choices.below(16) != 0 {
            return;
        }
        let Some(member) = &mut self.members[side] else { return };
        self.gentle = false;
        let failed = Failed {
            reason: Reason::Cancelled,
            phase: Phase::Stream,
            side: Side::Joiner,
            offset: None,
            name: ItemName::ROOT,
            message: "enough",
            app_reply: b"",
        };
        member.fail(&failed);
        self.settle(side);
    }

    /// What no network does, or only behind a checksum that is too weak.
    fn harm(&mut self, side: usize, lane: Lane, choices: &mut Choices<'_>) {
        let (how, at) = (choices.byte(), choices.below(4));
        if how & 15 == 0 {
            self.gentle = false;
            return self.pass(Duration::from_secs(400));
        }
        let Some(connection) = self.lanes[side][lane.index()] else { return };
        if let Some(member) =
            self.members[side].as_mut().filter(|member| how & 15 == 1 && member.is_arriving(lane))
        {
            self.gentle = false;
            member.arrive(lane, true);
            return self.settle(side);
        }
        let queue = &mut self.connections[connection].to[side];
        let Some(packet) = queue.get_mut(at) else { return };
        self.gentle = false;
        match how & 7 {
            0 => drop(queue.remove(at)),
            1 => {
                let twin = packet.clone();
                queue.insert(at, twin);
            }
            2 if at > 0 => queue.swap(at - 1, at),
            3 | 4 if !packet.payload.is_empty() => {
                let unit = usize::from(how >> 3) % packet.payload.len();
                packet.payload[unit] ^= 1 << (how >> 5);
            }
            _ => {
                let byte = choices.below(packet.frame.len().min(256));
                packet.frame[byte] ^= 1 << (how >> 5);
            }
        }
    }

    /// The adversary has gone: everything is delivered, everybody works, time passes when nothing else does.
    fn peace(&mut self) {
        for side in [DIALLER, LISTENER] {
            if let Some(member) = &mut self.members[side] {
                member.blocked = [false; LANES];
                self.settle(side);
            }
        }
        for _ in 0..ROUNDS_MAX {
            if self.round() {
                continue;
            }
            let timeouts = self.members.iter().flatten().filter_map(|member| member.machine.poll_timeout());
            let Some(next) = timeouts.min() else { return };
            self.pass(next.since(self.now));
        }
        panic!("it hangs: {:?}", self.states());
    }

    fn states(&self) -> Vec<(State, Option<SessionError>)> {
        let state = |member: &Member| (member.machine.state(), member.machine.failure());
        self.members.iter().flatten().map(state).collect()
    }

    fn judge(&self) {
        assert!(self.is_over(), "nobody waits for ever: {:?}", self.states());
        let [Some(dialler), listener] = &self.members else {
            unreachable!("the dialler is there from the start")
        };
        let Some(listener) = listener else {
            assert!(dialler.published.is_none() && !self.gentle);
            return;
        };
        for (joiner, provider) in [(dialler, listener), (listener, dialler)] {
            assert!(joiner.has_published(provider), "what is published is what the provider has");
            if self.gentle && provider.gives_something() {
                assert!(joiner.published.is_some(), "networks do no harm: {:?}", self.states());
            }
        }
    }
}
