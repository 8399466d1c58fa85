//! An item on the wire.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::body::{Writer, fixed, nothing_left, take};
use super::{Kind, WireError};
use crate::id::ItemId;
use crate::item::{Item, ItemName, MODE_MASK, PATH_MAX, Timestamp, Version, What};

/// An item, with its number in the header's `item`. Body: 40 bytes, then version, name and target.
pub type Offer<'a> = Item<'a>;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct OfferRaw {
    size: U64,
    seconds: I64,
    nanos: U32,
    link_to: U32,
    name_len: U16,
    target_len: U16,
    mode: U16,
    kind: u8,
    bits: u8,
    version_len: u8,
    zero: [u8; 7],
}

const _: () = assert!(size_of::<OfferRaw>() == 40);

const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
const SYMBOLIC_LINK: u8 = 3;
const HARD_LINK: u8 = 4;
const STREAM: u8 = 5;
const LINKED: u8 = 1;
const SPARSE: u8 = 2;

pub(super) fn parse_offer(body: &[u8]) -> Result<Offer<'_>, WireError> {
    let kind = Kind::Offer;
    let field = |field| WireError::Field { kind, field };
    let (raw, mut rest): (OfferRaw, _) = fixed(kind, body)?;
    let version = take(kind, &mut rest, raw.version_len.into(), "version")?;
    let name = take(kind, &mut rest, raw.name_len.get().into(), "name")?;
    let target = take(kind, &mut rest, raw.target_len.get().into(), "link target")?;
    nothing_left(kind, rest, body)?;
    if raw.mode.get() & !MODE_MASK != 0 {
        return Err(field("mode"));
    }
    if raw.nanos.get() >= 1_000_000_000 {
        return Err(field("modification time"));
    }
    if raw.bits & !(LINKED | SPARSE) != 0 || (raw.bits != 0 && raw.kind != FILE) {
        return Err(field("file bits"));
    }
    if raw.kind == SYMBOLIC_LINK {
        if target.is_empty() || target.len() > PATH_MAX || target.contains(&0) {
            return Err(field("link target"));
        }
    } else if !target.is_empty() {
        return Err(field("link target"));
    }
    let name = ItemName::parse(name)?;
    if name.is_root() && (raw.kind == SYMBOLIC_LINK || raw.kind == HARD_LINK) {
        return Err(field("name"));
    }
    Ok(Item {
        name,
        mode: raw.mode.get(),
        mtime: Timestamp { seconds: raw.seconds.get(), nanos: raw.nanos.get() },
        version: Version::new(version).ok_or(field("version"))?,
        what: match raw.kind {
            FILE => What::File {
                size: raw.size.get(),
                linked: raw.bits & LINKED != 0,
                sparse: raw.bits & SPARSE != 0,
            },
            DIRECTORY => What::Directory,
            SYMBOLIC_LINK => What::SymbolicLink { target },
            HARD_LINK => What::HardLink { to: ItemId(raw.link_to.get()) },
            STREAM => What::Stream,
            _ => return Err(field("item kind")),
        },
    })
}

pub(super) fn emit_offer(item: &Offer<'_>, out: &mut Writer<'_>) -> Result<(), WireError> {
    let (kind, size, bits, link_to, target): (_, u64, _, _, &[u8]) = match item.what {
        What::File { size, linked, sparse } => {
            (FILE, size, if linked { LINKED } else { 0 } | if sparse { SPARSE } else { 0 }, 0, b"")
        }
        What::Directory => (DIRECTORY, 0, 0, 0, b""),
        What::SymbolicLink { target } => (SYMBOLIC_LINK, 0, 0, 0, target),
        What::HardLink { to } => (HARD_LINK, 0, 0, to.0, b""),
        What::Stream => (STREAM, 0, 0, 0, b""),
    };
    let raw = OfferRaw {
        size: size.into(),
        seconds: item.mtime.seconds.into(),
        nanos: item.mtime.nanos.into(),
        link_to: link_to.into(),
        name_len: (item.name.as_bytes().len() as u16).into(),
        target_len: (target.len() as u16).into(),
        mode: item.mode.into(),
        kind,
        bits,
        version_len: item.version.as_bytes().len() as u8,
        zero: [0; 7],
    };
    out.put(raw.as_bytes())?;
    out.put(item.version.as_bytes())?;
    out.put(item.name.as_bytes())?;
    out.put(target)
}
