//! Why a session failed.

use core::fmt;
use core::time::Duration;

use crate::id::{ItemId, Lane};
use crate::reason::{Reason, Side};
use crate::wire::{Kind, WireError};

/// Why a session failed, grouped by who is at fault. `Copy`, without allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The bytes are no frames.
    Invalid(WireError),
    /// The peer broke the protocol's rules.
    Misbehaved(Misbehaviour),
    /// The peer can't do what is needed, or we can't.
    Incompatible(Incompatibility),
    /// The listener has no room now.
    Busy {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The peer said that it failed; its frame has the words.
    Peer {
        /// The reason.
        reason: Reason,
        /// Whose fault, as the peer sees it.
        side: Side,
    },
    /// A connection was lost.
    LaneLost(Lane),
    /// No progress within the stall timeout, on a live connection.
    Stalled {
        /// How long nothing moved.
        after: Duration,
    },
    /// The peer did not answer the handshake in time.
    NoAnswer {
        /// How long we waited.
        after: Duration,
    },
    /// An item failed more often than it may be retried.
    ItemFailed {
        /// The item.
        id: ItemId,
        /// How often it was tried.
        attempts: u8,
    },
    /// Count, bytes or root at the joiner are not the provider's.
    RootMismatch,
    /// The connection was lost, and no new one stood in time.
    NotResumed {
        /// How long it was tried.
        after: Duration,
    },
    /// After a re-dial the provider announced another state than before.
    Changed,
    /// The peer has no such session (any more): begin a new one.
    Gone,
    /// This side's own driver failed it: source, destination, cancelled.
    Local(Reason),
}

/// How a peer broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// A frame that has no place in this state, or does not come from this side.
    Unexpected(Kind),
    /// A frame on a lane that does not carry it.
    WrongLane(Kind),
    /// An item outside the window, or one that is in no state for the frame.
    Item(Kind, ItemId),
    /// Bytes outside the item, off the grid, twice, or in no order that lanes make.
    Offset(ItemId, u64),
    /// More bytes than the item has, or fewer.
    Size(ItemId),
    /// A checksum of another kind than was agreed, or none.
    Checksum(ItemId),
    /// Another task than was requested.
    Task,
    /// It said that it is done, and is not.
    Count,
}

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incompatibility {
    /// No protocol version in common.
    Version {
        /// Ours, lowest and highest.
        ours: (u8, u8),
        /// Theirs.
        theirs: (u8, u8),
    },
    /// The peer belongs to another cluster.
    Cluster,
    /// Both provide, or both join.
    Roles,
    /// The peer can't do what we demand.
    Capability(&'static str),
    /// The peer is this very member: there is no state to have from oneself.
    Oneself,
}

impl SessionError {
    /// The reason on the wire and in exit codes.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Invalid(WireError::Version { .. }) => Reason::Incompatible,
            Self::Invalid(_) | Self::Misbehaved(_) => Reason::Protocol,
            Self::Incompatible(_) => Reason::Incompatible,
            Self::Busy { .. } => Reason::Busy,
            Self::Peer { reason, .. } | Self::Local(reason) => *reason,
            Self::LaneLost(_) | Self::NoAnswer { .. } | Self::NotResumed { .. } => Reason::Unreachable,
            Self::Changed => Reason::SourceChanged,
            Self::Gone => Reason::Gone,
            Self::Stalled { .. } => Reason::Stalled,
            Self::ItemFailed { .. } | Self::RootMismatch => Reason::Integrity,
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::Misbehaved(how) => write!(f, "the peer broke the protocol: {how}"),
            Self::Incompatible(what) => what.fmt(f),
            Self::Busy { retry_after } => {
                write!(f, "the peer is busy, and asks to come back in {} ms", retry_after.as_millis())
            }
            Self::Peer { reason, side } => write!(f, "the peer failed: {reason} (at the {side})"),
            Self::LaneLost(lane) => write!(f, "the connection was lost ({lane})"),
            Self::Stalled { after } => {
                write!(f, "no progress for {} s on a live connection", after.as_secs_f32())
            }
            Self::NoAnswer { after } => write!(f, "the peer did not answer within {} s", after.as_secs_f32()),
            Self::ItemFailed { id, attempts } => {
                write!(f, "item {id} did not arrive as it was sent, {attempts} times")
            }
            Self::RootMismatch => f.write_str("count, bytes or root at the joiner are not the provider's"),
            Self::NotResumed { after } => {
                write!(f, "the connection was lost, and no new one stood within {} s", after.as_secs_f32())
            }
            Self::Changed => f.write_str("after a re-dial the provider announced another state than before"),
            Self::Gone => f.write_str("the peer has no such session any more: begin a new one"),
            Self::Local(reason) => write!(f, "{reason}"),
        }
    }
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected(kind) => write!(f, "a {kind} frame out of turn"),
            Self::WrongLane(kind) => write!(f, "a {kind} frame on a lane that does not carry it"),
            Self::Item(kind, id) => write!(f, "a {kind} frame for item {id}, which it does not fit"),
            Self::Offset(id, offset) => {
                write!(f, "bytes at {offset} of item {id}, which do not belong there")
            }
            Self::Size(id) => write!(f, "item {id} has not as many bytes as was said"),
            Self::Checksum(id) => write!(f, "item {id} has not the kind of checksum that was agreed"),
            Self::Task => f.write_str("another task than was requested"),
            Self::Count => f.write_str("it says that it is done, and is not"),
        }
    }
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { ours, theirs } => write!(
                f,
                "no protocol version in common: this side speaks {} to {}, the peer {} to {}",
                ours.0, ours.1, theirs.0, theirs.1
            ),
            Self::Cluster => f.write_str("the peer belongs to another cluster"),
            Self::Roles => f.write_str("both sides provide, or both join"),
            Self::Capability(what) => write!(f, "the peer can't do {what}, which is demanded"),
            Self::Oneself => f.write_str("the peer is this very member: no state"),
        }
    }
}

impl core::error::Error for SessionError {}
