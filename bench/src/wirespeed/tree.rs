//! The states that are moved, and the places where they land.

use std::fs::File;
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
            std::fs::create_dir_all(&directory)?;
        }
        content[..8].copy_from_slice(&(n as u64).to_le_bytes());
        let len = if n < small { SMALL } else { LARGE };
        std::fs::write(directory.join(format!("f{n:06}")), &content[..len])?;
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

/// Makes everything on the file system of `path` durable.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::unistd::syncfs(File::open(path)?)?;
    #[cfg(not(target_os = "linux"))]
    File::open(path)?.sync_all()?;
    Ok(())
}

/// Fresh places to land at. What landed before is removed only when the directory goes: removing a
/// large tree slows the next creation. A large file is removed at once, and the removal synced.
pub(crate) struct Landings {
    dir: PathBuf,
    name: &'static str,
    next: usize,
}

impl Landings {
    pub(crate) fn new(dir: &Path, name: &'static str) -> Self {
        Self { dir: dir.to_owned(), name, next: 0 }
    }

    pub(crate) fn next(&mut self) -> PathBuf {
        let path = |n: usize| self.dir.join(format!("{}-{n}", self.name));
        if let Some(last) = self.next.checked_sub(1)
            && path(last).is_file()
            && std::fs::remove_file(path(last)).is_ok()
        {
            // A failed sync shows in the next case's own.
            let _ = sync(&self.dir);
        }
        self.next += 1;
        path(self.next - 1)
    }
}
