//! What the driver's threads tell it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use longhaul_core::id::Lane;
use longhaul_core::wire::WireError;
use longhaul_state::pool::Buffer;

use super::{join, provide};
use crate::lane::{Burst, Frames};
use crate::stream::Connection;

/// One report to a driver.
pub(crate) enum Message {
    /// Frames came.
    Inbound { lane: Lane, buffer: Buffer, frames: Frames },
    /// Bytes came that are no frames.
    Invalid { error: WireError },
    /// A connection ended (no error), or failed.
    LaneEnded { lane: Lane, error: Option<io::Error> },
    /// A writer has written all that it was given, and was told that no more comes.
    WriterEnded { lane: Lane },
    /// A further lane stands.
    LaneUp { lane: Lane, connection: Connection },
    /// It could not be dialled.
    DialFailed { lane: Lane, error: io::Error },
    /// A burst was written; it comes back empty.
    Sent { lane: Lane, bytes: u64, burst: Burst },
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

/// The way into a driver's queue, from any thread.
#[derive(Clone)]
pub(crate) struct Queue {
    sender: Sender<Message>,
    stopped: Arc<AtomicBool>,
}

/// A driver's queue. What is in it is bounded by those who fill it: readers by buffers, helpers by
/// the commands that they answer.
pub(crate) fn queue() -> (Queue, Receiver<Message>) {
    let (sender, receiver) = channel();
    (Queue { sender, stopped: Arc::default() }, receiver)
}

impl Queue {
    /// A driver that has ended hears nothing any more.
    pub(crate) fn send(&self, message: Message) {
        let _ = self.sender.send(message);
    }

    /// The driver has ended: whoever waits gives up.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}
