//! A lane: one connection, a thread that reads it and a thread that writes it.

mod reader;
mod writer;

use longhaul_core::id::Lane;
use longhaul_core::integrity::Integrity;
use longhaul_state::pool::Share;

pub(crate) use reader::{Frames, Inbound};
pub(crate) use writer::Burst;

use crate::driver::Queue;
use crate::stream::{Closer, Connection};
use crate::threads::Threads;
use writer::Writer;

/// Bursts that a writer may have before the driver waits for it.
const BURSTS: usize = 3;
/// Bytes at which a burst goes to the writer.
pub(crate) const BURST_BYTES: usize = 512 << 10;

/// One connection of a lane. A lane that is dialled again has another: what the old one's threads
/// still report is told apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) lane: Lane,
    pub(crate) connection: u32,
}

/// The driver's end of a lane.
pub(crate) struct LaneEnd {
    pub(crate) port: Port,
    writer: Option<Writer>,
    closer: Box<dyn Closer>,
    /// Bursts at the writer.
    under_way: usize,
    /// What will be sent next.
    pub(crate) building: Burst,
    /// Bursts that came back: their memory is used again.
    spare: Vec<Burst>,
}

impl LaneEnd {
    /// Starts a lane's threads. Payloads are received into buffers of `share`.
    pub(crate) fn start(
        port: Port,
        connection: Connection,
        share: Share,
        integrity: Integrity,
        queue: &Queue,
        threads: &Threads,
    ) -> Self {
        let Connection { reader, writer, closer } = connection;
        reader::start(port, reader, share, integrity, queue.clone(), threads);
        Self {
            port,
            writer: Some(writer::start(port, writer, queue.clone(), threads)),
            closer,
            under_way: 0,
            building: Burst::default(),
            spare: Vec::with_capacity(BURSTS),
        }
    }

    /// Whether the writer takes another burst now.
    pub(crate) fn has_room(&self) -> bool {
        self.under_way < BURSTS && self.building.len() < BURST_BYTES
    }

    /// Hands what was built to the writer, if it has room; `true` if it did.
    pub(crate) fn flush(&mut self) -> bool {
        if self.building.is_empty() || self.under_way >= BURSTS {
            return false;
        }
        let next = self.spare.pop().unwrap_or_default();
        let burst = std::mem::replace(&mut self.building, next);
        // A writer that has ended has said why; the driver will hear of it.
        if self.writer.as_ref().is_some_and(|writer| writer.send(burst)) {
            self.under_way += 1;
        }
        true
    }

    /// A burst was written, and came back.
    pub(crate) fn sent(&mut self, burst: Burst) {
        self.under_way -= 1;
        self.spare.push(burst);
    }

    /// Hands over what is left, room or not, and ends the writing: the peer sees the end after it.
    pub(crate) fn finish(&mut self) {
        let last = std::mem::take(&mut self.building);
        if let Some(writer) = self.writer.take()
            && !last.is_empty()
        {
            writer.send(last);
        }
    }

    /// Says on the connection that nothing more comes. Only after the writer has ended.
    pub(crate) fn finish_connection(&self) {
        self.closer.finish();
    }

    /// Ends the connection now.
    pub(crate) fn close(&self) {
        self.closer.close();
    }
}
