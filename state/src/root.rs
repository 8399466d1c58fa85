//! The root of a state, summed as its items pass.

use std::collections::HashMap;

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Root, RootSum, name_hash};

use crate::item::{Item, What};

/// Sets of hard links that one state may hold: the table that remembers them is bounded.
pub const LINK_SETS_MAX: usize = 1 << 17;

/// What remembering one set costs, in bytes: a table is at worst half empty.
pub const LINK_SET_BYTES: usize = 2 * size_of::<(ItemId, LinkSet)>();

/// More than [`LINK_SETS_MAX`] files have several names, or a link leads to an item that is not one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootError {
    /// The table of sets is full.
    TooManyLinks,
    /// The item linked to is no file with several names.
    NoSuchLink,
}

struct LinkSet {
    names: u128,
    count: u32,
    size: u64,
    content: Checksum,
}

/// Sums items into a [`Root`], in any order but that a hard link comes after its file.
pub struct RootBuilder {
    sum: RootSum,
    sets: HashMap<ItemId, LinkSet>,
    items: u64,
    bytes: u64,
}

impl RootBuilder {
    /// The builder for no items yet.
    #[must_use]
    pub fn new(integrity: Integrity) -> Self {
        Self { sum: RootSum::new(integrity), sets: HashMap::new(), items: 0, bytes: 0 }
    }

    /// Adds a finished item: its bytes of content and their checksum (0 and none for those without).
    ///
    /// # Errors
    /// If a hard link leads nowhere, or there are too many of them.
    pub fn add(&mut self, id: ItemId, item: &Item, size: u64, content: &Checksum) -> Result<(), RootError> {
        let (mut size, mut content) = (size, *content);
        match item.what {
            What::File { linked: true, .. } => {
                if self.sets.len() >= LINK_SETS_MAX {
                    return Err(RootError::TooManyLinks);
                }
                let names = name_hash(item.name.as_name());
                self.sets.insert(id, LinkSet { names, count: 1, size, content });
                self.count(size);
            }
            What::File { .. } | What::Stream => self.count(size),
            What::HardLink { to } => {
                let set = self.sets.get_mut(&to).ok_or(RootError::NoSuchLink)?;
                set.names = set.names.wrapping_add(name_hash(item.name.as_name()));
                set.count += 1;
                (size, content) = (set.size, set.content);
            }
            What::Directory | What::SymbolicLink { .. } => {}
        }
        self.items += 1;
        self.sum.add(&item.as_wire(), size, &content);
        Ok(())
    }

    // A peer may say sizes that 64 bits don't count together: bytes and root then differ, and nothing breaks.
    const fn count(&mut self, size: u64) {
        self.bytes = self.bytes.wrapping_add(size);
    }

    /// Sets of hard links so far, those with one name included.
    #[must_use]
    pub fn link_sets(&self) -> usize {
        self.sets.len()
    }

    /// Items and bytes so far.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (self.items, self.bytes)
    }

    /// The root of all items added.
    #[must_use]
    pub fn finish(&self) -> Root {
        let mut sum = self.sum.clone();
        for set in self.sets.values().filter(|set| set.count > 1) {
            sum.add_set(set.names);
        }
        sum.finish(self.items, self.bytes)
    }
}
