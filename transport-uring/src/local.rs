//! What all tasks of a ring share, on its thread.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use longhaul_state::pool::{Buffer, Share};
use longhaul_transport::Running;

use crate::registered::Registered;

/// The ring, as its tasks see it.
pub(crate) struct Local {
    pub(crate) registered: Registered,
    /// Tasks that have not ended. Read from elsewhere too.
    tasks: Arc<AtomicUsize>,
    /// Waits for the last of them.
    waker: RefCell<Option<Waker>>,
}

/// One that has not ended.
struct Alive(Rc<Local>);

impl Drop for Alive {
    fn drop(&mut self) {
        if self.0.tasks.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(waker) = self.0.waker.take()
        {
            waker.wake();
        }
    }
}

impl Local {
    pub(crate) fn new(registered: Registered, tasks: Arc<AtomicUsize>) -> Rc<Self> {
        Rc::new(Self { registered, tasks, waker: RefCell::default() })
    }

    /// Starts a task. Its operations are never given up: it ends by itself, when its channel or connection does.
    pub(crate) fn spawn(self: &Rc<Self>, running: Running, task: impl Future<Output = ()> + 'static) {
        self.tasks.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(Rc::clone(self));
        tokio_uring::spawn(async move {
            // Whoever waits for the session's tasks finds the ring without them.
            let _running = running;
            let _alive = alive;
            task.await;
        });
    }

    /// Waits until all tasks have ended.
    pub(crate) async fn idle(&self) {
        poll_fn(|context| {
            if self.tasks.load(Ordering::SeqCst) == 0 {
                return Poll::Ready(());
            }
            self.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// A buffer, awaited; `None` once the session has ended.
pub(crate) async fn buffer(share: &Share, stopped: impl Fn() -> bool) -> Option<Buffer> {
    poll_fn(|context| share.poll_take(&stopped, context)).await
}
