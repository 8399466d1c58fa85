//! Reading back what was written, to see that it is still what was checked.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use longhaul_core::integrity::{ItemFold, RUN_LEN, RunHasher, crc32c};

use super::journal::Content;

/// Bytes that are read at once.
const READ: usize = 256 << 10;

/// Why a file is not what was written.
#[derive(Debug)]
pub enum Rotten {
    /// Its checksum is another one.
    Differs,
    /// It can't be read, from this byte on.
    Unreadable(u64, io::Error),
}

impl fmt::Display for Rotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs => f.write_str("it has changed"),
            Self::Unreadable(offset, error) => write!(f, "it can't be read at byte {offset}: {error}"),
        }
    }
}

/// Compares the first `len` bytes of a file with what `content` vouches for.
///
/// # Errors
/// If they are not that, or can't be read.
pub(crate) fn read_back(file: &File, len: u64, content: &Content) -> Result<(), Rotten> {
    let integrity = content.integrity();
    let mut fold = ItemFold::new(integrity);
    let mut bytes = vec![0; READ];
    for start in (0..len).step_by(usize::try_from(RUN_LEN).expect("runs are short")) {
        let mut hasher = RunHasher::new(integrity, start);
        let end = len.min(start + RUN_LEN);
        let mut at = start;
        while at < end {
            let piece = usize::try_from(end - at).unwrap_or(READ).min(READ);
            match file.read_exact_at(&mut bytes[..piece], at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Rotten::Differs),
                Err(error) => return Err(Rotten::Unreadable(at, error)),
            }
            hasher.update(&bytes[..piece], crc32c(&bytes[..piece]));
            at += piece as u64;
        }
        if let Some(run) = hasher.finish() {
            fold.push(run).map_err(|_| Rotten::Differs)?;
        }
    }
    let same = match content {
        Content::Whole(checksum) => fold.finish(len) == Ok(*checksum),
        Content::Part(prefix) => fold.prefix().as_ref() == Some(prefix),
    };
    if same { Ok(()) } else { Err(Rotten::Differs) }
}
