//! What comes from joiners and from the driver.

use super::super::life::{At, AtInput};
use super::output::{Answer, Reply};
use super::slot::{Batch, Begin, Last, Slot};
use super::{Command, Event, Link, Provider, Role};
use crate::id::{MemberId, TransferId};
use crate::time::Instant;
use crate::transfer::wire::{Frame, Have, Payload, Refusal};
use crate::transfer::{Decision, LogPoint, Tag, digest_sum};

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// A frame has come. One of an epoch that is over has no effect, and neither has one that is out of turn: its
    /// connection is closed, and the joiner's next epoch begins with what it has.
    pub fn handle_frame(&mut self, link: Link, tag: Tag, frame: &Frame<'_>, now: Instant) {
        match *frame {
            Frame::Request { member, have } => self.request(link, tag, member, have, now),
            Frame::Ask => self.ask(link, tag, now),
            _ => {
                let on_link = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.link == Some(link));
                let Some(n) = self.slots.iter().position(on_link) else { return };
                let Some(slot) = &self.slots[n] else { return };
                if slot.tag != tag {
                    return;
                }
                match (*frame, slot.at) {
                    (Frame::Staged, At::Staging) if slot.begin.is_none() => self.staged(n, now),
                    (Frame::Applied { to }, At::Following | At::Closing | At::Deciding)
                        if to.is_between(slot.applied, slot.sent) =>
                    {
                        self.applied(n, to, now);
                    }
                    (Frame::Ready { digest }, At::Deciding) if slot.last == Last::Sent => {
                        self.ready(n, digest, now);
                    }
                    (Frame::Cancel, _) => self.release(n, None, now),
                    _ => self.part(n, now),
                }
            }
        }
        self.settle(now);
    }

    /// A connection is lost. What is kept for its joiner stays for twice the stall timeout; a latch for its lease.
    pub fn handle_link_lost(&mut self, link: Link, now: Instant) {
        for n in 0..JOINERS {
            if let Some(slot) = self.slots[n].as_mut().filter(|slot| slot.link == Some(link)) {
                slot.link = None;
                if slot.at != At::Deciding {
                    self.part(n, now);
                }
            }
        }
        self.settle(now);
    }

    /// The bulk that is given to a joiner has come further.
    pub fn handle_bulk_progress(&mut self, transfer: TransferId, now: Instant) {
        let of_it = |slot: &&mut Slot| slot.tag.transfer == transfer && slot.at == At::Staging;
        if let Some(slot) = self.slots.iter_mut().flatten().find(of_it) {
            slot.progress = now;
        }
    }

    /// Records were read for a connection: all from where it was asked to `to`. If that is no place of this log, the one
    /// that the joiner has made up was none either, and its epoch is over.
    pub fn handle_log_read(
        &mut self,
        link: Link,
        from: LogPoint,
        to: LogPoint,
        payload: Payload,
        now: Instant,
    ) {
        let fits = from.records < to.records && to.is_between(from, self.end);
        for n in 0..JOINERS {
            let reader = |slot: &&mut Slot| slot.link == Some(link) && slot.reads && slot.sent == from;
            let Some(slot) = self.slots[n].as_mut().filter(reader) else { continue };
            if !fits {
                self.part(n, now);
                continue;
            }
            (slot.reads, slot.sent) = (false, to);
            slot.records = Some(Batch { from, to, payload });
        }
        self.settle(now);
    }

    /// The log can't be kept, or read: whoever needs it is refused as [`Refusal::LogLost`], and the next joiner begins
    /// another one.
    pub fn handle_log_failed(&mut self, now: Instant) {
        for n in 0..JOINERS {
            if self.slots[n].is_some() {
                self.refuse(n, Refusal::LogLost, now);
            }
        }
        self.settle(now);
    }

    /// The pending prepares were read for a connection.
    pub fn handle_pending_read(&mut self, link: Link, payload: Payload, now: Instant) {
        let reader = |slot: &&mut Slot| slot.link == Some(link) && slot.last == Last::Reading;
        if let Some(slot) = self.slots.iter_mut().flatten().find(reader) {
            slot.last = Last::Pending(payload);
        }
        self.settle(now);
    }

    fn request(&mut self, link: Link, tag: Tag, member: MemberId, have: Option<Have>, now: Instant) {
        if let Some(refusal) = self.refusal(tag, member) {
            return self.answer(link, tag, Reply::Refused(refusal));
        }
        if self.outcomes.recorded(tag).is_some() {
            return;
        }
        let known = self
            .slots
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|slot| slot.tag.transfer == tag.transfer));
        if let Some(n) = known {
            let slot = self.slots[n].as_ref().expect("it was found");
            if tag.epoch <= slot.tag.epoch {
                return;
            }
            if slot.at == At::Deciding {
                self.decide_epoch(n, Decision::Abort, now);
            } else {
                self.part(n, now);
            }
            let slot = self.slots[n].as_mut().expect("it has parted");
            (slot.tag, slot.link, slot.progress) = (tag, Some(link), now);
            return self.go_on(n, have, now);
        }
        let Some(free) = self.slots.iter().position(Option::is_none) else {
            return self.answer(link, tag, Reply::Refused(Refusal::Busy));
        };
        self.slots[free] = Some(Slot::new(tag, member, link, now));
        self.event(Event::Admitted { member });
        self.capture_for(free, now);
    }

    /// Why a request is refused at once.
    fn refusal(&self, tag: Tag, member: MemberId) -> Option<Refusal> {
        let another = |slot: &Slot| slot.member == member && slot.tag.transfer != tag.transfer;
        let strange = |slot: &Slot| slot.member != member && slot.tag.transfer == tag.transfer;
        match self.role {
            Role::Joining => Some(Refusal::NotOperational),
            Role::NonParticipant => Some(Refusal::NonParticipant),
            Role::Provider if member == self.config.member => Some(Refusal::Oneself),
            Role::Provider => {
                let taken = self.slots.iter().flatten().any(|slot| another(slot) || strange(slot));
                taken.then_some(Refusal::Busy)
            }
        }
    }

    /// A later epoch: from what the joiner has, from the same capture, or from a new one.
    fn go_on(&mut self, n: usize, have: Option<Have>, now: Instant) {
        let slot = self.slots[n].as_mut().expect("it has parted");
        // What it has applied may be ahead of what it could say, and never behind.
        let good = have.filter(|have| {
            slot.staged == Some(have.snapshot) && have.point.is_between(slot.applied, self.end)
        });
        if let Some(Have { snapshot, point }) = good {
            slot.begin = Some(Begin { goes_on: true, from: point, snapshot, parts: 0 });
            slot.follow(point, self.end, now);
            return self.advance(n, AtInput::GoOn);
        }
        let streams = slot.staged.take().is_none();
        if streams && self.capture.as_ref().is_some_and(|capture| capture.snapshot.is_some()) {
            return self.stream(n, AtInput::Again, now);
        }
        self.advance(n, AtInput::Anew);
        self.capture_for(n, now);
    }

    fn applied(&mut self, n: usize, to: LogPoint, now: Instant) {
        let (config, end) = (self.config, self.end);
        let slot = self.slots[n].as_mut().expect("it speaks");
        if to > slot.applied || slot.applied == end {
            slot.progress = now;
        }
        slot.applied = to;
        if slot.at == At::Following {
            self.judge_pace(n, &config, now);
        }
    }

    fn ready(&mut self, n: usize, digest: [u8; 32], now: Instant) {
        let stands = !self.latch.is_expired(&self.config, now) && digest == digest_sum(&self.delivered);
        self.decide_epoch(n, if stands { Decision::Commit } else { Decision::Abort }, now);
    }

    /// Whoever asks has not been told: what has no outcome yet gets one now, and goes on no more.
    fn ask(&mut self, link: Link, tag: Tag, now: Instant) {
        let asked = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.tag == tag);
        let under_way = self.slots.iter().position(asked).filter(|_| self.outcomes.recorded(tag).is_none());
        if let Some(n) = under_way {
            match self.slots[n].as_ref().expect("it was found").at {
                At::Deciding => self.decide_epoch(n, Decision::Abort, now),
                At::Parted => self.outcomes.record(tag, Decision::Abort),
                _ => {
                    self.outcomes.record(tag, Decision::Abort);
                    self.part(n, now);
                }
            }
        }
        let decision = self.outcomes.recorded(tag).unwrap_or(Decision::Abort);
        self.answer(link, tag, Reply::Outcome(decision));
    }

    /// Records an epoch's outcome, opens the latch, and says it.
    pub(super) fn decide_epoch(&mut self, n: usize, decision: Decision, now: Instant) {
        let slot = self.slots[n].as_ref().expect("it is deciding");
        let (tag, member, link) = (slot.tag, slot.member, slot.link);
        self.outcomes.record(tag, decision);
        self.event(Event::Decided { member, tag, decision });
        self.open_latch(now);
        if let Some(link) = link {
            self.answer(link, tag, Reply::Decided(decision));
        }
        match decision {
            Decision::Commit => self.advance(n, AtInput::Commit),
            Decision::Abort => {
                let slot = self.slots[n].as_mut().expect("it is deciding");
                slot.part();
                slot.progress = now;
                self.advance(n, AtInput::Abort);
            }
        }
    }

    /// The epoch is over without a cut-over: a later one may go on.
    pub(super) fn part(&mut self, n: usize, now: Instant) {
        let slot = self.slots[n].as_mut().expect("who parts has a place");
        match slot.at {
            At::Deciding => return self.decide_epoch(n, Decision::Abort, now),
            At::Closing => self.open_latch(now),
            At::Staging => {
                let transfer = slot.tag.transfer;
                self.command(Command::StopGiving { transfer });
            }
            At::Capturing | At::Following | At::Parted | At::Over => {}
        }
        let slot = self.slots[n].as_mut().expect("who parts has a place");
        if let Some(link) = slot.link {
            self.command(Command::Close { link });
        }
        let slot = self.slots[n].as_mut().expect("who parts has a place");
        slot.part();
        self.advance(n, AtInput::Part);
    }

    /// The joiner is told why, and given up.
    pub(super) fn refuse(&mut self, n: usize, why: Refusal, now: Instant) {
        let slot = self.slots[n].as_ref().expect("who is refused has a place");
        if let Some(link) = slot.link {
            let tag = slot.tag;
            self.answer(link, tag, Reply::Refused(why));
        }
        self.release(n, Some(why), now);
    }

    /// Gives a joiner up.
    pub(super) fn release(&mut self, n: usize, why: Option<Refusal>, now: Instant) {
        let slot = self.slots[n].as_mut().expect("who is given up has a place");
        let member = slot.member;
        // Its words go before its connection does.
        if why.is_some() {
            slot.link = None;
        }
        self.part(n, now);
        self.advance(n, AtInput::Release);
        self.event(Event::Released { member, why });
    }

    pub(super) fn answer(&mut self, link: Link, tag: Tag, reply: Reply) {
        if self.answers.is_full() {
            // Whoever waited longest asks again.
            self.answers.pop_front();
        }
        let _ = self.answers.push_back(Answer { link, tag, reply });
    }
}
