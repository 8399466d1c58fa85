//! A sink that checks everything that can be checked before the first byte, and goes no further.

use std::sync::{Arc, Mutex, PoisonError};

use longhaul_core::id::ItemId;
use longhaul_state::sink::{Resume, SinkErrorKind};
use longhaul_state::source::{Progress, Survey};
use longhaul_state::{Item, Place, Sink, SinkError};

/// Begins with the survey, then stops the session as if cancelled.
pub(crate) struct DryRun {
    sink: Box<dyn Sink>,
    survey: Arc<Mutex<Option<Survey>>>,
}

/// What the survey said, once it was heard and the destination can take it.
pub(crate) struct Heard(Arc<Mutex<Option<Survey>>>);

impl Heard {
    pub(crate) fn survey(&self) -> Option<Survey> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DryRun {
    pub(crate) fn new(sink: Box<dyn Sink>) -> (Self, Heard) {
        let survey = Arc::new(Mutex::new(None));
        (Self { sink, survey: Arc::clone(&survey) }, Heard(survey))
    }
}

fn stopped() -> SinkError {
    SinkError::whole(SinkErrorKind::Stopped)
}

impl Sink for DryRun {
    fn begin(&mut self, survey: &Survey) -> Result<(), SinkError> {
        self.sink.begin(survey)?;
        *self.survey.lock().unwrap_or_else(PoisonError::into_inner) = Some(*survey);
        Err(stopped())
    }

    fn open(&mut self, _id: ItemId, _item: &Item) -> Result<Place, SinkError> {
        Err(stopped())
    }

    fn write(&mut self, _id: ItemId, _offset: u64, _bytes: &[u8]) -> Result<(), SinkError> {
        Err(stopped())
    }

    fn hole(&mut self, _id: ItemId, _offset: u64, _len: u64) -> Result<(), SinkError> {
        Err(stopped())
    }

    fn finish(&mut self, _id: ItemId, _len: u64) -> Result<(), SinkError> {
        Err(stopped())
    }

    fn discard(&mut self, _id: ItemId) -> Result<(), SinkError> {
        Ok(())
    }

    fn sync(&mut self, _progress: &dyn Progress) -> Result<(), SinkError> {
        Err(stopped())
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        Err(stopped())
    }

    fn abort(&mut self) {
        self.sink.abort();
    }

    fn resuming(&mut self) -> Option<&mut dyn Resume> {
        self.sink.resuming()
    }
}

/// Whatever the transport does with a sink that stopped, nothing is left behind.
impl Drop for DryRun {
    fn drop(&mut self) {
        self.sink.abort();
    }
}
