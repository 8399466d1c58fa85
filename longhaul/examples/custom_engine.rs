//! A small storage engine as source and sink: append-only segments of one process, each sealed by a
//! manifest. The provider's segments become the joiner's in one step.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul::state::{SinkError, SourceError};
use longhaul::{
    Content, Item, ItemId, Name, Piece, Place, Progress, Serve, Shape, Sink, Source, Survey, Timestamp,
    Version, Walk, What,
};

/// Sealed segments by name; they never change, so a capture is a copy of the list.
type Segments = BTreeMap<String, Arc<[u8]>>;

/// Appends records to a segment, seals it when it is full, and begins the next.
#[derive(Clone, Default)]
struct Engine(Arc<Mutex<Store>>);

#[derive(Default)]
struct Store {
    sealed: Segments,
    open: Vec<u8>,
}

const SEGMENT_LEN: usize = 64 << 10;

impl Engine {
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, record: &[u8]) {
        let mut store = self.lock();
        store.open.extend_from_slice(record);
        if store.open.len() >= SEGMENT_LEN {
            Self::seal(&mut store);
        }
    }

    fn seal(store: &mut Store) {
        let bytes = std::mem::take(&mut store.open);
        if !bytes.is_empty() {
            let name = format!("{:06}.segment", store.sealed.len());
            store.sealed.insert(name, bytes.into());
        }
    }

    /// What a session gives: what is sealed now, whatever is appended later.
    fn capture(&self) -> Capture {
        let mut store = self.lock();
        Self::seal(&mut store);
        Capture(store.sealed.clone())
    }
}

struct Capture(Segments);

impl Source for Capture {
    fn survey(&self, _progress: &dyn Progress) -> Result<Survey, SourceError> {
        let bytes = self.0.values().map(|segment| segment.len() as u64).sum();
        // The segments, and the state's own item that comes last.
        let items = self.0.len() as u64 + 1;
        Ok(Survey {
            shape: Shape::Directory,
            items,
            bytes: Some(bytes),
            allocated: bytes,
            longest_name: self.0.keys().map(|name| name.len() as u16).max().unwrap_or(0),
            ..Survey::default()
        })
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        let root = item(Name::root(), What::Directory);
        let mut items = Vec::new();
        for (name, bytes) in &self.0 {
            let name = Name::new(name.as_bytes()).map_err(SourceError::user)?;
            items.push(item(name, What::File { size: bytes.len() as u64, linked: false, sparse: false }));
        }
        items.push(root);
        Ok(Box::new(Items(items.into_iter())))
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        let name = String::from_utf8_lossy(item.name.as_bytes());
        let bytes = self.0.get(&*name).ok_or_else(|| SourceError::user("no such segment"))?;
        Ok(Box::new(Segment(Arc::clone(bytes))))
    }
}

fn item(name: Name, what: What) -> Item {
    Item { name, mode: 0o700, mtime: Timestamp::default(), version: Version::default(), what }
}

struct Items(std::vec::IntoIter<Item>);

impl Walk for Items {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        Ok(self.0.next())
    }
}

struct Segment(Arc<[u8]>);

impl Content for Segment {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(if len == 0 { Piece::End } else { Piece::Data(len) })
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Gathers segments; the engine sees none of them before they are published.
struct Landing {
    engine: Engine,
    open: BTreeMap<u32, (String, Vec<u8>)>,
    staged: Segments,
}

impl Sink for Landing {
    fn begin(&mut self, survey: &Survey) -> Result<(), SinkError> {
        if survey.bytes.is_none_or(|bytes| bytes > 1 << 30) {
            return Err(SinkError::user("this engine takes at most 1 GiB"));
        }
        Ok(())
    }

    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError> {
        if !item.name.is_root() {
            let name = String::from_utf8(item.name.as_bytes().to_vec()).map_err(SinkError::user)?;
            self.open.insert(id.0, (name, Vec::new()));
        }
        Ok(Place::Sink)
    }

    fn write(&mut self, id: ItemId, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let (_, content) = self.open.get_mut(&id.0).ok_or_else(|| SinkError::user("not open"))?;
        let end = usize::try_from(offset).map_err(SinkError::user)? + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[end - bytes.len()..end].copy_from_slice(bytes);
        Ok(())
    }

    fn hole(&mut self, _id: ItemId, _offset: u64, _len: u64) -> Result<(), SinkError> {
        Err(SinkError::user("segments have no holes"))
    }

    fn finish(&mut self, id: ItemId, _len: u64) -> Result<(), SinkError> {
        if let Some((name, content)) = self.open.remove(&id.0) {
            self.staged.insert(name, content.into());
        }
        Ok(())
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.open.remove(&id.0);
        Ok(())
    }

    fn sync(&mut self, _progress: &dyn Progress) -> Result<(), SinkError> {
        // An engine with a disk writes its segments and its manifest durably here.
        Ok(())
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        self.engine.lock().sealed = std::mem::take(&mut self.staged);
        Ok(())
    }

    fn abort(&mut self) {
        self.open.clear();
        self.staged.clear();
    }

    fn caveat(&self) -> Option<&'static str> {
        Some("this engine lives in memory")
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (old, new) = (Engine::default(), Engine::default());
    for n in 0..100_000_u32 {
        old.append(format!("record {n}\n").as_bytes());
    }

    let engine = old.clone();
    let provider = Serve::sources(move || Ok(Arc::new(engine.capture()))).listen("127.0.0.1:0").start()?;
    let sink = Landing { engine: new.clone(), open: BTreeMap::new(), staged: Segments::new() };
    let summary = longhaul::fetch(provider.local_addr().to_string()).into_sink(Box::new(sink)).wait()?;

    assert_eq!(old.lock().sealed, new.lock().sealed);
    println!("{} segments, {} bytes, root {}", new.lock().sealed.len(), summary.bytes, summary.root);
    Ok(())
}
