//! States on their way to this member.

use std::sync::Arc;

use longhaul_core::id::MemberId;

use super::shared::Shared;
use crate::error::{Error, ErrorKind};
use crate::live::Delivered;
use crate::live::fetch::Outcome;
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

/// A state that was fetched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Joined {
    /// Who gave it, and what moved; one, unless the states of all were wanted.
    pub given: Vec<Given>,
    /// Which messages it contained when it was committed.
    pub digest: Box<Delivered>,
}

/// What one member gave.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Given {
    /// Who.
    pub provider: MemberId,
    /// What moved as bulk.
    pub bulk: Summary,
}

/// A state on its way. Dropped before its end, it is given up: the old state stands.
#[must_use = "a transfer that is dropped is given up"]
pub struct StateTransfer {
    shared: Option<Arc<Shared>>,
    outcome: Arc<Outcome<Fetched>>,
}

impl StateTransfer {
    pub(super) const fn new(shared: Arc<Shared>, outcome: Arc<Outcome<Fetched>>) -> Self {
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
    /// If there is no state; the old one stands. [`Error::states`] tells why.
    pub fn wait(self) -> Result<Fetched, Error> {
        self.outcome.take().unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Cancelled, "the member was stopped before it had a state"))
        })
    }

    /// Gives it up, unless all is there already; does not wait for the end.
    pub fn cancel(&self) {
        let Some(shared) = &self.shared else { return };
        let mut state = shared.lock();
        let ours = |outcome: &Arc<Outcome<Fetched>>| Arc::ptr_eq(outcome, &self.outcome);
        if let Some(joining) = state.joining.as_mut().filter(|joining| ours(&joining.outcome)) {
            joining.machine.cancel();
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
            drop(self.outcome.take());
        }
    }
}
