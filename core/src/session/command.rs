//! What a session tells its driver: commands, events, and where bytes come from and go.

use core::time::Duration;

use crate::id::{ItemId, Lane, TaskId};
use crate::integrity::Checksum;
use crate::reason::Side;
use crate::wire::Grades;

/// What the driver must do. Each names the call that reports back, if one does.
///
/// Items are those of the task under way in their direction: tasks of one direction stream one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Joiner: say what this task is to be, by [`super::Session::handle_request`].
    Request {
        /// Which task.
        task: TaskId,
    },
    /// Provider: survey what was requested, then [`super::Session::handle_surveyed`], or
    /// [`super::Session::handle_refused`]. After a re-dial it comes again: answer the same.
    Survey {
        /// Which task.
        task: TaskId,
    },
    /// Provider: send the digest's parts, by [`super::Session::handle_digest`].
    SendDigest {
        /// Which task.
        task: TaskId,
    },
    /// Joiner: preflight for the task that was announced, then [`super::Session::handle_begun`].
    Begin {
        /// Which task.
        task: TaskId,
    },
    /// Provider: offer the items of this task now, from the first.
    Walk {
        /// Which task.
        task: TaskId,
    },
    /// Dial this lane, then [`super::Session::handle_lane_up`] or [`super::Session::handle_dial_failed`].
    Dial {
        /// Which.
        lane: Lane,
    },
    /// Close this lane's connection and forget what waits for it: frames, payloads, buffers.
    CloseLane {
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
    /// [`super::Session::handle_reoffer`]. The sums of its runs stay: the joiner may keep some.
    Reoffer {
        /// The item.
        id: ItemId,
    },
    /// Provider: the joiner has the item already, with this content.
    Skipped {
        /// The item.
        id: ItemId,
        /// Its logical bytes.
        size: u64,
        /// Their checksum.
        checksum: Checksum,
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
    /// Joiner: the item's place stays open, and its next attempt (the offer just handled) goes on there.
    Continue {
        /// The item.
        id: ItemId,
        /// Which attempt comes now.
        attempt: u8,
    },
    /// Joiner: the provider is to hear the checksum of what was kept of the item, by
    /// [`super::Session::handle_kept_sums`], at once.
    TellKept {
        /// The item.
        id: ItemId,
        /// Of everything before this offset.
        offset: u64,
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
    /// Joiner: the item failed and will be offered again; what came before `to` stays, its place too.
    Rewind {
        /// The item.
        id: ItemId,
        /// The end of what stays: a multiple of [`crate::integrity::RUN_LEN`], or the item's size.
        to: u64,
    },
    /// Sum up count, bytes and root of all items of the task, then [`super::Session::handle_root`].
    SumUp {
        /// What this side does in the task.
        side: Side,
        /// Which task.
        task: TaskId,
    },
    /// Joiner: make all tasks durable, then [`super::Session::handle_durable`].
    MakeDurable,
}

/// What people should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Both sides know each other and agree on a version. A listener says so once the dialler has said something
    /// upon Welcome; until then the peer has the handshake timeout, and a lost connection is not waited for.
    Established,
    /// What will move is known.
    Prepared {
        /// What this side does in the task.
        side: Side,
        /// Which task.
        task: TaskId,
    },
    /// A task will not move: the provider refused it.
    Refused {
        /// What this side does in the task.
        side: Side,
        /// Which task.
        task: TaskId,
    },
    /// The first item of a task may move.
    Streaming {
        /// What this side does in the task.
        side: Side,
        /// Which task.
        task: TaskId,
    },
    /// Items were graded at the joiner.
    Graded {
        /// What this side does in the task.
        side: Side,
        /// How far they have come.
        grades: Grades,
    },
    /// An item failed and is sent again.
    Retrying {
        /// The item.
        id: ItemId,
        /// How often it has failed because of its content; 0: a lane was lost.
        failures: u8,
    },
    /// Both sides agree on a task's count, bytes and root.
    Agreed {
        /// What this side does in the task.
        side: Side,
        /// Which task.
        task: TaskId,
    },
    /// Joiner: everything is durable; the plan may install.
    Durable,
    /// Joiner: published. Provider: the joiner said so (the transfer is confirmed).
    Installed {
        /// What this side does.
        side: Side,
    },
    /// The listener is full.
    Busy {
        /// When to ask again.
        retry_after: Duration,
    },
    /// A data lane was lost; the others go on.
    LaneLost(Lane),
    /// The connection was lost; the dialler dials again.
    Reconnecting,
    /// The session goes on over a new connection.
    Resumed,
    /// Provider: all was sent, and the joiner's verdict is not known. It may be asked for.
    Unconfirmed,
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
