//! A block device whose every write and flush is ours to see: a file that this process serves through FUSE, with a
//! loop device on it.
//!
//! ```text
//! file system ──▶ /dev/loopN ──▶ FUSE file ──▶ Medium: reads, writes, and the log of them
//! ```
//!
//! The loop driver offers a volatile write cache and no FUA (`queue/write_cache` and `queue/fua` are looked at when a
//! device is made), so that the block layer turns a write with FUA into a write and a flush behind it, and one with
//! PREFLUSH into a flush before it; the driver makes an fsync of the file of each flush. The file is opened for direct
//! IO: its kernel side caches nothing, and a write is answered only after it stands in the log. So what a file
//! system was told before it asked for a flush is in the log before that flush.
//!
//! What is not known: a write that is on its way while another thread's flush is, and happens to come first, counts as
//! covered by it. A real disk need not cover it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::minor;
use tempfile::TempDir;

use super::faults::{Failed, Faults};
use super::image::{BLOCK, Disk, Image};
use super::log::{Event, Log, Promise};

/// What its file's name begins with; a process's number follows, so that another one finds what a killed one left.
const NAME: &str = "longhaul-disk-";
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// A block device of our own.
#[derive(Debug)]
pub struct Device {
    path: PathBuf,
    medium: Arc<Medium>,
    session: Option<BackgroundSession>,
    /// What ends the connection to the kernel, whoever waits for it.
    abort: PathBuf,
    /// Where the file is mounted.
    place: TempDir,
}

impl Device {
    /// A device of `len` bytes, all zero.
    ///
    /// # Errors
    /// If this machine has no FUSE, or no loop device is free, or it does not pass flushes on.
    pub fn new(len: u64) -> Result<Self, String> {
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        let medium = Arc::new(Medium { len, faults: Faults::default(), state: Mutex::default() });
        let served = Served(Arc::clone(&medium));
        let session = fuser::spawn_mount(served, place.path(), &Config::default())
            .map_err(|error| format!("FUSE: {error}"))?;
        let connection = fs::metadata(place.path()).map_err(|error| format!("FUSE: {error}"))?.dev();
        let abort = Path::new(CONNECTIONS).join(minor(connection).to_string()).join("abort");
        let mut device = Self { path: PathBuf::new(), medium, session: Some(session), abort, place };
        let file = device.place.path().join(name());
        let attached = said(Command::new("losetup").args(["--find", "--show"]).arg(&file))?;
        device.path = attached.trim().into();
        let queue = |what| {
            let loop_name = device.path.file_name().unwrap_or_default();
            let path = Path::new("/sys/block").join(loop_name).join("queue").join(what);
            fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        match (queue("write_cache").as_str(), queue("fua").as_str()) {
            ("write back", "0") => Ok(device),
            other => Err(format!("the loop device does not pass flushes on: {other:?}")),
        }
    }

    /// The block device.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How its disk fails.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.medium.faults
    }

    /// Its disk.
    pub(crate) fn medium(&self) -> &Medium {
        &self.medium
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Whoever waits for an answer gets it.
        self.faults().mend();
        // What fails here is left for the next run to detach.
        if !self.path.as_os_str().is_empty() {
            let _ = said(Command::new("losetup").arg("--detach").arg(&self.path));
        }
        // Nobody may wait for an answer any more when this process ends, or it never does: whatever still holds the
        // file hears that it is gone.
        if umount2(self.place.path(), MntFlags::empty()).is_err() {
            let _ = fs::write(&self.abort, "1");
            let _ = umount2(self.place.path(), MntFlags::MNT_DETACH);
        }
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

/// Mounts, for this process alone, the directory where connections of FUSE are aborted; unless it is there.
pub(crate) fn reach_connections() -> Result<(), String> {
    if fs::read_dir(CONNECTIONS).is_ok_and(|mut names| names.next().is_some()) {
        return Ok(());
    }
    match mount(Some("fusectl"), CONNECTIONS, Some("fusectl"), MsFlags::empty(), None::<&str>) {
        // It was mounted before, and there is no connection now.
        Ok(()) | Err(nix::errno::Errno::EBUSY) => Ok(()),
        Err(errno) => Err(format!("{CONNECTIONS}: {errno}")),
    }
}

/// Detaches the loop devices of processes that were killed before they could.
pub(crate) fn detach_orphans() {
    for device in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        let Some((_, process)) = backing.trim().rsplit_once(NAME) else { continue };
        if process.bytes().all(|byte| byte.is_ascii_digit()) && !Path::new("/proc").join(process).exists() {
            let _ =
                said(Command::new("losetup").arg("--detach").arg(Path::new("/dev").join(device.file_name())));
        }
    }
}

/// Runs a command to its end, and gives what it printed.
///
/// # Errors
/// If it fails: what it said.
pub fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output();
    let wrong = |what: &str| Err(format!("{}: {what}", command.get_program().display()));
    match output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => wrong(String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => wrong(&error.to_string()),
    }
}

/// The disk of a device: what it holds, and what is done with it.
#[derive(Debug)]
pub(crate) struct Medium {
    len: u64,
    faults: Faults,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    disk: Disk,
    recording: Option<Recording>,
    /// The beginning was read since the disk was put in.
    was_read: bool,
}

#[derive(Debug)]
struct Recording {
    base: Arc<Image>,
    events: Vec<Event>,
}

impl Medium {
    /// Puts another disk in. The device must not be open.
    pub(crate) fn insert(&self, disk: Disk) {
        *self.lock() = State { disk, recording: None, was_read: false };
    }

    /// Whether the disk's beginning was read since it was put in: if not, the kernel looks at what it remembers of
    /// another one.
    pub(crate) fn was_read(&self) -> bool {
        self.lock().was_read
    }

    /// Begins to record.
    pub(crate) fn record(&self) {
        let mut state = self.lock();
        let base = Arc::new(state.disk.image());
        state.recording = Some(Recording { base, events: Vec::new() });
    }

    /// Notes what the command has promised.
    pub(crate) fn promise(&self, promise: Promise) {
        self.lock().note(|| Event::Promise(promise));
    }

    /// Ends the recording, and gives it.
    pub(crate) fn recorded(&self) -> Option<Log> {
        let Recording { base, events } = self.lock().recording.take()?;
        Some(Log { base, len: self.len, events })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let len = u64::from(size).min(self.len.saturating_sub(offset));
        let mut bytes = vec![0; len as usize];
        self.faults.read(offset, bytes.len()).map_err(|Failed| Errno::EIO)?;
        let mut state = self.lock();
        state.was_read |= offset < SUPERBLOCKS;
        state.disk.read(offset, &mut bytes);
        Ok(bytes)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > self.len) {
            return Err(Errno::ENOSPC);
        }
        let answer = self.faults.write(offset, data, &mut |at, block| self.lock().disk.write(at, block));
        self.lock().note(|| Event::Write { offset, data: data.into() });
        answer.map_err(|Failed| Errno::EIO)
    }

    fn flush(&self) {
        self.lock().note(|| Event::Flush);
    }
}

/// Where the first superblock of every file system tried lies.
const SUPERBLOCKS: u64 = 128 << 10;

impl State {
    fn note(&mut self, event: impl FnOnce() -> Event) {
        if let Some(recording) = &mut self.recording {
            recording.events.push(event());
        }
    }
}

/// A file system of one file.
struct Served(Arc<Medium>);

const FILE: INodeNo = INodeNo(2);
/// Nothing of it changes.
const LONG: Duration = Duration::from_hours(1);

fn name() -> String {
    format!("{NAME}{}", process::id())
}

impl Served {
    fn attributes(&self, node: INodeNo) -> FileAttr {
        let is_file = node == FILE;
        let time = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: node,
            size: if is_file { self.0.len } else { 0 },
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, asked: &OsStr, reply: ReplyEntry) {
        if *asked == *name() {
            reply.entry(&LONG, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&LONG, &self.attributes(node));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.flush();
        reply.ok();
    }

    /// No holes are punched: a file system that would discard or zero writes instead.
    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EOPNOTSUPP);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    use nix::libc::{O_DIRECT, O_DSYNC};

    use super::*;

    const LEN: u64 = 1 << 20;

    /// A device that records, where there can be one.
    fn device() -> Option<Device> {
        match super::super::prepare().and_then(|()| Device::new(LEN)) {
            Ok(device) => {
                device.medium().record();
                Some(device)
            }
            Err(why) => {
                println!("skipped: {why}");
                None
            }
        }
    }

    /// The first block of each write, and what flushes stand between: several on end are as good as one.
    fn recorded(device: &Device) -> Vec<Option<u64>> {
        let log = device.medium().recorded().unwrap();
        let entry = |event: &Event| match event {
            Event::Write { offset, .. } => Some(Some(offset / BLOCK as u64)),
            Event::Flush => Some(None),
            Event::Promise(_) => None,
        };
        let mut entries: Vec<_> = log.events.iter().filter_map(entry).collect();
        entries.dedup();
        entries
    }

    #[test]
    fn what_was_written_before_a_sync_is_in_the_log_before_its_flush() {
        let Some(device) = device() else { return };
        let file = File::options().write(true).open(device.path()).unwrap();
        for number in [3, 9] {
            file.write_all_at(&[7; BLOCK], number * BLOCK as u64).unwrap();
            file.sync_all().unwrap();
        }
        drop(file);
        assert_eq!(recorded(&device), [Some(3), None, Some(9), None]);
    }

    #[test]
    fn a_write_that_is_to_be_durable_itself_has_its_flush_behind_it() {
        let Some(device) = device() else { return };
        let file = File::options().write(true).custom_flags(O_DIRECT | O_DSYNC).open(device.path()).unwrap();
        let memory = vec![7; 2 * BLOCK];
        let aligned = memory.as_ptr().align_offset(BLOCK);
        for number in [3, 9] {
            file.write_all_at(&memory[aligned..aligned + BLOCK], number * BLOCK as u64).unwrap();
        }
        assert_eq!(recorded(&device), [Some(3), None, Some(9), None]);
    }

    // Past the page cache: it keeps what was read for as long as anybody has the device open, as does a process that
    // another test has just forked.
    #[test]
    fn another_disk_put_in_is_what_is_read() {
        let Some(device) = device() else { return };
        let mut memory = vec![0; 2 * BLOCK];
        let aligned = memory.as_ptr().align_offset(BLOCK);
        for mark in 1..5 {
            let mut disk = Disk::default();
            disk.write(0, &[mark; BLOCK]);
            device.medium().insert(disk);
            let file = File::options().read(true).custom_flags(O_DIRECT).open(device.path()).unwrap();
            let read = &mut memory[aligned..aligned + BLOCK];
            file.read_exact_at(read, 0).unwrap();
            assert!(read == [mark; BLOCK], "disk {mark} is read");
            assert!(device.medium().was_read());
        }
    }
}
