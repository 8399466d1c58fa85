//! The capture that joiners stream from, and what of the log they need.

use super::super::life::{At, AtInput};
use super::slot::{Begin, Slot};
use super::{Command, Event, Provider};
use crate::digest::Digest;
use crate::id::SnapshotId;
use crate::time::Instant;
use crate::transfer::wire::Refusal;
use crate::transfer::{Capture, LogPoint};

/// A capture, from the moment when its log begins.
pub(super) struct Captured<const MEMBERS: usize> {
    /// Where the log begins, and what was delivered then.
    pub(super) from: LogPoint,
    pub(super) digest: Digest<MEMBERS>,
    /// `None` while it is being taken.
    pub(super) snapshot: Option<SnapshotId>,
}

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// The state is captured; `digest` is what the engine says that its snapshot contains. An atomic one must
    /// contain exactly what was delivered at [`Command::Capture`], a fuzzy one at least that: any other is
    /// refused as [`Refusal::Capture`], and begun anew by the joiners.
    pub fn handle_captured(&mut self, snapshot: SnapshotId, digest: &Digest<MEMBERS>, now: Instant) {
        let Some(capture) = self.capture.as_mut().filter(|capture| capture.snapshot.is_none()) else {
            // All who wanted it are gone.
            return self.command(Command::DropCapture { snapshot });
        };
        let fits = digest.covers(&capture.digest)
            && (self.config.contract.capture() == Capture::Fuzzy || capture.digest.covers(digest));
        capture.snapshot = Some(snapshot);
        for n in 0..JOINERS {
            if self.slots[n].as_ref().is_none_or(|slot| slot.at != At::Capturing) {
                continue;
            }
            if fits {
                self.stream(n, AtInput::Captured, now);
            } else {
                self.refuse(n, Refusal::Capture, now);
            }
        }
        self.settle(now);
    }

    /// The state could not be captured.
    pub fn handle_capture_failed(&mut self, now: Instant) {
        for n in 0..JOINERS {
            if self.slots[n].as_ref().is_some_and(|slot| slot.at == At::Capturing) {
                self.refuse(n, Refusal::Capture, now);
            }
        }
        self.capture = self.capture.take().filter(|capture| capture.snapshot.is_some());
        self.settle(now);
    }

    /// The joiner gets the present capture, or the next one, which is begun if need be.
    pub(super) fn capture_for(&mut self, n: usize, now: Instant) {
        let Some(capture) = &self.capture else {
            let (from, digest) = (self.end, self.delivered.clone());
            self.kept.get_or_insert(from);
            self.capture = Some(Captured { from, digest, snapshot: None });
            return self.command(Command::Capture);
        };
        if capture.snapshot.is_some() {
            self.stream(n, AtInput::Captured, now);
        }
    }

    /// The bulk is given to the joiner.
    pub(super) fn stream(&mut self, n: usize, input: AtInput, now: Instant) {
        let capture = self.capture.as_ref().expect("there is one to stream from");
        let (from, snapshot) = (capture.from, capture.snapshot.expect("it is taken"));
        let slot = self.slots[n].as_mut().expect("a joiner that streams has a place");
        slot.begin = Some(Begin { goes_on: false, from, snapshot, parts: 0 });
        (slot.staged, slot.progress) = (None, now);
        let transfer = slot.tag.transfer;
        self.advance(n, input);
        self.command(Command::Give { transfer, snapshot });
    }

    /// The joiner has the bulk durably.
    pub(super) fn staged(&mut self, n: usize, now: Instant) {
        let capture = self.capture.as_ref().expect("it streamed from one");
        let (from, end) = (capture.from, self.end);
        let slot = self.slots[n].as_mut().expect("it speaks");
        slot.staged = capture.snapshot;
        slot.follow(from, end, now);
        let member = slot.member;
        self.advance(n, AtInput::Staged);
        self.event(Event::Following { member });
    }

    /// From where on the log is needed for a joiner. One that has parted before it staged anything needs the
    /// capture's.
    pub(super) fn needs(&self, slot: &Slot) -> Option<LogPoint> {
        match slot.at {
            At::Over => None,
            _ if slot.staged.is_some() => Some(slot.applied),
            _ => self.capture.as_ref().map(|capture| capture.from),
        }
    }

    /// Drops what nobody needs, and keeps the log within its bound.
    pub(super) fn collect(&mut self, now: Instant) {
        let bound = self.config.log_bytes;
        while let Some(oldest) = self.oldest().filter(|oldest| self.end.bytes - oldest.bytes > bound) {
            let needs = |slot: &Option<Slot>| {
                slot.as_ref().is_some_and(|slot| {
                    slot.at != At::Deciding && self.needs(slot).is_some_and(|needs| needs <= oldest)
                })
            };
            // One at its latch will have its outcome, and nothing is logged meanwhile.
            let Some(n) = self.slots.iter().position(needs) else { break };
            self.refuse(n, Refusal::LogFull, now);
            self.drop_capture();
        }
        self.drop_capture();
        let oldest = self.oldest();
        match (self.kept, oldest) {
            (Some(_), None) => self.command(Command::StopLog),
            (Some(kept), Some(oldest)) if kept < oldest => self.command(Command::TrimLog { before: oldest }),
            _ => {}
        }
        self.kept = oldest;
    }

    fn oldest(&self) -> Option<LogPoint> {
        self.slots.iter().flatten().filter_map(|slot| self.needs(slot)).min()
    }

    /// Unless somebody streams from it, or may again.
    fn drop_capture(&mut self) {
        let is_used = self.slots.iter().flatten().any(|slot| slot.staged.is_none());
        if let Some(capture) = self.capture.take_if(|_| !is_used)
            && let Some(snapshot) = capture.snapshot
        {
            self.command(Command::DropCapture { snapshot });
        }
    }
}
