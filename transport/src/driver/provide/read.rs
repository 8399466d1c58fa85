//! Reads contents for a lane: opens them, reads runs in order, hashes them, closes items.

use std::fs::File;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use longhaul_core::id::{ItemId, Lane};
use longhaul_core::integrity::{Checksum, Integrity, RUN_LEN, RunHasher, RunSum, crc32c};
use longhaul_core::session::ReadPiece;
use longhaul_state::item::{Item, What};
use longhaul_state::pool::{Buffer, Share};
use longhaul_state::source::{Content, Piece, Source, SourceError, SourceErrorKind};

use super::{Report, SharedRoot};
use crate::bytes::Bytes;
use crate::channel::Receiver;
use crate::chunk::Chunk;
use crate::driver::{Message, Queue};
use crate::engine::Helpers;
use crate::lane::LARGE;
use crate::pipe::{PIPE_BYTES, Pipe, Pipes, refuses};

/// What is to be done with a content.
pub enum ReadOp {
    /// A piece is to be read.
    Read(Read),
    /// All of it was read.
    Close(Close),
    /// All of it has landed: what was sent without being seen is the item as it was offered only if it has not changed
    /// since.
    Check(Arc<Opened>),
    /// It is to be opened before its first piece is read; then this is called, with the file if it is one.
    Open(Arc<Opened>, Box<dyn FnOnce(Option<Arc<File>>) + Send>),
}

/// A piece to be read.
pub struct Read {
    pub(super) id: ItemId,
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) content: Arc<Opened>,
    pub(super) integrity: Integrity,
}

impl Read {
    /// Where it begins.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes.
    #[must_use]
    pub const fn bytes_wanted(&self) -> usize {
        self.len as usize
    }

    /// What of.
    #[must_use]
    pub const fn content(&self) -> &Arc<Opened> {
        &self.content
    }

    /// An empty pipe that the piece may come into: it is large, and nobody is to see it.
    #[must_use]
    pub fn pipe(&self, lane: Lane, pipes: Option<&Pipes>) -> Option<Pipe> {
        let fits = (LARGE..=PIPE_BYTES).contains(&self.bytes_wanted());
        let unseen = self.integrity == Integrity::None && lane != Lane::CONTROL;
        pipes.filter(|_| fits && unseen)?.take()
    }
}

/// A content that was read whole.
pub struct Close {
    pub(super) id: ItemId,
    pub(super) content: Arc<Opened>,
    pub(super) size: u64,
    pub(super) checksum: Checksum,
    /// The item's element is added to it.
    pub(super) root: Option<SharedRoot>,
}

impl Close {
    /// Which content.
    #[must_use]
    pub const fn content(&self) -> &Arc<Opened> {
        &self.content
    }
}

/// An item's content, opened by whichever lane reads it first.
pub struct Opened {
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

/// Reads contents for one lane by their own trait, blocking, and tells the driver. Where an engine reads
/// itself, it hashes and tells what was read.
pub struct Reader {
    lane: Lane,
    queue: Queue,
    share: Share,
    pipes: Option<Pipes>,
    /// Runs under way (a small item may come between two chunks of a large one); the content tells
    /// attempts at one item apart.
    runs: Vec<(Arc<Opened>, RunHasher)>,
}

impl Reader {
    /// A reader for this lane.
    #[must_use]
    pub fn new(lane: Lane, helpers: &Helpers) -> Self {
        let (queue, share, pipes) = (helpers.queue.clone(), helpers.share.clone(), helpers.pipes());
        Self { lane, queue, share, pipes, runs: Vec::new() }
    }

    /// Carries out all that comes, until no more comes or something failed: the driver hears of it.
    pub fn run(mut self, ops: &Receiver<ReadOp>) {
        while let Some(op) = ops.recv() {
            if !self.step(op) {
                return;
            }
        }
    }

    /// Carries one out; `false` if no other may be: the session has ended, or something failed.
    pub fn step(&mut self, op: ReadOp) -> bool {
        match catch_unwind(AssertUnwindSafe(|| self.carry_out(op))) {
            Ok(Ok(goes_on)) => goes_on,
            Ok(Err(error)) => {
                self.queue.send(Message::FromSource(Report::Failed(error)));
                false
            }
            Err(_) => {
                self.queue.send(Message::Panicked("the source"));
                false
            }
        }
    }

    /// `false`: the session has ended.
    fn carry_out(&mut self, op: ReadOp) -> Result<bool, SourceError> {
        match op {
            ReadOp::Read(read) => return self.read(&read),
            ReadOp::Open(content, opened) => {
                let file = content.content()?.as_ref().and_then(|content| content.file());
                opened(file);
            }
            ReadOp::Check(content) => {
                drop(content.content()?);
                content.close()?;
                self.queue.send(Message::FromSource(Report::Checked));
            }
            ReadOp::Close(Close { id, content, size, checksum, root }) => {
                self.forget(&content);
                content.close()?;
                if let Some(root) = root {
                    root.add(id, &content.item, size, &checksum)?;
                }
                self.queue.send(Message::FromSource(Report::Closed { id, size, checksum }));
            }
        }
        Ok(true)
    }

    fn read(&mut self, read: &Read) -> Result<bool, SourceError> {
        let open = read.content.content()?;
        let Some(open) = &*open else { return Ok(false) };
        let (piece, chunk) = if let Some((memory, range)) = open.memory(read.offset, read.bytes_wanted()) {
            let bytes = Bytes::Memory(memory, range);
            (if bytes.is_empty() { Piece::End } else { Piece::Data(bytes.len()) }, Some(bytes.into()))
        } else {
            let Some(mut buffer) = self.share.take(&|| self.queue.is_stopped()) else { return Ok(false) };
            if let Some((file, pipe)) = open.file().zip(read.pipe(self.lane, self.pipes.as_ref()))
                && let Some(pipe) = self.splice(read, &file, pipe)?
            {
                self.report_piped(read, Chunk::piped(buffer, pipe))?;
                return Ok(true);
            }
            let piece = fill(&**open, read.offset, &mut buffer[..read.bytes_wanted()])?;
            let filled = if let Piece::Data(filled) = piece { filled } else { 0 };
            (piece, Some(Bytes::Alone(buffer, 0..filled).into()))
        };
        self.report(read, piece, chunk)?;
        Ok(true)
    }

    /// Takes the piece into the pipe, as far as the file goes; `None` if it is to be read.
    fn splice(&self, read: &Read, file: &File, mut pipe: Pipe) -> Result<Option<Pipe>, SourceError> {
        while pipe.held() < read.bytes_wanted() {
            let (offset, missing) = (read.offset + pipe.held() as u64, read.bytes_wanted() - pipe.held());
            match pipe.fill_from_file(file, offset, missing) {
                Ok(0) if pipe.is_full() => return Ok(None),
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if refuses(&error) => {
                    self.pipes.iter().for_each(|pipes| pipes.refuse_source(&error));
                    return Ok(None);
                }
                Err(error) => return Err(failed(read, error)),
            }
        }
        Ok(Some(pipe))
    }

    fn report_piped(&mut self, read: &Read, chunk: Chunk) -> Result<(), SourceError> {
        let piece = if chunk.is_empty() { Piece::End } else { Piece::Data(chunk.len()) };
        self.report(read, piece, Some(chunk))
    }

    /// An engine has taken the piece from its file into a pipe, as far as the file goes. `false` if that fails the
    /// session.
    pub fn spliced_back(&mut self, read: &Read, buffer: Buffer, pipe: Pipe) -> bool {
        let reported = self.report_piped(read, Chunk::piped(buffer, pipe));
        reported.map_err(|error| self.queue.send(Message::FromSource(Report::Failed(error)))).is_ok()
    }

    /// An engine has read the piece from its file: so many bytes, to the start of the buffer. `false` if that
    /// fails the session.
    pub fn read_back(&mut self, read: &Read, buffer: Buffer, result: std::io::Result<usize>) -> bool {
        let reported = match result {
            Ok(filled) if filled > 0 => {
                self.report(read, Piece::Data(filled), Some(Bytes::Alone(buffer, 0..filled).into()))
            }
            Ok(_) => self.report(read, Piece::End, None),
            Err(error) => Err(failed(read, error)),
        };
        reported.map_err(|error| self.queue.send(Message::FromSource(Report::Failed(error)))).is_ok()
    }

    /// Forgets the runs of a content that is to be closed.
    pub fn forget(&mut self, content: &Arc<Opened>) {
        self.runs.retain(|(other, _)| !Arc::ptr_eq(other, content));
    }

    /// Hashes a piece that was read, and tells the driver.
    fn report(&mut self, read: &Read, piece: Piece, chunk: Option<Chunk>) -> Result<(), SourceError> {
        let Read { id, offset, ref content, integrity, .. } = *read;
        let sparse = matches!(content.item.what, What::File { sparse: true, .. });
        let stream = matches!(content.item.what, What::Stream);
        let (piece, chunk, run) = match (piece, chunk) {
            (Piece::Data(len), Some(chunk)) => {
                if len < read.bytes_wanted() && !sparse && !stream {
                    return Err(shorter(content, offset + len as u64));
                }
                let crc = (integrity != Integrity::None).then(|| crc32c(chunk.bytes()));
                let run = self.hash(content, integrity, offset, |hasher| match crc {
                    Some(crc) => hasher.update(chunk.bytes(), crc),
                    None => hasher.update_unseen(len as u64),
                });
                (ReadPiece::Data { len: len as u32, crc }, Some(chunk), run)
            }
            (Piece::Hole(hole), _) => {
                let hole = hole.min(content.run_end(offset) - offset);
                let run = self.hash(content, integrity, offset, |hasher| hasher.update_hole(hole));
                (ReadPiece::Hole { len: hole }, None, run)
            }
            _ if stream => (ReadPiece::End, None, self.taken(content).and_then(RunHasher::finish)),
            _ => return Err(shorter(content, offset)),
        };
        self.queue.send(Message::FromSource(Report::Read { lane: self.lane, id, offset, piece, chunk, run }));
        Ok(())
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

fn failed(read: &Read, error: std::io::Error) -> SourceError {
    SourceError {
        kind: SourceErrorKind::Io { action: "read", error },
        item: read.content.item.name.clone(),
        offset: Some(read.offset),
    }
}

fn shorter(content: &Opened, offset: u64) -> SourceError {
    SourceError {
        kind: SourceErrorKind::Changed("it became shorter"),
        item: content.item.name.clone(),
        offset: Some(offset),
    }
}
