//! The threads of a member: each is waited for when the member ends.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

#[derive(Default)]
pub(crate) struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    /// Starts a thread; `false` if the system has none left.
    pub(crate) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> bool {
        let spawned = thread::Builder::new().name(format!("longhaul-{name}")).spawn(work);
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                tracing::error!(%error, name, "a thread could not be started");
                return false;
            }
        }
        true
    }

    /// Drops what may take as long as it is large, and what nobody waits for: least of all who is held by a latch.
    pub(crate) fn release(&self, what: impl Send + 'static) {
        // Without a thread to spare it is dropped here and now.
        self.spawn("release", move || drop(what));
    }

    /// Waits until all have ended; but for the caller's own, if it is one of them.
    pub(crate) fn join(&self) {
        loop {
            let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(thread) = next else { return };
            if thread.thread().id() != thread::current().id() {
                // A panic in it was reported when it happened.
                let _ = thread.join();
            }
        }
    }
}
