//! A log that lies in memory, for those whose engine keeps none that can be read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul_core::digest::SequenceNumber;
use longhaul_core::id::MemberId;
use longhaul_core::message::Effect;
use longhaul_core::transfer::LogPoint;

use super::{ApplicationError, Batch, Log};

/// A log in memory. What it holds is bounded by [`super::Config::log_bytes`]: joiners that need more are refused.
#[derive(Debug, Default)]
pub struct MemoryLog(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    /// The number of the first record.
    first: u64,
    records: VecDeque<Appended>,
}

#[derive(Clone, Debug)]
struct Appended {
    sender: MemberId,
    sequence: SequenceNumber,
    effect: Effect,
    bytes: Arc<[u8]>,
}

impl MemoryLog {
    /// A log that keeps nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the record of a message that was delivered; nothing happens while no log is kept, or if it completes nothing.
    pub fn append(&self, sender: MemberId, sequence: SequenceNumber, effect: Effect, bytes: &[u8]) {
        if effect.completes() {
            self.append_change(sender, sequence, effect, bytes);
        }
    }

    /// Appends the record of any message that changes something, prepares too: for a log that begins with the state of one place
    /// ([`crate::states`]).
    pub fn append_change(&self, sender: MemberId, sequence: SequenceNumber, effect: Effect, bytes: &[u8]) {
        if let Some(kept) = self.lock().as_mut().filter(|_| effect != Effect::Nothing) {
            kept.records.push_back(Appended { sender, sequence, effect, bytes: bytes.into() });
        }
    }

    /// Records that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().as_ref().map_or(0, |kept| kept.records.len())
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a log is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for MemoryLog {
    fn start(&self, from: LogPoint) -> Result<(), ApplicationError> {
        *self.lock() = Some(Kept { first: from.records + 1, records: VecDeque::new() });
        Ok(())
    }

    fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        let mut number = from.records + 1;
        loop {
            // Appending waits for one record at most, not for the encoding of a batch.
            let next = {
                let kept = self.lock();
                let kept = kept.as_ref().ok_or("no log is kept")?;
                let at = number.checked_sub(kept.first).ok_or("the log begins later")?;
                kept.records.get(at as usize).cloned()
            };
            let Some(Appended { sender, sequence, effect, bytes }) = next else { return Ok(()) };
            if !batch.record(sender, sequence, effect, &bytes) {
                return Ok(());
            }
            number += 1;
        }
    }

    fn trim(&self, before: LogPoint) {
        if let Some(kept) = self.lock().as_mut() {
            let trimmed = (before.records + 1).saturating_sub(kept.first).min(kept.records.len() as u64);
            kept.records.drain(..trimmed as usize);
            kept.first += trimmed;
        }
    }

    fn stop(&self) {
        *self.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::records;
    use super::*;

    const SENDER: MemberId = MemberId([1; 16]);

    fn numbers(log: &MemoryLog, from: u64, max_bytes: usize) -> Vec<u64> {
        let mut out = Vec::new();
        let mut batch = Batch::new(&mut out, LogPoint { records: from, bytes: 0 }, max_bytes);
        log.read(LogPoint { records: from, bytes: 0 }, &mut batch).unwrap();
        records(&out).map(|record| record.unwrap().record.number).collect()
    }

    #[test]
    fn records_are_numbered_from_where_the_log_begins_and_gone_once_nobody_needs_them() {
        let log = MemoryLog::new();
        log.append(SENDER, SequenceNumber(1), Effect::Write, b"before");
        log.start(LogPoint { records: 7, bytes: 700 }).unwrap();
        for n in 2..6 {
            log.append(SENDER, SequenceNumber(n), Effect::Write, b"0123456789");
        }
        log.append(SENDER, SequenceNumber(6), Effect::Nothing, b"");
        assert_eq!(numbers(&log, 7, 1000), [8, 9, 10, 11]);
        assert_eq!(numbers(&log, 8, 148), [9, 10], "as many as fit");
        assert_eq!(numbers(&log, 8, 1), [9], "one at least");
        log.trim(LogPoint { records: 9, bytes: 0 });
        assert_eq!((log.len(), numbers(&log, 9, 1000)), (2, vec![10, 11]));
        let mut out = Vec::new();
        let from = LogPoint { records: 8, bytes: 0 };
        assert!(log.read(from, &mut Batch::new(&mut out, from, 1000)).is_err(), "they are gone");
        log.stop();
        assert!(!log.is_kept());
    }
}
