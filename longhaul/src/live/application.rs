//! What a live transfer asks of the application: traits that block, and that an afternoon is enough for.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::digest::Digest;
use longhaul_core::id::{MemberId, SnapshotId};
use longhaul_core::transfer::LogPoint;
use longhaul_state::source::SourceError;
use longhaul_state::{Sink, Source};

use super::batch::{Batch, LogRecord, Prepare};

/// What a state contains: per member, the last of its messages that was delivered.
pub type Delivered = Digest<MEMBERS>;

/// Incarnations of members that a digest has room for.
pub const MEMBERS: usize = 1024;

/// Why the application could not do what it was asked for.
pub type ApplicationError = Box<dyn Error + Send + Sync>;

/// All that a member of a group does for live transfers: whatever has the four traits has this one.
pub trait Application: Provide + Log + Stage + Latch {}

impl<A: Provide + Log + Stage + Latch> Application for A {}

/// A provider's side: what the state is at one moment.
pub trait Provide: Send + Sync {
    /// Takes a snapshot and the digest that goes with it. Nothing is delivered until it returns, so it must be
    /// quick: a version of the engine, an `Arc` of each shard; what takes long is left to [`Snapshot::source`].
    ///
    /// An atomic capture contains exactly what was delivered when it is called. A fuzzy one, whose source scans
    /// while writes go on, says what was delivered now.
    ///
    /// # Errors
    /// If it can't be taken: those who wait for it are refused.
    fn capture(&self) -> Result<Arc<dyn Snapshot>, ApplicationError>;

    /// Tells `batch` every prepared transaction that is neither committed nor rolled back, with its changes.
    /// Called at the latch: nothing is delivered meanwhile.
    ///
    /// # Errors
    /// If they can't be read: the joiner tries again.
    fn pending(&self, batch: &mut Batch<'_>) -> Result<(), ApplicationError>;
}

/// A capture: it stays as it is, whatever is written, and is released when it is dropped.
pub trait Snapshot: Send + Sync {
    /// The engine's own name of its content; unless overridden it is drawn.
    fn id(&self) -> Option<SnapshotId> {
        None
    }

    /// What it contains, as the engine has noted it with the effects.
    fn digest(&self) -> Delivered;

    /// The bulk, for one session. `state_id` is what the joiner asked for: empty for the whole state.
    ///
    /// # Errors
    /// If it can't be read, or there is no such part.
    fn source(&self, state_id: &[u8]) -> Result<Arc<dyn Source>, SourceError>;
}

/// A provider's log of completions, in the order of delivery; kept only while somebody follows it. The
/// application appends to it: each message that is delivered and [completes](super::Effect::completes) something
/// is one record, in the same batch as its effect. [`super::MemoryLog`] is one that lies in memory, [`super::SpilledLog`] one
/// that spills to disk.
pub trait Log: Send + Sync {
    /// A log is kept from here on: the record of the next message that completes something is the first
    /// behind `from`. It must be quick: nothing is delivered until it returns.
    ///
    /// # Errors
    /// If it can't be kept: the joiner is refused.
    fn start(&self, from: LogPoint) -> Result<(), ApplicationError>;

    /// Pushes the records behind `from` (the first of them is number `from.records + 1`) in their order, until
    /// there are no more or the batch takes no more. One is there.
    ///
    /// # Errors
    /// If it can't be read.
    fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError>;

    /// Nobody needs the records up to `before` any more. It must be quick, as [`Log::start`].
    fn trim(&self, before: LogPoint);

    /// Nobody needs the log. It must be quick, as [`Log::start`].
    fn stop(&self);
}

/// A joiner's side: a hidden copy, which nobody sees until it is committed.
///
/// ```text
/// stage ──▶ Sink: the bulk ──publish──▶ apply, apply, .. ──▶ prepare ──▶ commit: it is the state now
///   ▲                                     │    ▲                │
///   └──────────── discard ◀───────────────┴────┴─ forget ◀──────┘   a new try, from what is durable
/// ```
///
/// All of it is called from one thread, one after another.
pub trait Stage: Send + Sync {
    /// An empty hidden copy, and the sink for its bulk. The sink's `publish` makes it whole, not visible: the
    /// roots have been compared by then. With `keep`, pieces of the last hidden copy whose versions are equal may
    /// be taken over; else nothing of it is.
    ///
    /// # Errors
    /// If there can be none: the transfer fails.
    fn stage(&self, snapshot: SnapshotId, keep: bool) -> Result<Box<dyn Sink>, ApplicationError>;

    /// Applies records to the hidden copy, in order, each for the first time. They are durable when it returns, or
    /// none of them is applied.
    ///
    /// # Errors
    /// If they can't be applied: the transfer fails.
    fn apply(&self, records: &[LogRecord<'_>]) -> Result<(), ApplicationError>;

    /// Adds pending prepares to the hidden copy, durably.
    ///
    /// # Errors
    /// If they can't be kept: the transfer fails.
    fn prepare(&self, prepares: &[Prepare<'_>]) -> Result<(), ApplicationError>;

    /// The hidden copy has no pending prepares any more; all that was applied stays.
    ///
    /// # Errors
    /// If they can't be removed: the transfer fails.
    fn forget_prepares(&self) -> Result<(), ApplicationError>;

    /// There is no hidden copy any more. What failed is left to the next [`Stage::stage`].
    fn discard(&self);

    /// The hidden copy becomes the state: it, its digest and its pending prepares replace the old ones in one
    /// durable step that takes no longer for a larger state. Nothing is delivered meanwhile. Where the old state had
    /// messages that are above `digest`, they come again ([`super::Turn::delivered`] says behind which).
    /// A message that the new one contains may never come: whoever waits for it here is woken, and what is pending counts as
    /// answered yes.
    ///
    /// # Errors
    /// If the old state still stands: the transfer fails.
    fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError>;
}

/// What the application is told of the latch, from a thread that holds nothing. It may call the member.
pub trait Latch: Send + Sync {
    /// What was held may pass now: each message with the verdict [`super::Verdict::Hold`] is offered again, in
    /// its order, and so is each request.
    fn reoffer(&self);

    /// Writers are slowed down from now on, or no longer: a joiner can't follow them.
    fn throttle(&self, on: bool) {
        let _ = on;
    }

    /// The member is operational from now on: its clients are admitted. Also where it has not got another state, and
    /// goes on with the one that it has.
    fn serve(&self) {}
}

/// The sources of the group's messages, as a joiner asks them to keep what it will need.
pub trait Pins: Send + Sync {
    /// Has each source keep the messages that it has, and those that it sends, for `lease` from now; anew if
    /// they are pinned already. It returns, per source, all behind which number it keeps (`delivered`), and the last
    /// one that it has sent (`received`). It must return within `lease`.
    ///
    /// # Errors
    /// [`PinError`]: not all sources keep them.
    fn pin(&self, joiner: MemberId, lease: Duration) -> Result<Delivered, PinError>;

    /// They need not be kept for its joining any more: it is operational, and counts as any member that has not said
    /// yet what it has, or it has given up. Whom that does not reach forgets the pin when its lease is over.
    fn unpin(&self, joiner: MemberId);
}

/// Why messages are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinError {
    /// A source will not.
    Refused {
        /// Which.
        source: MemberId,
    },
    /// Not all sources could be reached: they are asked again later.
    Unreachable,
}

impl std::fmt::Display for PinError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { source } => write!(f, "member {source} would not keep its messages"),
            Self::Unreachable => f.write_str("not all sources of messages could be reached"),
        }
    }
}

impl Error for PinError {}
