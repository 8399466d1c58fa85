//! How far things have come: the end of an item, grades, the end of a task, signs of life.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::body::{Writer, fixed, integrity, nothing_left};
use super::{Kind, WireError};
use crate::integrity::{Checksum, Integrity, Root};

/// The end of an item: what the provider read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Logical bytes.
    pub size: u64,
    /// Their checksum.
    pub checksum: Checksum,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct EndRaw {
    integrity: u8,
    zero: [u8; 7],
    size: U64,
    checksum: [u8; 32],
}

impl End {
    /// The body of [`super::Frame::End`], and of [`super::Frame::Skip`].
    pub(super) fn parse(kind: Kind, body: &[u8]) -> Result<Self, WireError> {
        let (raw, rest): (EndRaw, _) = fixed(kind, body)?;
        nothing_left(kind, rest, body)?;
        let integrity = integrity(kind, raw.integrity)?;
        Ok(Self { size: raw.size.get(), checksum: Checksum::from_bytes(integrity, raw.checksum) })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let raw = EndRaw {
            integrity: self.checksum.integrity().code(),
            zero: [0; 7],
            size: self.size.into(),
            checksum: self.checksum.to_bytes(),
        };
        out.put(raw.as_bytes())
    }
}

/// Bytes before the sums of [`super::Frame::Kept`]: the integrity, then zeros.
pub(super) const KEPT_LEN: usize = 4;

/// The body of [`super::Frame::Kept`]. Whether the sums are those of so many bytes, the item's size decides.
pub(super) fn parse_kept(body: &[u8]) -> Result<(Integrity, &[u8]), WireError> {
    let (head, sums): ([u8; KEPT_LEN], _) = fixed(Kind::Kept, body)?;
    let integrity = integrity(Kind::Kept, head[0])?;
    let fits = match integrity {
        Integrity::None => sums.is_empty(),
        Integrity::Crc32c => sums.len() == 4,
        Integrity::Blake3 => !sums.is_empty() && sums.len().is_multiple_of(32),
    };
    if fits { Ok((integrity, sums)) } else { Err(WireError::Field { kind: Kind::Kept, field: "sums" }) }
}

pub(super) fn emit_kept(integrity: Integrity, sums: &[u8], out: &mut Writer<'_>) -> Result<(), WireError> {
    let mut head = [0; KEPT_LEN];
    head[0] = integrity.code();
    out.put(&head)?;
    out.put(sums)
}

/// How far the joiner has come. The watermarks count items from the first, without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Grades {
    /// So many items have come whole: not yet compared, written or synced.
    pub received: u32,
    /// All items before this one are verified.
    pub verified: u32,
    /// All items before this one are durable.
    pub durable: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GradesRaw {
    received: U32,
    verified: U32,
    durable: U32,
}

impl Grades {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, rest): (GradesRaw, _) = fixed(Kind::Grades, body)?;
        nothing_left(Kind::Grades, rest, body)?;
        let (received, verified, durable) = (raw.received.get(), raw.verified.get(), raw.durable.get());
        if durable > verified || verified > received {
            return Err(WireError::Field { kind: Kind::Grades, field: "order of grades" });
        }
        Ok(Self { received, verified, durable })
    }

    pub(super) fn emit(self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let raw = GradesRaw {
            received: self.received.into(),
            verified: self.verified.into(),
            durable: self.durable.into(),
        };
        out.put(raw.as_bytes())
    }
}

/// All of a task has been sent and verified: what the joiner must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complete {
    /// Items.
    pub items: u64,
    /// Logical bytes of content.
    pub bytes: u64,
    /// The root.
    pub root: Root,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct CompleteRaw {
    items: U64,
    bytes: U64,
    integrity: u8,
    zero: [u8; 7],
    root: [u8; 32],
}

impl Complete {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, rest): (CompleteRaw, _) = fixed(Kind::Complete, body)?;
        nothing_left(Kind::Complete, rest, body)?;
        let integrity = integrity(Kind::Complete, raw.integrity)?;
        Ok(Self { items: raw.items.get(), bytes: raw.bytes.get(), root: Root { integrity, hash: raw.root } })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let raw = CompleteRaw {
            items: self.items.into(),
            bytes: self.bytes.into(),
            integrity: self.root.integrity.code(),
            zero: [0; 7],
            root: self.root.hash,
        };
        out.put(raw.as_bytes())
    }
}

/// A sign of life, with a counter of slow work: it is progress only if the counter has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    /// Units of slow work done so far (items surveyed, files made durable, 64 KiB received), over the whole session.
    pub done: u64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct AliveRaw {
    done: U64,
    zero: U64,
}

impl Alive {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, rest): (AliveRaw, _) = fixed(Kind::Alive, body)?;
        nothing_left(Kind::Alive, rest, body)?;
        Ok(Self { done: raw.done.get() })
    }

    pub(super) fn emit(self, out: &mut Writer<'_>) -> Result<(), WireError> {
        out.put(AliveRaw { done: self.done.into(), zero: 0.into() }.as_bytes())
    }
}

/// The body of a hole: its length in bytes, more than zero.
pub(super) fn parse_hole(body: &[u8], offset: u64) -> Result<u64, WireError> {
    let (len, rest): (U64, _) = fixed(Kind::Hole, body)?;
    nothing_left(Kind::Hole, rest, body)?;
    let len = len.get();
    if len == 0 || offset.checked_add(len).is_none() {
        return Err(WireError::Field { kind: Kind::Hole, field: "length of the hole" });
    }
    Ok(len)
}

pub(super) fn emit_u64(value: u64, out: &mut Writer<'_>) -> Result<(), WireError> {
    out.put(U64::from(value).as_bytes())
}

pub(super) fn emit_bytes(bytes: &[u8], out: &mut Writer<'_>) -> Result<(), WireError> {
    out.put(bytes)
}
