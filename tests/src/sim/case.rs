//! One case: who moves what to whom, over which wires, and what goes wrong. A seed draws one; a line
//! of a scenario file writes one down.

use longhaul_core::integrity::Integrity;
use longhaul_core::reason::Reason;
use longhaul_core::wire::ChunkLen;
use longhaul_state::source::Shape;

use super::Random;
use super::faults::{Fault, Rates, Timed};
use super::network::Wires;
use super::state::Size;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;

/// A transfer: hosts are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Give {
    pub(crate) provider: usize,
    pub(crate) joiner: usize,
}

/// A session: all transfers between two hosts, whichever way they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) dialler: usize,
    pub(crate) listener: usize,
    /// The transfers that the dialler gives, a task each.
    pub(crate) gives: Vec<usize>,
    /// Those that it takes.
    pub(crate) takes: Vec<usize>,
}

/// How a case must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Every joiner publishes.
    Published,
    /// No joiner publishes, and this is the reason that each gives; nobody tries again.
    Fails(Reason),
}

/// All that decides a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// Of everything that the case leaves to chance: contents, delays, where bytes are split.
    pub seed: u64,
    pub(crate) members: usize,
    pub(crate) transfers: Vec<Give>,
    pub(crate) joiner_dials: bool,
    pub(crate) size: Size,
    pub(crate) lanes: u16,
    pub(crate) chunk: ChunkLen,
    pub(crate) reads: u8,
    pub(crate) integrity: Integrity,
    /// The destinations hold an old state.
    pub(crate) old: bool,
    /// An old state may be replaced.
    pub(crate) replace: bool,
    pub(crate) wires: Wires,
    pub(crate) rates: Rates,
    pub(crate) faults: Vec<Timed>,
    /// Faults stop then.
    pub(crate) calm: u64,
    pub(crate) expected: Expected,
    /// At most so often may a plan be begun, all members together.
    pub(crate) attempts: Option<u64>,
    /// At least so many connections must have been replaced, and data lanes lost alone, at the dialler.
    pub(crate) resumes: u64,
    pub(crate) loses: u64,
    /// At least so many items must have been gone on with, states seen through.
    pub(crate) keeps: u64,
    pub(crate) recovers: u64,
    /// A session that lost its connection goes on over a new one.
    pub(crate) resume: bool,
    /// After so many items a joiner makes durable what it has; 0: only at the end.
    pub(crate) checkpoint_every: u64,
    /// After so many items a joiner's journal is brought up to date; 0: it keeps none.
    pub(crate) journal_every: u64,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            name: String::new(),
            seed: 1,
            members: 2,
            transfers: vec![Give { provider: 0, joiner: 1 }],
            joiner_dials: true,
            size: Size { shape: Shape::Directory, files: 10, big: 0, links: 2 },
            lanes: 2,
            chunk: ChunkLen::new(64 << 10).expect("a power of two in range"),
            reads: 2,
            integrity: Integrity::Crc32c,
            old: false,
            replace: true,
            wires: Wires { latency: 2 * MILLISECOND, bandwidth: 1 << 30 },
            rates: Rates::default(),
            faults: Vec::new(),
            calm: 2 * SECOND,
            expected: Expected::Published,
            attempts: None,
            resumes: 0,
            loses: 0,
            keeps: 0,
            recovers: 0,
            resume: true,
            checkpoint_every: 0,
            journal_every: 0,
        }
    }
}

impl Case {
    /// The case that a seed draws.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let mut case = Self { name: format!("seed {seed}"), seed, ..Self::default() };
        case.draw_members(random);
        case.draw_state(random);
        case.lanes = random.within(1, 3) as u16;
        case.reads = random.within(1, 4) as u8;
        case.old = random.one_in(3);
        case.resume = !random.one_in(10);
        case.checkpoint_every = if random.one_in(4) { random.within(1, 30) } else { 0 };
        case.wires = Wires {
            latency: random.pick(&[50_000, 500_000, 2 * MILLISECOND, 20 * MILLISECOND]),
            bandwidth: random.pick(&[1 << 20, 64 << 20, 1 << 30]),
        };
        if case.size.big > 0 {
            case.wires.bandwidth = 1 << 30;
        }
        if !random.one_in(4) {
            case.draw_faults(random);
        }
        case.journal_every = if random.one_in(2) { random.within(1, 20) } else { 0 };
        if case.journal_every > 0 && random.one_in(5) {
            case.draw_restarts(random);
        }
        let last = case.faults.iter().map(|timed| timed.at + timed.fault.lasts()).max().unwrap_or(0);
        case.calm = last.max(SECOND);
        if case.is_faultless() {
            case.attempts = Some(case.plans());
        }
        case
    }

    fn draw_members(&mut self, random: &mut Random) {
        self.joiner_dials = random.one_in(2);
        if random.one_in(3) {
            self.members = random.within(2, 5) as usize;
            let extra = random.below(4);
            for _ in 0..extra {
                let (a, b) = (random.below(self.members as u64), random.below(self.members as u64));
                let give = Give { provider: a as usize, joiner: b as usize };
                if a != b {
                    self.transfers.push(give);
                }
            }
        }
    }

    fn draw_state(&mut self, random: &mut Random) {
        let several = self.transfers.len() as u64;
        self.size.files = match random.below(8) {
            0 => random.below(3),
            1..6 => random.below(25),
            _ => random.below(160),
        } / several;
        self.size.links = random.below(4);
        self.size.big = if random.one_in(12) { random.within(1, 2) } else { 0 };
        match random.below(12) {
            0 => self.size.shape = Shape::File,
            1 => self.size.shape = Shape::Stream,
            _ => {}
        }
        self.integrity =
            random.pick(&[Integrity::Crc32c, Integrity::Crc32c, Integrity::Crc32c, Integrity::None]);
        if self.size.big == 0 && self.size.files < 20 && random.one_in(4) {
            self.integrity = Integrity::Blake3;
        }
        let least = if self.size.big > 0 { 18 } else { 12 };
        self.chunk = ChunkLen::new(1 << random.within(least, 20)).expect("a power of two in range");
    }

    fn draw_faults(&mut self, random: &mut Random) {
        let count = random.within(1, 4);
        for _ in 0..count {
            match random.below(16) {
                // Without checksums nobody can tell that bits flipped.
                0 if self.integrity == Integrity::None => {}
                0 => self.rates.flips = random.within(20, 2000),
                1 => self.rates.read_errors = random.within(5, 500),
                2 => self.rates.write_errors = random.within(5, 500),
                3 => self.rates.sync_errors = random.within(1, 20),
                _ => {
                    let fault = self.draw_fault(random);
                    self.faults.push(fault);
                }
            }
        }
        self.faults.sort_by_key(|timed| timed.at);
    }

    fn draw_fault(&self, random: &mut Random) -> Timed {
        let Give { provider, joiner } = random.pick(&self.transfers);
        let host = random.pick(&[provider, joiner]);
        // Most transfers take some milliseconds; some faults outlast every patience.
        let at = 1 << random.within(20, 28);
        let at = random.below(at);
        let nanos = 1 << random.within(20, 36);
        let nanos = random.below(nanos);
        let fault = match random.below(12) {
            0..5 => Fault::Cut { between: (provider, joiner), lane: random.below(4) as usize },
            5 => Fault::Block { from: provider, to: joiner, nanos },
            6 => Fault::Block { from: joiner, to: provider, nanos },
            7 => Fault::Kill { host, nanos: nanos / 8 },
            8 => Fault::Crash { host, nanos: nanos / 8 },
            9 => Fault::Sleep { host, nanos },
            10 => Fault::Leap { host, nanos },
            _ => Fault::Freeze { host, nanos },
        };
        Timed { at, fault }
    }

    /// What a journal must stand: processes that end, and what is not as it was when they start again.
    fn draw_restarts(&mut self, random: &mut Random) {
        let Give { provider, joiner } = random.pick(&self.transfers);
        if random.one_in(2) {
            self.rates.deaths = random.within(5, 200);
        }
        let mut at = 0;
        for _ in 0..random.below(5) {
            at += random.below(60 * MILLISECOND);
            let nanos = 1 + random.below(20 * MILLISECOND);
            let host = random.pick(&[provider, joiner]);
            let fault = match random.below(6) {
                0 => Fault::Change { nanos },
                1 => Fault::Snapshot { host: joiner },
                2 => Fault::RollBack { host: joiner, nanos },
                3 => Fault::Older { host: joiner, nanos: 10 * nanos },
                4 => Fault::Kill { host, nanos },
                _ => Fault::Crash { host, nanos },
            };
            self.faults.push(Timed { at, fault });
        }
        self.faults.sort_by_key(|timed| timed.at);
    }

    /// Whether nothing goes wrong.
    #[must_use]
    pub fn is_faultless(&self) -> bool {
        self.faults.is_empty() && self.rates == Rates::default()
    }

    /// The name of a transfer's destination.
    pub(crate) fn destination(transfer: usize) -> Vec<u8> {
        format!("state{transfer}").into_bytes()
    }

    /// The sessions, in the order of their first transfer, which also says who dials.
    pub(crate) fn sessions(&self) -> Vec<Pair> {
        let mut sessions: Vec<Pair> = Vec::new();
        for (n, Give { provider, joiner }) in self.transfers.iter().copied().enumerate() {
            let (dialler, listener) = if self.joiner_dials { (joiner, provider) } else { (provider, joiner) };
            let ends = [(dialler, listener), (listener, dialler)];
            let known = sessions.iter().position(|pair| ends.contains(&(pair.dialler, pair.listener)));
            let at = known.unwrap_or_else(|| {
                sessions.push(Pair { dialler, listener, gives: Vec::new(), takes: Vec::new() });
                sessions.len() - 1
            });
            let pair = &mut sessions[at];
            if pair.dialler == provider { &mut pair.gives } else { &mut pair.takes }.push(n);
        }
        sessions
    }

    /// The sessions that a host dials, each group one plan: all from which it takes, and each other alone.
    pub(crate) fn dialled_by(&self, host: usize) -> Vec<Vec<usize>> {
        let sessions = self.sessions();
        let own = sessions.iter().enumerate().filter(|(_, pair)| pair.dialler == host);
        let (takes, gives): (Vec<_>, Vec<_>) = own.partition(|(_, pair)| !pair.takes.is_empty());
        let one: Vec<usize> = takes.into_iter().map(|(n, _)| n).collect();
        let mut plans: Vec<Vec<usize>> = gives.into_iter().map(|(n, _)| vec![n]).collect();
        if !one.is_empty() {
            plans.push(one);
        }
        plans
    }

    /// Plans of all members.
    pub(crate) fn plans(&self) -> u64 {
        (0..self.members).map(|host| self.dialled_by(host).len() as u64).sum()
    }

    /// Whether all that goes wrong is a connection that breaks, or a short silence: then a session that
    /// both sides know goes on, and nothing fails.
    pub(crate) fn is_gentle(&self) -> bool {
        let gentle = |timed: &Timed| match timed.fault {
            Fault::Cut { .. } => true,
            Fault::Block { nanos, .. } | Fault::Sleep { nanos, .. } | Fault::Freeze { nanos, .. } => {
                nanos < 5 * SECOND
            }
            _ => false,
        };
        self.resume && self.rates == Rates::default() && self.faults.iter().all(gentle)
    }
}
