//! A gate: closed, whoever comes waits; open, nobody does.

use std::sync::{Arc, Condvar, Mutex};

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
        let mut state = self.0.1.wait_while(state, |state| state.is_closed).unwrap();
        state.waiting -= 1;
    }

    /// Waits until somebody waits at it.
    pub(crate) fn is_met(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |state| state.waiting == 0).unwrap());
    }
}
