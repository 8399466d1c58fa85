//! An item that owns its bytes: what sources yield and sinks receive.

use std::fmt;

use longhaul_core::id::ItemId;
use longhaul_core::item::{self as wire, Escaped, ItemName, NameError, Timestamp, Version};

/// A validated name that owns its bytes; empty for the state's own root.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name(Box<[u8]>);

impl Name {
    /// # Errors
    /// What is wrong with `bytes` as a name.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, NameError> {
        let bytes = bytes.into();
        ItemName::parse(&bytes)?;
        Ok(Self(bytes))
    }

    /// The state itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this names the state itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The name, borrowed.
    ///
    /// # Panics
    /// Never: it was checked when it was made.
    #[must_use]
    pub fn as_name(&self) -> ItemName<'_> {
        ItemName::parse(&self.0).expect("checked when it was made")
    }
}

impl From<ItemName<'_>> for Name {
    fn from(name: ItemName<'_>) -> Self {
        Self(name.as_bytes().into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str("(the state itself)") } else { Escaped(&self.0).fmt(f) }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Escaped(&self.0))
    }
}

/// What kind of thing an item is: [`wire::What`], owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File {
        /// Logical bytes, holes included.
        size: u64,
        /// It has more than one name: later items may be hard links to it.
        linked: bool,
        /// It has holes.
        sparse: bool,
    },
    /// A directory; comes after everything inside it.
    Directory,
    /// A symbolic link.
    SymbolicLink {
        /// Where it points, byte by byte.
        target: Box<[u8]>,
    },
    /// Another name of a file that came before.
    HardLink {
        /// The set's first file.
        to: ItemId,
    },
    /// Bytes whose number is known only when they end.
    Stream,
}

/// One item of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The name inside the state.
    pub name: Name,
    /// Permission bits, within `0o777`.
    pub mode: u16,
    /// Modification time.
    pub mtime: Timestamp,
    /// The source's mark of the content.
    pub version: Version,
    /// The kind.
    pub what: What,
}

impl Item {
    /// A stream that is the whole state.
    #[must_use]
    pub fn stream() -> Self {
        Self {
            name: Name::root(),
            mode: 0o600,
            mtime: Timestamp::default(),
            version: Version::default(),
            what: What::Stream,
        }
    }

    /// The item, borrowed: what an offer carries.
    #[must_use]
    pub fn as_wire(&self) -> wire::Item<'_> {
        wire::Item {
            name: self.name.as_name(),
            mode: self.mode,
            mtime: self.mtime,
            version: self.version,
            what: match &self.what {
                What::File { size, linked, sparse } => {
                    wire::What::File { size: *size, linked: *linked, sparse: *sparse }
                }
                What::Directory => wire::What::Directory,
                What::SymbolicLink { target } => wire::What::SymbolicLink { target },
                What::HardLink { to } => wire::What::HardLink { to: *to },
                What::Stream => wire::What::Stream,
            },
        }
    }
}

impl From<&wire::Item<'_>> for Item {
    fn from(item: &wire::Item<'_>) -> Self {
        Self {
            name: item.name.into(),
            mode: item.mode,
            mtime: item.mtime,
            version: item.version,
            what: match item.what {
                wire::What::File { size, linked, sparse } => What::File { size, linked, sparse },
                wire::What::Directory => What::Directory,
                wire::What::SymbolicLink { target } => What::SymbolicLink { target: target.into() },
                wire::What::HardLink { to } => What::HardLink { to },
                wire::What::Stream => What::Stream,
            },
        }
    }
}
