//! Writes past the page cache: for which files, and how much of a chunk.
//!
//! A large write through the page cache costs a copy, the first touch of its memory and a writeback that the last sync
//! waits for; one past it is on the disk when it returns. It takes whole pages, and blocks that were reserved, or all of a
//! file at once.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use longhaul_state::transfer::DataPath;

use crate::driver::WriteOp;

/// Bytes of a file from which on the page cache is passed by: what is smaller is synced at once with others.
pub(crate) const LARGE: usize = 64 << 10;
/// Bytes that offsets, lengths and memory of a direct write are multiples of, on any disk.
const ALIGNED: usize = 4096;

/// Another descriptor of a file: its writes pass the page cache by.
#[derive(Debug)]
pub struct Direct {
    file: Arc<File>,
    /// The file system did not take one.
    refused: AtomicBool,
}

impl Direct {
    /// The descriptor.
    #[must_use]
    pub const fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Whether a write that failed with this says no more than that the file system has other rules: the page cache has
    /// none. It is not asked again then.
    #[must_use]
    pub fn refuses(&self, error: &io::Error) -> bool {
        let refuses = error.kind() == io::ErrorKind::InvalidInput;
        if refuses {
            self.refused.store(true, Ordering::Relaxed);
        }
        refuses
    }
}

/// The files that a lane's chunks have come for.
#[derive(Debug)]
pub struct DirectFiles {
    wanted: bool,
    known: Vec<(Weak<File>, Option<Arc<Direct>>)>,
}

impl DirectFiles {
    /// None yet.
    #[must_use]
    pub const fn new(path: DataPath) -> Self {
        Self { wanted: matches!(path, DataPath::Auto | DataPath::Direct), known: Vec::new() }
    }

    /// How to write the chunk past the page cache, and how many of its bytes, from the first; the rest goes through it.
    /// `None` if all of it does.
    pub fn reach(&mut self, chunk: &WriteOp) -> Option<(Arc<Direct>, usize)> {
        let bytes = chunk.bytes();
        let whole_pages = bytes.len() - bytes.len() % ALIGNED;
        let aligned =
            chunk.offset().is_multiple_of(ALIGNED as u64) && bytes.as_ptr().addr().is_multiple_of(ALIGNED);
        if !self.wanted || !aligned || whole_pages == 0 {
            return None;
        }
        let direct = self.direct(chunk)?;
        (!direct.refused.load(Ordering::Relaxed)).then_some((direct, whole_pages))
    }

    fn direct(&mut self, chunk: &WriteOp) -> Option<Arc<Direct>> {
        let file = chunk.file();
        let known = self.known.iter().find(|(known, _)| known.as_ptr() == Arc::as_ptr(file));
        if let Some((_, direct)) = known {
            return direct.clone();
        }
        self.known.retain(|(known, _)| known.strong_count() > 0);
        let whole = if chunk.is_whole() { chunk.bytes().len() as u64 } else { 0 };
        let direct = open(file, whole)
            .map(|file| Arc::new(Direct { file: Arc::new(file), refused: AtomicBool::new(false) }));
        self.known.push((Arc::downgrade(file), direct.clone()));
        direct
    }
}

/// `None` where the page cache is better, or the system has nothing else. `whole`: so many bytes are all of the file.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
fn open(file: &File, whole: u64) -> Option<File> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;

    use nix::libc::{O_CLOEXEC, O_DIRECT};

    // Its length was set when its blocks were reserved: a file without one would grow by each write.
    if file.metadata().ok()?.len().max(whole) < LARGE as u64 {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().write(true).custom_flags(O_DIRECT | O_CLOEXEC).open(path).ok()
}

#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
fn open(_file: &File, _whole: u64) -> Option<File> {
    None
}

#[cfg(all(test, target_os = "linux", not(longhaul_portable)))]
mod tests {
    use longhaul_core::id::ItemId;
    use longhaul_core::wire::ChunkLen;
    use longhaul_state::pool::Pool;

    use super::*;
    use crate::bytes::Bytes;
    use crate::driver::queue;

    const CHUNK: usize = 128 << 10;

    /// How much of a chunk, of these bytes of a buffer, goes past the page cache; the file is so long already.
    fn past(path: DataPath, file_len: u64, offset: u64, part: std::ops::Range<usize>, whole: bool) -> usize {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create_new(dir.path().join("file")).unwrap();
        file.set_len(file_len).unwrap();
        let share = Pool::reserved(ChunkLen::new(CHUNK as u32).unwrap(), 1).share();
        let bytes = Bytes::Alone(share.take(&|| false).unwrap(), part);
        let chunk = WriteOp::new(ItemId(0), Arc::new(file), offset, bytes.into(), whole, queue().0);
        DirectFiles::new(path).reach(&chunk).map_or(0, |(_, len)| len)
    }

    #[test]
    fn whole_pages_of_large_files_go_past_the_page_cache() {
        let large = LARGE as u64;
        let cases = [
            ("all of a large file's chunk", DataPath::Auto, large, 0, 0..CHUNK, false, CHUNK),
            (
                "its pages, where it ends odd",
                DataPath::Direct,
                large,
                4096,
                0..CHUNK - 1,
                false,
                CHUNK - 4096,
            ),
            ("no small file", DataPath::Auto, large - 1, 0, 0..LARGE, false, 0),
            ("a file without blocks, if this is all of it", DataPath::Auto, 0, 0, 0..LARGE, true, LARGE),
            ("else it would grow by each write", DataPath::Auto, 0, 0, 0..LARGE, false, 0),
            ("no place that is not aligned", DataPath::Auto, large, 512, 0..LARGE, false, 0),
            ("no memory that is not", DataPath::Auto, large, 0, 32..LARGE, false, 0),
            ("less than a page", DataPath::Auto, large, 0, 0..4095, false, 0),
            ("nothing, if one wants", DataPath::Buffered, large, 0, 0..CHUNK, false, 0),
        ];
        for (what, path, file_len, offset, part, whole, expected) in cases {
            assert_eq!(past(path, file_len, offset, part, whole), expected, "{what}");
        }
    }
}
