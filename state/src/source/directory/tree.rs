//! A walk over a tree of directories, depth first, each directory left after all it holds.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, FileType, Metadata, ReadDir};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::PathBuf;

use super::{DirectorySource, SourceError, SourceErrorKind, failed};
use crate::item::Name;

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    File,
    Directory,
    SymbolicLink,
    Special,
}

impl Kind {
    fn of(kind: FileType) -> Self {
        if kind.is_file() {
            Self::File
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::SymbolicLink
        } else {
            Self::Special
        }
    }
}

/// What the walk came to.
pub(super) enum Step {
    /// An entry, named by [`Tree::name`]. A directory is entered next.
    Entry(Kind),
    /// The end of the directory that [`Tree::name`] names, and its attributes when it was entered.
    Leave(Metadata),
}

pub(super) struct Tree<'a> {
    source: &'a DirectorySource,
    /// The current entry's name; its directory's name is the prefix up to `parent_len`.
    name: Vec<u8>,
    parent_len: usize,
    entry: Option<DirEntry>,
    stack: Vec<Level>,
    /// The current entry is a directory that is entered next.
    enter: bool,
    device: u64,
}

struct Level {
    entries: ReadDir,
    metadata: Metadata,
    name_len: usize,
}

impl<'a> Tree<'a> {
    /// Begins at the source's root, which must be a directory.
    pub(super) fn new(source: &'a DirectorySource) -> Result<Self, SourceError> {
        let metadata =
            fs::symlink_metadata(&source.root).map_err(|error| failed(&Name::root(), "stat", error))?;
        let mut tree = Self {
            source,
            name: Vec::new(),
            parent_len: 0,
            entry: None,
            stack: Vec::new(),
            enter: false,
            device: metadata.dev(),
        };
        tree.push(metadata)?;
        Ok(tree)
    }

    /// The next entry or end of a directory; `None` after the end of the root.
    pub(super) fn next(&mut self) -> Result<Option<Step>, SourceError> {
        if std::mem::take(&mut self.enter) {
            let metadata = self.metadata()?;
            if metadata.dev() != self.device {
                return Err(self.error(SourceErrorKind::MountInside));
            }
            self.push(metadata)?;
        }
        let Some(level) = self.stack.last_mut() else { return Ok(None) };
        self.name.truncate(level.name_len);
        self.parent_len = self.name.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        let entry = match level.entries.next() {
            None => return Ok(self.stack.pop().map(|level| Step::Leave(level.metadata))),
            Some(entry) => entry.map_err(|error| self.failed("reading of the directory", error))?,
        };
        self.parent_len = self.name.len();
        if !self.name.is_empty() {
            self.name.push(b'/');
        }
        self.name.extend_from_slice(entry.file_name().as_bytes());
        let kind = Kind::of(entry.file_type().map_err(|error| self.failed("stat", error))?);
        self.enter = kind == Kind::Directory;
        self.entry = Some(entry);
        Ok(Some(Step::Entry(kind)))
    }

    /// The file system that holds the root: what lies on another is not part of the state.
    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// The name of what the last step came to.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The directory that holds it.
    pub(super) fn parent(&self) -> &[u8] {
        &self.name[..self.parent_len]
    }

    /// Bytes of its last part: its name in the directory that holds it.
    pub(super) fn part_len(&self) -> u16 {
        let part = self.name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        u16::try_from(part.len()).unwrap_or(u16::MAX)
    }

    /// The same name, checked: it can travel.
    pub(super) fn checked_name(&self) -> Result<Name, SourceError> {
        Name::new(&*self.name).map_err(|error| {
            // What is no name can't stand in an error either: its directory does.
            let parent = Name::new(self.parent()).unwrap_or_default();
            SourceError::item(parent, SourceErrorKind::Name(error))
        })
    }

    /// The inode of the current entry, as its directory has it.
    pub(super) fn inode(&self) -> u64 {
        self.entry.as_ref().map_or(0, DirEntry::ino)
    }

    /// The attributes of the current entry.
    pub(super) fn metadata(&self) -> Result<Metadata, SourceError> {
        let entry = self.entry.as_ref().expect("asked only about an entry just met");
        entry.metadata().map_err(|error| self.failed("stat", error))
    }

    /// The target of the symbolic link just met.
    pub(super) fn target(&self) -> Result<Box<[u8]>, SourceError> {
        let target = fs::read_link(self.path()).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => self.error(SourceErrorKind::Changed("it was replaced")),
            _ => self.failed("reading of the link", error),
        })?;
        Ok(target.into_os_string().into_vec().into_boxed_slice())
    }

    /// An error about the current name.
    pub(super) fn error(&self, kind: SourceErrorKind) -> SourceError {
        SourceError::item(Name::new(&*self.name).unwrap_or_default(), kind)
    }

    fn failed(&self, action: &'static str, error: io::Error) -> SourceError {
        failed(&Name::new(&*self.name).unwrap_or_default(), action, error)
    }

    fn push(&mut self, metadata: Metadata) -> Result<(), SourceError> {
        let path = self.path();
        let entries = fs::read_dir(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => self.error(SourceErrorKind::Changed("it was replaced")),
            _ => self.failed("open", error),
        })?;
        // The call before follows a link that took the directory's place meanwhile.
        let now = fs::symlink_metadata(&path).map_err(|error| self.failed("stat", error))?;
        if (now.ino(), now.dev()) != (metadata.ino(), metadata.dev()) {
            return Err(self.error(SourceErrorKind::Changed("it was replaced")));
        }
        self.stack.push(Level { entries, metadata, name_len: self.name.len() });
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.source.root.join(OsStr::from_bytes(&self.name))
    }
}
