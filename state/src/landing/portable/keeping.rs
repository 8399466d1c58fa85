//! The journal, checkpoints, and what earlier runs left.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use longhaul_core::id::ItemId;

use super::{PortableExecutor, sync};
use crate::landing::journal::{Claim, Content, Record};
use crate::landing::site::kept_name;
use crate::landing::{FileOp, OpError, OpReply};

impl PortableExecutor {
    /// Carries out `op` if it is about these.
    pub(super) fn keep(&mut self, op: &FileOp) -> Result<Option<OpReply>, OpError> {
        Ok(Some(match op {
            FileOp::FindJournal => OpReply::Found(self.site.has_journal()),
            FileOp::LoadJournal => OpReply::Journal(self.journal.load(&self.site.journal_path())?),
            FileOp::KeepStaged { run } => {
                self.site.keep_staged(*run)?;
                OpReply::Claimed(self.journal.build_index(&self.site.staging_path())?)
            }
            FileOp::BeginRun { run } => {
                self.journal.begin_run(&self.site.journal_path(), *run)?;
                sync(self.site.parent())?;
                self.run = *run;
                OpReply::Done
            }
            FileOp::Find { name } => OpReply::Claim(self.journal.find(name)?.map(Box::new)),
            FileOp::Adopt { id, claim, linked } => self.adopt(*id, claim, *linked)?,
            FileOp::Record(record) => done(self.journal.record(record))?,
            FileOp::Forget { name } => done(self.journal.note(&Record::Forget(name.clone())))?,
            FileOp::RecordReady { root_mode, state } => {
                let ready = self.site.ready(*root_mode, *state)?;
                done(self.journal.note(&Record::Ready(ready)))?
            }
            FileOp::StartSync => self.start_sync()?,
            FileOp::PollSync => OpReply::Found(true),
            FileOp::Mark { covers } => done(self.journal.mark(*covers))?,
            FileOp::Identify => self.site.identify()?,
            FileOp::OpenStaging => done(self.site.open_staging())?,
            FileOp::RemoveJournal => {
                self.journal.close();
                done(self.site.remove_journal())?
            }
            FileOp::LeaveStaging => {
                self.journal.close();
                self.files.clear();
                self.site.leave_staging();
                OpReply::Done
            }
            _ => return Ok(None),
        }))
    }

    /// Moves what earlier runs left of a file to its place, if it is what is claimed.
    fn adopt(&mut self, id: ItemId, claim: &Claim, linked: bool) -> io::Result<OpReply> {
        for run in (claim.run..self.run).rev() {
            let kept = self.site.staging_path().join(kept_name(run));
            let below = OsStr::from_bytes(claim.name.as_bytes());
            let kept = if claim.name.is_root() { kept } else { kept.join(below) };
            let Some(file) = open_kept(&kept, claim, linked)? else { continue };
            let place = self.place(&claim.name)?;
            match fs::symlink_metadata(&place) {
                Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            fs::rename(kept, place)?;
            if claim.name.is_root() {
                self.site.note_staged(claim.inode);
            }
            self.files.insert(id, Arc::new(file));
            return Ok(OpReply::Found(true));
        }
        Ok(OpReply::Found(false))
    }

    /// Makes durable what is open; what is finished was synced then.
    fn start_sync(&mut self) -> io::Result<OpReply> {
        let covers = self.journal.covers()?;
        self.files.values().try_for_each(|file| file.sync_data())?;
        Ok(OpReply::Covers(covers))
    }
}

/// A file that an earlier run left, if it is what is claimed.
fn open_kept(path: &Path, claim: &Claim, linked: bool) -> io::Result<Option<File>> {
    let absent =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let whole = matches!(claim.content, Content::Whole(_));
    let as_long = found.len() == claim.size || !whole && found.len() >= claim.content.len(claim.size);
    if !found.is_file() || found.ino() != claim.inode || found.nlink() > 1 && !linked || !as_long {
        return Ok(None);
    }
    match OpenOptions::new().read(true).write(!whole).open(path) {
        Ok(file) => Ok((file.metadata()?.ino() == claim.inode).then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
    }
}

fn done<E>(result: Result<(), E>) -> Result<OpReply, E> {
    result.map(|()| OpReply::Done)
}
