//! Sinks that go on with what an earlier run left.

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Prefix};

use super::{Place, SinkError};
use crate::item::Item;
use crate::landing::journal::{Agreed, Content};

/// Bytes of content that may have come and not be claimed: what a process that ends without a word costs at most. More is
/// written only when some of these are durable, unless nothing of them can be claimed yet.
pub const UNCLAIMED: u64 = 256 << 20;

/// What a sink can do that keeps a journal: see [`super::Sink::resuming`].
pub trait Resume {
    /// Whether an earlier run left something, so that each item must be asked for before its content is
    /// sent. Asked before anybody is connected to.
    fn holds(&self) -> bool;

    /// Begins an item as [`super::Sink::open`] does, from what an earlier run left of it; `None` if that is
    /// nothing, or not what is offered now, or was not checked with `integrity`.
    ///
    /// # Errors
    /// If it can't be looked for.
    fn reopen(&mut self, id: ItemId, item: &Item, integrity: Integrity) -> Result<Option<Kept>, SinkError>;

    /// The item that was finished or put last has this size in bytes, and this checksum.
    ///
    /// # Errors
    /// If it can't be written down.
    fn vouch(&mut self, item: &Item, size: u64, checksum: &Checksum) -> Result<(), SinkError>;

    /// Goes on with making durable what has come so far, without waiting for the disk: everything that is
    /// finished, and of open items the first bytes, whose writes are over. Says how far that is.
    ///
    /// # Errors
    /// If the disk fails: nothing that was written since the last good checkpoint can be trusted.
    fn checkpoint(&mut self, parts: &[(ItemId, Prefix)]) -> Result<Checkpoint, SinkError>;

    /// A write of an open item failed: nothing of it is gone on with later.
    ///
    /// # Errors
    /// If that can't be written down.
    fn doubt(&mut self, id: ItemId) -> Result<(), SinkError>;

    /// Both sides have the same: this is what will be published.
    fn agreed(&mut self, agreed: Agreed);
}

/// How far a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// There is no journal: nothing is claimed on the way.
    None,
    /// The disk has begun with all that had come until now; it is to be asked again soon.
    Begun,
    /// The disk is still at it; it is to be asked again soon.
    UnderWay,
    /// What the disk had begun with is claimed.
    Claimed {
        /// Something has come since: another checkpoint is wanted.
        more: bool,
    },
}

/// What an earlier run left of an item.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Where the rest goes.
    pub place: Place,
    /// How much there is, and its checksum.
    pub content: Content,
}
