//! A lane's source thread: files that are not in the page cache are read past it, into the pool's buffers; all else by its own
//! trait.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc;

use longhaul_transport::{Helpers, Opened, Read, ReadOp, Reader, Receiver, past_the_cache};

/// Bytes that offsets and lengths of a direct read are multiples of, on any disk.
const PAGE: usize = 4096;

/// A lane's contents.
pub(crate) struct Files {
    reader: Reader,
    helpers: Helpers,
    /// Contents that are open, with the file of those that are files to be read past the page cache.
    open: Vec<(Arc<Opened>, Option<Cold>)>,
}

/// A file, and another descriptor of it, whose reads pass the page cache by.
#[derive(Clone)]
struct Cold {
    file: Arc<File>,
    direct: Arc<File>,
}

impl Files {
    pub(crate) const fn new(reader: Reader, helpers: Helpers) -> Self {
        Self { reader, helpers, open: Vec::new() }
    }

    pub(crate) fn run(mut self, ops: &Receiver<ReadOp>) {
        while let Some(op) = ops.recv() {
            if !self.carry_out(op) {
                return;
            }
        }
    }

    /// `false`: no other may be carried out.
    fn carry_out(&mut self, op: ReadOp) -> bool {
        match op {
            ReadOp::Read(read) => match self.cold(read.content()) {
                Ok(Some(cold)) => self.read(&read, &cold),
                Ok(None) => self.reader.step(ReadOp::Read(read)),
                Err(Over) => false,
            },
            ReadOp::Close(close) => {
                self.open.retain(|(content, _)| !Arc::ptr_eq(content, close.content()));
                self.reader.step(ReadOp::Close(close))
            }
            other @ (ReadOp::Open(..) | ReadOp::Check(..)) => self.reader.step(other),
        }
    }

    /// The file that a content is, if it is to be read past the page cache.
    fn cold(&mut self, content: &Arc<Opened>) -> Result<Option<Cold>, Over> {
        if let Some((_, cold)) = self.open.iter().find(|(other, _)| Arc::ptr_eq(other, content)) {
            return Ok(cold.clone());
        }
        let (answer, opened) = mpsc::channel();
        let opening = ReadOp::Open(
            Arc::clone(content),
            Box::new(move |file| {
                // It is waited for, on this thread.
                let _ = answer.send(file);
            }),
        );
        if !self.reader.step(opening) {
            return Err(Over);
        }
        let file = opened.try_recv().ok().flatten();
        let path = self.helpers.data_path();
        let cold = file.and_then(|file| Some(Cold { direct: Arc::new(past_the_cache(&file, path)?), file }));
        // Those of attempts that failed are not closed.
        self.open.retain(|(other, _)| Arc::strong_count(other) > 1);
        self.open.push((Arc::clone(content), cold.clone()));
        Ok(cold)
    }

    fn read(&mut self, read: &Read, cold: &Cold) -> bool {
        let stopped = || self.helpers.is_stopped();
        let Some(mut buffer) = self.helpers.share().take(&stopped) else { return false };
        let result = fill(cold, read.offset(), read.bytes_wanted(), &mut buffer);
        self.reader.read_back(read, buffer, result)
    }
}

/// The reader has ended, and told why.
struct Over;

/// Reads until the piece is whole or the file ends.
fn fill(from: &Cold, offset: u64, wanted: usize, buffer: &mut [u8]) -> io::Result<usize> {
    let (mut filled, mut direct) = (0, true);
    while filled < wanted {
        // Whole pages, if more of a page than is wanted must come with it: a buffer holds a page more than a chunk.
        let end = if direct { wanted.next_multiple_of(PAGE).min(buffer.len()) } else { wanted };
        let file = if direct { &from.direct } else { &from.file };
        match file.read_at(&mut buffer[filled..end], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled = (filled + read).min(wanted),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A place that is not aligned, or other rules of the file system: the page cache has none.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && direct => direct = false,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use longhaul_core::id::{MemberId, TransferId};
    use longhaul_core::wire::ChunkLen;
    use longhaul_state::pool::{DEFAULT_MEMORY, Pool};
    use longhaul_state::sink::MemorySink;
    use longhaul_state::source::{DirectoryOptions, DirectorySource};
    use longhaul_state::transfer::{Control, DataPath, Options};
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

    use super::*;

    /// What a joiner has of the file at `path`.
    fn received(path: &std::path::Path, data_path: DataPath) -> Vec<u8> {
        let pool = || Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 1, 2);
        let options = |member| Options {
            member: MemberId([member; 16]),
            transfer: TransferId([9; 16]),
            data_path,
            ..Options::default()
        };
        let listener = crate::listen("127.0.0.1:0").unwrap();
        let address = listener.local_addr();
        let source = Arc::new(DirectorySource::new(path, DirectoryOptions::default()).unwrap());
        let sink = MemorySink::new(64 << 20);
        let published = sink.published();
        thread::scope(|scope| {
            scope.spawn(|| {
                let caller = listener.accept().unwrap().unwrap();
                caller.provide(source, &options(1), &pool(), &Arc::new(Control::new())).unwrap();
            });
            let control = Arc::new(Control::new());
            crate::join(address, Box::new(sink), &options(2), &pool(), &control).unwrap();
        });
        published.take().unwrap()
    }

    #[test]
    fn a_file_that_is_not_in_the_page_cache_is_not_brought_there() {
        let place = tempfile::tempdir_in(".").unwrap();
        let path = place.path().join("state");
        let content: Vec<u8> = (0..(5 << 20) + 777_u32).map(|at| (at >> 9) as u8 ^ at as u8).collect();
        fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        let forget = || {
            file.sync_all().unwrap();
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        };
        let is_cold = || past_the_cache(&file, DataPath::Auto).is_some();
        forget();
        if !is_cold() {
            println!("skipped: no file is ever out of memory here");
            return;
        }
        for (data_path, stays_cold) in
            [(DataPath::Auto, true), (DataPath::Buffered, false), (DataPath::Direct, true)]
        {
            forget();
            assert!(received(&path, data_path) == content);
            assert_eq!(is_cold(), stays_cold, "{data_path:?}");
        }
    }
}
