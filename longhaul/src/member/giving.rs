//! The bulks that are given to joiners, as fast as the writers allow.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::id::{SnapshotId, TransferId};
use longhaul_core::time::Instant;

use super::give::Given;
use super::restraint::{Restraint, WINDOW};
use crate::live::Snapshot;
use crate::watch::Watch;

/// What a member gives.
#[derive(Default)]
pub(crate) struct Giving {
    given: BTreeMap<TransferId, Given>,
    restraint: Restraint,
    /// When it was looked at last.
    at: Option<Instant>,
}

/// A window of what was sent is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// The first since something moves.
    First,
    /// So long behind the last one.
    After(Duration),
}

impl Giving {
    /// Whether what is sent yields to the writers.
    pub(crate) fn new(yields: bool) -> Self {
        Self { restraint: Restraint::new(yields), ..Self::default() }
    }

    /// A capture is given under a transfer, instead of any other.
    pub(crate) fn give(&mut self, transfer: TransferId, given: Given) {
        if let Some(before) = self.given.insert(transfer, given) {
            before.stop();
        }
    }

    /// A session has come for a capture: it is limited from its beginning on.
    pub(crate) fn come(&mut self, transfer: TransferId, session: &Watch) -> Option<Arc<dyn Snapshot>> {
        let snapshot = self.given.get_mut(&transfer)?.to(session);
        self.restraint.begin();
        self.limit_sessions();
        Some(snapshot)
    }

    /// Nothing is given under this transfer any longer.
    pub(crate) fn stop(&mut self, transfer: TransferId) {
        if let Some(given) = self.given.remove(&transfer) {
            given.stop();
        }
    }

    /// Sessions of a capture that is dropped may still say goodbye.
    pub(crate) fn forget(&mut self, snapshot: SnapshotId) {
        self.given.retain(|_, given| !given.is_of(snapshot));
    }

    /// Sessions end by themselves.
    pub(crate) fn stop_all(&self) {
        self.given.values().for_each(Given::stop);
    }

    pub(crate) fn clear(&mut self) {
        self.given.clear();
    }

    /// The transfers whose bulk has come further since this was asked last.
    pub(crate) fn moved(&mut self) -> Vec<TransferId> {
        self.given.iter_mut().filter_map(|(transfer, given)| given.has_moved().then_some(*transfer)).collect()
    }

    /// Bytes of a transfer that were sent, and bytes in all, if known.
    pub(crate) fn sent(&self, transfer: TransferId) -> Option<(u64, Option<u64>)> {
        self.given.get(&transfer)?.moved()
    }

    /// Whether a joiner has come for a bulk.
    pub(crate) fn sends(&self) -> bool {
        self.given.values().any(Given::has_come)
    }

    /// A write took so long, as its writer sees it.
    pub(crate) fn note_write(&mut self, took: Duration) {
        self.restraint.note_write(took);
    }

    /// A turn took so long, the wait for it included.
    pub(crate) fn note_turn(&mut self, took: Duration) {
        self.restraint.note_turn(took);
    }

    /// How soon it must be looked at again; `None`: nothing is limited.
    pub(crate) fn look_within(&self) -> Option<Duration> {
        self.restraint.judges().then_some(WINDOW)
    }

    /// Bytes a second that may be sent to all joiners together.
    pub(crate) fn limit(&self) -> Option<NonZeroU64> {
        self.restraint.limit()
    }

    /// Measures what was sent since the last look, if it is time, and limits what is sent from now on. `others` tells whether
    /// anything but bulks is sent, and how many bytes of it were since it was asked last.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        is_sending: bool,
        others: impl FnOnce() -> u64,
    ) -> Option<Looked> {
        if !is_sending {
            self.at = None;
            self.restraint.end();
            return None;
        }
        let since = self.at.map(|at| now.since(at));
        if since.is_some_and(|since| since < WINDOW) {
            return None;
        }
        self.at = Some(now);
        let sent = self.given.values_mut().map(Given::sent_since).sum::<u64>() + others();
        let looked = if let Some(since) = since {
            self.restraint.beat(per_second(sent, since));
            Looked::After(since)
        } else {
            self.restraint.begin();
            Looked::First
        };
        self.limit_sessions();
        Some(looked)
    }

    /// Each session gets its part of what may be sent.
    fn limit_sessions(&self) {
        let sessions = self.given.values().filter(|given| given.has_come()).count().max(1) as u64;
        let limit = self.limit().and_then(|limit| NonZeroU64::new(limit.get().div_ceil(sessions)));
        self.given.values().for_each(|given| given.limit_rate(limit));
    }
}

/// So many bytes a second.
pub(crate) fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    (bytes as f64 / elapsed.as_secs_f64()) as u64
}
