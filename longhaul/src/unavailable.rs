//! What stands in for a source or sink that could not be made, so that the peer hears why.

use std::sync::{Mutex, PoisonError};

use longhaul_core::id::ItemId;
use longhaul_state::sink::{SinkError, SinkErrorKind};
use longhaul_state::source::{Progress, SourceError, SourceErrorKind, Survey};
use longhaul_state::{Content, Item, Place, Sink, Source, Walk};

/// Fails with the error that it was made of, the first time that it is asked for anything.
pub(crate) struct Unavailable<E>(Mutex<Option<E>>);

impl<E> Unavailable<E> {
    pub(crate) fn new(error: E) -> Self {
        Self(Mutex::new(Some(error)))
    }

    fn take(&self) -> Option<E> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Unavailable<SourceError> {
    fn error(&self) -> SourceError {
        self.take().unwrap_or_else(|| SourceError::whole(SourceErrorKind::Stopped))
    }
}

impl Unavailable<SinkError> {
    fn error(&self) -> SinkError {
        self.take().unwrap_or_else(|| SinkError::whole(SinkErrorKind::Stopped))
    }
}

impl Source for Unavailable<SourceError> {
    fn survey(&self, _progress: &dyn Progress) -> Result<Survey, SourceError> {
        Err(self.error())
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        Err(self.error())
    }

    fn open(&self, _item: &Item) -> Result<Box<dyn Content>, SourceError> {
        Err(self.error())
    }
}

impl Sink for Unavailable<SinkError> {
    fn begin(&mut self, _survey: &Survey) -> Result<(), SinkError> {
        Err(self.error())
    }

    fn open(&mut self, _id: ItemId, _item: &Item) -> Result<Place, SinkError> {
        Err(self.error())
    }

    fn write(&mut self, _id: ItemId, _offset: u64, _bytes: &[u8]) -> Result<(), SinkError> {
        Err(self.error())
    }

    fn hole(&mut self, _id: ItemId, _offset: u64, _len: u64) -> Result<(), SinkError> {
        Err(self.error())
    }

    fn finish(&mut self, _id: ItemId, _len: u64) -> Result<(), SinkError> {
        Err(self.error())
    }

    fn discard(&mut self, _id: ItemId) -> Result<(), SinkError> {
        Err(self.error())
    }

    fn sync(&mut self, _progress: &dyn Progress) -> Result<(), SinkError> {
        Err(self.error())
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        Err(self.error())
    }

    fn abort(&mut self) {}
}
