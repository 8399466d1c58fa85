//! What longhaul asks of an application whose state is copied at one place of the order.

use std::sync::Arc;

use longhaul::live::{ApplicationError, Delivered, Latch, Snapshot as Captured, SnapshotId};
use longhaul::state::SourceError;
use longhaul::states::{Channel, Provide, Stage};
use longhaul::{MemberId, Sink, Source};
use longhaul_core::digest::SequenceNumber;

use crate::error::Error;
use crate::home::Home;
use crate::live::pieces::Pieces;
use crate::live::sink::PieceSink;
use crate::live::{Gate, digest};
use crate::member::Link;
use crate::record::Operation;
use crate::store::Snapshot;

/// The store, as copies see it.
pub(super) struct Application {
    pub(super) home: Arc<Home>,
    /// Whose records these are.
    pub(super) order: MemberId,
    /// Of the order, what will not come: only what is behind is heard.
    pub(super) heard: SequenceNumber,
    /// Where words are submitted; `None`: this is the primary, which joins nobody.
    pub(super) words: Option<Link>,
    /// Where records wait while they are held.
    pub(super) gate: Gate,
}

struct Capture(Snapshot);

impl Captured for Capture {
    fn digest(&self) -> Delivered {
        digest(self.0.order().unwrap_or_default(), self.0.applied())
    }

    fn source(&self, state_id: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
        if state_id.is_empty() {
            Ok(Arc::new(Pieces::with_prepared(self.0.clone()).map_err(SourceError::user)?))
        } else {
            Err(SourceError::user("there is only the whole state"))
        }
    }
}

impl Provide for Application {
    fn capture(&self, _state_id: &[u8]) -> Result<Arc<dyn Captured>, ApplicationError> {
        Ok(Arc::new(Capture(self.home.current()?.snapshot()?)))
    }
}

impl Stage for Application {
    fn stage(
        &self,
        _provider: MemberId,
        _snapshot: SnapshotId,
        _keep: bool,
    ) -> Result<Box<dyn Sink>, ApplicationError> {
        Ok(Box::new(PieceSink::new(self.home.stage()?)))
    }

    fn discard(&self) {
        self.home.discard();
    }

    fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
        let applied = digest.entry(self.order).ok_or("the state is of another primary")?.delivered();
        self.home.hidden().ok_or(Error::NoState)?.complete(self.order, applied)?;
        Ok(self.home.commit()?)
    }
}

impl Channel for Application {
    fn join(&self) -> Result<Delivered, ApplicationError> {
        Ok(digest(self.order, self.heard))
    }

    fn send(&self, word: &[u8]) -> Result<(), ApplicationError> {
        let words = self.words.as_ref().ok_or("the primary joins nobody")?;
        words.submit(Operation::Word(word.into()))?;
        Ok(())
    }
}

impl Latch for Application {
    fn reoffer(&self) {
        self.gate.open();
    }
}
