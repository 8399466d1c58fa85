//! The bulk of a capture, given to a joiner in an ordinary session: who asks for it by the transfer gets it.

use std::num::NonZeroU64;
use std::sync::Arc;

use longhaul_core::id::{SnapshotId, TransferId};
use longhaul_core::wire::APP_REPLY_MAX;
use longhaul_state::source::{Part, Progress, SourceErrorKind, Survey};
use longhaul_state::{Content, Item, Source, SourceError, Walk};

use crate::live::Snapshot;
use crate::watch::Watch;

/// A capture that is given to a joiner.
pub(crate) struct Given {
    id: SnapshotId,
    snapshot: Arc<dyn Snapshot>,
    /// The session, once the joiner has come for it.
    session: Option<Watch>,
    /// Bytes, items and units of work when it was looked at last.
    seen: (u64, u64, u64),
    /// Bytes that were sent when they were counted last.
    counted: u64,
}

/// Less than this is no progress.
const PROGRESS_BYTES: u64 = 64 << 10;

impl Given {
    pub(crate) const fn new(id: SnapshotId, snapshot: Arc<dyn Snapshot>) -> Self {
        Self { id, snapshot, session: None, seen: (0, 0, 0), counted: 0 }
    }

    pub(crate) fn is_of(&self, id: SnapshotId) -> bool {
        self.id == id
    }

    /// Whether it has come further since it was looked at last.
    pub(crate) fn has_moved(&mut self) -> bool {
        let Some(stats) = self.session.as_ref().map(Watch::stats) else { return false };
        let (bytes, items, work) = self.seen;
        let moved = stats.bytes >= bytes + PROGRESS_BYTES || stats.items != items || stats.work != work;
        if moved {
            self.seen = (stats.bytes, stats.items, stats.work);
        }
        moved
    }

    /// Bytes that were sent, and bytes in all, if known.
    pub(crate) fn moved(&self) -> Option<(u64, Option<u64>)> {
        let stats = self.session.as_ref()?.stats();
        Some((stats.bytes, stats.bytes_total))
    }

    /// A session has come for it. One that comes again after it was lost takes its place.
    pub(crate) fn to(&mut self, session: &Watch) -> Arc<dyn Snapshot> {
        self.session = Some(session.clone());
        Arc::clone(&self.snapshot)
    }

    /// Whether the joiner has come for it.
    pub(crate) const fn has_come(&self) -> bool {
        self.session.is_some()
    }

    /// Bytes that were sent since this was asked last.
    pub(crate) fn sent_since(&mut self) -> u64 {
        let Some(sent) = self.session.as_ref().map(|session| session.stats().bytes_sent) else { return 0 };
        // A session that took the place of a lost one counts anew.
        sent.saturating_sub(std::mem::replace(&mut self.counted, sent))
    }

    /// So many bytes a second at most.
    pub(crate) fn limit_rate(&self, bytes_per_second: Option<NonZeroU64>) {
        if let Some(session) = &self.session {
            session.limit_rate(bytes_per_second);
        }
    }

    /// It is given no longer.
    pub(crate) fn stop(&self) {
        if let Some(session) = &self.session {
            session.cancel();
        }
    }
}

/// What a session at a provider's door gives: the capture that its state id names.
pub(crate) struct Door(Box<Find>);

type Find = dyn Fn(TransferId) -> Option<Arc<dyn Snapshot>> + Send + Sync;

impl Door {
    /// `find` knows what is given under a transfer.
    pub(crate) fn new(
        find: impl Fn(TransferId) -> Option<Arc<dyn Snapshot>> + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(find))
    }

    fn given(&self, state_id: &[u8]) -> Option<Arc<dyn Snapshot>> {
        self.0(TransferId(state_id.try_into().ok()?))
    }

    fn nothing<T>() -> Result<T, SourceError> {
        Err(SourceError::whole(SourceErrorKind::Stopped))
    }
}

impl Source for Door {
    fn part(&self, state_id: &[u8], selector: &[u8]) -> Part {
        let Some(snapshot) = self.given(state_id) else {
            return Part::None(b"no capture is given under this transfer".to_vec());
        };
        match snapshot.source(selector) {
            Ok(source) => Part::Source(Arc::new(Held { source, _snapshot: snapshot })),
            Err(error) => {
                let mut why = error.to_string().into_bytes();
                why.truncate(APP_REPLY_MAX);
                Part::None(why)
            }
        }
    }

    fn survey(&self, _progress: &dyn Progress) -> Result<Survey, SourceError> {
        Self::nothing()
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        Self::nothing()
    }

    fn open(&self, _item: &Item) -> Result<Box<dyn Content>, SourceError> {
        Self::nothing()
    }
}

/// A source, and the capture that it reads from.
struct Held {
    source: Arc<dyn Source>,
    _snapshot: Arc<dyn Snapshot>,
}

impl Source for Held {
    fn survey(&self, progress: &dyn Progress) -> Result<Survey, SourceError> {
        self.source.survey(progress)
    }

    fn app_meta(&self) -> Vec<u8> {
        self.source.app_meta()
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        self.source.walk()
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        self.source.open(item)
    }
}
