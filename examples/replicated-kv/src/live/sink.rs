//! The bulk on its way into a hidden copy: a piece is gathered in memory, and stored once it is verified.

use std::collections::HashMap;
use std::sync::Arc;

use longhaul::state::{SinkError, SinkErrorKind};
use longhaul::{Item, ItemId, Name, Place, Progress, Shape, Sink, Survey, What};
use longhaul_core::digest::SequenceNumber;

use super::application::changes;
use super::pieces::{PIECE_BYTES, PREPARED, pairs};
use crate::record::{KEY_MAX, TransactionId, VALUE_MAX};
use crate::store::Store;

/// The longest piece: one pair may be longer than pieces usually are.
const PIECE_MAX: u64 = PIECE_BYTES + (KEY_MAX + VALUE_MAX) as u64 + 8;

/// Takes the pieces of a snapshot into a copy that nobody sees.
pub(crate) struct PieceSink {
    store: Arc<Store>,
    /// Pieces that come: memory is taken with their first bytes.
    open: HashMap<ItemId, (Name, Vec<u8>)>,
}

impl PieceSink {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, open: HashMap::new() }
    }
}

impl Sink for PieceSink {
    fn begin(&mut self, survey: &Survey) -> Result<(), SinkError> {
        if survey.shape != Shape::Directory {
            return Err(SinkError::whole(SinkErrorKind::OtherShape("a store, in pieces")));
        }
        Ok(())
    }

    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError> {
        match item.what {
            What::File { size, .. } if size <= PIECE_MAX => {
                self.open.insert(id, (item.name.clone(), Vec::new()));
            }
            What::Directory => {}
            _ => {
                return Err(SinkError::item(
                    item.name.clone(),
                    SinkErrorKind::User("it is no piece of a store".into()),
                ));
            }
        }
        Ok(Place::Sink)
    }

    fn write(&mut self, id: ItemId, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let (_, piece) = self.open.get_mut(&id).ok_or_else(|| SinkError::user("this piece is not open"))?;
        let end = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(bytes.len());
        if end as u64 > PIECE_MAX {
            return Err(SinkError::user("a piece is longer than it was said to be"));
        }
        if piece.len() < end {
            piece.resize(end, 0);
        }
        piece[end - bytes.len()..end].copy_from_slice(bytes);
        Ok(())
    }

    fn hole(&mut self, _id: ItemId, _offset: u64, _len: u64) -> Result<(), SinkError> {
        Err(SinkError::user("pieces have no holes"))
    }

    fn finish(&mut self, id: ItemId, _len: u64) -> Result<(), SinkError> {
        let Some((name, piece)) = self.open.remove(&id) else { return Ok(()) };
        let stored = match prepared(&name) {
            Some(transaction) => {
                changes(&piece).and_then(|changes| self.store.add_prepares(&[(transaction, changes)]))
            }
            None => pairs(&piece).and_then(|pairs| self.store.add_bulk(pairs.into_iter())),
        };
        stored.map_err(|error| SinkError::item(name, SinkErrorKind::User(error.into())))
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.open.remove(&id);
        Ok(())
    }

    fn sync(&mut self, _progress: &dyn Progress) -> Result<(), SinkError> {
        self.store.make_durable().map_err(SinkError::user)
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        // Whole now, and still hidden: the log and the prepares come next.
        Ok(())
    }

    fn abort(&mut self) {
        self.open.clear();
    }
}

/// The transaction whose changes an item with this name is.
fn prepared(name: &Name) -> Option<TransactionId> {
    let number = str::from_utf8(name.as_bytes()).ok()?.strip_prefix(PREPARED)?.parse().ok()?;
    Some(TransactionId(SequenceNumber(number)))
}
