//! The ring's thread, and the way to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use longhaul_core::id::Lane;
use longhaul_state::pool::Pool;
use longhaul_transport::{
    DirectFiles, Engine, Helpers, ReadOp, Receiver, Receiving, Sender, Sending, Threads, WriteOp, channel,
};

use crate::local::Local;
use crate::probe::{Unavailable, probe};
use crate::registered::Registered;
use crate::{lane, reads, writes};

/// Operations that may wait to be submitted at once; more are submitted earlier.
pub(crate) const ENTRIES: u32 = 256;

/// Work for the ring's thread.
type Job = Box<dyn FnOnce(&Rc<Local>) + Send>;

/// Moves bytes by one ring, on a thread of its own, with buffers of one pool.
pub struct Ring {
    /// None once it ends.
    jobs: Option<Sender<Job>>,
    tasks: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Ring {
    /// A ring for the sessions that take their buffers from `pool`. When as many bytes have moved as they hold, or many
    /// more are announced, they are registered: if they don't fit, the process's soft limit on locked memory is raised to its hard one for that.
    ///
    /// # Errors
    /// If there is none to be had here, whatever the reason: then the blocking transport does the same.
    pub fn start(pool: &Pool) -> Result<Self, Unavailable> {
        let builder = probe(ENTRIES)?;
        let (jobs, receiver) = channel();
        let tasks = Arc::new(AtomicUsize::new(0));
        let (ready, started) = mpsc::channel();
        let (pool, counted) = (pool.clone(), Arc::clone(&tasks));
        let thread = thread::Builder::new()
            .name("longhaul-ring".into())
            .spawn(move || run(&builder, &pool, &receiver, counted, &ready))
            .map_err(|error| Unavailable::thread(Some(error)))?;
        // A thread that ends without a word has panicked: what it said stands in the log.
        started.recv().unwrap_or_else(|_| Err(Unavailable::thread(None)))?;
        Ok(Self { jobs: Some(jobs), tasks, thread: Some(thread) })
    }

    /// Registers the pool's buffers, which is done otherwise when they have been used. How many of them the system takes.
    #[must_use]
    pub fn register(&self) -> usize {
        let (answer, count) = mpsc::channel();
        self.submit(move |local| {
            // Whoever asked waits for it.
            let _ = answer.send(local.registered.register());
        });
        count.recv().unwrap_or(0)
    }

    /// Has the ring's thread do something; `false` if it has ended.
    pub(crate) fn submit(&self, job: impl FnOnce(&Rc<Local>) + Send + 'static) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(Box::new(job)))
    }

    /// The same for a session: it fails if the thread has ended.
    fn submit_for(&self, threads: &Threads, job: impl FnOnce(&Rc<Local>) + Send + 'static) {
        if !self.submit(job) {
            threads.lost("the ring's thread has ended");
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.jobs = None;
        // A task that is still there waits for a system call that does not return: the thread ends after it.
        if let Some(thread) = self.thread.take().filter(|_| self.tasks.load(Ordering::SeqCst) == 0) {
            // It has no result, and a panic in it was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn run(
    builder: &io_uring::Builder,
    pool: &Pool,
    jobs: &Receiver<Job>,
    tasks: Arc<AtomicUsize>,
    ready: &mpsc::Sender<Result<(), Unavailable>>,
) {
    let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(ENTRIES).uring_builder(builder));
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whoever started it waits for the answer.
            let _ = ready.send(Err(error.into()));
            return;
        }
    };
    runtime.block_on(async {
        let local = Local::new(Registered::new(pool.clone()), tasks);
        let _ = ready.send(Ok(()));
        while let Some(job) = jobs.next().await {
            // The session that it was for fails; others go on.
            if catch_unwind(AssertUnwindSafe(|| job(&local))).is_err() {
                tracing::error!("the ring's thread panicked on behalf of a session");
            }
        }
        local.idle().await;
    });
}

impl Engine for Ring {
    fn start_receiving(&self, lane: Receiving) {
        // Counted from now on: the driver may end before the ring comes to it.
        let (threads, running) = (lane.threads.clone(), lane.threads.enter());
        self.submit_for(&threads, move |local| lane::start_receiving(local, lane, running));
    }

    fn start_sending(&self, lane: Sending) {
        let (threads, running) = (lane.threads.clone(), lane.threads.enter());
        self.submit_for(&threads, move |local| lane::start_sending(local, lane, running));
    }

    fn start_reads(&self, lane: Lane, ops: Receiver<ReadOp>, helpers: &Helpers) {
        let helpers = helpers.clone();
        let threads = helpers.threads().clone();
        let running = [threads.enter(), threads.enter()];
        self.submit_for(&threads, move |local| reads::start(local, lane, ops, helpers, running));
    }

    fn start_writes(&self, _lane: Lane, ops: Receiver<WriteOp>, helpers: &Helpers) {
        let (threads, files) = (helpers.threads().clone(), DirectFiles::new(helpers.data_path()));
        let (running, writing) = (threads.enter(), threads.clone());
        let (pipes, announced) = (helpers.pipes().unwrap_or_default(), helpers.announced());
        self.submit_for(&threads, move |local| {
            local.registered.expect(announced);
            let task = writes::run(Rc::clone(local), ops, files, pipes, writing);
            local.spawn(running, task);
        });
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::id::{MemberId, TransferId};
    use longhaul_core::reason::Reason;
    use longhaul_core::wire::ChunkLen;
    use longhaul_state::pool::DEFAULT_MEMORY;
    use longhaul_state::sink::DiscardSink;
    use longhaul_state::source::RepeatedSource;
    use longhaul_state::transfer::{Control, Options, TransferError};
    use longhaul_transport::Listener;

    use super::*;

    fn pool() -> Pool {
        Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 1, 2)
    }

    /// Some bytes come by way of this ring.
    fn receive(ring: Ring) -> Result<(), TransferError> {
        let options = |member| Options {
            member: MemberId([member; 16]),
            transfer: TransferId([9; 16]),
            redial: false,
            ..Options::default()
        };
        let listener = Listener::bind("127.0.0.1:0", Arc::new(Ring::start(&pool()).unwrap())).unwrap();
        let listener = Arc::new(listener);
        let accepting = Arc::clone(&listener);
        let providing = thread::spawn(move || {
            let source = Arc::new(RepeatedSource::new(vec![7; 512 << 10].into(), 4 << 20));
            // Nobody has called if the joiner could say nothing.
            if let Some(caller) = accepting.accept().unwrap() {
                // It fails if the joiner does.
                let _ = caller.provide(source, &options(1), &pool(), &Arc::new(Control::new()));
            }
        });
        let (engine, control): (Arc<dyn Engine>, _) = (Arc::new(ring), Arc::new(Control::new()));
        let (address, sink) = (listener.local_addr(), Box::new(DiscardSink::new()));
        let received = longhaul_transport::join(address, sink, &options(2), &pool(), &control, &engine);
        listener.stop();
        providing.join().unwrap();
        received.map(drop)
    }

    // Catalogue: F59
    #[test]
    fn a_panic_on_behalf_of_one_session_leaves_the_ring_to_others() {
        let ring = Ring::start(&pool()).unwrap();
        assert!(ring.submit(|_| panic!("as a defect would")));
        receive(ring).unwrap();
    }

    // Catalogue: F59
    #[test]
    fn a_ring_whose_thread_has_ended_fails_sessions_at_once() {
        let mut ring = Ring::start(&pool()).unwrap();
        let (nowhere, _) = channel();
        ring.jobs = Some(nowhere);
        let failed = receive(ring).unwrap_err();
        assert_eq!(failed.reason, Reason::Internal, "{failed}");
    }
}
