//! The words of a side that fails.

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::body::{Writer, fixed, flag, nothing_left, reply, shortened, take, words};
use super::{Kind, WireError};
use crate::item::ItemName;
use crate::reason::{Phase, Reason, Side};

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
    /// For a person: UTF-8, at most [`super::APP_REPLY_MAX`] bytes.
    pub message: &'a str,
    /// The application's reply, at most [`super::APP_REPLY_MAX`] bytes.
    pub app_reply: &'a [u8],
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
    app_reply_len: U16,
}

impl<'a> Failed<'a> {
    pub(super) fn parse(body: &'a [u8], offset: u64) -> Result<Self, WireError> {
        let kind = Kind::Failed;
        let field = |field| WireError::Field { kind, field };
        let (raw, mut rest): (FailedRaw, _) = fixed(kind, body)?;
        let name = take(kind, &mut rest, raw.name_len.get().into(), "name")?;
        let message = words(kind, &mut rest, raw.message_len.get())?;
        let app_reply = reply(kind, &mut rest, raw.app_reply_len.get())?;
        nothing_left(kind, rest, body)?;
        Ok(Self {
            // A later version may know more reasons; the failure stands all the same.
            reason: Reason::from_code(raw.reason.get()).unwrap_or(Reason::Internal),
            phase: Phase::from_code(raw.phase).ok_or(field("phase"))?,
            side: Side::from_code(raw.side).ok_or(field("side"))?,
            offset: flag(kind, raw.offset_known, "offset")?.then_some(offset),
            name: ItemName::parse(name)?,
            message,
            app_reply,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let message = shortened(self.message);
        let raw = FailedRaw {
            reason: self.reason.code().into(),
            phase: self.phase.code(),
            side: self.side.code(),
            offset_known: self.offset.is_some().into(),
            zero: [0; 3],
            name_len: (self.name.as_bytes().len() as u16).into(),
            message_len: (message.len() as u16).into(),
            app_reply_len: (self.app_reply.len() as u16).into(),
        };
        out.put(raw.as_bytes())?;
        out.put(self.name.as_bytes())?;
        out.put(message.as_bytes())?;
        out.put(self.app_reply)
    }
}
