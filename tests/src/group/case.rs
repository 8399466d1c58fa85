//! What one run is given: drawn from a seed, or written down as a scenario.

use longhaul_core::transfer::fetch::{Protocol, Want};
use longhaul_core::transfer::live::Policy;

use super::faults::{Fault, Timed};
use crate::sim::Random;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub(super) name: String,
    pub(super) seed: u64,
    /// Members with a state from the start.
    pub(super) members: usize,
    /// Members that come later, and when each comes.
    pub(super) joiners: Vec<u64>,
    /// All messages in one order.
    pub(super) total: bool,
    /// Captures are scans, and the log is idempotent.
    pub(super) fuzzy: bool,
    /// The longest time of a packet, and between two writes of a member.
    pub(super) latency: u64,
    pub(super) every: u64,
    /// One write in so many is a transaction in two phases; 0: none.
    pub(super) two_phase_one_in: u64,
    /// One message in so many is lost at first, one payload in so many is flipped; 0: none.
    pub(super) lost_one_in: u64,
    pub(super) flips_one_in: u64,
    /// Pieces of the bulk, and how long each takes at most.
    pub(super) pieces: u32,
    pub(super) piece: u64,
    /// How long it takes at most to stage what has come.
    pub(super) staging: u64,
    pub(super) lease: u64,
    pub(super) budget: u64,
    pub(super) log_bytes: u64,
    pub(super) policy: Policy,
    /// How far clocks run off, in thousandths.
    pub(super) skew: u64,
    pub(super) faults: Vec<Timed>,
    pub(super) calm: u64,
    /// Writers stop so long after the calm.
    pub(super) quiet: u64,
    /// By which fetch; `None`: by a live transfer.
    pub(super) protocol: Option<Protocol>,
    pub(super) want: Want,
    /// The channel brings everything once and in order, and nothing again.
    pub(super) strict: bool,
    /// Bytes that a joiner may queue.
    pub(super) queue_bytes: u64,
    /// What is expected beside what the judge wants.
    pub(super) expected: Expected,
}

/// What a scenario expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// At least so many members come to serve, have had a state before, stay with it, epochs abort, outcomes are asked for, joiners are released, prepares travel.
    pub(super) served: u64,
    pub(super) rejoined: u64,
    pub(super) stayed: u64,
    pub(super) aborted: u64,
    pub(super) doubts: u64,
    pub(super) released: u64,
    pub(super) pending: u64,
    /// All serve before writers stop.
    pub(super) while_writing: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            name: "unnamed".into(),
            seed: 1,
            members: 3,
            joiners: vec![20 * MS],
            total: false,
            fuzzy: false,
            latency: MS,
            every: 4 * MS,
            two_phase_one_in: 3,
            lost_one_in: 0,
            flips_one_in: 0,
            pieces: 8,
            piece: 4 * MS,
            staging: MS,
            lease: 100 * MS,
            budget: 10 * MS,
            log_bytes: 1 << 20,
            policy: Policy::LatchNow,
            skew: 0,
            faults: Vec::new(),
            calm: 300 * MS,
            quiet: 300 * MS,
            protocol: None,
            want: Want::One,
            strict: false,
            queue_bytes: 1 << 20,
            expected: Expected::default(),
        }
    }
}

impl Case {
    /// The case of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        let members = random.within(1, 5) as usize;
        let joiners = random.within(1, 7 - members as u64);
        let at_once = random.one_in(3);
        let first = random.within(0, 100) * MS;
        let calm = random.within(150, 600) * MS;
        let lease = random.pick(&[40, 100, 400]) * MS;
        let mut case = Self {
            name: format!("seed {seed}"),
            seed,
            members,
            joiners: (0..joiners).map(|_| if at_once { first } else { random.within(0, 300) * MS }).collect(),
            total: random.one_in(3),
            fuzzy: random.one_in(3),
            latency: random.pick(&[MS / 5, MS, 5 * MS]),
            every: random.pick(&[2 * MS, 10 * MS, 40 * MS]),
            two_phase_one_in: random.pick(&[0, 2, 4]),
            lost_one_in: random.pick(&[0, 0, 10, 50]),
            flips_one_in: random.pick(&[0, 0, 10]),
            pieces: random.pick(&[1, 5, 20]),
            piece: random.pick(&[MS, 5 * MS, 20 * MS]),
            staging: random.pick(&[MS / 5, 2 * MS, 10 * MS]),
            lease,
            budget: random.pick(&[4, 10]) * MS,
            log_bytes: random.pick(&[4000, 1 << 20, 1 << 20]),
            policy: random.pick(&[Policy::Throttle, Policy::Wait, Policy::Fail, Policy::LatchNow]),
            skew: random.pick(&[0, 0, 20, 100]),
            faults: Vec::new(),
            calm,
            quiet: random.within(50, 200) * MS,
            protocol: None,
            want: Want::One,
            strict: false,
            queue_bytes: 1 << 20,
            expected: Expected::default(),
        };
        if !random.one_in(4) {
            let hosts = case.hosts() as u64;
            for _ in 0..random.within(1, 6) {
                let fault = Fault::draw(random, hosts, lease);
                case.faults.push(Timed { at: random.within(0, calm), fault });
            }
            case.faults.sort_by_key(|timed| timed.at);
        }
        case.draw_protocol(&mut Random::new(seed ^ 0xfe7d));
        case.draw_rejoins(&mut Random::new(seed ^ 0x4e70));
        case
    }

    /// In half of the live transfers members that have a state get another one.
    fn draw_rejoins(&mut self, random: &mut Random) {
        if self.protocol.is_some() || random.one_in(2) {
            return;
        }
        for _ in 0..random.within(1, 4) {
            let fault = Fault::Rejoin { host: random.below(self.hosts() as u64) as usize };
            self.faults.push(Timed { at: random.within(0, self.calm), fault });
        }
        self.faults.sort_by_key(|timed| timed.at);
    }

    /// Half of the seeds are of a live transfer, and what they are without this.
    fn draw_protocol(&mut self, random: &mut Random) {
        use Protocol::{Copy, Flush, Prefetch, Streaming};
        if random.one_in(2) {
            return;
        }
        let protocol = random.pick(&[Copy, Streaming, Flush, Prefetch]);
        self.protocol = Some(protocol);
        self.total = matches!(protocol, Copy | Prefetch);
        self.fuzzy &= protocol == Prefetch;
        self.strict = random.one_in(2);
        self.queue_bytes = random.pick(&[2000, 1 << 20, 1 << 20]);
        if protocol == Copy {
            self.want = random.pick(&[Want::One, Want::One, Want::Quorum, Want::All]);
        }
        let hosts = self.hosts() as u64;
        while random.one_in(3) {
            let fault = Fault::Lose { host: random.below(hosts) as usize };
            self.faults.push(Timed { at: random.within(0, self.calm), fault });
        }
        self.faults.sort_by_key(|timed| timed.at);
    }

    /// What a scenario calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn hosts(&self) -> usize {
        self.members + self.joiners.len()
    }

    /// Nobody waits longer than this, once faults have stopped.
    pub(super) const PATIENCE: u64 = 60 * SECOND;
}
