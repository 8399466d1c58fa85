//! The journal, checkpoints, and what earlier runs left.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use longhaul_core::id::ItemId;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, PosixFadviseAdvice, posix_fadvise};

use super::{LinuxExecutor, open_beneath, open_directory_at, opened, rename};
use crate::landing::journal::{Claim, Claimed, Content};
use crate::landing::site::{STATE, kept_name};
use crate::landing::writeback::What;
use crate::landing::{FileOp, OpError, OpReply, Rotten, read_back};

impl LinuxExecutor {
    /// Has what is read of `file` from now on come from the disk: what the cache holds says nothing of it. What was
    /// synced can go from there.
    pub(crate) fn forget_cached(file: &File) -> io::Result<()> {
        // What an earlier run left unwritten stays in the cache, and with it what is durable beside it: a folio is
        // forgotten as a whole or not at all.
        file.sync_data()?;
        Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
    }

    /// Carries out `op` if it is about these.
    pub(super) fn keep(&mut self, op: &FileOp) -> Result<Option<OpReply>, OpError> {
        if let Some(reply) = self.journal.keep(&self.site, op)? {
            return Ok(Some(reply));
        }
        Ok(Some(match op {
            FileOp::KeepStaged { run } => OpReply::Claimed(self.keep_staged(*run)?),
            FileOp::BeginRun { run } => {
                self.journal.begin_run(&self.site.journal_path(), *run)?;
                opened(self.parent.as_ref())?.sync_all()?;
                self.run = *run;
                OpReply::Done
            }
            FileOp::Adopt { id, claim, linked } => self.adopt(*id, claim, *linked)?,
            FileOp::StartSync => self.start_sync()?,
            FileOp::PollSync => {
                let checkpoint = self.checkpoint;
                OpReply::Found(self.writeback()?.is_over(checkpoint)?)
            }
            FileOp::ReadBack { from } => self.read_back(*from)?,
            FileOp::OpenStaging => {
                self.site.open_staging()?;
                self.staging = Some(open_directory_at(&self.site.staging_path())?);
                OpReply::Done
            }
            FileOp::LeaveStaging => {
                self.journal.close();
                self.close_staging();
                self.site.leave_staging();
                OpReply::Done
            }
            _ => return Ok(None),
        }))
    }

    /// Sets what an earlier run staged aside, and makes what it claims of it findable.
    fn keep_staged(&mut self, run: u32) -> Result<Claimed, OpError> {
        self.site.keep_staged(run)?;
        let staging = self.site.staging_path();
        self.staging = Some(open_directory_at(&staging)?);
        self.journal.build_index(&staging)
    }

    /// Moves what earlier runs left of a file to its place, if it is what is claimed.
    fn adopt(&mut self, id: ItemId, claim: &Claim, linked: bool) -> io::Result<OpReply> {
        let staging = opened(self.staging.as_ref())?.try_clone()?;
        for run in (claim.run..self.run).rev() {
            let mut path = kept_name(run).into_bytes();
            if !claim.name.is_root() {
                path.push(b'/');
                path.extend_from_slice(claim.name.as_bytes());
            }
            let Some(file) = open_kept(&staging, &path, claim, linked)? else { continue };
            let moved = if claim.name.is_root() {
                rename_absent(&staging, &path, &staging, STATE.as_bytes())
            } else {
                let (directory, leaf) = self.place(&claim.name)?;
                rename_absent(&staging, &path, directory, leaf)
            };
            moved?;
            if claim.name.is_root() {
                self.site.note_staged(claim.inode);
            }
            self.files.insert(id, (claim.name.clone(), Arc::new(file)));
            return Ok(OpReply::Found(true));
        }
        Ok(OpReply::Found(false))
    }

    fn read_back(&mut self, from: Option<u64>) -> Result<OpReply, OpError> {
        let staging = self.site.staging_path();
        let Some((claim, next)) = self.journal.next_whole(&staging, self.run, from)? else {
            return Ok(OpReply::ReadBack { next: None });
        };
        let unreadable = |error| OpError::Rotten(claim.name.clone(), Rotten::Unreadable(0, error));
        let (directory, name) = match &self.root {
            Some(root) if !claim.name.is_root() => (root, claim.name.as_bytes()),
            _ => (opened(self.staging.as_ref())?, STATE.as_bytes()),
        };
        let file: File = open_beneath(directory, name, OFlag::O_RDONLY).map_err(unreadable)?.into();
        Self::forget_cached(&file).map_err(unreadable)?;
        read_back(&file, claim.size, &claim.content)
            .map_err(|rotten| OpError::Rotten(claim.name.clone(), rotten))?;
        Ok(OpReply::ReadBack { next: Some(next) })
    }

    /// Has the disk begin with everything that was written.
    fn start_sync(&mut self) -> io::Result<OpReply> {
        let covers = self.journal.covers()?;
        self.start_writing();
        let what = if self.overflowed {
            What::Tree
        } else {
            let open = self.files.values().map(|(_, file)| file);
            What::Files(open.chain(self.unsynced_files.values()).map(Arc::clone).collect())
        };
        self.checkpoint = self.writeback()?.begin(what);
        self.unsynced = 0;
        Ok(OpReply::Covers(covers))
    }
}

/// A file that an earlier run left, if it is what is claimed.
fn open_kept(staging: &File, path: &[u8], claim: &Claim, linked: bool) -> io::Result<Option<File>> {
    // One that is complete may forbid its own owner to write: then there is nothing to write either.
    let open = |access| open_beneath(staging, path, access | OFlag::O_NONBLOCK);
    let opened = match open(OFlag::O_RDWR) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(OFlag::O_RDONLY),
        opened => opened,
    };
    let file: File = match opened {
        Ok(file) => file.into(),
        // Something else has its name, or it forbids its own owner to read.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    let whole = matches!(claim.content, Content::Whole(_));
    let as_long = if whole {
        found.len() == claim.size
    } else {
        found.len() >= claim.content.len(claim.size) && found.mode() & 0o200 != 0
    };
    let same = found.is_file() && found.ino() == claim.inode && (found.nlink() == 1 || linked) && as_long;
    Ok(same.then_some(file))
}

/// Renames what must not take anything's place.
fn rename_absent(from: &File, name: &[u8], to: impl AsFd, new: &[u8]) -> io::Result<()> {
    match rename::no_replace(from, name, &to, new) {
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            match nix::sys::stat::fstatat(&to, new, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) => Ok(nix::fcntl::renameat(from, name, &to, new)?),
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(errno) => Err(errno.into()),
            }
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::item::{Timestamp, Version};

    use super::*;
    use crate::item::{Item, Name, What};
    use crate::landing::{Landing, LandingOptions, Site, run};
    use crate::sink::SinkErrorKind;
    use crate::source::Survey;

    // Catalogue: F23
    /// The kernel says only once that it lost what was written: to the sync in the background, which claims it.
    #[test]
    fn what_a_background_sync_heard_fails_the_last_sync_of_few_files_too() {
        let scratch = tempfile::tempdir().unwrap();
        let site = Site::new(&scratch.path().join("to"), None).unwrap();
        let mut executor = LinuxExecutor::new(site);
        let mut landing = Landing::new(LandingOptions { resume: true, ..LandingOptions::default() });
        let carry_out = |landing: &mut Landing, executor: &mut LinuxExecutor| {
            run(landing, executor, b"content", &mut || true)
        };
        landing.begin(&Survey { bytes: Some(2 << 20), items: 1, ..Survey::default() });
        carry_out(&mut landing, &mut executor).unwrap();
        let file = Item {
            name: Name::new(*b"file").unwrap(),
            mode: 0o644,
            mtime: Timestamp::default(),
            version: Version::new(&[1]).unwrap(),
            what: What::File { size: 7, linked: false, sparse: false },
        };
        landing.put(ItemId(0), &file);
        carry_out(&mut landing, &mut executor).unwrap();
        landing.checkpoint(&[]);
        carry_out(&mut landing, &mut executor).unwrap();
        executor.writeback.as_ref().unwrap().fail(io::Error::from_raw_os_error(5));
        landing.sync();
        let error = carry_out(&mut landing, &mut executor).unwrap_err();
        assert!(matches!(error.kind, SinkErrorKind::Durability(_)), "{error}");
        landing.abort();
        carry_out(&mut landing, &mut executor).unwrap();
    }
}
