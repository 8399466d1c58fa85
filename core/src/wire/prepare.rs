//! Prepare: what the joiner requests, what the provider will send or refuses.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::body::{Writer, chunk_len, fixed, flag, integrity, nothing_left, reply, shortened, take, words};
use super::{APP_META_MAX, ChunkLen, Kind, SELECTOR_MAX, STATE_ID_MAX, TASKS, WireError};
use crate::id::SnapshotId;
use crate::integrity::Integrity;
use crate::reason::Reason;

/// The joiner's half of Prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The integrity that the joiner demands: it gets this or a refusal.
    pub integrity: Integrity,
    /// It holds nothing from before: small items may travel with their offers.
    pub fresh: bool,
    /// After a re-dial: it has agreed to this task's root before, nothing is to be sent.
    pub agreed: bool,
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
    bits: u8,
    lanes: U16,
    chunk: U32,
    state_id_len: U16,
    selector_len: U16,
}

const FRESH: u8 = 1;
const AGREED: u8 = 2;

impl<'a> Request<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let kind = Kind::Request;
        let (raw, mut rest): (RequestRaw, _) = fixed(kind, body)?;
        let (state_id_len, selector_len) = (raw.state_id_len.get().into(), raw.selector_len.get().into());
        if raw.bits & !(FRESH | AGREED) != 0 {
            return Err(WireError::Field { kind, field: "request bits" });
        }
        if state_id_len > STATE_ID_MAX || selector_len > SELECTOR_MAX || raw.lanes.get() == 0 {
            return Err(WireError::Field { kind, field: "length or number of lanes" });
        }
        let request = Self {
            integrity: integrity(kind, raw.integrity)?,
            fresh: raw.bits & FRESH != 0,
            agreed: raw.bits & AGREED != 0,
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
            bits: if self.fresh { FRESH } else { 0 } | if self.agreed { AGREED } else { 0 },
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
    /// Bytes of the longest part of any item's name; 0: not known.
    pub longest_name: u16,
    /// Names the content.
    pub snapshot: SnapshotId,
    /// Members in its digest: that many entries follow in [`super::DigestPart`]s.
    pub digest_members: u16,
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
    digest_members: U16,
    longest_name: U16,
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
            longest_name: raw.longest_name.get(),
            snapshot: SnapshotId(raw.snapshot),
            digest_members: raw.digest_members.get(),
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
            digest_members: self.digest_members.into(),
            longest_name: self.longest_name.into(),
            items: self.items.into(),
            bytes: self.bytes.unwrap_or(0).into(),
            allocated: self.allocated.into(),
            snapshot: self.snapshot.0,
        };
        out.put(raw.as_bytes())?;
        out.put(self.app_meta)
    }
}

/// The provider's other answer to a request: this task will not be sent. The session goes on with its other tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Why.
    pub reason: Reason,
    /// For a person: UTF-8, at most [`super::APP_REPLY_MAX`] bytes.
    pub message: &'a str,
    /// The application's reply, at most [`super::APP_REPLY_MAX`] bytes.
    pub app_reply: &'a [u8],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RefusedRaw {
    reason: U16,
    message_len: U16,
    app_reply_len: U16,
}

impl<'a> Refused<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let kind = Kind::Refused;
        let (raw, mut rest): (RefusedRaw, _) = fixed(kind, body)?;
        let message = words(kind, &mut rest, raw.message_len.get())?;
        let app_reply = reply(kind, &mut rest, raw.app_reply_len.get())?;
        nothing_left(kind, rest, body)?;
        Ok(Self {
            // A later version may know more reasons; the refusal stands all the same.
            reason: Reason::from_code(raw.reason.get()).unwrap_or(Reason::Refused),
            message,
            app_reply,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let message = shortened(self.message);
        let raw = RefusedRaw {
            reason: self.reason.code().into(),
            message_len: (message.len() as u16).into(),
            app_reply_len: (self.app_reply.len() as u16).into(),
        };
        out.put(raw.as_bytes())?;
        out.put(message.as_bytes())?;
        out.put(self.app_reply)
    }
}

pub(super) fn parse_prepare(body: &[u8]) -> Result<u16, WireError> {
    let kind = Kind::Prepare;
    let (requests, rest): (U32, _) = fixed(kind, body)?;
    nothing_left(kind, rest, body)?;
    match u16::try_from(requests.get()) {
        Ok(requests) if usize::from(requests) <= TASKS => Ok(requests),
        _ => Err(WireError::Field { kind, field: "number of requests" }),
    }
}
