//! What the provider says, and to whom.

use super::super::life::At;
use super::slot::{Last, Slot};
use super::{Link, Provider};
use crate::time::Instant;
use crate::transfer::wire::{Frame, Refusal};
use crate::transfer::{Decision, LogPoint, Tag, next_part};

/// A frame to send: the first `len` bytes of the caller's buffer, then the payload if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transmit {
    /// On which connection.
    pub link: Link,
    /// Bytes written into the caller's buffer.
    pub len: usize,
    /// What follows them.
    pub payload: Option<Send>,
}

/// A payload: what was read for this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// Records of the log.
    Log {
        /// From which place.
        from: LogPoint,
        /// To which.
        to: LogPoint,
    },
    /// The pending prepares.
    Pending,
}

/// A word to somebody whose place here is over, or who never had one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) link: Link,
    pub(super) tag: Tag,
    pub(super) reply: Reply,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    Refused(Refusal),
    /// The outcome, unasked.
    Decided(Decision),
    /// The outcome, asked for.
    Outcome(Decision),
}

/// When asking again makes sense.
const RETRY_AFTER_MS: u32 = 100;

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// The next frame to send, written to the front of `out`: [`crate::transfer::wire::FRAME_MAX`] bytes suffice.
    ///
    /// # Panics
    /// If `out` is shorter than that and the frame does not fit.
    pub fn poll_transmit(&mut self, out: &mut [u8], now: Instant) -> Option<Transmit> {
        if let Some(Answer { link, tag, reply }) = self.answers.pop_front() {
            let frame = match reply {
                Reply::Refused(why) => Frame::Refused { why, retry_after_ms: RETRY_AFTER_MS },
                Reply::Decided(Decision::Commit) => Frame::Commit,
                Reply::Decided(Decision::Abort) => Frame::Abort,
                Reply::Outcome(decision) => Frame::Outcome { decision },
            };
            return Some(transmit(link, tag, &frame, None, out));
        }
        for n in 0..JOINERS {
            let transmit = self.begin(n, out).or_else(|| self.records(n, out)).or_else(|| self.last(n, out));
            if transmit.is_some() {
                // Another read may follow.
                self.settle(now);
                return transmit;
            }
        }
        None
    }

    /// The digest's parts, and the Begin that they belong to.
    fn begin(&mut self, n: usize, out: &mut [u8]) -> Option<Transmit> {
        let slot = self.slots[n].as_mut()?;
        let (link, tag, begin) = (slot.link?, slot.tag, slot.begin.as_mut()?);
        let mut members = 0;
        if !begin.goes_on {
            let digest = &self.capture.as_ref().expect("it streams from one").digest;
            if let Some(part) = next_part(digest, &mut begin.parts) {
                return Some(transmit(link, tag, &Frame::Digest(part), None, out));
            }
            members = digest.len() as u16;
        }
        let (snapshot, from, goes_on) = (begin.snapshot, begin.from, begin.goes_on);
        slot.begin = None;
        let provider = self.config.member;
        Some(transmit(link, tag, &Frame::Begin { provider, snapshot, from, goes_on, members }, None, out))
    }

    fn records(&mut self, n: usize, out: &mut [u8]) -> Option<Transmit> {
        let slot = self.slots[n].as_mut()?;
        let (link, tag, batch) = (slot.link?, slot.tag, slot.records.take()?);
        let frame = Frame::Records { from: batch.from, to: batch.to, payload: batch.payload };
        Some(transmit(link, tag, &frame, Some(Send::Log { from: batch.from, to: batch.to }), out))
    }

    /// Behind the last record: the pending prepares, the digest's parts, and Last.
    fn last(&mut self, n: usize, out: &mut [u8]) -> Option<Transmit> {
        let (pending, end, lease) = (self.pending(), self.end, self.config.lease);
        let slot: &mut Slot = self.slots[n].as_mut().filter(|slot| slot.at == At::Deciding)?;
        let (link, tag) = (slot.link?, slot.tag);
        match slot.last {
            Last::Pending(payload) => {
                slot.last = Last::Digest(0);
                let frame = Frame::Pending { count: pending, payload };
                Some(transmit(link, tag, &frame, Some(Send::Pending), out))
            }
            Last::Digest(mut parts) => {
                if let Some(part) = next_part(&self.delivered, &mut parts) {
                    slot.last = Last::Digest(parts);
                    return Some(transmit(link, tag, &Frame::Digest(part), None, out));
                }
                slot.last = Last::Sent;
                let (lease_ns, members) = (lease.as_nanos() as u64, self.delivered.len() as u16);
                Some(transmit(link, tag, &Frame::Last { end, lease_ns, pending, members }, None, out))
            }
            Last::Tail | Last::Reading | Last::Sent => None,
        }
    }
}

fn transmit(link: Link, tag: Tag, frame: &Frame<'_>, payload: Option<Send>, out: &mut [u8]) -> Transmit {
    let len = frame.emit(tag, out).expect("the caller's buffer takes any frame");
    Transmit { link, len, payload }
}
