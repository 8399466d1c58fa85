//! A file to a file over loopback, by blocking calls: one connection, no checksums.
//!
//! ```text
//! read (page cache) -> write ──socket──▶ read -> 16 MiB of buffers ──thread──▶ write past the page cache, sync
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use longhaul_state::pool::Buffer;
use serde_json::json;

use super::BUFFER;
use crate::disk;
use crate::side::{Measured, both, tell, tell_cost};
use crate::way::pool;

/// By which calls both sides move.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum By {
    /// Threads that block.
    Threads,
    /// A ring on each side.
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    Ring,
}

impl By {
    /// Its row in a table.
    pub(crate) const fn row(self) -> &'static str {
        match self {
            Self::Threads => "bare loop",
            #[cfg(all(target_os = "linux", not(longhaul_portable)))]
            Self::Ring => "bare loop, ring",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            #[cfg(all(target_os = "linux", not(longhaul_portable)))]
            Self::Ring => "ring",
        }
    }
}

/// Both sides, in processes of their own.
pub(crate) fn copy(by: By, from: &Path, to: &Path, bytes: u64) -> io::Result<Measured> {
    let (bytes, from, to) = (bytes.to_string(), from.display().to_string(), to.display().to_string());
    both(
        &["bare-write", by.name(), &bytes, &to],
        &|address| vec!["bare-read".into(), by.name().into(), bytes.clone(), from.clone(), address.into()],
        false,
    )
}

/// The side that has the file.
pub(crate) fn send(by: By, bytes: u64, from: &Path, address: &str) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let started = Instant::now();
    let file = File::open(from)?;
    match by {
        By::Threads => send_by_calls(&file, bytes, stream)?,
        #[cfg(all(target_os = "linux", not(longhaul_portable)))]
        By::Ring => super::ring::send(file, bytes, stream)?,
    }
    tell_cost(started, bytes, &bytes.to_string())
}

/// The side that gets it.
pub(crate) fn receive(by: By, bytes: u64, to: &Path) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    tell(&json!({ "address": listener.local_addr()?.to_string() }))?;
    let (stream, _) = listener.accept()?;
    let started = Instant::now();
    let file = disk::create(to, true)?;
    disk::allocate(&file, bytes)?;
    match by {
        By::Threads => receive_by_calls(&file, bytes, stream)?,
        #[cfg(all(target_os = "linux", not(longhaul_portable)))]
        By::Ring => super::ring::receive(file.try_clone()?, bytes, stream)?,
    }
    file.sync_all()?;
    tell_cost(started, bytes, &bytes.to_string())
}

fn send_by_calls(file: &File, bytes: u64, mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    for (offset, len) in pieces(bytes) {
        file.read_exact_at(&mut buffer[..len], offset)?;
        stream.write_all(&buffer[..len])?;
    }
    Ok(())
}

fn receive_by_calls(file: &File, bytes: u64, mut stream: TcpStream) -> io::Result<()> {
    // Longhaul's own buffers: aligned, and whoever wants one more waits.
    let share = pool(1).share();
    let (full, received) = mpsc::channel::<(Buffer, u64, usize)>();
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            received.iter().try_for_each(|(buffer, offset, len)| file.write_all_at(&buffer[..len], offset))
        });
        for (offset, len) in pieces(bytes) {
            let Some(mut buffer) = share.take(&|| writer.is_finished()) else { break };
            stream.read_exact(&mut buffer[..len])?;
            if full.send((buffer, offset, len)).is_err() {
                break;
            }
        }
        drop(full);
        writer.join().map_err(|_| io::Error::other("the writer panicked"))?
    })
}

/// Offsets and lengths, a buffer each.
pub(super) fn pieces(bytes: u64) -> impl Iterator<Item = (u64, usize)> {
    let step = BUFFER as u64;
    (0..bytes.div_ceil(step)).map(move |n| (n * step, (bytes - n * step).min(step) as usize))
}
