//! A snapshot as a source: its pairs in the order of their keys, cut into pieces, each of which is an item.
//!
//! ```text
//! item      a file `pairs-N`; where they are wanted, `prepared-N` for each transaction N that is prepared; last the state itself
//! content   pairs: length of the key u16, length of the value u32, key, value; of what is prepared: its changes
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use longhaul::state::{SourceError, SourceErrorKind};
use longhaul::{Content, Item, Name, Piece, Progress, Shape, Source, Survey, Timestamp, Version, Walk, What};

use crate::bytes::{Malformed, Reader};
use crate::error::Error;
use crate::record::{TransactionId, encode_changes};
use crate::store::Snapshot;

/// Bytes of a piece, about: as much of it lies in memory at once.
pub(super) const PIECE_BYTES: u64 = 2 << 20;
/// The name of a piece, without its number.
const PREFIX: &str = "pairs-";
/// The name of what is prepared, without the transaction's.
pub(super) const PREPARED: &str = "prepared-";
/// Bytes before a key.
const HEAD: usize = 6;

/// The pairs of a snapshot.
pub(crate) struct Pieces {
    snapshot: Snapshot,
    /// Where each piece begins, and its bytes: found by the survey.
    cuts: Mutex<Option<Arc<[Cut]>>>,
    /// What is prepared, where it is a part of the state.
    prepared: Vec<(TransactionId, Arc<[u8]>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    from: Vec<u8>,
    bytes: u64,
}

impl Pieces {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, cuts: Mutex::new(None), prepared: Vec::new() }
    }

    /// The pairs, and what is prepared.
    ///
    /// # Errors
    /// If the disk fails.
    pub(crate) fn with_prepared(snapshot: Snapshot) -> Result<Self, Error> {
        let encode = |(transaction, changes): (TransactionId, Vec<_>)| {
            let mut bytes = Vec::new();
            encode_changes(&changes, &mut bytes);
            (transaction, bytes.into())
        };
        let prepared = snapshot.pending()?.into_iter().map(encode).collect();
        Ok(Self { prepared, ..Self::new(snapshot) })
    }

    fn prepared(&self, name: &str) -> Option<&Arc<[u8]>> {
        let number: u64 = name.strip_prefix(PREPARED)?.parse().ok()?;
        let found = self.prepared.iter().find(|(transaction, _)| transaction.0.0 == number);
        found.map(|(_, bytes)| bytes)
    }

    /// The snapshot never changes, so it is cut once.
    fn cuts(&self, progress: &dyn Progress) -> Result<Arc<[Cut]>, SourceError> {
        let mut known = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cuts) = &*known {
            return Ok(Arc::clone(cuts));
        }
        let mut cuts = Vec::<Cut>::new();
        let mut goes_on = true;
        let scanned = self.snapshot.scan(&[], |key, value| {
            let bytes = (HEAD + key.len() + value.len()) as u64;
            if let Some(cut) = cuts.last_mut().filter(|cut| cut.bytes + bytes <= PIECE_BYTES) {
                cut.bytes += bytes;
            } else {
                goes_on = progress.advance(cuts.len() as u64);
                cuts.push(Cut { from: key.to_vec(), bytes });
            }
            goes_on
        });
        scanned.map_err(SourceError::user)?;
        if !goes_on {
            return Err(SourceError::whole(SourceErrorKind::Stopped));
        }
        Ok(Arc::clone(known.insert(cuts.into())))
    }
}

impl Source for Pieces {
    fn survey(&self, progress: &dyn Progress) -> Result<Survey, SourceError> {
        let cuts = self.cuts(progress)?;
        let prepared: u64 = self.prepared.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let bytes = cuts.iter().map(|cut| cut.bytes).sum::<u64>() + prepared;
        let items = (cuts.len() + self.prepared.len()) as u64 + 1;
        let shape = Shape::Directory;
        Ok(Survey { shape, items, bytes: Some(bytes), allocated: bytes, ..Survey::default() })
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        let name = |transaction: TransactionId| format!("{PREPARED}{:020}", transaction.0.0);
        let prepared =
            self.prepared.iter().map(|(transaction, bytes)| (name(*transaction), bytes.len() as u64));
        let cuts = self.cuts(&())?;
        let pieces = cuts.iter().enumerate().map(|(number, cut)| (format!("{PREFIX}{number:06}"), cut.bytes));
        Ok(Box::new(Items { files: pieces.chain(prepared).collect(), next: 0 }))
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        let cuts = self.cuts(&())?;
        let unknown = || SourceError::item(item.name.clone(), SourceErrorKind::Missing);
        let name = str::from_utf8(item.name.as_bytes()).ok();
        if let Some(bytes) = name.and_then(|name| self.prepared(name)) {
            return Ok(Box::new(Pairs(Arc::clone(bytes))));
        }
        let name = name.and_then(|name| name.strip_prefix(PREFIX));
        let number: usize = name.and_then(|number| number.parse().ok()).ok_or_else(unknown)?;
        let cut = cuts.get(number).ok_or_else(unknown)?;
        let mut bytes = Vec::with_capacity(cut.bytes as usize);
        let scanned = self.snapshot.scan(&cut.from, |key, value| {
            if bytes.len() as u64 >= cut.bytes {
                return false;
            }
            bytes.extend((key.len() as u16).to_le_bytes());
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value);
            true
        });
        scanned.map_err(SourceError::user)?;
        Ok(Box::new(Pairs(bytes.into())))
    }
}

struct Items {
    /// Names and sizes.
    files: Vec<(String, u64)>,
    next: usize,
}

impl Walk for Items {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        let number = self.next;
        self.next += 1;
        let (name, what) = match self.files.get(number) {
            Some((name, size)) => {
                let name = Name::new(name.clone().into_bytes()).map_err(SourceError::user)?;
                (name, What::File { size: *size, linked: false, sparse: false })
            }
            None if number == self.files.len() => (Name::root(), What::Directory),
            None => return Ok(None),
        };
        Ok(Some(Item { name, mode: 0o700, mtime: Timestamp::default(), version: Version::default(), what }))
    }
}

/// One piece, in memory.
struct Pairs(Arc<[u8]>);

impl Content for Pairs {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(if len == 0 { Piece::End } else { Piece::Data(len) })
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }

    fn memory(&self, offset: u64, len: usize) -> Option<(Arc<[u8]>, std::ops::Range<usize>)> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        Some((Arc::clone(&self.0), start..start + len.min(self.0.len() - start)))
    }
}

/// A key and its value.
pub(super) type Pair<'a> = (&'a [u8], &'a [u8]);

/// The pairs of a piece.
///
/// # Errors
/// If it does not end with a pair's end.
pub(super) fn pairs(bytes: &[u8]) -> Result<Vec<Pair<'_>>, Error> {
    let mut reader = Reader::new(bytes);
    let mut pairs = Vec::new();
    while !reader.rest().is_empty() {
        let mut pair = || {
            let (key, value) = (reader.u16()?.into(), reader.u32()? as usize);
            Ok::<_, Malformed>((reader.take(key)?, reader.take(value)?))
        };
        pairs.push(pair()?);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use longhaul::MemberId;
    use longhaul_core::digest::SequenceNumber;

    use super::*;
    use crate::record::{Change, Key, Operation, Record, Value};
    use crate::store::{Keep, Store};

    fn write(store: &Store, change: impl Fn(usize) -> Change) {
        let sequence = SequenceNumber(store.applied().0 + 1);
        let operation = Operation::Write((0..100).map(change).collect());
        store.apply(&[Record { sequence, operation }], Keep::bytes(0, None)).unwrap();
    }

    fn content(source: &dyn Source) -> Vec<(Vec<u8>, Vec<u8>)> {
        let survey = source.survey(&()).unwrap();
        let (mut walk, mut items, mut all) = (source.walk().unwrap(), 0, Vec::new());
        while let Some(item) = walk.next().unwrap() {
            items += 1;
            let What::File { size, .. } = item.what else { continue };
            let mut bytes = vec![0; size as usize];
            let read = source.open(&item).unwrap().read_at(0, &mut bytes).unwrap();
            assert_eq!(read, Piece::Data(bytes.len()));
            all.extend(pairs(&bytes).unwrap().into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
        }
        assert_eq!(items, survey.items);
        all
    }

    // Catalogue: F45
    #[test]
    fn a_capture_stays_what_it_was_while_it_is_read_whatever_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state")).unwrap();
        store.belong_to(MemberId([1; 16])).unwrap();
        let key = |n: usize| Key::new(format!("key/{n:03}").as_bytes()).unwrap();
        write(&store, |n| Change { key: key(n), value: Some(Value::new(&[b'a'; 60_000]).unwrap()) });
        let source = Pieces::new(store.snapshot().unwrap());
        write(&store, |n| Change { key: key(n), value: (n > 50).then(|| Value::new(b"b").unwrap()) });
        let found = content(&source);
        assert!(source.cuts(&()).unwrap().len() > 2, "there are several pieces");
        let expected = (0..100).map(|n| (key(n).as_bytes().to_vec(), vec![b'a'; 60_000]));
        assert!(found.into_iter().eq(expected), "each pair once, as it was, in order");
        assert_eq!(content(&Pieces::new(store.snapshot().unwrap())).len(), 49);
    }

    #[test]
    fn a_piece_that_ends_within_a_pair_is_none() {
        let bytes = [1, 0, 2, 0, 0, 0, b'k', b'v', b'v'];
        assert_eq!(pairs(&bytes).unwrap(), [(&b"k"[..], &b"vv"[..])]);
        for cut in 1..bytes.len() {
            assert!(pairs(&bytes[..cut]).is_err(), "cut off at {cut}");
        }
    }
}
