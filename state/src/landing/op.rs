//! What the landing machine asks for, and what it is told.

use std::fmt;
use std::io;

use longhaul_core::id::ItemId;
use longhaul_core::item::Timestamp;

use super::Rotten;
use super::journal::{Agreed, Claim, Claimed, JournalError, Loaded, Record};
use crate::item::Name;

/// An operation's number: 0, 1, 2, ... in the order in which they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// One operation on files. Names are relative to the staged state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOp {
    /// Look at the destination and its parent, changing nothing: [`OpReply::Destination`].
    Inspect,
    /// Ask the file system what is free and what it promises: [`OpReply::Space`].
    MeasureSpace,
    /// Take the lock beside the destination; [`OpError::Held`] if another process has it.
    Lock,
    /// Remove what a process that is gone left under the staging name, if it is ours.
    Sweep,
    /// Whether there is a journal of an earlier process: [`OpReply::Found`].
    FindJournal,
    /// Read the journal of an earlier process and cut off what is torn: [`OpReply::Journal`];
    /// [`OpError::Journal`] if it can't be used, and is left as it is.
    LoadJournal,
    /// Set what an earlier process staged aside, as `kept.RUN` in staging, and make its claims findable;
    /// `NotFound` if there is no staging directory; [`OpReply::Claimed`].
    KeepStaged {
        /// The run that staged it.
        run: u32,
    },
    /// Note in the journal, durably, that a run begins; make the journal if there is none.
    BeginRun {
        /// Its number.
        run: u32,
    },
    /// What the journal claims of an item: [`OpReply::Claim`].
    Find {
        /// Its name.
        name: Name,
    },
    /// Move a file that an earlier run left to its place, and open it: [`OpReply::Found`] with `false` if
    /// what is there is not what is claimed.
    Adopt {
        /// The item.
        id: ItemId,
        /// What is claimed of it.
        claim: Box<Claim>,
        /// It may have several names.
        linked: bool,
    },
    /// Append to the journal.
    Record(Box<Record>),
    /// Append, durably, that nothing is claimed of an item any more: before its file is changed or removed, for
    /// another one may get its inode.
    Forget {
        /// The item's name.
        name: Name,
    },
    /// Append, durably, what is about to be published, with the inodes by which it is recognised.
    RecordReady {
        /// What the root is given once it is published.
        root: Option<RootAttributes>,
        /// The state.
        state: Agreed,
    },
    /// Begin to make durable what is staged, and return at once: [`OpReply::Covers`].
    StartSync,
    /// Whether the sync that was begun last is over: [`OpReply::Found`].
    PollSync,
    /// Append, durably, that what the journal claims up to a position is durable.
    Mark {
        /// The position; all of it if `None`.
        covers: Option<u64>,
    },
    /// Read back from the disk, past the cache, one whole file that this run claims, and compare it:
    /// [`OpReply::ReadBack`], or [`OpError::Rotten`].
    ReadBack {
        /// Where in the journal to look for it; from this run's start if `None`.
        from: Option<u64>,
    },
    /// Which inodes stand at the destination and in staging: [`OpReply::Identities`].
    Identify,
    /// Open the staging directory of an earlier process, to publish what it staged.
    OpenStaging,
    /// Remove the journal.
    RemoveJournal,
    /// Close everything in staging and leave it for a later process.
    LeaveStaging,
    /// Make the staging directory, for its owner alone.
    MakeStaging,
    /// Make the directory inside staging that becomes the destination.
    MakeStagedRoot,
    /// Try out, in staging: create, fsync of a file and of a directory, rename flags, unlink:
    /// [`OpReply::Probed`].
    Probe,
    /// Create an empty file and keep it open.
    CreateFile {
        /// The item.
        id: ItemId,
        /// Its name.
        name: Name,
    },
    /// Give an open file its length and, unless it is sparse, its blocks, so that a size that the file
    /// system does not take, or a full disk, shows now. Where it can't reserve blocks it has none.
    Reserve {
        /// The item.
        id: ItemId,
        /// Its name.
        name: Name,
        /// Its length.
        len: u64,
        /// Most of it may be holes.
        sparse: bool,
    },
    /// Give an open file its exact length and attributes, and close it.
    FinishFile {
        /// The item.
        id: ItemId,
        /// Its length.
        len: u64,
        /// Its permission bits.
        mode: u16,
        /// Its time, if it has one.
        mtime: Option<Timestamp>,
        /// Fsync it now: [`OpError::Durability`] if that fails.
        sync: bool,
    },
    /// Create a file, write the payload, set its attributes, close it. All of it, or nothing stays.
    PutFile {
        /// Its name.
        name: Name,
        /// Its permission bits.
        mode: u16,
        /// Its time, if it has one.
        mtime: Option<Timestamp>,
        /// Fsync it now: [`OpError::Durability`] if that fails.
        sync: bool,
    },
    /// Close a file, if it is open, and remove it.
    RemoveFile {
        /// The item.
        id: ItemId,
        /// Its name.
        name: Name,
    },
    /// Make the missing directories on the way to `name`, marked as not complete.
    MakeParents {
        /// The name whose parents are missing.
        name: Name,
    },
    /// Make a directory, unless it was made on demand, and set its attributes: it is complete.
    FinishDirectory {
        /// Its name.
        name: Name,
        /// Its permission bits.
        mode: u16,
        /// Its time.
        mtime: Timestamp,
        /// Fsync it now: [`OpError::Durability`] if that fails.
        sync: bool,
    },
    /// Make a symbolic link.
    SymbolicLink {
        /// Its name.
        name: Name,
        /// Where it points.
        target: Box<[u8]>,
    },
    /// Keep a link to a file by its item's number: later names lead there.
    KeepLink {
        /// The set's first file.
        id: ItemId,
        /// Its name.
        name: Name,
    },
    /// Give a kept file another name.
    HardLink {
        /// The set's first file.
        to: ItemId,
        /// The further name.
        name: Name,
    },
    /// Have the disk begin with all files that are synced next, so that none waits for the one before it. Whether it can be
    /// had to, and whether it has, is not said.
    WriteBack,
    /// Fsync a file of the staged state.
    SyncFile {
        /// Its name.
        name: Name,
    },
    /// Fsync a directory of the staged state.
    SyncDirectory {
        /// Its name.
        name: Name,
    },
    /// Sync the whole file system, on a descriptor that was opened before the first write.
    SyncTree,
    /// Fsync the staging directory.
    SyncStaging,
    /// Fsync the destination's parent.
    SyncParent,
    /// Make the staged state the destination, in one step.
    Publish {
        /// How.
        how: Rename,
    },
    /// Give the published root the permission bits that it could not be moved with, and the time that an exchange may
    /// have taken from it, durably.
    SettleRoot {
        /// What it is given.
        root: RootAttributes,
    },
    /// Remove staging with all it holds, if that is what is expected; else leave it alone.
    RemoveStaging {
        /// What is expected under the staged state's name.
        leftover: Leftover,
    },
    /// Remove the lock and give it back.
    Unlock,
}

/// What a root is given once it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootAttributes {
    /// Its permission bits.
    pub mode: u16,
    /// Its time.
    pub mtime: Timestamp,
}

/// How the staged state takes the destination's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rename {
    /// The destination is absent, and must still be.
    NoReplace,
    /// The same without a flag for it: an exclusive mkdir, then a rename over that directory.
    Claim,
    /// The same for a file: an exclusive link, then an unlink of the staged name.
    Link,
    /// The destination is an empty directory.
    OverEmpty,
    /// A file takes the place of a file.
    Replace,
    /// A directory changes places with the old one.
    Exchange,
}

/// What lies under the staged state's name when staging is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leftover {
    /// Nothing: it was moved away.
    Nothing,
    /// The staged state, or nothing yet.
    Staged,
    /// The old state with this inode, after the exchange.
    Old(u64),
    /// The same, or nothing: a file's place was taken, or it was removed already.
    Replaced(u64),
}

/// What an operation found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpReply {
    /// It is done.
    Done,
    /// To [`FileOp::Inspect`].
    Destination(Destination),
    /// To [`FileOp::MeasureSpace`].
    Space(Space),
    /// To [`FileOp::Probe`].
    Probed(Probed),
    /// To [`FileOp::FindJournal`], [`FileOp::Adopt`] and [`FileOp::PollSync`].
    Found(bool),
    /// To [`FileOp::LoadJournal`]: what it says, if there is one.
    Journal(Option<Box<Loaded>>),
    /// To [`FileOp::KeepStaged`].
    Claimed(Claimed),
    /// To [`FileOp::Find`].
    Claim(Option<Box<Claim>>),
    /// To [`FileOp::StartSync`]: what the journal claims up to this position will be durable.
    Covers(u64),
    /// To [`FileOp::ReadBack`].
    ReadBack {
        /// Where to look for the next one; `None` if that was the last.
        next: Option<u64>,
    },
    /// To [`FileOp::CreateFile`], [`FileOp::FinishFile`] and [`FileOp::PutFile`]: the file's inode.
    Inode(u64),
    /// To [`FileOp::Identify`].
    Identities {
        /// The destination's, if there is one.
        destination: Option<u64>,
        /// The staged state's, if there is one.
        staged: Option<u64>,
        /// The staged state is a directory.
        is_directory: bool,
    },
}

/// What is at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Nothing; its parent is there.
    Absent,
    /// A directory without entries.
    EmptyDirectory,
    /// A directory with entries, and its inode.
    Directory(u64),
    /// A regular file.
    File,
    /// Something that is never replaced: "a symbolic link", "a device", ...
    Other(&'static str),
    /// A mount point, or `/`.
    MountPoint,
    /// Inside the source, or around it.
    InsideSource,
    /// The parent does not exist.
    NoParent,
    /// A place whose file system does not take its name, or those of what stands beside it while a state is landed.
    NameTooLong {
        /// Bytes of the longest of these names.
        need: u64,
        /// Bytes that a name there may have.
        have: u64,
    },
}

/// What a file system has and promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still write; `None` if that can't be known.
    pub free_bytes: Option<u64>,
    /// Files that may still be made; `None` if there is no such limit.
    pub free_inodes: Option<u64>,
    /// Bytes that a name may have; `None` if that can't be known.
    pub longest_name: Option<u64>,
    /// One sync can cover the whole staged tree.
    pub syncs_tree: bool,
    /// Why durability is unproven, if it is.
    pub caveat: Option<&'static str>,
}

/// What a file system can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Rename only if the destination is absent.
    pub no_replace: bool,
    /// Exchange two directories.
    pub exchange: bool,
}

/// Why an operation failed. Error kinds mean what `std` means by them, with two of its own readings:
/// `NotADirectory` if a part of a name is no directory, is a symbolic link or is complete already;
/// `Unsupported` if the system lacks a call or flag.
#[derive(Debug)]
pub enum OpError {
    /// Another process has the lock; this one.
    Held(String),
    /// The journal can't be used.
    Journal(JournalError),
    /// An fsync failed: the data is not to be trusted any more.
    Durability(io::Error),
    /// This file is not on the disk what it was when it came.
    Rotten(Name, Rotten),
    /// Any other call failed.
    Io(io::Error),
}

impl From<JournalError> for OpError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl From<io::Error> for OpError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl FileOp {
    /// What it does, for an error about it.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Inspect => "inspection of the destination",
            Self::MeasureSpace => "statfs",
            Self::Lock => "lock",
            Self::Sweep => "removal of what an earlier run left",
            Self::FindJournal | Self::LoadJournal => "reading of the journal",
            Self::KeepStaged { .. } | Self::OpenStaging => "opening of the staging directory",
            Self::Find { .. } | Self::Adopt { .. } => "taking over of what an earlier run left",
            Self::BeginRun { .. }
            | Self::Record(_)
            | Self::Forget { .. }
            | Self::RecordReady { .. }
            | Self::Mark { .. } => "writing of the journal",
            Self::StartSync | Self::PollSync | Self::WriteBack => "sync",
            Self::ReadBack { .. } => crate::sink::READ_BACK,
            Self::Identify => "inspection of what was published",
            Self::RemoveJournal => "removal of the journal",
            Self::LeaveStaging => "closing of the staging directory",
            Self::MakeStaging | Self::MakeStagedRoot => "creation of the staging directory",
            Self::Probe => "probe of the file system",
            Self::CreateFile { .. } => "create",
            Self::Reserve { .. } => "reservation",
            Self::FinishFile { .. } => "setting of attributes",
            Self::PutFile { .. } => "write",
            Self::RemoveFile { .. } => "remove",
            Self::MakeParents { .. } | Self::FinishDirectory { .. } => "creation of the directory",
            Self::SymbolicLink { .. } => "creation of the symbolic link",
            Self::KeepLink { .. } | Self::HardLink { .. } => "creation of the hard link",
            Self::SyncFile { .. } | Self::SyncDirectory { .. } | Self::SyncStaging | Self::SyncParent => {
                "fsync"
            }
            Self::SyncTree => "syncfs",
            Self::Publish { .. } => "rename",
            Self::SettleRoot { .. } => "setting of attributes",
            Self::RemoveStaging { .. } => "removal of the staging directory",
            Self::Unlock => "removal of the lock",
        }
    }

    /// The name that it is about; the root where it is about none.
    #[must_use]
    pub fn name(&self) -> Name {
        match self {
            Self::CreateFile { name, .. }
            | Self::Reserve { name, .. }
            | Self::PutFile { name, .. }
            | Self::RemoveFile { name, .. }
            | Self::MakeParents { name }
            | Self::FinishDirectory { name, .. }
            | Self::SymbolicLink { name, .. }
            | Self::KeepLink { name, .. }
            | Self::HardLink { name, .. }
            | Self::SyncFile { name }
            | Self::Find { name }
            | Self::Forget { name }
            | Self::SyncDirectory { name } => name.clone(),
            Self::Adopt { claim, .. } => claim.name.clone(),
            _ => Name::root(),
        }
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(who) => write!(f, "held by {who}"),
            Self::Journal(error) => error.fmt(f),
            Self::Durability(error) => write!(f, "could not be made durable: {error}"),
            Self::Rotten(name, rotten) => write!(f, "{name}: {rotten}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}
