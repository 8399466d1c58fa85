//! The bodies of control frames: their bytes (`*Raw`, private) and their meaning.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{APP_META_MAX, APP_REPLY_MAX, ChunkLen, Kind, SELECTOR_MAX, STATE_ID_MAX, WireError};
use crate::id::{ClusterId, Epoch, ItemId, Lane, MemberId, SnapshotId, Token, TransferId};
use crate::integrity::{Checksum, Integrity, Root};
use crate::item::{Item, ItemName, MODE_MASK, PATH_MAX, Timestamp, Version, What};
use crate::reason::{Phase, Reason, Side};

/// Bytes of [`Init`] that are frozen; what a later version appends is skipped.
pub const INIT_LEN: usize = 72;

/// Parses the fixed part of a body and returns it with the bytes behind it.
fn fixed<T: FromBytes>(kind: Kind, body: &[u8]) -> Result<(T, &[u8]), WireError> {
    T::read_from_prefix(body).map_err(|_| WireError::Length { kind, len: body.len() as u32 })
}

/// Takes `len` bytes off the front of `rest`.
fn take<'a>(kind: Kind, rest: &mut &'a [u8], len: usize, field: &'static str) -> Result<&'a [u8], WireError> {
    let (taken, left) = rest.split_at_checked(len).ok_or(WireError::Field { kind, field })?;
    *rest = left;
    Ok(taken)
}

fn nothing_left(kind: Kind, rest: &[u8], body: &[u8]) -> Result<(), WireError> {
    if rest.is_empty() { Ok(()) } else { Err(WireError::Length { kind, len: body.len() as u32 }) }
}

/// Writes pieces one after another into a caller's buffer.
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let end = self.len + bytes.len();
        self.out.get_mut(self.len..end).ok_or(WireError::BufferTooSmall)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

/// Who a member can be in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// It gives state.
    pub provides: bool,
    /// It receives state.
    pub joins: bool,
}

/// The first frame of a session. Its first [`INIT_LEN`] bytes are frozen for ever:
///
/// `version min u8, version max u8, roles u8 (1 provides, 2 joins), zero [5], capabilities u64,
/// member [16], cluster [16], transfer [16], epoch u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init {
    /// The lowest and highest protocol version spoken.
    pub versions: (u8, u8),
    /// What the dialler does.
    pub roles: Roles,
    /// What it can do; unknown bits are ignored, the intersection is used.
    pub capabilities: u64,
    /// Who it is.
    pub member: MemberId,
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// Which transfer this is.
    pub transfer: TransferId,
    /// The how-manieth dial of that transfer.
    pub epoch: Epoch,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct InitRaw {
    version_min: u8,
    version_max: u8,
    roles: u8,
    zero: [u8; 5],
    capabilities: U64,
    member: [u8; 16],
    cluster: [u8; 16],
    transfer: [u8; 16],
    epoch: U64,
}

const _: () = assert!(size_of::<InitRaw>() == INIT_LEN);

impl Init {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, _later): (InitRaw, _) = fixed(Kind::Init, body)?;
        let field = |field| WireError::Field { kind: Kind::Init, field };
        if raw.version_min > raw.version_max {
            return Err(field("version range"));
        }
        let roles = Roles { provides: raw.roles & 1 != 0, joins: raw.roles & 2 != 0 };
        if !roles.provides && !roles.joins {
            return Err(field("role"));
        }
        Ok(Self {
            versions: (raw.version_min, raw.version_max),
            roles,
            capabilities: raw.capabilities.get(),
            member: MemberId(raw.member),
            cluster: ClusterId(raw.cluster),
            transfer: TransferId(raw.transfer),
            epoch: Epoch(raw.epoch.get()),
        })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let raw = InitRaw {
            version_min: self.versions.0,
            version_max: self.versions.1,
            roles: u8::from(self.roles.provides) | u8::from(self.roles.joins) << 1,
            zero: [0; 5],
            capabilities: self.capabilities.into(),
            member: self.member.0,
            cluster: self.cluster.0,
            transfer: self.transfer.0,
            epoch: self.epoch.0.into(),
        };
        out.put(raw.as_bytes())
    }
}

/// The listener's answer to [`Init`]: admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol version that was chosen.
    pub version: u8,
    /// The capabilities that both have.
    pub capabilities: u64,
    /// Who the listener is.
    pub member: MemberId,
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// The dialler's epoch, echoed.
    pub epoch: Epoch,
    /// Admits further lanes.
    pub token: Token,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WelcomeRaw {
    version: u8,
    zero: [u8; 7],
    capabilities: U64,
    member: [u8; 16],
    cluster: [u8; 16],
    epoch: U64,
    token: [u8; 16],
}

const _: () = assert!(size_of::<WelcomeRaw>() == 72);

impl Welcome {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, rest): (WelcomeRaw, _) = fixed(Kind::Welcome, body)?;
        nothing_left(Kind::Welcome, rest, body)?;
        Ok(Self {
            version: raw.version,
            capabilities: raw.capabilities.get(),
            member: MemberId(raw.member),
            cluster: ClusterId(raw.cluster),
            epoch: Epoch(raw.epoch.get()),
            token: Token(raw.token),
        })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let raw = WelcomeRaw {
            version: self.version,
            zero: [0; 7],
            capabilities: self.capabilities.into(),
            member: self.member.0,
            cluster: self.cluster.0,
            epoch: self.epoch.0.into(),
            token: self.token.0,
        };
        out.put(raw.as_bytes())
    }
}

/// Makes a connection a lane of a session that was welcomed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach {
    /// From [`Welcome`].
    pub token: Token,
    /// Which lane: 1 or more.
    pub lane: Lane,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct AttachRaw {
    token: [u8; 16],
    lane: U16,
    zero: [u8; 2],
}

impl Attach {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, rest): (AttachRaw, _) = fixed(Kind::Attach, body)?;
        nothing_left(Kind::Attach, rest, body)?;
        if raw.lane.get() == 0 {
            return Err(WireError::Field { kind: Kind::Attach, field: "lane" });
        }
        Ok(Self { token: Token(raw.token), lane: Lane(raw.lane.get()) })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        out.put(AttachRaw { token: self.token.0, lane: self.lane.0.into(), zero: [0; 2] }.as_bytes())
    }
}

/// The joiner's half of Prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The integrity that the joiner demands: it gets this or a refusal.
    pub integrity: Integrity,
    /// It holds nothing from before: small items may travel with their offers.
    pub fresh: bool,
    /// Data lanes that it would like, at least 1.
    pub lanes: u16,
    /// The longest chunk that it takes.
    pub chunk: ChunkLen,
    /// Which state; empty for the provider's only one.
    pub state_id: &'a [u8],
    /// Which part of it; empty for all.
    pub selector: &'a [u8],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RequestRaw {
    integrity: u8,
    fresh: u8,
    lanes: U16,
    chunk: U32,
    state_id_len: U16,
    selector_len: U16,
}

fn integrity(kind: Kind, code: u8) -> Result<Integrity, WireError> {
    Integrity::from_code(code).ok_or(WireError::Field { kind, field: "integrity" })
}

fn flag(kind: Kind, byte: u8, field: &'static str) -> Result<bool, WireError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::Field { kind, field }),
    }
}

fn chunk_len(kind: Kind, bytes: u32) -> Result<ChunkLen, WireError> {
    ChunkLen::new(bytes).ok_or(WireError::Field { kind, field: "chunk length" })
}

impl<'a> Request<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let kind = Kind::Request;
        let (raw, mut rest): (RequestRaw, _) = fixed(kind, body)?;
        let (state_id_len, selector_len) = (raw.state_id_len.get().into(), raw.selector_len.get().into());
        if state_id_len > STATE_ID_MAX || selector_len > SELECTOR_MAX || raw.lanes.get() == 0 {
            return Err(WireError::Field { kind, field: "length or number of lanes" });
        }
        let request = Self {
            integrity: integrity(kind, raw.integrity)?,
            fresh: flag(kind, raw.fresh, "freshness")?,
            lanes: raw.lanes.get(),
            chunk: chunk_len(kind, raw.chunk.get())?,
            state_id: take(kind, &mut rest, state_id_len, "state id")?,
            selector: take(kind, &mut rest, selector_len, "selector")?,
        };
        nothing_left(kind, rest, body)?;
        Ok(request)
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let raw = RequestRaw {
            integrity: self.integrity.code(),
            fresh: self.fresh.into(),
            lanes: self.lanes.into(),
            chunk: self.chunk.bytes().into(),
            state_id_len: (self.state_id.len() as u16).into(),
            selector_len: (self.selector.len() as u16).into(),
        };
        out.put(raw.as_bytes())?;
        out.put(self.state_id)?;
        out.put(self.selector)
    }
}

/// The provider's half of Prepare: one task, and its totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task<'a> {
    /// The integrity of this task: what the joiner demanded.
    pub integrity: Integrity,
    /// What the state is as a whole: 0 directory, 1 file, 2 stream.
    pub shape: u8,
    /// Everything travels on lane 0, at once.
    pub small: bool,
    /// Data lanes that will be used; 0 if small.
    pub lanes: u16,
    /// The length of chunks.
    pub chunk: ChunkLen,
    /// Items.
    pub items: u64,
    /// Logical bytes; `None`: only the end will tell.
    pub bytes: Option<u64>,
    /// Bytes that are stored, holes left out.
    pub allocated: u64,
    /// Names the content.
    pub snapshot: SnapshotId,
    /// The application's own words about it, at most [`APP_META_MAX`] bytes.
    pub app_meta: &'a [u8],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct TaskRaw {
    integrity: u8,
    shape: u8,
    small: u8,
    bytes_known: u8,
    lanes: U16,
    app_meta_len: U16,
    chunk: U32,
    zero: U32,
    items: U64,
    bytes: U64,
    allocated: U64,
    snapshot: [u8; 16],
}

const _: () = assert!(size_of::<TaskRaw>() == 56);

impl<'a> Task<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let kind = Kind::Task;
        let (raw, mut rest): (TaskRaw, _) = fixed(kind, body)?;
        let app_meta_len = usize::from(raw.app_meta_len.get());
        if app_meta_len > APP_META_MAX || raw.shape > 2 {
            return Err(WireError::Field { kind, field: "shape or length" });
        }
        let small = flag(kind, raw.small, "size class")?;
        if small != (raw.lanes.get() == 0) {
            return Err(WireError::Field { kind, field: "number of lanes" });
        }
        let task = Self {
            integrity: integrity(kind, raw.integrity)?,
            shape: raw.shape,
            small,
            lanes: raw.lanes.get(),
            chunk: chunk_len(kind, raw.chunk.get())?,
            items: raw.items.get(),
            bytes: flag(kind, raw.bytes_known, "totals")?.then_some(raw.bytes.get()),
            allocated: raw.allocated.get(),
            snapshot: SnapshotId(raw.snapshot),
            app_meta: take(kind, &mut rest, app_meta_len, "application metadata")?,
        };
        nothing_left(kind, rest, body)?;
        Ok(task)
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let raw = TaskRaw {
            integrity: self.integrity.code(),
            shape: self.shape,
            small: self.small.into(),
            bytes_known: self.bytes.is_some().into(),
            lanes: self.lanes.into(),
            app_meta_len: (self.app_meta.len() as u16).into(),
            chunk: self.chunk.bytes().into(),
            zero: 0.into(),
            items: self.items.into(),
            bytes: self.bytes.unwrap_or(0).into(),
            allocated: self.allocated.into(),
            snapshot: self.snapshot.0,
        };
        out.put(raw.as_bytes())?;
        out.put(self.app_meta)
    }
}

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
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, rest): (EndRaw, _) = fixed(Kind::End, body)?;
        nothing_left(Kind::End, rest, body)?;
        let integrity = integrity(Kind::End, raw.integrity)?;
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

/// How far the joiner has come. Both numbers count items from the first, without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Grades {
    /// All items before this one are verified.
    pub verified: u32,
    /// All items before this one are durable.
    pub durable: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GradesRaw {
    verified: U32,
    durable: U32,
}

impl Grades {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, rest): (GradesRaw, _) = fixed(Kind::Grades, body)?;
        nothing_left(Kind::Grades, rest, body)?;
        if raw.durable.get() > raw.verified.get() {
            return Err(WireError::Field { kind: Kind::Grades, field: "order of grades" });
        }
        Ok(Self { verified: raw.verified.get(), durable: raw.durable.get() })
    }

    pub(super) fn emit(self, out: &mut Writer<'_>) -> Result<(), WireError> {
        out.put(GradesRaw { verified: self.verified.into(), durable: self.durable.into() }.as_bytes())
    }
}

/// All has been sent and verified: what the joiner must have.
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

/// Why a session failed, in the words of the side that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed<'a> {
    /// What went wrong.
    pub reason: Reason,
    /// Where in the session's life.
    pub phase: Phase,
    /// Whose fault.
    pub side: Side,
    /// Where in the item (the header's offset), if known.
    pub offset: Option<u64>,
    /// The item's name; the root if it is about none.
    pub name: ItemName<'a>,
    /// For a person: UTF-8, at most [`APP_REPLY_MAX`] bytes.
    pub message: &'a str,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FailedRaw {
    reason: U16,
    phase: u8,
    side: u8,
    offset_known: u8,
    zero: [u8; 3],
    name_len: U16,
    message_len: U16,
}

impl<'a> Failed<'a> {
    pub(super) fn parse(body: &'a [u8], offset: u64) -> Result<Self, WireError> {
        let kind = Kind::Failed;
        let field = |field| WireError::Field { kind, field };
        let (raw, mut rest): (FailedRaw, _) = fixed(kind, body)?;
        let name = take(kind, &mut rest, raw.name_len.get().into(), "name")?;
        let message = take(kind, &mut rest, raw.message_len.get().into(), "message")?;
        nothing_left(kind, rest, body)?;
        if message.len() > APP_REPLY_MAX {
            return Err(field("message"));
        }
        Ok(Self {
            // A later version may know more reasons; the failure stands all the same.
            reason: Reason::from_code(raw.reason.get()).unwrap_or(Reason::Internal),
            phase: Phase::from_code(raw.phase).ok_or(field("phase"))?,
            side: Side::from_code(raw.side).ok_or(field("side"))?,
            offset: flag(kind, raw.offset_known, "offset")?.then_some(offset),
            name: ItemName::parse(name)?,
            message: core::str::from_utf8(message).map_err(|_| field("message"))?,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let message = &self.message[..self.message.floor_char_boundary(APP_REPLY_MAX)];
        let raw = FailedRaw {
            reason: self.reason.code().into(),
            phase: self.phase.code(),
            side: self.side.code(),
            offset_known: self.offset.is_some().into(),
            zero: [0; 3],
            name_len: (self.name.as_bytes().len() as u16).into(),
            message_len: (message.len() as u16).into(),
        };
        out.put(raw.as_bytes())?;
        out.put(self.name.as_bytes())?;
        out.put(message.as_bytes())
    }
}

/// A sign of life, with a counter of slow work: it is progress only if the counter has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    /// Units of slow work done so far (items surveyed, files made durable), over the whole session.
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

pub(super) fn parse_busy(body: &[u8]) -> Result<u32, WireError> {
    let (millis, rest): (U32, _) = fixed(Kind::Busy, body)?;
    nothing_left(Kind::Busy, rest, body)?;
    Ok(millis.get())
}

pub(super) fn emit_bytes(bytes: &[u8], out: &mut Writer<'_>) -> Result<(), WireError> {
    out.put(bytes)
}
