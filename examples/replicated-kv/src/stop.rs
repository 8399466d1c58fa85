//! Stopping: whoever waits for a peer or for a record is woken, once and for good.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Tells all parts of a member to end. Cheap to clone.
#[derive(Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_stopped: bool,
    next: u64,
    streams: HashMap<u64, TcpStream>,
}

impl Stop {
    /// Whether it was told to.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.lock().is_stopped
    }

    /// Tells everybody: connections that are held end, and nothing more is begun.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.is_stopped = true;
        for stream in state.streams.values() {
            // One that is over already is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Ends `stream` when everybody is told to stop, until what is returned is dropped.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn hold(&self, stream: &TcpStream) -> std::io::Result<Held> {
        let copy = stream.try_clone()?;
        let mut state = self.lock();
        if state.is_stopped {
            let _ = copy.shutdown(Shutdown::Both);
        }
        let number = state.next;
        state.next += 1;
        state.streams.insert(number, copy);
        Ok(Held { stop: self.clone(), number })
    }

    /// Pauses, unless everybody is told to stop. Whether to go on.
    #[must_use]
    pub fn pause(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut state = self.lock();
        while !state.is_stopped {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a connection known to those who stop.
pub struct Held {
    stop: Stop,
    number: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop.lock().streams.remove(&self.number);
    }
}
