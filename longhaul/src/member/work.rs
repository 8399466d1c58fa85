//! What the thread that builds a hidden copy has still to do.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::watch::Watch;

/// Payloads that wait to be applied, at most.
const WAITING: usize = 2;

/// Something to do.
pub(crate) trait Task {
    /// Whether it holds a payload, so that few of them wait.
    fn is_payload(&self) -> bool;
}

/// Things to do, one after another, each of a generation.
pub(crate) struct Work<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
}

struct Queue<T> {
    items: VecDeque<(u64, T)>,
    /// The session that brings the bulk.
    bulk: Option<Watch>,
    /// Nothing more will come; or nothing more is done.
    closed: bool,
    stopped: bool,
}

impl<T: Task> Work<T> {
    pub(crate) fn new() -> Self {
        let queue = Queue { items: VecDeque::new(), bulk: None, closed: false, stopped: false };
        Self { queue: Mutex::new(queue), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, generation: u64, item: T) {
        self.lock().items.push_back((generation, item));
        self.changed.notify_all();
    }

    /// Waits until there is room; `false` if what it is for is over.
    pub(crate) fn push_when_room(&self, generation: u64, item: T) -> bool {
        let mut queue = self.lock();
        let full = |queue: &mut Queue<T>| {
            let waiting = queue.items.iter().filter(|(_, item)| item.is_payload()).count();
            waiting >= WAITING && !queue.closed && !queue.stopped
        };
        queue = self.changed.wait_while(queue, full).unwrap_or_else(PoisonError::into_inner);
        let is_over = queue.closed || queue.stopped;
        if !is_over {
            queue.items.push_back((generation, item));
            self.changed.notify_all();
        }
        !is_over
    }

    /// What waits is not done any more, and the bulk stops; what is to be done instead.
    pub(crate) fn rewind(&self, instead: Option<(u64, T)>) {
        let mut queue = self.lock();
        queue.items.clear();
        if let Some(bulk) = &queue.bulk {
            bulk.cancel();
        }
        queue.items.extend(instead);
        self.changed.notify_all();
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Nothing more is done.
    pub(crate) fn stop(&self) {
        let mut queue = self.lock();
        queue.stopped = true;
        queue.items.clear();
        if let Some(bulk) = &queue.bulk {
            bulk.cancel();
        }
        self.changed.notify_all();
    }

    /// The next thing to do; `None` once nothing more comes.
    pub(crate) fn next(&self) -> Option<(u64, T)> {
        let waits = |queue: &mut Queue<T>| queue.items.is_empty() && !queue.closed && !queue.stopped;
        let mut queue = self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        let next = queue.items.pop_front();
        self.changed.notify_all();
        next
    }

    /// The session that brings the bulk, for those who end it; at once if it was ended already.
    pub(crate) fn follow(&self, bulk: Watch) {
        let mut queue = self.lock();
        if queue.stopped || !queue.items.is_empty() {
            bulk.cancel();
        }
        queue.bulk = Some(bulk);
    }

    /// That session is over.
    pub(crate) fn unfollow(&self) {
        self.lock().bulk = None;
    }
}
