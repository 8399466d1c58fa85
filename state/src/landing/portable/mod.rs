//! Carries operations out with `std` alone, on any Unix: by paths, checked part by part.
//!
//! What it lacks: a sync of the whole tree (each file is synced when it is finished), the flags of
//! rename, the reservation of blocks, and a way to ask for free space.

mod keeping;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul_core::id::ItemId;

use super::attributes::{
    Attributes, INCOMPLETE, STICKY, check_fresh, complete_already, link_name, not_open, set_attributes,
    settle,
};
use super::site::{LINKS, STATE, Site};
use super::site_journal::SiteJournal;
use super::{Executor, FileOp, OpError, OpReply, Probed, Rename, Space};
use crate::item::Name;

/// Carries operations out on any Unix file system.
#[derive(Debug)]
pub struct PortableExecutor {
    site: Site,
    files: HashMap<ItemId, Arc<File>>,
    /// The directory that was checked last: files come directory by directory.
    checked: Option<Box<[u8]>>,
    journal: SiteJournal,
    /// This run's number.
    run: u32,
}

impl PortableExecutor {
    /// An executor at `site`, which it has not touched yet.
    #[must_use]
    pub fn new(site: Site) -> Self {
        Self { site, files: HashMap::new(), checked: None, journal: SiteJournal::default(), run: 0 }
    }

    /// The open file of an item.
    #[must_use]
    pub fn file(&self, id: ItemId) -> Option<Arc<File>> {
        self.files.get(&id).map(Arc::clone)
    }

    fn state(&self) -> PathBuf {
        self.site.staging_path().join(STATE)
    }

    fn link_path(&self, id: ItemId) -> PathBuf {
        self.site.staging_path().join(LINKS).join(link_name(id))
    }

    fn staged(&self, name: &Name) -> PathBuf {
        if name.is_root() { self.state() } else { self.state().join(OsStr::from_bytes(name.as_bytes())) }
    }

    /// The path of `name`, every directory on the way checked to be one and not complete.
    fn place(&mut self, name: &Name) -> io::Result<PathBuf> {
        let path = self.staged(name);
        if name.is_root() {
            return Ok(path);
        }
        let above = name.as_bytes().iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        let directory = &name.as_bytes()[..above];
        if self.checked.as_deref() != Some(directory) {
            let mut way = self.state();
            let mut found = fs::symlink_metadata(&way)?;
            for part in directory.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
                way.push(OsStr::from_bytes(part));
                found = fs::symlink_metadata(&way)?;
                if !found.is_dir() {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
            }
            if found.mode() & STICKY == 0 {
                return Err(complete_already());
            }
            self.checked = Some(directory.into());
        }
        Ok(path)
    }

    fn make_staged_root(&mut self) -> io::Result<()> {
        make_incomplete(&self.state())?;
        self.site.note_staged(fs::symlink_metadata(self.state())?.ino());
        Ok(())
    }

    fn create(&mut self, name: &Name) -> io::Result<(PathBuf, File)> {
        let path = self.place(name)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let found = file.metadata()?;
        check_fresh(found.is_file(), found.nlink())?;
        if name.is_root() {
            self.site.note_staged(found.ino());
        }
        Ok((path, file))
    }

    fn put_file(&mut self, name: &Name, op: &Attributes, content: &[u8]) -> Result<OpReply, OpError> {
        let (path, mut file) = self.create(name)?;
        let result = file
            .write_all(content)
            .map_err(OpError::Io)
            .and_then(|()| complete(&file, op))
            .and_then(|()| Ok(OpReply::Inode(file.metadata()?.ino())));
        if result.is_err() {
            // What can't be removed shows when the file comes again.
            let _ = fs::remove_file(path);
        }
        result
    }

    fn make_parents(&mut self, name: &Name) -> io::Result<()> {
        let bytes = name.as_bytes();
        for end in (0..bytes.len()).filter(|&at| bytes[at] == b'/') {
            let directory = self.state().join(OsStr::from_bytes(&bytes[..end]));
            match fs::symlink_metadata(&directory) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => make_incomplete(&directory)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn finish_directory(&mut self, name: &Name, op: &Attributes) -> Result<(), OpError> {
        let path = self.place(name)?;
        match make_incomplete(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        let found = fs::symlink_metadata(&path)?;
        if !found.is_dir() || found.mode() & STICKY == 0 {
            return Err(complete_already().into());
        }
        self.checked = None;
        let directory = File::open(path)?;
        set_attributes(&directory, found.mode(), op.mode, op.mtime)?;
        if op.sync { directory.sync_all().map_err(OpError::Durability) } else { Ok(()) }
    }

    fn keep_link(&mut self, id: ItemId, name: &Name) -> io::Result<()> {
        let links = self.site.staging_path().join(LINKS);
        match DirBuilder::new().mode(0o700).create(links) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::hard_link(self.place(name)?, self.link_path(id))
    }

    fn publish(&self, how: Rename) -> io::Result<()> {
        let (state, destination) = (self.state(), self.site.destination());
        match how {
            Rename::NoReplace | Rename::Exchange => Err(io::ErrorKind::Unsupported.into()),
            Rename::OverEmpty | Rename::Replace => fs::rename(state, destination),
            Rename::Claim => {
                DirBuilder::new().mode(0o700).create(destination)?;
                fs::rename(state, destination).inspect_err(|_| {
                    // The claim is ours, and nothing else may be lost with it: it must be empty.
                    let _ = fs::remove_dir(destination);
                })
            }
            Rename::Link => {
                fs::hard_link(&state, destination)?;
                fs::remove_file(state)
            }
        }
    }
}

impl Executor for PortableExecutor {
    fn execute(&mut self, op: &FileOp, payload: &[u8]) -> Result<OpReply, OpError> {
        if let Some(reply) = self.keep(op)? {
            return Ok(reply);
        }
        match op {
            FileOp::Inspect => return Ok(OpReply::Destination(self.site.inspect()?)),
            FileOp::MeasureSpace => {
                return Ok(OpReply::Space(Space {
                    free_bytes: None,
                    free_inodes: None,
                    longest_name: None,
                    syncs_tree: false,
                    caveat: Some("unproven: this build can't tell what the destination's file system is"),
                }));
            }
            FileOp::Probe => {
                sync(&self.site.staging_path())?;
                return Ok(OpReply::Probed(Probed { no_replace: false, exchange: false }));
            }
            FileOp::Lock => self.site.lock()?,
            FileOp::Sweep => {
                self.journal.close();
                self.site.sweep()?;
            }
            FileOp::MakeStaging => self.site.make_staging()?,
            FileOp::MakeStagedRoot => self.make_staged_root()?,
            FileOp::CreateFile { id, name } => {
                let (_, file) = self.create(name)?;
                let inode = file.metadata()?.ino();
                self.files.insert(*id, Arc::new(file));
                return Ok(OpReply::Inode(inode));
            }
            FileOp::Reserve { id, len, .. } => self.files.get(id).ok_or_else(not_open)?.set_len(*len)?,
            FileOp::FinishFile { id, len, mode, mtime, sync } => {
                let file = self.files.get(id).ok_or_else(not_open)?;
                if file.metadata()?.len() != *len {
                    file.set_len(*len)?;
                }
                complete(file, &Attributes { mode: *mode, mtime: *mtime, sync: *sync })?;
                let inode = file.metadata()?.ino();
                self.files.remove(id);
                return Ok(OpReply::Inode(inode));
            }
            FileOp::PutFile { name, mode, mtime, sync } => {
                let attributes = Attributes { mode: *mode, mtime: *mtime, sync: *sync };
                return self.put_file(name, &attributes, payload);
            }
            FileOp::RemoveFile { id, name } => {
                self.files.remove(id);
                fs::remove_file(self.place(name)?)?;
            }
            FileOp::MakeParents { name } => self.make_parents(name)?,
            FileOp::FinishDirectory { name, mode, mtime, sync } => {
                let attributes = Attributes { mode: *mode, mtime: Some(*mtime), sync: *sync };
                self.finish_directory(name, &attributes)?;
            }
            FileOp::SymbolicLink { name, target } => symlink(OsStr::from_bytes(target), self.place(name)?)?,
            FileOp::KeepLink { id, name } => self.keep_link(*id, name)?,
            FileOp::HardLink { to, name } => fs::hard_link(self.link_path(*to), self.place(name)?)?,
            FileOp::SyncFile { name } | FileOp::SyncDirectory { name } => sync(&self.staged(name))?,
            // Each file was synced when it was finished.
            FileOp::WriteBack => {}
            FileOp::SyncTree => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
            FileOp::SyncStaging => sync(&self.site.staging_path())?,
            FileOp::SyncParent => sync(self.site.parent())?,
            FileOp::Publish { how } => self.publish(*how)?,
            FileOp::SettleRoot { root } => settle(&File::open(self.site.destination())?, *root)?,
            FileOp::RemoveStaging { leftover } => {
                self.files.clear();
                self.site.remove_staging(*leftover)?;
            }
            FileOp::Unlock => self.site.unlock()?,
            _ => unreachable!("carried out above"),
        }
        Ok(OpReply::Done)
    }
}

fn complete(file: &File, op: &Attributes) -> Result<(), OpError> {
    set_attributes(file, file.metadata()?.mode(), op.mode, op.mtime)?;
    if op.sync { file.sync_all().map_err(OpError::Durability) } else { Ok(()) }
}

fn make_incomplete(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(INCOMPLETE).create(path)
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
