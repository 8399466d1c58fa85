//! How far this member has come, for those who wait for it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longhaul_core::digest::SequenceNumber;

/// The last record that this member has applied. Cheap to clone.
#[derive(Clone, Default)]
pub struct Applied(Arc<(Mutex<SequenceNumber>, Condvar)>);

impl Applied {
    /// It is at `sequence` now; never backwards.
    pub fn advance(&self, sequence: SequenceNumber) {
        let mut now = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = sequence.max(*now);
        drop(now);
        self.0.1.notify_all();
    }

    /// The last record.
    #[must_use]
    pub fn now(&self) -> SequenceNumber {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `sequence` is applied, for `patience` at most. Whether it is.
    #[must_use]
    pub fn wait_for(&self, sequence: SequenceNumber, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut now = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *now < sequence {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            now = self.0.1.wait_timeout(now, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
