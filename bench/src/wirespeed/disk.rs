//! What the disk can do at all: one file, written anew and made durable, or read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::bare::BUFFER;
use crate::side::{Cost, Measured, own_cost};
use crate::way::pool;

/// Pieces in flight at once where the page cache is passed by: half of the buffers that a process has.
const DEPTH: usize = 16;

/// Writes `bytes` bytes into a new file and makes it durable: through the page cache, or past it into
/// allocated extents.
pub(crate) fn write(path: &Path, bytes: u64, direct: bool) -> io::Result<Measured> {
    let (before, started) = (own_cost(), Instant::now());
    let file = create(path, direct)?;
    if direct {
        allocate(&file, bytes)?;
    }
    each_piece(bytes, direct, &|buffer, offset| file.write_all_at(buffer, offset))?;
    file.sync_all()?;
    let cost = spent(&before);
    Ok(Measured {
        bytes,
        seconds: started.elapsed().as_secs_f64(),
        receiver: Some(cost),
        ..Measured::default()
    })
}

/// Reads a file past the page cache.
pub(crate) fn read(path: &Path, bytes: u64) -> io::Result<Measured> {
    let (before, started) = (own_cost(), Instant::now());
    let file = open(path, OpenOptions::new().read(true), true)?;
    each_piece(bytes, true, &|buffer, offset| file.read_exact_at(buffer, offset))?;
    let cost = spent(&before);
    Ok(Measured {
        bytes,
        seconds: started.elapsed().as_secs_f64(),
        sender: Some(cost),
        ..Measured::default()
    })
}

/// A new file.
pub(crate) fn create(path: &Path, direct: bool) -> io::Result<File> {
    open(path, OpenOptions::new().write(true).create_new(true), direct)
}

/// Moves all pieces, several threads at once where they are not copied.
fn each_piece(
    bytes: u64,
    direct: bool,
    work: &(dyn Fn(&mut [u8], u64) -> io::Result<()> + Sync),
) -> io::Result<()> {
    let (next, share) = (AtomicU64::new(0), pool(1).share());
    let go = || {
        // Nobody else takes any.
        let Some(mut buffer) = share.take(&|| false) else { return Ok(()) };
        loop {
            let offset = next.fetch_add(BUFFER as u64, Ordering::Relaxed);
            if offset >= bytes {
                return Ok(());
            }
            work(&mut buffer[..(bytes - offset).min(BUFFER as u64) as usize], offset)?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..if direct { DEPTH } else { 1 }).map(|_| scope.spawn(go)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| io::Error::other("it panicked"))?)
    })
}

fn spent(before: &Cost) -> Cost {
    Cost { cpu_seconds: own_cost().cpu_seconds - before.cpu_seconds, peak_bytes: 0 }
}

#[cfg(target_os = "linux")]
fn open(path: &Path, options: &mut OpenOptions, direct: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(if direct { nix::libc::O_DIRECT } else { 0 }).open(path)
}

#[cfg(target_os = "linux")]
pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    use nix::fcntl::{FallocateFlags, fallocate};
    Ok(fallocate(file, FallocateFlags::empty(), 0, bytes.try_into().map_err(io::Error::other)?)?)
}

#[cfg(not(target_os = "linux"))]
fn open(path: &Path, options: &mut OpenOptions, direct: bool) -> io::Result<File> {
    if direct {
        return Err(io::ErrorKind::Unsupported.into());
    }
    options.open(path)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn allocate(_file: &File, _bytes: u64) -> io::Result<()> {
    Ok(())
}
