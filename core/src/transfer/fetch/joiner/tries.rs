//! Epochs and rounds: who is asked next, and when it is enough.

use super::{Destination, Failure, Input, Joiner, JoinerCommand, PAUSE, Said, State, Want};
use crate::digest::{Assembly, Digest};
use crate::id::{Epoch, MemberId};
use crate::time::Instant;
use crate::transfer::fetch::Protocol;
use crate::transfer::wire::{Frame, Refusal};

impl<const MEMBERS: usize> Joiner<MEMBERS> {
    /// All are asked, as the protocol begins.
    pub(super) fn begin_round(&mut self, now: Instant) {
        self.forget_answers();
        (self.copy, self.root, self.provider, self.progress) = (None, None, None, now);
        let asks = self.config.protocol == Protocol::Streaming
            || self.config.protocol == Protocol::Prefetch && !self.is_prefetched;
        if asks && self.state != State::Asking {
            self.advance(Input::Again);
        }
        match self.config.protocol {
            _ if asks => self.ask(now),
            Protocol::Prefetch if !self.is_joined => {
                self.next_epoch();
                self.advance(Input::Order);
                self.command(JoinerCommand::Join);
            }
            Protocol::Copy | Protocol::Prefetch => self.order(),
            Protocol::Streaming | Protocol::Flush => self.suspend(now),
        }
    }

    /// Copies are asked for.
    pub(super) fn order(&mut self) {
        self.next_epoch();
        self.advance(Input::Order);
        let (member, lease_ns) = (self.config.member, self.config.lease.as_nanos() as u64);
        let have = self.have.filter(|_| self.is_prefetched);
        self.send(Destination::Group, Frame::MakeCopy { member, lease_ns, have });
    }

    fn suspend(&mut self, now: Instant) {
        self.next_epoch();
        self.advance(Input::Suspend);
        self.say_suspend(now);
    }

    /// SUSPEND is said, or said again before its lease is over.
    pub(super) fn say_suspend(&mut self, now: Instant) {
        let (member, lease_ns) = (self.config.member, self.config.lease.as_nanos() as u64);
        self.renew_at = Some(now.after(self.config.lease / 4));
        self.send(Destination::Group, Frame::Suspend { member, lease_ns });
    }

    /// All have stopped, and all that they have sent must be in the capture.
    pub(super) fn all_suspended(&mut self, now: Instant) {
        let has_stopped = |answer: &super::Answer| answer.said == Said::Suspended;
        if self.state == State::Suspending && self.answers.iter().all(has_stopped) {
            self.progress = now;
            self.advance(Input::Suspended);
            self.ask(now);
        }
    }

    /// The next provider is asked for its capture; when there is none, a round is over.
    pub(super) fn ask(&mut self, now: Instant) {
        self.next_epoch();
        let Some(provider) = self.next_provider() else { return self.round_over(now) };
        let prefetches = self.config.protocol == Protocol::Prefetch && self.copy.is_none();
        if self.provider != Some(provider) {
            self.asked_at = now;
        }
        (self.provider, self.progress) = (Some(provider), now);
        // What is prefetched is followed by its log, whatever it contains.
        let members = if prefetches { 0 } else { self.need.len() as u16 };
        let fetch = Frame::Fetch { state: self.state_id, copy: self.copy, members };
        self.send(Destination::Member(provider), fetch);
    }

    fn round_over(&mut self, now: Instant) {
        if self.want == Want::All && self.answers.iter().any(|answer| answer.said == Said::Given) {
            self.advance(Input::Staged);
            return self.command(JoinerCommand::Commit);
        }
        self.anew(self.failure.unwrap_or(Failure::Lost), now);
    }

    /// Another epoch begins; nothing that belonged to the one before counts any more.
    fn next_epoch(&mut self) {
        self.tag.epoch = Epoch(self.tag.epoch.0 + 1);
        (self.assembly, self.payload, self.end) = (Assembly::new(), None, None);
        self.retry_at = None;
        let applied = self.have.filter(|_| self.is_prefetched).map(|have| have.point);
        self.received = applied.unwrap_or_default();
        self.announced = self.received;
    }

    /// This provider does not do: the next one is asked, after a pause. One
    /// that had only not come so far, or whose words were damaged on their way, is asked again.
    pub(super) fn again(&mut self, why: Failure, now: Instant) {
        self.failure = Some(why);
        let soon = matches!(why, Failure::Refused(Refusal::NotYet) | Failure::Checksum);
        let pause = if soon { PAUSE } else { PAUSE.saturating_mul(1 << self.tries.min(6)) };
        let asked = self.provider;
        if let Some(provider) = asked.filter(|_| !soon && why != Failure::Lost) {
            self.send(Destination::Member(provider), Frame::Cancel);
        } else if soon && now.since(self.asked_at) < self.config.stall_timeout {
            let same = self.answers.iter_mut().find(|answer| Some(answer.member) == asked);
            if let Some(answer) = same {
                answer.is_tried = false;
            }
        }
        self.unstage();
        self.advance(Input::Again);
        self.next_epoch();
        // A pause is no stall.
        (self.retry_at, self.progress) = (Some(now.after(pause)), now.after(pause));
    }

    /// What is on its way is left; what is durable stays.
    fn unstage(&mut self) {
        match self.state {
            State::Staging => self.command(JoinerCommand::StopStaging),
            State::Applying => self.rewind(),
            _ => {}
        }
    }

    /// To what was prefetched, with what is durable of its log; else to nothing.
    fn rewind(&mut self) {
        let to = self.have.filter(|_| self.is_prefetched).map(|have| have.point);
        self.command(JoinerCommand::Rewind { to });
    }

    /// All have been tried, or what they had is of no use any more: everybody is asked once more. What was queued is
    /// part of what they will have.
    pub(super) fn anew(&mut self, why: Failure, now: Instant) {
        self.failure = Some(why);
        self.tries += 1;
        if self.tries > self.config.tries || self.answers.is_empty() {
            return self.fail(why);
        }
        self.unstage();
        if self.copy.is_some() && why != Failure::QueueFull {
            // Nobody goes on with what was prefetched.
            (self.is_prefetched, self.source) = (false, None);
        }
        self.rewind();
        if self.queued_bytes > 0 {
            self.queued_bytes = 0;
            self.command(JoinerCommand::Reoffer);
        }
        self.need = self.heard.clone();
        self.digest = Digest::new();
        self.begin_round(now);
    }

    /// No more tries: the old state stands, and nothing is kept for this transfer anywhere.
    pub(super) fn fail(&mut self, why: Failure) {
        self.failure = Some(why);
        self.advance(Input::Fail);
        self.outgoing.clear();
        self.release_all();
        self.command(JoinerCommand::StopStaging);
        self.command(JoinerCommand::Rewind { to: None });
        self.command(JoinerCommand::Reoffer);
    }

    /// Copies, logs and suspensions are not needed any more.
    pub(super) fn release_all(&mut self) {
        (self.renew_at, self.retry_at) = (None, None);
        match self.config.protocol {
            Protocol::Copy | Protocol::Prefetch if self.is_joined => {
                self.send(Destination::Group, Frame::Collect);
            }
            Protocol::Flush => self.send(Destination::Group, Frame::Resume),
            _ => {}
        }
        if self.state == State::Failed {
            let source = self.source.filter(|source| Some(*source) != self.provider);
            for provider in self.provider.into_iter().chain(source) {
                self.send(Destination::Member(provider), Frame::Cancel);
            }
        }
    }

    /// A member is gone, or the connection to it is.
    pub(super) fn without(&mut self, member: MemberId, why: Failure, now: Instant) {
        let asked = matches!(self.state, State::Asking | State::Staging | State::Applying);
        if asked && self.provider == Some(member) && self.retry_at.is_none() {
            self.again(why, now);
        }
    }
}
