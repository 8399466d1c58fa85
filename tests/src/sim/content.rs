//! Contents that are never held: bytes that follow from a key and an offset.
//!
//! Block `n` of a content is one of a few blocks of noise, picked by key and `n`; so a checksum of
//! any part costs a step a block, and a file of a hundred megabytes costs what its frames cost.

use std::sync::LazyLock;

use longhaul_core::integrity::{Checksum, Integrity, ItemFold, RUN_LEN, RunHasher, crc32c, crc32c_combine};

use super::Random;
use super::random::mix;

const BLOCK: u64 = 64 << 10;
const BLOCKS: usize = 16;

static NOISE: LazyLock<Vec<(Vec<u8>, u32)>> = LazyLock::new(|| {
    let mut random = Random::new(1);
    let block = |_| {
        let bytes: Vec<u8> = (0..BLOCK / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        let crc = crc32c(&bytes);
        (bytes, crc)
    };
    (0..BLOCKS).map(block).collect()
});

/// A piece of a content: `len` bytes from `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) key: u64,
    pub(crate) at: u64,
    pub(crate) len: u64,
    /// Not 0: bits of it have flipped.
    pub(crate) broken: u32,
}

/// A whole content: its data extents (offset, length) in order; what lies between them is a hole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) key: u64,
    pub(crate) size: u64,
    pub(crate) extents: Vec<(u64, u64)>,
}

impl Piece {
    /// The first `len` bytes, and the rest.
    pub(crate) const fn split_at(self, len: u64) -> (Self, Self) {
        (Self { len, ..self }, Self { at: self.at + len, len: self.len - len, ..self })
    }

    /// Both as one, if `next` is what comes next.
    pub(crate) fn join(self, next: Self) -> Option<Self> {
        let follows = self.key == next.key && self.at + self.len == next.at;
        follows.then_some(Self { len: self.len + next.len, broken: self.broken | next.broken, ..self })
    }

    pub(crate) fn crc(&self) -> u32 {
        let mut crc = 0;
        self.slices(|bytes, sum| crc = crc32c_combine(crc, sum, bytes.len() as u64));
        crc ^ self.broken
    }

    /// Shows the bytes, in slices, each with its CRC-32C.
    pub(crate) fn slices(&self, mut see: impl FnMut(&[u8], u32)) {
        let (mut at, end) = (self.at, self.at + self.len);
        while at < end {
            let block = at / BLOCK;
            let (noise, crc) = &NOISE[mix(self.key ^ block.wrapping_mul(0x9e37_79b9)) as usize % BLOCKS];
            let (from, to) = (at - block * BLOCK, (end - block * BLOCK).min(BLOCK));
            let bytes = &noise[from as usize..to as usize];
            see(bytes, if bytes.len() == noise.len() { *crc } else { crc32c(bytes) });
            at += to - from;
        }
    }
}

impl Content {
    /// Without holes.
    pub(crate) fn whole(key: u64, size: u64) -> Self {
        Self { key, size, extents: if size == 0 { Vec::new() } else { vec![(0, size)] } }
    }

    /// What a read at `offset` of at most `len` bytes finds: bytes, or the length of a hole.
    pub(crate) fn read(&self, offset: u64, len: u64) -> Result<Piece, u64> {
        for &(start, extent) in &self.extents {
            if offset < start {
                return Err(start - offset);
            }
            if offset < start + extent {
                let len = len.min(start + extent - offset);
                return Ok(Piece { key: self.key, at: offset, len, broken: 0 });
            }
        }
        Err(self.size - offset)
    }

    /// The checksum of all logical bytes.
    pub(crate) fn checksum(&self, integrity: Integrity) -> Checksum {
        let mut fold = ItemFold::new(integrity);
        for start in (0..self.size).step_by(RUN_LEN as usize) {
            let end = self.size.min(start + RUN_LEN);
            let mut hasher = RunHasher::new(integrity, start);
            let mut at = start;
            while at < end {
                match self.read(at, end - at) {
                    Ok(piece) => {
                        piece.slices(|bytes, crc| hasher.update(bytes, crc));
                        at += piece.len;
                    }
                    Err(hole) => {
                        hasher.update_hole(hole.min(end - at));
                        at += hole.min(end - at);
                    }
                }
            }
            fold.push(hasher.finish().expect("a run is not empty")).expect("runs in order");
        }
        fold.finish(self.size).expect("all runs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_the_checksum_of_its_bytes_however_it_is_cut() {
        let whole = Piece { key: 7, at: 60_000, len: 200_000, broken: 0 };
        let mut bytes = Vec::new();
        whole.slices(|slice, _| bytes.extend_from_slice(slice));
        assert_eq!(whole.crc(), crc32c(&bytes));
        let (a, b) = whole.split_at(5_537);
        assert_eq!(crc32c_combine(a.crc(), b.crc(), b.len), whole.crc());
        assert_eq!(a.join(b), Some(whole));
        assert_eq!(b.join(a), None);
        assert_ne!(Piece { broken: 1, ..whole }.crc(), whole.crc());
    }
}
