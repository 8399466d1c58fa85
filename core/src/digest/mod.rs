//! Digests: which messages a state already contains, and the algebra that a group needs of them.
//!
//! Every member numbers the messages that it sends: 1, 2, 3, .... A digest holds, per member, the
//! highest number *delivered* (in order, so all before it were delivered too) and the highest number
//! *received* (perhaps behind a gap). A capture is a pair: a snapshot, and the digest whose delivered
//! numbers say exactly which messages the snapshot contains the effects of. A message at or below the
//! digest that is missing from the snapshot is lost; one above it that is in the snapshot is applied
//! twice; so the two are taken in one step, travel together and are installed together.
//!
//! # Which rule is for what
//!
//! `D` is the digest here, `T` the one that comes. The rules are those of `JGroups` (Blagojevic 2006 and
//! the manual 2.x), where `NAKACK` and `STABLE` carry them out. No rule ever removes an entry: a
//! member that is absent from `T` is kept as it is.
//!
//! | rule | for | only in `T` | in both | one's own entry | laws |
//! | --- | --- | --- | --- | --- | --- |
//! | [`Digest::set`] | a joiner, given the digest of the view that admits it | taken | `D`'s | `D`'s | associative, idempotent |
//! | [`Digest::merge`] | the digest of the view in which parts of a group find together | taken | the higher of each number | as any | commutative, associative, idempotent |
//! | [`Digest::merge_except`] | a member that installs that digest | taken | the higher of each number | `D`'s | as `merge`, for all others |
//! | [`Digest::overwrite`] | a joiner that installs a transferred state | taken | `T`'s, *backwards too* | delivered `T`'s, received `D`'s | associative, idempotent; the last one counts |
//! | [`Stability`] | what all have delivered and nobody need keep | nothing delivered | delivered the lower, received the higher | as any | the order of votes is nothing |
//!
//! **Overwriting goes backwards** because the state does: what was delivered here before the state came
//! is wiped by it, and must be delivered again from the digest on.
//!
//! **One's own entry** is known best by oneself. Nobody else's digest may move the numbers that a member
//! gives to its own messages: `received` is the last number that it has given, and stays. Only when a
//! state is installed does `delivered` follow the state, because a state without one's own last messages
//! needs them delivered again, to oneself too.
//!
//! # Incarnations
//!
//! A [`MemberId`] is new at every start of a process, so it *is* the incarnation: there is no counter
//! beside it, and numbers of an earlier life can't be taken for those of this one. That is enough only
//! together with what follows.
//!
//! - Within an incarnation numbers never begin anew. A member that leaves a group, or is excluded from
//!   it, and comes back with the same id goes on where it was; one that can't must take a new id.
//! - An id is drawn after a fork, and after a machine's image was started again; two processes with one
//!   id can't be told apart by any digest. ([`DigestError::OwnAhead`] is how it may come to light.)
//! - Numbers belong to a cluster: digests of two are never combined. A digest belongs to one (partial)
//!   state, and travels with its task: the digest of one part says nothing of another.
//! - An incarnation that is gone keeps its entry, for its last messages may still be on their way. What
//!   is stable and of no member of the view may be dropped with [`Digest::retain`]; nothing else makes
//!   room. `MEMBERS` counts those that are gone too.
//! - A view's number alone does not name it: parts of a group that lost each other count on, each by
//!   itself. So votes are about a [`ViewId`], which also says who made the view.
//!
//! # Form
//!
//! Entries are sorted by the bytes of their member ids, one each. So a digest has one form only, equality
//! is equality of sets, and every rule is one walk over two sorted lists. In memory entries stand as they
//! stand on the wire ([`DigestPart`]); a digest that does not fit in one frame travels in several.

mod entry;
mod stability;
mod wire;

use core::fmt;
use core::iter::Peekable;
use core::slice::Iter;

use heapless::Vec;

pub use self::entry::{Entry, SequenceNumber};
pub use self::stability::{Stability, ViewId, VoteError};
pub use self::wire::{Assembly, DigestPart, PART_ENTRIES, PART_LEN_MAX, PartError, Parts};

use self::entry::Raw;
use crate::id::MemberId;

/// Per member, the highest sequence number delivered and received; of at most `MEMBERS` members.
///
/// It lives where the caller puts it: 32 bytes a member.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest<const MEMBERS: usize = 1024> {
    /// Sorted by member, no member twice, no entry inverted.
    entries: Vec<Raw, MEMBERS>,
}

const _: () = assert!(size_of::<Digest<1024>>() == 1024 * entry::ENTRY_LEN + size_of::<usize>());

/// Why a digest was left as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DigestError {
    /// More members than the digest has room for.
    Full {
        /// How many there would be.
        needed: usize,
        /// How many there may be.
        capacity: usize,
    },
    /// More delivered than received.
    Inverted {
        /// Of whose messages.
        member: MemberId,
        /// The highest delivered.
        delivered: SequenceNumber,
        /// The highest received.
        received: SequenceNumber,
    },
    /// A state is said to contain messages of this member that it has not sent: the digest is of
    /// another cluster, or two processes share an id.
    OwnAhead {
        /// The last number that this member has given.
        sent: SequenceNumber,
        /// What is said to be delivered.
        delivered: SequenceNumber,
    },
}

impl<const MEMBERS: usize> Digest<MEMBERS> {
    /// A digest of nobody.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(MEMBERS <= u16::MAX as usize, "the wire counts members in 16 bits") };
        Self { entries: Vec::new() }
    }

    /// How many members it speaks of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it speaks of nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries, sorted by member.
    #[must_use]
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = Entry> + ExactSizeIterator {
        self.entries.iter().map(|raw| Entry::from(*raw))
    }

    /// What it says of `member`.
    #[must_use]
    pub fn entry(&self, member: MemberId) -> Option<Entry> {
        self.position(member).ok().map(|at| self.entries[at].into())
    }

    /// Whether a message is delivered, so that a state with this digest contains it.
    #[must_use]
    pub fn contains(&self, member: MemberId, message: SequenceNumber) -> bool {
        self.entry(member).is_some_and(|entry| message <= entry.delivered())
    }

    /// Whether every message that is delivered in `other` is delivered here.
    #[must_use]
    pub fn covers<const THEIRS: usize>(&self, other: &Digest<THEIRS>) -> bool {
        let mut ours = self.entries.iter().peekable();
        other.entries.iter().all(|theirs| {
            let ours = advance_to(&mut ours, theirs).map_or(SequenceNumber::NONE, Raw::delivered);
            ours >= theirs.delivered()
        })
    }

    /// Puts an entry in, in place of what was said of its member.
    ///
    /// # Errors
    /// [`DigestError::Full`].
    pub fn insert(&mut self, entry: Entry) -> Result<(), DigestError> {
        match self.position(entry.member()) {
            Ok(at) => self.entries[at] = entry.into(),
            Err(at) => self.entries.insert(at, entry.into()).map_err(|_| Self::full(MEMBERS + 1))?,
        }
        Ok(())
    }

    /// Keeps the entries of those members that are `wanted`. The only way to have fewer: for incarnations
    /// that are gone, once what they sent is stable.
    pub fn retain(&mut self, mut wanted: impl FnMut(Entry) -> bool) {
        self.entries.retain(|raw| wanted((*raw).into()));
    }

    /// Takes what `other` says of members that are not here; those that are stay as they are.
    ///
    /// # Errors
    /// [`DigestError::Full`]; then nothing has changed.
    pub fn set<const THEIRS: usize>(&mut self, other: &Digest<THEIRS>) -> Result<(), DigestError> {
        self.combine(other.entries.iter(), |pair| match pair {
            Pair::Ours(one) | Pair::Theirs(one) | Pair::Both { ours: one, .. } => *one,
        })
    }

    /// Of each member as far as the further one of both has come. Nobody is oneself here: it is for
    /// digests as values.
    ///
    /// # Errors
    /// [`DigestError::Full`]; then nothing has changed.
    pub fn merge<const THEIRS: usize>(&mut self, other: &Digest<THEIRS>) -> Result<(), DigestError> {
        self.combine(other.entries.iter(), higher)
    }

    /// As [`Digest::merge`], but what is said here of `own`, be it nothing, stays.
    ///
    /// # Errors
    /// [`DigestError::Full`]; then nothing has changed.
    pub fn merge_except<const THEIRS: usize>(
        &mut self,
        own: MemberId,
        other: &Digest<THEIRS>,
    ) -> Result<(), DigestError> {
        self.combine(other.entries.iter().filter(|raw| !raw.is(own)), higher)
    }

    /// Takes all that `other` says, backwards too: a state with that digest was installed by `own`. Of
    /// `own`'s messages those that the state contains are delivered, and all that were sent stay sent.
    ///
    /// # Errors
    /// [`DigestError::Full`], [`DigestError::OwnAhead`]; then nothing has changed.
    pub fn overwrite<const THEIRS: usize>(
        &mut self,
        own: MemberId,
        other: &Digest<THEIRS>,
    ) -> Result<(), DigestError> {
        let sent = self.entry(own).map_or(SequenceNumber::NONE, |entry| entry.received());
        let delivered = other.entry(own).map_or(SequenceNumber::NONE, |entry| entry.delivered());
        if delivered > sent {
            return Err(DigestError::OwnAhead { sent, delivered });
        }
        self.combine(other.entries.iter(), |pair| match pair {
            Pair::Theirs(theirs) if theirs.is(own) => Entry::fresh(own).into(),
            Pair::Both { ours, theirs } if ours.is(own) => ours.delivered_as(theirs),
            Pair::Ours(one) | Pair::Theirs(one) | Pair::Both { theirs: one, .. } => *one,
        })
    }

    /// The digest in parts that each fit in one frame; at least one.
    #[must_use]
    pub fn parts(&self) -> Parts<'_> {
        Parts::new(&self.entries)
    }

    /// One walk over both lists, from their ends so that it needs no second list.
    fn combine<'a>(
        &mut self,
        theirs: impl DoubleEndedIterator<Item = &'a Raw> + Clone,
        rule: impl Fn(Pair<'_>) -> Raw,
    ) -> Result<(), DigestError> {
        let mut ours = self.entries.len();
        let len = ours + self.absent(theirs.clone());
        self.entries.resize(len, Raw::NONE).map_err(|_| Self::full(len))?;
        let mut theirs = theirs.rev();
        let mut their = theirs.next();
        for at in (0..len).rev() {
            let our = ours.checked_sub(1).map(|last| &self.entries[last]);
            let pair = match (our, their) {
                (Some(our), Some(their)) if our.key() == their.key() => {
                    Pair::Both { ours: our, theirs: their }
                }
                (Some(our), Some(their)) if our.key() < their.key() => Pair::Theirs(their),
                (Some(our), _) => Pair::Ours(our),
                (None, Some(their)) => Pair::Theirs(their),
                (None, None) => unreachable!("as many places as entries were counted"),
            };
            let (of_ours, of_theirs) = match pair {
                Pair::Ours(_) => (true, false),
                Pair::Theirs(_) => (false, true),
                Pair::Both { .. } => (true, true),
            };
            self.entries[at] = rule(pair);
            ours -= usize::from(of_ours);
            if of_theirs {
                their = theirs.next();
            }
        }
        Ok(())
    }

    /// How many of them are not here.
    fn absent<'a>(&self, theirs: impl Iterator<Item = &'a Raw>) -> usize {
        let mut ours = self.entries.iter().peekable();
        theirs.filter(|their| advance_to(&mut ours, their).is_none()).count()
    }

    fn position(&self, member: MemberId) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&u128::from_be_bytes(member.0), Raw::key)
    }

    const fn full(needed: usize) -> DigestError {
        DigestError::Full { needed, capacity: MEMBERS }
    }
}

impl<const MEMBERS: usize> Default for Digest<MEMBERS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const MEMBERS: usize> fmt::Debug for Digest<MEMBERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.entries().map(|entry| (entry.member(), (entry.delivered().0, entry.received().0))))
            .finish()
    }
}

/// Takes what is sorted before `other`, and what is of the same member.
#[inline]
fn advance_to<'a>(ours: &mut Peekable<Iter<'a, Raw>>, other: &Raw) -> Option<&'a Raw> {
    while ours.next_if(|our| our.key() < other.key()).is_some() {}
    ours.next_if(|our| our.key() == other.key())
}

/// What two digests say of one member.
#[derive(Clone, Copy)]
enum Pair<'a> {
    Ours(&'a Raw),
    Theirs(&'a Raw),
    Both { ours: &'a Raw, theirs: &'a Raw },
}

/// The higher of each number.
#[inline]
fn higher(pair: Pair<'_>) -> Raw {
    match pair {
        Pair::Ours(one) | Pair::Theirs(one) => *one,
        Pair::Both { ours, theirs } => ours.max(theirs),
    }
}

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { needed, capacity } => {
                write!(f, "a digest of {needed} members, where there is room for {capacity}")
            }
            Self::Inverted { member, delivered, received } => {
                write!(
                    f,
                    "of member {member} message {delivered} was delivered, but only {received} received"
                )
            }
            Self::OwnAhead { sent, delivered } => write!(
                f,
                "a state contains message {delivered} of this member, which has sent {sent}: it is another \
                 cluster's, or another process has this member's id"
            ),
        }
    }
}

impl core::error::Error for DigestError {}
