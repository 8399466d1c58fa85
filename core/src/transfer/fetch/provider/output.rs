//! What a provider says, and to whom.

use super::super::life::At;
use super::Provider;
use super::slot::Slot;
use crate::digest::SequenceNumber;
use crate::id::MemberId;
use crate::time::Instant;
use crate::transfer::wire::{Frame, Refusal};
use crate::transfer::{LogPoint, Tag, next_part};

/// A frame to send: the first `len` bytes of the caller's buffer, then records of the log if it announces any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transmit {
    /// To whom.
    pub to: MemberId,
    /// Bytes written into the caller's buffer.
    pub len: usize,
    /// From where to where the log that follows goes.
    pub records: Option<(LogPoint, LogPoint)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) to: MemberId,
    pub(super) tag: Tag,
    pub(super) reply: Reply,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    Refused(Refusal),
    Summing(u64),
    Root([u8; 32]),
    Suspended(SequenceNumber),
    /// Its suspension has run out.
    Resumed,
}

/// When asking again makes sense.
const RETRY_AFTER_MS: u32 = 100;
/// Where a message on its way is all that is missing.
const SOON_MS: u32 = 10;

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// The next frame to send, written to the front of `out`: [`crate::transfer::wire::FRAME_MAX`] bytes suffice.
    ///
    /// # Panics
    /// If `out` is shorter than that and the frame does not fit.
    pub fn poll_transmit(&mut self, out: &mut [u8], now: Instant) -> Option<Transmit> {
        if let Some(Answer { to, tag, reply }) = self.answers.pop_front() {
            let frame = match reply {
                Reply::Refused(why) => {
                    let retry_after_ms = if why == Refusal::NotYet { SOON_MS } else { RETRY_AFTER_MS };
                    Frame::Refused { why, retry_after_ms }
                }
                Reply::Summing(bytes) => Frame::Summing { bytes },
                Reply::Root(root) => Frame::Root { root },
                Reply::Suspended(sent) => Frame::Suspended { sent },
                Reply::Resumed => Frame::Abort,
            };
            return Some(transmit(to, tag, &frame, out));
        }
        for n in 0..JOINERS {
            if let Some(transmit) = self.begin(n, out).or_else(|| self.records(n, out)) {
                // Another read may follow.
                self.settle(now);
                return Some(transmit);
            }
        }
        None
    }

    /// The digest's parts, and the Begin that they belong to.
    fn begin(&mut self, n: usize, out: &mut [u8]) -> Option<Transmit> {
        let provider = self.config.member;
        let slot = self.slots[n].as_mut()?;
        let parts = slot.begin.as_mut()?;
        let captured = slot.capture.and_then(|at| self.captures[at].as_ref()).expect("it has a capture");
        if let Some(part) = next_part(&captured.digest, parts) {
            return Some(transmit(slot.member, slot.tag, &Frame::Digest(part), out));
        }
        slot.begin = None;
        let members = captured.digest.len() as u16;
        let goes_on = slot.at == At::Reading;
        let streamed = captured.snapshot.map(|snapshot| (snapshot, captured.point));
        let (snapshot, from) = if goes_on { slot.fetched } else { streamed }.expect("it is there");
        let frame = Frame::Begin { provider, snapshot, from, goes_on, members };
        Some(transmit(slot.member, slot.tag, &frame, out))
    }

    /// Records that were read; behind the last one, Last.
    fn records(&mut self, n: usize, out: &mut [u8]) -> Option<Transmit> {
        let slot: &mut Slot = self.slots[n].as_mut().filter(|slot| slot.at == At::Reading)?;
        let (to, tag, log) = (slot.member, slot.tag, &mut slot.log);
        if let Some(batch) = log.batch.take() {
            let frame = Frame::Records { from: batch.from, to: batch.to, payload: batch.payload };
            let sent = transmit(to, tag, &frame, out);
            return Some(Transmit { records: Some((batch.from, batch.to)), ..sent });
        }
        let captured = slot.capture.and_then(|at| self.captures[at].as_ref()).expect("it has a place");
        let end = captured.point;
        if log.sent < end || log.is_last_sent {
            return None;
        }
        log.is_last_sent = true;
        Some(transmit(to, tag, &Frame::Last { end, lease_ns: 0, pending: 0, members: 0 }, out))
    }

    pub(super) fn answer(&mut self, to: MemberId, tag: Tag, reply: Reply) {
        if self.answers.is_full() {
            // Whoever waited longest asks again.
            self.answers.pop_front();
        }
        let _ = self.answers.push_back(Answer { to, tag, reply });
    }
}

fn transmit(to: MemberId, tag: Tag, frame: &Frame<'_>, out: &mut [u8]) -> Transmit {
    let len = frame.emit(tag, out).expect("the caller's buffer takes any frame");
    Transmit { to, len, records: None }
}
