//! Sources and sinks that do something at a chosen step: fail, panic, wait, or meddle with files.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Prefix};
use longhaul_state::Item;
use longhaul_state::sink::{Agreed, Checkpoint, Kept, Place, Resume, Sink, SinkError};
use longhaul_state::source::{Content, Piece, Progress, Source, SourceError, Survey, Walk};

/// A step of a source's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Giving {
    /// [`Source::survey`].
    Survey,
    /// [`Source::walk`].
    Walk,
    /// [`Walk::next`].
    Next,
    /// [`Source::open`].
    Open,
    /// [`Content::read_at`], after it has read.
    Read,
    /// [`Content::close`].
    Close,
}

impl Giving {
    /// All steps.
    pub const ALL: [Self; 6] = [Self::Survey, Self::Walk, Self::Next, Self::Open, Self::Read, Self::Close];
}

type At = Arc<dyn Fn(Giving) -> Result<(), SourceError> + Send + Sync>;

/// A source that does something at each step, before the step itself (after it, for a read).
pub struct Meddled<S> {
    source: S,
    at: At,
}

impl<S: Source> Meddled<S> {
    /// `at` is called for every step of `source`.
    pub fn new(source: S, at: impl Fn(Giving) -> Result<(), SourceError> + Send + Sync + 'static) -> Self {
        Self { source, at: Arc::new(at) }
    }
}

impl<S: Source> Source for Meddled<S> {
    fn survey(&self, progress: &dyn Progress) -> Result<Survey, SourceError> {
        (self.at)(Giving::Survey)?;
        self.source.survey(progress)
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        (self.at)(Giving::Walk)?;
        Ok(Box::new(MeddledWalk { walk: self.source.walk()?, at: Arc::clone(&self.at) }))
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        (self.at)(Giving::Open)?;
        Ok(Box::new(MeddledContent { content: self.source.open(item)?, at: Arc::clone(&self.at) }))
    }
}

struct MeddledWalk<'a> {
    walk: Box<dyn Walk + 'a>,
    at: At,
}

impl Walk for MeddledWalk<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        (self.at)(Giving::Next)?;
        self.walk.next()
    }
}

struct MeddledContent {
    content: Box<dyn Content>,
    at: At,
}

impl Content for MeddledContent {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        let piece = self.content.read_at(offset, buffer)?;
        (self.at)(Giving::Read)?;
        Ok(piece)
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        (self.at)(Giving::Close)?;
        self.content.close()
    }
}

/// A step of a sink's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// [`Sink::begin`].
    Begin,
    /// [`Sink::open`].
    Open,
    /// [`Sink::write`].
    Write,
    /// [`Sink::finish`].
    Finish,
    /// [`Sink::put`].
    Put,
    /// [`Sink::sync`].
    Sync,
    /// [`Sink::publish`].
    Publish,
}

/// A sink that does something at each step, before the step itself.
pub struct MeddledSink<S> {
    sink: S,
    at: Box<dyn FnMut(Taking) -> Result<(), SinkError> + Send>,
}

impl<S: Sink> MeddledSink<S> {
    /// `at` is called for every step of `sink`.
    pub fn new(sink: S, at: impl FnMut(Taking) -> Result<(), SinkError> + Send + 'static) -> Self {
        Self { sink, at: Box::new(at) }
    }
}

impl<S: Sink> Sink for MeddledSink<S> {
    fn begin(&mut self, survey: &Survey) -> Result<(), SinkError> {
        (self.at)(Taking::Begin)?;
        self.sink.begin(survey)
    }

    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError> {
        (self.at)(Taking::Open)?;
        self.sink.open(id, item)
    }

    fn write(&mut self, id: ItemId, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        (self.at)(Taking::Write)?;
        self.sink.write(id, offset, bytes)
    }

    fn hole(&mut self, id: ItemId, offset: u64, len: u64) -> Result<(), SinkError> {
        self.sink.hole(id, offset, len)
    }

    fn finish(&mut self, id: ItemId, len: u64) -> Result<(), SinkError> {
        (self.at)(Taking::Finish)?;
        self.sink.finish(id, len)
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.sink.discard(id)
    }

    fn put(&mut self, id: ItemId, item: &Item, content: &[u8]) -> Result<(), SinkError> {
        (self.at)(Taking::Put)?;
        self.sink.put(id, item, content)
    }

    fn sync(&mut self, progress: &dyn Progress) -> Result<(), SinkError> {
        (self.at)(Taking::Sync)?;
        self.sink.sync(progress)
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        (self.at)(Taking::Publish)?;
        self.sink.publish()
    }

    fn abort(&mut self) {
        self.sink.abort();
    }

    fn resuming(&mut self) -> Option<&mut dyn Resume> {
        self.sink.resuming()
    }

    fn caveat(&self) -> Option<&'static str> {
        self.sink.caveat()
    }
}

/// How often a [`LazySink`] is asked once so much has come.
const LOOKS: u32 = 20;

/// A sink whose disk has nothing durable before `enough` bytes have landed, and then not at once. What had landed by the time
/// that something was claimed first is noted; nothing, if the end came before.
#[derive(Debug)]
pub struct LazySink {
    file: Arc<File>,
    enough: u64,
    looks: u32,
    is_begun: bool,
    noted: Arc<Mutex<Option<u64>>>,
}

impl LazySink {
    /// One that lands everything in `file`.
    #[must_use]
    pub fn new(file: File, enough: u64, noted: &Arc<Mutex<Option<u64>>>) -> Self {
        Self { file: Arc::new(file), enough, looks: 0, is_begun: false, noted: Arc::clone(noted) }
    }
}

impl Sink for LazySink {
    fn begin(&mut self, _: &Survey) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&mut self, _: ItemId, _: &Item) -> Result<Place, SinkError> {
        Ok(Place::File(Arc::clone(&self.file)))
    }

    fn write(&mut self, _: ItemId, _: u64, _: &[u8]) -> Result<(), SinkError> {
        Err(SinkError::user("everything goes into the file"))
    }

    fn hole(&mut self, _: ItemId, _: u64, _: u64) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self, _: ItemId, _: u64) -> Result<(), SinkError> {
        Ok(())
    }

    fn discard(&mut self, _: ItemId) -> Result<(), SinkError> {
        Ok(())
    }

    fn sync(&mut self, _: &dyn Progress) -> Result<(), SinkError> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn abort(&mut self) {}

    fn resuming(&mut self) -> Option<&mut dyn Resume> {
        Some(self)
    }
}

impl Resume for LazySink {
    fn holds(&self) -> bool {
        false
    }

    fn reopen(&mut self, _: ItemId, _: &Item, _: Integrity) -> Result<Option<Kept>, SinkError> {
        Ok(None)
    }

    fn vouch(&mut self, _: &Item, _: u64, _: &Checksum) -> Result<(), SinkError> {
        Ok(())
    }

    fn checkpoint(&mut self, _: &[(ItemId, Prefix)]) -> Result<Checkpoint, SinkError> {
        if !std::mem::replace(&mut self.is_begun, true) {
            return Ok(Checkpoint::Begun);
        }
        let landed = self.file.metadata().map_err(|_| SinkError::user("no such file"))?.blocks() * 512;
        self.looks += u32::from(landed >= self.enough);
        if self.looks < LOOKS {
            return Ok(Checkpoint::UnderWay);
        }
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(landed);
        self.is_begun = false;
        Ok(Checkpoint::Claimed { more: false })
    }

    fn doubt(&mut self, _: ItemId) -> Result<(), SinkError> {
        Ok(())
    }

    fn agreed(&mut self, _: Agreed) {}
}
