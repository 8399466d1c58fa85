//! The group's messages while the state is on its way, and the pins that keep them.

use super::super::life::{Input, State};
use super::{Failure, Joiner, JoinerCommand};
use crate::digest::Digest;
use crate::id::MemberId;
use crate::message::{Effect, Message, Verdict, place};
use crate::time::Instant;

impl<const MEMBERS: usize, const PROMISES: usize> Joiner<MEMBERS, PROMISES> {
    /// A message of the group has come, and nothing is delivered yet. [`Verdict::Drop`]: it will be part of the state, or
    /// is sent again later; a prepare is answered yes. [`Verdict::Hold`]: it is above the digest and will be
    /// delivered if the driver still has it, or it is a prepare that may not be answered yet: there is no room to
    /// remember it, or it may be one of the pending ones that have come, which is known once all has.
    pub fn handle_message(&mut self, message: &Message, effect: Effect) -> Verdict {
        let is_above = || !self.digest.contains(message.sender, message.sequence);
        if self.last.is_some() {
            return if is_above() { Verdict::Hold } else { Verdict::Drop };
        }
        match effect {
            // What the provider has delivered before a message that has come is accounted for: what follows from it may
            // have gone by.
            Effect::Prepare(transaction)
                if !self.seen.contains(message.sender, message.sequence)
                    && (self.prepares > 0 || !self.promises.give(transaction, message)) =>
            {
                self.withholds = true;
                return Verdict::Hold;
            }
            Effect::Commit(transaction) | Effect::Rollback(transaction) => {
                let room = self.promises.end(transaction);
                self.release(room);
            }
            Effect::Leave(gone) => {
                let room = self.promises.end_all_of(gone);
                self.release(room);
            }
            Effect::Prepare(_) | Effect::Write | Effect::Nothing => {}
        }
        Verdict::Drop
    }

    /// The same at a member that has an old state, and goes on delivering into it: whether a message that comes next
    /// behind `delivered`, what that state contains, may be. If not, it is held until the new state is there, or the old one
    /// stands: it is above the new one's digest, or that is being swapped in.
    pub fn allows_delivery(
        &mut self,
        delivered: &Digest<MEMBERS>,
        message: &Message,
        effect: Effect,
    ) -> bool {
        match self.state {
            State::CatchingUp | State::Serving | State::Failed => true,
            // What is not delivered anyway has no part in it.
            _ if place(delivered, message) != Verdict::Deliver => true,
            State::Committing => false,
            _ => self.handle_message(message, effect) != Verdict::Hold,
        }
    }

    /// All sources keep their messages for a lease: per source, all behind `delivered` are there, and it has sent
    /// up to `received`.
    pub fn handle_pinned(&mut self, round: u64, sources: &Digest<MEMBERS>, now: Instant) {
        if self.is_over() || round != self.pin_round {
            return;
        }
        let pins = self.pins.get_or_insert_with(Digest::new);
        if pins.merge(sources).is_err() {
            return self.again(Failure::Full, true, now);
        }
        self.doubt.pinned = self.state == State::Doubting;
        self.settle(now);
    }

    /// A source will not keep its messages.
    pub fn handle_pin_refused(&mut self, source: MemberId, now: Instant) {
        if !self.is_over() {
            self.pins = None;
            self.again(Failure::PinRefused { source }, true, now);
        }
    }

    /// What this member has delivered by now: after a doubt it serves once that is what all had sent.
    pub fn handle_delivered(&mut self, delivered: &Digest<MEMBERS>) {
        if self.state != State::CatchingUp {
            return;
        }
        let sent = |pins: &Digest<MEMBERS>| {
            pins.entries().all(|source| {
                delivered.contains(source.member(), source.received()) || source.received().0 == 0
            })
        };
        if self.pins.as_ref().is_none_or(sent) && self.advance(Input::CaughtUp) {
            self.command(JoinerCommand::Unpin);
            self.command(JoinerCommand::Serve);
        }
    }

    /// A source that has dropped some of what is needed.
    pub(super) fn pin_lost(&self) -> Option<Failure> {
        let short = self.pins.as_ref()?.entries().find(|source| {
            let behind = source.delivered();
            behind.0 > 0 && !self.digest.contains(source.member(), behind)
        });
        short.map(|source| Failure::PinLost { source: source.member() })
    }
}
