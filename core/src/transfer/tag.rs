//! What every frame of a transfer bears, and what it counts by.

use core::fmt;

use crate::id::{Epoch, TransferId};

/// Which transfer, and which try of it. An epoch has one cut-over at most, and so one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tag {
    /// The transfer.
    pub transfer: TransferId,
    /// The try: 1, 2, 3, ...; every request of the joiner begins the next.
    pub epoch: Epoch,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transfer {}, epoch {}", self.transfer, self.epoch.0)
    }
}

/// A place in a provider's log: behind so many records of so many bytes, counted since its process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPoint {
    /// Records before it.
    pub records: u64,
    /// Bytes before it, as the provider counts them.
    pub bytes: u64,
}

impl LogPoint {
    /// The place behind one more record.
    #[must_use]
    pub const fn behind(self, record_bytes: u64) -> Self {
        Self { records: self.records + 1, bytes: self.bytes.saturating_add(record_bytes) }
    }

    /// Whether it can lie in the log from `from` to `to`, by its records and by its bytes: what a peer says may be in
    /// order by the one alone. Behind equally many records lie equally many bytes.
    #[must_use]
    pub const fn is_between(self, from: Self, to: Self) -> bool {
        let behind = from.records < self.records && from.bytes <= self.bytes;
        let before = self.records < to.records && self.bytes <= to.bytes;
        let is_from = from.records == self.records && from.bytes == self.bytes;
        let is_to = self.records == to.records && self.bytes == to.bytes;
        (behind || is_from) && (before || is_to)
    }
}

/// How the cut-over of an epoch ended: the provider records it, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// The joiner has the state at its digest, and serves.
    Commit,
    /// It has not: it may try again.
    Abort,
}
