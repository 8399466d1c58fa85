//! The group's channel: one order for all messages, all of which are kept.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use longhaul::MemberId;
use longhaul::live::{Delivered, Effect, Entry, PinError, Pins, SequenceNumber};

/// Whoever numbers all messages.
pub(crate) const ORDER: MemberId = MemberId([0xff; 16]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) effect: Effect,
    pub(crate) key: u64,
    pub(crate) value: u64,
}

#[derive(Default)]
pub(crate) struct Bus {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    sent: Vec<Content>,
    /// Until when somebody needs all of it.
    pins: BTreeMap<MemberId, Instant>,
    refuses: bool,
    is_closed: bool,
}

impl Bus {
    /// Sends a message; its number.
    pub(crate) fn send(&self, content: Content) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.sent.push(content);
        self.changed.notify_all();
        state.sent.len() as u64
    }

    /// The message of this number, once it is there; `None` once there are no more.
    pub(crate) fn next(&self, number: u64) -> Option<Content> {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(content) = state.sent.get(number as usize - 1) {
                return Some(*content);
            }
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).unwrap();
        }
    }

    pub(crate) fn last(&self) -> u64 {
        self.state.lock().unwrap().sent.len() as u64
    }

    pub(crate) fn close(&self) {
        self.state.lock().unwrap().is_closed = true;
        self.changed.notify_all();
    }

    pub(crate) fn refuse(&self) {
        self.state.lock().unwrap().refuses = true;
    }

    pub(crate) fn has_pins(&self) -> bool {
        !self.state.lock().unwrap().pins.is_empty()
    }
}

impl Pins for Bus {
    fn pin(&self, joiner: MemberId, lease: Duration) -> Result<Delivered, PinError> {
        let mut state = self.state.lock().unwrap();
        if state.refuses {
            return Err(PinError::Refused { source: ORDER });
        }
        state.pins.insert(joiner, Instant::now() + lease);
        let sent = SequenceNumber(state.sent.len() as u64);
        let mut sources = Delivered::new();
        sources.insert(Entry::new(ORDER, SequenceNumber::NONE, sent).unwrap()).unwrap();
        Ok(sources)
    }

    fn unpin(&self, joiner: MemberId) {
        self.state.lock().unwrap().pins.remove(&joiner);
    }
}
