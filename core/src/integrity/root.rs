//! The root: the checksum of a whole state, independent of the order of its items.
//!
//! `BLAKE3(count, bytes, L)`, where `L` sums 1024 lanes of u16 (`LtHash`: Bellare and Micciancio,
//! "A New Paradigm for Collision-Free Hashing", 1997; constant memory) over one element an item,
//! `BLAKE3-XOF(kind, name, size, mode, mtime, target or checksum)`, and one more for each set of
//! hard links, over the sum of the hashes of its names. Which name of a set came first does not
//! show: each counts as a file.

use core::fmt;

use super::{Checksum, Integrity};
use crate::item::{Item, ItemName, Timestamp, What};

const LANES: usize = 1024;

/// The checksum of a state, of one kind of integrity: roots of different kinds never compare equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Root {
    /// Which checksums of items went into it.
    pub integrity: Integrity,
    /// The hash; all zero with [`Integrity::None`], which has no root.
    pub hash: [u8; 32],
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.integrity == Integrity::None {
            return f.write_str("none");
        }
        write!(f, "{}:", self.integrity)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a name adds to the sum of its set of hard links.
#[must_use]
pub fn name_hash(name: ItemName<'_>) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"longhaul name");
    hasher.update(name.as_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(first)
}

/// Sums the elements of a state's items, in any order.
///
/// Sums of disjoint parts may be taken apart and joined with [`RootSum::merge`].
#[derive(Clone)]
pub struct RootSum {
    integrity: Integrity,
    lanes: [u16; LANES],
}

impl RootSum {
    /// The sum of no items.
    #[must_use]
    pub const fn new(integrity: Integrity) -> Self {
        Self { integrity, lanes: [0; LANES] }
    }

    /// The kind of checksum that goes in.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// Adds an item: `size` and `content` are those of its bytes (of the set's file for a
    /// [`What::HardLink`]); ignored for directories and symbolic links.
    pub fn add(&mut self, item: &Item<'_>, size: u64, content: &Checksum) {
        if self.integrity == Integrity::None {
            return;
        }
        let bytes = content.to_bytes();
        let (kind, size, mode, mtime, tail): (u8, u64, u16, Timestamp, &[u8]) = match item.what {
            What::File { .. } | What::HardLink { .. } => (1, size, item.mode, item.mtime, &bytes),
            What::Directory => (2, 0, item.mode, item.mtime, b""),
            What::SymbolicLink { target } => (3, 0, 0, Timestamp::default(), target),
            What::Stream => (4, size, 0, Timestamp::default(), &bytes),
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]);
        hasher.update(&(item.name.as_bytes().len() as u32).to_le_bytes());
        hasher.update(item.name.as_bytes());
        hasher.update(&size.to_le_bytes());
        hasher.update(&mode.to_le_bytes());
        hasher.update(&mtime.seconds.to_le_bytes());
        hasher.update(&mtime.nanos.to_le_bytes());
        hasher.update(tail);
        self.add_element(&hasher);
    }

    /// Adds a set of hard links with at least two names: the wrapping sum of their [`name_hash`]es.
    pub fn add_set(&mut self, names: u128) {
        if self.integrity == Integrity::None {
            return;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[5]);
        hasher.update(&names.to_le_bytes());
        self.add_element(&hasher);
    }

    fn add_element(&mut self, hasher: &blake3::Hasher) {
        let mut element = [0; 2 * LANES];
        hasher.finalize_xof().fill(&mut element);
        for (lane, pair) in self.lanes.iter_mut().zip(element.as_chunks::<2>().0) {
            *lane = lane.wrapping_add(u16::from_le_bytes(*pair));
        }
    }

    /// Joins the sum of other items of the same state.
    pub fn merge(&mut self, other: &Self) {
        for (lane, other) in self.lanes.iter_mut().zip(&other.lanes) {
            *lane = lane.wrapping_add(*other);
        }
    }

    /// The root of a state of `count` items whose contents are `bytes` bytes.
    #[must_use]
    pub fn finish(&self, count: u64, bytes: u64) -> Root {
        if self.integrity == Integrity::None {
            return Root { integrity: self.integrity, hash: [0; 32] };
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"longhaul root");
        hasher.update(&[self.integrity.code()]);
        hasher.update(&count.to_le_bytes());
        hasher.update(&bytes.to_le_bytes());
        for lane in self.lanes {
            hasher.update(&lane.to_le_bytes());
        }
        Root { integrity: self.integrity, hash: *hasher.finalize().as_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Version;
    use std::vec::Vec;

    fn file(name: &str) -> Item<'_> {
        Item {
            name: ItemName::parse(name.as_bytes()).unwrap(),
            mode: 0o644,
            mtime: Timestamp { seconds: 7, nanos: 9 },
            version: Version::default(),
            what: What::File { size: 3, linked: false, sparse: false },
        }
    }

    fn root(items: &[Item<'_>]) -> Root {
        let mut sum = RootSum::new(Integrity::Crc32c);
        for item in items {
            sum.add(item, 3, &Checksum::Crc32c(1));
        }
        sum.finish(items.len() as u64, 3 * items.len() as u64)
    }

    #[test]
    fn order_does_not_matter_and_everything_kept_does() {
        let (a, b) = (file("a"), file("b"));
        assert_eq!(root(&[a, b]), root(&[b, a]));
        let changes: Vec<Item<'_>> = std::vec![
            file("c"),
            Item { mode: 0o600, ..a },
            Item { mtime: Timestamp { seconds: 7, nanos: 8 }, ..a },
            Item { what: What::Directory, ..a },
            Item { what: What::SymbolicLink { target: b"b" }, ..a },
        ];
        for changed in changes {
            assert_ne!(root(&[changed, b]), root(&[a, b]), "{changed:?}");
        }
        assert_ne!(root(&[a]), root(&[a, a]));
    }

    #[test]
    fn a_sum_in_parts_is_the_sum() {
        let mut one = RootSum::new(Integrity::Crc32c);
        let mut two = one.clone();
        one.add(&file("a"), 3, &Checksum::Crc32c(1));
        two.add(&file("b"), 3, &Checksum::Crc32c(1));
        two.add_set(name_hash(ItemName::parse(b"a").unwrap()));
        let mut merged = two.clone();
        merged.merge(&one);
        one.merge(&two);
        assert_eq!(one.finish(2, 6), merged.finish(2, 6));
    }
}
