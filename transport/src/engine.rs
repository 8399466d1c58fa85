//! The seam between a session's driver and what moves its bytes.

use std::sync::Arc;

use longhaul_core::id::Lane;
use longhaul_state::pool::Share;
use longhaul_state::transfer::{Control, DataPath};

use crate::channel::Receiver;
use crate::driver::{Queue, ReadOp, WriteOp};
use crate::lane::{Burst, Cutter, Reporter};
use crate::pipe::Pipes;
use crate::stream::Connection;
use crate::threads::Threads;

/// What moves a session's bytes between sockets, buffers and files. Whatever it starts ends by itself: when its
/// channel has ended or its connection is closed; and [`Threads`] count it until then.
pub trait Engine: Send + Sync {
    /// Starts to receive from a lane's connection.
    fn start_receiving(&self, lane: Receiving);

    /// Starts to send on it, when there is something to send that the driver does not say itself.
    fn start_sending(&self, lane: Sending);

    /// Starts to read contents for a lane, in the order of `ops`.
    fn start_reads(&self, lane: Lane, ops: Receiver<ReadOp>, helpers: &Helpers);

    /// Starts to write a lane's chunks into files, each at its own offset, in any order.
    fn start_writes(&self, lane: Lane, ops: Receiver<WriteOp>, helpers: &Helpers);
}

/// A lane, as far as it receives.
pub struct Receiving {
    /// Hears what comes.
    pub reporter: Reporter,
    /// Its connection.
    pub connection: Connection,
    /// Cuts what comes into frames.
    pub cutter: Cutter,
    /// Where buffers come from that are received into.
    pub share: Share,
    /// Counts what is started.
    pub threads: Threads,
    /// Bytes of content that the session is to move, where that is known by now.
    pub announced: Option<u64>,
}

/// A lane, as far as it sends.
pub struct Sending {
    /// Hears what was sent.
    pub reporter: Reporter,
    /// Its connection.
    pub connection: Connection,
    /// What is to be sent, in this order.
    pub bursts: Receiver<Burst>,
    /// Counts what is started.
    pub threads: Threads,
    /// As in [`Receiving`].
    pub announced: Option<u64>,
}

/// What a driver's helpers use too.
#[derive(Clone)]
pub struct Helpers {
    pub(crate) queue: Queue,
    pub(crate) threads: Threads,
    pub(crate) share: Share,
    pub(crate) reserved: Share,
    pub(crate) control: Arc<Control>,
    pub(crate) data_path: DataPath,
    pub(crate) pipes: Pipes,
}

impl Helpers {
    /// Counts what is started.
    #[must_use]
    pub const fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Where buffers for payloads come from.
    #[must_use]
    pub const fn share(&self) -> &Share {
        &self.share
    }

    /// How bytes are to move between files and memory.
    #[must_use]
    pub const fn data_path(&self) -> DataPath {
        self.data_path
    }

    /// What payloads pass through that nobody is to see; `None` if they pass through memory.
    #[must_use]
    pub fn pipes(&self) -> Option<Pipes> {
        self.data_path.is_spliced().then(|| self.pipes.clone())
    }

    /// Bytes of content that the session is to move, where that is known by now.
    #[must_use]
    pub fn announced(&self) -> Option<u64> {
        self.control.stats().bytes_total
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.queue.is_stopped()
    }
}
