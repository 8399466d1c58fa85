//! The threads of one session: started by name, counted, and waited for with a deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::driver::{Message, Queue};

#[derive(Clone)]
pub(crate) struct Threads {
    count: Arc<Count>,
    queue: Queue,
}

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
    /// No threads yet; the driver behind `queue` hears of those that panic or can't be started.
    pub(crate) fn new(queue: Queue) -> Self {
        Self { count: Arc::default(), queue }
    }

    /// Starts a thread. If it panics, or the system has none left, the driver fails the session.
    pub(crate) fn spawn(&self, name: String, work: impl FnOnce() + Send + 'static) {
        *self.count.running.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let running = Running(Arc::clone(&self.count));
        let queue = self.queue.clone();
        let spawned = thread::Builder::new().name(name).spawn(move || {
            let _running = running;
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                queue.send(Message::HelperLost("a helper thread panicked"));
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "a thread could not be started");
            self.queue.send(Message::HelperLost("a helper thread could not be started"));
        }
    }

    /// Waits until all threads have ended; `false` if some are still busy after `patience`: in user
    /// code, or in a system call that does not return. They end by themselves when it does.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut running = self.count.running.lock().unwrap_or_else(PoisonError::into_inner);
        while *running > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            running = self.count.ended.wait_timeout(running, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
