//! Sources and sinks that do something at a chosen step: fail, panic, wait, or meddle with files.

use std::sync::Arc;

use longhaul_core::id::ItemId;
use longhaul_state::Item;
use longhaul_state::sink::{Place, Resume, Sink, SinkError};
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
