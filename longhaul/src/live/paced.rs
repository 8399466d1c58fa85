//! What is sent to joiners goes as fast as the writers allow: bulks and log.

use std::num::NonZeroU64;
use std::sync::Arc;

use longhaul_core::id::TransferId;
use longhaul_core::time::Instant;
use longhaul_core::transfer::live::At;

use super::application::Snapshot;
use super::shared::{Shared, State};
use crate::member::giving::{Looked, per_second};
use crate::watch::Watch;

/// The last look.
#[derive(Debug, Default)]
pub(super) struct Paced {
    /// Where the log ended.
    log_end: u64,
}

impl Paced {
    /// Measures what was sent and logged since the last look, if it is time, and limits what is sent from now on.
    pub(super) fn look(&mut self, state: &mut State, now: Instant) {
        let is_sending = state.giving.sends() || state.sends_log();
        let State { giving, log_sent, .. } = state;
        let Some(looked) = giving.look(now, is_sending, || std::mem::take(log_sent)) else { return };
        let end = state.provider.as_ref().map_or(0, |machine| machine.log_end().bytes);
        let written = end.saturating_sub(std::mem::replace(&mut self.log_end, end));
        if let Looked::After(elapsed) = looked {
            // It follows only if it is sent more than is written.
            state.log_least = NonZeroU64::new(2 * per_second(written, elapsed));
        }
    }
}

impl Shared {
    /// A session has come for a capture.
    pub(super) fn give_to(
        self: &Arc<Self>,
        transfer: TransferId,
        session: &Watch,
    ) -> Option<Arc<dyn Snapshot>> {
        let mut state = self.lock();
        let snapshot = state.giving.come(transfer, session)?;
        self.drive(&mut state);
        Some(snapshot)
    }
}

impl State {
    /// Whether log moves to a joiner.
    fn sends_log(&self) -> bool {
        let mut follows = self.peers.values().filter_map(|peer| self.provider.as_ref()?.at(peer.transfer?));
        follows.any(|at| matches!(at, At::Following | At::Closing | At::Deciding))
    }

    /// Bytes of log a second that may be sent to a joiner.
    pub(super) fn log_limit(&self) -> Option<NonZeroU64> {
        self.giving.limit().map(|limit| self.log_least.map_or(limit, |least| limit.max(least)))
    }
}
