//! A digest on the wire: in parts, each the body of one frame.
//!
//! ```text
//!  0        2        4                8                          24           32           40
//!  +--------+--------+----------------+--------------------------+------------+------------+--
//!  | first  | total  | zero           | member                   | delivered  | received   | ...
//!  +--------+--------+----------------+--------------------------+------------+------------+--
//!                                       one entry, 32 bytes; at most 512 of them
//! ```
//!
//! - All integers are little endian. `total` counts the digest's entries, `first` those in the parts
//!   before this one; the length of the body says how many there are in this one.
//! - Entries are sorted by the bytes of `member`, none twice, within a part and from part to part.
//!   `delivered <= received`. So a digest has one encoding only.
//! - A part has at least one entry; a digest of nobody is one part without any.
//! - Parts are sent in order, nothing of another digest between them.

use core::fmt;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::entry::{ENTRY_LEN, Raw};
use super::{Digest, Entry};

/// The most entries in one part.
pub const PART_ENTRIES: usize = 512;
/// The longest part, in bytes: a body of a control frame takes it.
pub const PART_LEN_MAX: usize = HEAD_LEN + PART_ENTRIES * ENTRY_LEN;

const HEAD_LEN: usize = 8;
const _: () = assert!(PART_LEN_MAX <= crate::wire::CONTROL_MAX);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    first: U16,
    total: U16,
    zero: U32,
}

const _: () = assert!(size_of::<Head>() == HEAD_LEN && align_of::<Head>() == 1);

/// A part of a digest: a view of its bytes, which were checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DigestPart<'a> {
    first: u16,
    total: u16,
    entries: &'a [Raw],
}

/// Why bytes are no part of a digest, or not the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartError {
    /// No whole number of entries, or more than fit in a part.
    Length,
    /// The reserved field is not zero.
    Reserved,
    /// More entries than the digest has.
    Count,
    /// No entry, though the digest has some.
    Empty,
    /// Members that are not sorted, or are named twice.
    Order,
    /// More delivered than received.
    Inverted,
    /// A digest of more members than there is room for.
    Full,
    /// Not the part that follows, or a part of another digest.
    OutOfTurn,
}

impl<'a> DigestPart<'a> {
    /// Parses the body of a frame. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(body: &'a [u8]) -> Result<Self, PartError> {
        let (head, entries) = Head::read_from_prefix(body).map_err(|_| PartError::Length)?;
        let entries = <[Raw]>::ref_from_bytes(entries).map_err(|_| PartError::Length)?;
        let (first, total) = (head.first.get(), head.total.get());
        if entries.len() > PART_ENTRIES {
            return Err(PartError::Length);
        }
        if head.zero.get() != 0 {
            return Err(PartError::Reserved);
        }
        if usize::from(first) + entries.len() > usize::from(total) {
            return Err(PartError::Count);
        }
        if entries.is_empty() && total > 0 {
            return Err(PartError::Empty);
        }
        if !entries.is_sorted_by(|one, next| one.key() < next.key()) {
            return Err(PartError::Order);
        }
        if entries.iter().any(Raw::is_inverted) {
            return Err(PartError::Inverted);
        }
        Ok(Self { first, total, entries })
    }

    /// Its bytes, to be sent one after the other: what stands before the entries, and the entries.
    #[must_use]
    pub fn as_bytes(&self) -> ([u8; HEAD_LEN], &'a [u8]) {
        let head = Head { first: self.first.into(), total: self.total.into(), zero: 0.into() };
        (zerocopy::transmute!(head), self.entries.as_bytes())
    }

    /// How many entries of the digest came before.
    #[must_use]
    pub const fn first(&self) -> u16 {
        self.first
    }

    /// How many entries the whole digest has.
    #[must_use]
    pub const fn total(&self) -> u16 {
        self.total
    }

    /// Whether the digest ends with this part.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.first as usize + self.entries.len() == self.total as usize
    }

    /// Its entries, sorted by member.
    #[must_use]
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = Entry> + ExactSizeIterator + 'a {
        self.entries.iter().map(|raw| Entry::from(*raw))
    }
}

impl fmt::Debug for DigestPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DigestPart({} from {} of {})", self.entries.len(), self.first, self.total)
    }
}

/// The parts of a digest, in order. From [`Digest::parts`].
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    next: Option<DigestPart<'a>>,
}

impl<'a> Parts<'a> {
    /// As if all were one part: it is cut as it is taken.
    pub(super) const fn new(entries: &'a [Raw]) -> Self {
        // A digest has room for at most 65 535 entries.
        Self { next: Some(DigestPart { first: 0, total: entries.len() as u16, entries }) }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = DigestPart<'a>;

    fn next(&mut self) -> Option<DigestPart<'a>> {
        let rest = self.next.take()?;
        let (entries, behind) = rest.entries.split_at(rest.entries.len().min(PART_ENTRIES));
        if !behind.is_empty() {
            let first = rest.first + entries.len() as u16;
            self.next = Some(DigestPart { first, entries: behind, ..rest });
        }
        Some(DigestPart { entries, ..rest })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.next.map_or(0, |rest| rest.entries.len().div_ceil(PART_ENTRIES).max(1));
        (left, Some(left))
    }
}

impl ExactSizeIterator for Parts<'_> {}

/// Puts a digest together from its parts.
///
/// | parts | input | next |
/// | --- | --- | --- |
/// | none | a first part of a digest that fits | some, or all |
/// | some | the part that follows | some, or all |
/// | any | any other | the same |
#[derive(Clone, Debug)]
pub struct Assembly<const MEMBERS: usize = 1024> {
    /// How many entries there will be; `None` before the first part.
    total: Option<u16>,
    digest: Digest<MEMBERS>,
}

impl<const MEMBERS: usize> Assembly<MEMBERS> {
    /// No part yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { total: None, digest: Digest::new() }
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// [`PartError::Full`], [`PartError::OutOfTurn`], [`PartError::Order`] if it goes back behind the part before;
    /// then nothing has changed.
    pub fn take(&mut self, part: &DigestPart<'_>) -> Result<(), PartError> {
        if usize::from(part.total) > MEMBERS {
            return Err(PartError::Full);
        }
        let follows = match self.total {
            None => part.first == 0,
            Some(total) => total == part.total && usize::from(part.first) == self.digest.len(),
        };
        if !follows || self.digest().is_some() {
            return Err(PartError::OutOfTurn);
        }
        if let (Some(last), Some(next)) = (self.digest.entries.last(), part.entries.first())
            && last.key() >= next.key()
        {
            return Err(PartError::Order);
        }
        self.digest.entries.extend_from_slice(part.entries).map_err(|_| PartError::Full)?;
        self.total = Some(part.total);
        Ok(())
    }

    /// The digest, once all its parts have come.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest<MEMBERS>> {
        (self.total.map(usize::from) == Some(self.digest.len())).then_some(&self.digest)
    }
}

impl<const MEMBERS: usize> Default for Assembly<MEMBERS> {
    fn default() -> Self {
        Self::new()
    }
}

impl PartError {
    /// What is impossible about the frame.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Reserved => "reserved field",
            Self::Count => "count of entries",
            Self::Empty => "part without entries",
            Self::Order => "order of members",
            Self::Inverted => "sequence number: delivered, but not received",
            Self::Full => "number of members",
            Self::OutOfTurn => "place among the digest's parts",
        }
    }
}

impl fmt::Display for PartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a part of a digest with an impossible {}", self.field())
    }
}

impl core::error::Error for PartError {}
