//! Where a state lands.
//!
//! A sink is told what will come ([`Sink::begin`]), opens items, takes bytes, finishes items once
//! they are verified, makes everything durable and publishes it in one step; all of it blocking,
//! from one helper thread. One sink object serves one session. Nothing is visible to anybody before
//! [`Sink::publish`].

mod directory;
mod memory;
mod published;
mod resume;
mod stream;

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

pub use directory::{DirectorySink, DirectorySinkOptions};
pub use memory::{DiscardSink, Discarded, MemorySink};
pub use published::Published;
pub use resume::{Checkpoint, Kept, Resume, UNCLAIMED};

pub use crate::landing::journal::{Agreed, Content};
pub use stream::StreamSink;

use longhaul_core::id::ItemId;
use longhaul_core::reason::Reason;

use crate::item::{Item, Name};
use crate::source::{Progress, Survey};

/// A state to receive.
pub trait Sink: Send {
    /// Hears what will come, before the first byte: the place for every check that can be made now.
    ///
    /// # Errors
    /// If the destination can't take it.
    fn begin(&mut self, survey: &Survey) -> Result<(), SinkError>;

    /// Begins an item with content. It is finished or discarded later; many are open at once.
    ///
    /// # Errors
    /// If it can't be created.
    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError>;

    /// Takes bytes of an item whose place is [`Place::Sink`], in order unless items are files.
    ///
    /// # Errors
    /// If they can't be written.
    fn write(&mut self, id: ItemId, offset: u64, bytes: &[u8]) -> Result<(), SinkError>;

    /// Takes a hole: `len` zero bytes that need not be stored. Called for every place.
    ///
    /// # Errors
    /// If they can't be written.
    fn hole(&mut self, id: ItemId, offset: u64, len: u64) -> Result<(), SinkError>;

    /// The item's `len` bytes are all there and verified.
    ///
    /// # Errors
    /// If it can't be completed.
    fn finish(&mut self, id: ItemId, len: u64) -> Result<(), SinkError>;

    /// Forgets an open item: it failed, and will be opened again or never.
    ///
    /// # Errors
    /// If what was written can't be taken back.
    fn discard(&mut self, id: ItemId) -> Result<(), SinkError>;

    /// Takes an item without content (directory or link), or a whole small file at once.
    ///
    /// # Errors
    /// If it can't be created.
    fn put(&mut self, id: ItemId, item: &Item, content: &[u8]) -> Result<(), SinkError> {
        self.open(id, item)?;
        if !content.is_empty() {
            self.write(id, 0, content)?;
        }
        self.finish(id, content.len() as u64)
    }

    /// These small files are put next, in this order, unless the transfer ends before: a sink that would wait for each of
    /// them may begin with some. How many of them it need not be told of again. Most sinks need nothing of this.
    fn upcoming(&mut self, files: &[(&Item, &[u8])]) -> usize {
        files.len()
    }

    /// Makes everything finished so far durable.
    ///
    /// # Errors
    /// If that can't be promised. A sink that failed here publishes nothing.
    fn sync(&mut self, progress: &dyn Progress) -> Result<(), SinkError>;

    /// Publishes the state in one step, durably. Called once, after [`Sink::sync`].
    ///
    /// # Errors
    /// If nothing was published.
    fn publish(&mut self) -> Result<(), SinkError>;

    /// The transfer failed: nothing is published. What was staged may stay for a later run.
    fn abort(&mut self);

    /// The application's own words to the provider once the state is published: at most
    /// [`longhaul_core::wire::APP_REPLY_MAX`] bytes.
    fn app_reply(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The same sink, if it can go on with what an earlier run left.
    fn resuming(&mut self) -> Option<&mut dyn Resume> {
        None
    }

    /// A word about durability for the summary, if the file system does not promise it.
    fn caveat(&self) -> Option<&'static str> {
        None
    }
}

/// Where the bytes of an open item go.
#[derive(Clone, Debug)]
pub enum Place {
    /// Into this file, at their own offset: the transport writes them itself, from several threads.
    File(Arc<File>),
    /// Into [`Sink::write`].
    Sink,
    /// Nowhere: they are checked and dropped.
    Discard,
}

/// Why a sink can't take what it should.
#[derive(Debug)]
pub struct SinkError {
    /// What happened.
    pub kind: SinkErrorKind,
    /// The item, if it is about one; the root otherwise.
    pub item: Name,
    /// Where in the item, in bytes, if known.
    pub offset: Option<u64>,
}

/// What happened at a sink.
#[derive(Debug)]
#[non_exhaustive]
pub enum SinkErrorKind {
    /// Something is at the destination, and replacing it was not asked for.
    NotEmpty,
    /// The destination is something else than the state: a file for a directory, or the reverse.
    OtherShape(&'static str),
    /// The destination is a mount point or `/`.
    MountPoint,
    /// The destination lies inside the source, or the source inside the destination.
    InsideSource,
    /// The destination's parent directory does not exist.
    NoParent,
    /// The file system can't publish in one step.
    NoAtomicRename(&'static str),
    /// Another process holds the staging directory.
    Held(String),
    /// What an earlier process left can't be used: why.
    Journal(String),
    /// Not enough room: bytes needed and free.
    NoSpace {
        /// Bytes that are needed, if known.
        need: Option<u64>,
        /// Bytes that are free, if known.
        have: Option<u64>,
    },
    /// The user's own share of the file system is used up.
    Quota,
    /// Not enough room for this many more files and directories.
    NoInodes {
        /// Files and directories that come.
        need: u64,
        /// How many may still be made.
        have: u64,
    },
    /// A name is longer than the destination's file system takes: bytes of the longest one, and bytes that it may have.
    NameTooLong {
        /// Bytes that are needed, if known.
        need: Option<u64>,
        /// Bytes that a name may have, if known.
        have: Option<u64>,
    },
    /// Another item has this name, or a part of its path is no directory, or one that is complete.
    NameTaken,
    /// A hard link to an item that is no file of this state.
    NoSuchLink,
    /// A symbolic link that leads out of the state.
    LinkLeaves,
    /// More than 2^17 files with several names.
    TooManyLinks,
    /// Data could not be made durable: the files that it was written to are not to be trusted.
    Durability(io::Error),
    /// Read back from the disk, it is not what came.
    Rotten,
    /// The state stands at its place, and whether it still does after a power cut is not known.
    InDoubt(io::Error),
    /// A system call failed.
    Io {
        /// What was tried: "create", "write", ...
        action: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Someone asked it to stop.
    Stopped,
    /// The user's own sink failed or panicked.
    User(Box<dyn std::error::Error + Send + Sync>),
}

impl SinkError {
    /// An error about the destination as a whole.
    #[must_use]
    pub fn whole(kind: SinkErrorKind) -> Self {
        Self { kind, item: Name::root(), offset: None }
    }

    /// An error about one item.
    #[must_use]
    pub fn item(name: Name, kind: SinkErrorKind) -> Self {
        Self { kind, item: name, offset: None }
    }

    /// A failed system call: a full disk or quota, and a name that is too long, are told apart.
    #[must_use]
    pub fn io(name: Name, action: &'static str, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull => SinkErrorKind::NoSpace { need: None, have: None },
            io::ErrorKind::QuotaExceeded => SinkErrorKind::Quota,
            io::ErrorKind::InvalidFilename => SinkErrorKind::NameTooLong { need: None, have: None },
            _ => SinkErrorKind::Io { action, error },
        };
        Self { kind, item: name, offset: None }
    }

    /// The same error, at this byte of the item.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// The error of a user's own sink.
    #[must_use]
    pub fn user(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::whole(SinkErrorKind::User(error.into()))
    }

    /// The same error, for a sink that has failed and says so each time.
    #[must_use]
    pub fn again(&self) -> Self {
        let kind = match &self.kind {
            SinkErrorKind::NotEmpty => SinkErrorKind::NotEmpty,
            SinkErrorKind::OtherShape(what) => SinkErrorKind::OtherShape(what),
            SinkErrorKind::MountPoint => SinkErrorKind::MountPoint,
            SinkErrorKind::InsideSource => SinkErrorKind::InsideSource,
            SinkErrorKind::NoParent => SinkErrorKind::NoParent,
            SinkErrorKind::NoAtomicRename(what) => SinkErrorKind::NoAtomicRename(what),
            SinkErrorKind::Held(who) => SinkErrorKind::Held(who.clone()),
            SinkErrorKind::Journal(why) => SinkErrorKind::Journal(why.clone()),
            SinkErrorKind::NoSpace { need, have } => SinkErrorKind::NoSpace { need: *need, have: *have },
            SinkErrorKind::Quota => SinkErrorKind::Quota,
            SinkErrorKind::NoInodes { need, have } => SinkErrorKind::NoInodes { need: *need, have: *have },
            SinkErrorKind::NameTooLong { need, have } => {
                SinkErrorKind::NameTooLong { need: *need, have: *have }
            }
            SinkErrorKind::NameTaken => SinkErrorKind::NameTaken,
            SinkErrorKind::NoSuchLink => SinkErrorKind::NoSuchLink,
            SinkErrorKind::LinkLeaves => SinkErrorKind::LinkLeaves,
            SinkErrorKind::TooManyLinks => SinkErrorKind::TooManyLinks,
            SinkErrorKind::Durability(error) => SinkErrorKind::Durability(same_error(error)),
            SinkErrorKind::InDoubt(error) => SinkErrorKind::InDoubt(same_error(error)),
            SinkErrorKind::Rotten => SinkErrorKind::Rotten,
            SinkErrorKind::Io { action, error } => SinkErrorKind::Io { action, error: same_error(error) },
            SinkErrorKind::Stopped => SinkErrorKind::Stopped,
            SinkErrorKind::User(error) => SinkErrorKind::User(error.to_string().into()),
        };
        Self { kind, item: self.item.clone(), offset: self.offset }
    }

    /// The reason on the wire.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match &self.kind {
            SinkErrorKind::NoSpace { .. } | SinkErrorKind::Quota | SinkErrorKind::NoInodes { .. } => {
                Reason::NoSpace
            }
            SinkErrorKind::Held(_) => Reason::Refused,
            SinkErrorKind::Stopped => Reason::Cancelled,
            SinkErrorKind::Rotten => Reason::Rotten,
            _ if self.lost_data() => Reason::LostData,
            SinkErrorKind::NameTaken | SinkErrorKind::NoSuchLink => Reason::Protocol,
            _ => Reason::Destination,
        }
    }

    /// What to do about it; empty where nothing can be advised.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match &self.kind {
            SinkErrorKind::NotEmpty => "choose another destination, or replace it with --replace",
            SinkErrorKind::OtherShape(_) => "choose another destination",
            SinkErrorKind::MountPoint => {
                "choose a directory below the mount point: a mount point can't be exchanged"
            }
            SinkErrorKind::InsideSource => "choose a destination outside the source",
            SinkErrorKind::NoParent => "create the parent directory first",
            SinkErrorKind::NoAtomicRename(_) => {
                "choose a destination on another file system, or one that does not exist yet"
            }
            SinkErrorKind::Held(_) => "wait for the other process, or stop it",
            SinkErrorKind::Journal(_) => {
                "run the longhaul that left it, or give it up with `longhaul staging discard`"
            }
            SinkErrorKind::NoInodes { .. } => "remove some files, or choose another file system",
            SinkErrorKind::NameTooLong { .. } => {
                "choose a destination with a shorter path, or on a file system that takes longer names"
            }
            SinkErrorKind::NoSpace { .. } => "free some space and run the same command again",
            SinkErrorKind::Quota => {
                "have the quota raised, or use less of it, and run the same command again"
            }
            SinkErrorKind::LinkLeaves => "run the joiner with --links keep to keep such links as they are",
            SinkErrorKind::Durability(_) | SinkErrorKind::InDoubt(_) | SinkErrorKind::Rotten => {
                CHECK_THE_DISK
            }
            SinkErrorKind::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                "run the joiner as a user who may write there"
            }
            SinkErrorKind::Io { error, .. } if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "remount it writable, or choose another destination"
            }
            SinkErrorKind::Io { error, .. } if error.kind() == io::ErrorKind::FileTooLarge => {
                "choose a destination on a file system that takes files of this size, or raise the limit (ulimit -f)"
            }
            SinkErrorKind::Io { error, .. } if error.raw_os_error() == Some(EIO) => CHECK_THE_DISK,
            SinkErrorKind::Io { error, .. } if error.raw_os_error() == Some(EMFILE) => MORE_FILES,
            _ => "",
        }
    }

    /// Whether the disk lost what was written, so that another try with other files may succeed.
    #[must_use]
    pub fn lost_data(&self) -> bool {
        match &self.kind {
            SinkErrorKind::Durability(_) | SinkErrorKind::Rotten => true,
            SinkErrorKind::Io { action: WRITE | READ_BACK, error } => error.raw_os_error() == Some(EIO),
            _ => false,
        }
    }
}

/// What was tried when a chunk could not be written.
pub const WRITE: &str = "write";
/// What was tried when a file could not be read back.
pub(crate) const READ_BACK: &str = "reading back";

/// What the system says when a disk fails: the same number on every Unix.
const EIO: i32 = 5;

/// What it says when this process has as many files open as it may: as well.
pub(crate) const EMFILE: i32 = 24;
pub(crate) const MORE_FILES: &str = "allow the process more open files (ulimit -n)";

const CHECK_THE_DISK: &str = "check the disk (dmesg), then run the same command again";

fn same_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.item.is_root() {
            write!(f, "{}: ", self.item)?;
        }
        if let Some(offset) = self.offset {
            write!(f, "at byte {offset}: ")?;
        }
        match &self.kind {
            SinkErrorKind::NotEmpty => f.write_str("the destination is not empty"),
            SinkErrorKind::OtherShape(what) => write!(f, "the destination is {what}"),
            SinkErrorKind::MountPoint => f.write_str("the destination is a mount point"),
            SinkErrorKind::InsideSource => {
                f.write_str("the destination and the source lie inside each other")
            }
            SinkErrorKind::NoParent => f.write_str("the destination's parent directory does not exist"),
            SinkErrorKind::NoAtomicRename(what) => {
                write!(f, "the destination can't be replaced in one step: {what}")
            }
            SinkErrorKind::Held(who) => write!(f, "the staging directory is held by {who}"),
            SinkErrorKind::Journal(why) => write!(f, "what an earlier run left can't be used: {why}"),
            SinkErrorKind::NoSpace { need: Some(need), have: Some(have) } => {
                write!(f, "not enough room: {need} bytes needed, {have} free")
            }
            SinkErrorKind::NoSpace { .. } => f.write_str("no space left"),
            SinkErrorKind::Quota => f.write_str("the quota is used up"),
            SinkErrorKind::NoInodes { need, have } => {
                write!(f, "not enough room: {need} files and directories come, {have} may still be made")
            }
            SinkErrorKind::NameTooLong { need: Some(need), have: Some(have) } => {
                write!(f, "a name of {need} bytes is needed, the destination's file system takes {have}")
            }
            SinkErrorKind::NameTooLong { .. } => {
                f.write_str("the name, or the path that it stands for, is longer than the file system takes")
            }
            SinkErrorKind::NameTaken => f.write_str(
                "another item has this name, or a part of its path is no directory or is complete already",
            ),
            SinkErrorKind::NoSuchLink => {
                f.write_str("is a hard link to an item that is no file of this state")
            }
            SinkErrorKind::LinkLeaves => f.write_str("is a symbolic link that leads out of the state"),
            SinkErrorKind::TooManyLinks => f.write_str("more than 131072 files have several names"),
            SinkErrorKind::Durability(error) => write!(f, "could not be made durable: {error}"),
            SinkErrorKind::Rotten => f.write_str("read back from the disk, it is not what came"),
            SinkErrorKind::InDoubt(error) => {
                write!(
                    f,
                    "the state stands at its place, but may not after a power cut: fsync failed: {error}"
                )
            }
            SinkErrorKind::Io { action, error } => write!(f, "{action} failed: {error}"),
            SinkErrorKind::Stopped => f.write_str("stopped"),
            SinkErrorKind::User(error) => write!(f, "the sink failed: {error}"),
        }
    }
}

impl std::error::Error for SinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            SinkErrorKind::Io { error, .. }
            | SinkErrorKind::Durability(error)
            | SinkErrorKind::InDoubt(error) => Some(error),
            SinkErrorKind::User(error) => Some(error.as_ref()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: i32) -> SinkError {
        SinkError::io(Name::root(), WRITE, io::Error::from_raw_os_error(code))
    }

    // Catalogue: F20
    #[cfg(target_os = "linux")]
    #[test]
    fn a_quota_is_no_room_but_is_not_called_a_full_disk() {
        let (quota, disk) = (failed(122), failed(28));
        assert_eq!((quota.reason(), disk.reason()), (Reason::NoSpace, Reason::NoSpace));
        assert_eq!(
            (quota.to_string(), disk.to_string()),
            ("the quota is used up".into(), "no space left".into())
        );
        assert!(quota.hint().contains("quota") && !disk.hint().contains("quota"));
    }

    // Catalogue: F39, F40
    #[test]
    fn a_limit_of_the_process_is_named_with_what_raises_it() {
        assert!(failed(27).hint().contains("ulimit -f"));
        assert!(failed(EMFILE).hint().contains("ulimit -n"));
    }
}
