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
use crate::landing::journal::{Claim, Content};
use crate::landing::site::kept_name;
use crate::landing::{FileOp, OpError, OpReply, Rotten, read_back};

impl PortableExecutor {
    /// Nothing: `std` knows no way past the cache.
    #[expect(clippy::unnecessary_wraps, reason = "the other executor can fail")]
    pub(crate) const fn forget_cached(_file: &File) -> io::Result<()> {
        Ok(())
    }

    /// Carries out `op` if it is about these.
    pub(super) fn keep(&mut self, op: &FileOp) -> Result<Option<OpReply>, OpError> {
        if let Some(reply) = self.journal.keep(&self.site, op)? {
            return Ok(Some(reply));
        }
        Ok(Some(match op {
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
            FileOp::Adopt { id, claim, linked } => self.adopt(*id, claim, *linked)?,
            FileOp::StartSync => self.start_sync()?,
            FileOp::PollSync => OpReply::Found(true),
            FileOp::ReadBack { from } => self.read_back(*from)?,
            FileOp::OpenStaging => {
                self.site.open_staging()?;
                OpReply::Done
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

    fn read_back(&mut self, from: Option<u64>) -> Result<OpReply, OpError> {
        let staging = self.site.staging_path();
        let Some((claim, next)) = self.journal.next_whole(&staging, self.run, from)? else {
            return Ok(OpReply::ReadBack { next: None });
        };
        let rotten = |rotten| OpError::Rotten(claim.name.clone(), rotten);
        let file =
            File::open(self.staged(&claim.name)).map_err(|error| rotten(Rotten::Unreadable(0, error)))?;
        Self::forget_cached(&file).map_err(|error| rotten(Rotten::Unreadable(0, error)))?;
        read_back(&file, claim.size, &claim.content).map_err(rotten)?;
        Ok(OpReply::ReadBack { next: Some(next) })
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
