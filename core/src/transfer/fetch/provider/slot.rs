//! A joiner's place at a provider.

use super::super::Config;
use super::super::life::At;
use crate::id::{Epoch, MemberId, SnapshotId, StateId};
use crate::time::Instant;
use crate::transfer::wire::Payload;
use crate::transfer::{LogPoint, Tag};

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) at: At,
    pub(super) tag: Tag,
    pub(super) member: MemberId,
    /// What it wants: which state, of which epoch's copy, covering how many entries that it has not named yet.
    pub(super) state: StateId,
    pub(super) copy: Option<Epoch>,
    pub(super) awaited: u16,
    /// All of what it has named so far is delivered here; and is in these captures, one bit each.
    pub(super) is_covered: bool,
    pub(super) covering: u64,
    /// From which it streams, and will again in a later epoch.
    pub(super) capture: Option<usize>,
    /// Digest parts that were sent before its Begin.
    pub(super) begin: Option<usize>,
    /// What it has prefetched, and from where it needs the log since then.
    pub(super) fetched: Option<(SnapshotId, LogPoint)>,
    pub(super) log: Log,
    /// When it last came further.
    pub(super) progress: Instant,
}

/// How far the log that goes to it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Log {
    pub(super) sent: LogPoint,
    pub(super) reads: bool,
    pub(super) batch: Option<Batch>,
    pub(super) is_last_sent: bool,
}

/// Records that were read for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) from: LogPoint,
    pub(super) to: LogPoint,
    pub(super) payload: Payload,
}

impl Slot {
    pub(super) fn new(tag: Tag, member: MemberId, now: Instant) -> Self {
        Self {
            at: At::Asking,
            tag,
            member,
            state: StateId::default(),
            copy: None,
            awaited: 0,
            is_covered: true,
            covering: 0,
            capture: None,
            begin: None,
            fetched: None,
            log: Log::default(),
            progress: now,
        }
    }

    /// When it is given up. A lost connection may be replaced for twice as long.
    pub(super) fn deadline(&self, config: &Config) -> Instant {
        let patience = if self.at == At::Parted { config.stall_timeout * 2 } else { config.stall_timeout };
        self.progress.after(patience)
    }
}
