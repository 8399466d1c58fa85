//! The states that are moved, and the places where they land.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A tree of files.
pub(crate) struct Tree {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

const SMALL: usize = 4 << 10;
const LARGE: usize = 256 << 10;
/// Files in a directory.
const FANOUT: usize = 500;

/// Makes `small` files of 4 KiB and `large` files of 256 KiB, in directories of 500, made durable.
pub(crate) fn make(path: &Path, small: usize, large: usize) -> io::Result<Tree> {
    let mut content = crate::bare::buffer();
    for n in 0..small + large {
        let directory = path.join(format!("d{:03}", n / FANOUT));
        if n % FANOUT == 0 {
            fs::create_dir_all(&directory)?;
        }
        content[..8].copy_from_slice(&(n as u64).to_le_bytes());
        let len = if n < small { SMALL } else { LARGE };
        fs::write(directory.join(format!("f{n:06}")), &content[..len])?;
    }
    sync(path)?;
    Ok(Tree { path: path.to_owned(), bytes: (small * SMALL + large * LARGE) as u64 })
}

/// Makes one file of `bytes` bytes, durable and in the page cache.
pub(crate) fn file(path: &Path, bytes: u64) -> io::Result<PathBuf> {
    let content = crate::bare::buffer();
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        let len = left.min(content.len() as u64);
        file.write_all(&content[..len as usize])?;
        left -= len;
    }
    file.sync_all()?;
    Ok(path.to_owned())
}

/// Lets the page cache forget a file that is durable.
pub(crate) fn forget(path: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::fcntl::posix_fadvise(&File::open(path)?, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    #[cfg(not(target_os = "linux"))]
    let _ = path;
    Ok(())
}

/// Makes everything on the file system of `path` durable.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::unistd::syncfs(File::open(path)?)?;
    #[cfg(not(target_os = "linux"))]
    File::open(path)?.sync_all()?;
    Ok(())
}

/// Fresh places to land at. Whoever gets one finds the disk at rest: what others left dirty, or removed, is synced.
pub(crate) struct Landings {
    dir: PathBuf,
    name: &'static str,
    before: Before,
    next: Cell<usize>,
}

/// What becomes of what landed before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    Removed,
    /// Until everything goes: removing a large tree slows the creation of files for minutes.
    Kept,
}

impl Landings {
    pub(crate) fn new(dir: &Path, name: &'static str, before: Before) -> Self {
        Self { dir: dir.to_owned(), name, before, next: Cell::new(0) }
    }

    pub(crate) fn next(&self) -> io::Result<PathBuf> {
        let next = self.next.get();
        let path = |n: usize| self.dir.join(format!("{}-{n}", self.name));
        if self.before == Before::Removed && next > 0 {
            remove(&path(next - 1))?;
        }
        sync(&self.dir)?;
        self.next.set(next + 1);
        Ok(path(next))
    }
}

/// A file, a directory, or nothing.
fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
