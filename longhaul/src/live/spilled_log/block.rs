//! Records on disk: blocks with a checksum, one behind the other in files that have no name.
//!
//! A file takes blocks until it is as long as a segment; it is gone when its last block is, and its space with it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use longhaul_core::integrity::crc32c;
use longhaul_core::transfer::LogPoint;

use super::super::Batch;
use super::{Appended, SpillError};

/// A file takes so many bytes at most, or an eighth of what all may take.
const SEGMENT: u64 = 64 << 20;

/// Where files come from.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// A file that is gone when nobody holds it any more.
    fn file(&self) -> io::Result<Arc<dyn Place>>;
}

/// A file that is written once and read by offset.
pub(super) trait Place: fmt::Debug + Send + Sync {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// Files without a name in a directory.
#[derive(Debug)]
pub(super) struct Unnamed(pub(super) PathBuf);

impl Disk for Unnamed {
    fn file(&self) -> io::Result<Arc<dyn Place>> {
        Ok(Arc::new(tempfile::tempfile_in(&self.0)?))
    }
}

impl Place for File {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }
}

/// Records that are to be written, from number `first` on.
pub(super) struct Oldest {
    pub(super) first: u64,
    pub(super) records: Vec<Appended>,
}

/// Records that lie on disk.
#[derive(Clone, Debug)]
pub(super) struct Block {
    first: u64,
    records: u64,
    file: Arc<dyn Place>,
    offset: u64,
    len: usize,
    crc: u32,
}

impl Block {
    /// The number of its first record.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// The number behind its last record.
    pub(super) const fn behind(&self) -> u64 {
        self.first + self.records
    }

    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    pub(super) const fn len(&self) -> u64 {
        self.len as u64
    }

    /// Its records, encoded as a batch has them.
    pub(super) fn read(&self) -> Result<Vec<u8>, SpillError> {
        let mut bytes = vec![0; self.len];
        self.file.read(self.offset, &mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SpillError::Torn { record: self.first },
            _ => SpillError::Io(Arc::new(error)),
        })?;
        if crc32c(&bytes) == self.crc { Ok(bytes) } else { Err(SpillError::Torn { record: self.first }) }
    }
}

/// Writes blocks; owned by the thread that spills.
pub(super) struct BlockWriter<'a> {
    disk: &'a dyn Disk,
    disk_bytes: u64,
    /// Where the next block of this log goes.
    next: Option<(u64, Arc<dyn Place>, u64)>,
    encoded: Vec<u8>,
}

impl<'a> BlockWriter<'a> {
    pub(super) fn new(disk: &'a dyn Disk, disk_bytes: u64) -> Self {
        Self { disk, disk_bytes, next: None, encoded: Vec::new() }
    }

    /// Writes records of the log of this generation, of which so many bytes are on disk already.
    pub(super) fn write(
        &mut self,
        generation: u64,
        oldest: &Oldest,
        kept_bytes: u64,
    ) -> Result<Block, SpillError> {
        self.encode(oldest);
        let len = self.encoded.len() as u64;
        let segment = SEGMENT.min(self.disk_bytes / 8);
        // Of the first file some may be trimmed already, and takes its room nevertheless.
        if kept_bytes + len + segment > self.disk_bytes {
            return Err(SpillError::Full { disk_bytes: self.disk_bytes });
        }
        let failed = |error| SpillError::Io(Arc::new(error));
        let has_room = |(of, _, end): &(u64, Arc<dyn Place>, u64)| *of == generation && *end + len <= segment;
        let (file, offset) = match self.next.take().filter(has_room) {
            Some((_, file, end)) => (file, end),
            None => (self.disk.file().map_err(failed)?, 0),
        };
        file.write(offset, &self.encoded).map_err(failed)?;
        self.next = Some((generation, Arc::clone(&file), offset + len));
        Ok(Block {
            first: oldest.first,
            records: oldest.records.len() as u64,
            file,
            offset,
            len: self.encoded.len(),
            crc: crc32c(&self.encoded),
        })
    }

    fn encode(&mut self, oldest: &Oldest) {
        let from = LogPoint { records: oldest.first - 1, bytes: 0 };
        let mut batch = Batch::new(&mut self.encoded, from, usize::MAX);
        for Appended { sender, sequence, effect, bytes } in &oldest.records {
            let taken = batch.record(*sender, *sequence, *effect, bytes);
            debug_assert!(taken, "what is too long to travel was refused when it was delivered");
        }
    }
}
