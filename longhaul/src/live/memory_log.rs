//! A log that lies in memory, for those whose engine keeps none that can be read.
//!
//! Who appends waits for nothing that grows with the log: it lies in runs of bounded length, none of which is ever moved, and
//! whoever forgets many of them does so on a thread of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use longhaul_core::digest::SequenceNumber;
use longhaul_core::id::MemberId;
use longhaul_core::message::Effect;
use longhaul_core::transfer::LogPoint;

use super::{ApplicationError, Batch, Log};

/// A log in memory. What it holds is bounded by [`super::Config::log_bytes`]: joiners that need more are refused.
#[derive(Debug, Default)]
pub struct MemoryLog(Mutex<Option<Kept>>);

/// Records of a run.
const RUN: usize = 1024;

#[derive(Debug)]
struct Kept {
    /// The number of the first record that somebody may need.
    first: u64,
    /// The number of the first one in the runs.
    oldest: u64,
    /// Each but the last is full.
    runs: VecDeque<Vec<Appended>>,
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
            kept.push(Appended { sender, sequence, effect, bytes: bytes.into() });
        }
    }

    /// Records that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().as_ref().map_or(0, |kept| (kept.end() - kept.first) as usize)
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

impl Kept {
    /// The number behind the last record.
    fn end(&self) -> u64 {
        let last = self.runs.back().map_or(0, Vec::len);
        self.oldest + (self.runs.len().saturating_sub(1) * RUN + last) as u64
    }

    fn push(&mut self, record: Appended) {
        if self.runs.back().is_none_or(|run| run.len() == RUN) {
            self.runs.push_back(Vec::with_capacity(RUN));
        }
        if let Some(run) = self.runs.back_mut() {
            run.push(record);
        }
    }

    /// A record that is not trimmed.
    fn record(&self, number: u64) -> Option<&Appended> {
        let at = (number - self.oldest) as usize;
        self.runs.get(at / RUN)?.get(at % RUN)
    }

    /// Nobody needs what comes before this number: the runs that nobody needs.
    fn trim(&mut self, before: u64) -> Vec<Vec<Appended>> {
        self.first = before.clamp(self.first, self.end());
        let runs = (self.first - self.oldest) as usize / RUN;
        self.oldest += (runs * RUN) as u64;
        self.runs.drain(..runs).collect()
    }
}

/// Drops them: many of them where nobody waits for it.
fn forget(runs: impl ExactSizeIterator<Item = Vec<Appended>> + Send + 'static) {
    if runs.len() > 1 {
        // Without a thread to spare they are dropped here and now.
        let _ = thread::Builder::new().name("longhaul-forget".into()).spawn(move || drop(runs));
    }
}

impl Log for MemoryLog {
    fn start(&self, from: LogPoint) -> Result<(), ApplicationError> {
        let first = from.records + 1;
        *self.lock() = Some(Kept { first, oldest: first, runs: VecDeque::new() });
        Ok(())
    }

    fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        let mut number = from.records + 1;
        loop {
            // Appending waits for one record at most, not for the encoding of a batch.
            let next = {
                let kept = self.lock();
                let kept = kept.as_ref().ok_or("no log is kept")?;
                if number < kept.first {
                    return Err("the log begins later".into());
                }
                kept.record(number).cloned()
            };
            let Some(Appended { sender, sequence, effect, bytes }) = next else { return Ok(()) };
            if !batch.record(sender, sequence, effect, &bytes) {
                return Ok(());
            }
            number += 1;
        }
    }

    fn trim(&self, before: LogPoint) {
        let runs = self.lock().as_mut().map(|kept| kept.trim(before.records + 1));
        forget(runs.unwrap_or_default().into_iter());
    }

    fn stop(&self) {
        let kept = self.lock().take();
        forget(kept.map(|kept| kept.runs).unwrap_or_default().into_iter());
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

    #[test]
    fn what_is_trimmed_is_forgotten_by_whole_runs_and_numbers_stay_what_they_are() {
        let log = MemoryLog::new();
        log.start(LogPoint { records: 5, bytes: 0 }).unwrap();
        let records = 3 * RUN as u64 + 7;
        for n in 0..records {
            log.append(SENDER, SequenceNumber(n), Effect::Write, &n.to_le_bytes());
        }
        let trimmed = 2 * RUN as u64 + 1;
        log.trim(LogPoint { records: 5 + trimmed, bytes: 0 });
        assert_eq!(log.len() as u64, records - trimmed);
        assert_eq!(log.lock().as_ref().unwrap().runs.len(), 2);
        let all = numbers(&log, 5 + trimmed, usize::MAX);
        assert_eq!(all, (6 + trimmed..6 + records).collect::<Vec<_>>());
        log.trim(LogPoint { records: 5 + trimmed - 1, bytes: 0 });
        assert_eq!(log.len() as u64, records - trimmed, "what is trimmed does not come back");
    }
}
