//! Copies that were made at one place in the order, for those who asked the group for them.

use super::super::Protocol;
use super::super::life::At;
use super::output::Reply;
use super::{CaptureNumber, Provider};
use crate::id::{Epoch, MemberId, StateId, TransferId};
use crate::time::Instant;
use crate::transfer::wire::{Have, Refusal};
use crate::transfer::{Capture, Role, Tag};

use core::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) tag: Tag,
    pub(super) member: MemberId,
    /// `None`: there was no room, or it failed.
    pub(super) capture: Option<usize>,
    pub(super) lease: Duration,
    pub(super) until: Instant,
    /// Who made it wants its root, in this epoch.
    pub(super) asks_root: bool,
    pub(super) is_told: bool,
}

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// `MAKE_COPY` is delivered here: this place is what is copied. A member has one transfer: its earlier copies go.
    pub(super) fn make_copy(
        &mut self,
        tag: Tag,
        member: MemberId,
        lease_ns: u64,
        have: Option<Have>,
        now: Instant,
    ) {
        if member == self.config.member || self.role != Role::Provider || !self.config.protocol.is_ordered() {
            return;
        }
        self.has_staged(tag, have, now);
        self.copies.retain(|copy| copy.member != member);
        self.collect();
        if self.copies.is_full() {
            return;
        }
        let follows = |slot: &super::Slot| {
            slot.tag.transfer == tag.transfer && slot.fetched.map(|one| one.0) == have.map(|one| one.snapshot)
        };
        let follows = have.is_some() && self.slots.iter().flatten().any(follows);
        let capture = if follows {
            self.mark()
        } else if self.config.contract.capture() == Capture::Atomic {
            self.capture(StateId::default())
        } else {
            // A scan without a log is no copy of one place.
            return;
        };
        let lease = Duration::from_nanos(lease_ns);
        let until = now.after(lease);
        let copy = Copy { tag, member, capture, lease, until, asks_root: false, is_told: false };
        assert!(self.copies.push(copy).is_ok(), "there was room");
    }

    /// What a joiner says to all that it has, it has staged: its word of that to this member may come later.
    fn has_staged(&mut self, tag: Tag, have: Option<Have>, now: Instant) {
        let Some(have) = have else { return };
        let stages = |slot: &Option<super::Slot>| {
            let slot = slot.as_ref().filter(|slot| slot.at == At::Staging && slot.begin.is_none());
            let captured =
                slot.filter(|slot| slot.tag.transfer == tag.transfer).and_then(|slot| slot.capture);
            captured.and_then(|at| self.captures[at].as_ref()?.snapshot) == Some(have.snapshot)
        };
        if let Some(n) = self.slots.iter().position(stages) {
            self.staged(n, now);
        }
    }

    /// The copies of a transfer are not needed any more, nor what else is kept for it.
    pub(super) fn collect_copies(&mut self, tag: Tag) {
        self.copies.retain(|copy| copy.tag.transfer != tag.transfer || copy.tag.epoch > tag.epoch);
        let of_it = |slot: &Option<super::Slot>| {
            slot.as_ref().is_some_and(|slot| slot.tag.transfer == tag.transfer && slot.tag.epoch <= tag.epoch)
        };
        while let Some(n) = self.slots.iter().position(of_it) {
            self.release(n, None);
        }
    }

    /// The copy of an epoch.
    pub(super) fn copy(&self, transfer: TransferId, epoch: Epoch) -> Option<&Copy> {
        self.copies.iter().find(|copy| copy.tag == Tag { transfer, epoch })
    }

    /// Its root is wanted.
    pub(super) fn ask_root(&mut self, from: MemberId, tag: Tag, epoch: Epoch) {
        let refusal = match (self.role, self.config.protocol) {
            (Role::Joining, _) => Some(Refusal::NotOperational),
            (Role::NonParticipant, _) => Some(Refusal::NonParticipant),
            (Role::Provider, Protocol::Copy | Protocol::Prefetch) => match self.copy(tag.transfer, epoch) {
                Some(Copy { capture: Some(_), member, .. }) if *member == from => None,
                Some(_) => Some(Refusal::Busy),
                None => Some(Refusal::NotYet),
            },
            (Role::Provider, Protocol::Streaming | Protocol::Flush) => Some(Refusal::Gone),
        };
        if let Some(why) = refusal {
            return self.answer(from, tag, Reply::Refused(why));
        }
        let of_it = |copy: &&mut Copy| copy.tag == Tag { transfer: tag.transfer, epoch };
        let copy = self.copies.iter_mut().find(of_it).expect("it was found");
        (copy.asks_root, copy.is_told) = (true, false);
        let capture = copy.capture.expect("it has one");
        self.sum(capture);
        self.tell_roots();
    }

    /// What is read to find a root is told to those who want it, whose copies stay meanwhile.
    pub(super) fn tell_summing(&mut self, capture: CaptureNumber, bytes: u64, now: Instant) {
        for n in 0..self.copies.len() {
            let Copy { tag, member, capture: at, lease, asks_root, is_told, .. } = self.copies[n];
            let number = at.and_then(|at| self.captures[at].as_ref()).and_then(|captured| captured.number);
            if number == Some(capture) && asks_root && !is_told {
                self.copies[n].until = now.after(lease);
                self.answer(member, tag, Reply::Summing(bytes));
            }
        }
    }

    /// Roots that are known go to those who want them.
    pub(super) fn tell_roots(&mut self) {
        for n in 0..self.copies.len() {
            let Copy { tag, member, capture, asks_root, is_told, .. } = self.copies[n];
            let root = capture.and_then(|at| self.captures[at].as_ref()).and_then(|captured| captured.root);
            if let Some(root) = root.filter(|_| asks_root && !is_told) {
                self.copies[n].is_told = true;
                self.answer(member, tag, Reply::Root(root));
            }
        }
    }
}
