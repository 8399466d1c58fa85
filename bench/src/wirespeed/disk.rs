//! What the disk can do at all: one new file, written and made durable.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use crate::side::{Cost, Measured, own_cost};

/// Bytes written at a time.
const BUFFER: usize = 1 << 20;

/// Memory whose start is aligned for direct writes.
#[repr(align(4096))]
struct Aligned([u8; BUFFER]);

/// Writes `bytes` bytes into a new file and makes it durable: through the page cache, or past it into
/// allocated extents.
pub(crate) fn write(path: &Path, bytes: u64, direct: bool) -> io::Result<Measured> {
    let buffer = Box::new(Aligned([0x5a; BUFFER]));
    let before = own_cost();
    let started = Instant::now();
    let file = open(path, direct)?;
    if direct {
        allocate(&file, bytes)?;
    }
    let mut offset = 0;
    while offset < bytes {
        let len = (bytes - offset).min(BUFFER as u64) as usize;
        file.write_all_at(&buffer.0[..len], offset)?;
        offset += len as u64;
    }
    file.sync_all()?;
    let seconds = started.elapsed().as_secs_f64();
    let cost = own_cost();
    Ok(Measured {
        bytes,
        seconds,
        receiver: Some(Cost { cpu_seconds: cost.cpu_seconds - before.cpu_seconds, peak_bytes: 0 }),
        ..Measured::default()
    })
}

#[cfg(target_os = "linux")]
fn open(path: &Path, direct: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = if direct { nix::libc::O_DIRECT } else { 0 };
    OpenOptions::new().write(true).create_new(true).custom_flags(flags).open(path)
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    use nix::fcntl::{FallocateFlags, fallocate};
    Ok(fallocate(file, FallocateFlags::empty(), 0, bytes.try_into().map_err(io::Error::other)?)?)
}

#[cfg(not(target_os = "linux"))]
fn open(path: &Path, direct: bool) -> io::Result<File> {
    if direct {
        return Err(io::ErrorKind::Unsupported.into());
    }
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(not(target_os = "linux"))]
fn allocate(_file: &File, _bytes: u64) -> io::Result<()> {
    Ok(())
}
