//! A disk of our own below a real file system: what is done with it is seen, and it fails as it is told.
//!
//! ```text
//! longhaul fetch ──▶ ext4, xfs, btrfs ──▶ /dev/loopN ──▶ FUSE file ──▶ Device: keeps, records, fails
//! ```
//!
//! | part | what it is |
//! | --- | --- |
//! | [`Device`] | the block device; recorded for the crash rig |
//! | [`FileSystem`] | made on it, mounted, unmounted |
//! | [`Faults`] | how its disk fails, from a moment on and at blocks of one's choice |
//! | [`Rig`] | a provider, and the real command that fetches onto such a disk |
//! | [`Slow`] | no disk: a directory whose writes take a while, as on a server |
//!
//! A process that serves its own mounted disk must not be killed outright: a thread of it that waits for the disk can't end
//! until somebody answers. SIGINT and SIGTERM end a run tidily; one that hangs is freed through the `abort` file of its
//! connection in `/sys/fs/fuse/connections`.

mod device;
mod faults;
mod file_system;
pub(crate) mod image;
pub(crate) mod log;
mod rig;
mod slow;
pub(crate) mod state;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

pub use device::{Device, said};
pub use faults::{Blocks, Fault, Faults};
pub use file_system::{Access, FileSystem, Mounted};
pub use rig::Rig;
pub(crate) use rig::claimed;
pub use slow::Slow;

/// Readies this thread, and those that it starts from now on, to have disks here; or says why that is not possible.
///
/// What they mount nobody else sees, and it goes when they go, however they end.
///
/// # Errors
/// Why not.
pub fn prepare() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| format!("not root here: {error}"))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|error| format!("no mounts of our own: {error}"))?;
    device::detach_orphans();
    device::reach_connections()?;
    Device::new(1 << 20).map(drop)
}
