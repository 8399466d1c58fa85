//! A lane: one connection, and what receives from it and sends on it.

mod burst;
mod frames;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use longhaul_core::id::Lane;
use longhaul_core::integrity::Integrity;
use longhaul_core::wire::WireError;
use longhaul_state::pool::{Buffer, Share};

pub use burst::Burst;
pub use frames::{Cutter, Frames, Step, Window};
pub(crate) use frames::{Inbound, LARGE};

use crate::channel::{Sender, channel};
use crate::chunk::Coming;
use crate::driver::{Message, Queue};
use crate::engine::{Engine, Helpers, Receiving, Sending};
use crate::pipe::Pipes;
use crate::stream::{Connection, TELL_EVERY};

/// Words that are said by the driver itself, if the connection takes them: control, or a small state.
const LITTLE: usize = 4 << 10;
/// Bursts that a writer may have before the driver waits for it.
const BURSTS: usize = 3;

/// One connection of a lane. A lane that is dialled again has another: what the old one's engine
/// still reports is told apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) lane: Lane,
    pub(crate) connection: u32,
}

/// What receives from a lane's connection, or sends on it, tells the driver here.
#[derive(Clone)]
pub struct Reporter {
    port: Port,
    queue: Queue,
}

impl Reporter {
    /// The lane.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        self.port.lane
    }

    /// Whether the session is over: nobody hears anything any more.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.queue.is_stopped()
    }

    /// Frames came.
    pub fn frames(&self, buffer: Buffer, frames: Frames) {
        self.queue.send(Message::Inbound { port: self.port, buffer, frames });
    }

    /// A payload came into pipes, all of it.
    pub fn spliced(&self, coming: Coming) {
        let (header, chunk) = coming.into_parts();
        self.queue.send(Message::Spliced { port: self.port, header, chunk });
    }

    /// Bytes came that are no frames. Until the peer has read why, it is listened to: bytes unread would take our
    /// words along.
    pub fn invalid(&self, error: WireError) {
        self.queue.send(Message::Invalid { port: self.port, error });
    }

    /// The connection ended (no error), or failed.
    pub fn ended(&self, error: Option<io::Error>) {
        self.queue.send(Message::LaneEnded { port: self.port, error });
    }

    /// So many bytes have come of a payload that is not whole.
    pub fn coming(&self, bytes: u64) {
        self.queue.send(Message::Coming { port: self.port, bytes });
    }

    /// So many bytes were taken of a burst that is not over.
    pub fn taken(&self, bytes: u64) {
        self.queue.send(Message::Taken { port: self.port, bytes });
    }

    /// The burst was sent; so many bytes of it were told of already.
    pub fn sent(&self, mut burst: Burst, told: u64) {
        let bytes = burst.len() as u64 - told;
        // Buffers go back to the pool now, not when the burst is used again.
        burst.clear();
        self.queue.send(Message::Sent { port: self.port, bytes, burst });
    }

    /// All bursts were sent, and there will be no more.
    pub fn finished(&self) {
        self.queue.send(Message::WriterEnded { port: self.port });
    }
}

/// Counts what came of a payload that is not whole, and says when to tell of it.
#[derive(Debug, Default)]
pub struct Telling {
    untold: u64,
    /// When it was told last, or the payload began.
    since: Option<Instant>,
}

impl Telling {
    /// So many bytes came, and so many are missing now. What is to be told of, if it is time.
    #[must_use]
    pub fn came(&mut self, bytes: usize, missing: usize) -> Option<u64> {
        if missing == 0 {
            *self = Self::default();
            return None;
        }
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        self.untold += bytes as u64;
        if now - since < TELL_EVERY {
            return None;
        }
        self.since = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// What sends on a lane: nothing as long as there is nothing for it. A small state has none on either side.
enum Writer {
    NotStarted,
    Started(Sender<Burst>),
    /// There will be no more.
    Ended,
}

/// The driver's end of a lane.
pub(crate) struct LaneEnd {
    pub(crate) port: Port,
    connection: Connection,
    writer: Writer,
    /// What starts it.
    engine: Arc<dyn Engine>,
    helpers: Helpers,
    /// Something has come of late.
    heard: bool,
    /// Bursts at the writer.
    under_way: usize,
    /// What will be sent next.
    pub(crate) building: Burst,
    /// Bursts that came back: their memory is used again.
    spare: Vec<Burst>,
}

impl LaneEnd {
    /// Starts a lane. Payloads are received into buffers of `share`, or into `pipes` if nobody is to see them.
    pub(crate) fn start(
        port: Port,
        connection: Connection,
        share: Share,
        integrity: Integrity,
        pipes: Option<Pipes>,
        helpers: &Helpers,
        engine: &Arc<dyn Engine>,
    ) -> Self {
        engine.start_receiving(Receiving {
            reporter: Reporter { port, queue: helpers.queue.clone() },
            connection: connection.clone(),
            cutter: Cutter::new(integrity, pipes),
            share,
            threads: helpers.threads.clone(),
            announced: helpers.announced(),
        });
        Self {
            port,
            connection,
            writer: Writer::NotStarted,
            engine: Arc::clone(engine),
            helpers: helpers.clone(),
            heard: false,
            under_way: 0,
            building: Burst::default(),
            spare: Vec::with_capacity(BURSTS),
        }
    }

    fn reporter(&self) -> Reporter {
        Reporter { port: self.port, queue: self.helpers.queue.clone() }
    }

    /// Hands it to the writer; `false` if there will be none any more.
    fn write(&mut self, burst: Burst) -> bool {
        if matches!(self.writer, Writer::NotStarted) {
            let (writer, bursts) = channel();
            self.engine.start_sending(Sending {
                reporter: self.reporter(),
                connection: self.connection.clone(),
                bursts,
                threads: self.helpers.threads.clone(),
                announced: self.helpers.announced(),
            });
            self.writer = Writer::Started(writer);
        }
        // A writer that has ended has said why; the driver will hear of it.
        matches!(&self.writer, Writer::Started(writer) if writer.send(burst))
    }

    /// Something has come.
    pub(crate) const fn hear(&mut self) {
        self.heard = true;
    }

    /// Looks whether something has come since the last look: if not, the reader is to take what there is.
    pub(crate) fn look(&mut self) {
        if !std::mem::take(&mut self.heard) {
            self.connection.wake_for_any();
        }
    }

    /// Whether the writer takes another burst now.
    pub(crate) fn has_room(&self) -> bool {
        self.under_way < BURSTS && !self.building.is_full()
    }

    /// Says a few words of control at once if nothing is under way: to wake the writer for them would take longer. How
    /// many bytes were said; the writer has the rest.
    pub(crate) fn say_little(&mut self) -> u64 {
        if self.port.lane != Lane::CONTROL || self.under_way > 0 || matches!(self.writer, Writer::Ended) {
            return 0;
        }
        let Some(words) = self.building.words().filter(|words| words.len() <= LITTLE) else { return 0 };
        let said = self.connection.say_now(words);
        self.building.said(said);
        said as u64
    }

    /// Hands what was built to the writer, if it has room; `true` if it did.
    pub(crate) fn flush(&mut self) -> bool {
        if self.building.is_empty() || self.under_way >= BURSTS {
            return false;
        }
        let next = self.spare.pop().unwrap_or_default();
        let burst = std::mem::replace(&mut self.building, next);
        if self.write(burst) {
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
        if !last.is_empty() {
            self.write(last);
        }
        if let Writer::NotStarted = std::mem::replace(&mut self.writer, Writer::Ended) {
            self.reporter().finished();
        }
    }

    /// Says on the connection that nothing more comes. Only after the writer has ended.
    pub(crate) fn finish_connection(&self) {
        self.connection.finish();
    }

    /// Ends the connection now.
    pub(crate) fn close(&self) {
        self.connection.close();
    }
}
