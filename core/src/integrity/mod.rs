//! Checksums, and the algebra that joins them.
//!
//! ```text
//! chunk   CRC-32C of one payload, in its header             crc32c
//! run     RUN_LEN contiguous bytes of one item, one lane     RunHasher ──▶ RunSum
//! item    length + checksum of its logical bytes             ItemFold  ◀── RunSums in any order
//! state   independent of the order of items                  RootSum ◀── items with their checksums
//! ```
//!
//! An item's checksum is the ordinary CRC-32C or the ordinary BLAKE3 of its bytes, whatever the
//! size of chunks and however many lanes carried it. The session machine never hashes: drivers do,
//! where the bytes are.

mod crc32c;
mod item;
mod prefix;
mod root;
mod run;

use core::fmt;

pub use crc32c::{crc32c, crc32c_combine, crc32c_zeros};
pub use item::{FoldError, ItemFold};
pub use prefix::{PREFIX_SUMS_MAX, Prefix};
pub use root::{Root, RootSum, name_hash};
pub use run::{RUN_LEN, RunHasher, RunSum};

/// Which checksum guards items and the state. Chunks bear a CRC-32C unless it is [`Integrity::None`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Integrity {
    /// None was asked for: nothing is ever called verified.
    None,
    /// CRC-32C (Castagnoli): finds accidents.
    #[default]
    Crc32c,
    /// BLAKE3: finds intent too.
    Blake3,
}

impl Integrity {
    /// The name in options and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Crc32c => "crc32c",
            Self::Blake3 => "blake3",
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Crc32c => 1,
            Self::Blake3 => 2,
        }
    }

    /// The integrity with this number on the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Crc32c),
            2 => Some(Self::Blake3),
            _ => None,
        }
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An item's checksum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Checksum {
    /// None was computed.
    #[default]
    None,
    /// CRC-32C of all bytes.
    Crc32c(u32),
    /// BLAKE3 of all bytes.
    Blake3([u8; 32]),
}

impl Checksum {
    /// The checksum of no bytes at all.
    #[must_use]
    pub fn empty(integrity: Integrity) -> Self {
        match integrity {
            Integrity::None => Self::None,
            Integrity::Crc32c => Self::Crc32c(0),
            Integrity::Blake3 => Self::Blake3(*blake3::hash(b"").as_bytes()),
        }
    }

    /// Which kind this is.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        match self {
            Self::None => Integrity::None,
            Self::Crc32c(_) => Integrity::Crc32c,
            Self::Blake3(_) => Integrity::Blake3,
        }
    }

    /// As 32 bytes: a CRC-32C little endian, then zeros.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        match self {
            Self::None => [0; 32],
            Self::Crc32c(crc) => {
                let mut bytes = [0; 32];
                bytes[..4].copy_from_slice(&crc.to_le_bytes());
                bytes
            }
            Self::Blake3(hash) => *hash,
        }
    }

    /// The inverse of [`Checksum::to_bytes`].
    #[must_use]
    pub fn from_bytes(integrity: Integrity, bytes: [u8; 32]) -> Self {
        match integrity {
            Integrity::None => Self::None,
            Integrity::Crc32c => Self::Crc32c(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
            Integrity::Blake3 => Self::Blake3(bytes),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Crc32c(crc) => write!(f, "crc32c:{crc:08x}"),
            Self::Blake3(hash) => {
                f.write_str("blake3:")?;
                hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
