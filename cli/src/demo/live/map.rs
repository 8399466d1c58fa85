//! The demo's engine: an ordered map in memory, in pieces that a capture shares and the next write copies.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul::live::{
    ApplicationError, Batch, Delivered, Effect, Entry, Latch, Log, LogPoint, LogRecord, MemoryLog, Prepare,
    Provide, SequenceNumber, Snapshot, SnapshotId, Stage,
};
use longhaul::state::SourceError;
use longhaul::{Sink, Source};

use super::channel::{ORDER, Write};
use super::pieces::{Hidden, PieceSink, Pieces};

/// Bytes of a value.
pub(super) const VALUE_LEN: usize = 1024;
/// Keys of a piece: with their values about a MiB.
pub(super) const PIECE_KEYS: u64 = 1024;

pub(super) type Piece = BTreeMap<u64, Arc<[u8]>>;

/// What is replicated, and which messages it contains.
#[derive(Clone, Default)]
pub(super) struct State {
    /// Keys from `n * PIECE_KEYS` on are in piece n.
    pub(super) pieces: Vec<Arc<Piece>>,
    pub(super) digest: Delivered,
}

impl State {
    pub(super) fn delivered(&self) -> u64 {
        self.digest.entry(ORDER).map_or(0, |entry| entry.delivered().0)
    }

    pub(super) fn keys(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// The same for two states if keys and values are.
    pub(super) fn checksum(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (key, value) in self.pieces.iter().flat_map(|piece| piece.iter()) {
            hasher.write_u64(*key);
            hasher.write(value);
        }
        hasher.finish()
    }
}

/// Puts a value where it belongs; a piece that a capture shares is copied first.
pub(super) fn put(pieces: &mut Vec<Arc<Piece>>, key: u64, value: Arc<[u8]>) {
    let at = (key / PIECE_KEYS) as usize;
    if pieces.len() <= at {
        pieces.resize_with(at + 1, Arc::default);
    }
    Arc::make_mut(&mut pieces[at]).insert(key, value);
}

/// One member's engine.
#[derive(Default)]
pub(super) struct Map {
    state: Mutex<State>,
    log: MemoryLog,
    hidden: Arc<Mutex<Hidden>>,
    is_throttled: AtomicBool,
    /// Reoffers so far.
    bell: Mutex<u64>,
    rings: Condvar,
}

impl Map {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), ..Self::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of a message's record.
    pub(super) const LOG_BYTES: usize = 8 + VALUE_LEN;

    /// Carries out messages that are to be delivered, and logs them.
    pub(super) fn deliver(&self, writes: &[(u64, &Write)]) -> Result<(), ApplicationError> {
        let mut state = self.lock();
        for (number, write) in writes {
            let sequence = SequenceNumber(*number);
            put(&mut state.pieces, write.key, Arc::clone(&write.value));
            state.digest.insert(Entry::new(ORDER, sequence, sequence)?)?;
            let record = [&write.key.to_le_bytes()[..], &write.value].concat();
            self.log.append(ORDER, sequence, Effect::Write, &record);
        }
        Ok(())
    }

    pub(super) fn is_throttled(&self) -> bool {
        self.is_throttled.load(Ordering::Relaxed)
    }

    /// Something was delivered, or may pass.
    pub(super) fn ring(&self, reoffers: u64) {
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner) += reoffers;
        self.rings.notify_all();
    }

    pub(super) fn rung(&self) -> u64 {
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is time, or something else may have changed.
    pub(super) fn wait_until(&self, is_time: impl Fn(u64) -> bool) {
        let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.rings.wait_timeout_while(bell, Duration::from_millis(100), |rung| !is_time(*rung));
        drop(waited);
    }
}

/// A capture: the pieces as they were.
struct Captured(State);

impl Snapshot for Captured {
    fn digest(&self) -> Delivered {
        self.0.digest.clone()
    }

    fn source(&self, _state_id: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
        Ok(Arc::new(Pieces(self.0.pieces.clone())))
    }
}

impl Provide for Map {
    fn capture(&self) -> Result<Arc<dyn Snapshot>, ApplicationError> {
        Ok(Arc::new(Captured(self.lock().clone())))
    }

    fn pending(&self, _batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        Ok(())
    }
}

impl Log for Map {
    fn start(&self, from: LogPoint) -> Result<(), ApplicationError> {
        self.log.start(from)
    }

    fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        self.log.read(from, batch)
    }

    fn trim(&self, before: LogPoint) {
        self.log.trim(before);
    }

    fn stop(&self) {
        self.log.stop();
    }
}

impl Stage for Map {
    fn stage(&self, _snapshot: SnapshotId, _keep: bool) -> Result<Box<dyn Sink>, ApplicationError> {
        self.hidden().clear();
        Ok(Box::new(PieceSink::new(Arc::clone(&self.hidden))))
    }

    fn apply(&self, records: &[LogRecord<'_>]) -> Result<(), ApplicationError> {
        let mut hidden = self.hidden();
        for record in records {
            let (key, value) = record.bytes.split_first_chunk().ok_or("a record has a key")?;
            let key = u64::from_le_bytes(*key);
            if key / PIECE_KEYS >= hidden.len() as u64 {
                return Err(format!("there is no piece for key {key}").into());
            }
            put(&mut hidden, key, value.into());
        }
        Ok(())
    }

    fn prepare(&self, _prepares: &[Prepare<'_>]) -> Result<(), ApplicationError> {
        Err("nothing is ever prepared here".into())
    }

    fn forget_prepares(&self) -> Result<(), ApplicationError> {
        Ok(())
    }

    fn discard(&self) {
        self.hidden().clear();
    }

    fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
        let pieces = std::mem::take(&mut *self.hidden());
        *self.lock() = State { pieces, digest: digest.clone() };
        Ok(())
    }
}

impl Map {
    fn hidden(&self) -> MutexGuard<'_, Hidden> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latch for Map {
    fn reoffer(&self) {
        self.ring(1);
    }

    fn throttle(&self, on: bool) {
        self.is_throttled.store(on, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_keeps_what_it_has_whatever_is_written() {
        let map = Map::default();
        let write = |number: u64, byte: u8| {
            let write = Write { key: 5000, value: vec![byte; VALUE_LEN].into() };
            map.deliver(&[(number, &write)]).unwrap();
        };
        write(1, 1);
        let before = map.lock().clone();
        write(2, 2);
        let after = map.lock().clone();
        assert_eq!((before.keys(), before.delivered(), after.delivered()), (1, 1, 2));
        assert_eq!((before.pieces[4][&5000][0], after.pieces[4][&5000][0]), (1, 2));
        assert_ne!(before.checksum(), after.checksum());
    }
}
