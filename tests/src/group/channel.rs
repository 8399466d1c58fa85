//! The group's channel: every message reaches everybody, once or more often, early or late.
//!
//! Per sender messages are numbered; under total order there is one sender, who never fails. What is lost is sent
//! again later, so that messages also come out of order and twice. Whoever sends keeps its messages until all who
//! are operational have delivered them and no pin asks for them; what was sent by a member that is gone, the
//! others keep.

use longhaul_core::digest::SequenceNumber;
use longhaul_core::id::MemberId;
use longhaul_core::message::Effect;

/// What a message says.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) effect: Effect,
    /// Whose client wrote.
    pub(super) writer: MemberId,
    pub(super) key: u8,
    pub(super) value: u64,
    /// What it says to the machines: a transfer's frame.
    pub(super) control: Option<Vec<u8>>,
}

/// A joiner's pin, or the sender's own when it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pin {
    pub(super) joiner: MemberId,
    /// All behind this one are kept.
    pub(super) behind: u64,
    /// In the world's time.
    pub(super) until: u64,
}

/// What one sender has sent.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) sender: MemberId,
    /// The process, while it lives.
    pub(super) process: Option<u64>,
    pub(super) host: usize,
    /// All that it ever sent; the first is number 1.
    pub(super) sent: Vec<Content>,
    /// What nobody can have again.
    pub(super) dropped: u64,
    pub(super) pins: Vec<Pin>,
}

impl Stream {
    pub(super) const fn new(sender: MemberId, process: Option<u64>, host: usize) -> Self {
        Self { sender, process, host, sent: Vec::new(), dropped: 0, pins: Vec::new() }
    }

    /// A message that was sent.
    pub(super) fn content(&self, sequence: u64) -> &Content {
        &self.sent[sequence as usize - 1]
    }

    pub(super) fn last(&self) -> SequenceNumber {
        SequenceNumber(self.sent.len() as u64)
    }

    /// Forgets what all have delivered and no pin keeps.
    pub(super) fn collect(&mut self, delivered_by_all: u64, now: u64) {
        self.pins.retain(|pin| pin.until > now);
        let pinned = self.pins.iter().map(|pin| pin.behind).min().unwrap_or(u64::MAX);
        self.dropped = self.dropped.max(delivered_by_all.min(pinned));
    }

    /// Keeps all from its first message on for so long: who pinned before could not ask it.
    pub(super) fn begin(&mut self, until: u64) {
        self.pins.push(Pin { joiner: self.sender, behind: 0, until });
    }

    /// Keeps what is there for a joiner.
    pub(super) fn pin(&mut self, joiner: MemberId, until: u64) {
        let behind = self.dropped;
        match self.pins.iter_mut().find(|pin| pin.joiner == joiner) {
            Some(pin) => pin.until = until,
            None => self.pins.push(Pin { joiner, behind, until }),
        }
    }

    pub(super) fn unpin(&mut self, joiner: MemberId) {
        self.pins.retain(|pin| pin.joiner != joiner);
    }
}
