//! Contents for a lane: files are read by the ring, several pieces at once; all else, every open and close, and files for
//! which the ring's thread might have to wait, is done by a thread that blocks.
//!
//! ```text
//! ops ──▶ submit ──file──▶ a read on the ring ──in order──▶ finish: hashes, tells the driver
//!            └──opens, closes, other contents──▶ the lane's source thread
//! ```

use std::fs::File;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use longhaul_core::id::Lane;
use longhaul_state::pool::Buffer;
use longhaul_transport::{
    Helpers, Opened, Pipe, Pipes, Read, ReadOp, Reader, Receiver, Running, Sender, channel, past_the_cache,
    refuses,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, fstatfs};

use crate::local::{Local, buffer};
use crate::op;
use crate::splice;

/// Bytes that offsets and lengths of a direct read are multiples of, on any disk.
const PAGE: usize = 4096;

/// A read that was begun, and where its result comes.
struct UnderWay {
    read: Read,
    result: Receiver<Got>,
}

/// What became of a read: so many bytes at the start of the buffer, or all that there are in a pipe.
enum Got {
    Read(Buffer, io::Result<usize>),
    Spliced(Buffer, Pipe),
}

/// A file to be read.
#[derive(Clone)]
struct Readable {
    file: Arc<File>,
    /// Reads of this descriptor pass the page cache by.
    direct: Option<Arc<File>>,
}

/// Begun, or over: in the order of the driver's commands.
enum Next {
    Read(UnderWay),
    Close(Arc<Opened>),
}

pub(crate) fn start(
    local: &Rc<Local>,
    lane: Lane,
    ops: Receiver<ReadOp>,
    helpers: Helpers,
    [submitting, finishing]: [Running; 2],
) {
    let (begun, in_order) = channel();
    let reader = Reader::new(lane, &helpers);
    let submit = Submit { local: Rc::clone(local), lane, helpers, source: None, files: Vec::new(), begun };
    local.spawn(submitting, submit.run(ops));
    local.spawn(finishing, finish(reader, in_order));
}

struct Submit {
    local: Rc<Local>,
    lane: Lane,
    helpers: Helpers,
    /// The thread that blocks, once there is something for it.
    source: Option<Sender<ReadOp>>,
    /// Contents that are open, with the file of those that are files.
    files: Vec<(Arc<Opened>, Option<Readable>)>,
    begun: Sender<Next>,
}

impl Submit {
    async fn run(mut self, ops: Receiver<ReadOp>) {
        while let Some(op) = ops.next().await {
            match op {
                ReadOp::Read(read) => {
                    let Some(file) = self.file(read.content()).await else { return };
                    match file {
                        Some(file) => {
                            let stopped = || self.helpers.is_stopped();
                            let Some(buffer) = buffer(self.helpers.share(), stopped).await else { return };
                            self.read(read, file, buffer);
                        }
                        None => self.blocking(ReadOp::Read(read)),
                    }
                }
                ReadOp::Close(close) => {
                    self.files.retain(|(content, _)| !Arc::ptr_eq(content, close.content()));
                    self.begun.send(Next::Close(Arc::clone(close.content())));
                    self.blocking(ReadOp::Close(close));
                }
                other @ (ReadOp::Open(..) | ReadOp::Check(..)) => self.blocking(other),
            }
        }
    }

    /// The file that a content is, if it is one; `None` if it can't be opened, which the driver hears of.
    async fn file(&mut self, content: &Arc<Opened>) -> Option<Option<Readable>> {
        if let Some((_, file)) = self.files.iter().find(|(other, _)| Arc::ptr_eq(other, content)) {
            return Some(file.clone());
        }
        let ((answer, opened), path) = (channel(), self.helpers.data_path());
        // All of it is done by the thread that blocks: a file system may answer none of these calls.
        let ready = move |file: Arc<File>| {
            if holds_the_ring(&file) {
                return None;
            }
            await_reads(&file);
            Some(Readable { direct: past_the_cache(&file, path).map(Arc::new), file })
        };
        self.blocking(ReadOp::Open(
            Arc::clone(content),
            Box::new(move |file| {
                answer.send(file.and_then(ready));
            }),
        ));
        let file = opened.next().await?;
        if file.is_some() {
            self.local.registered.expect(self.helpers.announced());
        }
        // Those of attempts that failed are not closed.
        self.files.retain(|(other, _)| Arc::strong_count(other) > 1);
        self.files.push((Arc::clone(content), file.clone()));
        Some(file)
    }

    fn read(&self, read: Read, file: Readable, buffer: Buffer) {
        let (sender, result) = channel();
        let (offset, wanted) = (read.offset(), read.bytes_wanted());
        let (local, pipes) = (Rc::clone(&self.local), self.helpers.pipes());
        let pipe = read.pipe(self.lane, pipes.as_ref());
        self.begun.send(Next::Read(UnderWay { read, result }));
        self.local.spawn(self.helpers.threads().enter(), async move {
            let spliced = match pipe.zip(pipes) {
                Some((pipe, pipes)) => take(&file, offset, wanted, pipe, &pipes).await,
                None => Ok(None),
            };
            sender.send(match spliced {
                Ok(Some(pipe)) => Got::Spliced(buffer, pipe),
                Ok(None) => {
                    let (buffer, result) = fill(&local, &file, offset, wanted, buffer).await;
                    Got::Read(buffer, result)
                }
                Err(error) => Got::Read(buffer, Err(error)),
            });
        });
    }

    fn blocking(&mut self, op: ReadOp) {
        let source = self.source.get_or_insert_with(|| {
            let (sender, ops) = channel();
            let reader = Reader::new(self.lane, &self.helpers);
            self.helpers
                .threads()
                .spawn(format!("longhaul-source-{}", self.lane.0), move || reader.run(&ops));
            sender
        });
        // A thread that has ended has reported why.
        source.send(op);
    }
}

/// Takes the piece into the pipe; `None` if it is to be read.
async fn take(
    from: &Readable,
    offset: u64,
    wanted: usize,
    pipe: Pipe,
    pipes: &Pipes,
) -> io::Result<Option<Pipe>> {
    match splice::fill(&from.file, offset, wanted, pipe).await {
        Err(error) if refuses(&error) => {
            pipes.refuse_source(&error);
            Ok(None)
        }
        taken => taken,
    }
}

/// Reads until the piece is whole or the file ends.
async fn fill(
    local: &Local,
    from: &Readable,
    offset: u64,
    wanted: usize,
    mut buffer: Buffer,
) -> (Buffer, io::Result<usize>) {
    let (index, mut filled) = (local.registered.index(&buffer), 0);
    let mut direct = from.direct.as_ref();
    while filled < wanted {
        // Whole pages, if more of a page than is wanted must come with it: a buffer holds a page more than a chunk.
        let end = if direct.is_some() { wanted.next_multiple_of(PAGE).min(buffer.len()) } else { wanted };
        let file = direct.unwrap_or(&from.file);
        let result;
        (result, buffer) = op::read_at(file, buffer, filled..end, offset + filled as u64, index).await;
        match result {
            Ok(0) => break,
            Ok(read) => {
                local.registered.moved(read);
                filled = (filled + read).min(wanted);
            }
            // A place that is not aligned, or other rules of the file system: the page cache has none.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && direct.is_some() => direct = None,
            Err(error) => return (buffer, Err(error)),
        }
    }
    (buffer, Ok(filled))
}

/// Whether a ring that reads the file may wait for its file system where it submits, whoever else waits for the ring: in FUSE,
/// past the page cache, until the process behind it answers.
fn holds_the_ring(file: &File) -> bool {
    fstatfs(file).is_ok_and(|found| found.filesystem_type() == FUSE_SUPER_MAGIC)
}

/// Files are opened so that a FIFO in their place does not make the open wait; of a file, a ring takes it that
/// nobody wants to wait for its disk.
fn await_reads(file: &File) {
    if let Ok(flags) = fcntl(file, FcntlArg::F_GETFL) {
        let flags = OFlag::from_bits_retain(flags) - OFlag::O_NONBLOCK;
        // Where that does not go, a read says that it would wait, and fails.
        let _ = fcntl(file, FcntlArg::F_SETFL(flags));
    }
}

/// Hashes what was read, in order, and tells the driver.
async fn finish(mut reader: Reader, begun: Receiver<Next>) {
    while let Some(next) = begun.next().await {
        match next {
            Next::Read(UnderWay { read, result }) => {
                // A read that panicked was reported.
                let Some(got) = result.next().await else { return };
                let goes_on = match got {
                    Got::Read(buffer, result) => reader.read_back(&read, buffer, result),
                    Got::Spliced(buffer, pipe) => reader.spliced_back(&read, buffer, pipe),
                };
                if !goes_on {
                    return;
                }
            }
            Next::Close(content) => reader.forget(&content),
        }
    }
}
