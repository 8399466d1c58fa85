//! The bodies' bytes, as typed views; their meaning is [`super::Frame`]'s.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::frame::{PAYLOAD_MAX, Payload};
use super::{FrameError, Kind};
use crate::transfer::LogPoint;

/// Declares a body: its fields in their order, and how long they are together.
macro_rules! body {
    ($name:ident, $len:literal { $($field:ident: $type:ty,)* }) => {
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $type,)* }

        const _: () = assert!(size_of::<$name>() == $len);
    };
}

body!(Point, 16 { records: U64, bytes: U64, });
body!(Announced, 8 { len: U32, crc: U32, });
body!(Request, 56 { member: [u8; 16], has: u8, zero: [u8; 7], snapshot: [u8; 16], point: Point, });
body!(Begin, 56 {
    member: [u8; 16], snapshot: [u8; 16], from: Point, goes_on: u8, zero: u8, members: U16, zero_too: U32,
});
body!(Refused, 8 { why: U16, zero: U16, retry_after_ms: U32, });
body!(Records, 40 { from: Point, to: Point, payload: Announced, });
body!(Pending, 16 { count: U32, zero: U32, payload: Announced, });
body!(Last, 32 { end: Point, lease_ns: U64, pending: U32, members: U16, zero: U16, });
body!(Outcome, 8 { commit: u8, zero: [u8; 7], });
body!(Pin, 24 { member: [u8; 16], lease_ns: U64, });
body!(Pinned, 16 { behind: U64, sent: U64, });
body!(Fetch, 32 { state: [u8; 16], copy: U64, members: U16, zero: [u8; 6], });
body!(MakeCopy, 64 {
    member: [u8; 16], lease_ns: U64, has: u8, zero: [u8; 7], snapshot: [u8; 16], point: Point,
});
body!(Suspend, 24 { member: [u8; 16], lease_ns: U64, });
body!(Hello, 32 { from: [u8; 16], to: [u8; 16], });
body!(Offer, 24 { member: [u8; 16], port: U16, zero: [u8; 6], });

/// A body of exactly these fields.
pub(super) fn exactly<T: FromBytes>(kind: Kind, body: &[u8]) -> Result<T, FrameError> {
    T::read_from_bytes(body).map_err(|_| FrameError::Length { kind, len: body.len() as u32 })
}

pub(super) fn zero(kind: Kind, is_zero: bool) -> Result<(), FrameError> {
    if is_zero { Ok(()) } else { Err(FrameError::Field { kind, field: "reserved field" }) }
}

pub(super) fn flag(kind: Kind, byte: u8, field: &'static str) -> Result<bool, FrameError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FrameError::Field { kind, field }),
    }
}

pub(super) fn payload(kind: Kind, raw: &Announced) -> Result<Payload, FrameError> {
    let payload = Payload { len: raw.len.get(), crc: raw.crc.get() };
    if payload.len > PAYLOAD_MAX {
        return Err(FrameError::Field { kind, field: "length of its payload" });
    }
    Ok(payload)
}

impl From<LogPoint> for Point {
    fn from(point: LogPoint) -> Self {
        Self { records: point.records.into(), bytes: point.bytes.into() }
    }
}

impl From<&Point> for LogPoint {
    fn from(raw: &Point) -> Self {
        Self { records: raw.records.get(), bytes: raw.bytes.get() }
    }
}

impl From<Payload> for Announced {
    fn from(payload: Payload) -> Self {
        Self { len: payload.len.into(), crc: payload.crc.into() }
    }
}
