//! The log: which records are kept, and how they are read.

use longhaul_core::digest::SequenceNumber;

use super::{LOG, Store, tables};
use crate::error::Error;
use crate::record::{Operation, Record};

/// What must stay of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// So many bytes of the newest records stay in any case.
    pub bytes: u64,
    /// Nothing behind this record is dropped: somebody holds a pin. `None`: nobody does.
    pub behind: Option<SequenceNumber>,
    /// Beyond so many bytes the oldest go even if they are pinned.
    pub at_most: u64,
}

impl Keep {
    /// Keeps so many bytes, and four times as many while somebody holds a pin.
    #[must_use]
    pub const fn bytes(bytes: u64, behind: Option<SequenceNumber>) -> Self {
        Self { bytes, behind, at_most: bytes.saturating_mul(4) }
    }

    /// Whether the first record may go, where the log has so many bytes.
    #[must_use]
    pub fn may_drop(&self, first: SequenceNumber, log_bytes: u64) -> bool {
        let is_pinned = self.behind.is_some_and(|behind| first > behind);
        log_bytes > if is_pinned { self.at_most } else { self.bytes }
    }
}

/// A stretch of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPart {
    /// Its records, encoded, each with its place.
    pub records: Vec<(SequenceNumber, Vec<u8>)>,
}

impl Store {
    /// Records from `from` on, of `max_bytes` together, but one at least if there is one.
    ///
    /// # Errors
    /// [`Error::LogTooShort`] if `from` is no longer kept; if the disk fails.
    pub fn read_log(&self, from: SequenceNumber, max_bytes: usize) -> Result<LogPart, Error> {
        let transaction = self.read()?;
        let point = tables::point_in(&transaction.open_table(super::FACTS)?)?;
        if from < point.first {
            return Err(Error::LogTooShort { needed: from, first: point.first });
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        for row in transaction.open_table(LOG)?.range(from.0..)? {
            let (sequence, operation) = row?;
            bytes += operation.value().len();
            if bytes > max_bytes && !records.is_empty() {
                break;
            }
            records.push((SequenceNumber(sequence.value()), operation.value().to_vec()));
        }
        Ok(LogPart { records })
    }
}

impl LogPart {
    /// The records, decoded.
    ///
    /// # Errors
    /// If they are not what was written.
    pub fn decode(&self) -> Result<Vec<Record>, Error> {
        let record = |(sequence, bytes): &(SequenceNumber, Vec<u8>)| {
            Ok(Record { sequence: *sequence, operation: Operation::decode(bytes)? })
        };
        self.records.iter().map(record).collect()
    }
}
