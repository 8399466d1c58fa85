//! Small files on a file system whose answers take a while: as on a server, each call waits for somebody else.
#![cfg(all(target_os = "linux", not(longhaul_portable)))]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, FileTimes, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions};
use longhaul_state::source::{DirectoryOptions, DirectorySource};
use longhaul_state::transfer::Control;
use longhaul_tests::conformance::Party;
use longhaul_tests::conformance::tree::{Scratch, noise, write};
use longhaul_tests::disk::prepare;
use nix::fcntl::{AT_FDCWD, renameat2};

/// What an answer takes.
const WAIT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_hours(1);
const FILES: usize = 600;

/// A directory of another file system, seen through one that takes its time.
#[derive(Clone)]
struct Slow(Arc<Shared>);

struct Shared {
    paths: Mutex<HashMap<INodeNo, PathBuf>>,
    /// Files that are written at this moment, and the most that ever were.
    writing: Mutex<(usize, usize)>,
}

impl Slow {
    fn new(below: &Path) -> Self {
        let paths = Mutex::new(HashMap::from([(INodeNo::ROOT, below.to_owned())]));
        Self(Arc::new(Shared { paths, writing: Mutex::default() }))
    }

    fn path(&self, node: INodeNo) -> PathBuf {
        self.0.paths.lock().unwrap()[&node].clone()
    }

    fn below(&self, parent: INodeNo, name: &OsStr) -> PathBuf {
        self.path(parent).join(name)
    }

    /// What is at the path now, by its number from now on.
    fn found(&self, path: &Path) -> io::Result<FileAttr> {
        let attributes = attributes(&fs::symlink_metadata(path)?);
        self.0.paths.lock().unwrap().insert(attributes.ino, path.to_owned());
        Ok(attributes)
    }

    fn entry(&self, path: &Path, made: io::Result<()>, reply: ReplyEntry) {
        match made.and_then(|()| self.found(path)) {
            Ok(attributes) => reply.entry(&LONG, &attributes, Generation(0)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn most_at_once(&self) -> usize {
        self.0.writing.lock().unwrap().1
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
        let mut writing = self.0.writing.lock().unwrap();
        writing.0 += 1;
        writing.1 = writing.1.max(writing.0);
        thread::spawn(move || {
            // As a server would take it: nothing waits for this but the caller.
            thread::sleep(WAIT);
            own.0.writing.lock().unwrap().0 -= 1;
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
        for path in self.0.paths.lock().unwrap().values_mut() {
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

#[test]
fn small_files_are_landed_together_where_each_alone_would_wait() {
    if let Err(why) = prepare() {
        println!("skipped: {why}");
        return;
    }
    let scratch = Scratch::new();
    for n in 0..FILES {
        write(&scratch.source().join(format!("{n}")), &noise(n as u64, 100 + n));
    }
    let (below, place) = (scratch.home().join("below"), scratch.home().join("slow"));
    fs::create_dir(&below).unwrap();
    fs::create_dir(&place).unwrap();
    let slow = Slow::new(&below);
    let _mounted = fuser::spawn_mount(slow.clone(), &place, &Config::default()).unwrap();

    let (provider, joiner) = (Party::new(1), Party::new(2));
    let listener = longhaul_transport_std::listen("127.0.0.1:0").unwrap();
    let source = Arc::new(DirectorySource::new(scratch.source(), DirectoryOptions::default()).unwrap());
    let sink = Box::new(DirectorySink::new(place.join("DEST"), DirectorySinkOptions::default()).unwrap());
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let caller = listener.accept().unwrap().unwrap();
            caller.provide(source, &provider.options, &provider.pool, &Arc::new(Control::new())).unwrap();
        });
        let (address, Party { options, control, pool, .. }) = (listener.local_addr(), &joiner);
        longhaul_transport_std::join(address, sink, options, pool, control).unwrap();
    });
    println!("{FILES} files in {:?}, {} at once", began.elapsed(), slow.most_at_once());
    assert!(slow.most_at_once() > 1);
    for n in 0..FILES {
        assert_eq!(fs::read(below.join(format!("DEST/{n}"))).unwrap(), noise(n as u64, 100 + n), "file {n}");
    }
}
