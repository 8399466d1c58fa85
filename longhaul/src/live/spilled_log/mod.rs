//! A log that lies in memory up to a bound, and behind it in a file that has no name.
//!
//! ```text
//! append ──▶ [ newest records, in memory ] ──oldest first, in blocks──▶ [ segments: files without a name ]
//!                        │      the spill thread                                  │
//! read   ◀───────────────┴──── one order, no hole ────────────────────────────────┘
//! ```
//!
//! Who appends touches no disk. The spill thread writes once half of the memory is taken; when all of it is, who appends
//! waits for the disk, so that writers are slowed down to its rate. A disk that is full, fails, or makes no progress ends the
//! log: what it held is forgotten, and whoever still needs it is told why ([`SpillError`]). The member goes on.

mod block;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use longhaul_core::digest::SequenceNumber;
use longhaul_core::id::MemberId;
use longhaul_core::message::Effect;
use longhaul_core::transfer::LogPoint;

use self::block::{Block, BlockWriter, Disk, Oldest, Unnamed};
use super::batch::{RECORD_HEAD, records};
use super::{ApplicationError, Batch, Log, LogRecord};

/// Bytes of a block, but for its last record.
const BLOCK: usize = 256 << 10;
/// Who appends waits no longer than this for a disk that makes no progress: a turn may wait with it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a log is not there any more: the transfers that needed it begin anew, or end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SpillError {
    /// It has grown to its bound on disk.
    Full {
        /// The bound, in bytes.
        disk_bytes: u64,
    },
    /// The disk made no progress while memory was full.
    Stalled,
    /// The disk failed, or has no room.
    Io(Arc<io::Error>),
    /// What was read is not what was written.
    Torn {
        /// The first record of the block that is damaged.
        record: u64,
    },
}

impl fmt::Display for SpillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { disk_bytes } => {
                write!(f, "the log has grown to its bound of {disk_bytes} bytes on disk")
            }
            Self::Stalled => f.write_str("the disk takes no more of the log, and memory is full"),
            Self::Io(error) => write!(f, "the log can't be kept on disk: {error}"),
            Self::Torn { record } => write!(f, "the log on disk is damaged from record {record} on"),
        }
    }
}

impl Error for SpillError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// A log for live transfers that is bounded in memory and on disk.
///
/// The bound of the member's [`super::Config::log_bytes`] counts too: with what memory and disk hold together it is the member that
/// decides first, and refuses the joiner that is farthest behind; with a lower bound here all of them lose their log.
#[derive(Debug)]
pub struct SpilledLog {
    inner: Arc<Inner>,
    spiller: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Something is to be spilled, or it is over.
    filled: Condvar,
    /// There is room in memory, or never will be.
    emptied: Condvar,
    memory_bytes: usize,
    disk_bytes: u64,
    patience: Duration,
    disk: Box<dyn Disk>,
}

#[derive(Debug, Default)]
struct State {
    kept: Option<Kept>,
    /// What is done for an earlier log has no effect.
    generation: u64,
    stopped: bool,
}

/// A log that is kept; or why it is not any more.
#[derive(Debug)]
struct Kept {
    /// On disk, oldest first.
    blocks: VecDeque<Block>,
    /// The number of the first record in memory.
    first: u64,
    records: VecDeque<Appended>,
    bytes: usize,
    failed: Option<SpillError>,
}

#[derive(Clone, Debug)]
struct Appended {
    sender: MemberId,
    sequence: SequenceNumber,
    effect: Effect,
    bytes: Arc<[u8]>,
}

impl Appended {
    fn weight(&self) -> usize {
        RECORD_HEAD + self.bytes.len()
    }
}

impl SpilledLog {
    /// A log that keeps nothing yet: at most `memory_bytes` of it in memory (and one record), and `disk_bytes` in
    /// files without a name in `directory`.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn new(directory: impl Into<PathBuf>, memory_bytes: usize, disk_bytes: u64) -> io::Result<Self> {
        Self::patient(directory, memory_bytes, disk_bytes, PATIENCE)
    }

    /// The same; who appends waits for so long, not for a second, for a disk that makes no progress.
    ///
    /// # Errors
    /// As [`SpilledLog::new`].
    pub fn patient(
        directory: impl Into<PathBuf>,
        memory_bytes: usize,
        disk_bytes: u64,
        patience: Duration,
    ) -> io::Result<Self> {
        Self::on(Box::new(Unnamed(directory.into())), memory_bytes, disk_bytes, patience)
    }

    fn on(disk: Box<dyn Disk>, memory_bytes: usize, disk_bytes: u64, patience: Duration) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            memory_bytes,
            disk_bytes,
            patience,
            disk,
        });
        let theirs = Arc::clone(&inner);
        let spiller = thread::Builder::new().name("longhaul-spill".into()).spawn(move || theirs.spill())?;
        Ok(Self { inner, spiller: Some(spiller) })
    }

    /// Appends the record of a message that was delivered; nothing happens while no log is kept, or if it completes
    /// nothing. While memory is full it waits for the disk.
    pub fn append(&self, sender: MemberId, sequence: SequenceNumber, effect: Effect, bytes: &[u8]) {
        let is_kept = |state: &State| state.kept.as_ref().is_some_and(|kept| kept.failed.is_none());
        let mut state = self.inner.lock();
        if !effect.completes() || !is_kept(&state) {
            return;
        }
        state = self.inner.make_room(state);
        let Some(kept) = state.kept.as_mut().filter(|kept| kept.failed.is_none()) else { return };
        let appended = Appended { sender, sequence, effect, bytes: bytes.into() };
        kept.bytes += appended.weight();
        kept.records.push_back(appended);
        if kept.bytes > self.inner.memory_bytes / 2 {
            self.inner.filled.notify_one();
        }
    }

    /// Records that are kept, in memory and on disk.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.inner.lock();
        let on_disk =
            state.kept.iter().flat_map(|kept| &kept.blocks).map(Block::records).sum::<u64>() as usize;
        on_disk + state.kept.as_ref().map_or(0, |kept| kept.records.len())
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a log is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.inner.lock().kept.as_ref().is_some_and(|kept| kept.failed.is_none())
    }

    /// Bytes that are kept in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.inner.lock().kept.as_ref().map_or(0, |kept| kept.bytes)
    }

    /// Bytes that are kept on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.inner.lock().disk_bytes()
    }
}

impl Drop for SpilledLog {
    fn drop(&mut self) {
        self.inner.lock().stopped = true;
        self.inner.filled.notify_all();
        if let Some(spiller) = self.spiller.take() {
            // A panic in it was reported when it happened.
            let _ = spiller.join();
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until memory takes another record; a disk that makes no progress meanwhile ends the log.
    fn make_room<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let fullness = |state: &State| {
            let kept = state.kept.as_ref().filter(|kept| kept.failed.is_none());
            kept.filter(|kept| kept.bytes >= self.memory_bytes).map(|kept| kept.bytes)
        };
        while let Some(before) = fullness(&state) {
            let waited = self
                .emptied
                .wait_timeout_while(state, self.patience, |state| fullness(state) == Some(before));
            let (theirs, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = theirs;
            if timeout.timed_out() {
                state.fail(SpillError::Stalled);
            }
        }
        state
    }

    /// The spill thread: until the log is dropped.
    fn spill(&self) {
        let mut writer = BlockWriter::new(&*self.disk, self.disk_bytes);
        let mut state = self.lock();
        while !state.stopped {
            let Some((generation, oldest)) = state.oldest(self.memory_bytes / 2) else {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let kept_bytes = state.disk_bytes();
            drop(state);
            let written = writer.write(generation, &oldest, kept_bytes);
            state = self.lock();
            if state.generation == generation {
                match written {
                    Ok(block) => state.spilled(block),
                    Err(error) => state.fail(error),
                }
            }
            self.emptied.notify_all();
        }
    }
}

impl State {
    /// Records that are to go from memory to disk, and the log that they are of; `None` while it has room.
    fn oldest(&self, memory_bytes: usize) -> Option<(u64, Oldest)> {
        let kept = self.kept.as_ref().filter(|kept| kept.failed.is_none() && kept.bytes > memory_bytes)?;
        let mut bytes = 0;
        let fits = |record: &&Appended| {
            let is_first = bytes == 0;
            bytes += record.weight();
            is_first || bytes <= BLOCK
        };
        let records = kept.records.iter().take_while(fits).cloned().collect();
        Some((self.generation, Oldest { first: kept.first, records }))
    }

    /// A block is on disk; what of it was not trimmed meanwhile leaves memory.
    fn spilled(&mut self, block: Block) {
        let Some(kept) = &mut self.kept else { return };
        let behind = block.behind();
        while kept.first < behind
            && let Some(record) = kept.records.pop_front()
        {
            kept.bytes -= record.weight();
            kept.first += 1;
        }
        kept.blocks.push_back(block);
    }

    fn fail(&mut self, error: SpillError) {
        let Some(kept) = &mut self.kept else { return };
        if kept.failed.is_none() {
            tracing::error!(%error, "a log for joiners is given up");
            *kept = Kept { failed: Some(error), ..Kept::from(kept.first) };
        }
    }

    fn disk_bytes(&self) -> u64 {
        self.kept.iter().flat_map(|kept| &kept.blocks).map(Block::len).sum()
    }
}

impl Kept {
    fn from(first: u64) -> Self {
        Self { blocks: VecDeque::new(), first, records: VecDeque::new(), bytes: 0, failed: None }
    }

    /// Where a record is.
    fn find(&self, number: u64) -> Result<Found, SpillError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if let Some(at) = number.checked_sub(self.first) {
            return Ok(self.records.get(at as usize).cloned().map_or(Found::Nowhere, Found::InMemory));
        }
        let at = self.blocks.partition_point(|block| block.behind() <= number);
        let block = self.blocks.get(at).filter(|block| block.first() <= number);
        Ok(block.cloned().map_or(Found::Trimmed, Found::OnDisk))
    }
}

/// What was found of a record.
enum Found {
    InMemory(Appended),
    OnDisk(Block),
    /// It was not appended yet.
    Nowhere,
    Trimmed,
}

impl Log for SpilledLog {
    fn start(&self, from: LogPoint) -> Result<(), ApplicationError> {
        let mut state = self.inner.lock();
        state.generation += 1;
        state.kept = Some(Kept::from(from.records + 1));
        Ok(())
    }

    fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        let mut number = from.records + 1;
        loop {
            // Appending waits for one record at most, not for a disk or the encoding of a batch.
            let found = {
                let state = self.inner.lock();
                state.kept.as_ref().ok_or("no log is kept")?.find(number)?
            };
            match found {
                Found::Nowhere => return Ok(()),
                Found::Trimmed => return Err("the log begins later".into()),
                Found::InMemory(Appended { sender, sequence, effect, bytes }) => {
                    if !batch.record(sender, sequence, effect, &bytes) {
                        return Ok(());
                    }
                    number += 1;
                }
                Found::OnDisk(block) => {
                    let bytes = block.read()?;
                    for record in records(&bytes).skip((number - block.first()) as usize) {
                        let torn = SpillError::Torn { record: number };
                        let LogRecord { record, bytes } = record.ok_or(torn)?;
                        if !batch.record(record.sender, record.sequence, record.effect, bytes) {
                            return Ok(());
                        }
                        number += 1;
                    }
                    if number < block.behind() {
                        return Err(SpillError::Torn { record: number }.into());
                    }
                }
            }
        }
    }

    fn trim(&self, before: LogPoint) {
        let mut state = self.inner.lock();
        let Some(kept) = &mut state.kept else { return };
        while kept.blocks.front().is_some_and(|block| block.behind() <= before.records + 1) {
            kept.blocks.pop_front();
        }
        while kept.first <= before.records
            && let Some(record) = kept.records.pop_front()
        {
            kept.bytes -= record.weight();
            kept.first += 1;
        }
        drop(state);
        self.inner.emptied.notify_all();
    }

    fn stop(&self) {
        let mut state = self.inner.lock();
        state.generation += 1;
        state.kept = None;
        drop(state);
        self.inner.emptied.notify_all();
    }
}
