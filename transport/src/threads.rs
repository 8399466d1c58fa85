//! The threads of one session, and its tasks on threads of others: counted, and waited for with a deadline.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use longhaul_state::transfer::Priority;

use crate::driver::{Message, Queue};

/// See the module.
#[derive(Clone)]
pub struct Threads {
    count: Arc<Count>,
    queue: Queue,
    /// How they compete for processors.
    priority: Priority,
}

#[derive(Default)]
struct Count {
    running: Mutex<usize>,
    ended: Condvar,
}

/// One that is counted: a thread, or a task on a thread of others. Dropped at its end; if that is by a panic,
/// the driver fails the session.
pub struct Running {
    count: Arc<Count>,
    queue: Queue,
}

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            self.queue.send(Message::HelperLost("a helper thread panicked"));
        }
        *self.count.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.count.ended.notify_all();
    }
}

impl Threads {
    /// No threads yet; the driver behind `queue` hears of those that panic or can't be started.
    pub(crate) fn new(queue: Queue, priority: Priority) -> Self {
        Self { count: Arc::default(), queue, priority }
    }

    /// One more is counted, until it is dropped.
    #[must_use]
    pub fn enter(&self) -> Running {
        *self.count.running.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Running { count: Arc::clone(&self.count), queue: self.queue.clone() }
    }

    /// Starts a thread. If it panics, or the system has none left, the driver fails the session.
    pub fn spawn(&self, name: String, work: impl FnOnce() + Send + 'static) {
        let (running, priority) = (self.enter(), self.priority);
        let spawned = thread::Builder::new().name(name).spawn(move || {
            let _running = running;
            crate::priority::take(priority);
            work();
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "a thread could not be started");
            self.lost("a helper thread could not be started");
        }
    }

    /// Something that was to be started can't be, or has ended without a word: the driver fails the session.
    pub fn lost(&self, how: &'static str) {
        self.queue.send(Message::HelperLost(how));
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
