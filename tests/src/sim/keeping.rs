//! The journal on the model disk, checkpoints, and what earlier processes left.

use std::io;

use longhaul_core::id::ItemId;
use longhaul_state::item::Name;
use longhaul_state::landing::journal::{Claim, Content, JournalError, JournalFile, Ready, Record, Run};
use longhaul_state::landing::{FileOp, OpError, OpReply};

use super::bytes::Bytes;
use super::disk::{Disk, Ino, Kind, View};
use super::executor::{Errors, Executor, is_noted, not_found, remove};

/// The journal of one landing.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    file: Option<JournalFile<Bytes>>,
    /// The same, for the disk to fail it.
    bytes: Bytes,
    run: u32,
    /// The sync in the background that was begun last.
    begun: u64,
    /// This process is of a version that does not know the journal's.
    pub(super) is_older: bool,
}

impl Keeping {
    fn file(&mut self) -> io::Result<&mut JournalFile<Bytes>> {
        self.file.as_mut().ok_or_else(not_found)
    }

    /// Appends a record durably.
    fn note(&mut self, record: &Record) -> io::Result<OpReply> {
        let file = self.file()?;
        file.append(record)?;
        file.sync()?;
        Ok(OpReply::Done)
    }
}

impl Executor {
    fn journal_name(&self) -> Box<[u8]> {
        [b".", &*self.destination, b".longhaul.journal"].concat().into()
    }

    /// Whether an earlier process has left a journal.
    pub(crate) fn has_journal(&self, disk: &Disk) -> bool {
        disk.look_up(Disk::PARENT, &self.journal_name(), View::Cache).is_some()
    }

    /// Carries out `op` if it is about these.
    pub(super) fn keep(
        &mut self,
        op: &FileOp,
        disk: &mut Disk,
        errors: Errors,
    ) -> Result<Option<OpReply>, OpError> {
        if errors.sync && is_noted(op) {
            self.journal.bytes.fail_next_sync();
        }
        let reply = match op {
            FileOp::FindJournal => OpReply::Found(self.has_journal(disk)),
            FileOp::LoadJournal => self.load(disk)?,
            FileOp::KeepStaged { run } => self.keep_staged(disk, *run)?,
            FileOp::BeginRun { run } => self.begin_run(disk, *run, errors)?,
            FileOp::Find { name } => OpReply::Claim(self.journal.file()?.find(name)?.map(Box::new)),
            FileOp::Adopt { id, claim, linked } => self.adopt(disk, *id, claim, *linked)?,
            FileOp::Record(record) => {
                self.journal.file()?.append(record)?;
                OpReply::Done
            }
            FileOp::Forget { name } => self.journal.note(&Record::Forget(name.clone()))?,
            FileOp::RecordReady { root, state } => {
                let (old, staged) = self.identify(disk);
                let staged = staged.ok_or_else(not_found)?;
                self.journal.note(&Record::Ready(Ready { staged, old, root: *root, state: *state }))?
            }
            FileOp::StartSync => {
                self.journal.begun = disk.begin_sync();
                OpReply::Covers(self.journal.file()?.len())
            }
            FileOp::PollSync => {
                disk.end_sync(self.journal.begun, self.heard)?;
                OpReply::Found(true)
            }
            FileOp::Mark { covers } => {
                let len = self.journal.file()?.len();
                self.journal.note(&Record::Mark(covers.unwrap_or(len)))?
            }
            FileOp::Identify => {
                let (destination, staged) = self.identify(disk);
                let state = self.state(disk);
                let is_directory = state.is_some_and(|state| *disk.kind(state) == Kind::Directory);
                OpReply::Identities { destination, staged, is_directory }
            }
            FileOp::OpenStaging => {
                let staging = disk.look_up(Disk::PARENT, &self.staging_name(), View::Cache);
                self.staging = Some(staging.ok_or_else(not_found)?);
                OpReply::Done
            }
            FileOp::RemoveJournal => {
                self.journal.file = None;
                self.remove_journal(disk);
                OpReply::Done
            }
            FileOp::LeaveStaging => {
                self.journal.file = None;
                (self.staging, self.root) = (None, None);
                self.files.clear();
                OpReply::Done
            }
            _ => return Ok(None),
        };
        Ok(Some(reply))
    }

    fn load(&mut self, disk: &mut Disk) -> Result<OpReply, OpError> {
        let Some(found) = disk.look_up(Disk::PARENT, &self.journal_name(), View::Cache) else {
            return Ok(OpReply::Journal(None));
        };
        if self.journal.is_older {
            return Err(JournalError::Version(u16::MAX).into());
        }
        let bytes = disk.bytes(found);
        let (file, loaded) = JournalFile::open(bytes.share())?;
        (self.journal.file, self.journal.bytes) = (Some(file), bytes);
        Ok(OpReply::Journal(Some(Box::new(loaded))))
    }

    fn keep_staged(&mut self, disk: &mut Disk, run: u32) -> Result<OpReply, OpError> {
        let staging = disk.look_up(Disk::PARENT, &self.staging_name(), View::Cache).ok_or_else(not_found)?;
        self.staging = Some(staging);
        self.heard = disk.failures();
        let entries: Vec<(Box<[u8]>, Ino)> =
            disk.entries(staging, View::Cache).map(|(name, ino)| (name.into(), ino)).collect();
        for (name, ino) in entries {
            if &*name == b"state" {
                let kept = format!("kept.{run}").into_bytes().into();
                disk.change(vec![(staging, name, None), (staging, kept, Some(ino))]);
            } else if !name.starts_with(b"kept.") {
                remove(disk, staging, &name, ino);
            }
        }
        Ok(OpReply::Claimed(self.journal.file()?.build_index(Bytes::default())?))
    }

    /// A journal that is new takes its name only when its first record is durable.
    fn begin_run(&mut self, disk: &mut Disk, run: u32, errors: Errors) -> io::Result<OpReply> {
        let record = Record::Run(Run { number: run, since: 0 });
        self.journal.run = run;
        if self.journal.file.is_some() {
            self.journal.note(&record)?;
        } else {
            let new: Box<[u8]> = [&*self.journal_name(), b".new"].concat().into();
            let ino = match disk.look_up(Disk::PARENT, &new, View::Cache) {
                Some(old) => {
                    remove(disk, Disk::PARENT, &new, old);
                    disk.create(Disk::PARENT, &new, Kind::File, 0o600)?
                }
                None => disk.create(Disk::PARENT, &new, Kind::File, 0o600)?,
            };
            let bytes = disk.bytes(ino);
            self.journal.file = Some(JournalFile::create(bytes.share(), ino.0)?);
            self.journal.bytes = bytes;
            if errors.sync {
                self.journal.bytes.fail_next_sync();
            }
            let noted = self.journal.note(&record);
            if noted.is_err() {
                self.journal.file = None;
            }
            noted?;
            disk.change(vec![(Disk::PARENT, new, None), (Disk::PARENT, self.journal_name(), Some(ino))]);
        }
        disk.sync(Disk::PARENT)?;
        Ok(OpReply::Done)
    }

    fn adopt(&mut self, disk: &mut Disk, id: ItemId, claim: &Claim, linked: bool) -> io::Result<OpReply> {
        let staging = self.staging()?;
        for run in (claim.run..self.journal.run).rev() {
            let kept: Box<[u8]> = format!("kept.{run}").into_bytes().into();
            let Some((directory, leaf)) = above(disk, staging, &kept, &claim.name) else { continue };
            let Some(found) = disk.look_up(directory, &leaf, View::Cache) else { continue };
            let size = disk.content(found, View::Cache).1;
            let as_long = match claim.content {
                Content::Whole(_) => size == claim.size,
                Content::Part(_) => size >= claim.content.len(claim.size),
            };
            let same = *disk.kind(found) == Kind::File && disk.number(found) == claim.inode;
            if !same || !as_long || disk.links(found) > 1 && !linked {
                continue;
            }
            let (to, name) = self.place(disk, claim.name.as_bytes())?;
            if disk.look_up(to, name, View::Cache).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            disk.change(vec![(directory, leaf, None), (to, name.into(), Some(found))]);
            if claim.name.is_root() {
                self.root = Some(found);
            }
            self.files.insert(id, found);
            return Ok(OpReply::Found(true));
        }
        Ok(OpReply::Found(false))
    }

    fn state(&self, disk: &Disk) -> Option<Ino> {
        let staging = disk.look_up(Disk::PARENT, &self.staging_name(), View::Cache)?;
        disk.look_up(staging, b"state", View::Cache)
    }

    /// The inodes of the destination and of the staged state.
    fn identify(&self, disk: &Disk) -> (Option<u64>, Option<u64>) {
        let destination = disk.look_up(Disk::PARENT, &self.destination, View::Cache);
        let number = |ino| disk.number(ino);
        (destination.map(number), self.state(disk).map(number))
    }

    /// What a journal claims goes before other files get the inodes.
    pub(super) fn sweep_journal(&mut self, disk: &mut Disk) -> io::Result<()> {
        self.journal.file = None;
        if self.has_journal(disk) {
            self.remove_journal(disk);
            disk.sync(Disk::PARENT)?;
        }
        Ok(())
    }

    fn remove_journal(&self, disk: &mut Disk) {
        if self.has_journal(disk) {
            disk.change(vec![(Disk::PARENT, self.journal_name(), None)]);
        }
    }
}

/// Where what a run kept of an item stands: its directory, and its name there.
fn above(disk: &Disk, staging: Ino, kept: &[u8], name: &Name) -> Option<(Ino, Box<[u8]>)> {
    if name.is_root() {
        return Some((staging, kept.into()));
    }
    let root = disk.look_up(staging, kept, View::Cache)?;
    let bytes = name.as_bytes();
    let at = bytes.iter().rposition(|&byte| byte == b'/');
    let (above, leaf) = at.map_or((&b""[..], bytes), |at| (&bytes[..at], &bytes[at + 1..]));
    Some((disk.resolve(root, above, View::Cache)?, leaf.into()))
}
