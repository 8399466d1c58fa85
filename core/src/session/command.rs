//! What a session tells its driver: commands, events, and where bytes come from and go.

use core::time::Duration;

use crate::id::{ItemId, Lane};
use crate::integrity::Checksum;
use crate::wire::Grades;

/// What the driver must do. Each names the call that reports back, if one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Provider: survey what was requested, then [`super::Session::handle_surveyed`].
    Survey,
    /// Joiner: preflight for the task that was announced, then [`super::Session::handle_begun`].
    Begin,
    /// Dial this lane, then [`super::Session::handle_lane_up`].
    Dial {
        /// Which.
        lane: Lane,
    },
    /// Provider: read, then [`super::Session::handle_read`]. Reads of one lane are answered in order.
    Read {
        /// The lane that the bytes will travel on.
        lane: Lane,
        /// The item.
        id: ItemId,
        /// Where to begin.
        offset: u64,
        /// How many bytes: fewer only before a hole or a stream's end.
        len: u32,
        /// These are the last bytes of their run.
        run_end: bool,
    },
    /// Provider: everything of the item was read; close it, see that it did not change, then
    /// [`super::Session::handle_closed`].
    Close {
        /// The item.
        id: ItemId,
    },
    /// Provider: the item failed at the joiner; drop what is open of it and offer it again with
    /// [`super::Session::handle_reoffer`].
    Reoffer {
        /// The item.
        id: ItemId,
    },
    /// Provider: items before this one are verified and will not be asked for again.
    Forget {
        /// The first that may still be needed.
        before: ItemId,
    },
    /// Joiner: create the item just offered. With content: open it, then
    /// [`super::Session::handle_opened`] unless it is eager; without: make it, then
    /// [`super::Session::handle_finished`].
    Open {
        /// The item.
        id: ItemId,
    },
    /// Joiner: this part of the item is a hole.
    Hole {
        /// The item.
        id: ItemId,
        /// Where it begins.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// It ends its run.
        run_end: bool,
    },
    /// Joiner: all bytes have been handed over. After their writes: compare with the checksum,
    /// complete the item if it matches, then [`super::Session::handle_finished`].
    Finish {
        /// The item.
        id: ItemId,
        /// Its logical bytes.
        size: u64,
        /// What the provider read.
        checksum: Checksum,
    },
    /// Joiner: the item failed and will be offered again; forget what there is of it.
    Discard {
        /// The item.
        id: ItemId,
    },
    /// Sum up count, bytes and root of all items, then [`super::Session::handle_root`].
    SumUp,
    /// Joiner: make everything durable, then [`super::Session::handle_durable`].
    MakeDurable,
}

/// What people should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Both sides know each other and agree on a version.
    Established,
    /// What will move is known.
    Prepared,
    /// The first item may move.
    Streaming,
    /// Items were graded at the joiner.
    Graded(Grades),
    /// An item failed and is sent again.
    Retrying {
        /// The item.
        id: ItemId,
        /// How often it has failed.
        attempt: u8,
    },
    /// Both sides agree on count, bytes and root.
    Agreed,
    /// Joiner: everything is durable; the plan may install.
    Durable,
    /// Joiner: published. Provider: the joiner said so (the transfer is confirmed).
    Installed,
    /// The listener is full.
    Busy {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The session failed: [`super::Session::failure`] says why.
    Failed,
}

/// A frame to send: the first `len` bytes of the caller's buffer, then the payload if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transmit {
    /// Bytes written into the caller's buffer.
    pub len: usize,
    /// The bytes of an item to send after them: those that were read for this lane.
    pub payload: Option<Payload>,
}

/// A payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The item.
    pub id: ItemId,
    /// Where the bytes begin.
    pub offset: u64,
    /// How many.
    pub len: u32,
}

/// Where a payload goes that a header has just announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Receive {
    /// Into the item's place.
    Place(Payload),
    /// Nowhere: it belongs to an attempt that has failed already.
    Discard {
        /// How many bytes.
        len: u32,
    },
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPiece {
    /// Bytes, and their CRC-32C if one was computed.
    Data {
        /// How many, more than zero.
        len: u32,
        /// Their checksum.
        crc: Option<u32>,
    },
    /// A hole: at most to the end of the read's run.
    Hole {
        /// How many bytes, more than zero.
        len: u64,
    },
    /// The end of a stream.
    End,
}

/// An offer, as it was numbered and encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Offered {
    /// The item's number.
    pub id: ItemId,
    /// The lane that the offer's frame must be sent on.
    pub lane: Lane,
    /// Bytes written into the caller's buffer.
    pub len: usize,
}
