//! What an item is: its name, its kind, its attributes.
//!
//! Names from a peer are names, not paths: [`ItemName::parse`] is the only way to make one, and
//! nobody checks again behind it.

use core::fmt;

use crate::id::ItemId;

/// The longest name or link target, in bytes.
pub const PATH_MAX: usize = 4095;
/// The longest part of a name between two slashes, in bytes.
pub const PART_MAX: usize = 255;
/// The permission bits that travel.
pub const MODE_MASK: u16 = 0o777;

/// A relative name inside a state, `/` between its parts; empty for the state's own root.
///
/// Any byte but NUL and `/` is legal in a part (file systems know no character set); `.`, `..`,
/// empty parts, a leading and a trailing `/` are not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemName<'a>(&'a [u8]);

impl<'a> ItemName<'a> {
    /// The state itself: its only file, its stream, or its top directory.
    pub const ROOT: ItemName<'static> = ItemName(b"");

    /// # Errors
    /// What is wrong with `bytes` as a name.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NameError> {
        if bytes.is_empty() {
            return Ok(Self(bytes));
        }
        if bytes.len() > PATH_MAX {
            return Err(NameError::TooLong);
        }
        if bytes[0] == b'/' {
            return Err(NameError::Absolute);
        }
        if bytes.contains(&0) {
            return Err(NameError::Nul);
        }
        for part in bytes.split(|&byte| byte == b'/') {
            match part {
                b"" => return Err(NameError::EmptyPart),
                b"." | b".." => return Err(NameError::DotPart),
                _ if part.len() > PART_MAX => return Err(NameError::PartTooLong),
                _ => {}
            }
        }
        Ok(Self(bytes))
    }

    /// The name's bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether this names the state itself.
    #[must_use]
    pub const fn is_root(self) -> bool {
        self.0.is_empty()
    }

    /// The parts between the slashes; none for the root.
    pub fn parts(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
    }
}

impl fmt::Display for ItemName<'_> {
    /// Escapes everything that is not printable ASCII: names are shown on terminals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("(the state itself)");
        }
        fmt::Display::fmt(&Escaped(self.0), f)
    }
}

impl fmt::Debug for ItemName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Escaped(self.0))
    }
}

/// Bytes from elsewhere, shown with every byte that is not printable ASCII escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            match byte {
                b'\\' => f.write_str("\\\\")?,
                b' '..=b'~' => write!(f, "{}", byte as char)?,
                b'\n' => f.write_str("\\n")?,
                b'\t' => f.write_str("\\t")?,
                b'\r' => f.write_str("\\r")?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

/// Why bytes are no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Longer than [`PATH_MAX`].
    TooLong,
    /// A part is longer than [`PART_MAX`].
    PartTooLong,
    /// It begins with `/`.
    Absolute,
    /// It holds a NUL byte.
    Nul,
    /// Two slashes in a row, or one at the end.
    EmptyPart,
    /// A part is `.` or `..`.
    DotPart,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the name is longer than 4095 bytes",
            Self::PartTooLong => "a part of the name is longer than 255 bytes",
            Self::Absolute => "the name begins with a slash",
            Self::Nul => "the name holds a NUL byte",
            Self::EmptyPart => "the name has an empty part",
            Self::DotPart => "the name has a part that is . or ..",
        })
    }
}

impl core::error::Error for NameError {}

/// A modification time: seconds since 1970, which may be negative, and nanoseconds after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 10^9.
    pub nanos: u32,
}

/// The source's own mark of an item's content: at most 32 opaque bytes. Equal versions, equal content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Version {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl Version {
    /// The longest version, in bytes.
    pub const MAX: usize = 32;

    /// `None` if `bytes` are more than [`Version::MAX`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut version = Self::default();
        version.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        version.len = bytes.len() as u8;
        Some(version)
    }

    /// The version's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Version(")?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// What kind of thing an item is, and what only that kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// A regular file.
    File {
        /// Logical bytes, holes included.
        size: u64,
        /// It has more than one name: later items may be [`What::HardLink`]s to it.
        linked: bool,
        /// It has holes.
        sparse: bool,
    },
    /// A directory: it may be empty, and its attributes are set after everything inside it.
    Directory,
    /// A symbolic link; the target is kept byte by byte and never followed.
    SymbolicLink {
        /// Where it points, at most [`PATH_MAX`] bytes, without NUL.
        target: &'a [u8],
    },
    /// Another name of a file that came before.
    HardLink {
        /// The set's first file.
        to: ItemId,
    },
    /// Bytes whose number is known only when they end.
    Stream,
}

impl What<'_> {
    /// Whether payload follows.
    #[must_use]
    pub const fn has_content(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Stream)
    }

    /// Logical bytes of content; `None` when only the end will tell.
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        match self {
            Self::File { size, .. } => Some(*size),
            Self::Stream => None,
            _ => Some(0),
        }
    }
}

/// An item as its source describes it and as its offer carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The name inside the state.
    pub name: ItemName<'a>,
    /// Permission bits, within [`MODE_MASK`].
    pub mode: u16,
    /// Modification time.
    pub mtime: Timestamp,
    /// The source's mark of the content.
    pub version: Version,
    /// The kind.
    pub what: What<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    // Catalogue: B23, B24, B25, B26, B27
    #[test]
    fn names_that_are_paths_are_refused() {
        for (bytes, error) in [
            (&b"/x"[..], NameError::Absolute),
            (b"../x", NameError::DotPart),
            (b"a/../x", NameError::DotPart),
            (b"a/./b", NameError::DotPart),
            (b"a//b", NameError::EmptyPart),
            (b"a/", NameError::EmptyPart),
            (b"a\0b", NameError::Nul),
            (&[b'a'; 256], NameError::PartTooLong),
            (&[b'a'; 4096], NameError::TooLong),
        ] {
            assert_eq!(ItemName::parse(bytes), Err(error), "{bytes:?}");
        }
    }

    // Catalogue: B26, B28
    #[test]
    fn any_legal_linux_name_is_kept_and_shown_escaped() {
        for bytes in [&b"-rf"[..], b"$(x)", b"a\nb", b"\xff\xfe", b"...", b"\x1b[31m", &[b'a'; 255]] {
            assert_eq!(ItemName::parse(bytes).unwrap().as_bytes(), bytes);
        }
        assert_eq!(ItemName::parse(b"a\x1b\n\xff\\").unwrap().to_string(), "a\\x1b\\n\\xff\\\\");
    }
}
