//! What happens next, in the world's time.

use std::collections::BTreeMap;

use longhaul_core::id::{MemberId, SnapshotId};
use longhaul_core::transfer::Tag;
use longhaul_core::transfer::fetch::CaptureNumber;

use super::wires::{Load, Parcel};

/// Something that happens at a time. What is of a process that is gone is dropped.
#[derive(Debug)]
pub(super) enum Event {
    /// A process starts on this host.
    Start { host: usize },
    /// A message of the group arrives.
    Arrive { process: u64, stream: usize, sequence: u64 },
    /// Total order: a message comes to whoever numbers them.
    Order(super::channel::Content),
    /// A coordinator hears a vote.
    Vote { process: u64, voter: usize, number: u64 },
    /// Something comes out of a connection.
    Parcel { connection: usize, end: usize, parcel: Parcel },
    /// A source of messages is asked to keep them.
    Pin { joiner: u64, round: u64 },
    /// All sources have answered, or one has refused.
    Pinned { joiner: u64, round: u64, sources: Box<super::store::Delivered> },
    /// A machine's deadline.
    Wake { process: u64 },
    /// A client's next request.
    Client { process: u64 },
    /// A request that was admitted is sent to the group.
    Send { process: u64, request: super::clients::Request },
    /// The next piece of a capture.
    Scan { process: u64, snapshot: SnapshotId, piece: u64 },
    /// The next piece of the bulk.
    Bulk { joiner: u64, provider: u64, left: u32 },
    /// What was staged is durable.
    Durable { process: u64, generation: u64 },
    /// A member says something to another; dropped if either was cut off since.
    Word { process: u64, from: MemberId, cuts: u64, bytes: Vec<u8>, load: Option<Load> },
    /// The connection to a member is lost.
    Parted { process: u64, member: MemberId },
    /// The next piece of a capture that is fetched.
    Copied { process: u64, capture: CaptureNumber, piece: u64 },
    /// A capture's root is found.
    Summed { process: u64, capture: CaptureNumber },
    /// The next piece of a bulk that is fetched.
    Piece { joiner: u64, provider: u64, tag: Tag, snapshot: SnapshotId, left: u32 },
    /// What has come of a log is durable.
    Applied { process: u64, generation: u64 },
    /// Everybody tells how far it has come, and forgets what all have.
    Gossip,
    /// A fault that was drawn.
    Fault(usize),
    /// Faults stop.
    Calm,
    /// Writers stop.
    Quiet,
}

#[derive(Debug, Default)]
pub(super) struct Agenda {
    now: u64,
    count: u64,
    /// Of what happened last.
    popped: u64,
    events: BTreeMap<(u64, u64), Event>,
}

impl Agenda {
    pub(super) const fn now(&self) -> u64 {
        self.now
    }

    pub(super) fn at(&mut self, when: u64, event: Event) {
        self.count += 1;
        self.events.insert((when.max(self.now), self.count), event);
    }

    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// What happened last happens later instead, and still before what was to happen after it.
    pub(super) fn defer(&mut self, when: u64, event: Event) {
        self.events.insert((when.max(self.now), self.popped), event);
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let ((when, count), event) = self.events.pop_first()?;
        (self.now, self.popped) = (when, count);
        Some(event)
    }
}
