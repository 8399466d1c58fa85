//! The file systems that are tried: made, mounted, unmounted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};

use super::device::said;

/// What is held for longer is held for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FileSystem {
    /// With its journal, as it is made without options.
    Ext4,
    /// As it is made without options.
    Xfs,
    /// As it is made without options.
    Btrfs,
}

impl FileSystem {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Whether it can be made here.
    #[must_use]
    pub fn is_there(self) -> bool {
        let mut command = Command::new(format!("mkfs.{self}"));
        command.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }

    /// The length of its disk in bytes: little more than the least that it takes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a disk is never empty")]
    pub const fn len(self) -> u64 {
        match self {
            Self::Ext4 => 64 << 20,
            Self::Xfs => 300 << 20,
            Self::Btrfs => 128 << 20,
        }
    }

    /// How many states of one disk are mounted at once: more than there are cores, for most of a mount is waiting.
    pub(crate) fn at_once(self) -> usize {
        // One btrfs tells its disks by the number that they bear, unless it can tell copies apart (since Linux 6.7).
        let can_tell = self != Self::Btrfs || Path::new("/sys/fs/btrfs/features/temp_fsid").exists();
        if can_tell { 8 } else { 1 }
    }

    /// Whether an exchange gives directories that get another parent the time at which it happens: `xfs_cross_rename`.
    pub(crate) const fn touches_what_it_exchanges(self) -> bool {
        matches!(self, Self::Xfs)
    }

    /// Makes one.
    ///
    /// # Errors
    /// What its tool says.
    pub fn make(self, device: &Path) -> Result<(), String> {
        self.make_with(device, &[])
    }

    /// Makes one with these options of its tool beside its own.
    ///
    /// # Errors
    /// What its tool says.
    pub fn make_with(self, device: &Path, more: &[&str]) -> Result<(), String> {
        // Nothing is left to be done in the background, and nothing is discarded.
        let options: &[&str] = match self {
            Self::Ext4 => {
                &["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]
            }
            Self::Xfs | Self::Btrfs => &["-q", "-f", "-K"],
        };
        said(Command::new(format!("mkfs.{self}")).args(options).args(more).arg(device)).map(drop)
    }

    /// Mounts it; a log is replayed either way.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mount(self, device: &Path, place: &Path, access: Access) -> Result<Mounted, Errno> {
        self.mount_with(device, place, access, None)
    }

    /// Mounts it with these options beside its own.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mount_with(
        self,
        device: &Path,
        place: &Path,
        access: Access,
        more: Option<&str>,
    ) -> Result<Mounted, Errno> {
        let own = match self {
            Self::Ext4 => None,
            Self::Xfs => Some("nouuid"),
            Self::Btrfs => Some("nodiscard"),
        };
        let flags = match access {
            Access::Look => MsFlags::MS_NOATIME | MsFlags::MS_RDONLY,
            Access::Write => MsFlags::MS_NOATIME,
        };
        let options: Vec<_> = own.into_iter().chain(more).collect();
        mount(Some(device), place, Some(self.name()), flags, Some(options.join(",").as_str()))?;
        Ok(Mounted { place: place.to_path_buf(), is_mounted: true })
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a mount is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To look: nothing is written but what its log holds.
    Look,
    /// To write.
    Write,
}

/// A mounted file system, until it is dropped.
#[derive(Debug)]
pub struct Mounted {
    place: PathBuf,
    is_mounted: bool,
}

impl Mounted {
    /// Unmounts it, which writes what is not written yet.
    ///
    /// # Errors
    /// If it is in use for long, or something can't be written.
    pub fn unmount(mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            match umount(&self.place) {
                // A process that another thread has begun to start has our files until it is the other program.
                Err(Errno::EBUSY) if start.elapsed() < PATIENCE => thread::yield_now(),
                Err(errno) => return Err(format!("umount: {errno}")),
                Ok(()) => break,
            }
        }
        self.is_mounted = false;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted {
            // Something went wrong already, and is told: the last one that holds it will let it go.
            let _ = umount2(&self.place, MntFlags::MNT_DETACH);
        }
    }
}
