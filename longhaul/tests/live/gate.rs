//! A gate: closed, whoever comes waits; open, nobody does.

use std::sync::{Arc, Condvar, Mutex};

use crate::host::PATIENCE;

#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    is_closed: bool,
    waiting: usize,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.0.0.lock().unwrap().is_closed = true;
    }

    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().is_closed = false;
        self.0.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.waiting += 1;
        self.0.1.notify_all();
        // A test that has failed opens no gate any more.
        let waits = self.0.1.wait_timeout_while(state, PATIENCE * 2, |state| state.is_closed);
        let (mut state, timeout) = waits.unwrap();
        state.waiting -= 1;
        let gave_up = timeout.timed_out();
        drop(state);
        assert!(!gave_up, "nobody has opened this gate");
    }

    /// Waits until somebody waits at it.
    pub(crate) fn is_met(&self) {
        let state = self.0.0.lock().unwrap();
        let waits = self.0.1.wait_timeout_while(state, PATIENCE, |state| state.waiting == 0);
        let gave_up = waits.unwrap().1.timed_out();
        assert!(!gave_up, "nobody has come to this gate");
    }
}
