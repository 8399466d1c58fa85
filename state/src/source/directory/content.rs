//! An open file of a directory: read at any offset, by several threads, and compared before and after.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
use std::path::Path;
use std::sync::Arc;

use longhaul_core::item::Version;

use super::{DirectorySource, failed, version};
use crate::item::{Item, Name, What};
use crate::source::{Content, Piece, SourceError, SourceErrorKind};

pub(super) fn open(source: &DirectorySource, item: &Item) -> Result<Box<dyn Content>, SourceError> {
    let What::File { size, sparse, .. } = item.what else {
        return Err(changed(&item.name, "it is no file"));
    };
    if item.name.is_root() != source.single {
        return Err(changed(&item.name, "it is no file"));
    }
    let file = open_file(source, &item.name)?;
    let metadata = file.metadata().map_err(|error| failed(&item.name, "stat", error))?;
    compare(&item.name, item.version, size, &metadata)?;
    advise(&file, size);
    let content = FileContent { file: Arc::new(file), name: item.name.clone(), version: item.version, size };
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    if sparse {
        return Ok(Box::new(holes::SparseContent::new(content)));
    }
    let _ = sparse;
    Ok(Box::new(content))
}

struct FileContent {
    file: Arc<File>,
    name: Name,
    version: Version,
    size: u64,
}

impl Content for FileContent {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        if offset >= self.size {
            return Ok(Piece::End);
        }
        let rest = usize::try_from(self.size - offset).unwrap_or(usize::MAX);
        let len = buffer.len().min(rest);
        let buffer = &mut buffer[..len];
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => {
                    let error = changed(&self.name, "it became shorter");
                    return Err(SourceError { offset: Some(offset + filled as u64), ..error });
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read", offset + filled as u64, error)),
            }
        }
        Ok(Piece::Data(filled))
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        // Files that a kernel makes up say 0 and hold more.
        if self.size == 0
            && self.file.read_at(&mut [0], 0).map_err(|error| self.failed("read", 0, error))? > 0
        {
            return Err(changed(&self.name, "it holds more than its size says"));
        }
        let metadata = self.file.metadata().map_err(|error| self.failed("stat", 0, error))?;
        compare(&self.name, self.version, self.size, &metadata)
    }

    fn file(&self) -> Option<Arc<File>> {
        Some(Arc::clone(&self.file))
    }
}

impl FileContent {
    fn failed(&self, action: &'static str, offset: u64, error: io::Error) -> SourceError {
        SourceError { offset: Some(offset), ..failed(&self.name, action, error) }
    }
}

/// Whether the open file is the one that was offered, and as it was; if not, how it changed.
fn compare(name: &Name, offered: Version, size: u64, metadata: &Metadata) -> Result<(), SourceError> {
    if metadata.is_file() && version(metadata) == offered {
        return Ok(());
    }
    let same_inode = offered.as_bytes().get(..8) == Some(&metadata.ino().to_le_bytes()[..]);
    Err(changed(
        name,
        if metadata.nlink() == 0 {
            "it was removed or replaced"
        } else if !metadata.is_file() || !same_inode {
            "it was replaced"
        } else if metadata.size() > size {
            "it grew"
        } else if metadata.size() < size {
            "it became shorter"
        } else {
            "it was written, or its attributes or names were changed"
        },
    ))
}

fn changed(name: &Name, how: &'static str) -> SourceError {
    SourceError::item(name.clone(), SourceErrorKind::Changed(how))
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
pub(super) use linux::open_root;
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
use linux::{advise, open_file};
#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
use portable::{advise, open_file};

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod linux {
    use std::os::unix::fs::OpenOptionsExt;

    use nix::errno::Errno;
    use nix::fcntl::{OFlag, OpenHow, PosixFadviseAdvice, ResolveFlag, openat2, posix_fadvise};
    use nix::libc;

    use super::{DirectorySource, File, Name, OpenOptions, Path, SourceError, changed, failed, io};

    /// Files from which on the kernel is told that they will be read in order.
    const LARGE: u64 = 1 << 20;
    /// Neither a link in the file's place nor a FIFO makes the open go elsewhere, or wait.
    const FLAGS: libc::c_int = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;

    /// Opens the source's root: names are looked up from it. Only a lookup needs no right to read.
    pub(in super::super) fn open_root(root: &Path) -> Result<File, SourceError> {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
            .open(root)
            .map_err(|error| failed(&Name::root(), "open", error))
    }

    pub(super) fn open_file(source: &DirectorySource, name: &Name) -> Result<File, SourceError> {
        if name.is_root() {
            return open_path(source, name);
        }
        let how = OpenHow::new().flags(OFlag::from_bits_retain(FLAGS)).resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
        match openat2(&source.handle, name.as_bytes(), how) {
            Ok(file) => Ok(file.into()),
            Err(Errno::ENOSYS | Errno::EPERM) => open_path(source, name),
            Err(errno) => Err(refused(name, errno)),
        }
    }

    /// For kernels before 5.6, and sandboxes that know no `openat2`.
    fn open_path(source: &DirectorySource, name: &Name) -> Result<File, SourceError> {
        OpenOptions::new()
            .read(true)
            .custom_flags(FLAGS)
            .open(source.path_of(name))
            .map_err(|error| refused(name, error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)))
    }

    fn refused(name: &Name, errno: Errno) -> SourceError {
        match errno {
            Errno::ELOOP | Errno::ENOTDIR | Errno::ENXIO | Errno::EXDEV => changed(name, "it was replaced"),
            _ => failed(name, "open", io::Error::from(errno)),
        }
    }

    pub(super) fn advise(file: &File, size: u64) {
        if size >= LARGE {
            // Only a hint: without it the file is read all the same.
            let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
        }
    }
}

#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
mod portable {
    use std::fs;

    use super::{DirectorySource, File, Name, OpenOptions, SourceError, changed, failed};

    pub(super) fn open_file(source: &DirectorySource, name: &Name) -> Result<File, SourceError> {
        let path = source.path_of(name);
        // Without flags that forbid it, the open would follow a link or wait for a FIFO's writer.
        let metadata = fs::symlink_metadata(&path).map_err(|error| failed(name, "stat", error))?;
        if !metadata.is_file() {
            return Err(changed(name, "it was replaced"));
        }
        OpenOptions::new().read(true).open(path).map_err(|error| failed(name, "open", error))
    }

    pub(super) fn advise(_file: &File, _size: u64) {}
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod holes {
    use std::ops::Range;
    use std::sync::{Mutex, PoisonError};

    use nix::errno::Errno;
    use nix::unistd::{Whence, lseek};

    use super::{Content, FileContent, Piece, SourceError, io};

    /// A file with holes: they are told from data, and never read.
    pub(super) struct SparseContent {
        content: FileContent,
        /// The stretch of data that was found last: most reads lie in it.
        data: Mutex<Range<u64>>,
    }

    impl SparseContent {
        pub(super) fn new(content: FileContent) -> Self {
            Self { content, data: Mutex::new(0..0) }
        }

        /// The data at or after `offset`; empty at the file's end if only a hole follows.
        fn data_from(&self, offset: u64) -> Result<Range<u64>, SourceError> {
            let mut known = self.data.lock().unwrap_or_else(PoisonError::into_inner);
            if known.contains(&offset) {
                return Ok(offset..known.end);
            }
            let size = self.content.size;
            let seek = |from: u64, whence| match lseek(&self.content.file, from.cast_signed(), whence) {
                Ok(to) => Ok(to.cast_unsigned().clamp(from, size)),
                Err(Errno::ENXIO) => Ok(size),
                Err(errno) => Err(self.content.failed("search for holes", from, io::Error::from(errno))),
            };
            let start = seek(offset, Whence::SeekData)?;
            let end = if start == size { size } else { seek(start, Whence::SeekHole)? };
            *known = start..end;
            Ok(start..end)
        }
    }

    impl Content for SparseContent {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
            if offset >= self.content.size {
                return Ok(Piece::End);
            }
            let data = self.data_from(offset)?;
            if data.start > offset || data.is_empty() {
                return Ok(Piece::Hole(data.start.max(offset + 1) - offset));
            }
            let len = buffer.len().min(usize::try_from(data.end - offset).unwrap_or(usize::MAX));
            self.content.read_at(offset, &mut buffer[..len])
        }

        fn close(self: Box<Self>) -> Result<(), SourceError> {
            Box::new(self.content).close()
        }
    }
}
