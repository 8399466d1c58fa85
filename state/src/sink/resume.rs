//! Sinks that go on with what an earlier run left.

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Prefix};

use super::{Place, SinkError};
use crate::item::Item;
use crate::landing::journal::{Agreed, Content};

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

    /// The item that was finished or put last has this checksum.
    ///
    /// # Errors
    /// If it can't be written down.
    fn vouch(&mut self, item: &Item, checksum: &Checksum) -> Result<(), SinkError>;

    /// Goes on with making durable what has come so far, without waiting for the disk: everything that is
    /// finished, and of open items the first bytes, whose writes are over. Says whether more is to
    /// be claimed, or the disk is still at it: then it is to be called again soon.
    ///
    /// # Errors
    /// If the disk fails: nothing that was written since the last good checkpoint can be trusted.
    fn checkpoint(&mut self, parts: &[(ItemId, Prefix)]) -> Result<bool, SinkError>;

    /// Both sides have the same: this is what will be published.
    fn agreed(&mut self, agreed: Agreed);
}

/// What an earlier run left of an item.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Where the rest goes.
    pub place: Place,
    /// How much there is, and its checksum.
    pub content: Content,
}
