//! Where a state comes from.
//!
//! A source is surveyed (by metadata alone), walked, and its items opened and read; all of it
//! blocking, from helper threads. One source object serves one session.

mod directory;
mod memory;
mod stream;

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

pub use directory::{DirectoryOptions, DirectorySource, HardLinks, SpecialFiles};
pub use memory::{MemorySource, RepeatedSource};
pub use stream::StreamSource;

use longhaul_core::item::NameError;
use longhaul_core::reason::Reason;

use crate::item::{Item, Name};
use crate::sink::{EMFILE, MORE_FILES};

/// What a survey found, by metadata alone. Totals travel before the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Survey {
    /// What the state is as a whole.
    pub shape: Shape,
    /// Items that the walk will yield.
    pub items: u64,
    /// Logical bytes of content (each set of hard links once); `None` if only the end will tell.
    pub bytes: Option<u64>,
    /// Bytes that are allocated, holes left out: what a destination needs at least.
    pub allocated: u64,
    /// Bytes of the longest part of any item's name, that between two slashes; 0 if that is not known: then a name that the
    /// destination can't hold shows when its item is made.
    pub longest_name: u16,
    /// Files with several names: the tables that remember them are charged to the buffers' memory.
    pub linked: u64,
    /// Special files left out, set-id or sticky bits dropped: each a warning.
    pub warnings: Warnings,
}

/// What the survey left out or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Warnings {
    /// FIFOs, sockets and devices skipped.
    pub special_skipped: u64,
    /// Files or directories whose set-id or sticky bits are dropped.
    pub mode_bits_dropped: u64,
}

/// What a state is as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Shape {
    /// A directory with everything below it; its own attributes are the last item, named ROOT.
    #[default]
    Directory,
    /// One file: a single item, named ROOT.
    File,
    /// One stream of unknown length: a single item, named ROOT.
    Stream,
}

/// Hears how far slow work has come, so that nobody takes it for a hang; may stop it.
pub trait Progress: Sync {
    /// `done` units so far. `false` asks the work to stop with [`SourceErrorKind::Stopped`] (or
    /// the sink's equivalent).
    fn advance(&self, done: u64) -> bool;
}

/// Hears nothing.
impl Progress for () {
    fn advance(&self, _done: u64) -> bool {
        true
    }
}

/// A state to give. One object serves one session, from several threads at once.
pub trait Source: Send + Sync {
    /// Finds totals and refusals by metadata alone, before the first byte.
    ///
    /// # Errors
    /// If the source can't be read, or holds what can't be sent.
    fn survey(&self, progress: &dyn Progress) -> Result<Survey, SourceError>;

    /// What a joiner asks for, by the state's id and a selector of the application's own. Unless
    /// overridden there is only the whole.
    fn part(&self, state_id: &[u8], selector: &[u8]) -> Part {
        if state_id.is_empty() && selector.is_empty() { Part::Whole } else { Part::None(Vec::new()) }
    }

    /// The application's own words about the state, for the joiner: at most
    /// [`longhaul_core::wire::APP_META_MAX`] bytes. Asked for after the survey.
    fn app_meta(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Walks what was surveyed. Items are numbered 0, 1, 2, ... in the order of the walk, which is:
    /// files and streams; then links (each after its target) and directories (each after what it
    /// holds).
    ///
    /// # Errors
    /// If the source can't be read.
    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError>;

    /// Opens the content of a file or stream.
    ///
    /// # Errors
    /// If it can't be opened, or is no longer what `item` says.
    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError>;
}

/// What of a state a joiner gets.
pub enum Part {
    /// All of it.
    Whole,
    /// This part.
    Source(Arc<dyn Source>),
    /// Nothing: there is no such part, or not for this joiner, with the application's reply (at most
    /// [`longhaul_core::wire::APP_REPLY_MAX`] bytes).
    None(Vec<u8>),
}

/// A walk over a source.
pub trait Walk: Send {
    /// The next item; `None` after the last, and only if what was walked is what was surveyed.
    ///
    /// # Errors
    /// If the source can't be read or changed since the survey.
    fn next(&mut self) -> Result<Option<Item>, SourceError>;
}

/// An open item.
pub trait Content: Send + Sync {
    /// Reads what begins at `offset`: fills `buffer`, less only before a hole or the end. Holes
    /// are reported only for items that said they were sparse. A stream is read in order.
    ///
    /// # Errors
    /// If reading fails.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError>;

    /// Ends the reading. Only after Ok is what was read the item as it was offered.
    ///
    /// # Errors
    /// If it changed while it was read.
    fn close(self: Box<Self>) -> Result<(), SourceError>;

    /// The file that holds the content, each byte at its own offset, if there is one: a transport may read it
    /// itself, several pieces at once. Not of items that are sparse. Where its bytes are sent unseen, the item is opened and
    /// closed once more when it has landed: it must not have changed until then.
    fn file(&self) -> Option<Arc<File>> {
        None
    }

    /// The memory that holds the content at `offset`, if it lives in memory: sent without a copy.
    ///
    /// The range inside the buffer is at most `len` bytes, and less where the buffer or the
    /// content ends; it is empty only at the content's end.
    fn memory(&self, offset: u64, len: usize) -> Option<(Arc<[u8]>, Range<usize>)> {
        let _ = (offset, len);
        None
    }
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// This many bytes, more than zero.
    Data(usize),
    /// A hole of this many bytes, more than zero; nothing was written into the buffer.
    Hole(u64),
    /// The end of the content.
    End,
}

/// Why a source can't give what it should.
#[derive(Debug)]
pub struct SourceError {
    /// What happened.
    pub kind: SourceErrorKind,
    /// The item, if it is about one; the root otherwise.
    pub item: Name,
    /// Where in the item, if that is known.
    pub offset: Option<u64>,
}

/// What happened at a source.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceErrorKind {
    /// There is nothing at the path.
    Missing,
    /// A system call failed.
    Io {
        /// What was tried: "open", "read", ...
        action: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// It changed while it was read: content, size, or a name that came or went.
    Changed(&'static str),
    /// A FIFO, socket or device.
    Special(&'static str),
    /// A symbolic link that leads out of the state.
    LinkLeaves,
    /// A mount point inside the source: another file system is not part of the state.
    MountInside,
    /// More than 2^17 files with several names.
    TooManyLinks,
    /// A name that can't travel.
    Name(NameError),
    /// More items than a task can number (2^32).
    TooManyItems,
    /// More bytes than 64 bits count: sparse files can say so.
    TooManyBytes,
    /// Someone asked it to stop.
    Stopped,
    /// The user's own source failed or panicked.
    User(Box<dyn std::error::Error + Send + Sync>),
}

impl SourceError {
    /// An error about the state as a whole.
    #[must_use]
    pub fn whole(kind: SourceErrorKind) -> Self {
        Self { kind, item: Name::root(), offset: None }
    }

    /// An error about one item.
    #[must_use]
    pub fn item(name: Name, kind: SourceErrorKind) -> Self {
        Self { kind, item: name, offset: None }
    }

    /// The error of a user's own source.
    #[must_use]
    pub fn user(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::whole(SourceErrorKind::User(error.into()))
    }

    /// The reason on the wire.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match &self.kind {
            SourceErrorKind::Changed(_) => Reason::SourceChanged,
            SourceErrorKind::Stopped => Reason::Cancelled,
            _ => Reason::Source,
        }
    }

    /// What to do about it; empty where nothing can be advised.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match &self.kind {
            SourceErrorKind::Missing => "check the path",
            SourceErrorKind::Changed(_) => {
                "stop the writers, or serve a snapshot (a checkpoint directory, a file system snapshot), and run it again"
            }
            SourceErrorKind::Special(_) => "run the provider with --special skip to leave such files out",
            SourceErrorKind::LinkLeaves => {
                "run the provider with --links keep to keep such links as they are"
            }
            SourceErrorKind::MountInside => "unmount it, or transfer it apart",
            SourceErrorKind::TooManyLinks => {
                "run the provider with --hard-links copy to send each name as a file"
            }
            SourceErrorKind::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                "run the provider as a user who may read it"
            }
            SourceErrorKind::Io { error, .. } if error.raw_os_error() == Some(EMFILE) => MORE_FILES,
            _ => "",
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.item.is_root() {
            write!(f, "{}: ", self.item)?;
        }
        match &self.kind {
            SourceErrorKind::Missing => f.write_str("the source does not exist"),
            SourceErrorKind::Io { action, error } => write!(f, "{action} failed: {error}"),
            SourceErrorKind::Changed(how) => write!(f, "changed while it was transferred: {how}"),
            SourceErrorKind::Special(kind) => write!(f, "is a {kind}, which can't be transferred"),
            SourceErrorKind::LinkLeaves => f.write_str("is a symbolic link that leads out of the state"),
            SourceErrorKind::MountInside => f.write_str("is a mount point inside the state"),
            SourceErrorKind::TooManyLinks => f.write_str("more than 131072 files have several names"),
            SourceErrorKind::Name(error) => write!(f, "can't be transferred: {error}"),
            SourceErrorKind::TooManyItems => f.write_str("more than 4294967295 items"),
            SourceErrorKind::TooManyBytes => f.write_str("more than 2^64 bytes"),
            SourceErrorKind::Stopped => f.write_str("stopped"),
            SourceErrorKind::User(error) => write!(f, "the source failed: {error}"),
        }?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            SourceErrorKind::Io { error, .. } => Some(error),
            SourceErrorKind::User(error) => Some(error.as_ref()),
            SourceErrorKind::Name(error) => Some(error),
            _ => None,
        }
    }
}
