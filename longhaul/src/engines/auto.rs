//! The engine of who leaves the choice: blocking calls for a session's control and for what is small, a ring for what is
//! large. It is started when it is needed first: where it is not, nobody waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use longhaul_core::id::Lane;
use longhaul_state::pool::Pool;
use longhaul_transport::{Engine, Helpers, ReadOp, Receiver, Receiving, Sending, WriteOp};
use longhaul_transport_std::Blocking;
use longhaul_transport_uring::Ring;

use crate::settings::Transport;

/// Bytes of content from which on a ring moves a session's data. Measured: less comes no later by blocking calls, and sooner
/// by what it takes to start a ring; 64 MiB are quicker by a ring, with fewer CPU seconds.
const LARGE: u64 = 32 << 20;

/// A ring that nobody has needed yet, or that there is none of.
pub(super) struct Lazy {
    pool: Pool,
    ring: OnceLock<Option<Ring>>,
}

impl Lazy {
    pub(super) const fn new(pool: Pool) -> Self {
        Self { pool, ring: OnceLock::new() }
    }

    /// One that was started already, beside others.
    pub(super) fn started(pool: Pool, ring: Ring) -> Self {
        Self { pool, ring: OnceLock::from(Some(ring)) }
    }

    fn get(&self) -> Option<&Ring> {
        let start = || match Ring::start(&self.pool) {
            Ok(ring) => Some(ring),
            Err(why) => {
                tracing::warn!("{}", super::without_ring(&why.to_string()));
                None
            }
        };
        self.ring.get_or_init(start).as_ref()
    }
}

/// One session's.
pub(super) struct Auto {
    lazy: Arc<Lazy>,
    /// The ring moves some of its content.
    by_ring: AtomicBool,
}

impl Auto {
    pub(super) const fn new(lazy: Arc<Lazy>) -> Self {
        Self { lazy, by_ring: AtomicBool::new(false) }
    }

    pub(super) fn transport(&self) -> Transport {
        if self.by_ring.load(Ordering::Relaxed) { Transport::Uring } else { Transport::Std }
    }

    /// What moves the bytes of a lane of a session that is to move so many, where that is known.
    fn engine(&self, lane: Lane, announced: Option<u64>) -> &dyn Engine {
        let small = lane == Lane::CONTROL || announced.is_some_and(|bytes| bytes < LARGE);
        let ring = if small { None } else { self.lazy.get() };
        let Some(ring) = ring else { return &Blocking };
        if !self.by_ring.swap(true, Ordering::Relaxed) {
            tracing::debug!(?announced, "a ring moves this session's content");
        }
        ring
    }
}

impl Engine for Auto {
    fn start_receiving(&self, lane: Receiving) {
        self.engine(lane.reporter.lane(), lane.announced).start_receiving(lane);
    }

    fn start_sending(&self, lane: Sending) {
        self.engine(lane.reporter.lane(), lane.announced).start_sending(lane);
    }

    fn start_reads(&self, lane: Lane, ops: Receiver<ReadOp>, helpers: &Helpers) {
        self.engine(lane, helpers.announced()).start_reads(lane, ops, helpers);
    }

    fn start_writes(&self, lane: Lane, ops: Receiver<WriteOp>, helpers: &Helpers) {
        self.engine(lane, helpers.announced()).start_writes(lane, ops, helpers);
    }
}
