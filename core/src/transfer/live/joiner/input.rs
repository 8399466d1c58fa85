//! What comes from the provider and from the driver.

use core::time::Duration;

use super::super::life::{Input, State};
use super::{Doubt, Failure, Joiner, JoinerCommand, Last, Outbox};
use crate::digest::Assembly;
use crate::id::{Epoch, SnapshotId};
use crate::time::Instant;
use crate::transfer::wire::{Frame, Have};
use crate::transfer::{Decision, LogPoint, Tag};

impl<const MEMBERS: usize, const PROMISES: usize> Joiner<MEMBERS, PROMISES> {
    /// A connection to the provider stands.
    pub fn handle_link_up(&mut self, now: Instant) {
        match self.state {
            State::Dialling => {
                let connected = self.advance(Input::Connect);
                (self.redial_at, self.progress) = (None, now);
                self.outbox = Outbox { request: connected, ..Outbox::default() };
            }
            State::Doubting => self.ask(now),
            _ => self.command(JoinerCommand::Close),
        }
        self.settle(now);
    }

    /// The connection is lost, or could not be had. Ready, the outcome is asked for; before, the next epoch begins.
    pub fn handle_link_lost(&mut self, now: Instant) {
        match self.state {
            State::Ready => self.doubt(now),
            State::Doubting => {
                self.doubt.asked = None;
                self.redial_at = Some(now.after(self.pause()));
            }
            State::Committing | State::CatchingUp | State::Serving | State::Failed => {}
            _ => self.again(Failure::Lost, true, now),
        }
        self.settle(now);
    }

    /// A frame has come. One of another epoch has no effect.
    pub fn handle_frame(&mut self, tag: Tag, frame: &Frame<'_>, now: Instant) {
        if tag != self.tag || self.is_over() {
            return;
        }
        match (*frame, self.state) {
            (Frame::Digest(part), State::Requesting | State::Following) => {
                if self.assembly.take(&part).is_err() {
                    return self.again(Failure::Protocol, true, now);
                }
            }
            (Frame::Begin { snapshot, from, goes_on, members, .. }, State::Requesting) => {
                self.begin(snapshot, from, goes_on, members, now);
            }
            (Frame::Refused { why, .. }, _) => self.again(Failure::Refused(why), true, now),
            (Frame::Records { from, to, payload }, State::Following) if self.payload.is_none() => {
                let after = self.received.records;
                if from.records > after || self.received != self.announced {
                    let next = from.records + 1;
                    return self.again(Failure::LogGap { after, next }, true, now);
                }
                self.announced = self.announced.max(to);
                (self.payload, self.progress) = (Some(payload), now);
            }
            (Frame::Pending { payload, .. }, State::Following) if self.payload.is_none() => {
                (self.payload, self.progress) = (Some(payload), now);
            }
            (Frame::Last { end, pending, members, .. }, State::Following) => {
                self.last(Last { end, pending }, members, now);
            }
            (Frame::Commit, State::Ready) => {
                // By a clock that counts sleep. What was pinned may be gone: does the epoch still stand?
                if now.since(self.ready_at) > self.config.lease {
                    self.doubt(now);
                } else {
                    self.commit(now);
                }
            }
            (Frame::Abort, State::Following | State::Closing | State::Ready) => {
                self.again(Failure::Aborted, true, now);
            }
            (Frame::Outcome { decision: Decision::Abort }, State::Doubting) => {
                self.again(Failure::Aborted, true, now);
            }
            (Frame::Outcome { decision: Decision::Commit }, State::Doubting) => self.doubt.committed = true,
            // Said before it was asked.
            (Frame::Commit | Frame::Abort, State::Doubting) => {}
            _ => self.again(Failure::Protocol, true, now),
        }
        self.settle(now);
    }

    /// The bulk has come further.
    pub fn handle_bulk_progress(&mut self, now: Instant) {
        if self.state == State::Staging {
            self.progress = now;
        }
    }

    /// The bulk of this capture is durable in the hidden copy.
    pub fn handle_staged(&mut self, snapshot: SnapshotId, now: Instant) {
        let staged = self.have.is_some_and(|have| have.snapshot == snapshot);
        if self.state == State::Staging && staged && self.advance(Input::Staged) {
            (self.outbox.staged, self.progress, self.tries) = (true, now, 0);
        }
    }

    /// The hidden copy could not be staged, written or swapped in.
    pub fn handle_application_failed(&mut self, now: Instant) {
        if !matches!(self.state, State::Serving | State::CatchingUp | State::Failed) {
            self.fail(Failure::Application, now);
        }
    }

    /// State, digest and pending prepares are swapped in. The member's [`super::super::Provider`] has the messages now.
    pub fn handle_committed(&mut self, now: Instant) {
        let input = if self.late { Input::SwappedLate } else { Input::Swapped };
        if self.advance(input) {
            self.command(JoinerCommand::Reoffer);
            if !self.late {
                self.command(JoinerCommand::Unpin);
                self.command(JoinerCommand::Serve);
            }
        }
        self.settle(now);
    }

    /// A deadline may have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.state, State::Serving | State::Failed | State::Committing) {
            return;
        }
        if now >= self.next_pin {
            self.pin(now);
        }
        if self.redial_at.is_some_and(|at| now >= at) {
            self.redial_at = None;
            if self.state == State::Dialling {
                self.progress = now;
            }
            let provider = self.provider;
            self.command(JoinerCommand::Dial { provider });
        }
        let stalled = now.since(self.progress) >= self.config.stall_timeout;
        match self.state {
            State::Ready if now.since(self.ready_at) >= self.config.lease * 2 => self.doubt(now),
            // It may always give up: whatever was recorded, this side has not served.
            State::Doubting | State::Dialling if stalled => self.again(Failure::Lost, true, now),
            State::Requesting | State::Staging | State::Following | State::Closing if stalled => {
                self.again(Failure::Stalled, true, now);
            }
            _ => {}
        }
        self.settle(now);
    }

    fn begin(&mut self, snapshot: SnapshotId, from: LogPoint, goes_on: bool, members: u16, now: Instant) {
        self.progress = now;
        if goes_on {
            let ours = self.have == Some(Have { snapshot, point: from });
            if !(ours && self.advance(Input::GoOn)) {
                self.again(Failure::Protocol, true, now);
            }
            return;
        }
        let Some(digest) = self.assembly.digest().filter(|digest| digest.len() == usize::from(members))
        else {
            return self.again(Failure::Protocol, true, now);
        };
        self.seen = digest.clone();
        self.promises.forget(&self.seen);
        self.assembly = Assembly::new();
        // Not yet: what is staged is durable only when the driver says so.
        let keep = self.config.comparable;
        (self.have, self.checked) = (Some(Have { snapshot, point: from }), from.records);
        (self.received, self.announced) = (from, from);
        self.advance(Input::Begin);
        self.command(JoinerCommand::Stage { snapshot, keep });
    }

    fn last(&mut self, last: Last, members: u16, now: Instant) {
        let digest = self.assembly.digest().filter(|digest| digest.len() == usize::from(members));
        let Some(digest) = digest else { return self.again(Failure::Protocol, true, now) };
        let behind = self.seen.entries().find(|seen| !digest.contains(seen.member(), seen.delivered()));
        if let Some(seen) = behind.filter(|seen| seen.delivered().0 > 0) {
            return self.again(Failure::LogOrder { sender: seen.member() }, true, now);
        }
        self.digest = digest.clone();
        self.assembly = Assembly::new();
        if self.announced != last.end {
            let (after, next) = (self.announced.records, last.end.records);
            return self.again(Failure::LogGap { after, next }, true, now);
        }
        (self.last, self.progress) = (Some(last), now);
        self.advance(Input::Last);
    }

    /// Whatever can be done now is done. Called after every mutation.
    pub(super) fn settle(&mut self, now: Instant) {
        self.ready(now);
        if self.state == State::Doubting && self.doubt.committed && self.doubt.pinned {
            let answered = self.doubt.asked.is_some_and(|asked| now.since(asked) <= self.config.lease);
            match self.pin_lost() {
                Some(lost) => self.again(lost, true, now),
                None if answered => {
                    self.late = true;
                    self.commit(now);
                }
                None => self.doubt(now),
            }
        }
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    /// Ready, once all of it is durable, all that was promised is found, and all that follows is kept.
    fn ready(&mut self, now: Instant) {
        let Some(last) = self.last.filter(|_| self.state == State::Closing) else { return };
        let applied = self.have.is_some_and(|have| have.point == last.end) && self.prepares >= last.pending;
        let pinned = self.pins.is_some() && now.since(self.pinned_at) <= self.config.stall_timeout / 2;
        if !applied || !pinned {
            return;
        }
        if self.prepares > last.pending {
            return self.again(Failure::Protocol, true, now);
        }
        if let Some(transaction) = self.promises.broken(&self.digest) {
            return self.again(Failure::Unaccounted(transaction), true, now);
        }
        if let Some(lost) = self.pin_lost() {
            return self.again(lost, true, now);
        }
        self.advance(Input::Applied);
        (self.outbox.ready, self.ready_at) = (true, now);
    }

    fn commit(&mut self, now: Instant) {
        if self.advance(Input::Commit) {
            self.progress = now;
            self.command(JoinerCommand::Close);
            self.command(JoinerCommand::Commit);
        }
    }

    /// The outcome is not known, or old: it is asked for on a new connection, and all sources are pinned anew.
    fn doubt(&mut self, now: Instant) {
        if self.state == State::Ready {
            self.advance(Input::Doubt);
            self.progress = now;
        }
        (self.doubt, self.outbox) = (Doubt::default(), Outbox::default());
        self.command(JoinerCommand::Close);
        self.redial_at = Some(now);
        // What they keep now counts, not what they kept before.
        self.pins = None;
        self.next_pin = now;
    }

    fn ask(&mut self, now: Instant) {
        self.doubt.asked = Some(now);
        self.outbox = Outbox { ask: true, ..Outbox::default() };
    }

    fn pin(&mut self, now: Instant) {
        (self.pinned_at, self.next_pin) = (now, now.after(self.config.stall_timeout / 4));
        self.pin_round += 1;
        let round = self.pin_round;
        self.command(JoinerCommand::Pin { round });
    }

    /// The next epoch begins, with what is good of the hidden copy; or there have been too many.
    pub(super) fn again(&mut self, why: Failure, closes: bool, now: Instant) {
        let known = self.state;
        self.failure = Some(why);
        self.tries += 1;
        if !why.keeps() || why == Failure::Aborted {
            self.rounds += 1;
        }
        if self.tries.max(self.rounds) > self.config.tries {
            return self.fail(why, now);
        }
        self.advance(Input::Again);
        self.tag.epoch = Epoch(self.tag.epoch.0 + 1);
        if !why.keeps() || known == State::Staging {
            self.have = None;
        }
        if self.have.is_none() {
            self.seen = crate::digest::Digest::new();
        }
        self.received = self.have.map_or(LogPoint::default(), |have| have.point);
        self.announced = self.received;
        let held = self.last.take().is_some() || core::mem::take(&mut self.withholds);
        self.digest = crate::digest::Digest::new();
        (self.assembly, self.payload, self.prepares) = (Assembly::new(), None, 0);
        (self.outbox, self.doubt) = (Outbox::default(), Doubt::default());
        self.redial_at = Some(now.after(self.pause()));
        self.progress = now;
        if closes || known != State::Dialling {
            self.command(JoinerCommand::Close);
        }
        let to = self.have.map(|have| have.point);
        self.command(JoinerCommand::Rewind { to });
        if held {
            self.command(JoinerCommand::Reoffer);
        }
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    /// Grows with each try without progress.
    fn pause(&self) -> Duration {
        self.config.latch_budget.saturating_mul(1 << self.tries.min(10))
    }

    pub(super) fn fail(&mut self, why: Failure, now: Instant) {
        self.failure = Some(why);
        self.advance(Input::Fail);
        (self.last, self.redial_at, self.progress) = (None, None, now);
        self.outbox = Outbox::default();
        self.command(JoinerCommand::Unpin);
        self.command(JoinerCommand::Close);
        self.command(JoinerCommand::Rewind { to: None });
        self.command(JoinerCommand::Reoffer);
    }
}
