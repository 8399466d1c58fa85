//! The primary's order: what clients want becomes records, in one sequence.
//!
//! ```text
//! clients, replicas ──submit──▶ queue ──all that waits──▶ admit: locks, places
//!                                                          │
//!                                 one transaction, one fsync for all of them
//!                                                          │
//!         answers ◀────────────── durable ─────────────────┴──▶ Applied: feeds and readers go on
//! ```
//!
//! A batch begins only when no latch is closed, and a latch closes only between batches. Nobody is answered before the record is durable. While one batch is made durable the next one gathers, so many
//! clients share each fsync. When the disk fails, the order ends: what was not answered is in doubt, and the process
//! says so and stops.

mod locks;
mod queue;

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use longhaul_core::digest::SequenceNumber;

pub use locks::{Locks, Refusal};
pub use queue::{Answer, Queue, Submission};

use crate::error::Error;
use crate::live::Delivery;
use crate::record::{Operation, Record};
use crate::store::Store;

/// The thread that orders.
pub struct Orderer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// Hears why the order has ended by itself.
pub type Failed = Box<dyn FnOnce(Error) + Send>;

/// What the thread works on.
struct Work {
    delivery: Arc<Delivery>,
    locks: Locks,
    next: SequenceNumber,
}

impl Orderer {
    /// Orders on top of what is in `store`, which is where `delivery` leads.
    ///
    /// # Errors
    /// If the store can't be read, or there can be no thread.
    pub fn start(store: &Store, delivery: Arc<Delivery>, failed: Failed) -> Result<Self, Error> {
        let snapshot = store.snapshot()?;
        let mut locks = Locks::default();
        for (transaction, changes) in snapshot.pending()? {
            locks.take(transaction, &changes);
        }
        delivery.applied.advance(snapshot.applied());
        let next = following(snapshot.applied());
        let mut work = Work { delivery, locks, next };
        let queue = Arc::new(Queue::default());
        let theirs = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name("order".into())
            .spawn(move || work.run(&theirs, failed))
            .map_err(Error::io("starting a thread"))?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Where to submit.
    #[must_use]
    pub fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }
}

/// Takes nothing more, finishes what was submitted, and ends.
impl Drop for Orderer {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Work {
    fn run(&mut self, queue: &Queue, failed: Failed) {
        while let Some(batch) = queue.take() {
            if let Err(error) = self.order(batch) {
                queue.fail();
                return failed(error);
            }
        }
    }

    fn order(&mut self, batch: Vec<Submission>) -> Result<(), Error> {
        // From before it has places until it is answered: a latch waits for it, or it for the latch.
        let _in_flight = self.delivery.admit();
        let mut records = Vec::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        for Submission { operation, answer } in batch {
            let result = self.admit(operation, &mut records);
            answers.push((answer, result));
        }
        // Those who are not answered learn from the end of their connection that they are in doubt.
        self.delivery.deliver(records)?;
        for (answer, result) in answers {
            answer(result);
        }
        Ok(())
    }

    fn admit(&mut self, operation: Operation, records: &mut Vec<Record>) -> Result<SequenceNumber, Refusal> {
        let sequence = self.next;
        self.locks.admit(&operation, sequence)?;
        self.next = following(sequence);
        records.push(Record { sequence, operation });
        Ok(sequence)
    }
}

fn following(sequence: SequenceNumber) -> SequenceNumber {
    sequence.next().expect("2^64 records are never written")
}
