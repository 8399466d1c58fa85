//! The header: 40 bytes, believed only after its own checksum holds.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::FrameError;
use crate::digest::PART_LEN_MAX;
use crate::id::{Epoch, TransferId};
use crate::integrity::crc32c;
use crate::transfer::Tag;

/// Bytes in a header.
pub const HEADER_LEN: usize = 40;
/// The version of transfers that this crate speaks.
pub const VERSION: u8 = 1;
const MAGIC: u16 = 0x544c;
const CHECKED: usize = HEADER_LEN - 4;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: U16,
    version: u8,
    kind: u8,
    len: U32,
    transfer: [u8; 16],
    epoch: U64,
    body_crc: U32,
    header_crc: U32,
}

const _: () = assert!(size_of::<Raw>() == HEADER_LEN && align_of::<Raw>() == 1);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $min:expr, $max:expr;)*) => {
        /// What a frame is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// Every kind, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$name => $code,)* }
            }

            const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// The shortest and longest body, in bytes.
            #[must_use]
            pub const fn body_len(self) -> (u32, u32) {
                match self { $(Self::$name => ($min, $max),)* }
            }
        }
    };
}

kinds! {
    /// A joiner asks for a state.
    Request = 1, 56, 56;
    /// The provider gives it.
    Begin = 2, 56, 56;
    /// It will not, or not any more.
    Refused = 3, 8, 8;
    /// A part of a digest.
    Digest = 4, 8, PART_LEN_MAX as u32;
    /// The bulk is durable.
    Staged = 5, 0, 0;
    /// Records of the log.
    Records = 6, 40, 40;
    /// Records that are durable.
    Applied = 7, 16, 16;
    /// The pending prepares.
    Pending = 8, 16, 16;
    /// All has been sent.
    Last = 9, 32, 32;
    /// All has been applied.
    Ready = 10, 32, 32;
    /// The epoch is committed.
    Commit = 11, 0, 0;
    /// The epoch is aborted.
    Abort = 12, 0, 0;
    /// How did the epoch end?
    Ask = 13, 0, 0;
    /// So it ended.
    Outcome = 14, 8, 8;
    /// Keep your messages.
    Pin = 15, 24, 24;
    /// They are kept.
    Pinned = 16, 16, 16;
    /// They need not be kept any more.
    Unpin = 17, 0, 0;
    /// The joiner gives up.
    Cancel = 18, 0, 0;
    /// A joiner asks for a capture.
    Fetch = 19, 32, 32;
    /// All who provide copy their state here.
    MakeCopy = 20, 64, 64;
    /// The copies are not needed any more.
    Collect = 21, 0, 0;
    /// Which root has your copy?
    AskRoot = 22, 8, 8;
    /// It has this root.
    Root = 23, 32, 32;
    /// All stop writing.
    Suspend = 24, 24, 24;
    /// This member has stopped.
    Suspended = 25, 8, 8;
    /// All write again.
    Resume = 26, 0, 0;
    /// Who dials, and whom it means to reach.
    Hello = 27, 32, 32;
    /// A provider offers its state.
    Offer = 28, 24, 24;
    /// It looks for the root of its copy.
    Summing = 29, 8, 8;
}

/// A header whose checksum held, of a kind and length that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Bytes of body that follow, within the kind's bounds.
    pub len: u32,
    /// Which transfer, which try of it.
    pub tag: Tag,
    /// CRC-32C of the body.
    pub body_crc: u32,
}

impl Header {
    /// Whether a connection that begins with these bytes is a transfer's, and not a session's.
    #[must_use]
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC.to_le_bytes())
    }

    /// Parses a header. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// What is wrong with it; the connection it came from can't be trusted any more.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let raw: Raw = zerocopy::transmute!(*bytes);
        if raw.magic.get() != MAGIC {
            return Err(FrameError::Magic);
        }
        if crc32c(&bytes[..CHECKED]) != raw.header_crc.get() {
            return Err(FrameError::HeaderChecksum);
        }
        if raw.version != VERSION {
            return Err(FrameError::Version { theirs: raw.version });
        }
        let kind = Kind::from_code(raw.kind).ok_or(FrameError::Kind { kind: raw.kind })?;
        let len = raw.len.get();
        let (min, max) = kind.body_len();
        if len < min || len > max {
            return Err(FrameError::Length { kind, len });
        }
        let tag = Tag { transfer: TransferId(raw.transfer), epoch: Epoch(raw.epoch.get()) };
        Ok(Self { kind, len, tag, body_crc: raw.body_crc.get() })
    }

    /// The header's bytes, checksum included.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let raw = Raw {
            magic: MAGIC.into(),
            version: VERSION,
            kind: self.kind.code(),
            len: self.len.into(),
            transfer: self.tag.transfer.0,
            epoch: self.tag.epoch.0.into(),
            body_crc: self.body_crc.into(),
            header_crc: 0.into(),
        };
        let mut bytes: [u8; HEADER_LEN] = zerocopy::transmute!(raw);
        let crc = crc32c(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}
