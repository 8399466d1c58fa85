//! A lane's disk thread: writes chunks into files at their own offsets.

use std::fs::File;
use std::io;
use std::sync::Arc;

use longhaul_core::id::{ItemId, Lane};

use super::Report;
use crate::bytes::Bytes;
use crate::channel::Receiver;
use crate::driver::{Message, Queue};
use crate::threads::Threads;

/// One chunk to write.
pub(super) struct DiskOp {
    pub(super) id: ItemId,
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

pub(super) fn start(lane: Lane, ops: Receiver<DiskOp>, queue: &Queue, threads: &Threads) {
    let queue = queue.clone();
    threads.spawn(format!("longhaul-disk-{}", lane.0), move || {
        while let Some(DiskOp { id, file, offset, bytes }) = ops.recv() {
            let written = write_all_at(&file, &bytes, offset);
            drop(bytes);
            let report = match written {
                Ok(()) => Report::Written { id, file, offset },
                Err(error) => Report::WriteFailed { id, file, error },
            };
            queue.send(Message::FromSink(report));
        }
    });
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// A number that grows while the system writes to disks: `pgpgout` of `/proc/vmstat`. `None` where
/// there is no such thing.
pub(super) fn activity() -> Option<u64> {
    if cfg!(all(target_os = "linux", not(longhaul_portable))) {
        let counters = std::fs::read_to_string("/proc/vmstat").ok()?;
        let line = counters.lines().find_map(|line| line.strip_prefix("pgpgout "))?;
        line.trim().parse().ok()
    } else {
        None
    }
}
