//! What people see of a member's live transfers.

use std::fmt::Debug;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use longhaul_core::id::MemberId;
use longhaul_core::transfer::Decision;
use longhaul_core::transfer::live::{Failure, State};
use longhaul_core::transfer::wire::Refusal;

use super::pace::Pace;

/// Something that happened at a member: as provider, or as joiner.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Provider: a joiner was admitted.
    Admitted {
        /// Who.
        member: MemberId,
    },
    /// Provider: the state is captured.
    Captured {
        /// How long nothing was delivered for it.
        held: Duration,
    },
    /// Provider: how a joiner comes along; four times a second at most.
    Pace(Pace),
    /// Provider: a joiner has the bulk, and follows the log.
    Following {
        /// Who.
        member: MemberId,
    },
    /// Provider: the log does not shrink, and the policy is applied.
    CannotConverge {
        /// Who can't follow.
        member: MemberId,
        /// Bytes that are logged a second.
        written_per_second: u64,
        /// Bytes that the joiner applies a second.
        applied_per_second: u64,
    },
    /// Provider: the latch has opened.
    LatchOpened {
        /// From its first sign to now.
        held: Duration,
        /// From the first message or request that was held to now; zero if there was none.
        delayed: Duration,
    },
    /// Provider: the outcome of an epoch is recorded.
    Decided {
        /// Whose.
        member: MemberId,
        /// How it ended.
        decision: Decision,
    },
    /// Provider: a joiner was refused, or given up.
    Released {
        /// Who.
        member: MemberId,
        /// Why; `None`: it gave up itself.
        why: Option<Refusal>,
    },
    /// Joiner: it has come to another phase.
    Phase(State),
    /// Joiner: a try is over without a state, and the next one begins.
    Again {
        /// Why.
        why: Failure,
    },
    /// Joiner: the bulk is verified and durable in the hidden copy.
    Staged {
        /// Logical bytes of it.
        bytes: u64,
    },
}

/// Events that a watcher may be behind before it loses some.
const EVENTS_BEHIND: usize = 1024;

/// Those who watch a member.
pub(crate) struct Watchers<E = Event>(Mutex<Vec<SyncSender<E>>>);

impl<E> Default for Watchers<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E: Clone + Debug> Watchers<E> {
    pub(crate) fn watch(&self) -> Receiver<E> {
        let (sender, receiver) = sync_channel(EVENTS_BEHIND);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    /// Nobody who watches can slow it.
    pub(crate) fn emit(&self, event: &E) {
        tracing::debug!(?event, "a member's transfers");
        let mut watchers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watchers
            .retain(|watcher| !matches!(watcher.try_send(event.clone()), Err(TrySendError::Disconnected(_))));
    }

    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
