//! What all executors do alike to an open file, and how they mark what is not complete.

use std::fs::{File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use longhaul_core::id::ItemId;
use longhaul_core::item::Timestamp;

use super::RootAttributes;

/// A directory made on demand bears the sticky bit until its own item comes: so a directory that
/// comes twice, or gets entries when it is complete, is told without remembering any.
pub(super) const INCOMPLETE: u32 = 0o1700;
pub(super) const STICKY: u32 = 0o1000;

pub(super) struct Attributes {
    pub(super) mode: u16,
    pub(super) mtime: Option<Timestamp>,
    pub(super) sync: bool,
}

/// Sets mode (if it is not `found` already) and time by descriptor.
pub(super) fn set_attributes(file: &File, found: u32, mode: u16, mtime: Option<Timestamp>) -> io::Result<()> {
    if found & 0o7777 != u32::from(mode) {
        file.set_permissions(Permissions::from_mode(mode.into()))?;
    }
    match mtime {
        Some(mtime) => file.set_times(FileTimes::new().set_modified(system_time(mtime)?)),
        None => Ok(()),
    }
}

/// Gives a published root what it could not be moved with, durably.
pub(super) fn settle(root: &File, attributes: RootAttributes) -> io::Result<()> {
    let found = root.metadata()?.permissions().mode();
    set_attributes(root, found, attributes.mode, Some(attributes.mtime))?;
    root.sync_all()
}

fn system_time(time: Timestamp) -> io::Result<SystemTime> {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    whole
        .and_then(|whole| whole.checked_add(Duration::from_nanos(time.nanos.into())))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the modification time is out of range"))
}

/// A file just created must be nothing but that.
pub(super) fn check_fresh(regular: bool, names: u64) -> io::Result<()> {
    if regular && names == 1 { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) }
}

/// The name of a kept link.
pub(super) fn link_name(id: ItemId) -> String {
    id.0.to_string()
}

pub(super) fn not_open() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the file is not open")
}

pub(super) fn complete_already() -> io::Error {
    io::Error::new(io::ErrorKind::NotADirectory, "the directory is complete already")
}
