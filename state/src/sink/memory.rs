//! States that land in memory, or nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use longhaul_core::id::ItemId;

use super::{Place, Published, Sink, SinkError, SinkErrorKind};
use crate::item::{Item, What};
use crate::source::{Progress, Shape, Survey};

/// Receives one file or stream into memory.
#[derive(Debug)]
pub struct MemorySink {
    limit: u64,
    bytes: Vec<u8>,
    open: Option<ItemId>,
    finished: bool,
    published: Published<Vec<u8>>,
}

impl MemorySink {
    /// A sink for at most `limit` bytes: what a peer claims is not a bound.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, bytes: Vec::new(), open: None, finished: false, published: Published::nothing() }
    }

    /// Where the bytes are once they are published.
    #[must_use]
    pub fn published(&self) -> Published<Vec<u8>> {
        self.published.clone()
    }

    fn check_room(&self, need: u64) -> Result<(), SinkError> {
        if need > self.limit {
            let kind = SinkErrorKind::NoSpace { need: Some(need), have: Some(self.limit) };
            return Err(SinkError::whole(kind));
        }
        Ok(())
    }

    /// Has memory for the first `end` bytes.
    fn reserve(&mut self, end: u64) -> Result<usize, SinkError> {
        self.check_room(end)?;
        let no_room = || SinkError::whole(SinkErrorKind::NoSpace { need: Some(end), have: None });
        let end = usize::try_from(end).map_err(|_| no_room())?;
        self.bytes.try_reserve(end.saturating_sub(self.bytes.len())).map_err(|_| no_room())?;
        Ok(end)
    }

    fn grow(&mut self, end: u64) -> Result<(), SinkError> {
        let end = self.reserve(end)?;
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        Ok(())
    }

    fn check_open(&self, id: ItemId) -> Result<(), SinkError> {
        if self.open == Some(id) { Ok(()) } else { Err(SinkError::user("this item is not open")) }
    }
}

/// The end of a stretch of an item.
fn end_of(offset: u64, len: u64) -> Result<u64, SinkError> {
    offset.checked_add(len).ok_or_else(|| SinkError::user("the offset is out of range"))
}

impl Sink for MemorySink {
    fn begin(&mut self, survey: &Survey) -> Result<(), SinkError> {
        if survey.shape == Shape::Directory {
            return Err(SinkError::whole(SinkErrorKind::OtherShape("memory for one file or stream")));
        }
        self.check_room(survey.bytes.unwrap_or(0))
    }

    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError> {
        if self.open.is_some() || self.finished || !item.name.is_root() {
            return Err(SinkError::item(item.name.clone(), SinkErrorKind::NameTaken));
        }
        match item.what {
            // Where there is no memory for all of it, nothing of it need come.
            What::File { size, .. } => {
                self.reserve(size)?;
            }
            What::Stream => {}
            _ => return Err(SinkError::whole(SinkErrorKind::OtherShape("memory for one file or stream"))),
        }
        self.open = Some(id);
        Ok(Place::Sink)
    }

    fn write(&mut self, id: ItemId, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        self.check_open(id)?;
        let end = end_of(offset, bytes.len() as u64)?;
        self.grow(end)?;
        // Both fit: the buffer is that long by now.
        self.bytes[offset as usize..end as usize].copy_from_slice(bytes);
        Ok(())
    }

    fn hole(&mut self, id: ItemId, offset: u64, len: u64) -> Result<(), SinkError> {
        self.check_open(id)?;
        self.grow(end_of(offset, len)?)
    }

    fn finish(&mut self, id: ItemId, len: u64) -> Result<(), SinkError> {
        self.check_open(id)?;
        self.grow(len)?;
        self.bytes.truncate(len as usize);
        self.open = None;
        self.finished = true;
        Ok(())
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.check_open(id)?;
        self.open = None;
        self.bytes.clear();
        Ok(())
    }

    fn sync(&mut self, _progress: &dyn Progress) -> Result<(), SinkError> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        if !std::mem::take(&mut self.finished) {
            return Err(SinkError::user("there is no finished item to publish"));
        }
        self.published.set(std::mem::take(&mut self.bytes));
        Ok(())
    }

    fn abort(&mut self) {
        self.bytes = Vec::new();
        self.open = None;
        self.finished = false;
    }
}

/// Takes any state, has it checked, and drops it.
#[derive(Debug, Default)]
pub struct DiscardSink(Arc<Discarded>);

/// What a [`DiscardSink`] was given.
#[derive(Debug, Default)]
pub struct Discarded {
    items: AtomicU64,
    bytes: AtomicU64,
}

impl Discarded {
    /// Items finished so far.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items.load(Ordering::Relaxed)
    }

    /// Bytes of content of the items finished so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl DiscardSink {
    /// A sink that has dropped nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts what passes.
    #[must_use]
    pub fn discarded(&self) -> Arc<Discarded> {
        Arc::clone(&self.0)
    }
}

impl Sink for DiscardSink {
    fn begin(&mut self, _survey: &Survey) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&mut self, _id: ItemId, _item: &Item) -> Result<Place, SinkError> {
        Ok(Place::Discard)
    }

    fn write(&mut self, _id: ItemId, _offset: u64, _bytes: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }

    fn hole(&mut self, _id: ItemId, _offset: u64, _len: u64) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self, _id: ItemId, len: u64) -> Result<(), SinkError> {
        self.0.items.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn discard(&mut self, _id: ItemId) -> Result<(), SinkError> {
        Ok(())
    }

    fn sync(&mut self, _progress: &dyn Progress) -> Result<(), SinkError> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn abort(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Name;

    const ID: ItemId = ItemId(0);

    fn file(size: u64) -> Item {
        Item { what: What::File { size, linked: false, sparse: true }, ..Item::stream() }
    }

    #[test]
    fn bytes_in_any_order_and_holes_are_there_after_publish_and_not_before() {
        let mut sink = MemorySink::new(100);
        let published = sink.published();
        sink.open(ID, &file(8)).unwrap();
        sink.write(ID, 4, b"ef").unwrap();
        sink.write(ID, 0, b"ab").unwrap();
        sink.hole(ID, 6, 2).unwrap();
        sink.finish(ID, 8).unwrap();
        assert_eq!(published.take(), None);
        sink.publish().unwrap();
        assert_eq!(published.take().unwrap(), b"ab\0\0ef\0\0");
    }

    // Catalogue: B42
    #[test]
    fn nothing_grows_beyond_the_limit_whatever_a_peer_claims() {
        let mut sink = MemorySink::new(10);
        let no_room = |result: Result<(), SinkError>| {
            assert!(matches!(result.unwrap_err().kind, SinkErrorKind::NoSpace { have: Some(10), .. }));
        };
        no_room(sink.begin(&Survey { shape: Shape::File, bytes: Some(11), ..Survey::default() }));
        no_room(sink.open(ID, &file(u64::MAX)).map(drop));
        sink.open(ID, &Item::stream()).unwrap();
        no_room(sink.write(ID, 10, b"x"));
        no_room(sink.hole(ID, 0, 11));
        assert!(sink.hole(ID, u64::MAX, 1).is_err());
    }

    // Catalogue: F53
    #[test]
    fn what_there_is_no_memory_for_is_refused_although_the_limit_allows_it() {
        let mut sink = MemorySink::new(u64::MAX);
        let no_room = |result: Result<(), SinkError>| {
            assert!(matches!(result.unwrap_err().kind, SinkErrorKind::NoSpace { have: None, .. }));
        };
        no_room(sink.open(ID, &file(1 << 50)).map(drop));
        sink.open(ID, &Item::stream()).unwrap();
        no_room(sink.hole(ID, 0, 1 << 50));
        no_room(sink.finish(ID, u64::MAX));
        sink.write(ID, 0, b"x").unwrap();
    }

    #[test]
    fn a_directory_a_second_item_and_an_unfinished_one_are_refused() {
        let mut sink = MemorySink::new(10);
        assert!(sink.begin(&Survey::default()).is_err());
        assert!(sink.open(ID, &Item { name: Name::new(*b"a").unwrap(), ..file(1) }).is_err());
        sink.open(ID, &file(1)).unwrap();
        assert!(sink.open(ItemId(1), &file(1)).is_err());
        assert!(sink.publish().is_err());
        sink.discard(ID).unwrap();
        sink.put(ID, &file(1), b"x").unwrap();
        sink.publish().unwrap();
        assert_eq!(sink.published().take().unwrap(), b"x");
    }

    #[test]
    fn what_is_discarded_is_counted() {
        let mut sink = DiscardSink::new();
        assert!(matches!(sink.open(ID, &file(3)).unwrap(), Place::Discard));
        sink.finish(ID, 3).unwrap();
        sink.put(ItemId(1), &file(2), b"ab").unwrap();
        assert_eq!((sink.discarded().items(), sink.discarded().bytes()), (2, 5));
    }
}
