//! A joiner's place at its provider.

use super::super::Config;
use super::super::life::At;
use super::Link;
use super::pace::Pace;
use crate::id::{MemberId, SnapshotId};
use crate::time::Instant;
use crate::transfer::wire::Payload;
use crate::transfer::{LogPoint, Tag};

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) at: At,
    pub(super) tag: Tag,
    pub(super) member: MemberId,
    /// The connection of this epoch, while it stands.
    pub(super) link: Option<Link>,
    /// What it staged, and so follows the log of.
    pub(super) staged: Option<SnapshotId>,
    /// Up to where the log was read for it, and up to where it has applied it.
    pub(super) sent: LogPoint,
    pub(super) applied: LogPoint,
    /// A read is under way.
    pub(super) reads: bool,
    pub(super) wants_latch: bool,
    pub(super) pace: Pace,
    /// When it last came further.
    pub(super) progress: Instant,
    pub(super) begin: Option<Begin>,
    pub(super) records: Option<Batch>,
    pub(super) last: Last,
}

/// What its Begin will say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    pub(super) goes_on: bool,
    pub(super) from: LogPoint,
    pub(super) snapshot: SnapshotId,
    /// Digest parts that are sent.
    pub(super) parts: usize,
}

/// Records that were read for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) from: LogPoint,
    pub(super) to: LogPoint,
    pub(super) payload: Payload,
}

/// How far the last messages before its word are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// The log's tail comes first.
    Tail,
    /// The pending prepares are being read.
    Reading,
    /// They are to be sent.
    Pending(Payload),
    /// So many parts of the digest are sent.
    Digest(usize),
    /// All is sent.
    Sent,
}

impl Slot {
    pub(super) fn new(tag: Tag, member: MemberId, link: Link, now: Instant) -> Self {
        Self {
            at: At::Capturing,
            tag,
            member,
            link: Some(link),
            staged: None,
            sent: LogPoint::default(),
            applied: LogPoint::default(),
            reads: false,
            wants_latch: false,
            pace: Pace::new(now, LogPoint::default(), LogPoint::default()),
            progress: now,
            begin: None,
            records: None,
            last: Last::Tail,
        }
    }

    /// Forgets what belonged to an epoch's connection.
    pub(super) fn part(&mut self) {
        (self.link, self.begin, self.records, self.last) = (None, None, None, Last::Tail);
        (self.reads, self.wants_latch) = (false, false);
    }

    /// It follows the log from here.
    pub(super) fn follow(&mut self, from: LogPoint, end: LogPoint, now: Instant) {
        (self.sent, self.applied, self.progress) = (from, from, now);
        self.pace = Pace::new(now, from, end);
    }

    /// When it is given up. A lost connection may be replaced for twice as long; one that is Deciding ends with the latch.
    pub(super) fn deadline(&self, config: &Config) -> Instant {
        let patience = if self.at == At::Parted { config.stall_timeout * 2 } else { config.stall_timeout };
        self.progress.after(patience.max(config.lease * 2))
    }
}
