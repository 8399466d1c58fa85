//! Who was asked, and who said what.

use super::{Destination, Failure, Input, Joiner, ROOTS_MAX, State, Want};
use crate::id::MemberId;
use crate::time::Instant;
use crate::transfer::wire::Frame;

/// A member, and what it has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who.
    pub member: MemberId,
    /// What.
    pub said: Said,
    /// Bytes that it has read to find its root.
    pub(super) summed: u64,
    /// It was tried since all were tried last.
    pub(super) is_tried: bool,
}

/// What a member has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing yet.
    Nothing,
    /// That it takes no part: a null state.
    Null,
    /// That its copy has this root.
    Root([u8; 32]),
    /// That it has stopped writing.
    Suspended,
    /// It has given its state.
    Given,
    /// It is gone, or has no copy.
    Gone,
}

impl<const MEMBERS: usize> Joiner<MEMBERS> {
    /// Who is there to be asked: those who are known stay as they are.
    pub(super) fn learn(&mut self, members: &[MemberId]) {
        self.answers.retain(|answer| members.contains(&answer.member) || answer.said == Said::Given);
        for member in members.iter().filter(|member| **member != self.config.member) {
            if self.answers.iter().all(|answer| answer.member != *member) {
                let answer = Answer { member: *member, said: Said::Nothing, summed: 0, is_tried: false };
                // Those beyond its room are not asked.
                let _ = self.answers.push(answer);
            }
        }
    }

    pub(super) fn note(&mut self, member: MemberId, said: Said) {
        if let Some(answer) = self.answers.iter_mut().find(|answer| answer.member == member) {
            answer.said = said;
        }
    }

    /// A round with everybody begins: what they have said belongs to the one before.
    pub(super) fn forget_answers(&mut self) {
        for answer in &mut self.answers {
            (answer.said, answer.summed, answer.is_tried) = (Said::Nothing, 0, false);
        }
    }

    /// The next member to have the state from: the one that keeps the log of what was prefetched, else the first that was not tried.
    pub(super) fn next_provider(&mut self) -> Option<MemberId> {
        let (root, want, source) = (self.root, self.want, self.source);
        let good = |answer: &&mut Answer| match (want, answer.said) {
            (Want::Quorum, said) => !answer.is_tried && root.is_some_and(|root| said == Said::Root(root)),
            (_, Said::Given | Said::Gone) => false,
            _ => !answer.is_tried,
        };
        let is_source = |answer: &&mut Answer| Some(answer.member) == source;
        let answer = self.answers.iter_mut().filter(good).min_by_key(|answer| !is_source(answer))?;
        answer.is_tried = true;
        Some(answer.member)
    }

    /// Asks all who have not answered for the roots of their copies.
    pub(super) fn ask_roots(&mut self) {
        let Some(copy) = self.copy else { return };
        for n in 0..self.answers.len() {
            let Answer { member, said, .. } = self.answers[n];
            if said == Said::Nothing {
                self.send(Destination::Member(member), Frame::AskRoot { copy });
            }
        }
    }

    /// A member looks for its root: it is waited for as long as it reads on, within the bound.
    pub(super) fn sums(&mut self, member: MemberId, bytes: u64, now: Instant) {
        let waits = now.since(self.compares_since) < self.config.stall_timeout.saturating_mul(ROOTS_MAX);
        let answer = self.answers.iter_mut().find(|answer| answer.member == member);
        let Some(answer) = answer.filter(|answer| answer.said == Said::Nothing && bytes > answer.summed)
        else {
            return;
        };
        answer.summed = bytes;
        if waits {
            self.progress = now;
        }
    }

    /// Who has not answered in time has no copy that counts.
    pub(super) fn give_up_silent(&mut self) {
        for answer in self.answers.iter_mut().filter(|answer| answer.said == Said::Nothing) {
            answer.said = Said::Gone;
        }
    }

    /// Whether more than half of those who take part have one root; or can't have any more.
    pub(super) fn compare(&mut self, now: Instant) {
        if self.state != State::Comparing {
            return;
        }
        let takes_part = self.answers.iter().filter(|answer| answer.said != Said::Null).count();
        let votes = |root: [u8; 32]| self.answers.iter().filter(|one| one.said == Said::Root(root)).count();
        let roots = self.answers.iter().filter_map(|answer| match answer.said {
            Said::Root(root) => Some(root),
            _ => None,
        });
        let agreed = roots.clone().find(|root| votes(*root) * 2 > takes_part);
        if let Some(root) = agreed {
            (self.root, self.progress) = (Some(root), now);
            self.advance(Input::Agreed);
            return self.ask(now);
        }
        if self.answers.iter().all(|answer| answer.said != Said::Nothing) {
            self.fail(Failure::NoMajority);
        }
    }
}
