//! Which keys are locked: those of transactions that are prepared and not ended.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use longhaul_core::digest::SequenceNumber;

use crate::record::{Change, Key, Operation, TransactionId};

/// Why the primary does not order what was submitted. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A prepared transaction holds a key.
    Locked {
        /// Which key.
        key: Key,
        /// Which transaction.
        by: TransactionId,
    },
    /// No such transaction is prepared: it was ended before, or never prepared.
    Unknown(TransactionId),
    /// More transactions are prepared than there may be.
    Full,
    /// The primary is stopping.
    Stopping,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { key, by } => {
                write!(f, "{key} is locked by transaction {by}: COMMIT {by} or ROLLBACK {by} first")
            }
            Self::Unknown(transaction) => {
                write!(f, "transaction {transaction} is not prepared: PENDING lists those that are")
            }
            Self::Full => {
                write!(
                    f,
                    "{PREPARED_MAX} transactions are prepared: COMMIT or ROLLBACK some of PENDING first"
                )
            }
            Self::Stopping => f.write_str("the primary is stopping: try again in a moment"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Transactions that are prepared at once.
const PREPARED_MAX: usize = 1024;

/// The locks, as the next record finds them.
#[derive(Debug, Default)]
pub struct Locks {
    by_key: HashMap<Key, TransactionId>,
    by_transaction: BTreeMap<TransactionId, Vec<Key>>,
}

impl Locks {
    /// Takes the keys of a transaction.
    pub fn take(&mut self, transaction: TransactionId, changes: &[Change]) {
        let keys: Vec<_> = changes.iter().map(|change| change.key.clone()).collect();
        self.by_key.extend(keys.iter().map(|key| (key.clone(), transaction)));
        self.by_transaction.insert(transaction, keys);
    }

    /// Whether `operation` may be the record `sequence`; if so, the locks are as it leaves them.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&mut self, operation: &Operation, sequence: SequenceNumber) -> Result<(), Refusal> {
        match operation {
            Operation::Write(changes) => self.check(changes),
            Operation::Prepare(changes) => {
                self.check(changes)?;
                if self.by_transaction.len() >= PREPARED_MAX {
                    return Err(Refusal::Full);
                }
                self.take(TransactionId(sequence), changes);
                Ok(())
            }
            Operation::Commit(transaction) | Operation::Rollback(transaction) => self.release(*transaction),
            Operation::Word(_) => Ok(()),
        }
    }

    fn check(&self, changes: &[Change]) -> Result<(), Refusal> {
        let locked = |change: &Change| self.by_key.get(&change.key).map(|by| (change.key.clone(), *by));
        match changes.iter().find_map(locked) {
            Some((key, by)) => Err(Refusal::Locked { key, by }),
            None => Ok(()),
        }
    }

    fn release(&mut self, transaction: TransactionId) -> Result<(), Refusal> {
        let keys = self.by_transaction.remove(&transaction).ok_or(Refusal::Unknown(transaction))?;
        for key in keys {
            self.by_key.remove(&key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(keys: &[&str]) -> Vec<Change> {
        keys.iter().map(|key| Change { key: Key::new(key.as_bytes()).unwrap(), value: None }).collect()
    }

    #[test]
    fn a_prepared_transaction_holds_its_keys_until_it_ends() {
        let mut locks = Locks::default();
        let mut admit = |sequence, operation| locks.admit(&operation, SequenceNumber(sequence));
        let first = TransactionId(SequenceNumber(1));
        let locked = |key: &str| Err(Refusal::Locked { key: Key::new(key.as_bytes()).unwrap(), by: first });
        admit(1, Operation::Prepare(changes(&["a", "b"]))).unwrap();
        assert_eq!(admit(2, Operation::Write(changes(&["c", "b"]))), locked("b"));
        assert_eq!(admit(2, Operation::Prepare(changes(&["a"]))), locked("a"));
        assert_eq!(admit(2, Operation::Write(changes(&["c"]))), Ok(()));
        assert_eq!(admit(3, Operation::Commit(first)), Ok(()));
        assert_eq!(admit(4, Operation::Rollback(first)), Err(Refusal::Unknown(first)), "ended once");
        assert_eq!(admit(4, Operation::Write(changes(&["a", "b"]))), Ok(()));
    }

    #[test]
    fn a_transaction_that_changes_a_key_twice_releases_it() {
        let mut locks = Locks::default();
        locks.admit(&Operation::Prepare(changes(&["a", "a"])), SequenceNumber(1)).unwrap();
        locks.admit(&Operation::Rollback(TransactionId(SequenceNumber(1))), SequenceNumber(2)).unwrap();
        assert_eq!(locks.admit(&Operation::Write(changes(&["a"])), SequenceNumber(3)), Ok(()));
    }
}
