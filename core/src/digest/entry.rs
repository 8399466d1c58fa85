//! What a digest says of one member: its incarnation, and how far its messages have come.

use core::fmt;

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::DigestError;
use crate::id::MemberId;

/// The place of a message among its sender's, from 1 on without a gap; 0 stands before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SequenceNumber(pub u64);

impl SequenceNumber {
    /// Before the first message.
    pub const NONE: Self = Self(0);
    /// The first message of an incarnation.
    pub const FIRST: Self = Self(1);

    /// The next one; `None` after 2^64 - 1 messages: numbers never begin anew within an incarnation.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(next) => Some(Self(next)),
            None => None,
        }
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One member in a digest. What was delivered was received: `delivered <= received`, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    member: MemberId,
    delivered: SequenceNumber,
    received: SequenceNumber,
}

impl Entry {
    /// All messages of `member` up to `delivered` were delivered, in order; the highest one that came,
    /// perhaps behind a gap, is `received`.
    ///
    /// # Errors
    /// [`DigestError::Inverted`] if more was delivered than received.
    pub const fn new(
        member: MemberId,
        delivered: SequenceNumber,
        received: SequenceNumber,
    ) -> Result<Self, DigestError> {
        if delivered.0 > received.0 {
            return Err(DigestError::Inverted { member, delivered, received });
        }
        Ok(Self { member, delivered, received })
    }

    /// A member that has sent nothing yet.
    #[must_use]
    pub const fn fresh(member: MemberId) -> Self {
        Self { member, delivered: SequenceNumber::NONE, received: SequenceNumber::NONE }
    }

    /// Who sent the messages: one incarnation of a process.
    #[must_use]
    pub const fn member(&self) -> MemberId {
        self.member
    }

    /// All messages up to this one were delivered.
    #[must_use]
    pub const fn delivered(&self) -> SequenceNumber {
        self.delivered
    }

    /// The highest message that came.
    #[must_use]
    pub const fn received(&self) -> SequenceNumber {
        self.received
    }
}

/// An entry as it stands on the wire and in a digest: parts of a digest are slices of it.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Raw {
    member: [u8; 16],
    delivered: U64,
    received: U64,
}

/// Bytes in an entry.
pub(super) const ENTRY_LEN: usize = 32;

const _: () = assert!(size_of::<Raw>() == ENTRY_LEN && align_of::<Raw>() == 1);

impl Raw {
    pub(super) const NONE: Self = Self { member: [0; 16], delivered: U64::ZERO, received: U64::ZERO };

    /// What entries are sorted by: the member's bytes from the first on, as one number.
    pub(super) const fn key(&self) -> u128 {
        u128::from_be_bytes(self.member)
    }

    pub(super) const fn is(&self, member: MemberId) -> bool {
        self.key() == u128::from_be_bytes(member.0)
    }

    pub(super) fn delivered(&self) -> SequenceNumber {
        SequenceNumber(self.delivered.get())
    }

    pub(super) fn is_inverted(&self) -> bool {
        self.delivered.get() > self.received.get()
    }

    /// As far as the further one of both has come.
    pub(super) fn max(&self, other: &Self) -> Self {
        Self {
            member: self.member,
            delivered: self.delivered.get().max(other.delivered.get()).into(),
            received: self.received.get().max(other.received.get()).into(),
        }
    }

    /// What both have delivered, and the highest that either has received.
    pub(super) fn stable(&self, other: &Self) -> Self {
        Self {
            member: self.member,
            delivered: self.delivered.get().min(other.delivered.get()).into(),
            received: self.received.get().max(other.received.get()).into(),
        }
    }

    /// The same, of which nothing was delivered.
    pub(super) const fn undelivered(&self) -> Self {
        Self { delivered: U64::ZERO, ..*self }
    }

    /// What `other` delivered, of all that was received here.
    pub(super) const fn delivered_as(&self, other: &Self) -> Self {
        Self { delivered: other.delivered, ..*self }
    }
}

impl From<Entry> for Raw {
    fn from(entry: Entry) -> Self {
        Self {
            member: entry.member.0,
            delivered: entry.delivered.0.into(),
            received: entry.received.0.into(),
        }
    }
}

impl From<Raw> for Entry {
    /// Of an entry that was checked.
    fn from(raw: Raw) -> Self {
        Self {
            member: MemberId(raw.member),
            delivered: SequenceNumber(raw.delivered.get()),
            received: SequenceNumber(raw.received.get()),
        }
    }
}
