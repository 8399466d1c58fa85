//! The journal: what of a landing is durable, so that a later process can go on with it.
//!
//! One file beside staging, only ever appended to. It begins with a header of [`HEADER_LEN`] bytes; then
//! records follow one another. All integers are little endian.
//!
//! ```text
//! header  magic "longhaul" | version u16 | 0 u16 | nonce u64 | CRC-32C u32 of these
//! record  length u16 of the body | kind u8 | 0 u8 | body | CRC-32C u32 of nonce, position, and all before
//! ```
//!
//! - **Claims** ([`Record::Claim`]) are appended as items are finished, and believed only
//!   once a **mark** ([`Record::Mark`]) says so: it is appended after a sync that was begun when the journal
//!   was as long as the mark says, and is itself synced. A claim never runs ahead of durability.
//! - A torn write ends the journal: it is read up to the first record whose checksum does not hold, and
//!   believed up to the last mark before that. The nonce and the position are under the checksum, so that a
//!   record of another journal, or one from elsewhere in this one, is none.
//! - A later version is refused, and nothing of it touched.

mod file;
mod index;
mod record;

use std::fmt;
use std::io;

pub use file::{JournalFile, Store};
pub use record::{Agreed, Claim, Content, Ready, Record, Run};

/// Bytes of the header.
pub const HEADER_LEN: u64 = 24;
/// The version that this crate writes, and the only one that it reads.
pub const JOURNAL_VERSION: u16 = 1;

/// What a journal says, all in all.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The last run that was begun; 0 if none was.
    pub run: u32,
    /// When that was, in seconds of 1970.
    pub since: u64,
    /// Everything was durable and about to be published.
    pub ready: Option<Ready>,
    /// Bytes behind the last record that is whole and believed: they were cut off.
    pub cut: u64,
}

/// How much a journal claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Claimed {
    /// Whole files.
    pub files: u64,
    /// Bytes of them, and of the beginnings of others.
    pub bytes: u64,
}

impl Claimed {
    fn add(&mut self, claim: &Claim) {
        // It was claimed only to be read back.
        if claim.version.as_bytes().is_empty() {
            return;
        }
        self.files += u64::from(matches!(claim.content, Content::Whole(_)));
        self.bytes += claim.content.len(claim.size);
    }
}

/// Why a journal can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum JournalError {
    /// It is of a later version.
    Version(u16),
    /// It is no journal at all.
    NotAJournal,
    /// A call failed.
    Io(io::Error),
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(theirs) => write!(
                f,
                "the journal is of version {theirs}, and this longhaul reads version {JOURNAL_VERSION}"
            ),
            Self::NotAJournal => f.write_str("the file with the journal's name is no journal"),
            Self::Io(error) => write!(f, "the journal can't be read: {error}"),
        }
    }
}

impl std::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}
