//! What comes from joiners and from the driver.

use super::super::Protocol;
use super::super::life::{At, AtInput};
use super::captures::Captured;
use super::output::Reply;
use super::slot::{Batch, Log, Slot};
use super::{Command, Event, Provider};
use crate::digest::DigestPart;
use crate::id::{MemberId, TransferId};
use crate::time::Instant;
use crate::transfer::wire::{Frame, Payload, Refusal};
use crate::transfer::{LogPoint, Role, Tag};

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// A frame has come from a member. One of an epoch that is over has no effect, and one that is out of turn ends
    /// its epoch.
    pub fn handle_frame(&mut self, from: MemberId, tag: Tag, frame: &Frame<'_>, now: Instant) {
        match *frame {
            Frame::Fetch { state, copy, members } => {
                let wanted = Slot { state, copy, awaited: members, ..Slot::new(tag, from, now) };
                self.fetch(wanted, now);
            }
            Frame::AskRoot { copy } => self.ask_root(from, tag, copy),
            Frame::Cancel => self.cancel(from, tag),
            _ => {
                let speaks = |slot: &Option<Slot>| {
                    slot.as_ref().is_some_and(|slot| slot.member == from && slot.tag == tag)
                };
                let Some(n) = self.slots.iter().position(speaks) else { return };
                let Some(slot) = self.slots[n].as_mut() else { return };
                match (*frame, slot.at) {
                    (Frame::Digest(part), At::Asking) => self.covers(n, &part, now),
                    (Frame::Staged, At::Staging) if slot.begin.is_none() => self.staged(n, now),
                    (Frame::Applied { .. }, At::Reading) => slot.progress = now,
                    _ => self.part(n),
                }
            }
        }
        self.settle(now);
    }

    /// The connection to a member is lost. What is kept for it stays for twice the stall timeout.
    pub fn handle_lost(&mut self, member: MemberId, now: Instant) {
        for n in 0..JOINERS {
            if self.slots[n].as_ref().is_some_and(|slot| slot.member == member) {
                self.part(n);
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

    /// Records were read for a joiner: all from where it was asked to `to`.
    pub fn handle_log_read(
        &mut self,
        transfer: TransferId,
        from: LogPoint,
        to: LogPoint,
        payload: Payload,
        now: Instant,
    ) {
        let reader =
            |slot: &&mut Slot| slot.tag.transfer == transfer && slot.log.reads && slot.log.sent == from;
        if let Some(slot) = self.slots.iter_mut().flatten().find(reader) {
            let batch = Some(Batch { from, to, payload });
            slot.log = Log { sent: to, reads: false, batch, is_last_sent: false };
        }
        self.settle(now);
    }

    /// A joiner gives up, and whatever it has begun before.
    fn cancel(&mut self, from: MemberId, tag: Tag) {
        let of_it = |slot: &Option<Slot>| {
            slot.as_ref().is_some_and(|slot| {
                slot.member == from && slot.tag.transfer == tag.transfer && slot.tag.epoch <= tag.epoch
            })
        };
        if let Some(n) = self.slots.iter().position(of_it) {
            self.release(n, None);
        }
    }

    /// A joiner asks. A later epoch ends the one before, and a later transfer of the same member for the same state
    /// takes the place of its earlier one.
    fn fetch(&mut self, wanted: Slot, now: Instant) {
        let (tag, member, state) = (wanted.tag, wanted.member, wanted.state);
        if let Some(why) = self.refusal(&wanted) {
            return self.answer(member, tag, Reply::Refused(why));
        }
        let known = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.tag.transfer == tag.transfer);
        let earlier = |slot: &Option<Slot>| {
            slot.as_ref().is_some_and(|slot| slot.member == member && slot.state == state)
        };
        let n = if let Some(n) = self.slots.iter().position(known) {
            let slot = self.slots[n].as_ref().expect("it was found");
            if tag.epoch <= slot.tag.epoch || slot.member != member {
                return;
            }
            self.part(n);
            let slot = self.slots[n].as_mut().expect("it has parted");
            let capture = slot.capture.filter(|_| slot.state == state);
            // Who begins with the bulk again has lost what it had.
            let fetched = slot.fetched.filter(|_| wanted.copy.is_some());
            *slot = Slot { at: slot.at, capture, fetched, ..wanted };
            self.advance(n, AtInput::Ask);
            n
        } else {
            if let Some(n) = self.slots.iter().position(earlier) {
                self.release(n, None);
            }
            let Some(free) = self.slots.iter().position(Option::is_none) else {
                return self.answer(member, tag, Reply::Refused(Refusal::Busy));
            };
            self.slots[free] = Some(wanted);
            self.event(Event::Admitted { member });
            free
        };
        self.slots[n].as_mut().expect("it asks").covering = u64::MAX;
        if self.slots[n].as_ref().is_some_and(|slot| slot.awaited == 0) {
            self.asked(n, now);
        }
    }

    /// Why a request is refused at once.
    fn refusal(&self, wanted: &Slot) -> Option<Refusal> {
        match self.role {
            Role::Joining => Some(Refusal::NotOperational),
            Role::NonParticipant => Some(Refusal::NonParticipant),
            Role::Provider if wanted.member == self.config.member => Some(Refusal::Oneself),
            Role::Provider => {
                let of_now = self.config.protocol != Protocol::Copy;
                let of_place = self.config.protocol.is_ordered();
                let known = if wanted.copy.is_some() { of_place } else { of_now };
                (!known).then_some(Refusal::Gone)
            }
        }
    }

    /// More of what its capture must cover.
    fn covers(&mut self, n: usize, part: &DigestPart<'_>, now: Instant) {
        let slot = self.slots[n].as_mut().expect("it asks");
        let entries = part.entries().len();
        if entries == 0 || entries > usize::from(slot.awaited) {
            return self.part(n);
        }
        for entry in part.entries().filter(|entry| entry.delivered().0 > 0) {
            let (member, delivered) = (entry.member(), entry.delivered());
            slot.is_covered &= self.delivered.contains(member, delivered);
            for (at, captured) in self.captures.iter().enumerate() {
                let covers = captured.as_ref().is_some_and(|one| one.digest.contains(member, delivered));
                slot.covering &= !(u64::from(!covers) << at);
            }
        }
        slot.awaited -= entries as u16;
        slot.progress = now;
        if slot.awaited == 0 {
            self.asked(n, now);
        }
    }

    /// It has said all: it gets the copy that it wants, a capture that is there and covers that, or a new one.
    fn asked(&mut self, n: usize, now: Instant) {
        let slot = self.slots[n].as_ref().expect("it asks");
        if !slot.is_covered {
            return self.not_now(n, Refusal::NotYet);
        }
        let (state, member, covering) = (slot.state, slot.member, slot.covering);
        let capture = if let Some(epoch) = slot.copy {
            let copy = self.copy(slot.tag.transfer, epoch).filter(|copy| copy.member == member);
            let Some(copy) = copy else { return self.not_now(n, Refusal::Gone) };
            copy.capture
        } else {
            let logged = |one: &Captured<MEMBERS>| self.kept.is_some_and(|kept| kept <= one.point);
            let prefetches = self.config.protocol == Protocol::Prefetch;
            let fits = |at: &usize| {
                let one = self.captures[*at].as_ref();
                let is_state = |one: &Captured<MEMBERS>| one.number.is_some() && one.state == state;
                covering & (1 << at) != 0
                    && one.is_some_and(|one| is_state(one) && (!prefetches || logged(one)))
            };
            let shared = slot.capture.filter(fits).or_else(|| (0..JOINERS).find(fits));
            shared.or_else(|| {
                self.keep_log();
                self.capture(state)
            })
        };
        let Some(capture) = capture else { return self.not_now(n, Refusal::Busy) };
        let is_log = self.captures[capture].as_ref().is_some_and(|one| one.number.is_none());
        let slot = self.slots[n].as_mut().expect("it asks");
        if !is_log {
            slot.capture = Some(capture);
            return self.stream(n, now);
        }
        // Of that place only the log was wanted, and nobody knows any more from where on.
        let Some((_, from)) = slot.fetched else { return self.not_now(n, Refusal::Gone) };
        (slot.capture, slot.begin, slot.progress) = (Some(capture), Some(0), now);
        slot.log = Log { sent: from, ..Log::default() };
        self.advance(n, AtInput::GoOn);
    }

    /// The joiner has the bulk durably. What was prefetched is followed by its log, later.
    pub(super) fn staged(&mut self, n: usize, now: Instant) {
        let slot = self.slots[n].as_mut().expect("it speaks");
        let member = slot.member;
        if self.config.protocol == Protocol::Prefetch && slot.copy.is_none() {
            let captured = slot.capture.take().and_then(|at| self.captures[at].as_ref());
            let captured = captured.expect("it streamed from one");
            slot.fetched = captured.snapshot.map(|snapshot| (snapshot, captured.point));
            slot.progress = now;
            return self.part(n);
        }
        self.part(n);
        self.advance(n, AtInput::Release);
        self.event(Event::Gave { member });
    }

    /// Reads what joiners need next of the log.
    pub(super) fn feed(&mut self) {
        let max_bytes = self.config.batch_bytes;
        for n in 0..JOINERS {
            let Some(slot) = self.slots[n].as_mut().filter(|slot| slot.at == At::Reading) else { continue };
            let captured = slot.capture.and_then(|at| self.captures[at].as_ref()).expect("it has a place");
            let (end, log) = (captured.point, &mut slot.log);
            if slot.begin.is_none() && !log.reads && log.batch.is_none() && log.sent < end {
                log.reads = true;
                let (transfer, from) = (slot.tag.transfer, log.sent);
                self.command(Command::ReadLog { transfer, from, end, max_bytes });
            }
        }
    }

    /// It may ask again soon: what it had stays.
    fn not_now(&mut self, n: usize, why: Refusal) {
        let slot = self.slots[n].as_ref().expect("it asks");
        let (member, tag) = (slot.member, slot.tag);
        self.answer(member, tag, Reply::Refused(why));
        self.part(n);
    }

    /// Its epoch is over: a later one may go on.
    pub(super) fn part(&mut self, n: usize) {
        let slot = self.slots[n].as_mut().expect("who parts has a place");
        (slot.begin, slot.log) = (None, Log::default());
        let (at, transfer) = (slot.at, slot.tag.transfer);
        self.advance(n, AtInput::Part);
        if at == At::Staging {
            self.command(Command::StopGiving { transfer });
        }
    }

    /// The joiner is told why, and given up.
    pub(super) fn refuse(&mut self, n: usize, why: Refusal) {
        let slot = self.slots[n].as_ref().expect("who is refused has a place");
        let (member, tag) = (slot.member, slot.tag);
        self.answer(member, tag, Reply::Refused(why));
        self.release(n, Some(why));
    }

    /// Gives a joiner up.
    pub(super) fn release(&mut self, n: usize, why: Option<Refusal>) {
        let member = self.slots[n].as_ref().expect("who is given up has a place").member;
        self.part(n);
        self.advance(n, AtInput::Release);
        self.event(Event::Released { member, why });
    }
}
