//! What goes wrong.

use crate::sim::Random;

const MS: u64 = 1_000_000;

/// A fault, and when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timed {
    pub(super) at: u64,
    pub(super) fault: Fault,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process is killed, and one with nothing starts after that time. Never the last one that is operational.
    Kill { host: usize, down: u64 },
    /// Whoever provides to this host's joiner is killed.
    KillProviderOf { host: usize, down: u64 },
    /// The process is stopped for a time.
    Sleep { host: usize, time: u64 },
    /// Nothing gets from one to the other.
    Block { from: usize, to: usize, time: u64 },
    /// Nothing gets to the host or from it.
    Isolate { host: usize, time: u64 },
    /// Its connections break.
    Cut { host: usize },
    /// Its clock leaps forward.
    Leap { host: usize, by: u64 },
    /// It provides no more, for a time.
    Retire { host: usize, time: u64 },
    /// Its engine loses what it has captured.
    Lose { host: usize },
    /// It provides again.
    Return { host: usize },
    /// It has a state, and gets another one.
    Rejoin { host: usize },
}

impl Fault {
    pub(super) fn draw(random: &mut Random, hosts: u64, lease: u64) -> Self {
        let host = random.below(hosts) as usize;
        let other = (host + random.within(1, hosts - 1) as usize) % hosts as usize;
        let time = random.pick(&[5 * MS, 50 * MS, lease + 5 * MS, 3 * lease, 20 * lease]);
        match random.below(10) {
            0 | 1 => Self::Kill { host, down: time },
            2 => Self::KillProviderOf { host, down: time },
            3 | 4 => Self::Sleep { host, time },
            5 => Self::Block { from: host, to: other, time },
            6 => Self::Isolate { host, time },
            7 => Self::Cut { host },
            8 => Self::Leap { host, by: time },
            _ => Self::Retire { host, time },
        }
    }

    /// The highest host that it names.
    pub(super) fn highest_host(&self) -> usize {
        match *self {
            Self::Block { from, to, .. } => from.max(to),
            Self::Kill { host, .. }
            | Self::KillProviderOf { host, .. }
            | Self::Sleep { host, .. }
            | Self::Isolate { host, .. }
            | Self::Cut { host }
            | Self::Leap { host, .. }
            | Self::Retire { host, .. }
            | Self::Lose { host }
            | Self::Return { host }
            | Self::Rejoin { host } => host,
        }
    }
}
