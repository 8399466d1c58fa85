//! What follows from what has happened: log is read, the latch closes and opens, deadlines pass.

use super::super::life::{At, AtInput};
use super::super::{Config, Policy};
use super::pace::Shown;
use super::slot::Last;
use super::{Command, Event, Provider};
use crate::time::Instant;
use crate::transfer::Decision;
use crate::transfer::wire::Refusal;

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// A deadline may have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let config = self.config;
        for n in 0..JOINERS {
            let Some(slot) = &self.slots[n] else { continue };
            match slot.at {
                At::Deciding if self.latch.is_expired(&config, now) => {
                    self.decide_epoch(n, Decision::Abort, now);
                }
                At::Deciding | At::Over => {}
                At::Closing if self.latch.is_undrained(&config, now) => {
                    let (held, delayed) = self.latch.give_up(&config, now);
                    self.opened(held, delayed);
                    self.advance(n, AtInput::Reopen);
                }
                _ if now >= slot.deadline(&config) => self.refuse(n, Refusal::Stalled, now),
                _ => {}
            }
        }
        self.settle(now);
    }

    /// Whatever can be done now is done. Called after every mutation.
    pub(super) fn settle(&mut self, now: Instant) {
        // Nothing left to read may be what a latch waits for, and a closed latch has its last words read.
        self.feed();
        self.press();
        self.close_latch(now);
        self.feed();
        self.collect(now);
        let follows = self.slots.iter().flatten().any(|slot| slot.at != At::Parted);
        if self.throttled && !follows {
            self.throttled = false;
            self.command(Command::Throttle { on: false });
        }
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    /// A round may have ended.
    pub(super) fn judge_pace(&mut self, n: usize, config: &Config, now: Instant) {
        let end = self.end;
        let slot = self.slots[n].as_mut().expect("it follows");
        let (member, shown) = (slot.member, slot.pace.applied(slot.applied, end, config, now));
        let Shown::Stuck { written_per_second, applied_per_second } = shown else {
            slot.wants_latch |= shown == Shown::Near;
            return;
        };
        self.event(Event::CannotConverge { member, written_per_second, applied_per_second });
        match config.policy {
            Policy::Throttle if !self.throttled => {
                self.throttled = true;
                self.command(Command::Throttle { on: true });
            }
            Policy::Throttle | Policy::Wait => {}
            Policy::Fail => self.refuse(n, Refusal::CannotCatchUp, now),
            Policy::LatchNow => self.slots[n].as_mut().expect("it follows").wants_latch = true,
        }
    }

    /// The log is nearly as long as it may be: the policy decides, before somebody has to be refused.
    fn press(&mut self) {
        let Some(kept) = self.kept else { return };
        if self.end.bytes - kept.bytes <= self.config.log_bytes / 4 * 3 {
            return;
        }
        match self.config.policy {
            Policy::Throttle if !self.throttled => {
                self.throttled = true;
                self.command(Command::Throttle { on: true });
            }
            Policy::LatchNow => {
                let follows = |slot: &&mut super::Slot| slot.at == At::Following;
                self.slots.iter_mut().flatten().filter(follows).for_each(|slot| slot.wants_latch = true);
            }
            Policy::Throttle | Policy::Wait | Policy::Fail => {}
        }
    }

    /// For the first joiner that is near enough; and once nothing is in flight, it is closed.
    fn close_latch(&mut self, now: Instant) {
        let near = |slot: &super::Slot| slot.at == At::Following && slot.wants_latch && slot.begin.is_none();
        if self.latch.may_close(now)
            && let Some(n) = self.slots.iter().position(|slot| slot.as_ref().is_some_and(near))
        {
            self.latch.close(now);
            self.advance(n, AtInput::Latch);
        }
        if self.latch.is_draining() && self.latch.in_flight == 0 {
            let closing =
                |slot: &Option<super::Slot>| slot.as_ref().is_some_and(|slot| slot.at == At::Closing);
            let n = self.slots.iter().position(closing).expect("it drains for somebody");
            self.latch.drained();
            let slot = self.slots[n].as_mut().expect("it was found");
            (slot.wants_latch, slot.last, slot.progress) = (false, Last::Tail, now);
            self.advance(n, AtInput::Drained);
        }
    }

    /// Reads what joiners need next.
    fn feed(&mut self) {
        for n in 0..JOINERS {
            self.feed_one(n);
        }
    }

    fn feed_one(&mut self, n: usize) {
        let (end, pending, max_bytes) = (self.end, self.pending(), self.config.batch_bytes);
        let Some(slot) = self.slots[n].as_mut() else { return };
        let Some(link) = slot.link.filter(|_| matches!(slot.at, At::Following | At::Closing | At::Deciding))
        else {
            return;
        };
        if slot.reads || slot.records.is_some() || slot.begin.is_some() {
            return;
        }
        if slot.sent < end {
            slot.reads = true;
            let from = slot.sent;
            return self.command(Command::ReadLog { link, from, max_bytes });
        }
        if slot.at == At::Deciding && slot.last == Last::Tail {
            if pending == 0 {
                slot.last = Last::Digest(0);
            } else {
                slot.last = Last::Reading;
                self.command(Command::ReadPending { link });
            }
        } else if slot.at == At::Following && slot.applied == end {
            // There is nothing left, and so no word that would end the round.
            slot.wants_latch = true;
        }
    }

    pub(super) fn open_latch(&mut self, now: Instant) {
        let (held, delayed) = self.latch.open(now);
        self.opened(held, delayed);
    }

    fn opened(&mut self, held: core::time::Duration, delayed: core::time::Duration) {
        let (held_ns, delayed_ns) = (held.as_nanos() as u64, delayed.as_nanos() as u64);
        self.event(Event::LatchOpened { held_ns, delayed_ns });
        self.command(Command::Reoffer);
    }
}
