//! The tables of a copy, and what a record does to them.

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::log::Keep;
use crate::bytes::{Malformed, Reader};
use crate::error::Error;
use crate::record::{Change, Operation, Record, TransactionId, decode_changes, encode_changes};

pub(super) const DATA: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("data");
pub(super) const PREPARED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("prepared");
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(super) const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");

const POINT: &str = "point";

/// Whose records are in the copy, up to which, and which of them are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) order: Option<MemberId>,
    pub(super) applied: SequenceNumber,
    /// The first record in the log, or the one that will be.
    pub(super) first: SequenceNumber,
    pub(super) log_bytes: u64,
}

impl Point {
    pub(super) const EMPTY: Self =
        Self { order: None, applied: SequenceNumber::NONE, first: SequenceNumber::FIRST, log_bytes: 0 };

    fn to_bytes(self) -> Vec<u8> {
        let mut out = self.order.unwrap_or_default().0.to_vec();
        for number in [self.applied.0, self.first.0, self.log_bytes] {
            out.extend(number.to_le_bytes());
        }
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let order = MemberId(reader.array()?);
        let point = Self {
            order: (order != MemberId::default()).then_some(order),
            applied: SequenceNumber(reader.u64()?),
            first: SequenceNumber(reader.u64()?),
            log_bytes: reader.u64()?,
        };
        reader.end()?;
        Ok(point)
    }
}

/// Makes the tables that are not there yet, and reads the point.
pub(super) fn create(transaction: &WriteTransaction) -> Result<Point, Error> {
    transaction.open_table(DATA)?;
    transaction.open_table(PREPARED)?;
    transaction.open_table(LOG)?;
    let facts = transaction.open_table(FACTS)?;
    point_in(&facts)
}

pub(super) fn point_in(facts: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Point, Error> {
    match facts.get(POINT)? {
        Some(bytes) => Ok(Point::from_bytes(bytes.value())?),
        None => Ok(Point::EMPTY),
    }
}

pub(super) fn set_point(transaction: &WriteTransaction, point: &Point) -> Result<(), Error> {
    transaction.open_table(FACTS)?.insert(POINT, &*point.to_bytes())?;
    Ok(())
}

/// The tables, open in one transaction.
pub(super) struct Batch<'t> {
    data: Table<'t, &'static [u8], &'static [u8]>,
    prepared: Table<'t, u64, &'static [u8]>,
    log: Table<'t, u64, &'static [u8]>,
}

impl<'t> Batch<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, Error> {
        Ok(Self {
            data: transaction.open_table(DATA)?,
            prepared: transaction.open_table(PREPARED)?,
            log: transaction.open_table(LOG)?,
        })
    }

    /// Applies the next record, and logs it.
    pub(super) fn apply(&mut self, record: &Record, point: &mut Point) -> Result<(), Error> {
        if point.applied.next() != Some(record.sequence) {
            return Err(Error::Gap { applied: point.applied, came: record.sequence });
        }
        match &record.operation {
            Operation::Write(changes) => self.write(changes)?,
            Operation::Prepare(changes) => self.prepare(TransactionId(record.sequence), changes)?,
            Operation::Commit(transaction) => {
                let changes = self.end(*transaction)?;
                self.write(&changes)?;
            }
            Operation::Rollback(transaction) => {
                self.end(*transaction)?;
            }
            Operation::Word(_) => {}
        }
        let bytes = record.operation.to_bytes();
        self.log.insert(record.sequence.0, &*bytes)?;
        point.log_bytes += bytes.len() as u64;
        point.applied = record.sequence;
        Ok(())
    }

    pub(super) fn write(&mut self, changes: &[Change]) -> Result<(), Error> {
        for Change { key, value } in changes {
            match value {
                Some(value) => self.data.insert(key.as_bytes(), value.as_bytes())?,
                None => self.data.remove(key.as_bytes())?,
            };
        }
        Ok(())
    }

    pub(super) fn prepare(&mut self, transaction: TransactionId, changes: &[Change]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        encode_changes(changes, &mut bytes);
        self.prepared.insert(transaction.0.0, &*bytes)?;
        Ok(())
    }

    fn end(&mut self, transaction: TransactionId) -> Result<Vec<Change>, Error> {
        match self.prepared.remove(transaction.0.0)? {
            Some(bytes) => Ok(decode_changes(&mut Reader::new(bytes.value()))?),
            None => Err(Error::NotPrepared(transaction)),
        }
    }

    /// Drops records from the front of the log that need not be kept.
    pub(super) fn trim(&mut self, keep: Keep, point: &mut Point) -> Result<(), Error> {
        while keep.may_drop(point.first, point.log_bytes) {
            let Some((sequence, bytes)) = self.log.pop_first()? else { break };
            point.log_bytes -= bytes.value().len() as u64;
            point.first = SequenceNumber(sequence.value() + 1);
        }
        Ok(())
    }
}
