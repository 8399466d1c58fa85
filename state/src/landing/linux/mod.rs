//! Carries operations out by directory descriptors, with the calls that only Linux has.

mod ahead;
mod keeping;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::Instant;

use longhaul_core::id::ItemId;
use longhaul_core::item::Timestamp;
use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, OFlag, OpenHow, ResolveFlag, fallocate, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{self, fstatfs};
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, linkat, symlinkat, syncfs, unlinkat};

use ahead::{Landed, Waits, Wanted};

use super::attributes::{
    Attributes, INCOMPLETE, STICKY, check_fresh, complete_already, link_name, not_open, set_attributes,
    settle,
};
use super::dirty::FEW;
use super::site::{LINKS, STATE, Site};
use super::site_journal::SiteJournal;
use super::writeback::{self, Writeback};
use super::{Destination, Executor, FileOp, OpError, OpReply, Probed, Rename, Space};
use crate::item::Name;

/// Carries operations out on a Linux file system.
#[derive(Debug)]
pub struct LinuxExecutor {
    site: Site,
    parent: Option<File>,
    staging: Option<File>,
    /// The staged directory; none while the state is a file.
    root: Option<File>,
    links: Option<File>,
    files: HashMap<ItemId, (Name, Arc<File>)>,
    /// Finished files that are not synced yet, while they are few: an error of writing back is reported
    /// to a descriptor that was open when it happened, not to one opened afterwards.
    unsynced_files: HashMap<Name, Arc<File>>,
    /// Those of them that the disk was not told to begin with.
    unwritten: Vec<Arc<File>>,
    /// Some finished files are not among them.
    overflowed: bool,
    /// The directory used last: files come directory by directory.
    last: Option<(Box<[u8]>, Arc<OwnedFd>)>,
    /// Whether small files wait when they are landed.
    waits: Waits,
    /// What became of those that were landed before it was their turn.
    ahead: HashMap<Name, Result<Landed, OpError>>,
    /// Bytes of small files that no sync has been asked for.
    unsynced: u64,
    writeback: Option<Writeback>,
    /// The number of the sync that a checkpoint waits for.
    checkpoint: u64,
    journal: SiteJournal,
    /// This run's number.
    run: u32,
}

impl LinuxExecutor {
    /// An executor at `site`, which it has not touched yet.
    #[must_use]
    pub fn new(site: Site) -> Self {
        Self {
            site,
            parent: None,
            staging: None,
            root: None,
            links: None,
            files: HashMap::new(),
            unsynced_files: HashMap::new(),
            unwritten: Vec::new(),
            overflowed: false,
            last: None,
            waits: Waits::default(),
            ahead: HashMap::new(),
            unsynced: 0,
            writeback: None,
            checkpoint: 0,
            journal: SiteJournal::default(),
            run: 0,
        }
    }

    /// The open file of an item.
    #[must_use]
    pub fn file(&self, id: ItemId) -> Option<Arc<File>> {
        self.files.get(&id).map(|(_, file)| Arc::clone(file))
    }

    fn inspect(&mut self) -> io::Result<OpReply> {
        let mut destination = match self.too_long() {
            Some(too_long) => too_long,
            None => self.site.inspect()?,
        };
        if !matches!(
            destination,
            Destination::NoParent
                | Destination::InsideSource
                | Destination::MountPoint
                | Destination::NameTooLong { .. }
        ) {
            let parent = open_directory_at(self.site.parent())?;
            // Says "read-only" and "permission denied" before anything is made.
            faccessat(&parent, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)?;
            // A bind mount has its parent's device: only a lookup that may not cross it tells.
            let how = how(OFlag::O_PATH).resolve(ResolveFlag::RESOLVE_NO_XDEV);
            if matches!(openat2(&parent, self.site.name(), how), Err(Errno::EXDEV)) {
                destination = Destination::MountPoint;
            }
            self.parent = Some(parent);
        }
        Ok(OpReply::Destination(destination))
    }

    /// Whether the destination's name, or one that stands beside it, is longer than its file system takes.
    fn too_long(&self) -> Option<Destination> {
        // A parent that is not there is found out next.
        let have = longest_name(&statfs::statfs(self.site.parent()).ok()?)?;
        let need = self.site.longest_name();
        (need > have).then_some(Destination::NameTooLong { need, have })
    }

    fn measure_space(&self) -> io::Result<OpReply> {
        let found = fstatfs(opened(self.parent.as_ref())?)?;
        let kind = found.filesystem_type();
        let proven = [
            statfs::EXT4_SUPER_MAGIC,
            statfs::XFS_SUPER_MAGIC,
            statfs::BTRFS_SUPER_MAGIC,
            statfs::F2FS_SUPER_MAGIC,
        ];
        let caveat = if proven.contains(&kind) {
            None
        } else if kind == statfs::TMPFS_MAGIC {
            Some("unproven: the destination is in memory (tmpfs)")
        } else if kind == statfs::OVERLAYFS_SUPER_MAGIC {
            Some("unproven: overlayfs promises nothing about crashes")
        } else if kind == statfs::NFS_SUPER_MAGIC || kind == statfs::SMB_SUPER_MAGIC {
            Some("unproven: the destination is on a server, which decides about durability")
        } else if kind == statfs::FUSE_SUPER_MAGIC {
            Some("unproven: the destination is on FUSE, whose program decides about durability")
        } else {
            Some("unproven: nothing is known about the destination's file system")
        };
        Ok(OpReply::Space(Space {
            free_bytes: Some(found.blocks_available().saturating_mul(found.block_size().cast_unsigned())),
            free_inodes: (found.files() > 0).then(|| found.files_free()),
            longest_name: longest_name(&found),
            syncs_tree: true,
            caveat,
        }))
    }

    fn make_staging(&mut self) -> io::Result<()> {
        self.site.make_staging()?;
        self.staging = Some(open_directory_at(&self.site.staging_path())?);
        Ok(())
    }

    fn make_staged_root(&mut self) -> io::Result<()> {
        let staging = opened(self.staging.as_ref())?;
        mkdirat(staging, STATE, Mode::from_bits_truncate(INCOMPLETE))?;
        let root = File::from(open_beneath(staging, STATE.as_bytes(), OFlag::O_DIRECTORY)?);
        self.site.note_staged(root.metadata()?.ino());
        self.root = Some(root);
        Ok(())
    }

    fn probe(&self) -> io::Result<OpReply> {
        let staging = opened(self.staging.as_ref())?;
        let (one, other) = ("probe", "probe.renamed");
        // A single part in our own directory, exclusively: there is no link to follow.
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_WRONLY;
        File::from(openat(staging, one, flags, owner_only())?).sync_all()?;
        let no_replace = rename::no_replace(staging, one, staging, other);
        let last = if no_replace.is_ok() { other } else { one };
        mkdirat(staging, "probe.directory", Mode::S_IRWXU)?;
        mkdirat(staging, "probe.other", Mode::S_IRWXU)?;
        let exchange = rename::exchange(staging, "probe.directory", staging, "probe.other");
        staging.sync_all()?;
        unlinkat(staging, last, UnlinkatFlags::NoRemoveDir)?;
        unlinkat(staging, "probe.directory", UnlinkatFlags::RemoveDir)?;
        unlinkat(staging, "probe.other", UnlinkatFlags::RemoveDir)?;
        Ok(OpReply::Probed(Probed { no_replace: supported(no_replace)?, exchange: supported(exchange)? }))
    }

    /// The directory that holds `name`, and `name`'s last part; the staged state itself stands in
    /// staging.
    fn place<'n>(&mut self, name: &'n Name) -> io::Result<(&Arc<OwnedFd>, &'n [u8])> {
        let (directory, leaf): (&[u8], &[u8]) = match split(name.as_bytes()) {
            Some(split) => split,
            None => (b"", name.as_bytes()),
        };
        let known = self.last.as_ref().is_some_and(|(last, _)| **last == *directory);
        if !known {
            let root = opened(self.root.as_ref())?;
            let found = if directory.is_empty() {
                root.try_clone()?.into()
            } else {
                open_beneath(root, directory, OFlag::O_DIRECTORY)?
            };
            if nix::sys::stat::fstat(&found)?.st_mode & STICKY == 0 {
                return Err(complete_already());
            }
            self.last = Some((directory.into(), Arc::new(found)));
        }
        let (_, directory) = self.last.as_ref().expect("just set");
        Ok((directory, leaf))
    }

    fn create_file(&mut self, id: ItemId, name: &Name) -> io::Result<OpReply> {
        let file = if name.is_root() {
            openat(opened(self.staging.as_ref())?, STATE, FRESH, owner_only())?
        } else {
            let (directory, leaf) = self.place(name)?;
            openat(directory, leaf, FRESH, owner_only())?
        };
        let file = File::from(file);
        let metadata = file.metadata()?;
        check_fresh(metadata.is_file(), metadata.nlink())?;
        if name.is_root() {
            self.site.note_staged(metadata.ino());
        }
        self.files.insert(id, (name.clone(), Arc::new(file)));
        Ok(OpReply::Inode(metadata.ino()))
    }

    fn writeback(&mut self) -> io::Result<&Writeback> {
        if self.writeback.is_none() {
            self.writeback = Some(Writeback::start(opened(self.staging.as_ref())?)?);
        }
        self.writeback.as_ref().ok_or_else(not_open)
    }

    /// Gives back everything that is open in staging.
    fn close_staging(&mut self) {
        self.files.clear();
        self.unsynced_files.clear();
        self.unwritten.clear();
        self.ahead.clear();
        self.writeback = None;
        (self.last, self.links, self.root, self.staging) = (None, None, None, None);
    }

    fn finish_file(&mut self, id: ItemId, len: u64, op: &Attributes) -> Result<OpReply, OpError> {
        let (_, file) = self.files.get(&id).ok_or_else(not_open)?;
        let metadata = file.metadata()?;
        if metadata.len() != len {
            file.set_len(len)?;
        }
        set_attributes(file, metadata.mode(), op.mode, op.mtime)?;
        if op.sync {
            file.sync_all().map_err(OpError::Durability)?;
        }
        let inode = metadata.ino();
        if let Some((name, file)) = self.files.remove(&id).filter(|_| !op.sync) {
            self.keep_unsynced(&name, file);
        }
        Ok(OpReply::Inode(inode))
    }

    fn put_file(&mut self, name: &Name, op: &Attributes, content: &[u8]) -> Result<OpReply, OpError> {
        let landed = match self.ahead.remove(name) {
            Some(landed) => landed,
            None => self.put_alone(name, op, content),
        }?;
        if name.is_root() {
            self.site.note_staged(landed.inode);
        }
        if !op.sync {
            self.write_back(content.len() as u64)?;
            match landed.file {
                Some(file) => self.keep_unsynced(name, Arc::new(file)),
                None => self.overflowed = true,
            }
        }
        Ok(OpReply::Inode(landed.inode))
    }

    fn put_alone(&mut self, name: &Name, op: &Attributes, content: &[u8]) -> Result<Landed, OpError> {
        if name.is_root() {
            return ahead::put(opened(self.staging.as_ref())?, STATE.as_bytes(), op, content);
        }
        let (directory, leaf) = self.place(name)?;
        let began = Instant::now();
        let landed = ahead::put(directory, leaf, op, content);
        self.waits.took(content.len(), began.elapsed());
        landed
    }

    /// Lands the first of these files together, up to one that must wait for its turn.
    fn put_together(&mut self, ops: &[(FileOp, &[u8])]) -> usize {
        let mut wanted: Vec<Wanted<'_>> = Vec::with_capacity(ops.len());
        for (op, content) in ops {
            let FileOp::PutFile { name, mode, mtime, sync } = op else { break };
            // Of two of one name the first counts, and the other fails.
            if self.ahead.contains_key(name) || wanted.iter().any(|wanted| wanted.name == name) {
                break;
            }
            // Where its directory is missing the machine has that made first.
            let Ok((directory, leaf)) = self.place(name) else { break };
            let (directory, attributes) =
                (Arc::clone(directory), Attributes { mode: *mode, mtime: *mtime, sync: *sync });
            wanted.push(Wanted { directory, name, leaf, attributes, content });
        }
        let room = FEW.saturating_sub(self.unsynced_files.len());
        for (wanted, landed) in wanted.iter().zip(ahead::put_together(&wanted, room)) {
            // Whatever else went wrong, which has left nothing, may go well alone.
            if matches!(landed, Ok(_) | Err(OpError::Durability(_))) {
                self.ahead.insert(wanted.name.clone(), landed);
            }
        }
        wanted.len()
    }

    /// Keeps a finished file open until it is synced, unless there are so many that one sync of the file
    /// system will do.
    fn keep_unsynced(&mut self, name: &Name, file: Arc<File>) {
        if self.unsynced_files.len() < FEW {
            self.unwritten.push(Arc::clone(&file));
            self.unsynced_files.insert(name.clone(), file);
        } else {
            self.overflowed = true;
        }
    }

    /// Has the disk begin with all files that are to be synced one by one, once each.
    fn start_writing(&mut self) {
        self.unwritten.drain(..).for_each(|file| writeback::start_writing(&file));
    }

    /// Has the disk begin with what was written, once it is enough.
    fn write_back(&mut self, bytes: u64) -> io::Result<()> {
        self.unsynced += bytes;
        if self.unsynced < writeback::EVERY_BYTES {
            return Ok(());
        }
        self.unsynced = 0;
        self.writeback()?.begin(writeback::What::Tree);
        Ok(())
    }

    /// The sync that counts: after the last write, and with every error heard before it.
    fn sync_tree(&mut self) -> io::Result<()> {
        let heard = self.writeback.take().map_or(Ok(()), Writeback::finish);
        syncfs(opened(self.staging.as_ref())?)?;
        heard
    }

    /// The end of every sync: an error that a sync in the background heard before it is as final.
    fn sync_staging(&mut self) -> Result<(), OpError> {
        self.writeback.take().map_or(Ok(()), Writeback::finish).map_err(OpError::Durability)?;
        Ok(opened(self.staging.as_ref())?.sync_all()?)
    }

    fn unlink(&mut self, name: &Name) -> io::Result<()> {
        if name.is_root() {
            unlinkat(opened(self.staging.as_ref())?, STATE, UnlinkatFlags::NoRemoveDir)?;
        } else {
            let (directory, leaf) = self.place(name)?;
            unlinkat(directory, leaf, UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(())
    }

    fn make_parents(&mut self, name: &Name) -> io::Result<()> {
        let root = opened(self.root.as_ref())?;
        let bytes = name.as_bytes();
        for end in (0..bytes.len()).filter(|&at| bytes[at] == b'/') {
            let above = &bytes[..end];
            let made = match split(above) {
                None => mkdirat(root, above, Mode::from_bits_truncate(INCOMPLETE)),
                Some((directory, leaf)) => {
                    let directory = open_beneath(root, directory, OFlag::O_DIRECTORY)?;
                    mkdirat(&directory, leaf, Mode::from_bits_truncate(INCOMPLETE))
                }
            };
            match made {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(read(errno)),
            }
        }
        Ok(())
    }

    fn finish_directory(
        &mut self,
        name: &Name,
        mode: u16,
        mtime: Timestamp,
        sync: bool,
    ) -> Result<(), OpError> {
        let directory: File = if name.is_root() {
            opened(self.root.as_ref())?.try_clone()?
        } else {
            let (above, leaf) = self.place(name)?;
            match mkdirat(above, leaf, Mode::from_bits_truncate(INCOMPLETE)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(read(errno).into()),
            }
            open_beneath(above, leaf, OFlag::O_DIRECTORY)?.into()
        };
        let found = directory.metadata()?.mode();
        if found & STICKY == 0 {
            return Err(complete_already().into());
        }
        if self.last.as_ref().is_some_and(|(last, _)| **last == *name.as_bytes()) {
            self.last = None;
        }
        set_attributes(&directory, found, mode, Some(mtime))?;
        if sync {
            directory.sync_all().map_err(OpError::Durability)?;
        }
        Ok(())
    }

    fn keep_link(&mut self, id: ItemId, name: &Name) -> io::Result<()> {
        if self.links.is_none() {
            let staging = opened(self.staging.as_ref())?;
            mkdirat(staging, LINKS, Mode::S_IRWXU)?;
            self.links = Some(open_beneath(staging, LINKS.as_bytes(), OFlag::O_DIRECTORY)?.into());
        }
        let links = opened(self.links.as_ref())?.try_clone()?;
        let (directory, leaf) = self.place(name)?;
        linkat(directory, leaf, &links, link_name(id).as_str(), AtFlags::empty())?;
        Ok(())
    }

    fn hard_link(&mut self, to: ItemId, name: &Name) -> io::Result<()> {
        // Without a kept file there is no directory of them.
        let Some(links) = self.links.as_ref() else { return Err(Errno::ENOENT.into()) };
        let links = links.try_clone()?;
        let (directory, leaf) = self.place(name)?;
        linkat(&links, link_name(to).as_str(), directory, leaf, AtFlags::empty())?;
        Ok(())
    }

    fn open_staged(&self, name: &Name, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_NONBLOCK;
        Ok(match (&self.root, name.is_root()) {
            (Some(root), true) => root.try_clone()?,
            (None, true) => open_beneath(opened(self.staging.as_ref())?, STATE.as_bytes(), flags)?.into(),
            (root, false) => open_beneath(opened(root.as_ref())?, name.as_bytes(), flags)?.into(),
        })
    }

    fn publish(&self, how: Rename) -> io::Result<()> {
        let (staging, parent) = (opened(self.staging.as_ref())?, opened(self.parent.as_ref())?);
        let name = self.site.name();
        match how {
            Rename::NoReplace => rename::no_replace(staging, STATE, parent, name),
            Rename::Exchange => rename::exchange(staging, STATE, parent, name),
            Rename::OverEmpty | Rename::Replace => nix::fcntl::renameat(staging, STATE, parent, name),
            Rename::Claim => mkdirat(parent, name, Mode::S_IRWXU).and_then(|()| {
                nix::fcntl::renameat(staging, STATE, parent, name).inspect_err(|_| {
                    // The claim is ours, and nothing else may be lost with it: it must be empty.
                    let _ = unlinkat(parent, name, UnlinkatFlags::RemoveDir);
                })
            }),
            Rename::Link => linkat(staging, STATE, parent, name, AtFlags::empty())
                .and_then(|()| unlinkat(staging, STATE, UnlinkatFlags::NoRemoveDir)),
        }
        .map_err(|errno| match errno {
            Errno::EINVAL | Errno::ENOSYS => io::ErrorKind::Unsupported.into(),
            errno => errno.into(),
        })
    }
}

impl Executor for LinuxExecutor {
    fn waits(&mut self, files: usize) -> bool {
        self.waits.together(files)
    }

    fn put_ahead(&mut self, ops: &[(FileOp, &[u8])]) -> usize {
        self.put_together(ops)
    }

    fn execute(&mut self, op: &FileOp, payload: &[u8]) -> Result<OpReply, OpError> {
        if let Some(reply) = self.keep(op)? {
            return Ok(reply);
        }
        match op {
            FileOp::Inspect => return Ok(self.inspect()?),
            FileOp::MeasureSpace => return Ok(self.measure_space()?),
            FileOp::Probe => return Ok(self.probe()?),
            FileOp::Lock => self.site.lock()?,
            FileOp::Sweep => {
                self.journal.close();
                self.site.sweep()?;
            }
            FileOp::MakeStaging => self.make_staging()?,
            FileOp::MakeStagedRoot => self.make_staged_root()?,
            FileOp::CreateFile { id, name } => return Ok(self.create_file(*id, name)?),
            FileOp::Reserve { id, len, sparse, .. } => {
                reserve(&self.files.get(id).ok_or_else(not_open)?.1, *len, *sparse)?;
            }
            FileOp::FinishFile { id, len, mode, mtime, sync } => {
                let attributes = Attributes { mode: *mode, mtime: *mtime, sync: *sync };
                return self.finish_file(*id, *len, &attributes);
            }
            FileOp::PutFile { name, mode, mtime, sync } => {
                let attributes = Attributes { mode: *mode, mtime: *mtime, sync: *sync };
                return self.put_file(name, &attributes, payload);
            }
            FileOp::RemoveFile { id, name } => {
                self.files.remove(id);
                self.unsynced_files.remove(name);
                self.unlink(name)?;
            }
            FileOp::MakeParents { name } => self.make_parents(name)?,
            FileOp::FinishDirectory { name, mode, mtime, sync } => {
                self.finish_directory(name, *mode, *mtime, *sync)?;
            }
            FileOp::SymbolicLink { name, target } => {
                let (directory, leaf) = self.place(name)?;
                symlinkat(&**target, directory, leaf).map_err(io::Error::from)?;
            }
            FileOp::KeepLink { id, name } => self.keep_link(*id, name)?,
            FileOp::HardLink { to, name } => self.hard_link(*to, name)?,
            FileOp::WriteBack => self.start_writing(),
            FileOp::SyncFile { name } => match self.unsynced_files.remove(name) {
                Some(file) => file.sync_all()?,
                None => self.open_staged(name, OFlag::O_RDONLY)?.sync_all()?,
            },
            FileOp::SyncDirectory { name } => self.open_staged(name, OFlag::O_DIRECTORY)?.sync_all()?,
            FileOp::SyncTree => {
                self.unsynced_files.clear();
                self.unwritten.clear();
                self.sync_tree()?;
            }
            FileOp::SyncStaging => self.sync_staging()?,
            FileOp::SyncParent => opened(self.parent.as_ref())?.sync_all()?,
            FileOp::Publish { how } => self.publish(*how)?,
            FileOp::SettleRoot { root: attributes } => {
                let root: File = if let Some(root) = &self.root {
                    root.try_clone()?
                } else {
                    // It was staged by an earlier process.
                    let parent = opened(self.parent.as_ref())?;
                    open_beneath(parent, self.site.name().as_bytes(), OFlag::O_DIRECTORY)?.into()
                };
                settle(&root, *attributes)?;
            }
            FileOp::RemoveStaging { leftover } => {
                self.close_staging();
                self.site.remove_staging(*leftover)?;
            }
            FileOp::Unlock => self.site.unlock()?,
            _ => unreachable!("carried out above"),
        }
        Ok(OpReply::Done)
    }
}

/// How a file is created in a known directory by a single part: exclusively, so that there is no link to follow.
const FRESH: OFlag =
    OFlag::O_CREAT.union(OFlag::O_EXCL).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_RDWR);

fn reserve(file: &File, len: u64, sparse: bool) -> io::Result<()> {
    let length = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    file.set_len(len)?;
    if sparse {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Looks a name up below `directory`, through no link and no mount point.
fn open_beneath(directory: impl AsFd, name: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
    match openat2(&directory, name, how(flags)) {
        Err(Errno::ENOSYS | Errno::EPERM) => {
            open_part_by_part(directory.as_fd().try_clone_to_owned()?, name, flags)
        }
        result => result.map_err(read),
    }
}

/// The same on kernels before 5.6 and in sandboxes that know no `openat2`.
fn open_part_by_part(mut found: OwnedFd, name: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
    let mut parts = name.split(|&byte| byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_some() { OFlag::O_DIRECTORY } else { flags };
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        found = openat(&found, part, flags, Mode::empty()).map_err(read)?;
    }
    Ok(found)
}

fn how(flags: OFlag) -> OpenHow {
    OpenHow::new().flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    )
}

fn open_directory_at(path: &std::path::Path) -> io::Result<File> {
    let flags = nix::libc::O_DIRECTORY | nix::libc::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Errors as the machine reads them.
fn read(errno: Errno) -> io::Error {
    match errno {
        Errno::ELOOP | Errno::EXDEV => io::ErrorKind::NotADirectory.into(),
        Errno::EINVAL | Errno::ENOSYS => io::ErrorKind::Unsupported.into(),
        errno => errno.into(),
    }
}

fn supported(result: nix::Result<()>) -> io::Result<bool> {
    match result.map_err(read) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(error) => Err(error),
    }
}

fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = name.iter().rposition(|&byte| byte == b'/')?;
    Some((&name[..at], &name[at + 1..]))
}

fn owner_only() -> Mode {
    Mode::S_IRUSR | Mode::S_IWUSR
}

/// Bytes that a name may have, if the file system tells.
fn longest_name(found: &statfs::Statfs) -> Option<u64> {
    u64::try_from(found.maximum_name_length()).ok().filter(|bytes| *bytes > 0)
}

fn opened(file: Option<&File>) -> io::Result<&File> {
    file.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the staging directory is not open"))
}

/// The renames that plain `renameat` can't do; glibc alone has the call.
mod rename {
    use std::os::fd::AsFd;

    use super::NixPath;

    #[cfg(target_env = "gnu")]
    use nix::fcntl::{RenameFlags, renameat2};

    #[cfg(target_env = "gnu")]
    pub(super) fn no_replace<A: ?Sized + NixPath, B: ?Sized + NixPath>(
        from: impl AsFd,
        name: &A,
        to: impl AsFd,
        new: &B,
    ) -> nix::Result<()> {
        renameat2(from, name, to, new, RenameFlags::RENAME_NOREPLACE)
    }

    #[cfg(target_env = "gnu")]
    pub(super) fn exchange<A: ?Sized + NixPath, B: ?Sized + NixPath>(
        from: impl AsFd,
        name: &A,
        to: impl AsFd,
        new: &B,
    ) -> nix::Result<()> {
        renameat2(from, name, to, new, RenameFlags::RENAME_EXCHANGE)
    }

    #[cfg(not(target_env = "gnu"))]
    pub(super) fn no_replace<A: ?Sized + NixPath, B: ?Sized + NixPath>(
        _from: impl AsFd,
        _name: &A,
        _to: impl AsFd,
        _new: &B,
    ) -> nix::Result<()> {
        Err(nix::errno::Errno::ENOSYS)
    }

    #[cfg(not(target_env = "gnu"))]
    pub(super) use no_replace as exchange;
}
