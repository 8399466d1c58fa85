//! One copy of the state in a redb file: what was applied and its place, in one step.
//!
//! ```text
//!             one redb transaction per batch of records
//!   data      key ▶ value             the effect
//!   prepared  sequence ▶ changes      what is prepared and not ended
//!   log       sequence ▶ operation    the records themselves, as far back as they are kept
//!   facts     order, point            whose records, and which of them are in all of the above
//! ```
//!
//! So a copy contains exactly the records up to its point, each once, whenever its process was killed.
//! Readers take a [`Snapshot`]: one transaction of the engine, and the point that belongs to it.

mod hidden;
mod log;
mod pins;
mod snapshot;
mod tables;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

pub use log::{Keep, LogPart};
pub use pins::{PIN_MAX, PinRefused, Pins};
pub use snapshot::Snapshot;

use self::tables::{Batch, DATA, FACTS, LOG, PREPARED, Point};
use crate::error::Error;
use crate::record::Record;

/// Memory for pages of one copy, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// One copy of the state.
pub struct Store {
    /// Closed once nobody has it: snapshots do, too.
    database: Arc<Database>,
    /// Held by who writes, one at a time.
    writer: Mutex<()>,
    /// What the last commit left.
    point: Mutex<Point>,
}

impl Store {
    /// Opens the copy at `path`, or makes an empty one. A copy whose process was killed is repaired first, which
    /// reads all of it.
    ///
    /// # Errors
    /// If it is no copy, another process has it, or the disk fails.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let database = Arc::new(Database::builder().set_cache_size(CACHE_BYTES).create(path)?);
        let transaction = database.begin_write()?;
        let point = tables::create(&transaction)?;
        transaction.commit()?;
        Ok(Self { database, writer: Mutex::new(()), point: Mutex::new(point) })
    }

    /// Whose records these are; `None` before the first was applied.
    #[must_use]
    pub fn order(&self) -> Option<MemberId> {
        self.lock().order
    }

    /// The last record that is in the copy.
    #[must_use]
    pub fn applied(&self) -> SequenceNumber {
        self.lock().applied
    }

    /// The first record that is kept in the log, or the one that will be.
    #[must_use]
    pub fn first_kept(&self) -> SequenceNumber {
        self.lock().first
    }

    /// Bytes of operations in the log.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.lock().log_bytes
    }

    /// From now on these are the records of `order`.
    ///
    /// # Errors
    /// [`Error::OtherOrder`] if they are somebody else's; if the disk fails.
    pub fn belong_to(&self, order: MemberId) -> Result<(), Error> {
        match self.order() {
            Some(here) if here == order => Ok(()),
            Some(here) => Err(Error::OtherOrder { here, there: order }),
            None => self.write(|_, point| {
                point.order = Some(order);
                Ok(())
            }),
        }
    }

    /// Applies records that follow on the last one, and keeps them in the log: all of them durably, or none.
    ///
    /// # Errors
    /// [`Error::Gap`], [`Error::NotPrepared`]; if the disk fails.
    pub fn apply(&self, records: &[Record], keep: Keep) -> Result<(), Error> {
        self.write(|transaction, point| {
            let mut batch = Batch::open(transaction)?;
            for record in records {
                batch.apply(record, point)?;
            }
            batch.trim(keep, point)
        })
    }

    /// The copy as it is now, whatever is applied later.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        Snapshot::take(&self.database)
    }

    fn read(&self) -> Result<ReadTransaction, Error> {
        Ok(self.database.begin_read()?)
    }

    /// One transaction: what `work` does, and the point that it leaves.
    fn write(
        &self,
        work: impl FnOnce(&WriteTransaction, &mut Point) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut point = *self.lock();
        let transaction = self.database.begin_write()?;
        work(&transaction, &mut point)?;
        tables::set_point(&transaction, &point)?;
        transaction.commit()?;
        *self.lock() = point;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Point> {
        self.point.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
