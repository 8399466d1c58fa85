//! Where who is held waits for the latch to open.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Counts how often what was held may pass.
#[derive(Debug, Default)]
pub struct Gate {
    opened: Mutex<u64>,
    changed: Condvar,
}

impl Gate {
    /// How often it was opened: to be asked before a message is offered.
    #[must_use]
    pub fn opened(&self) -> u64 {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held may pass.
    pub fn open(&self) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// Waits until it was opened once more than `before`, for `patience` at most.
    pub fn wait(&self, before: u64, patience: Duration) {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is woken by time looks again as well.
        let waited = self.changed.wait_timeout_while(opened, patience, |opened| *opened == before);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
