//! Records and prepares as the bytes of one payload.
//!
//! ```text
//!  record   number u64  sender 16  sequence u64  effect u8  reserved 3  length u32  transaction 24  bytes
//!  prepare  transaction 24 (member 16, number u64)  length u32  reserved 4  bytes
//! ```
//!
//! All integers are little endian. The effects are 1 write, 2 commit, 3 rollback, 4 leave, whose member stands
//! where a transaction's does.

use longhaul_core::digest::SequenceNumber;
use longhaul_core::id::MemberId;
use longhaul_core::message::{Effect, Transaction};
use longhaul_core::transfer::LogPoint;
use longhaul_core::transfer::live::Record;
use longhaul_core::transfer::wire::PAYLOAD_MAX;

/// Bytes before a record's own.
pub(crate) const RECORD_HEAD: usize = 64;
const PREPARE_HEAD: usize = 32;

/// The longest record or prepare, in bytes of its own.
pub const RECORD_MAX: usize = PAYLOAD_MAX as usize - RECORD_HEAD;

/// A record of the log: which message completed something, and all that applying it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// Its number, sender and sequence number, and what it completed.
    pub record: Record,
    /// What the application wrote into its log: of a commit, the changes that were prepared too.
    pub bytes: &'a [u8],
}

/// A prepared transaction, and its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepare<'a> {
    /// Which.
    pub transaction: Transaction,
    /// What the application keeps of it.
    pub bytes: &'a [u8],
}

/// Takes the records of a log, or pending prepares, on their way to a joiner.
#[derive(Debug)]
pub struct Batch<'a> {
    out: &'a mut Vec<u8>,
    max_bytes: usize,
    /// No record behind this one is taken.
    last: u64,
    at: LogPoint,
    prepares: u32,
}

impl<'a> Batch<'a> {
    /// Behind `from`; one record always fits.
    pub(crate) fn new(out: &'a mut Vec<u8>, from: LogPoint, max_bytes: usize) -> Self {
        Self::up_to(u64::MAX, out, from, max_bytes)
    }

    /// Behind `from`, and up to the record of this number.
    pub(crate) fn up_to(last: u64, out: &'a mut Vec<u8>, from: LogPoint, max_bytes: usize) -> Self {
        out.clear();
        Self { out, max_bytes, last, at: from, prepares: 0 }
    }

    /// The next record: whose message, and the bytes that the log holds of it, as many as were told when the message was
    /// handled. `false`: it was not taken, and no more are.
    pub fn record(
        &mut self,
        sender: MemberId,
        sequence: SequenceNumber,
        effect: Effect,
        bytes: &[u8],
    ) -> bool {
        let len = RECORD_HEAD + bytes.len();
        let full = !self.out.is_empty() && self.out.len() + len > self.max_bytes;
        if full || bytes.len() > RECORD_MAX || self.at.records >= self.last {
            return false;
        }
        let (code, transaction) = code_of(effect);
        self.at = self.at.behind(len as u64);
        self.out.extend_from_slice(&self.at.records.to_le_bytes());
        self.out.extend_from_slice(&sender.0);
        self.out.extend_from_slice(&sequence.0.to_le_bytes());
        self.out.extend_from_slice(&[code, 0, 0, 0]);
        self.out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.out.extend_from_slice(&transaction.member.0);
        self.out.extend_from_slice(&transaction.number.to_le_bytes());
        self.out.extend_from_slice(bytes);
        true
    }

    /// A pending prepare. `false`: there is no room, for all of them travel at once ([`RECORD_MAX`] bytes).
    pub fn prepare(&mut self, transaction: Transaction, bytes: &[u8]) -> bool {
        if self.out.len() + PREPARE_HEAD + bytes.len() > self.max_bytes {
            return false;
        }
        self.out.extend_from_slice(&transaction.member.0);
        self.out.extend_from_slice(&transaction.number.to_le_bytes());
        self.out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.out.extend_from_slice(&[0; 4]);
        self.out.extend_from_slice(bytes);
        self.prepares += 1;
        true
    }

    /// Behind the last record that was taken.
    pub(crate) const fn end(&self) -> LogPoint {
        self.at
    }

    /// Prepares that were taken.
    pub(super) const fn prepares(&self) -> u32 {
        self.prepares
    }
}

fn code_of(effect: Effect) -> (u8, Transaction) {
    let none = Transaction { member: MemberId::default(), number: 0 };
    match effect {
        Effect::Write => (1, none),
        Effect::Commit(transaction) => (2, transaction),
        Effect::Rollback(transaction) => (3, transaction),
        Effect::Leave(member) => (4, Transaction { member, number: 0 }),
        // It completes nothing: it is no record of a log of completions.
        Effect::Prepare(transaction) => (5, transaction),
        Effect::Nothing => (6, none),
    }
}

fn effect_of(code: u8, transaction: Transaction) -> Option<Effect> {
    Some(match code {
        1 => Effect::Write,
        2 => Effect::Commit(transaction),
        3 => Effect::Rollback(transaction),
        4 => Effect::Leave(transaction.member),
        5 => Effect::Prepare(transaction),
        _ => return None,
    })
}

/// The records of a payload, each of which completes something; `None` where one is none.
pub(crate) fn records(bytes: &[u8]) -> impl Iterator<Item = Option<LogRecord<'_>>> {
    changes(bytes).map(|record| record.filter(|record| record.record.effect.completes()))
}

/// The records of a payload, each of which changes something, prepares too; `None` where one is none.
pub(crate) fn changes(mut bytes: &[u8]) -> impl Iterator<Item = Option<LogRecord<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let record = record(&mut bytes);
        if record.is_none() {
            bytes = &[];
        }
        Some(record)
    })
}

fn record<'a>(bytes: &mut &'a [u8]) -> Option<LogRecord<'a>> {
    let number = u64::from_le_bytes(take(bytes)?);
    let sender = MemberId(take(bytes)?);
    let sequence = SequenceNumber(u64::from_le_bytes(take(bytes)?));
    let [code, 0, 0, 0] = take(bytes)? else { return None };
    let len = u32::from_le_bytes(take(bytes)?);
    let effect = effect_of(code, transaction(bytes)?)?;
    let own = bytes.split_off(..len as usize)?;
    Some(LogRecord { record: Record { number, sender, sequence, effect }, bytes: own })
}

/// The prepares of a payload; `None` where one is none.
pub(crate) fn prepares(mut bytes: &[u8]) -> impl Iterator<Item = Option<Prepare<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let prepare = prepare(&mut bytes);
        if prepare.is_none() {
            bytes = &[];
        }
        Some(prepare)
    })
}

fn prepare<'a>(bytes: &mut &'a [u8]) -> Option<Prepare<'a>> {
    let transaction = transaction(bytes)?;
    let len = u32::from_le_bytes(take(bytes)?);
    let [0, 0, 0, 0] = take(bytes)? else { return None };
    Some(Prepare { transaction, bytes: bytes.split_off(..len as usize)? })
}

fn transaction(bytes: &mut &[u8]) -> Option<Transaction> {
    let member = MemberId(take(bytes)?);
    Some(Transaction { member, number: u64::from_le_bytes(take(bytes)?) })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: MemberId = MemberId([3; 16]);
    const TRANSACTION: Transaction = Transaction { member: MEMBER, number: 9 };

    #[test]
    fn records_come_out_as_they_went_in_and_a_part_of_one_is_none() {
        let effects = [
            Effect::Write,
            Effect::Commit(TRANSACTION),
            Effect::Rollback(TRANSACTION),
            Effect::Leave(MEMBER),
        ];
        let mut out = Vec::new();
        let mut batch = Batch::new(&mut out, LogPoint { records: 4, bytes: 40 }, 1 << 20);
        for (n, effect) in effects.into_iter().enumerate() {
            assert!(batch.record(MEMBER, SequenceNumber(n as u64), effect, &b"abc"[..n.min(3)]));
        }
        assert_eq!(batch.end(), LogPoint { records: 8, bytes: 40 + 4 * 64 + 1 + 2 + 3 });
        for (n, (taken, effect)) in records(&out).zip(effects).enumerate() {
            let (number, sequence) = (5 + n as u64, SequenceNumber(n as u64));
            let record = Record { number, sender: MEMBER, sequence, effect };
            assert_eq!(taken, Some(LogRecord { record, bytes: &b"abc"[..n.min(3)] }));
        }
        let whole: Vec<_> = records(&out).collect();
        for len in 0..out.len() {
            let cut: Vec<_> = records(&out[..len]).collect();
            let parts = cut.iter().take_while(|record| record.is_some()).count();
            assert_eq!(cut[..parts], whole[..parts]);
            assert!(parts < whole.len() && cut.len() <= parts + 1, "{len} bytes");
        }
    }

    #[test]
    fn what_completes_nothing_is_no_record() {
        for effect in [Effect::Prepare(TRANSACTION), Effect::Nothing] {
            let mut out = Vec::new();
            assert!(Batch::new(&mut out, LogPoint::default(), 100).record(
                MEMBER,
                SequenceNumber(1),
                effect,
                b""
            ));
            assert_eq!(records(&out).collect::<Vec<_>>(), [None]);
        }
    }

    #[test]
    fn prepares_come_out_as_they_went_in_and_all_must_have_room() {
        let mut out = Vec::new();
        let mut batch = Batch::new(&mut out, LogPoint::default(), 70);
        assert!(batch.prepare(TRANSACTION, b"abc"));
        assert!(batch.prepare(TRANSACTION, b"d") && !batch.prepare(TRANSACTION, b""));
        assert_eq!(batch.prepares(), 2);
        let one = |bytes| Some(Prepare { transaction: TRANSACTION, bytes });
        assert_eq!(prepares(&out).collect::<Vec<_>>(), [one(b"abc"), one(b"d")]);
        assert_eq!(prepares(&out[..out.len() - 1]).last(), Some(None));
    }
}
