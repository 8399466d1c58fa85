//! A file system whose answers take a while: as on a server, each write waits for somebody else.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, FileTimes, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::fcntl::{AT_FDCWD, renameat2};

/// What it takes until a write is answered.
const WAIT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_hours(1);

/// A directory of another file system, seen through one that takes its time.
#[derive(Clone)]
pub struct Slow(Arc<Shared>);

struct Shared {
    paths: Mutex<HashMap<INodeNo, PathBuf>>,
    /// Writes under way, and how many began while others were.
    writes: Mutex<(usize, usize)>,
}

impl Slow {
    /// Shows what is below a directory at `place`, until what is given back is dropped.
    ///
    /// # Panics
    /// If it can't be mounted there: [`super::prepare`] says whether anything can.
    #[must_use]
    pub fn mount(below: &Path, place: &Path) -> (Self, BackgroundSession) {
        let slow = Self::new(below);
        let mounted = fuser::spawn_mount(slow.clone(), place, &Config::default()).expect("a mount");
        (slow, mounted)
    }

    fn new(below: &Path) -> Self {
        let paths = Mutex::new(HashMap::from([(INodeNo::ROOT, below.to_owned())]));
        Self(Arc::new(Shared { paths, writes: Mutex::default() }))
    }

    fn path(&self, node: INodeNo) -> PathBuf {
        self.0.paths.lock().unwrap_or_else(PoisonError::into_inner)[&node].clone()
    }

    fn below(&self, parent: INodeNo, name: &OsStr) -> PathBuf {
        self.path(parent).join(name)
    }

    /// What is at the path now, by its number from now on.
    fn found(&self, path: &Path) -> io::Result<FileAttr> {
        let attributes = attributes(&fs::symlink_metadata(path)?);
        self.0.paths.lock().unwrap_or_else(PoisonError::into_inner).insert(attributes.ino, path.to_owned());
        Ok(attributes)
    }

    fn entry(&self, path: &Path, made: io::Result<()>, reply: ReplyEntry) {
        match made.and_then(|()| self.found(path)) {
            Ok(attributes) => reply.entry(&LONG, &attributes, Generation(0)),
            Err(error) => reply.error(error.into()),
        }
    }

    /// How many writes began while others were under way.
    #[must_use]
    pub fn together(&self) -> usize {
        self.0.writes.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

fn attributes(found: &Metadata) -> FileAttr {
    let time =
        SystemTime::UNIX_EPOCH + Duration::new(found.mtime().unsigned_abs(), found.mtime_nsec() as u32);
    FileAttr {
        ino: INodeNo(found.ino()),
        size: found.len(),
        blocks: found.blocks(),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: if found.is_dir() { FileType::Directory } else { FileType::RegularFile },
        perm: (found.mode() & 0o7777) as u16,
        nlink: found.nlink() as u32,
        uid: found.uid(),
        gid: found.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn done(result: io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}

impl Filesystem for Slow {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(&self.below(parent, name), Ok(()), reply);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match fs::symlink_metadata(self.path(node)) {
            Ok(found) => reply.attr(&LONG, &FileAttr { ino: node, ..attributes(&found) }),
            Err(error) => reply.error(error.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let path = self.path(node);
        let set = || {
            if let Some(mode) = mode {
                fs::set_permissions(&path, Permissions::from_mode(mode & 0o7777))?;
            }
            if let Some(size) = size {
                OpenOptions::new().write(true).open(&path)?.set_len(size)?;
            }
            if let Some(TimeOrNow::SpecificTime(time)) = mtime {
                fs::File::open(&path)?.set_times(FileTimes::new().set_modified(time))?;
            }
            fs::symlink_metadata(&path)
        };
        match set() {
            Ok(found) => reply.attr(&LONG, &FileAttr { ino: node, ..attributes(&found) }),
            Err(error) => reply.error(error.into()),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let path = self.below(parent, name);
        let mode = Permissions::from_mode(mode & 0o7777);
        self.entry(&path, fs::create_dir(&path).and_then(|()| fs::set_permissions(&path, mode)), reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let path = self.below(parent, name);
        let created = OpenOptions::new().write(true).create_new(true).open(&path).and_then(|file| {
            file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
            self.found(&path)
        });
        match created {
            Ok(attributes) => {
                reply.created(&LONG, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (own, data, path) = (self.clone(), data.to_vec(), self.path(node));
        let mut writes = self.0.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.1 += usize::from(writes.0 > 0);
        writes.0 += 1;
        drop(writes);
        thread::spawn(move || {
            // As a server would take it: nothing waits for this but the caller.
            thread::sleep(WAIT);
            own.0.writes.lock().unwrap_or_else(PoisonError::into_inner).0 -= 1;
            let written = OpenOptions::new().write(true).open(path).and_then(|file| {
                file.write_all_at(&data, offset)?;
                Ok(data.len() as u32)
            });
            match written {
                Ok(bytes) => reply.written(bytes),
                Err(error) => reply.error(error.into()),
            }
        });
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match fs::read(self.path(node)) {
            Ok(bytes) => {
                let rest = bytes.get(offset as usize..).unwrap_or(&[]);
                reply.data(&rest[..rest.len().min(size as usize)]);
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(fs::remove_file(self.below(parent, name)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(fs::remove_dir(self.below(parent, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (self.below(parent, name), self.below(new_parent, new_name));
        let flags = nix::fcntl::RenameFlags::from_bits_truncate(flags.bits());
        if let Err(error) = renameat2(AT_FDCWD, &from, AT_FDCWD, &to, flags) {
            return reply.error(Errno::from_i32(error as i32));
        }
        for path in self.0.paths.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            if let Ok(rest) = path.strip_prefix(&from) {
                *path = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
            }
        }
        reply.ok();
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Ok(entries) = fs::read_dir(self.path(node)) else { return reply.error(Errno::ENOENT) };
        for (next, entry) in (1..).zip(entries.flatten()).skip(offset as usize) {
            let Ok(found) = self.found(&entry.path()) else { continue };
            if reply.add(found.ino, next, found.kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
