//! Whether a ring can be made here, and why not.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use io_uring::{IoUring, Probe, opcode};
use longhaul_state::pool::Pool;
use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs::{self, statfs};

use crate::huge;
use crate::ring::Ring;

/// Why there is no ring.
#[derive(Debug)]
pub struct Unavailable {
    cause: Cause,
    error: Option<io::Error>,
}

#[derive(Debug)]
enum Cause {
    /// `kernel.io_uring_disabled` says so.
    Sysctl(u8),
    /// A filter of system calls, most likely: the system has not said why.
    Filter,
    /// The kernel has none, or a sandbox hides it.
    Missing,
    /// Locked memory.
    Memory,
    /// The kernel's is too old.
    Lacks(&'static str),
    /// No thread.
    Thread,
    /// Something else.
    Other,
}

impl Unavailable {
    fn new(error: io::Error) -> Self {
        let cause = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM | Errno::EACCES) => match disabled() {
                Some(level) if level > 0 => Cause::Sysctl(level),
                _ => Cause::Filter,
            },
            Some(Errno::ENOSYS | Errno::EOPNOTSUPP) => Cause::Missing,
            Some(Errno::ENOMEM) => Cause::Memory,
            _ => Cause::Other,
        };
        Self { cause, error: Some(error) }
    }

    pub(crate) const fn thread(error: Option<io::Error>) -> Self {
        Self { cause: Cause::Thread, error }
    }
}

impl From<io::Error> for Unavailable {
    fn from(error: io::Error) -> Self {
        Self::new(error)
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Sysctl(level) => write!(f, "the sysctl kernel.io_uring_disabled is {level}"),
            Cause::Filter => f.write_str("it is not permitted here: a seccomp filter, as containers have"),
            Cause::Missing => f.write_str("the kernel has none, or a seccomp filter hides it"),
            Cause::Memory => f.write_str("no memory may be locked for it (ulimit -l)"),
            Cause::Lacks(what) => write!(f, "the kernel is too old: its rings have no {what}"),
            Cause::Thread => f.write_str("its thread can't be started"),
            Cause::Other => f.write_str("it can't be made"),
        }?;
        self.error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
    }
}

impl std::error::Error for Unavailable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.as_ref().map(|error| error as _)
    }
}

fn disabled() -> Option<u8> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

/// How a ring is asked for: what runs for it interrupts nobody, where the kernel knows that (5.19).
fn builders() -> [io_uring::Builder; 2] {
    let mut cooperative = IoUring::builder();
    cooperative.setup_coop_taskrun();
    [cooperative, IoUring::builder()]
}

/// A ring that was made to be looked at, and how it was asked for.
struct Trial {
    ring: IoUring,
    builder: io_uring::Builder,
    cooperative: bool,
}

fn trial(entries: u32) -> Result<Trial, Unavailable> {
    let [cooperative, usual] = builders();
    match cooperative.build(entries) {
        Ok(ring) => Ok(Trial { ring, builder: cooperative, cooperative: true }),
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
            Ok(Trial { ring: usual.build(entries)?, builder: usual, cooperative: false })
        }
        Err(error) => Err(error.into()),
    }
}

/// Operations without which there is no use for a ring.
const NEEDED: [(u8, &str); 6] = [
    (opcode::ReadFixed::CODE, "read_fixed"),
    (opcode::WriteFixed::CODE, "write_fixed"),
    (opcode::Read::CODE, "read"),
    (opcode::Write::CODE, "write"),
    (opcode::Recv::CODE, "recv"),
    (opcode::SendMsg::CODE, "sendmsg"),
];
/// Those that would be of use.
const USEFUL: [(u8, &str); 3] = [
    (opcode::Splice::CODE, "splice"),
    (opcode::SendZc::CODE, "send_zc"),
    (opcode::Fallocate::CODE, "fallocate"),
];

fn operations(ring: &IoUring) -> io::Result<Probe> {
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known)?;
    Ok(known)
}

/// The way to ask for a ring that works here. It is made and looked at, before a runtime is built on one like it.
pub(crate) fn probe(entries: u32) -> Result<io_uring::Builder, Unavailable> {
    let Trial { ring, builder, .. } = trial(entries)?;
    let known = operations(&ring)?;
    match NEEDED.iter().find(|(code, _)| !known.is_supported(*code)) {
        Some((_, what)) => Err(Unavailable { cause: Cause::Lacks(what), error: None }),
        None => Ok(builder),
    }
}

/// What a ring can do here.
#[derive(Clone, Debug)]
pub struct Features {
    /// What runs for it interrupts nobody.
    pub cooperative: bool,
    /// Operations, and whether it has them.
    pub operations: Vec<(&'static str, bool)>,
    /// How many rings can be had at once, of those that were asked for.
    pub rings: usize,
    /// How many of the pools' buffers may be registered.
    pub registered: usize,
    /// Bytes of them that lie in huge pages.
    pub huge_bytes: u64,
}

/// Makes a ring for each pool, looks at it, and ends it.
///
/// # Errors
/// If there is none to be had here.
pub fn features(pools: &[Pool]) -> Result<Features, Unavailable> {
    let Trial { ring, cooperative, .. } = trial(1)?;
    let known = operations(&ring)?;
    let operations = NEEDED.iter().chain(&USEFUL).map(|(code, what)| (*what, known.is_supported(*code)));
    let operations = operations.collect();
    drop(ring);
    let mut rings = Vec::new();
    for pool in pools {
        match Ring::start(pool) {
            Ok(ring) => rings.push(ring),
            Err(why) if rings.is_empty() => return Err(why),
            Err(_) => break,
        }
    }
    let registered = rings.iter().map(Ring::register).sum();
    let huge_bytes = pools[..rings.len()].iter().map(|pool| huge::held(&pool.lay_out())).sum();
    Ok(Features { cooperative, operations, rings: rings.len(), registered, huge_bytes })
}

/// A file system, as far as moving bytes goes.
#[derive(Clone, Debug)]
pub struct FileSystem {
    /// Its name; its number if it has none that is known here.
    pub name: String,
    /// What lies on it lies in memory.
    pub in_memory: bool,
    /// Whether the page cache can be passed by; nothing if that can't be told.
    pub direct: Option<bool>,
}

/// Looks at the file system that a file or directory lies on; leaves nothing there.
///
/// # Errors
/// If there is nothing at `path`, or it may not be looked at.
pub fn file_system(path: &Path) -> io::Result<FileSystem> {
    let kind = statfs(path)?.filesystem_type();
    let known = [
        (statfs::EXT4_SUPER_MAGIC, "ext4"),
        (statfs::XFS_SUPER_MAGIC, "xfs"),
        (statfs::BTRFS_SUPER_MAGIC, "btrfs"),
        (statfs::F2FS_SUPER_MAGIC, "f2fs"),
        (statfs::TMPFS_MAGIC, "tmpfs"),
        (statfs::OVERLAYFS_SUPER_MAGIC, "overlayfs"),
        (statfs::NFS_SUPER_MAGIC, "nfs"),
        (statfs::FUSE_SUPER_MAGIC, "fuse"),
    ];
    let name = known.iter().find(|(magic, _)| *magic == kind);
    let name = name.map_or_else(|| format!("{:#x}", kind.0), |(_, name)| (*name).to_owned());
    let mut options = OpenOptions::new();
    // A file without a name, for a directory: it is gone when it is closed.
    let flags = if path.is_dir() {
        options.write(true);
        libc::O_DIRECT | libc::O_TMPFILE
    } else {
        options.read(true);
        libc::O_DIRECT
    };
    let direct = match options.custom_flags(flags | libc::O_CLOEXEC).open(path) {
        Ok(_) => Some(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Some(false),
        Err(_) => None,
    };
    Ok(FileSystem { name, in_memory: kind == statfs::TMPFS_MAGIC, direct })
}

/// The limit on locked memory in bytes: what a process has, and what it may ask for.
#[must_use]
pub fn locked_memory() -> Option<(u64, u64)> {
    getrlimit(Resource::RLIMIT_MEMLOCK).ok()
}
