//! A state on its way to this member.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::application::Delivered;
use super::shared::Shared;
use crate::error::{Error, ErrorKind};
use crate::summary::Summary;

/// What became of asking for a state.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// It is here, committed, and the member serves.
    State(Joined),
    /// There is none to be had: nobody was named, or this member itself. It may found the group
    /// ([`super::MemberBuilder::found`]).
    NoState,
}

/// A state that was joined.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Joined {
    /// Who gave it.
    pub provider: String,
    /// Which messages it contained when it was committed.
    pub digest: Box<Delivered>,
    /// What moved as bulk; `None` if a try went on from what an earlier one had staged, and nothing did.
    pub bulk: Option<Summary>,
}

/// A state on its way. Dropped before its end, it is given up: the old state stands.
#[must_use = "a transfer that is dropped is given up"]
pub struct StateTransfer {
    shared: Option<Arc<Shared>>,
    outcome: Arc<Outcome>,
}

impl StateTransfer {
    pub(super) const fn new(shared: Arc<Shared>, outcome: Arc<Outcome>) -> Self {
        Self { shared: Some(shared), outcome }
    }

    pub(super) fn without_state() -> Self {
        let outcome = Outcome::default();
        outcome.set(Ok(Fetched::NoState));
        outcome.release();
        Self { shared: None, outcome: Arc::new(outcome) }
    }

    /// Waits until this member serves, or has given up and holds nothing of the transfer any more.
    ///
    /// # Errors
    /// If there is no state; the old one stands. [`Error::live`] tells why.
    pub fn wait(self) -> Result<Fetched, Error> {
        let mut end = self.outcome.wait();
        end.result.take().unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Cancelled, "the member was stopped before it had a state"))
        })
    }

    /// Gives it up, unless its outcome is known; does not wait for the end.
    pub fn cancel(&self) {
        let Some(shared) = &self.shared else { return };
        let mut state = shared.lock();
        let ours = |outcome: &Arc<Outcome>| Arc::ptr_eq(outcome, &self.outcome);
        if let Some(joining) = state.joining.as_mut().filter(|joining| ours(&joining.outcome)) {
            joining.machine.cancel(shared.clock.joiner());
        }
        shared.drive(&mut state);
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.outcome.lock().released
    }
}

impl Drop for StateTransfer {
    fn drop(&mut self) {
        if !self.is_over() {
            self.cancel();
            drop(self.outcome.wait());
        }
    }
}

/// How a transfer ended, for who waits.
#[derive(Default)]
pub(super) struct Outcome {
    end: Mutex<End>,
    changed: Condvar,
}

#[derive(Default)]
struct End {
    result: Option<Result<Fetched, Error>>,
    /// Its threads hold nothing any more.
    released: bool,
}

impl Outcome {
    fn lock(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> MutexGuard<'_, End> {
        self.changed.wait_while(self.lock(), |end| !end.released).unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended.
    pub(super) fn set(&self, result: Result<Fetched, Error>) {
        self.lock().result = Some(result);
    }

    /// Who waits may go.
    fn release(&self) {
        self.lock().released = true;
        self.changed.notify_all();
    }
}

/// Held by the threads of a transfer: with the last of them it is over.
pub(super) struct Held(pub(super) Arc<Outcome>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.release();
    }
}
