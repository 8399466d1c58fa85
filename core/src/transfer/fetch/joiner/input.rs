//! What comes from providers and from the driver.

use super::{Destination, Failure, Input, Joiner, JoinerCommand, PAUSE, Said, State, Want};
use crate::digest::{Assembly, Digest, DigestError, Entry, SequenceNumber};
use crate::id::{MemberId, SnapshotId};
use crate::time::Instant;
use crate::transfer::Tag;
use crate::transfer::fetch::Protocol;
use crate::transfer::wire::{Frame, Have, Refusal};

impl<const MEMBERS: usize> Joiner<MEMBERS> {
    /// A frame has come from a member. One of another epoch, or of another member than the one that is asked, has
    /// no effect.
    pub fn handle_frame(&mut self, from: MemberId, tag: Tag, frame: &Frame<'_>, now: Instant) {
        let streams = matches!(self.state, State::Asking | State::Staging);
        if *frame == Frame::Abort && tag.transfer == self.tag.transfer {
            // Said of whichever word stopped it last.
            if self.config.protocol == Protocol::Flush && streams {
                self.anew(Failure::Resumed, now);
            }
        } else if tag == self.tag && !self.is_over() {
            match (*frame, self.state) {
                (Frame::Suspended { sent }, State::Suspending) => {
                    if self.must_cover(from, sent).is_err() {
                        return self.fail(Failure::Full);
                    }
                    self.note(from, Said::Suspended);
                    self.all_suspended(now);
                }
                (Frame::Summing { bytes }, State::Comparing) => self.sums(from, bytes, now),
                (Frame::Root { root }, State::Comparing) => {
                    self.note(from, Said::Root(root));
                    self.compare(now);
                }
                (Frame::Refused { why, .. }, State::Comparing) => {
                    match why {
                        Refusal::NotYet => self.retry_at = Some(now.after(PAUSE)),
                        _ => self.refused(from, why),
                    }
                    self.compare(now);
                }
                _ if self.provider == Some(from) && self.retry_at.is_none() => {
                    self.answered(from, frame, now);
                }
                _ => {}
            }
        }
        self.settle();
    }

    /// The connection to a member is lost: what was said on it may not have come.
    pub fn handle_lost(&mut self, member: MemberId, now: Instant) {
        self.without(member, Failure::Lost, now);
        if self.state == State::Comparing {
            self.retry_at = Some(now.after(PAUSE));
        }
        self.settle();
    }

    /// These are the members now.
    pub fn handle_view(&mut self, members: &[MemberId], now: Instant) {
        self.learn(members);
        if let Some(gone) = self.provider.filter(|provider| !members.contains(provider)) {
            self.without(gone, Failure::Lost, now);
        }
        self.all_suspended(now);
        self.compare(now);
        self.settle();
    }

    /// The member is on the group's channel; `heard`: what the channel will not bring because it was sent before.
    pub fn handle_joined(&mut self, heard: &Digest<MEMBERS>, now: Instant) {
        if !self.is_joined && self.state == State::Ordering {
            (self.is_joined, self.heard, self.progress) = (true, heard.clone(), now);
            self.order();
        }
        self.settle();
    }

    /// The bulk has come further.
    pub fn handle_bulk_progress(&mut self, now: Instant) {
        if self.state == State::Staging {
            self.progress = now;
        }
    }

    /// A capture is durable in the hidden copy, and has this root if one was found.
    pub fn handle_staged(&mut self, snapshot: SnapshotId, root: Option<[u8; 32]>, now: Instant) {
        let staged = self.have.is_some_and(|have| have.snapshot == snapshot);
        let Some(provider) = self.provider.filter(|_| staged && self.state == State::Staging) else { return };
        if self.root.is_some() && self.root != root {
            self.note(provider, Said::Gone);
            self.again(Failure::Root, now);
            return self.settle();
        }
        self.send(Destination::Member(provider), Frame::Staged);
        self.progress = now;
        if self.config.protocol == Protocol::Prefetch && self.copy.is_none() {
            (self.is_prefetched, self.source, self.tries) = (true, Some(provider), 0);
            self.begin_round(now);
        } else if self.want == Want::All {
            self.note(provider, Said::Given);
            self.advance(Input::Next);
            self.ask(now);
        } else {
            self.advance(Input::Staged);
            self.command(JoinerCommand::Commit);
        }
        self.settle();
    }

    /// The hidden copy could not be staged, written or swapped in.
    pub fn handle_application_failed(&mut self) {
        if !self.is_over() {
            self.fail(Failure::Application);
        }
    }

    /// State and digest are swapped in. The member's provider's machine has the messages now, those queued first.
    /// What lies between [`Joiner::heard`] and [`Joiner::digest`] is part of the state and need not come any more:
    /// whoever waits for an answer to it is answered yes.
    pub fn handle_committed(&mut self) {
        if self.advance(Input::Swapped) {
            self.release_all();
            self.command(JoinerCommand::Reoffer);
            self.command(JoinerCommand::Serve);
        }
    }

    /// A deadline may have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.renew_at.is_some_and(|at| now >= at) {
            self.say_suspend(now);
        }
        let stalled = now.since(self.progress) >= self.config.stall_timeout;
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            match self.state {
                State::Asking => self.ask(now),
                State::Comparing => self.ask_roots(),
                _ => {}
            }
        } else if stalled {
            match self.state {
                State::Asking | State::Staging | State::Applying => self.again(Failure::Stalled, now),
                State::Ordering | State::Suspending => self.anew(Failure::Stalled, now),
                State::Comparing => {
                    self.give_up_silent();
                    self.compare(now);
                }
                State::Committing | State::Serving | State::Failed | State::Alone => {}
            }
        }
        self.settle();
    }

    /// The provider that is asked says something.
    fn answered(&mut self, from: MemberId, frame: &Frame<'_>, now: Instant) {
        match (*frame, self.state) {
            (Frame::Digest(part), State::Asking) if self.assembly.take(&part).is_ok() => {}
            (Frame::Begin { snapshot, from, goes_on, members, .. }, State::Asking) => {
                self.begin(Have { snapshot, point: from }, goes_on, members, now);
            }
            (Frame::Refused { why, .. }, State::Asking | State::Staging | State::Applying) => {
                self.refused(from, why);
                self.again(Failure::Refused(why), now);
            }
            (Frame::Records { from, to, payload }, State::Applying) if self.payload.is_none() => {
                self.records(from, to, payload, now);
            }
            (Frame::Last { end, .. }, State::Applying) => self.last(end, now),
            // It has stopped once more; or its root comes late.
            (Frame::Suspended { .. } | Frame::Summing { .. } | Frame::Root { .. }, _) => {}
            (_, State::Asking | State::Staging | State::Applying) => self.again(Failure::Protocol, now),
            _ => {}
        }
    }

    /// A null state, or none that could be had from it in this round.
    fn refused(&mut self, from: MemberId, why: Refusal) {
        match why {
            Refusal::NonParticipant | Refusal::NotOperational | Refusal::Oneself => {
                self.note(from, Said::Null);
            }
            Refusal::Gone => self.note(from, Said::Gone),
            _ if self.state == State::Comparing => self.note(from, Said::Gone),
            _ => {}
        }
    }

    /// The capture's digest is whole: of the place that was asked for, or behind all that this channel won't bring.
    fn begin(&mut self, given: Have, goes_on: bool, members: u16, now: Instant) {
        let digest = self.assembly.digest().filter(|digest| digest.len() == usize::from(members));
        let prefetches = self.config.protocol == Protocol::Prefetch && self.copy.is_none();
        let fits = |digest: &&Digest<MEMBERS>| match self.copy {
            Some(_) => digest.covers(&self.need) && self.need.covers(*digest),
            None => prefetches || digest.covers(&self.need),
        };
        let Some(digest) = digest.filter(fits) else { return self.again(Failure::Protocol, now) };
        self.digest = digest.clone();
        self.assembly = Assembly::new();
        self.progress = now;
        if goes_on {
            let ours = self.have.filter(|have| self.is_prefetched && have.snapshot == given.snapshot);
            match ours.filter(|have| given.point.records <= have.point.records) {
                Some(_) => _ = self.advance(Input::GoOn),
                None => self.again(Failure::Protocol, now),
            }
            return;
        }
        let keep = self.config.comparable || self.have.is_some_and(|have| have.snapshot == given.snapshot);
        (self.have, self.is_prefetched) = (Some(given), false);
        self.advance(Input::Begin);
        let (provider, snapshot) = (self.provider.expect("it was asked"), given.snapshot);
        self.command(JoinerCommand::Stage { provider, snapshot, keep });
    }

    /// What a member has sent must be in the capture.
    fn must_cover(&mut self, member: MemberId, sent: SequenceNumber) -> Result<(), DigestError> {
        let known = self.need.entry(member).map_or(SequenceNumber::NONE, |entry| entry.delivered());
        let sent = sent.max(known);
        self.need.insert(Entry::new(member, sent, sent)?)
    }

    pub(super) fn settle(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }
}
