//! A copy as it was at one moment: its state, and the place that belongs to it.

use std::sync::Arc;

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable};

use super::{DATA, FACTS, PREPARED, Point, tables};
use crate::bytes::Reader;
use crate::error::Error;
use crate::record::{Change, Key, TransactionId, decode_changes};

type Rows<K> = Arc<ReadOnlyTable<K, &'static [u8]>>;

/// A consistent view: exactly the records up to [`Snapshot::applied`]. Cheap to clone; the engine keeps the pages for
/// as long as one is held.
#[derive(Clone)]
pub struct Snapshot {
    point: Point,
    data: Rows<&'static [u8]>,
    prepared: Rows<u64>,
    /// Declared last, as it is closed last: what is read would be closed with it.
    _database: Arc<Database>,
}

impl Snapshot {
    pub(super) fn take(database: &Arc<Database>) -> Result<Self, Error> {
        let transaction = database.begin_read()?;
        Ok(Self {
            point: tables::point_in(&transaction.open_table(FACTS)?)?,
            data: Arc::new(transaction.open_table(DATA)?),
            prepared: Arc::new(transaction.open_table(PREPARED)?),
            _database: Arc::clone(database),
        })
    }

    /// The last record that is in it: its digest, for there is one sender.
    #[must_use]
    pub const fn applied(&self) -> SequenceNumber {
        self.point.applied
    }

    /// Whose records these are.
    #[must_use]
    pub const fn order(&self) -> Option<MemberId> {
        self.point.order
    }

    /// The value of a key.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn value(&self, key: &Key) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.data.get(key.as_bytes())?.map(|value| value.value().to_vec()))
    }

    /// Calls `each` with every pair whose key is at or behind `from`, in the order of the keys, until it says `false`.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn scan(&self, from: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), Error> {
        for row in self.data.range(from..)? {
            let (key, value) = row?;
            if !each(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }

    /// What is prepared and not ended, in the order of the prepares.
    ///
    /// # Errors
    /// If the disk fails, or holds something else than was written.
    pub fn pending(&self) -> Result<Vec<(TransactionId, Vec<Change>)>, Error> {
        let mut pending = Vec::new();
        for row in self.prepared.iter()? {
            let (sequence, changes) = row?;
            let changes = decode_changes(&mut Reader::new(changes.value()))?;
            pending.push((TransactionId(SequenceNumber(sequence.value())), changes));
        }
        Ok(pending)
    }

    /// The checksum of all that the copy contains, pending prepares too: copies of one state have one root.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn root(&self) -> Result<blake3::Hash, Error> {
        let mut hasher = blake3::Hasher::new();
        let part = |hasher: &mut blake3::Hasher, bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        self.scan(&[], |key, value| {
            part(&mut hasher, key);
            part(&mut hasher, value);
            true
        })?;
        // No key is empty: here the data ends.
        part(&mut hasher, &[]);
        for row in self.prepared.iter()? {
            let (sequence, changes) = row?;
            part(&mut hasher, &sequence.value().to_le_bytes());
            part(&mut hasher, changes.value());
        }
        Ok(hasher.finalize())
    }
}
