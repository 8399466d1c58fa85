//! What the driver's threads tell it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longhaul_core::id::{Lane, Token};
use longhaul_core::wire::{Header, Init, WireError};
use longhaul_state::pool::Buffer;

use super::{join, provide};
use crate::channel::{Receiver, Sender, channel};
use crate::chunk::Chunk;
use crate::lane::{Burst, Frames, Port};
use crate::stream::Connection;

/// One report to a driver.
pub(crate) enum Message {
    /// Frames came.
    Inbound { port: Port, buffer: Buffer, frames: Frames },
    /// A payload came into pipes.
    Spliced { port: Port, header: Header, chunk: Chunk },
    /// Bytes came that are no frames.
    Invalid { port: Port, error: WireError },
    /// A connection ended (no error), or failed.
    LaneEnded { port: Port, error: Option<io::Error> },
    /// A writer has written all that it was given, and was told that no more comes.
    WriterEnded { port: Port },
    /// A further lane stands.
    LaneUp { lane: Lane, ticket: Ticket, connection: Connection },
    /// It could not be dialled.
    DialFailed { lane: Lane, ticket: Ticket, error: io::Error },
    /// The dialler of this session is here again.
    Resume { init: Init, connection: Connection, admission: Admission },
    /// So many bytes were taken of a burst that is not over.
    Taken { port: Port, bytes: u64 },
    /// So many bytes have come of a payload that is not whole.
    Coming { port: Port, bytes: u64 },
    /// A burst was written; it comes back empty: so many bytes of it were not told of.
    Sent { port: Port, bytes: u64, burst: Burst },
    /// Someone cancelled the transfer.
    Cancel,
    /// Slow work has come so much further.
    Work(u64),
    /// A helper thread panicked: a user's source or sink, or a defect.
    Panicked(&'static str),
    /// A helper thread ended without a report of its own, or never began.
    HelperLost(&'static str),
    /// From a provider's helpers.
    FromSource(provide::Report),
    /// From a joiner's helpers.
    FromSink(join::Report),
}

/// Which of a session's connections in time a lane belongs to: one that comes late is told apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ticket {
    /// Dialled by this side, after so many re-dials.
    Dialled(u32),
    /// It came in with this token.
    Attached(Token),
}

/// What lets lanes find a session at a listener: its token, valid until dropped.
pub(crate) struct Admission {
    pub(crate) token: Token,
    pub(crate) _registration: Box<dyn Send>,
}

/// The way into a driver's queue, from any thread.
#[derive(Clone)]
pub(crate) struct Queue {
    sender: Sender<Message>,
    stopped: Arc<AtomicBool>,
}

/// A driver's queue.
pub(crate) fn queue() -> (Queue, Receiver<Message>) {
    let (sender, receiver) = channel();
    (Queue { sender, stopped: Arc::default() }, receiver)
}

impl Queue {
    /// A driver that has ended hears nothing any more.
    pub(crate) fn send(&self, message: Message) {
        self.sender.send(message);
    }

    /// The driver has ended: whoever waits gives up.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}
