//! What the primary orders: records, each with its place in the one sequence.
//!
//! ```text
//! operation  kind u8, then
//!   1 write     changes
//!   2 prepare   changes
//!   3 commit    sequence number of the prepare, u64
//!   4 rollback  sequence number of the prepare, u64
//!   5 word      bytes: what members say to each other at one place of the order, as MAKE_COPY
//! changes    count u32, each: 0 u8, key | 1 u8, key, value
//! key        length u16, bytes              value   length u32, bytes
//! ```
//!
//! All numbers are little endian. What comes from a disk or a peer is checked once, here.

use std::fmt;

use longhaul_core::digest::SequenceNumber;

use crate::bytes::{Malformed, Reader};

/// The longest key, in bytes.
pub const KEY_MAX: usize = 1024;
/// The longest value, in bytes.
pub const VALUE_MAX: usize = 64 << 10;
/// The most keys that one transaction changes.
pub const CHANGES_MAX: usize = 1024;
/// The most bytes of keys and values in one transaction.
pub const TRANSACTION_MAX: usize = 1 << 20;
/// The most bytes of a word.
pub const WORD_MAX: usize = 1024;
/// The longest operation, encoded.
pub const OPERATION_MAX: usize = TRANSACTION_MAX + CHANGES_MAX * 8 + 16;

/// A key: 1 to [`KEY_MAX`] bytes that are visible, so that a person can type and read them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<[u8]>);

impl Key {
    /// # Errors
    /// What a key must be.
    pub fn new(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.is_empty() || bytes.len() > KEY_MAX {
            return Err(Malformed("a key has 1 to 1024 bytes"));
        }
        if bytes.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
            return Err(Malformed("a key has no spaces and no control characters"));
        }
        Ok(Self(bytes.into()))
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// A value: at most [`VALUE_MAX`] bytes, none of them the end of a line.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Box<[u8]>);

impl Value {
    /// # Errors
    /// What a value must be.
    pub fn new(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > VALUE_MAX {
            return Err(Malformed("a value has at most 65536 bytes"));
        }
        if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return Err(Malformed("a value is one line"));
        }
        Ok(Self(bytes.into()))
    }

    /// The value's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What becomes of one key: a value, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which key.
    pub key: Key,
    /// Its new value; `None` deletes it.
    pub value: Option<Value>,
}

impl Change {
    /// Bytes of key and value.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.key.0.len() + self.value.as_ref().map_or(0, |value| value.0.len())
    }
}

/// A transaction that was prepared: the place of its prepare in the one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub SequenceNumber);

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a client wants done, and what a record does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A transaction in one record.
    Write(Vec<Change>),
    /// First phase: the changes are kept aside, and their keys locked.
    Prepare(Vec<Change>),
    /// Second phase: what was kept aside becomes part of the state.
    Commit(TransactionId),
    /// Second phase: what was kept aside is forgotten.
    Rollback(TransactionId),
    /// What a member says to all, at one place of the order. It changes nothing of the state.
    Word(Box<[u8]>),
}

impl Operation {
    /// Appends the operation's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Write(changes) => {
                out.push(1);
                encode_changes(changes, out);
            }
            Self::Prepare(changes) => {
                out.push(2);
                encode_changes(changes, out);
            }
            Self::Commit(transaction) => {
                out.push(3);
                out.extend(transaction.0.0.to_le_bytes());
            }
            Self::Rollback(transaction) => {
                out.push(4);
                out.extend(transaction.0.0.to_le_bytes());
            }
            Self::Word(word) => {
                out.push(5);
                out.extend_from_slice(word);
            }
        }
    }

    /// The operation's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let operation = match reader.u8()? {
            1 => Self::Write(decode_changes(&mut reader)?),
            2 => Self::Prepare(decode_changes(&mut reader)?),
            3 => Self::Commit(TransactionId(SequenceNumber(reader.u64()?))),
            4 => Self::Rollback(TransactionId(SequenceNumber(reader.u64()?))),
            5 => {
                let word = reader.rest();
                if word.len() > WORD_MAX {
                    return Err(Malformed("a word is longer than any"));
                }
                return Ok(Self::Word(word.into()));
            }
            _ => return Err(Malformed("an unknown kind of operation")),
        };
        reader.end()?;
        Ok(operation)
    }

    /// Bytes that it keeps in memory, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Write(changes) | Self::Prepare(changes) => {
                64 + changes.iter().map(|change| 64 + change.len_bytes()).sum::<usize>()
            }
            Self::Commit(_) | Self::Rollback(_) => 64,
            Self::Word(word) => 64 + word.len(),
        }
    }
}

/// Appends the bytes of changes.
pub fn encode_changes(changes: &[Change], out: &mut Vec<u8>) {
    out.extend((changes.len() as u32).to_le_bytes());
    for Change { key, value } in changes {
        out.push(u8::from(value.is_some()));
        out.extend((key.0.len() as u16).to_le_bytes());
        out.extend_from_slice(&key.0);
        if let Some(value) = value {
            out.extend((value.0.len() as u32).to_le_bytes());
            out.extend_from_slice(&value.0);
        }
    }
}

/// # Errors
/// What is wrong with the bytes.
pub fn decode_changes(reader: &mut Reader<'_>) -> Result<Vec<Change>, Malformed> {
    let count = reader.u32()? as usize;
    if count > CHANGES_MAX {
        return Err(Malformed("more than 1024 changes in one transaction"));
    }
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        let has_value = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("a change neither writes nor deletes")),
        };
        let len = reader.u16()?.into();
        let key = Key::new(reader.take(len)?)?;
        let value = if has_value {
            let len = reader.u32()? as usize;
            Some(Value::new(reader.take(len)?)?)
        } else {
            None
        };
        changes.push(Change { key, value });
    }
    Ok(changes)
}

/// An operation at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The place, from 1 on without a gap.
    pub sequence: SequenceNumber,
    /// What it does.
    pub operation: Operation,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, value: Option<&str>) -> Change {
        let value = value.map(|value| Value::new(value.as_bytes()).unwrap());
        Change { key: Key::new(key.as_bytes()).unwrap(), value }
    }

    #[test]
    fn an_operation_is_its_bytes() {
        let changes = vec![change("a", Some("1")), change("b", None), change("c", Some(""))];
        let transaction = TransactionId(SequenceNumber(u64::MAX));
        for operation in [
            Operation::Write(changes.clone()),
            Operation::Prepare(changes),
            Operation::Write(Vec::new()),
            Operation::Commit(transaction),
            Operation::Rollback(transaction),
        ] {
            let bytes = operation.to_bytes();
            assert_eq!(Operation::decode(&bytes), Ok(operation));
            for cut in 0..bytes.len() {
                assert!(Operation::decode(&bytes[..cut]).is_err(), "cut off at {cut}");
            }
            assert!(Operation::decode(&[&bytes[..], &[0]].concat()).is_err(), "too long");
        }
    }

    #[test]
    fn what_no_client_could_have_written_is_refused() {
        let key_with_space = [1, 1, 0, 0, 0, 0, 1, 0, b' '];
        assert_eq!(
            Operation::decode(&key_with_space),
            Err(Malformed("a key has no spaces and no control characters"))
        );
        let many = [&[1][..], &u32::MAX.to_le_bytes()].concat();
        assert_eq!(Operation::decode(&many), Err(Malformed("more than 1024 changes in one transaction")));
        assert!(Operation::decode(&[5; WORD_MAX + 2]).is_err());
        assert_eq!(Operation::decode(&[5, 1, 2]), Ok(Operation::Word([1, 2].into())));
        assert!(Key::new(&[b'k'; KEY_MAX + 1]).is_err() && Key::new(b"").is_err());
        assert!(Value::new(&[b'v'; VALUE_MAX + 1]).is_err() && Value::new(b"two\nlines").is_err());
    }
}
