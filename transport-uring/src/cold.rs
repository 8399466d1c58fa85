//! Files that are to be read past the page cache.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use longhaul_state::transfer::DataPath;
use nix::errno::Errno;
use nix::libc::{self, O_CLOEXEC, O_DIRECT};

/// Bytes of a file from which on the page cache is passed by.
const LARGE: u64 = 1 << 20;
/// Its number on every architecture, from Linux 6.5 on.
const SYS_CACHESTAT: libc::c_long = 451;

/// Another descriptor of the file, whose reads pass the page cache by; `None` if they are better through it: the disk is
/// not to be asked again for what it holds.
pub(crate) fn past_the_cache(file: &File, path: DataPath) -> Option<Arc<File>> {
    let len = file.metadata().ok()?.len();
    let wanted = match path {
        DataPath::Direct => true,
        DataPath::Auto => is_cold(file, len),
        _ => false,
    };
    if !wanted || len < LARGE {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().read(true).custom_flags(O_DIRECT | O_CLOEXEC).open(path).ok().map(Arc::new)
}

/// Whether less than a quarter of the file is in the page cache; not if that can't be told.
fn is_cold(file: &File, len: u64) -> bool {
    /// Unit of what is counted.
    const PAGE: u64 = 4096;
    cached_pages(file).is_ok_and(|pages| pages.saturating_mul(PAGE) < len / 4)
}

/// What is asked about: a part of a file; of no length, all of it from the offset on.
#[repr(C)]
struct Part {
    offset: u64,
    len: u64,
}

/// What the kernel counts (`struct cachestat`).
#[repr(C)]
#[derive(Default)]
struct Counted {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// How many pages of the file are in the page cache.
fn cached_pages(file: &File) -> nix::Result<u64> {
    let (part, mut counted) = (Part { offset: 0, len: 0 }, Counted::default());
    // SAFETY: cachestat(2) reads the first structure and writes the second, both laid out as it has them, and keeps
    // neither.
    let result =
        unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const part, &raw mut counted, 0) };
    Errno::result(result).map(|_| counted.cached)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

    use super::*;

    fn written(len: usize) -> File {
        let mut file = tempfile::tempfile_in(".").unwrap();
        file.write_all(&vec![7; len]).unwrap();
        file.sync_all().unwrap();
        file
    }

    #[test]
    fn what_is_in_the_page_cache_is_read_from_there_unless_one_wants() {
        let file = written(2 << 20);
        let taken = |path| past_the_cache(&file, path).is_some();
        assert!(taken(DataPath::Direct) && !taken(DataPath::Buffered));
        if let Err(errno) = cached_pages(&file) {
            println!("skipped: {errno}");
            return;
        }
        assert!(!taken(DataPath::Auto));
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        assert!(taken(DataPath::Auto) && !taken(DataPath::Buffered));
    }

    #[test]
    fn small_files_are_read_through_it() {
        assert!(past_the_cache(&written(LARGE as usize - 1), DataPath::Direct).is_none());
    }
}
