//! What a fetch asks of the application: traits that block, and that an afternoon is enough for.

use std::sync::Arc;

use longhaul_core::id::{MemberId, SnapshotId};

use crate::Sink;
use crate::live::{ApplicationError, Delivered, Latch, LogRecord, Snapshot};

/// All that a member of a group does for fetches: whatever has the four traits has this one.
pub trait Application: Provide + Stage + Channel + Latch {}

impl<A: Provide + Stage + Channel + Latch> Application for A {}

/// A provider's side: what the state is at one place.
pub trait Provide: Send + Sync {
    /// Takes a snapshot of the state with this id (empty: the whole), and the digest that goes with it. Transactions that
    /// are prepared and not ended are a part of it. Nothing is delivered until it returns, so it must be quick: what
    /// takes long is left to [`Snapshot::source`].
    ///
    /// An atomic capture contains exactly what was delivered when it is called. A fuzzy one, whose source scans
    /// while writes go on, says what was delivered now.
    ///
    /// # Errors
    /// If it can't be taken, or there is no such state: those who wait for it are refused.
    fn capture(&self, state_id: &[u8]) -> Result<Arc<dyn Snapshot>, ApplicationError>;
}

/// A joiner's side: hidden copies, which nobody sees until they are committed. All of it is called from one thread, one
/// after another.
pub trait Stage: Send + Sync {
    /// An empty hidden copy for what `provider` gives, and the sink for it. The sink's `publish` makes it whole, not visible:
    /// the roots have been compared by then. Copies of several providers stand beside each other; with `keep` this
    /// one replaces the last, and pieces of that whose versions are equal may be taken over.
    ///
    /// # Errors
    /// If there can be none: the transfer fails.
    fn stage(
        &self,
        provider: MemberId,
        snapshot: SnapshotId,
        keep: bool,
    ) -> Result<Box<dyn Sink>, ApplicationError>;

    /// Applies records of the log to the hidden copy, in order, each for the first time; prepares too. They are durable when it returns, or
    /// none of them is applied. Asked for by [`super::Protocol::Prefetch`] alone.
    ///
    /// # Errors
    /// If they can't be applied: the transfer fails.
    fn apply(&self, records: &[LogRecord<'_>]) -> Result<(), ApplicationError> {
        let _ = records;
        Err("this application applies no log".into())
    }

    /// There are no hidden copies any more. What failed is left to the next [`Stage::stage`].
    fn discard(&self);

    /// The hidden copies become the state: they and their digest replace the old ones in one durable step. What
    /// lies between the messages that came and the digest need not come any more.
    ///
    /// # Errors
    /// If the old state still stands: the transfer fails.
    fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError>;
}

/// The group's channel, as far as a member asks for something of it.
pub trait Channel: Send + Sync {
    /// From now on the channel brings its messages to [`super::Member::turn`]. It returns, per sender, up to which number they will not
    /// come: they were sent before, or have come. Called when a transfer begins, and by
    /// [`super::Protocol::Prefetch`] once the bulk is there. No turn is held meanwhile: it must be quick, and not call
    /// the member. What a turn was told to drop has come: it is to be noted before that turn ends.
    ///
    /// # Errors
    /// If the channel can't be had: the transfer fails.
    fn join(&self) -> Result<Delivered, ApplicationError>;

    /// Sends a word to all members, this one too, as a message of the group in its order that changes nothing; each hands it to
    /// [`super::Turn::handle_word`]. It must not wait for its delivery.
    ///
    /// # Errors
    /// If it can't be sent: it is said again for as long as it is of use, so it may be sent twice where that is in doubt.
    fn send(&self, word: &[u8]) -> Result<(), ApplicationError>;
}
