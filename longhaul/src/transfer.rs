//! A running transfer.
//!
//! ```text
//! fetch().into(dir) ──starts──▶ the transfer's thread ──▶ transport ──▶ its own threads
//!      Transfer ◀──result, waker──────────┘ ▲
//!      drop ──cancel, join──────────────────┘
//! ```

use std::future::{Future, IntoFuture};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};

use longhaul_state::transfer::Stats;

use crate::error::{Error, ErrorKind};
use crate::summary::Summary;
use crate::watch::{Events, Watch};

/// A transfer that runs. It ends with a `T`: a [`Summary`], or that and what was received.
///
/// Dropped before its end, it is cancelled: the drop waits until every thread and file of the
/// transfer is released, and nothing is published. The same holds for its future.
#[derive(Debug)]
#[must_use = "a transfer that is dropped is cancelled"]
pub struct Transfer<T = Summary> {
    watch: Watch,
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    result: Option<Result<T, Error>>,
    waker: Option<Waker>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complete(&self, result: Result<T, Error>) {
        let mut state = self.lock();
        state.result = Some(result);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T: Send + 'static> Transfer<T> {
    /// Runs `work` on a thread of its own.
    pub(crate) fn start(work: impl FnOnce(&Watch) -> Result<T, Error> + Send + 'static) -> Self {
        let watch = Watch::new();
        let shared = Arc::new(Shared(Mutex::new(State { result: None, waker: None })));
        let (inner_watch, inner_shared) = (watch.clone(), Arc::clone(&shared));
        let thread = thread::Builder::new().name("longhaul".into()).spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| work(&inner_watch)))
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Other, "the transfer's thread panicked")));
            inner_watch.end();
            inner_shared.complete(result);
        });
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(error) => {
                let message = "the transfer's thread can't be started";
                shared.complete(Err(Error::new(ErrorKind::Other, message).with_cause(error)));
                watch.end();
                None
            }
        };
        Self { watch, shared, thread }
    }
}

impl<T> Transfer<T> {
    /// Waits for the end.
    ///
    /// # Errors
    /// If the transfer failed; a joiner has published nothing then.
    ///
    /// # Panics
    /// If its future was polled to the end before.
    pub fn wait(mut self) -> Result<T, Error> {
        self.join();
        self.shared.lock().result.take().expect("the thread leaves a result, and it is taken once")
    }

    /// Watches it from elsewhere.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// What happens: see [`Watch::events`].
    #[must_use]
    pub fn events(&self) -> Events {
        self.watch.events()
    }

    /// How far it is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.watch.stats()
    }

    /// Stops it cleanly, without waiting for the end: see [`Watch::cancel`].
    pub fn cancel(&self) {
        self.watch.cancel();
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.lock().result.is_some()
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Its panics were caught; they are its result.
            let _ = thread.join();
        }
    }
}

impl<T> Drop for Transfer<T> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.watch.cancel();
            self.join();
        }
    }
}

impl<T> IntoFuture for Transfer<T> {
    type Output = Result<T, Error>;
    type IntoFuture = TransferFuture<T>;

    fn into_future(self) -> TransferFuture<T> {
        TransferFuture(self)
    }
}

/// Waits for a transfer's end, in any runtime: the transfer's own thread wakes it.
#[derive(Debug)]
#[must_use = "a transfer that is dropped is cancelled"]
pub struct TransferFuture<T = Summary>(Transfer<T>);

impl<T> Future for TransferFuture<T> {
    type Output = Result<T, Error>;

    /// # Panics
    /// If it is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.shared.lock();
        let Some(result) = state.result.take() else {
            assert!(self.0.thread.is_some(), "polled again after it was ready");
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        drop(state);
        self.0.join();
        Poll::Ready(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::task::Wake;

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut future = std::pin::pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }

    #[test]
    fn a_future_is_woken_by_the_transfer_itself() {
        let (go, wait) = channel::<()>();
        let transfer = Transfer::start(move |_| {
            wait.recv().map_err(|_| Error::new(ErrorKind::Other, "nobody let it go"))?;
            Ok(7)
        });
        let release = thread::spawn(move || go.send(()));
        assert_eq!(block_on(transfer.into_future()).unwrap(), 7);
        release.join().unwrap().unwrap();
    }

    #[test]
    fn a_dropped_transfer_is_cancelled_and_its_thread_is_gone() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let transfer = Transfer::start(move |watch| {
            let (sender, cancelled) = channel();
            watch.control().on_cancel(move || sender.send(()).unwrap_or_default());
            let _ = cancelled.recv();
            drop(held);
            Ok(())
        });
        drop(transfer);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn events_end_with_the_transfer_and_a_panic_is_an_error() {
        let transfer: Transfer<()> = Transfer::start(|_| panic!("a test's panic"));
        assert_eq!(transfer.events().count(), 0);
        let late = transfer.watch();
        assert_eq!(transfer.wait().unwrap_err().kind(), ErrorKind::Other);
        assert_eq!(late.events().count(), 0);
    }
}
