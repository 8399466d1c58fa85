//! A sink that is lent to one attempt after the other until one begins with it.

use std::sync::{Arc, Mutex, PoisonError};

use longhaul_core::id::ItemId;
use longhaul_state::sink::Resume;
use longhaul_state::source::{Progress, Survey};
use longhaul_state::{Item, Place, Sink, SinkError};

/// Where the sink waits for the next attempt.
#[derive(Clone)]
pub(crate) struct Lender(Arc<Mutex<Option<Box<dyn Sink>>>>);

impl Lender {
    pub(crate) fn new(sink: Box<dyn Sink>) -> Self {
        Self(Arc::new(Mutex::new(Some(sink))))
    }

    /// The sink for one attempt; `None` if an earlier one has begun with it. An attempt that was
    /// turned away before [`Sink::begin`] gives it back when it drops it.
    pub(crate) fn lend(&self) -> Option<Box<dyn Sink>> {
        let sink = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Box::new(Lent { lender: self.clone(), sink: Some(sink), begun: false }))
    }
}

struct Lent {
    lender: Lender,
    /// There until the drop.
    sink: Option<Box<dyn Sink>>,
    begun: bool,
}

impl Lent {
    fn sink(&mut self) -> &mut dyn Sink {
        self.sink.as_mut().expect("it is taken by the drop alone").as_mut()
    }
}

impl Sink for Lent {
    fn begin(&mut self, survey: &Survey) -> Result<(), SinkError> {
        self.begun = true;
        self.sink().begin(survey)
    }

    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError> {
        self.sink().open(id, item)
    }

    fn write(&mut self, id: ItemId, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        self.sink().write(id, offset, bytes)
    }

    fn hole(&mut self, id: ItemId, offset: u64, len: u64) -> Result<(), SinkError> {
        self.sink().hole(id, offset, len)
    }

    fn finish(&mut self, id: ItemId, len: u64) -> Result<(), SinkError> {
        self.sink().finish(id, len)
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.sink().discard(id)
    }

    fn put(&mut self, id: ItemId, item: &Item, content: &[u8]) -> Result<(), SinkError> {
        self.sink().put(id, item, content)
    }

    fn upcoming(&mut self, files: &[(&Item, &[u8])]) -> usize {
        self.sink().upcoming(files)
    }

    fn sync(&mut self, progress: &dyn Progress) -> Result<(), SinkError> {
        self.sink().sync(progress)
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        self.sink().publish()
    }

    fn abort(&mut self) {
        if self.begun {
            self.sink().abort();
        }
    }

    fn app_reply(&self) -> Vec<u8> {
        self.sink.as_ref().map(|sink| sink.app_reply()).unwrap_or_default()
    }

    fn resuming(&mut self) -> Option<&mut dyn Resume> {
        self.sink().resuming()
    }

    fn caveat(&self) -> Option<&'static str> {
        self.sink.as_ref().and_then(|sink| sink.caveat())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.begun {
            *self.lender.0.lock().unwrap_or_else(PoisonError::into_inner) = self.sink.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longhaul_state::sink::MemorySink;
    use longhaul_state::source::Shape;

    #[test]
    fn a_sink_that_never_began_is_lent_again_and_one_that_began_is_not() {
        let lender = Lender::new(Box::new(MemorySink::new(9)));
        let mut turned_away = lender.lend().unwrap();
        assert!(lender.lend().is_none());
        turned_away.abort();
        drop(turned_away);
        let mut admitted = lender.lend().unwrap();
        admitted.begin(&Survey { shape: Shape::Stream, ..Survey::default() }).unwrap();
        drop(admitted);
        assert!(lender.lend().is_none());
    }
}
