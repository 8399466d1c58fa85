//! What is sent to joiners goes as fast as the writers allow, and is measured.

use std::num::NonZeroU64;
use std::sync::Arc;

use longhaul_core::id::TransferId;
use longhaul_core::time::Instant;
use longhaul_core::transfer::live::At;

use super::application::Snapshot;
use super::give::Given;
use super::restraint::WINDOW;
use super::shared::{Shared, State};
use crate::watch::Watch;

/// The last look.
#[derive(Debug, Default)]
pub(super) struct Paced {
    at: Option<Instant>,
    /// Where the log ended.
    log_end: u64,
}

impl Paced {
    /// Measures what was sent and logged since the last look, if it is time, and limits what is sent from now on.
    pub(super) fn look(&mut self, state: &mut State, now: Instant) {
        if !state.sends() {
            self.at = None;
            return state.restraint.end();
        }
        let elapsed = self.at.map_or(WINDOW, |at| now.since(at));
        if elapsed < WINDOW {
            return;
        }
        let end = state.provider.as_ref().map_or(0, |machine| machine.log_end().bytes);
        let (sent, written) = (state.sent_since(), end.saturating_sub(self.log_end));
        let per_second = |bytes: u64| (bytes as f64 / elapsed.as_secs_f64()) as u64;
        if self.at.is_some() {
            state.restraint.beat(per_second(sent));
            // It follows only if it is sent more than is written.
            state.log_least = NonZeroU64::new(2 * per_second(written));
        } else {
            state.restraint.begin();
        }
        (self.at, self.log_end) = (Some(now), end);
        state.limit_sessions();
    }
}

impl Shared {
    /// A session has come for a capture: it is limited from its beginning on.
    pub(super) fn give_to(
        self: &Arc<Self>,
        transfer: TransferId,
        session: &Watch,
    ) -> Option<Arc<dyn Snapshot>> {
        let mut state = self.lock();
        let snapshot = state.giving.get_mut(&transfer)?.to(session);
        state.restraint.begin();
        state.limit_sessions();
        self.drive(&mut state);
        Some(snapshot)
    }
}

impl State {
    /// Whether anything moves to a joiner.
    fn sends(&self) -> bool {
        let follows = self.peers.values().filter_map(|peer| self.provider.as_ref()?.at(peer.transfer?));
        self.giving.values().any(Given::has_come)
            || follows.into_iter().any(|at| matches!(at, At::Following | At::Closing | At::Deciding))
    }

    /// Bytes that were sent since this was asked last.
    fn sent_since(&mut self) -> u64 {
        let bulk: u64 = self.giving.values_mut().map(Given::sent_since).sum();
        bulk + std::mem::take(&mut self.log_sent)
    }

    /// Each session gets its part of what may be sent.
    pub(super) fn limit_sessions(&self) {
        let sessions = self.giving.values().filter(|given| given.has_come()).count().max(1) as u64;
        let limit = self.restraint.limit().and_then(|limit| NonZeroU64::new(limit.get().div_ceil(sessions)));
        self.giving.values().for_each(|given| given.limit_rate(limit));
    }

    /// Bytes of log a second that may be sent to a joiner.
    pub(super) fn log_limit(&self) -> Option<NonZeroU64> {
        self.restraint.limit().map(|limit| self.log_least.map_or(limit, |least| limit.max(least)))
    }
}
