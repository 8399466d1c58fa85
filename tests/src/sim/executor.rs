//! Carries the landing machine's operations out on the model disk, as the executor for Linux does
//! on a real one. It knows no order of its own.

use std::collections::BTreeMap;
use std::io;

use longhaul_core::id::ItemId;
use longhaul_state::landing::{Destination, FileOp, Leftover, OpError, OpReply, Probed, Rename, Space};

use super::content::Piece;
use super::disk::{Disk, EIO, Ino, Kind, View};
use super::keeping::Keeping;

/// A directory made on demand bears it until its own item comes.
const STICKY: u32 = 0o1000;
const INCOMPLETE: u32 = STICKY | 0o700;

/// The site of one destination, and what is open there.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(super) destination: Box<[u8]>,
    /// Who this is among those who want the lock.
    holder: u64,
    pub(super) staging: Option<Ino>,
    /// The disk's failures when staging was opened.
    pub(super) heard: u64,
    pub(super) root: Option<Ino>,
    pub(super) files: BTreeMap<ItemId, Ino>,
    pub(super) journal: Keeping,
}

/// Where on a disk a process holds locks; gone with the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks(BTreeMap<Box<[u8]>, u64>);

/// Which errors an operation meets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Errors {
    /// Of creating, writing, renaming.
    pub(crate) write: bool,
    /// Of syncing.
    pub(crate) sync: bool,
}

impl Locks {
    /// All processes are gone.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Executor {
    pub(crate) fn new(destination: &[u8], holder: u64) -> Self {
        Self {
            destination: destination.into(),
            holder,
            staging: None,
            heard: 0,
            root: None,
            files: BTreeMap::new(),
            journal: Keeping::default(),
        }
    }

    /// The staged state, if a power cut can't take it out of the staging directory.
    pub(crate) fn durable_root(&self, disk: &Disk) -> Option<Ino> {
        let root = disk.look_up(self.staging?, b"state", View::Disk);
        root.filter(|root| Some(*root) == self.root)
    }

    /// The open file of an item.
    pub(crate) fn file(&self, id: ItemId) -> Option<Ino> {
        self.files.get(&id).copied()
    }

    pub(super) fn staging_name(&self) -> Box<[u8]> {
        [b".", &*self.destination, b".longhaul"].concat().into()
    }

    fn lock_name(&self) -> Box<[u8]> {
        [b".", &*self.destination, b".longhaul.lock"].concat().into()
    }

    /// The process has no more use for it: a lock that it held is free, whatever stands there still.
    pub(crate) fn close(&self, locks: &mut Locks) {
        if locks.0.get(&self.destination) == Some(&self.holder) {
            locks.0.remove(&self.destination);
        }
    }

    /// Carries out `op`; `payload` is the content of [`FileOp::PutFile`].
    pub(crate) fn execute(
        &mut self,
        op: &FileOp,
        payload: &[Piece],
        disk: &mut Disk,
        locks: &mut Locks,
        errors: Errors,
    ) -> Result<OpReply, OpError> {
        if errors.write && !is_sync(op) && !matches!(op, FileOp::RemoveStaging { .. } | FileOp::Unlock) {
            return Err(io::Error::from_raw_os_error(EIO).into());
        }
        if errors.sync && is_sync(op) && !is_noted(op) {
            self.fail_writeback(op, disk);
            return Err(io::Error::from_raw_os_error(EIO).into());
        }
        if let Some(reply) = self.look(op, disk) {
            return Ok(reply);
        }
        if let Some(reply) = self.keep(op, disk, errors)? {
            return Ok(reply);
        }
        match op {
            FileOp::Lock => self.lock(disk, locks)?,
            FileOp::Sweep => {
                self.sweep_journal(disk)?;
                let name = self.staging_name();
                if let Some(staging) = disk.look_up(Disk::PARENT, &name, View::Cache) {
                    remove(disk, Disk::PARENT, &name, staging);
                }
            }
            FileOp::MakeStaging => {
                self.heard = disk.failures();
                self.staging =
                    Some(disk.create(Disk::PARENT, &self.staging_name(), Kind::Directory, 0o700)?);
            }
            FileOp::MakeStagedRoot => {
                self.root = Some(disk.create(self.staging()?, b"state", Kind::Directory, INCOMPLETE)?);
            }
            FileOp::CreateFile { id, name } => {
                let file = self.create(disk, name.as_bytes(), Kind::File, 0o600)?;
                self.files.insert(*id, file);
                return Ok(OpReply::Inode(disk.number(file)));
            }
            FileOp::Reserve { id, len, sparse, .. } => {
                if !sparse && disk.free < *len {
                    return Err(io::Error::from(io::ErrorKind::StorageFull).into());
                }
                let file = self.files.get(id).ok_or(io::ErrorKind::InvalidInput).map_err(io::Error::from)?;
                disk.set_len(*file, *len);
            }
            FileOp::FinishFile { id, len, mode, mtime, sync } => {
                let file =
                    self.files.remove(id).ok_or(io::ErrorKind::InvalidInput).map_err(io::Error::from)?;
                disk.set_len(file, *len);
                disk.set_attributes(file, (*mode).into(), *mtime);
                sync_if(*sync, file, disk, errors)?;
                return Ok(OpReply::Inode(disk.number(file)));
            }
            FileOp::PutFile { name, mode, mtime, sync } => {
                let file = self.create(disk, name.as_bytes(), Kind::File, (*mode).into())?;
                let mut at = 0;
                for piece in payload {
                    if let Err(error) = disk.write(file, at, *piece) {
                        self.unlink(disk, name.as_bytes())?;
                        return Err(error.into());
                    }
                    at += piece.len;
                }
                disk.set_attributes(file, (*mode).into(), *mtime);
                sync_if(*sync, file, disk, errors)?;
                return Ok(OpReply::Inode(disk.number(file)));
            }
            FileOp::RemoveFile { id, name } => {
                self.files.remove(id);
                self.unlink(disk, name.as_bytes())?;
            }
            FileOp::MakeParents { name } => self.make_parents(disk, name.as_bytes())?,
            FileOp::FinishDirectory { name, mode, mtime, sync } => {
                let directory = self.complete(disk, name.as_bytes())?;
                disk.set_attributes(directory, (*mode).into(), Some(*mtime));
                sync_if(*sync, directory, disk, errors)?;
            }
            FileOp::SymbolicLink { name, target } => {
                self.create(disk, name.as_bytes(), Kind::Link(target.clone()), 0o777)?;
            }
            FileOp::KeepLink { id, name } => self.keep_link(disk, *id, name.as_bytes())?,
            FileOp::HardLink { to, name } => self.hard_link(disk, *to, name.as_bytes())?,
            FileOp::SyncFile { name } | FileOp::SyncDirectory { name } => {
                disk.sync(self.staged(disk, name.as_bytes())?)?;
            }
            // A disk may write whatever it wants at any time: it is not told apart.
            FileOp::WriteBack => {}
            FileOp::SyncTree => disk.sync_all(self.heard)?,
            FileOp::SyncStaging => disk.sync(self.staging()?)?,
            FileOp::SyncParent => disk.sync(Disk::PARENT)?,
            FileOp::Publish { how } => self.publish(disk, *how)?,
            FileOp::SettleRoot { root: attributes } => {
                // It may have been staged by an earlier process.
                let name = &self.destination;
                let root = disk.look_up(Disk::PARENT, name, View::Cache).ok_or_else(not_found)?;
                disk.set_attributes(root, attributes.mode.into(), Some(attributes.mtime));
                disk.sync(root)?;
            }
            FileOp::RemoveStaging { leftover } => self.remove_staging(disk, *leftover)?,
            FileOp::Unlock => self.unlock(disk, locks),
            // The simulation's landings read nothing back.
            _ => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        }
        Ok(OpReply::Done)
    }

    /// What the disk is and has, if that is what is asked for.
    fn look(&self, op: &FileOp, disk: &Disk) -> Option<OpReply> {
        let free_bytes = Some(disk.free);
        match op {
            FileOp::Inspect => Some(OpReply::Destination(self.inspect(disk))),
            FileOp::MeasureSpace => {
                let space = Space {
                    free_bytes,
                    free_inodes: None,
                    longest_name: None,
                    syncs_tree: true,
                    caveat: None,
                };
                Some(OpReply::Space(space))
            }
            FileOp::Probe => Some(OpReply::Probed(Probed { no_replace: true, exchange: true })),
            _ => None,
        }
    }

    fn inspect(&self, disk: &Disk) -> Destination {
        let Some(found) = disk.look_up(Disk::PARENT, &self.destination, View::Cache) else {
            return Destination::Absent;
        };
        match disk.kind(found) {
            Kind::File => Destination::File,
            Kind::Link(_) => Destination::Other("a symbolic link"),
            Kind::Directory if disk.entries(found, View::Cache).next().is_none() => {
                Destination::EmptyDirectory
            }
            Kind::Directory => Destination::Directory(disk.number(found)),
        }
    }

    fn lock(&self, disk: &mut Disk, locks: &mut Locks) -> Result<(), OpError> {
        if locks.0.contains_key(&self.destination) {
            return Err(OpError::Held("another process".into()));
        }
        locks.0.insert(self.destination.clone(), self.holder);
        if disk.look_up(Disk::PARENT, &self.lock_name(), View::Cache).is_none() {
            disk.create(Disk::PARENT, &self.lock_name(), Kind::File, 0o600)?;
        }
        Ok(())
    }

    pub(super) fn staging(&self) -> io::Result<Ino> {
        self.staging.ok_or_else(not_found)
    }

    /// The directory that holds `name`, and `name`'s last part.
    pub(super) fn place<'n>(&self, disk: &Disk, name: &'n [u8]) -> io::Result<(Ino, &'n [u8])> {
        if name.is_empty() {
            return Ok((self.staging()?, b"state"));
        }
        let at = name.iter().rposition(|&byte| byte == b'/');
        let (above, leaf) = at.map_or((&b""[..], name), |at| (&name[..at], &name[at + 1..]));
        let root = self.root.ok_or_else(not_found)?;
        let directory = disk.resolve(root, above, View::Cache).ok_or_else(not_found)?;
        let is_open = *disk.kind(directory) == Kind::Directory
            && disk.attributes(directory, View::Cache).mode & STICKY != 0;
        if is_open { Ok((directory, leaf)) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    fn create(&mut self, disk: &mut Disk, name: &[u8], kind: Kind, mode: u32) -> io::Result<Ino> {
        let (directory, leaf) = self.place(disk, name)?;
        let ino = disk.create(directory, leaf, kind, mode)?;
        if name.is_empty() {
            self.root = Some(ino);
        }
        Ok(ino)
    }

    fn unlink(&self, disk: &mut Disk, name: &[u8]) -> io::Result<()> {
        let (directory, leaf) = self.place(disk, name)?;
        disk.look_up(directory, leaf, View::Cache).ok_or_else(not_found)?;
        disk.change(vec![(directory, leaf.into(), None)]);
        Ok(())
    }

    fn make_parents(&self, disk: &mut Disk, name: &[u8]) -> io::Result<()> {
        for end in (0..name.len()).filter(|&at| name[at] == b'/') {
            let (directory, leaf) = self.place(disk, &name[..end])?;
            match disk.create(directory, leaf, Kind::Directory, INCOMPLETE) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The directory of this name, made if need be, which must not have been completed before.
    fn complete(&self, disk: &mut Disk, name: &[u8]) -> io::Result<Ino> {
        let directory = if name.is_empty() {
            self.root.ok_or_else(not_found)?
        } else {
            let (above, leaf) = self.place(disk, name)?;
            match disk.look_up(above, leaf, View::Cache) {
                Some(found) => found,
                None => disk.create(above, leaf, Kind::Directory, INCOMPLETE)?,
            }
        };
        let is_open = disk.attributes(directory, View::Cache).mode & STICKY != 0;
        if is_open { Ok(directory) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    fn keep_link(&self, disk: &mut Disk, id: ItemId, name: &[u8]) -> io::Result<()> {
        let staging = self.staging()?;
        let links = match disk.look_up(staging, b"links", View::Cache) {
            Some(links) => links,
            None => disk.create(staging, b"links", Kind::Directory, 0o700)?,
        };
        let file = self.staged(disk, name)?;
        disk.change(vec![(links, id.0.to_string().as_bytes().into(), Some(file))]);
        Ok(())
    }

    fn hard_link(&self, disk: &mut Disk, to: ItemId, name: &[u8]) -> io::Result<()> {
        let kept = format!("links/{}", to.0);
        let file = disk.resolve(self.staging()?, kept.as_bytes(), View::Cache).ok_or_else(not_found)?;
        let (directory, leaf) = self.place(disk, name)?;
        if disk.look_up(directory, leaf, View::Cache).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.change(vec![(directory, leaf.into(), Some(file))]);
        Ok(())
    }

    fn staged(&self, disk: &Disk, name: &[u8]) -> io::Result<Ino> {
        let root = self.root.ok_or_else(not_found)?;
        disk.resolve(root, name, View::Cache).ok_or_else(not_found)
    }

    /// What was to be written is gone; who asked is told now, others who have the files open when they ask.
    fn fail_writeback(&self, op: &FileOp, disk: &mut Disk) {
        match op {
            FileOp::SyncFile { name } => {
                if let Ok(file) = self.staged(disk, name.as_bytes()) {
                    disk.fail_writeback(file);
                    // This is the one who is told.
                    let _ = disk.sync(file);
                }
            }
            FileOp::SyncTree | FileOp::PollSync => {
                disk.unsynced().into_iter().for_each(|file| disk.fail_writeback(file));
            }
            _ => {}
        }
    }

    fn publish(&self, disk: &mut Disk, how: Rename) -> io::Result<()> {
        let (staging, name) = (self.staging()?, self.destination.clone());
        let new = disk.look_up(staging, b"state", View::Cache).ok_or_else(not_found)?;
        let old = disk.look_up(Disk::PARENT, &name, View::Cache);
        let left = match (how, old) {
            (Rename::NoReplace | Rename::Claim | Rename::Link, Some(_)) => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            (Rename::Exchange, None) => return Err(not_found()),
            (Rename::Exchange, old) => old,
            _ => None,
        };
        disk.change(vec![(staging, b"state"[..].into(), left), (Disk::PARENT, name, Some(new))]);
        Ok(())
    }

    fn unlock(&self, disk: &mut Disk, locks: &mut Locks) {
        disk.change(vec![(Disk::PARENT, self.lock_name(), None)]);
        locks.0.remove(&self.destination);
    }

    fn remove_staging(&mut self, disk: &mut Disk, leftover: Leftover) -> io::Result<()> {
        let Some(staging) = self.staging.take() else { return Ok(()) };
        let state = disk.look_up(staging, b"state", View::Cache);
        let expected = match leftover {
            Leftover::Nothing => state.is_none(),
            Leftover::Staged => state.is_none() || self.root.is_none() || state == self.root,
            Leftover::Old(inode) => state.is_some_and(|state| disk.number(state) == inode),
            Leftover::Replaced(inode) => state.is_none_or(|state| disk.number(state) == inode),
        };
        if !expected || disk.look_up(Disk::PARENT, &self.staging_name(), View::Cache) != Some(staging) {
            return Err(io::Error::other("staging holds something unexpected"));
        }
        remove(disk, Disk::PARENT, &self.staging_name(), staging);
        Ok(())
    }
}

const fn is_sync(op: &FileOp) -> bool {
    matches!(
        op,
        FileOp::SyncFile { .. }
            | FileOp::SyncDirectory { .. }
            | FileOp::SyncTree
            | FileOp::SyncStaging
            | FileOp::SyncParent
            | FileOp::PollSync
            | FileOp::BeginRun { .. }
            | FileOp::Forget { .. }
            | FileOp::Mark { .. }
            | FileOp::RecordReady { .. }
    )
}

/// Whether an operation is over when a record of the journal is durable.
pub(super) const fn is_noted(op: &FileOp) -> bool {
    matches!(
        op,
        FileOp::BeginRun { .. } | FileOp::Forget { .. } | FileOp::Mark { .. } | FileOp::RecordReady { .. }
    )
}

fn sync_if(sync: bool, ino: Ino, disk: &mut Disk, errors: Errors) -> Result<(), OpError> {
    if sync && errors.sync {
        disk.fail_writeback(ino);
    }
    if sync { disk.sync(ino).map_err(OpError::Durability) } else { Ok(()) }
}

/// Removes a tree, what it holds first.
pub(super) fn remove(disk: &mut Disk, directory: Ino, name: &[u8], ino: Ino) {
    let inside: Vec<(Box<[u8]>, Ino)> =
        disk.entries(ino, View::Cache).map(|(name, ino)| (name.into(), ino)).collect();
    for (entry, inner) in inside {
        remove(disk, ino, &entry, inner);
    }
    disk.change(vec![(directory, name.into(), None)]);
}

pub(super) fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}
