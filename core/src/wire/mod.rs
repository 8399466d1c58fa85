//! The wire: frames, parsed and emitted.
//!
//! A connection carries frames one after another, nothing between them. All integers are little
//! endian. This page and its submodules are meant to suffice for a second implementation; a golden
//! vector of every frame stands in `core/tests/golden/`.
//!
//! ```text
//!  0      2   3   4      6      8          12         16                24         28         32
//!  +------+---+---+------+------+----------+----------+-----------------+----------+----------+
//!  |magic |ver|knd|flags | task | length   | item     | offset          | body crc | head crc |
//!  +------+---+---+------+------+----------+----------+-----------------+----------+----------+
//!  | length bytes of body or payload                                                          |
//! ```
//!
//! - `magic` is `0x4c48` (the bytes `H`, `L`), `ver` is 1.
//! - `task` is the number of the task that the frame is about, below [`TASKS`]; 0 in frames about none.
//! - `head crc` is the CRC-32C of the 28 bytes before it: nothing of a header is believed before it
//!   holds. `body crc` is the CRC-32C of the body or payload (0 if `flags` say unchecked).
//! - `length` is checked against the kind's bound before anything is reserved for it.
//! - An unknown kind or flag is an error, except in [`Init`]'s capability bits.
//!
//! | kind | frame | from, on lane | body |
//! | --- | --- | --- | --- |
//! | 1 | [`Init`] | dialler, 0 | who, which transfer; frozen for ever |
//! | 2 | [`Welcome`] | listener, 0 | what was chosen, the token for further lanes |
//! | 3 | [`Frame::Busy`] | listener, 0 | when to ask again |
//! | 4 | [`Attach`] | dialler, 1.. | the token: this connection is that lane |
//! | 5 | [`Frame::Prepare`] | joiner, 0 | how many requests follow |
//! | 6 | [`Request`] | joiner, 0 | Prepare: what the joiner requests |
//! | 7 | [`Task`] | provider, 0 | Prepare: what the provider will send |
//! | 8 | [`Refused`] | provider, 0 | Prepare: it will not, and why; the application's reply |
//! | 9 | [`DigestPart`] | provider, 0 | Prepare: which messages the state already contains |
//! | 10 | [`Frame::Begin`] | joiner, 0 | preflight passed: stream |
//! | 11 | [`Offer`] | provider, 0 or the lane of the data | an item |
//! | 12 | [`Frame::Accept`] | joiner, 0 | send the offered item's content, from an offset |
//! | 13 | [`Frame::Skip`] | joiner, 0 | the offered item is there already: its size and checksum |
//! | 14 | [`Frame::Data`] | provider, any | payload: bytes of an item |
//! | 15 | [`Frame::Hole`] | provider, any | bytes of an item that are zero and not stored |
//! | 16 | [`End`] | provider, any | the item's size and checksum |
//! | 17 | [`Frame::Recall`] | provider, 0 | a lane that carried the item was lost: ask again for what is missing |
//! | 18 | [`Frame::Again`] | joiner, 0 | the item failed: offer it again |
//! | 19 | [`Grades`] | joiner, 0 | how many received, verified through, durable through |
//! | 20 | [`Complete`] | provider, 0 | a task's count, bytes, root |
//! | 21 | [`Frame::Agreed`] | joiner, 0 | the joiner has the same: the next task may stream |
//! | 22 | [`Frame::Installed`] | joiner, 0 | published, all tasks of its direction; the application's reply |
//! | 23 | [`Failed`] | either, 0 | the session failed, and why; the application's reply |
//! | 24 | [`Alive`] | either, 0 | still here; how far slow work has come, and what has come in |
//! | 25 | [`Query`] | dialler, 0, in place of [`Init`] | how did a transfer end? |
//! | 26 | [`Outcome`] | listener, 0 | so it ended |
//! | 27 | [`Frame::Kept`] | joiner, 0 | what an earlier run left of the offered item: send the rest, and its end |
//!
//! The two directions of a session are apart: a task's number is counted among those that the same
//! side requests, and the kind of a frame says which side that is (joiner to provider, or back).

mod body;
mod failed;
mod frame;
mod header;
mod offer;
mod opening;
mod outcome;
mod prepare;
mod report;

pub use crate::digest::DigestPart;
pub use failed::Failed;
pub use frame::Frame;
pub use header::{Flags, HEADER_LEN, Header, Kind, VERSION};
pub use offer::Offer;
pub use opening::{Attach, INIT_LEN, Init, Roles, Welcome};
pub use outcome::{Outcome, Query, Verdict};
pub use prepare::{Refused, Request, Task};
use report::KEPT_LEN;
pub use report::{Alive, Complete, End, Grades};

use core::fmt;

use crate::digest::PartError;
use crate::item::NameError;

/// The longest body of a control frame, in bytes.
pub const CONTROL_MAX: usize = 20 << 10;
/// A buffer of this size takes any control frame, header included.
pub const FRAME_MAX: usize = HEADER_LEN + CONTROL_MAX;
/// The longest application metadata of a task, in bytes.
pub const APP_META_MAX: usize = 16 << 10;
/// The longest reply of an application, and the longest message of a failure, in bytes.
pub const APP_REPLY_MAX: usize = 1 << 10;
/// The longest selector of a request, in bytes.
pub const SELECTOR_MAX: usize = 1 << 10;
/// Tasks that one side of a session may request.
pub const TASKS: usize = 16;
/// The longest state id, in bytes.
pub const STATE_ID_MAX: usize = 255;

/// The length of chunks: a power of two from 4 KiB to 4 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkLen(u32);

impl ChunkLen {
    /// 4 KiB.
    pub const MIN: Self = Self(4 << 10);
    /// 4 MiB.
    pub const MAX: Self = Self(4 << 20);
    /// 512 KiB.
    pub const DEFAULT: Self = Self(512 << 10);

    /// `None` unless `bytes` is a power of two from 4 KiB to 4 MiB.
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= Self::MIN.0 && bytes <= Self::MAX.0 {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// The length in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// Where the chunk ends that `offset` lies in, in bytes: the next multiple of the length behind it, or the
    /// last number there is.
    #[must_use]
    pub const fn end_of(self, offset: u64) -> u64 {
        (offset | (self.0 as u64 - 1)).saturating_add(1)
    }
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// The first bytes are not longhaul's.
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
    /// Flags that this kind does not have.
    Flags {
        /// The kind.
        kind: Kind,
        /// Its flags.
        flags: u16,
    },
    /// The body is longer or shorter than its kind allows.
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
    /// A name that is none.
    Name(NameError),
    /// The buffer to emit into is too small.
    BufferTooSmall,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("the bytes are not longhaul's protocol"),
            Self::Version { theirs } => {
                write!(f, "a frame of protocol version {theirs}; this side speaks version {VERSION}")
            }
            Self::HeaderChecksum => f.write_str("a header does not match its checksum"),
            Self::BodyChecksum => f.write_str("a frame's body does not match its checksum"),
            Self::Kind { kind } => write!(f, "a frame of unknown kind {kind}"),
            Self::Flags { kind, flags } => write!(f, "a {kind} frame with unknown flags {flags:#06x}"),
            Self::Length { kind, len } => {
                write!(f, "a {kind} frame with an impossible length of {len} bytes")
            }
            Self::Field { kind, field } => write!(f, "a {kind} frame with an impossible {field}"),
            Self::Name(error) => write!(f, "an offer with an impossible name: {error}"),
            Self::BufferTooSmall => f.write_str("the buffer is too small for the frame"),
        }
    }
}

impl core::error::Error for WireError {}

impl From<PartError> for WireError {
    fn from(error: PartError) -> Self {
        Self::Field { kind: Kind::Digest, field: error.field() }
    }
}

impl From<NameError> for WireError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}
