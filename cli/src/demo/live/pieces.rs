//! The map's pieces as the items of a state, and back.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use longhaul::state::{SinkError, SourceError};
use longhaul::{
    Content, Item, ItemId, Name, Piece as Read, Place, Progress, Shape, Sink, Source, Survey, Timestamp,
    Version, Walk, What,
};

use super::map::{PIECE_KEYS, Piece, VALUE_LEN, put};

/// A hidden copy.
pub(super) type Hidden = Vec<Arc<Piece>>;

const ENTRY_LEN: usize = 8 + VALUE_LEN;

/// The pieces of a capture: an item each.
pub(super) struct Pieces(pub(super) Vec<Arc<Piece>>);

impl Pieces {
    fn len(piece: &Piece) -> u64 {
        (piece.len() * ENTRY_LEN) as u64
    }
}

impl Source for Pieces {
    fn survey(&self, _progress: &dyn Progress) -> Result<Survey, SourceError> {
        let bytes = self.0.iter().map(|piece| Self::len(piece)).sum();
        // The pieces, and the state's own item that comes last.
        let items = self.0.len() as u64 + 1;
        Ok(Survey {
            shape: Shape::Directory,
            items,
            bytes: Some(bytes),
            allocated: bytes,
            ..Survey::default()
        })
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        let mut items = Vec::with_capacity(self.0.len() + 1);
        for (n, piece) in self.0.iter().enumerate() {
            let name = Name::new(format!("{n:06}").into_bytes()).map_err(SourceError::user)?;
            items.push(item(name, What::File { size: Self::len(piece), linked: false, sparse: false }));
        }
        items.push(item(Name::root(), What::Directory));
        Ok(Box::new(Items(items.into_iter())))
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        let piece = number(&item.name).and_then(|n| self.0.get(n));
        let piece = piece.ok_or_else(|| SourceError::user("there is no such piece"))?;
        let mut bytes = Vec::with_capacity(piece.len() * ENTRY_LEN);
        for (key, value) in piece.iter() {
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(value);
        }
        Ok(Box::new(Bytes(bytes.into())))
    }
}

fn item(name: Name, what: What) -> Item {
    Item { name, mode: 0o700, mtime: Timestamp::default(), version: Version::default(), what }
}

fn number(name: &Name) -> Option<usize> {
    std::str::from_utf8(name.as_bytes()).ok()?.parse().ok()
}

struct Items(std::vec::IntoIter<Item>);

impl Walk for Items {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        Ok(self.0.next())
    }
}

struct Bytes(Arc<[u8]>);

impl Content for Bytes {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Read, SourceError> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(if len == 0 { Read::End } else { Read::Data(len) })
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }

    fn memory(&self, offset: u64, len: usize) -> Option<(Arc<[u8]>, Range<usize>)> {
        let start = usize::try_from(offset).map_or(self.0.len(), |offset| offset.min(self.0.len()));
        Some((Arc::clone(&self.0), start..(start + len).min(self.0.len())))
    }
}

/// Takes pieces into a hidden copy, which is whole once it is published.
pub(super) struct PieceSink {
    hidden: Arc<Mutex<Hidden>>,
    open: BTreeMap<u32, Vec<u8>>,
    pieces: Hidden,
}

impl PieceSink {
    pub(super) fn new(hidden: Arc<Mutex<Hidden>>) -> Self {
        Self { hidden, open: BTreeMap::new(), pieces: Vec::new() }
    }
}

impl Sink for PieceSink {
    fn begin(&mut self, _survey: &Survey) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError> {
        if let What::File { size, .. } = item.what {
            let most = PIECE_KEYS * ENTRY_LEN as u64;
            if size > most {
                return Err(SinkError::user(format!("a piece has at most {most} bytes, not {size}")));
            }
            self.open.insert(id.0, vec![0; size as usize]);
        }
        Ok(Place::Sink)
    }

    fn write(&mut self, id: ItemId, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let piece = self.open.get_mut(&id.0).ok_or_else(|| SinkError::user("no piece is open"))?;
        let place = usize::try_from(offset).ok().and_then(|offset| piece.get_mut(offset..));
        let place = place.and_then(|place| place.get_mut(..bytes.len()));
        place.ok_or_else(|| SinkError::user("a write behind the end"))?.copy_from_slice(bytes);
        Ok(())
    }

    fn hole(&mut self, _id: ItemId, _offset: u64, _len: u64) -> Result<(), SinkError> {
        Err(SinkError::user("pieces have no holes"))
    }

    fn finish(&mut self, id: ItemId, _len: u64) -> Result<(), SinkError> {
        for entry in self.open.remove(&id.0).unwrap_or_default().chunks(ENTRY_LEN) {
            let (key, value) =
                entry.split_first_chunk().ok_or_else(|| SinkError::user("an entry has a key"))?;
            let key = u64::from_le_bytes(*key);
            // Pieces are numbered as their items are.
            if key / PIECE_KEYS != u64::from(id.0) {
                return Err(SinkError::user(format!("key {key} is of another piece")));
            }
            put(&mut self.pieces, key, value.into());
        }
        Ok(())
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.open.remove(&id.0);
        Ok(())
    }

    fn sync(&mut self, _progress: &dyn Progress) -> Result<(), SinkError> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        *hidden = std::mem::take(&mut self.pieces);
        Ok(())
    }

    fn abort(&mut self) {
        self.pieces.clear();
    }

    fn caveat(&self) -> Option<&'static str> {
        Some("this map lives in memory")
    }
}
