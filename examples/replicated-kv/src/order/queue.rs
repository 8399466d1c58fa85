//! What waits to be ordered: bounded in number and bytes; who comes beyond waits for room.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use longhaul_core::digest::SequenceNumber;

use super::Refusal;
use crate::record::Operation;

/// Hears how it went, once, when it is durable. Called by the thread that orders: it must not wait.
pub type Answer = Box<dyn FnOnce(Result<SequenceNumber, Refusal>) + Send>;

/// Something to order, and who hears of it.
pub struct Submission {
    /// What to do.
    pub operation: Operation,
    /// Who hears of it. Dropped without a call: the outcome is in doubt.
    pub answer: Answer,
}

/// Operations that wait at once.
const WAITING_MAX: usize = 4096;
/// Bytes of operations that wait at once.
const WAITING_BYTES: usize = 32 << 20;
/// Bytes of operations in one batch, beyond the first.
const BATCH_BYTES: usize = 4 << 20;

/// Where submissions wait.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Submission>,
    bytes: usize,
    is_closed: bool,
}

impl Queue {
    /// Submits; waits while there is no room.
    pub fn submit(&self, operation: Operation, answer: Answer) {
        let weight = operation.weight();
        let mut state = self.lock();
        while !state.is_closed && !state.has_room(weight) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_closed {
            drop(state);
            return answer(Err(Refusal::Stopping));
        }
        state.bytes += weight;
        state.waiting.push_back(Submission { operation, answer });
        drop(state);
        self.changed.notify_all();
    }

    /// The next batch, in the order of submission; waits for one. `None` once it is closed and empty.
    pub fn take(&self) -> Option<Vec<Submission>> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(next) = state.waiting.front() {
            let weight = next.operation.weight();
            if !batch.is_empty() && bytes + weight > BATCH_BYTES {
                break;
            }
            bytes += weight;
            batch.extend(state.waiting.pop_front());
        }
        state.bytes -= bytes;
        drop(state);
        self.changed.notify_all();
        Some(batch)
    }

    /// Nothing more is taken; what waits is still ordered.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Nothing more is ordered: the outcome of what waits is in doubt.
    pub fn fail(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.changed.notify_all();
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, weight: usize) -> bool {
        self.waiting.is_empty() || (self.waiting.len() < WAITING_MAX && self.bytes + weight <= WAITING_BYTES)
    }
}
