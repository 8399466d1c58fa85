//! A lane's read thread: reads runs in order, hashes them, closes items.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use longhaul_core::id::{ItemId, Lane};
use longhaul_core::integrity::{Checksum, Integrity, RUN_LEN, RunHasher, RunSum, crc32c};
use longhaul_core::session::ReadPiece;
use longhaul_state::item::{Item, What};
use longhaul_state::pool::Share;
use longhaul_state::source::{Content, Piece, Source, SourceError, SourceErrorKind};

use super::{Report, SharedRoot};
use crate::bytes::Bytes;
use crate::channel::Receiver;
use crate::driver::{Message, Queue, Shared};

/// What a read thread does.
pub(super) enum ReadOp {
    Read {
        id: ItemId,
        offset: u64,
        len: u32,
        content: Arc<Opened>,
        integrity: Integrity,
    },
    /// `root`: the item's element is added to it.
    Close {
        id: ItemId,
        content: Arc<Opened>,
        size: u64,
        checksum: Checksum,
        root: Option<SharedRoot>,
    },
}

/// An item's content, opened by whichever lane reads it first.
pub(super) struct Opened {
    source: Arc<dyn Source>,
    item: Item,
    content: RwLock<Option<Box<dyn Content>>>,
}

impl Opened {
    pub(super) fn new(source: Arc<dyn Source>, item: Item) -> Self {
        Self { source, item, content: RwLock::new(None) }
    }

    /// The content, opened first if need be.
    fn content(&self) -> Result<impl Deref<Target = Option<Box<dyn Content>>>, SourceError> {
        loop {
            let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
            if content.is_some() {
                return Ok(content);
            }
            drop(content);
            let mut slot = self.content.write().unwrap_or_else(PoisonError::into_inner);
            if slot.is_none() {
                *slot = Some(self.source.open(&self.item)?);
            }
        }
    }

    fn close(&self) -> Result<(), SourceError> {
        let content = self.content.write().unwrap_or_else(PoisonError::into_inner).take();
        content.map_or(Ok(()), Content::close)
    }

    /// Where the run that holds `offset` ends.
    fn run_end(&self, offset: u64) -> u64 {
        let grid = (offset / RUN_LEN + 1).saturating_mul(RUN_LEN);
        match self.item.what {
            What::File { size, .. } => grid.min(size),
            _ => grid,
        }
    }
}

pub(super) fn start(lane: Lane, ops: Receiver<ReadOp>, shared: &Shared) {
    let mut thread =
        ReadThread { lane, queue: shared.queue.clone(), share: shared.share.clone(), runs: Vec::new() };
    shared.threads.spawn(format!("longhaul-source-{}", lane.0), move || {
        while let Some(op) = ops.recv() {
            match catch_unwind(AssertUnwindSafe(|| thread.carry_out(op))) {
                Ok(Ok(Some(report))) => thread.queue.send(Message::FromSource(report)),
                Ok(Ok(None)) => return,
                Ok(Err(error)) => return thread.queue.send(Message::FromSource(Report::Failed(error))),
                Err(_) => return thread.queue.send(Message::Panicked("the source")),
            }
        }
    });
}

struct ReadThread {
    lane: Lane,
    queue: Queue,
    share: Share,
    /// Runs under way (a small item may come between two chunks of a large one); the content tells
    /// attempts at one item apart.
    runs: Vec<(Arc<Opened>, RunHasher)>,
}

impl ReadThread {
    /// `None`: the session has ended.
    fn carry_out(&mut self, op: ReadOp) -> Result<Option<Report>, SourceError> {
        match op {
            ReadOp::Read { id, offset, len, content, integrity } => {
                self.read(id, offset, len as usize, &content, integrity)
            }
            ReadOp::Close { id, content, size, checksum, root } => {
                self.runs.retain(|(other, _)| !Arc::ptr_eq(other, &content));
                content.close()?;
                if let Some(root) = root {
                    root.add(id, &content.item, size, &checksum)?;
                }
                Ok(Some(Report::Closed { id, size, checksum }))
            }
        }
    }

    fn read(
        &mut self,
        id: ItemId,
        offset: u64,
        len: usize,
        content: &Arc<Opened>,
        integrity: Integrity,
    ) -> Result<Option<Report>, SourceError> {
        let lane = self.lane;
        let open = content.content()?;
        let Some(open) = &*open else { return Ok(None) };
        let (piece, bytes) = if let Some((memory, range)) = open.memory(offset, len) {
            let bytes = Bytes::Memory(memory, range);
            (if bytes.is_empty() { Piece::End } else { Piece::Data(bytes.len()) }, Some(bytes))
        } else {
            let Some(mut buffer) = self.share.take(&|| self.queue.is_stopped()) else { return Ok(None) };
            let piece = fill(&**open, offset, &mut buffer[..len])?;
            let filled = if let Piece::Data(filled) = piece { filled } else { 0 };
            (piece, Some(Bytes::Alone(buffer, 0..filled)))
        };
        let report = |piece, bytes, run| Some(Report::Read { lane, id, offset, piece, bytes, run });
        let sparse = matches!(content.item.what, What::File { sparse: true, .. });
        let stream = matches!(content.item.what, What::Stream);
        Ok(match (piece, bytes) {
            (Piece::Data(read), Some(bytes)) => {
                if read < len && !sparse && !stream {
                    return Err(shorter(content, offset + read as u64));
                }
                let crc = (integrity != Integrity::None).then(|| crc32c(&bytes));
                let run = self.hash(content, integrity, offset, |hasher| {
                    hasher.update(&bytes, crc.unwrap_or(0));
                });
                report(ReadPiece::Data { len: read as u32, crc }, Some(bytes), run)
            }
            (Piece::Hole(hole), _) => {
                let hole = hole.min(content.run_end(offset) - offset);
                let run = self.hash(content, integrity, offset, |hasher| hasher.update_hole(hole));
                report(ReadPiece::Hole { len: hole }, None, run)
            }
            _ if stream => {
                let run = self.taken(content).and_then(RunHasher::finish);
                report(ReadPiece::End, None, run)
            }
            _ => return Err(shorter(content, offset)),
        })
    }

    /// Hashes the next piece of a run; returns the run's sum if that was its last.
    fn hash(
        &mut self,
        content: &Arc<Opened>,
        integrity: Integrity,
        offset: u64,
        update: impl FnOnce(&mut RunHasher),
    ) -> Option<RunSum> {
        let continued = self
            .runs
            .iter_mut()
            .find(|(other, hasher)| Arc::ptr_eq(other, content) && hasher.next_offset() == offset);
        let next = if let Some((_, hasher)) = continued {
            update(hasher);
            hasher.next_offset()
        } else {
            // Runs of attempts that failed were never ended.
            self.runs.retain(|(other, _)| Arc::strong_count(other) > 1);
            let mut hasher = RunHasher::new(integrity, offset);
            update(&mut hasher);
            let next = hasher.next_offset();
            self.runs.push((Arc::clone(content), hasher));
            next
        };
        if next == content.run_end(offset) { self.taken(content).and_then(RunHasher::finish) } else { None }
    }

    /// The hasher of the content's run that was read last.
    fn taken(&mut self, content: &Arc<Opened>) -> Option<RunHasher> {
        let at = self.runs.iter().rposition(|(other, _)| Arc::ptr_eq(other, content))?;
        Some(self.runs.remove(at).1)
    }
}

/// Reads until the buffer is full, or a hole or the end comes.
fn fill(content: &dyn Content, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
    let mut filled = 0;
    while filled < buffer.len() {
        let room = buffer.len() - filled;
        match content.read_at(offset + filled as u64, &mut buffer[filled..])? {
            Piece::Data(0) | Piece::Hole(0) => return Err(SourceError::user("a read moved nothing")),
            Piece::Data(read) if read > room => {
                return Err(SourceError::user("a read claims more than was asked for"));
            }
            Piece::Data(read) => filled += read,
            other if filled == 0 => return Ok(other),
            _ => break,
        }
    }
    Ok(Piece::Data(filled))
}

fn shorter(content: &Opened, offset: u64) -> SourceError {
    SourceError {
        kind: SourceErrorKind::Changed("it became shorter"),
        item: content.item.name.clone(),
        offset: Some(offset),
    }
}
