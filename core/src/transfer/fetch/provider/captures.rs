//! What was captured, and for whom it is kept.

use super::super::Protocol;
use super::super::life::{At, AtInput};
use super::{Command, Provider};
use crate::digest::Digest;
use crate::id::{SnapshotId, StateId};
use crate::time::Instant;
use crate::transfer::wire::Refusal;
use crate::transfer::{Capture, LogPoint};

/// Names a capture between a machine and its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaptureNumber(pub u64);

/// A capture: what was delivered where it was commanded, and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Captured<const MEMBERS: usize> {
    /// `None`: of this place nothing is wanted but the log up to it.
    pub(super) number: Option<CaptureNumber>,
    pub(super) state: StateId,
    pub(super) digest: Digest<MEMBERS>,
    /// The end of the log there.
    pub(super) point: LogPoint,
    /// `None` while it is being taken.
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) is_summing: bool,
    pub(super) root: Option<[u8; 32]>,
}

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// The state is captured; `digest` is what the engine says that its snapshot contains. An atomic one must
    /// contain exactly what was delivered at [`Command::Capture`], a fuzzy one at least that: any other is
    /// refused as [`Refusal::Capture`].
    pub fn handle_captured(
        &mut self,
        capture: CaptureNumber,
        snapshot: SnapshotId,
        digest: &Digest<MEMBERS>,
        now: Instant,
    ) {
        let is_fuzzy = self.config.contract.capture() == Capture::Fuzzy;
        // Several may share it: of the place where it was commanded is the one whose digest it must have.
        let fits =
            |one: &Captured<MEMBERS>| digest.covers(&one.digest) && (is_fuzzy || one.digest.covers(digest));
        let waits = |one: &&Captured<MEMBERS>| one.number == Some(capture) && one.snapshot.is_none();
        if !self.captures.iter().flatten().filter(waits).any(fits) {
            return self.handle_capture_failed(capture, now);
        }
        for n in 0..JOINERS {
            let Some(captured) = self.captures[n].as_mut() else { continue };
            if captured.number == Some(capture) {
                captured.snapshot = Some(snapshot);
                self.sum(n);
                self.captured(n, now);
            }
        }
        self.settle(now);
    }

    /// The state could not be captured.
    pub fn handle_capture_failed(&mut self, capture: CaptureNumber, now: Instant) {
        for n in 0..JOINERS {
            if self.captures[n].as_ref().is_some_and(|one| one.number == Some(capture)) {
                self.copies.iter_mut().for_each(|copy| copy.capture = copy.capture.filter(|at| *at != n));
                self.drop_users(n, Refusal::Capture);
            }
        }
        self.settle(now);
    }

    /// The engine has lost a snapshot that was whole: who streams from it is refused, and asks anew.
    pub fn handle_capture_lost(&mut self, capture: CaptureNumber, now: Instant) {
        self.handle_capture_failed(capture, now);
    }

    /// So many bytes of a captured state were read to find its root.
    pub fn handle_summing(&mut self, capture: CaptureNumber, bytes: u64, now: Instant) {
        self.tell_summing(capture, bytes, now);
        self.settle(now);
    }

    /// The root of a captured state is known.
    pub fn handle_summed(&mut self, capture: CaptureNumber, root: [u8; 32], now: Instant) {
        for captured in self.captures.iter_mut().flatten() {
            if captured.number == Some(capture) {
                captured.root = Some(root);
            }
        }
        self.tell_roots();
        self.settle(now);
    }

    fn drop_users(&mut self, capture: usize, why: Refusal) {
        for n in 0..JOINERS {
            if self.slots[n].as_ref().is_some_and(|slot| slot.capture == Some(capture)) {
                self.refuse(n, why);
            }
        }
    }

    /// Captures a state at this place; `None` if there is no room. What was captured since the state last changed
    /// is the same, and shared.
    pub(super) fn capture(&mut self, state: StateId) -> Option<usize> {
        let free = self.captures.iter().position(Option::is_none)?;
        let same = |captured: &&Captured<MEMBERS>| {
            captured.number == Some(CaptureNumber(self.last_capture)) && captured.state == state
        };
        let shared = self.captures.iter().flatten().find(same).filter(|_| !self.has_changed).cloned();
        let (digest, point) = (self.delivered.clone(), self.end);
        let capture = if let Some(shared) = shared {
            Captured { digest, point, ..shared }
        } else {
            (self.last_capture, self.has_changed) = (self.last_capture + 1, false);
            let number = CaptureNumber(self.last_capture);
            self.command(Command::Capture { capture: number, state });
            let (snapshot, is_summing, root) = (None, false, None);
            Captured { number: Some(number), state, digest, point, snapshot, is_summing, root }
        };
        self.captures[free] = Some(capture);
        Some(free)
    }

    /// Notes this place, for the log up to it.
    pub(super) fn mark(&mut self) -> Option<usize> {
        let free = self.captures.iter().position(Option::is_none)?;
        self.captures[free] = Some(Captured {
            number: None,
            state: StateId::default(),
            digest: self.delivered.clone(),
            point: self.end,
            snapshot: None,
            is_summing: false,
            root: None,
        });
        Some(free)
    }

    /// Those who wait for it have it.
    fn captured(&mut self, capture: usize, now: Instant) {
        for n in 0..JOINERS {
            let waits = |slot: &super::Slot| slot.at == At::Capturing && slot.capture == Some(capture);
            if self.slots[n].as_ref().is_some_and(waits) {
                self.stream(n, now);
            }
        }
    }

    /// The joiner streams from its capture, or waits for it.
    pub(super) fn stream(&mut self, n: usize, now: Instant) {
        let slot = self.slots[n].as_mut().expect("a joiner that streams has a place");
        let captured = slot.capture.and_then(|at| self.captures[at].as_ref()).expect("it has a capture");
        let Some((snapshot, capture)) = captured.snapshot.zip(captured.number) else {
            return self.advance(n, AtInput::Capture);
        };
        (slot.begin, slot.progress) = (Some(0), now);
        let transfer = slot.tag.transfer;
        self.advance(n, AtInput::Captured);
        self.command(Command::Give { transfer, capture, snapshot });
    }

    /// The root is found once somebody wants it and the capture is there.
    pub(super) fn sum(&mut self, capture: usize) {
        let wanted = self.copies.iter().any(|copy| copy.capture == Some(capture) && copy.asks_root);
        let Some(captured) = self.captures[capture].as_mut().filter(|_| wanted) else { return };
        if let Some(number) = captured.number.filter(|_| captured.snapshot.is_some() && !captured.is_summing)
        {
            captured.is_summing = true;
            self.command(Command::Sum { capture: number });
        }
    }

    /// From here on all messages are logged, for who prefetches.
    pub(super) fn keep_log(&mut self) {
        if self.config.protocol == Protocol::Prefetch && self.kept.is_none() {
            self.kept = Some(self.end);
            self.command(Command::KeepLog);
        }
    }

    /// From where on a joiner needs the log.
    fn needs(&self, slot: &super::Slot) -> Option<LogPoint> {
        let prefetches = self.config.protocol == Protocol::Prefetch && slot.copy.is_none();
        let streams = slot.capture.filter(|_| prefetches).and_then(|at| self.captures[at].as_ref());
        slot.fetched.map(|(_, from)| from).or(streams.map(|captured| captured.point))
    }

    pub(super) fn oldest(&self) -> Option<LogPoint> {
        self.slots.iter().flatten().filter_map(|slot| self.needs(slot)).min()
    }

    /// Drops what nobody needs, and keeps the log within its bound.
    pub(super) fn collect(&mut self) {
        let bound = self.config.log_bytes;
        while let Some(oldest) = self.oldest().filter(|oldest| self.end.bytes - oldest.bytes > bound) {
            let needs = |slot: &Option<super::Slot>| {
                slot.as_ref().is_some_and(|slot| self.needs(slot) == Some(oldest))
            };
            let n = self.slots.iter().position(needs).expect("the oldest is somebody's");
            self.refuse(n, Refusal::LogFull);
        }
        for at in 0..JOINERS {
            let copied = self.copies.iter().any(|copy| copy.capture == Some(at));
            let used = copied || self.slots.iter().flatten().any(|slot| slot.capture == Some(at));
            if let Some(captured) = self.captures[at].take_if(|_| !used) {
                self.slots.iter_mut().flatten().for_each(|slot| slot.covering &= !(1 << at));
                let shares = |one: &Captured<MEMBERS>| one.number == captured.number;
                if let Some(capture) = captured.number.filter(|_| !self.captures.iter().flatten().any(shares))
                {
                    self.command(Command::DropCapture { capture });
                }
            }
        }
        let oldest = self.oldest();
        match (self.kept, oldest) {
            (Some(_), None) => self.command(Command::StopLog),
            (Some(kept), Some(oldest)) if kept < oldest => self.command(Command::TrimLog { before: oldest }),
            _ => {}
        }
        self.kept = oldest;
    }
}
