//! What longhaul asks of an application: a capture, a log, a hidden copy, and where who is held waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use longhaul::live::{
    ApplicationError, Batch, Delivered, Effect, Latch, Log, LogPoint, LogRecord, Prepare, Provide,
    Snapshot as Captured, SnapshotId, SpilledLog, Stage, Transaction,
};
use longhaul::state::SourceError;
use longhaul::{MemberId, Sink, Source};
use longhaul_core::digest::SequenceNumber;

use super::digest;
use super::gate::Gate;
use super::pieces::Pieces;
use super::sink::PieceSink;
use crate::bytes::Reader;
use crate::error::Error;
use crate::home::Home;
use crate::record::{Change, TransactionId, decode_changes, encode_changes};
use crate::store::Snapshot;

/// The store, as live transfers see it.
pub struct Application {
    home: Arc<Home>,
    /// Completions, while somebody follows them.
    pub(super) log: SpilledLog,
    /// Where deliveries wait while they are held.
    pub(super) gate: Gate,
    pub(super) is_throttled: AtomicBool,
    /// Whose records are joined.
    pub(crate) order: Mutex<MemberId>,
}

impl Application {
    /// Of the copies in `home`; completions are kept in `log` for who joins.
    #[must_use]
    pub fn new(home: Arc<Home>, log: SpilledLog) -> Self {
        Self {
            home,
            log,
            gate: Gate::default(),
            is_throttled: AtomicBool::new(false),
            order: Mutex::default(),
        }
    }

    fn hidden(&self) -> Result<Arc<crate::store::Store>, Error> {
        self.home.hidden().ok_or(Error::NoState)
    }
}

struct Capture(Snapshot);

impl Captured for Capture {
    fn digest(&self) -> Delivered {
        digest(self.0.order().unwrap_or_default(), self.0.applied())
    }

    fn source(&self, state_id: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
        if state_id.is_empty() {
            Ok(Arc::new(Pieces::new(self.0.clone())))
        } else {
            Err(SourceError::user("there is only the whole state"))
        }
    }
}

impl Provide for Application {
    fn capture(&self) -> Result<Arc<dyn Captured>, ApplicationError> {
        Ok(Arc::new(Capture(self.home.current()?.snapshot()?)))
    }

    fn pending(&self, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        let snapshot = self.home.current()?.snapshot()?;
        let member = snapshot.order().unwrap_or_default();
        for (transaction, changes) in snapshot.pending()? {
            let mut bytes = Vec::new();
            encode_changes(&changes, &mut bytes);
            if !batch.prepare(Transaction { member, number: transaction.0.0 }, &bytes) {
                return Err("more is prepared than travels at once: end some transactions first".into());
            }
        }
        Ok(())
    }
}

impl Log for Application {
    fn start(&self, from: LogPoint) -> Result<(), ApplicationError> {
        self.log.start(from)
    }

    fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        self.log.read(from, batch)
    }

    fn trim(&self, before: LogPoint) {
        self.log.trim(before);
    }

    fn stop(&self) {
        self.log.stop();
    }
}

impl Stage for Application {
    fn stage(&self, _snapshot: SnapshotId, _keep: bool) -> Result<Box<dyn Sink>, ApplicationError> {
        Ok(Box::new(PieceSink::new(self.home.stage()?)))
    }

    fn apply(&self, records: &[LogRecord<'_>]) -> Result<(), ApplicationError> {
        let mut all = Vec::new();
        let mut last = SequenceNumber::NONE;
        for LogRecord { record, bytes } in records {
            last = record.sequence;
            if matches!(record.effect, Effect::Write | Effect::Commit(_)) {
                all.extend(changes(bytes)?);
            }
        }
        Ok(self.hidden()?.add_completions(&all, last)?)
    }

    fn prepare(&self, prepares: &[Prepare<'_>]) -> Result<(), ApplicationError> {
        let prepare = |prepare: &Prepare<'_>| {
            let id = TransactionId(SequenceNumber(prepare.transaction.number));
            Ok::<_, Error>((id, changes(prepare.bytes)?))
        };
        let all = prepares.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        Ok(self.hidden()?.add_prepares(&all)?)
    }

    fn forget_prepares(&self) -> Result<(), ApplicationError> {
        match self.home.hidden() {
            Some(hidden) => Ok(hidden.forget_prepares()?),
            None => Ok(()),
        }
    }

    fn discard(&self) {
        self.home.discard();
    }

    fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
        let order = *self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let applied = digest.entry(order).ok_or("the state is of another primary")?.delivered();
        self.hidden()?.complete(order, applied)?;
        Ok(self.home.commit()?)
    }
}

impl Latch for Application {
    fn reoffer(&self) {
        self.gate.open();
    }

    fn throttle(&self, on: bool) {
        self.is_throttled.store(on, Ordering::Relaxed);
    }
}

pub(super) fn changes(bytes: &[u8]) -> Result<Vec<Change>, Error> {
    let mut reader = Reader::new(bytes);
    let changes = decode_changes(&mut reader)?;
    reader.end()?;
    Ok(changes)
}
