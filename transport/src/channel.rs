//! A channel that keeps its memory: what a message needs was allocated for messages before it. (The
//! standard library's unbounded one allocates a block for every 31 messages.)
//!
//! The receiver is a thread that sleeps, or a task that is woken. It never blocks a sender. What waits in it is bounded by those who send: by the buffers they must
//! have, or by the commands that they answer.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A channel, and both its ends.
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { messages: VecDeque::new(), senders: 1, heard: true, asleep: false, waker: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), arrived: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

struct Shared<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    messages: VecDeque<T>,
    senders: usize,
    /// The receiver is still there.
    heard: bool,
    /// The receiver sleeps until somebody wakes it.
    asleep: bool,
    /// The receiver is a task, and waits.
    waker: Option<Waker>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the receiver see what has changed.
    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        let (asleep, waker) = (state.asleep, state.waker.take());
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if asleep {
            self.arrived.notify_one();
        }
    }
}

/// The way into a channel, from any thread.
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// `false` if nobody will ever receive it.
    pub fn send(&self, message: T) -> bool {
        let mut state = self.0.lock();
        if !state.heard {
            return false;
        }
        state.messages.push_back(message);
        self.0.wake(state);
        true
    }

    /// Sends all of `batch` at once, and leaves it empty; `false` if nobody will ever receive it.
    pub(crate) fn send_all(&self, batch: &mut Vec<T>) -> bool {
        let mut state = self.0.lock();
        if !state.heard {
            drop(state);
            batch.clear();
            return false;
        }
        state.messages.extend(batch.drain(..));
        self.0.wake(state);
        true
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        self.0.wake(state);
    }
}

/// The one who receives.
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// The next message, waited for; `None` once all senders are gone.
    #[must_use]
    pub fn recv(&self) -> Option<T> {
        self.arrived(None)?.messages.pop_front()
    }

    /// The next message, awaited; `None` once all senders are gone.
    pub async fn next(&self) -> Option<T> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.lock();
        if let Some(message) = state.messages.pop_front() {
            return Poll::Ready(Some(message));
        }
        if state.senders == 0 {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// The next message, waited for so long; `None` if none came, or all senders are gone.
    pub(crate) fn recv_within(&self, patience: Duration) -> Option<T> {
        // A time too far to be told is waited for without an end.
        self.arrived(Instant::now().checked_add(patience))?.messages.pop_front()
    }

    /// The next message, if it has come.
    pub(crate) fn try_recv(&self) -> Option<T> {
        self.0.lock().messages.pop_front()
    }

    /// Everything that has come, into `messages`, which is empty; something is waited for. `false` once
    /// all senders are gone.
    pub(crate) fn recv_all(&self, messages: &mut VecDeque<T>) -> bool {
        debug_assert!(messages.is_empty(), "what came before is done with");
        match self.arrived(None) {
            Some(mut state) => {
                std::mem::swap(&mut state.messages, messages);
                true
            }
            None => false,
        }
    }

    /// Waits until there is a message.
    fn arrived(&self, deadline: Option<Instant>) -> Option<MutexGuard<'_, State<T>>> {
        let mut state = self.0.lock();
        while state.messages.is_empty() {
            let left = match deadline {
                Some(deadline) => Some(deadline.checked_duration_since(Instant::now())?),
                None => None,
            };
            if state.senders == 0 {
                return None;
            }
            state.asleep = true;
            state = match left {
                Some(left) => {
                    self.0.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.0.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.asleep = false;
        }
        Some(state)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.heard = false;
        let unheard = std::mem::take(&mut state.messages);
        drop(state);
        // Outside the lock: a message may hold a sender of this very channel.
        drop(unheard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::thread;

    #[test]
    fn messages_come_in_order_and_the_end_after_them() {
        let (sender, receiver) = channel();
        let sending = thread::spawn(move || {
            for n in 0..10_000 {
                assert!(sender.send(n));
            }
        });
        for n in 0..10_000 {
            assert_eq!(receiver.recv(), Some(n));
        }
        assert_eq!(receiver.recv(), None);
        sending.join().unwrap();
    }

    #[test]
    fn a_task_is_woken_by_each_message_and_by_the_end() {
        struct Count(AtomicUsize);

        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let (sender, receiver) = channel();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let poll = || receiver.poll_next(&mut Context::from_waker(&waker));
        assert_eq!(poll(), Poll::Pending);
        assert!(sender.send(1) && sender.send(2));
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "once for all that it has not heard");
        assert_eq!((poll(), poll(), poll()), (Poll::Ready(Some(1)), Poll::Ready(Some(2)), Poll::Pending));
        drop(sender);
        assert_eq!((count.0.load(Ordering::Relaxed), poll()), (2, Poll::Ready(None)));
    }

    #[test]
    fn a_batch_comes_whole_and_its_memory_goes_round() {
        let (sender, receiver) = channel();
        let (mut batch, mut came) = (vec![1, 2, 3], VecDeque::new());
        assert!(sender.send(0));
        assert!(sender.send_all(&mut batch));
        assert!(batch.is_empty());
        assert!(receiver.recv_all(&mut came));
        assert_eq!(came, [0, 1, 2, 3]);
        came.clear();
        drop(sender);
        assert!(!receiver.recv_all(&mut came));
    }

    #[test]
    fn patience_ends_and_a_later_message_still_comes() {
        let (sender, receiver) = channel();
        assert_eq!(receiver.recv_within(Duration::from_millis(1)), None);
        assert!(sender.send(1));
        assert_eq!(receiver.recv_within(Duration::MAX), Some(1));
        assert_eq!(receiver.try_recv(), None);
    }

    #[test]
    fn what_nobody_hears_is_dropped() {
        let (sender, receiver) = channel();
        let message = Arc::new(());
        assert!(sender.send(Arc::clone(&message)));
        drop(receiver);
        assert_eq!(Arc::strong_count(&message), 1);
        assert!(!sender.send(Arc::clone(&message)));
        assert!(!sender.send_all(&mut vec![Arc::clone(&message)]));
        assert_eq!(Arc::strong_count(&message), 1);
    }
}
