//! The control frames of transfers: what providers and joiners of a live state say to each other.
//!
//! They travel on a connection of their own, one after another, nothing between them but the payloads that
//! two of them announce. All integers are little endian. The bulk of a state does not travel here but in a
//! session ([`crate::session`]). A golden vector of every frame stands in `core/tests/golden/transfer-frames.txt`.
//!
//! ```text
//!  0      2   3   4        8                    24       32         36         40
//!  +------+---+---+--------+--------------------+--------+----------+----------+
//!  |magic |ver|knd| length | transfer           | epoch  | body crc | head crc |
//!  +------+---+---+--------+--------------------+--------+----------+----------+
//!  | length bytes of body, then the payload that it announces                  |
//! ```
//!
//! - `magic` is `0x544c` (the bytes `L`, `T`), `ver` is 1. `head crc` is the CRC-32C of the 36 bytes before it,
//!   `body crc` that of the body. Nothing of a header is believed before its checksum holds.
//! - Every frame bears its transfer and epoch: what is of an earlier epoch has no effect.
//! - A log point is two u64, records and bytes before it. A payload is announced by its length (u32, at
//!   most [`PAYLOAD_MAX`]) and its CRC-32C (u32). Flags are one byte, 0 or 1; reserved bytes are zero.
//!
//! | kind | frame | from | body |
//! | --- | --- | --- | --- |
//! | 1 | [`Frame::Request`] | joiner | member 16; has something 1, reserved 7; snapshot 16, log point 16 of what it has |
//! | 2 | [`Frame::Begin`] | provider | member 16; snapshot 16; log point 16: where the log begins; goes on 1, reserved 1, digest entries u16, reserved 4 |
//! | 3 | [`Frame::Refused`] | provider | why u16, reserved 2, milliseconds until asking again makes sense u32 |
//! | 4 | [`Frame::Digest`] | either | a part of the digest of the Begin or Last that follows, or of the Fetch before, as in [`crate::digest::DigestPart`] |
//! | 5 | [`Frame::Staged`] | joiner | nothing: the bulk is durable in a hidden copy |
//! | 6 | [`Frame::Records`] | provider | log points from and to, 32; payload 8 |
//! | 7 | [`Frame::Applied`] | joiner | log point 16: all before it is durable in the hidden copy |
//! | 8 | [`Frame::Pending`] | provider | how many u32, reserved 4; payload 8: the pending prepares |
//! | 9 | [`Frame::Last`] | provider | log point 16: its end; lease in ns u64; pending prepares u32; digest entries u16, reserved 2 |
//! | 10 | [`Frame::Ready`] | joiner | BLAKE3 of the digest that it has come to, 32 |
//! | 11 | [`Frame::Commit`] | provider | nothing |
//! | 12 | [`Frame::Abort`] | provider | nothing |
//! | 13 | [`Frame::Ask`] | joiner | nothing: how did this epoch end? |
//! | 14 | [`Frame::Outcome`] | provider | commit 1 (or abort 0), reserved 7 |
//! | 15 | [`Frame::Pin`] | joiner, to a source of messages | member 16, for how long in ns u64 |
//! | 16 | [`Frame::Pinned`] | a source | kept behind u64, sent u64: sequence numbers |
//! | 17 | [`Frame::Unpin`] | joiner | nothing |
//! | 18 | [`Frame::Cancel`] | joiner | nothing: it gives the transfer up |
//! | 19 | [`Frame::Fetch`] | joiner | state 16; epoch of its copy u64, or 0; digest entries u16, reserved 6; their parts follow |
//! | 20 | [`Frame::MakeCopy`] | joiner, to the group | member 16; lease in ns u64; has something 1, reserved 7; snapshot 16, log point 16 of what it has |
//! | 21 | [`Frame::Collect`] | joiner, to the group | nothing: the copies are not needed any more |
//! | 22 | [`Frame::AskRoot`] | joiner | epoch of the copy u64 |
//! | 23 | [`Frame::Root`] | provider | root 32 |
//! | 24 | [`Frame::Suspend`] | joiner, to the group | member 16, lease in ns u64 |
//! | 25 | [`Frame::Suspended`] | any member | the last number that it has sent u64 |
//! | 26 | [`Frame::Resume`] | joiner, to the group | nothing: write again |
//! | 27 | [`Frame::Hello`] | who dials, first | member 16; the member that it means to reach 16 |
//! | 28 | [`Frame::Offer`] | provider; joiner | member 16, port u16, zero 6 |
//! | 29 | [`Frame::Summing`] | provider | bytes of its copy that it has read so far u64 |

mod body;
mod frame;
mod header;

pub use frame::{Frame, Have, PAYLOAD_MAX, Payload, Refusal};
pub use header::{HEADER_LEN, Header, Kind, VERSION};

use core::fmt;

use crate::digest::PartError;

/// A buffer of this size takes any frame without its payload.
pub const FRAME_MAX: usize = HEADER_LEN + crate::digest::PART_LEN_MAX;

/// Why bytes are no frame of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The first bytes are not a transfer's.
    Magic,
    /// A version that this implementation does not speak.
    Version {
        /// The header's version.
        theirs: u8,
    },
    /// The header does not match its checksum.
    HeaderChecksum,
    /// The body does not match its checksum.
    BodyChecksum,
    /// A kind that this version does not know.
    Kind {
        /// The kind's number.
        kind: u8,
    },
    /// The body is longer or shorter than its kind has it.
    Length {
        /// The kind.
        kind: Kind,
        /// The header's length.
        len: u32,
    },
    /// A field has a value that it can't have.
    Field {
        /// The kind.
        kind: Kind,
        /// The field.
        field: &'static str,
    },
    /// The buffer to emit into is too small.
    BufferTooSmall,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("the bytes are not a live transfer's"),
            Self::Version { theirs } => {
                write!(f, "a transfer of protocol version {theirs}; this side speaks version {VERSION}")
            }
            Self::HeaderChecksum => f.write_str("a header does not match its checksum"),
            Self::BodyChecksum => f.write_str("a frame's body does not match its checksum"),
            Self::Kind { kind } => write!(f, "a transfer's frame of unknown kind {kind}"),
            Self::Length { kind, len } => {
                write!(f, "a {kind:?} frame with an impossible length of {len} bytes")
            }
            Self::Field { kind, field } => write!(f, "a {kind:?} frame with an impossible {field}"),
            Self::BufferTooSmall => f.write_str("the buffer is too small for the frame"),
        }
    }
}

impl core::error::Error for FrameError {}

impl From<PartError> for FrameError {
    fn from(error: PartError) -> Self {
        Self::Field { kind: Kind::Digest, field: error.field() }
    }
}
