//! Items on their way, as the joiner's driver knows them.

use longhaul_core::id::{ItemId, Lane};
use longhaul_core::integrity::{Checksum, ItemFold, Prefix, RunSum};
use longhaul_state::item::Item;
use longhaul_state::sink::Place;

use super::WriteOp;
use crate::chunk::Chunk;

/// An item that arrives with its offer: small, on one lane.
pub(super) struct Eager {
    pub(super) attempt: u8,
    pub(super) lane: Lane,
    pub(super) item: Item,
    pub(super) pieces: Vec<Chunk>,
    pub(super) run: Option<RunSum>,
}

/// An item that was opened before its content came, or so that the engine writes it.
pub(super) struct Open {
    /// None between a rewind and the next offer: nothing of it counts then.
    pub(super) attempt: Option<u8>,
    pub(super) item: Item,
    pub(super) place: Option<Place>,
    pub(super) sums: Sums,
    /// Chunks that are being written, or are to be: where each begins.
    pub(super) writes: Vec<u64>,
    /// All of it, come with its offer over this lane: it waits for its place.
    pub(super) whole: Option<(Lane, Chunk)>,
    /// Bytes and holes that have come; how many of them, from the beginning, a checkpoint may claim.
    pub(super) received: u64,
    pub(super) claimable: u64,
    /// The first bytes that have come, and those of them that are written too.
    pub(super) come: Option<Box<Prefix>>,
    pub(super) written: Option<Box<Prefix>>,
    /// All has come: what must be compared once it is written.
    pub(super) end: Option<(u64, Checksum)>,
}

/// The checksum of an item as it comes.
pub(super) enum Sums {
    Fold(Box<ItemFold>),
    /// All of it was there, or has come and was compared.
    Kept(Checksum),
}

impl Open {
    pub(super) fn new(attempt: Option<u8>, item: Item, sums: Sums) -> Self {
        Self {
            attempt,
            item,
            place: None,
            sums,
            writes: Vec::new(),
            whole: None,
            received: 0,
            claimable: 0,
            come: None,
            written: None,
            end: None,
        }
    }

    /// What has come and is written may be claimed.
    pub(super) fn note_written(&mut self) {
        if let Some(come) = self.come.take_if(|come| self.writes.iter().all(|write| *write >= come.offset()))
        {
            self.claimable = come.offset();
            self.written = Some(come);
        }
    }
}

/// What waits for room to be written, until more is claimed.
pub(super) enum Waiting {
    /// A chunk of an item that is open.
    Write(Lane, WriteOp),
    /// An item that has come with its offer, and is complete.
    Finish { id: ItemId, size: u64, checksum: Checksum },
}
