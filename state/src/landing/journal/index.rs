//! Finds a claim by its item's name without holding the names: a table on disk.
//!
//! Slots of 16 bytes, open addressing: a name's hash (0: free) and the position of its last record. A name
//! that another one's hash hides is only sent again: what a position holds is compared by name.

use std::io;

use longhaul_core::integrity::name_hash;

use super::file::Store;
use crate::item::Name;

const SLOT: u64 = 16;

#[derive(Debug)]
pub(super) struct Index<S> {
    store: S,
    slots: u64,
}

impl<S: Store> Index<S> {
    /// An empty table with room for `claims`.
    pub(super) fn new(mut store: S, claims: u64) -> io::Result<Self> {
        let slots = (claims * 2).next_power_of_two().max(16);
        store.set_len(0)?;
        // Free slots are holes: they read as zeros.
        store.set_len(slots * SLOT)?;
        Ok(Self { store, slots })
    }

    /// The last record about `name` stands at `position`.
    pub(super) fn insert(&mut self, name: &Name, position: u64) -> io::Result<()> {
        let hash = hash(name);
        let (slot, _) = self.look(hash)?;
        let mut bytes = [0; SLOT as usize];
        bytes[..8].copy_from_slice(&hash.to_le_bytes());
        bytes[8..].copy_from_slice(&position.to_le_bytes());
        self.store.write_at(slot * SLOT, &bytes)
    }

    /// Where the last record about `name` stands, or one about a name that hides it.
    pub(super) fn find(&self, name: &Name) -> io::Result<Option<u64>> {
        Ok(self.look(hash(name))?.1)
    }

    /// The slot of a hash, or the free one where it would be; and its position if it has one.
    fn look(&self, hash: u64) -> io::Result<(u64, Option<u64>)> {
        for step in 0..self.slots {
            let slot = hash.wrapping_add(step) & (self.slots - 1);
            let mut bytes = [0; SLOT as usize];
            if self.store.read_at(slot * SLOT, &mut bytes)? < bytes.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (found, position) = bytes.split_at(8);
            match u64::from_le_bytes(found.try_into().expect("8 bytes")) {
                0 => return Ok((slot, None)),
                found if found == hash => {
                    return Ok((slot, Some(u64::from_le_bytes(position.try_into().expect("8 bytes")))));
                }
                _ => {}
            }
        }
        Err(io::Error::other("the journal's index is full"))
    }
}

/// Never 0, which marks a free slot.
pub(super) fn hash(name: &Name) -> u64 {
    (name_hash(name.as_name()) as u64).max(1)
}
