//! A directory, or a single regular file, as a source.
//!
//! ```text
//! survey   one walk by metadata: totals, refusals, a fingerprint of all names     survey
//! walk     pass 1 files, pass 2 links and directories; each must match the        walk
//!          fingerprint, or a third walk finds which name came or went             changes
//! open     the file that was offered: same inode, size, mtime, ctime; and again   content
//!          when it is closed
//! ```
//!
//! Nothing is sorted and nothing but inodes with several names is remembered: memory is constant.

mod changes;
mod content;
mod fingerprint;
mod survey;
mod tree;
mod walk;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use longhaul_core::item::{MODE_MASK, Timestamp, Version};

use self::survey::Surveyed;
use super::{Content, Progress, Source, SourceError, SourceErrorKind, Survey, Walk};
use crate::item::{Item, Name};
use crate::links::LinksPolicy;

/// How a directory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DirectoryOptions {
    /// Symbolic links that lead out of the state.
    pub links: LinksPolicy,
    /// Files with several names.
    pub hard_links: HardLinks,
    /// FIFOs, sockets and devices.
    pub special: SpecialFiles,
}

/// What becomes of files with several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum HardLinks {
    /// The first name travels with the content, the others as links to it.
    #[default]
    Keep,
    /// Each name travels as a file of its own.
    Copy,
}

/// What becomes of FIFOs, sockets and devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SpecialFiles {
    /// The survey refuses them by name.
    #[default]
    Refuse,
    /// They are left out and counted in the survey's warnings.
    Skip,
}

/// A directory with everything below it, or one regular file.
#[derive(Debug)]
pub struct DirectorySource {
    root: PathBuf,
    single: bool,
    options: DirectoryOptions,
    /// The root, open: names are looked up from here, through no symbolic link.
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    handle: fs::File,
    surveyed: Mutex<Option<Surveyed>>,
}

impl DirectorySource {
    /// The state at `path`, which may itself be a symbolic link: it is resolved once, here.
    ///
    /// # Errors
    /// If there is nothing at `path`, if it can't be looked at, or if it is a special file.
    pub fn new(path: impl AsRef<Path>, options: DirectoryOptions) -> Result<Self, SourceError> {
        let root = fs::canonicalize(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SourceError::whole(SourceErrorKind::Missing),
            _ => failed(&Name::root(), "open", error),
        })?;
        let metadata = fs::symlink_metadata(&root).map_err(|error| failed(&Name::root(), "open", error))?;
        if !metadata.is_dir() && !metadata.is_file() {
            return Err(SourceError::whole(SourceErrorKind::Special(special_name(&metadata))));
        }
        Ok(Self {
            #[cfg(all(target_os = "linux", not(longhaul_portable)))]
            handle: content::open_root(&root)?,
            root,
            single: metadata.is_file(),
            options,
            surveyed: Mutex::new(None),
        })
    }

    /// The state's path, without symbolic links: a destination must lie outside of it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The path of a name inside the state.
    fn path_of(&self, name: &Name) -> PathBuf {
        if name.is_root() {
            self.root.clone()
        } else {
            self.root.join(std::ffi::OsStr::from_bytes(name.as_bytes()))
        }
    }
}

impl Source for DirectorySource {
    fn survey(&self, progress: &dyn Progress) -> Result<Survey, SourceError> {
        survey::survey(self, progress)
    }

    /// Walks what [`Source::survey`] found; surveys first if nobody did.
    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        walk::walk(self)
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        content::open(self, item)
    }
}

/// What marks a file's content: inode, size, and the times of its last changes. Not when it was read.
fn version(metadata: &Metadata) -> Version {
    let mut bytes = [0; 32];
    let nanos = |seconds: i64, nanos: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos);
    bytes[..8].copy_from_slice(&metadata.ino().to_le_bytes());
    bytes[8..16].copy_from_slice(&metadata.size().to_le_bytes());
    bytes[16..24].copy_from_slice(&nanos(metadata.mtime(), metadata.mtime_nsec()).to_le_bytes());
    bytes[24..].copy_from_slice(&nanos(metadata.ctime(), metadata.ctime_nsec()).to_le_bytes());
    Version::new(&bytes).expect("32 bytes fit a version")
}

fn modified(metadata: &Metadata) -> Timestamp {
    Timestamp { seconds: metadata.mtime(), nanos: metadata.mtime_nsec() as u32 }
}

fn mode(metadata: &Metadata) -> u16 {
    metadata.mode() as u16 & MODE_MASK
}

/// Holes can be told only by Linux's calls; elsewhere they are sent as zeros.
fn sparse(metadata: &Metadata) -> bool {
    cfg!(all(target_os = "linux", not(longhaul_portable))) && metadata.blocks() * 512 < metadata.size()
}

fn special_name(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_fifo() {
        "FIFO"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    }
}

/// A failed call on something that a directory named a moment ago.
fn failed(name: &Name, action: &'static str, error: io::Error) -> SourceError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => SourceErrorKind::Changed("it vanished"),
        _ => SourceErrorKind::Io { action, error },
    };
    SourceError::item(name.clone(), kind)
}
