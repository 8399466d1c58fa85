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
        self.outcome.take().unwrap_or_else(|| {
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
        self.outcome.is_over()
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
pub(crate) struct Outcome<T = Fetched> {
    end: Mutex<End<T>>,
    changed: Condvar,
}

struct End<T> {
    result: Option<Result<T, Error>>,
    /// Its threads hold nothing any more.
    released: bool,
}

impl<T> Default for Outcome<T> {
    fn default() -> Self {
        Self { end: Mutex::new(End { result: None, released: false }), changed: Condvar::new() }
    }
}

impl<T> Outcome<T> {
    fn lock(&self) -> MutexGuard<'_, End<T>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> MutexGuard<'_, End<T>> {
        self.changed.wait_while(self.lock(), |end| !end.released).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until its threads hold nothing any more; how it ended, if it came to an end.
    pub(crate) fn take(&self) -> Option<Result<T, Error>> {
        self.wait().result.take()
    }

    /// Whether its threads hold nothing any more.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().released
    }

    /// How it ended.
    pub(crate) fn set(&self, result: Result<T, Error>) {
        self.lock().result = Some(result);
    }

    /// Who waits may go.
    pub(crate) fn release(&self) {
        self.lock().released = true;
        self.changed.notify_all();
    }
}

/// Held by the threads of a transfer: with the last of them it is over.
pub(crate) struct Held<T = Fetched>(pub(crate) Arc<Outcome<T>>);

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.0.release();
    }
}
