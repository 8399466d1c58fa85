//! Stability: what every member of a view has delivered, by one vote each.

use core::fmt;

use heapless::Vec;

use super::entry::ENTRY_LEN;
use super::{Digest, DigestError, Pair};
use crate::id::MemberId;

/// Names a view: its number, and who made it. Parts of a group that lost each other give the same
/// numbers to different views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewId {
    /// The view's number, higher than that of every view before it.
    pub number: u64,
    /// The member that made it.
    pub maker: MemberId,
}

/// Collects the digests of all members of one view, and so learns what is stable: what all have
/// delivered, and nobody will ask for again.
///
/// | votes | input | next |
/// | --- | --- | --- |
/// | some are missing | a member's first vote | one fewer is missing; if none is, stable |
/// | any | a vote of another view, of a stranger, a second one, or one without room | the same |
/// | any | [`Stability::restart`] | all are missing |
///
/// What a vote does not speak of, its voter has not delivered. So an incarnation that is gone is never
/// called stable before all have its last messages.
///
/// Rounds of one view follow each other with [`Stability::restart`] and have no number: a vote of an
/// earlier round that comes late says less than its voter has delivered since, never more. It may
/// delay what is stable, but not make it wrong.
#[derive(Clone)]
pub struct Stability<const MEMBERS: usize = 1024> {
    view: ViewId,
    voters: Vec<Voter, MEMBERS>,
    /// Of all votes so far; nothing before the first.
    lowest: Digest<MEMBERS>,
}

/// A member of the view; sorted by id.
#[derive(Clone, Copy)]
struct Voter {
    member: MemberId,
    voted: bool,
}

const _: () = assert!(size_of::<Stability<1024>>() <= 1024 * (ENTRY_LEN + 17) + 64);

/// Why a vote was not counted. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VoteError {
    /// It is about another view.
    OtherView {
        /// The view whose votes are collected.
        ours: ViewId,
        /// The vote's.
        theirs: ViewId,
    },
    /// Its voter is no member of the view.
    Stranger(MemberId),
    /// Its voter has voted.
    Twice(MemberId),
    /// It speaks of more members than there is room for.
    Digest(DigestError),
}

impl<const MEMBERS: usize> Stability<MEMBERS> {
    /// Collects the votes of `members` about `view`. A member that is named twice has one vote. A view
    /// of nobody is never stable.
    ///
    /// # Errors
    /// [`DigestError::Full`] if they are more than `MEMBERS`.
    pub fn new(view: ViewId, members: impl IntoIterator<Item = MemberId>) -> Result<Self, DigestError> {
        let mut voters: Vec<Voter, MEMBERS> = Vec::new();
        for member in members {
            if let Err(at) = voters.binary_search_by_key(&member, |voter| voter.member) {
                let full = |_| DigestError::Full { needed: MEMBERS + 1, capacity: MEMBERS };
                voters.insert(at, Voter { member, voted: false }).map_err(full)?;
            }
        }
        Ok(Self { view, voters, lowest: Digest::new() })
    }

    /// Counts the vote of `member`: what it has delivered and received, in `view`.
    ///
    /// # Errors
    /// Why it does not count; then nothing has changed.
    pub fn vote<const THEIRS: usize>(
        &mut self,
        view: ViewId,
        member: MemberId,
        digest: &Digest<THEIRS>,
    ) -> Result<(), VoteError> {
        if view != self.view {
            return Err(VoteError::OtherView { ours: self.view, theirs: view });
        }
        let at = self
            .voters
            .binary_search_by_key(&member, |voter| voter.member)
            .map_err(|_| VoteError::Stranger(member))?;
        if self.voters[at].voted {
            return Err(VoteError::Twice(member));
        }
        let first = !self.voters.iter().any(|voter| voter.voted);
        self.lowest
            .combine(digest.entries.iter(), |pair| match pair {
                Pair::Both { ours, theirs } => ours.stable(theirs),
                Pair::Theirs(theirs) if first => *theirs,
                Pair::Ours(one) | Pair::Theirs(one) => one.undelivered(),
            })
            .map_err(VoteError::Digest)?;
        self.voters[at].voted = true;
        Ok(())
    }

    /// What is stable, once all have voted: delivered by all, received by any.
    #[must_use]
    pub fn stable(&self) -> Option<&Digest<MEMBERS>> {
        let all = !self.voters.is_empty() && self.missing().next().is_none();
        all.then_some(&self.lowest)
    }

    /// Who has not voted.
    pub fn missing(&self) -> impl Iterator<Item = MemberId> {
        self.voters.iter().filter(|voter| !voter.voted).map(|voter| voter.member)
    }

    /// The view whose votes are collected.
    #[must_use]
    pub const fn view(&self) -> ViewId {
        self.view
    }

    /// The next round, of the same view.
    pub fn restart(&mut self) {
        self.voters.iter_mut().for_each(|voter| voter.voted = false);
        self.lowest.entries.clear();
    }
}

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "view {} of {}", self.number, self.maker)
    }
}

impl fmt::Display for VoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherView { ours, theirs } => write!(f, "a vote about {theirs}, where {ours} votes"),
            Self::Stranger(member) => write!(f, "a vote of {member}, which is no member of the view"),
            Self::Twice(member) => write!(f, "a second vote of {member}"),
            Self::Digest(error) => write!(f, "a vote that does not count: {error}"),
        }
    }
}

impl core::error::Error for VoteError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Digest(error) => Some(error),
            _ => None,
        }
    }
}
