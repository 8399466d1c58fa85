//! Many strangers at once, each of which calls again when it was hung up on.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use super::stranger::Manner;

/// The pause before the next call.
const PAUSE: Duration = Duration::from_secs(5);

/// The strangers; they go when it is dropped.
pub(super) struct Strangers {
    crowd: Arc<Crowd>,
    threads: Vec<JoinHandle<()>>,
}

/// What the strangers share.
#[derive(Default)]
pub(super) struct Crowd {
    state: Mutex<State>,
    /// A call was made.
    called: Condvar,
    /// The crowd is to go: the only thing that wakes those who pause.
    going: Condvar,
}

#[derive(Default)]
struct State {
    goes: bool,
    /// Calls that were made.
    calls: u64,
    /// The connections of each stranger: what it is in the middle of ends when they do.
    streams: HashMap<ThreadId, Vec<TcpStream>>,
}

impl Strangers {
    /// So many come, and all have called once.
    pub(super) fn come(count: usize, listening: SocketAddr) -> io::Result<Self> {
        let crowd = Arc::new(Crowd::default());
        let mut strangers = Self { crowd: Arc::clone(&crowd), threads: Vec::with_capacity(count) };
        for number in 0..count {
            let (crowd, manner) = (Arc::clone(&crowd), Manner::ALL[number % Manner::ALL.len()]);
            let thread = thread::Builder::new().stack_size(256 << 10);
            strangers.threads.push(thread.spawn(move || crowd.keeps_calling(manner, listening))?);
        }
        let state = crowd.lock();
        drop(crowd.called.wait_while(state, |state| state.calls < count as u64));
        Ok(strangers)
    }

    /// Calls that were made.
    pub(super) fn calls(&self) -> u64 {
        self.crowd.lock().calls
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        let mut state = self.crowd.lock();
        state.goes = true;
        for stream in state.streams.values().flatten() {
            // Gone already is as good as ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        self.crowd.going.notify_all();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Crowd {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keeps_calling(&self, manner: Manner, listening: SocketAddr) {
        loop {
            // However it went, it calls again.
            let _ = manner.call(listening, self);
            self.lock().streams.remove(&thread::current().id());
            if self.goes_within(PAUSE) {
                return;
            }
        }
    }

    /// A stranger has a connection more.
    pub(super) fn knows(&self, stream: &TcpStream) -> io::Result<()> {
        let stream = stream.try_clone()?;
        let mut state = self.lock();
        if state.goes {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        state.calls += 1;
        state.streams.entry(thread::current().id()).or_default().push(stream);
        drop(state);
        self.called.notify_one();
        Ok(())
    }

    /// Waits; whether the crowd is to go by then.
    pub(super) fn goes_within(&self, pause: Duration) -> bool {
        let state = self.lock();
        let waited = self.going.wait_timeout_while(state, pause, |state| !state.goes);
        waited.unwrap_or_else(PoisonError::into_inner).0.goes
    }
}
