//! What all bodies of control frames are parsed and emitted with. A body has two forms: its bytes
//! (`*Raw`, private to its module) and its meaning.

use zerocopy::FromBytes;

use super::{APP_REPLY_MAX, ChunkLen, Kind, WireError};
use crate::integrity::Integrity;

/// Parses the fixed part of a body and returns it with the bytes behind it.
pub(super) fn fixed<T: FromBytes>(kind: Kind, body: &[u8]) -> Result<(T, &[u8]), WireError> {
    T::read_from_prefix(body).map_err(|_| WireError::Length { kind, len: body.len() as u32 })
}

/// Takes `len` bytes off the front of `rest`.
pub(super) fn take<'a>(
    kind: Kind,
    rest: &mut &'a [u8],
    len: usize,
    field: &'static str,
) -> Result<&'a [u8], WireError> {
    let (taken, left) = rest.split_at_checked(len).ok_or(WireError::Field { kind, field })?;
    *rest = left;
    Ok(taken)
}

pub(super) fn nothing_left(kind: Kind, rest: &[u8], body: &[u8]) -> Result<(), WireError> {
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

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let end = self.len + bytes.len();
        self.out.get_mut(self.len..end).ok_or(WireError::BufferTooSmall)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

pub(super) fn integrity(kind: Kind, code: u8) -> Result<Integrity, WireError> {
    Integrity::from_code(code).ok_or(WireError::Field { kind, field: "integrity" })
}

pub(super) fn flag(kind: Kind, byte: u8, field: &'static str) -> Result<bool, WireError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::Field { kind, field }),
    }
}

pub(super) fn chunk_len(kind: Kind, bytes: u32) -> Result<ChunkLen, WireError> {
    ChunkLen::new(bytes).ok_or(WireError::Field { kind, field: "chunk length" })
}

/// Words for a person: UTF-8, of bounded length.
pub(super) fn words<'a>(kind: Kind, rest: &mut &'a [u8], len: u16) -> Result<&'a str, WireError> {
    let bytes = take(kind, rest, len.into(), "message")?;
    let bounded = bytes.len() <= APP_REPLY_MAX;
    core::str::from_utf8(bytes).ok().filter(|_| bounded).ok_or(WireError::Field { kind, field: "message" })
}

/// Words for a person, cut to what a frame takes.
pub(super) fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(APP_REPLY_MAX)]
}

/// An application's reply, of bounded length.
pub(super) fn reply<'a>(kind: Kind, rest: &mut &'a [u8], len: u16) -> Result<&'a [u8], WireError> {
    let bytes = take(kind, rest, len.into(), "application's reply")?;
    if bytes.len() <= APP_REPLY_MAX {
        Ok(bytes)
    } else {
        Err(WireError::Field { kind, field: "application's reply" })
    }
}
