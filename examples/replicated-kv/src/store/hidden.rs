//! A copy that nobody sees yet: how a joiner builds it, by bulk and by log.

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;
use redb::Durability;

use super::Store;
use super::tables::{Batch, DATA, PREPARED};
use crate::error::Error;
use crate::record::{Change, TransactionId};

impl Store {
    /// Adds pairs of the bulk. They are durable with the next [`Store::make_durable`].
    ///
    /// # Errors
    /// If the disk fails.
    pub fn add_bulk<'a>(&self, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::None)?;
        {
            let mut data = transaction.open_table(DATA)?;
            for (key, value) in pairs {
                data.insert(key, value)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// All that was written so far is durable when it returns.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn make_durable(&self) -> Result<(), Error> {
        self.write(|_, _| Ok(()))
    }

    /// Makes changes that a log says were completed, in order, up to the record `last`; durable when it returns.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn add_completions(&self, changes: &[Change], last: SequenceNumber) -> Result<(), Error> {
        self.write(|transaction, point| {
            point.applied = last;
            Batch::open(transaction)?.write(changes)
        })
    }

    /// Adds transactions that are prepared and not ended; durable when it returns.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn add_prepares(&self, prepares: &[(TransactionId, Vec<Change>)]) -> Result<(), Error> {
        self.write(|transaction, _| {
            let mut batch = Batch::open(transaction)?;
            prepares.iter().try_for_each(|(prepared, changes)| batch.prepare(*prepared, changes))
        })
    }

    /// No transaction is prepared any more.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn forget_prepares(&self) -> Result<(), Error> {
        self.write(|transaction, _| {
            let mut prepared = transaction.open_table(PREPARED)?;
            prepared.retain(|_, _| false)?;
            Ok(())
        })
    }

    /// From now on the copy contains exactly the records of `order` up to `applied`, and none of them is in its log;
    /// durable when it returns.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn complete(&self, order: MemberId, applied: SequenceNumber) -> Result<(), Error> {
        self.write(|_, point| {
            point.order = Some(order);
            (point.applied, point.first) = (applied, SequenceNumber(applied.0 + 1));
            Ok(())
        })
    }
}
