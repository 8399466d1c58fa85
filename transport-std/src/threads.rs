//! The threads of one session: started by name, counted, and waited for with a deadline.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone, Default)]
pub(crate) struct Threads(Arc<Count>);

#[derive(Default)]
struct Count {
    running: Mutex<usize>,
    ended: Condvar,
}

/// Counts a thread down even if it panics.
struct Running(Arc<Count>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_all();
    }
}

impl Threads {
    /// Starts a thread. Where the system has none left the work is dropped: its channels close, and
    /// the driver hears of that as of any other end.
    pub(crate) fn spawn(&self, name: String, work: impl FnOnce() + Send + 'static) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let running = Running(Arc::clone(&self.0));
        let spawned = thread::Builder::new().name(name).spawn(move || {
            let _running = running;
            work();
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "a thread could not be started");
        }
    }

    /// Waits until all threads have ended; `false` if some are still busy after `patience`: in user
    /// code, or in a system call that does not return. They end by themselves when it does.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        while *running > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            running = self.0.ended.wait_timeout(running, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
