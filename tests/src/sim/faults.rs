//! What can go wrong, and when.

/// Something that goes wrong at one time. Hosts are numbered from 0; times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A connection of a session between two hosts breaks.
    Cut { between: (usize, usize), lane: usize },
    /// Nothing gets from one host to the other for a while; the other way all is well.
    Block { from: usize, to: usize, nanos: u64 },
    /// A process is killed; its kernel lives and closes its connections. It starts again later.
    Kill { host: usize, nanos: u64 },
    /// The power goes; it comes back later.
    Crash { host: usize, nanos: u64 },
    /// A process is stopped for a while; time goes on.
    Sleep { host: usize, nanos: u64 },
    /// A host's clock leaps forward.
    Leap { host: usize, nanos: u64 },
    /// A host's clock stands still for a while.
    Freeze { host: usize, nanos: u64 },
    /// All processes are killed, and start again when what they give is another state.
    Change { nanos: u64 },
    /// A host's disk is remembered as a power cut would leave it.
    Snapshot { host: usize },
    /// A host's disk is again what was remembered last, or what it began with; all processes end, and start again
    /// later.
    RollBack { host: usize, nanos: u64 },
    /// A process ends, and one of an older version takes its place for a while.
    Older { host: usize, nanos: u64 },
}

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timed {
    pub(crate) at: u64,
    pub(crate) fault: Fault,
}

/// Faults that come by chance, each once in so many times; 0: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    /// A delivery has a flipped bit.
    pub(crate) flips: u64,
    /// A read of the provider fails.
    pub(crate) read_errors: u64,
    /// A write, or another call that changes the joiner's disk, fails.
    pub(crate) write_errors: u64,
    /// A sync fails, and what it should have written is lost.
    pub(crate) sync_errors: u64,
    /// A joiner's process is killed, or its power goes, before a step of a landing.
    pub(crate) deaths: u64,
}

impl Fault {
    /// How long it lasts, if it does.
    pub(crate) const fn lasts(&self) -> u64 {
        match self {
            Self::Cut { .. } | Self::Leap { .. } | Self::Snapshot { .. } => 0,
            Self::Block { nanos, .. }
            | Self::Kill { nanos, .. }
            | Self::Crash { nanos, .. }
            | Self::Sleep { nanos, .. }
            | Self::Freeze { nanos, .. }
            | Self::Change { nanos }
            | Self::RollBack { nanos, .. }
            | Self::Older { nanos, .. } => *nanos,
        }
    }

    /// The highest host that it names.
    pub(crate) const fn highest_host(&self) -> usize {
        match self {
            Self::Cut { between: (a, b), .. } | Self::Block { from: a, to: b, .. } => {
                if *a > *b {
                    *a
                } else {
                    *b
                }
            }
            Self::Kill { host, .. }
            | Self::Crash { host, .. }
            | Self::Sleep { host, .. }
            | Self::Leap { host, .. }
            | Self::Freeze { host, .. }
            | Self::Snapshot { host }
            | Self::RollBack { host, .. }
            | Self::Older { host, .. } => *host,
            Self::Change { .. } => 0,
        }
    }
}
