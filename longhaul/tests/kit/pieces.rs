//! A capture's tables as items, and back. A fuzzy one looks at each table when it comes to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use longhaul::kit::{Check, SENDER};
use longhaul::live::{Delivered, Entry, SequenceNumber, Snapshot};
use longhaul::state::{SinkError, SourceError};
use longhaul::{
    Content, Item, ItemId, Name, Piece, Place, Progress, Shape, Sink, Source, Survey, Timestamp, Version,
    Walk, What,
};

use crate::engine::{Engine, State, TABLES, table_bytes, table_of};

/// The item that says how many completions there were.
const COMPLETED: &str = "completed";

type Tables = Arc<Mutex<State>>;

#[derive(Clone)]
pub(crate) struct Captured {
    taken: Tables,
    /// The engine's own.
    live: Tables,
    broken: Option<Check>,
    is_fuzzy: bool,
    delivered: u64,
}

impl Captured {
    pub(crate) fn new(engine: &Engine, taken: Tables, delivered: u64) -> Self {
        let (broken, is_fuzzy) = (engine.broken, engine.is_fuzzy);
        Self { taken, live: Arc::clone(&engine.state), broken, is_fuzzy, delivered }
    }

    fn reads_live(&self) -> bool {
        self.is_fuzzy || self.broken == Some(Check::CaptureUnderWrites)
    }

    /// A table as it is sent: that there is none is one byte less than no rows.
    fn table(&self, table: u8) -> Vec<u8> {
        let live = self.live.lock().unwrap();
        let is_gone = self.broken == Some(Check::CaptureUnderStructure) && !live.tables.contains_key(&table);
        let rows = if self.reads_live() {
            live.tables.get(&table).cloned()
        } else {
            drop(live);
            self.taken.lock().unwrap().tables.get(&table).cloned().filter(|_| !is_gone)
        };
        rows.map_or_else(Vec::new, |rows| [&[1], &table_bytes(&rows)[..]].concat())
    }
}

impl Snapshot for Captured {
    fn digest(&self) -> Delivered {
        let (mut digest, delivered) = (Delivered::new(), SequenceNumber(self.delivered));
        digest.insert(Entry::new(SENDER, delivered, delivered).unwrap()).unwrap();
        digest
    }

    fn source(&self, state_id: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
        assert!(state_id.is_empty());
        Ok(Arc::new(Pieces { captured: self.clone(), walked: Mutex::default() }))
    }
}

/// Items are told as the walk comes to them.
struct Pieces {
    captured: Captured,
    walked: Mutex<BTreeMap<Name, Arc<[u8]>>>,
}

impl Source for Pieces {
    fn survey(&self, _progress: &dyn Progress) -> Result<Survey, SourceError> {
        let surplus = u64::from(self.captured.broken == Some(Check::SourceWhole));
        let items = u64::from(TABLES) + 2 + surplus;
        Ok(Survey { shape: Shape::Directory, items, bytes: None, ..Survey::default() })
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        Ok(Box::new(Walking { pieces: self, next: 0 }))
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        let walked = self.walked.lock().unwrap();
        let bytes = walked.get(&item.name).ok_or_else(|| SourceError::user("there is no such table"))?;
        Ok(Box::new(Bytes(Arc::clone(bytes))))
    }
}

struct Walking<'a> {
    pieces: &'a Pieces,
    next: u8,
}

impl Walk for Walking<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        let captured = &self.pieces.captured;
        let number = self.next;
        self.next += 1;
        let (name, bytes) = match number {
            0..TABLES => (format!("table-{number}"), captured.table(number)),
            TABLES => {
                let completed = captured.taken.lock().unwrap().completed;
                (COMPLETED.to_owned(), completed.to_le_bytes().to_vec())
            }
            _ => return Ok((number == TABLES + 1).then(|| item(Name::root(), What::Directory))),
        };
        let name = Name::new(name.into_bytes()).unwrap();
        let size = bytes.len() as u64;
        self.pieces.walked.lock().unwrap().insert(name.clone(), bytes.into());
        Ok(Some(item(name, What::File { size, linked: false, sparse: false })))
    }
}

fn item(name: Name, what: What) -> Item {
    Item { name, mode: 0o700, mtime: Timestamp::default(), version: Version::default(), what }
}

struct Bytes(Arc<[u8]>);

impl Content for Bytes {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        // Little at a time: writes come in between.
        let rest = &self.0[offset as usize..];
        let len = rest.len().min(buffer.len()).min(64);
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(if len == 0 { Piece::End } else { Piece::Data(len) })
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Takes items into a hidden copy.
pub(crate) struct Landing {
    hidden: Tables,
    /// What everybody sees, which must not be touched.
    visible: Option<Tables>,
    open: BTreeMap<ItemId, (Name, Vec<u8>)>,
}

impl Landing {
    pub(crate) fn new(hidden: Tables, visible: Option<Tables>) -> Self {
        Self { hidden, visible, open: BTreeMap::new() }
    }
}

impl Sink for Landing {
    fn begin(&mut self, _survey: &Survey) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError> {
        self.open.insert(id, (item.name.clone(), Vec::new()));
        Ok(Place::Sink)
    }

    fn write(&mut self, id: ItemId, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let (_, content) = self.open.get_mut(&id).unwrap();
        content.resize(content.len().max(offset as usize + bytes.len()), 0);
        content[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn hole(&mut self, _id: ItemId, _offset: u64, _len: u64) -> Result<(), SinkError> {
        Err(SinkError::user("tables have no holes"))
    }

    fn finish(&mut self, id: ItemId, _len: u64) -> Result<(), SinkError> {
        let (name, bytes) = self.open.remove(&id).unwrap();
        let name = str::from_utf8(name.as_bytes()).unwrap();
        let mut hidden = self.hidden.lock().unwrap();
        if name == COMPLETED {
            hidden.completed = u64::from_le_bytes(bytes.try_into().unwrap());
        } else if let (Some(table), [1, rows @ ..]) = (name.strip_prefix("table-"), &bytes[..]) {
            hidden.tables.insert(table.parse().unwrap(), table_of(rows));
        }
        Ok(())
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.open.remove(&id);
        Ok(())
    }

    fn sync(&mut self, _progress: &dyn Progress) -> Result<(), SinkError> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        if let Some(visible) = &self.visible {
            visible.lock().unwrap().tables = self.hidden.lock().unwrap().tables.clone();
        }
        Ok(())
    }

    fn abort(&mut self) {
        self.open.clear();
    }
}
