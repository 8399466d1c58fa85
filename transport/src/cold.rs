//! Reads past the page cache: of which files.
#![expect(unsafe_code, reason = "calls that count what is in the page cache")]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use longhaul_state::transfer::DataPath;
use nix::errno::Errno;
use nix::libc::{self, O_CLOEXEC, O_DIRECT};

/// Bytes of a file from which on the page cache is passed by.
const LARGE: u64 = 1 << 20;
/// Unit of what is counted.
const PAGE: u64 = 4096;
/// Bytes of a file that are mapped at once, to be asked about.
const WINDOW: u64 = 256 << 20;
/// Its number on every architecture, from Linux 6.5 on.
const SYS_CACHESTAT: libc::c_long = 451;

/// Another descriptor of the file, whose reads pass the page cache by; `None` if they are better through it: the disk is
/// not to be asked again for what it holds.
#[must_use]
pub fn past_the_cache(file: &File, path: DataPath) -> Option<File> {
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
    OpenOptions::new().read(true).custom_flags(O_DIRECT | O_CLOEXEC).open(path).ok()
}

/// Whether less than a quarter of the file is in the page cache; not if that can't be told.
fn is_cold(file: &File, len: u64) -> bool {
    // Older kernels, and filters of system calls, have no cachestat.
    let pages = cached_pages(file).or_else(|_| resident_pages(file, len));
    pages.is_ok_and(|pages| pages.saturating_mul(PAGE) < len / 4)
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

/// The same, by mapping the file, of this length, part by part. Of a file that this process could not write, the kernel says
/// that all of it is there (mincore(2)): then it is read from where it may be.
fn resident_pages(file: &File, len: u64) -> nix::Result<u64> {
    let mut resident = vec![0_u8; WINDOW.min(len).div_ceil(PAGE) as usize];
    let mut pages = 0;
    for offset in (0..len).step_by(WINDOW as usize) {
        let mapping = Mapping::new(file, offset, WINDOW.min(len - offset) as usize)?;
        let resident = &mut resident[..mapping.len.div_ceil(PAGE as usize)];
        // SAFETY: mincore(2) writes a byte for each page of the mapping, for which the vector has room, and reads none of
        // the mapping.
        Errno::result(unsafe { libc::mincore(mapping.start, mapping.len, resident.as_mut_ptr()) })?;
        pages += resident.iter().filter(|page| **page & 1 == 1).count() as u64;
    }
    Ok(pages)
}

/// A part of a file, mapped but never looked at: a file that becomes shorter harms nobody.
struct Mapping {
    start: *mut libc::c_void,
    len: usize,
}

impl Mapping {
    fn new(file: &File, offset: u64, len: usize) -> nix::Result<Self> {
        let (anywhere, offset) = (std::ptr::null_mut(), offset.cast_signed());
        // SAFETY: mmap(2) makes a new mapping, where there was none.
        let start =
            unsafe { libc::mmap(anywhere, len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(Self { start, len }) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and nothing refers into it.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

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
    fn both_ways_to_count_what_is_in_the_page_cache_agree() {
        let len = 3 << 20;
        let file = written(len);
        if let Err(errno) = cached_pages(&file) {
            println!("skipped: {errno}");
            return;
        }
        let agreed = || {
            let both = (cached_pages(&file).unwrap(), resident_pages(&file, len as u64).unwrap());
            assert_eq!(both.0, both.1);
            both.0
        };
        let advise = |advice| posix_fadvise(&file, 0, 0, advice).unwrap();
        assert_eq!(agreed(), len as u64 / PAGE);
        advise(PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        assert_eq!(agreed(), 0);
        // Nothing is read ahead.
        advise(PosixFadviseAdvice::POSIX_FADV_RANDOM);
        file.read_exact_at(&mut vec![0; 1 << 20], 1 << 20).unwrap();
        assert!(agreed() > 0);
    }

    #[test]
    fn small_files_are_read_through_it() {
        assert!(past_the_cache(&written(LARGE as usize - 1), DataPath::Direct).is_none());
    }
}
