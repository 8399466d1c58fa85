//! How far this member has come, for those who wait for it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longhaul_core::digest::SequenceNumber;

/// The last record that this member has applied. Cheap to clone.
#[derive(Clone, Default)]
pub struct Applied(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    last: SequenceNumber,
    is_closed: bool,
}

impl Applied {
    /// It is at `sequence` now; never backwards.
    pub fn advance(&self, sequence: SequenceNumber) {
        let mut state = self.lock();
        state.last = sequence.max(state.last);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Nothing more is applied: who waits need not.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.0.changed.notify_all();
    }

    /// The last record.
    #[must_use]
    pub fn now(&self) -> SequenceNumber {
        self.lock().last
    }

    /// Waits until `sequence` is applied, for `patience` at most. Whether it is.
    #[must_use]
    pub fn wait_for(&self, sequence: SequenceNumber, patience: Duration) -> bool {
        self.wait_until(patience, |last| last >= sequence)
    }

    /// Who waits looks again at what it waits for.
    pub fn look_again(&self) {
        // Whoever looks at present has looked before this is told.
        drop(self.lock());
        self.0.changed.notify_all();
    }

    /// Waits until `is_enough`, for `patience` at most, looking at every record that is applied. Whether it is.
    #[must_use]
    pub fn wait_until(&self, patience: Duration, is_enough: impl Fn(SequenceNumber) -> bool) -> bool {
        let end = Instant::now() + patience;
        let mut state = self.lock();
        while !is_enough(state.last) && !state.is_closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        is_enough(state.last)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
