//! The header: 32 bytes, believed only after its own checksum holds.

use core::fmt;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ChunkLen, TASKS, WireError};
use crate::id::{ItemId, TaskId};
use crate::integrity::crc32c;

/// Bytes in a header.
pub const HEADER_LEN: usize = 32;
/// The protocol version that this crate speaks.
pub const VERSION: u8 = 1;
const MAGIC: u16 = 0x4c48;
const CHECKED: usize = HEADER_LEN - 4;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: U16,
    version: u8,
    kind: u8,
    flags: U16,
    task: U16,
    len: U32,
    item: U32,
    offset: U64,
    body_crc: U32,
    header_crc: U32,
}

const _: () = assert!(size_of::<Raw>() == HEADER_LEN && align_of::<Raw>() == 1);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $flags:expr, $min:expr, $max:expr;)*) => {
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

            const fn flags(self) -> u16 {
                match self { $(Self::$name => $flags,)* }
            }

            /// The shortest and longest body, in bytes.
            #[must_use]
            pub const fn body_len(self) -> (u32, u32) {
                match self { $(Self::$name => ($min, $max),)* }
            }

            /// The name in errors.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

/// The flags of frames that carry content.
const DATA_FLAGS: u16 = Flags::RUN_END | Flags::UNCHECKED | Flags::ATTEMPT;
const CONTROL: u32 = super::CONTROL_MAX as u32;

kinds! {
    /// Opens a session.
    Init = 1, 0, super::INIT_LEN as u32, CONTROL;
    /// Admits it.
    Welcome = 2, 0, 72, 72;
    /// Turns it away for now.
    Busy = 3, 0, 4, 4;
    /// Makes a connection a lane.
    Attach = 4, 0, 20, 20;
    /// How many tasks are requested.
    Prepare = 5, 0, 4, 4;
    /// What the joiner requests.
    Request = 6, 0, 12, CONTROL;
    /// What the provider will send.
    Task = 7, 0, 56, CONTROL;
    /// There is no such state for this joiner.
    Refused = 8, 0, 6, CONTROL;
    /// Which messages the state already contains.
    Digest = 9, 0, 8, CONTROL;
    /// The joiner is ready.
    Begin = 10, 0, 0, 0;
    /// An item.
    Offer = 11, Flags::EAGER | Flags::ATTEMPT, 40, CONTROL;
    /// Send its content.
    Accept = 12, 0, 0, 0;
    /// The joiner has the item already.
    Skip = 13, 0, 0, 48;
    /// Bytes of an item.
    Data = 14, DATA_FLAGS, 1, ChunkLen::MAX.bytes();
    /// Bytes that are zero.
    Hole = 15, Flags::RUN_END | Flags::ATTEMPT, 8, 8;
    /// An item's size and checksum.
    End = 16, Flags::ATTEMPT, 48, 48;
    /// A lane that carried the item was lost.
    Recall = 17, Flags::ATTEMPT, 0, 0;
    /// Offer the item again.
    Again = 18, 0, 0, 0;
    /// How far the joiner has come.
    Grades = 19, 0, 12, 12;
    /// All has been sent.
    Complete = 20, 0, 56, 56;
    /// All has come.
    Agreed = 21, 0, 0, 0;
    /// All has been published.
    Installed = 22, 0, 0, super::APP_REPLY_MAX as u32;
    /// The session failed.
    Failed = 23, 0, 14, CONTROL;
    /// Still here.
    Alive = 24, 0, 16, 16;
    /// How did a transfer end?
    Query = 25, 0, 48, 48;
    /// So it ended.
    Outcome = 26, 0, 20, 20 + super::APP_REPLY_MAX as u32;
    /// What the joiner kept of the item from an earlier run; send the rest.
    Kept = 27, 0, super::KEPT_LEN as u32, (super::KEPT_LEN + crate::integrity::PREFIX_SUMS_MAX) as u32;
}

impl Kind {
    /// Whether the frame is about one task of its direction; the others carry task 0.
    #[must_use]
    pub const fn has_task(self) -> bool {
        matches!(self.code(), 6..=21 | 27)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The flags of a header, known to be ones that its kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(u16);

impl Flags {
    /// Offer: the content follows on the same lane without waiting for an answer.
    pub const EAGER: u16 = 1 << 0;
    /// Data, Hole: the last piece of its run.
    pub const RUN_END: u16 = 1 << 1;
    /// Data: the payload has no checksum (integrity `none`, or a path that can't see the bytes).
    pub const UNCHECKED: u16 = 1 << 2;
    /// Which attempt at the item this belongs to, 0 to 15: frames of an earlier one are dropped.
    pub const ATTEMPT: u16 = 0xf << 8;
    /// Reserved: 16 bytes follow the payload. No capability grants it yet.
    pub const TRAILER: u16 = 1 << 15;

    /// No flags, and the first attempt.
    pub const NONE: Self = Self(0);

    /// These flags and the attempt (its low four bits).
    #[must_use]
    pub const fn new(bits: u16, attempt: u8) -> Self {
        Self((bits & !Self::ATTEMPT) | ((attempt as u16 & 0xf) << 8))
    }

    /// Whether all of `bits` are set.
    #[must_use]
    pub const fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }

    /// The attempt, 0 to 15.
    #[must_use]
    pub const fn attempt(self) -> u8 {
        ((self.0 & Self::ATTEMPT) >> 8) as u8
    }
}

/// A header whose checksum held, of a kind, flags and length that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Its flags.
    pub flags: Flags,
    /// The task of its direction that it is about; 0 if it is about none.
    pub task: TaskId,
    /// Bytes of body or payload that follow, within the kind's bounds.
    pub len: u32,
    /// The item it is about; 0 if it is about none.
    pub item: ItemId,
    /// The offset in the item; 0 if it is about none.
    pub offset: u64,
    /// CRC-32C of the body or payload.
    pub body_crc: u32,
}

impl Header {
    /// Parses a header. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// What is wrong with it; the connection it came from can't be trusted any more.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, WireError> {
        let raw: Raw = zerocopy::transmute!(*bytes);
        if raw.magic.get() != MAGIC {
            return Err(WireError::Magic);
        }
        if crc32c(&bytes[..CHECKED]) != raw.header_crc.get() {
            return Err(WireError::HeaderChecksum);
        }
        if raw.version != VERSION {
            return Err(WireError::Version { theirs: raw.version });
        }
        let kind = Kind::from_code(raw.kind).ok_or(WireError::Kind { kind: raw.kind })?;
        let flags = raw.flags.get();
        if flags & !kind.flags() != 0 {
            return Err(WireError::Flags { kind, flags });
        }
        let task = TaskId(raw.task.get());
        if task.index() >= TASKS || (task != TaskId(0) && !kind.has_task()) {
            return Err(WireError::Field { kind, field: "task" });
        }
        let len = raw.len.get();
        let (min, max) = kind.body_len();
        if len < min || len > max {
            return Err(WireError::Length { kind, len });
        }
        Ok(Self {
            kind,
            flags: Flags(flags),
            task,
            len,
            item: ItemId(raw.item.get()),
            offset: raw.offset.get(),
            body_crc: raw.body_crc.get(),
        })
    }

    /// The header's bytes, checksum included.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let raw = Raw {
            magic: MAGIC.into(),
            version: VERSION,
            kind: self.kind.code(),
            flags: self.flags.0.into(),
            task: self.task.0.into(),
            len: self.len.into(),
            item: self.item.0.into(),
            offset: self.offset.into(),
            body_crc: self.body_crc.into(),
            header_crc: 0.into(),
        };
        let mut bytes: [u8; HEADER_LEN] = zerocopy::transmute!(raw);
        let crc = crc32c(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}
