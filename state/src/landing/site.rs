//! The place beside the destination where a state is staged: names, lock, and who may touch them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, SystemTime};

use longhaul_core::integrity::crc32c;

use super::journal::{Agreed, Ready};
use super::{Destination, Leftover, OpError, OpReply, RootAttributes};

/// The staged state's name inside staging.
pub(super) const STATE: &str = "state";
/// The name, inside staging, of the directory of the first files of hard-link sets.
pub(super) const LINKS: &str = "links";
/// What the names, inside staging, of what earlier runs staged begin with.
const KEPT: &str = "kept.";
/// The longest part of the destination's name that its staging's name repeats: a name has at most
/// 255 bytes.
const NAME_KEPT: usize = 200;

/// How long a holder of the lock that was killed may take to end: the kernel first ends its last sync.
const DYING_HOLDER: Duration = Duration::from_secs(30);
/// How often it is looked after meanwhile.
const DYING_LOOK: Duration = Duration::from_millis(10);

/// A destination, and what stands beside it while a state is landed there.
#[derive(Debug)]
pub struct Site {
    destination: PathBuf,
    source: Option<PathBuf>,
    lock: Option<File>,
    /// Device and inode of the staging directory that this process made.
    staging: Option<(u64, u64)>,
    /// Inode of the staged state.
    staged: Option<u64>,
}

impl Site {
    /// The site for `destination`, which must not lie inside `source` if that is on this machine.
    ///
    /// # Errors
    /// If `destination` is relative and the current directory can't be found out.
    pub fn new(destination: &Path, source: Option<PathBuf>) -> io::Result<Self> {
        let mut destination = std::path::absolute(destination)?;
        if destination.file_name().is_none() || destination.ends_with("..") {
            // "..", or a path that ends with it: only the file system knows its name.
            destination = fs::canonicalize(&destination)?;
        }
        if let (Some(parent), Some(name)) = (destination.parent(), destination.file_name())
            && let Ok(parent) = fs::canonicalize(parent)
        {
            destination = parent.join(name);
        }
        Ok(Self { destination, source, lock: None, staging: None, staged: None })
    }

    /// The destination's parent, which is where everything stands.
    pub(super) fn parent(&self) -> &Path {
        self.destination.parent().unwrap_or(Path::new("/"))
    }

    /// The destination's name in its parent.
    pub(super) fn name(&self) -> &OsStr {
        self.destination.file_name().unwrap_or(OsStr::new("/"))
    }

    /// The absolute path of what will be published.
    #[must_use]
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// `.NAME.longhaul`; a very long name is cut, and told from others by its checksum.
    fn staging_name(&self) -> OsString {
        let name = self.name().as_bytes();
        let mut staging = b".".to_vec();
        if name.len() <= NAME_KEPT {
            staging.extend_from_slice(name);
        } else {
            staging.extend_from_slice(&name[..NAME_KEPT]);
            staging.extend_from_slice(format!("~{:08x}", crc32c(name)).as_bytes());
        }
        staging.extend_from_slice(b".longhaul");
        OsString::from_vec(staging)
    }

    /// Bytes of the longest name that is needed in the parent. Those inside staging that are no item's are shorter.
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    pub(super) fn longest_name(&self) -> u64 {
        self.name().len().max(self.journal_name().len()) as u64
    }

    pub(super) fn staging_path(&self) -> PathBuf {
        self.parent().join(self.staging_name())
    }

    fn lock_path(&self) -> PathBuf {
        let mut name = self.staging_name();
        name.push(".lock");
        self.parent().join(name)
    }

    /// The longest of the names of ours in the parent.
    fn journal_name(&self) -> OsString {
        let mut name = self.staging_name();
        name.push(".journal");
        name
    }

    pub(super) fn journal_path(&self) -> PathBuf {
        self.parent().join(self.journal_name())
    }

    /// Whether an earlier process has left a journal.
    pub(crate) fn has_journal(&self) -> bool {
        fs::symlink_metadata(self.journal_path()).is_ok()
    }

    pub(super) fn remove_journal(&self) -> io::Result<()> {
        match fs::remove_file(self.journal_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What is at the destination.
    pub(super) fn inspect(&self) -> io::Result<Destination> {
        if self.destination.parent().is_none() {
            return Ok(Destination::MountPoint);
        }
        let parent = match fs::metadata(self.parent()) {
            Ok(parent) if parent.is_dir() => parent,
            Ok(_) => return Ok(Destination::NoParent),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Destination::NoParent),
            Err(error) => return Err(error),
        };
        if let Some(source) = &self.source
            && (self.destination.starts_with(source) || source.starts_with(&self.destination))
        {
            return Ok(Destination::InsideSource);
        }
        let metadata = match fs::symlink_metadata(&self.destination) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Destination::Absent),
            Err(error) => return Err(error),
        };
        if metadata.dev() != parent.dev() {
            return Ok(Destination::MountPoint);
        }
        if metadata.is_file() {
            return Ok(Destination::File);
        }
        if !metadata.is_dir() {
            return Ok(Destination::Other(other_name(&metadata)));
        }
        let is_empty = fs::read_dir(&self.destination)?.next().is_none();
        Ok(if is_empty { Destination::EmptyDirectory } else { Destination::Directory(metadata.ino()) })
    }

    /// Takes the lock, or says who has it.
    pub(super) fn lock(&mut self) -> Result<(), OpError> {
        let path = self.lock_path();
        let mut patience = DYING_HOLDER;
        loop {
            let Some(mut file) = open_regular(&path, "lock")? else {
                match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                    _ => continue,
                }
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = holder_of(file);
                    // A process that was killed holds it until the kernel has ended its last call.
                    if is_dying(&holder) && !patience.is_zero() {
                        thread::sleep(DYING_LOOK);
                        patience = patience.saturating_sub(DYING_LOOK);
                        continue;
                    }
                    return Err(OpError::Held(holder));
                }
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // Its last holder may have removed it between our open and our lock.
            let ours = file.metadata()?;
            match fs::symlink_metadata(&path) {
                Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => {}
                _ => continue,
            }
            let start = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
            file.set_len(0)?;
            writeln!(file, "process {}, since {start} (seconds of 1970)", process::id())?;
            self.lock = Some(file);
            return Ok(());
        }
    }

    /// Who holds the lock, if anybody does: [`OpError::Held`]. It is not taken.
    pub(super) fn look_at_lock(&self) -> Result<(), OpError> {
        let Some(file) = open_regular(&self.lock_path(), "lock")? else { return Ok(()) };
        match file.try_lock_shared() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(OpError::Held(holder_of(file))),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    pub(super) fn unlock(&mut self) -> io::Result<()> {
        // Removed while it is held: whoever waits for it looks again.
        if self.lock.is_some() {
            fs::remove_file(self.lock_path())?;
        }
        self.lock = None;
        Ok(())
    }

    /// Removes what an earlier process left under the staging name, its claims first. The lock is ours, so
    /// it is gone.
    pub(super) fn sweep(&self) -> io::Result<()> {
        if self.has_journal() {
            self.remove_journal()?;
            // What it claims must be gone before other files get the inodes.
            File::open(self.parent())?.sync_all()?;
        }
        match self.find_staging() {
            Ok(_) => remove_tree(&self.staging_path()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The staging directory of an earlier process, if it is one, and ours.
    fn find_staging(&self) -> io::Result<Metadata> {
        let metadata = fs::symlink_metadata(self.staging_path())?;
        let us = match &self.lock {
            Some(lock) => lock.metadata()?.uid(),
            None => return Err(io::Error::other("the staging directory is swept under its lock alone")),
        };
        if !metadata.is_dir() || metadata.uid() != us {
            let what = "something that is not ours has the staging directory's name";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Ok(metadata)
    }

    /// Takes the staging directory of an earlier process over, for its owner alone.
    pub(super) fn open_staging(&mut self) -> io::Result<()> {
        let metadata = self.find_staging()?;
        if metadata.mode() & 0o7777 != 0o700 {
            fs::set_permissions(self.staging_path(), Permissions::from_mode(0o700))?;
        }
        self.staging = Some((metadata.dev(), metadata.ino()));
        Ok(())
    }

    /// Sets what run `run` staged aside, beside what earlier ones did. Nothing else in staging is needed: links
    /// to first files are made anew, and the rest was being tried out when a process ended.
    pub(super) fn keep_staged(&mut self, run: u32) -> io::Result<()> {
        self.open_staging()?;
        let staging = self.staging_path();
        for entry in fs::read_dir(&staging)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == STATE || name.as_bytes().starts_with(KEPT.as_bytes()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                remove_tree(&entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        match fs::rename(staging.join(STATE), staging.join(kept_name(run))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The inodes of the destination and of the staged state.
    pub(super) fn identify(&self) -> io::Result<OpReply> {
        let look = |path: &Path| match fs::symlink_metadata(path) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let (destination, staged) = (look(&self.destination)?, look(&self.staging_path().join(STATE))?);
        Ok(OpReply::Identities {
            is_directory: staged.as_ref().is_some_and(Metadata::is_dir),
            destination: destination.map(|found| found.ino()),
            staged: staged.map(|found| found.ino()),
        })
    }

    /// What is about to be published, by which a later process recognises it.
    pub(super) fn ready(&self, root: Option<RootAttributes>, state: Agreed) -> io::Result<Ready> {
        let OpReply::Identities { destination: old, staged: Some(staged), .. } = self.identify()? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        Ok(Ready { staged, old, root, state })
    }

    /// Forgets the staging directory, which stays.
    pub(super) fn leave_staging(&mut self) {
        self.staging = None;
    }

    pub(super) fn make_staging(&mut self) -> io::Result<()> {
        let path = self.staging_path();
        DirBuilder::new().mode(0o700).create(&path)?;
        let metadata = fs::symlink_metadata(&path)?;
        self.staging = Some((metadata.dev(), metadata.ino()));
        Ok(())
    }

    /// Remembers which inode the staged state is: nothing else is ever removed under its name.
    pub(super) fn note_staged(&mut self, inode: u64) {
        self.staged = Some(inode);
    }

    /// Whether this is a file that is at the destination, too. After a crash the name that it was moved away from may be
    /// back: btrfs replays the fsync of the destination's parent without what happened in staging, and a link that was to
    /// be followed by an unlink may not have been. It is one name more, and nothing is lost with it.
    fn is_published(&self, staged: &Metadata) -> bool {
        let published = fs::symlink_metadata(&self.destination);
        staged.is_file()
            && published
                .is_ok_and(|published| (published.dev(), published.ino()) == (staged.dev(), staged.ino()))
    }

    pub(super) fn remove_staging(&mut self, leftover: Leftover) -> io::Result<()> {
        let Some(staging) = self.staging else { return Ok(()) };
        let path = self.staging_path();
        let metadata = fs::symlink_metadata(&path)?;
        let state = match fs::symlink_metadata(path.join(STATE)) {
            Ok(state) if self.is_published(&state) => None,
            Ok(state) => Some(state.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let expected = match leftover {
            Leftover::Nothing => state.is_none(),
            Leftover::Staged => state.is_none() || self.staged.is_none() || state == self.staged,
            Leftover::Old(inode) => state == Some(inode),
            Leftover::Replaced(inode) => state.is_none_or(|state| state == inode),
        };
        if !expected || (metadata.dev(), metadata.ino()) != staging {
            return Err(io::Error::other(
                "the staging directory holds something unexpected: it is left alone",
            ));
        }
        self.staging = None;
        remove_tree(&path)
    }
}

/// The file at `path`, if there is one; anything but a file with one name is no `what` of ours.
pub(super) fn open_regular(path: &Path, what: &str) -> io::Result<Option<File>> {
    let not_ours = || {
        let why = format!("something that is no {what} has its name");
        io::Error::new(io::ErrorKind::InvalidInput, why)
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    options.custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    // Where the open would follow a link, or wait for a writer.
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(not_ours()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let file = match options.open(path) {
        Ok(file) => file,
        // Removed by its last holder, just now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    // One without a name was removed since.
    if found.is_file() && found.nlink() <= 1 { Ok(Some(file)) } else { Err(not_ours()) }
}

/// The name, in staging, of what an earlier run staged.
pub(super) fn kept_name(run: u32) -> String {
    format!("{KEPT}{run}")
}

/// Who wrote into the lock that it has it.
fn holder_of(lock: File) -> String {
    let mut holder = String::new();
    // What can't be read leaves the holder unnamed.
    let _ = lock.take(256).read_to_string(&mut holder);
    let holder: String = holder.trim().chars().filter(|shown| !shown.is_control()).collect();
    if holder.is_empty() { "another process".into() } else { holder }
}

/// Whether the process that a lock names was killed, and is not gone yet.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
fn is_dying(holder: &str) -> bool {
    const SIGKILL: u64 = 1 << (9 - 1);
    let pid = holder.strip_prefix("process ").and_then(|rest| rest.split(',').next());
    let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else { return false };
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim);
    let pending = |name| u64::from_str_radix(field(name), 16).is_ok_and(|bits| bits & SIGKILL != 0);
    field("State:").starts_with(['Z', 'X']) || pending("ShdPnd:") || pending("SigPnd:")
}

/// Where the system does not tell, it is not known.
#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
fn is_dying(_holder: &str) -> bool {
    false
}

/// Removes a tree; directories that forbid it to their own owner are opened up first.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        result => result,
    }
}

fn open_up(directory: &Path) -> io::Result<()> {
    let mut pending = vec![directory.to_path_buf()];
    while let Some(directory) = pending.pop() {
        fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    Ok(())
}

fn other_name(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
