//! An engine whose reads are seen.

use std::sync::Arc;

use longhaul_core::id::Lane;
use longhaul_transport::{Engine, Helpers, ReadOp, Receiver, Receiving, Sending, WriteOp, channel};

use super::Stamps;

/// Stamps every read at its offset, and leaves everything to another engine.
pub(crate) struct Submitted {
    engine: Arc<dyn Engine>,
    reads: Stamps,
}

impl Submitted {
    pub(crate) fn watch(engine: Arc<dyn Engine>) -> (Self, Stamps) {
        let reads = Stamps::default();
        (Self { engine, reads: reads.clone() }, reads)
    }
}

impl Engine for Submitted {
    fn start_receiving(&self, lane: Receiving) {
        self.engine.start_receiving(lane);
    }

    fn start_sending(&self, lane: Sending) {
        self.engine.start_sending(lane);
    }

    fn start_reads(&self, lane: Lane, ops: Receiver<ReadOp>, helpers: &Helpers) {
        let (seen, ops_seen) = channel();
        let reads = self.reads.clone();
        helpers.threads().spawn(format!("reads-seen-{}", lane.0), move || {
            while let Some(op) = ops.recv() {
                if let ReadOp::Read(read) = &op {
                    reads.stamp(read.offset());
                }
                if !seen.send(op) {
                    return;
                }
            }
        });
        self.engine.start_reads(lane, ops_seen, helpers);
    }

    fn start_writes(&self, lane: Lane, ops: Receiver<WriteOp>, helpers: &Helpers) {
        self.engine.start_writes(lane, ops, helpers);
    }
}
