//! The checksum of an item's first bytes, from which the rest is folded on.

use heapless::Vec;

use super::item::DEPTH;
use super::{Checksum, Integrity, RUN_LEN};

/// Bytes of the longest prefix's sums: one hash for every open subtree of 2^64 bytes.
pub const PREFIX_SUMS_MAX: usize = DEPTH * 32;

/// What is known of an item of which only the beginning is there: how many bytes, and their checksum in
/// the form that can be continued. What a joiner keeps of an interrupted transfer is told in this form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    integrity: Integrity,
    offset: u64,
    sums: Vec<u8, PREFIX_SUMS_MAX>,
}

impl Prefix {
    /// The sums of `offset` bytes, a multiple of [`RUN_LEN`] above 0: for CRC-32C four bytes, little endian;
    /// for BLAKE3 the chaining values of the open subtrees, 32 bytes each, the largest first; for none, none.
    ///
    /// `None` if `sums` can't be those of so many bytes.
    #[must_use]
    pub fn new(integrity: Integrity, offset: u64, sums: &[u8]) -> Option<Self> {
        if offset == 0 || !offset.is_multiple_of(RUN_LEN) {
            return None;
        }
        let len = match integrity {
            Integrity::None => 0,
            Integrity::Crc32c => 4,
            Integrity::Blake3 => 32 * subtrees(offset / RUN_LEN),
        };
        if sums.len() != len {
            return None;
        }
        Some(Self { integrity, offset, sums: Vec::from_slice(sums).ok()? })
    }

    /// Which checksum.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// So many bytes.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Their sums, as [`Prefix::new`] takes them.
    #[must_use]
    pub fn sums(&self) -> &[u8] {
        &self.sums
    }
}

/// Open subtrees after `runs` whole runs, above 0: the last merge waits for the run that follows.
const fn subtrees(runs: u64) -> usize {
    (runs - 1).count_ones() as usize + 1
}

impl Checksum {
    /// The checksum as sums on the wire and in a journal: nothing, 4 bytes little endian, or 32.
    ///
    /// # Panics
    /// Never: it is at most 32 bytes.
    #[must_use]
    pub fn as_sums(&self) -> Vec<u8, 32> {
        let len = match self {
            Self::None => 0,
            Self::Crc32c(_) => 4,
            Self::Blake3(_) => 32,
        };
        Vec::from_slice(&self.to_bytes()[..len]).expect("at most 32 bytes")
    }

    /// The inverse of [`Checksum::as_sums`]; `None` if the length is another checksum's.
    #[must_use]
    pub fn from_sums(integrity: Integrity, sums: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        bytes.get_mut(..sums.len())?.copy_from_slice(sums);
        let checksum = Self::from_bytes(integrity, bytes);
        (checksum.as_sums().len() == sums.len()).then_some(checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integrity::{ItemFold, RunHasher, crc32c};
    use std::vec;

    /// Fold `runs` runs, take the prefix, fold on from it: the checksum is that of one fold.
    #[test]
    fn a_fold_goes_on_from_a_prefix_as_if_it_had_never_stopped() {
        for integrity in [Integrity::None, Integrity::Crc32c, Integrity::Blake3] {
            for (runs, tail) in [(1_u64, 1_u64), (2, 5), (3, 1000), (4, RUN_LEN), (5, 3)] {
                let mut whole = ItemFold::new(integrity);
                let mut resumed = None;
                for run in 0..=runs {
                    let len = if run == runs { tail } else { RUN_LEN };
                    let bytes = vec![run as u8 + 1; len as usize];
                    let mut hasher = RunHasher::new(integrity, run * RUN_LEN);
                    hasher.update(&bytes, crc32c(&bytes));
                    let sum = hasher.finish().unwrap();
                    if run == runs {
                        let prefix = whole.prefix().unwrap();
                        let told = Prefix::new(integrity, prefix.offset(), prefix.sums()).unwrap();
                        assert_eq!(told, prefix, "{integrity} of {runs} runs");
                        let mut fold = ItemFold::from_prefix(&told);
                        fold.push(sum).unwrap();
                        resumed = Some(fold);
                    }
                    whole.push(sum).unwrap();
                }
                let len = runs * RUN_LEN + tail;
                assert_eq!(resumed.unwrap().finish(len), whole.finish(len), "{integrity} of {runs} runs");
            }
        }
    }

    #[test]
    fn sums_that_are_no_prefix_are_refused() {
        let sums = [0; PREFIX_SUMS_MAX];
        assert_eq!(Prefix::new(Integrity::Crc32c, 0, &sums[..4]), None, "nothing is no prefix");
        assert_eq!(Prefix::new(Integrity::Crc32c, RUN_LEN + 1, &sums[..4]), None, "off the grid");
        assert_eq!(Prefix::new(Integrity::Crc32c, RUN_LEN, &sums[..3]), None, "too short");
        assert_eq!(Prefix::new(Integrity::None, RUN_LEN, &sums[..1]), None, "sums of none");
        for (runs, subtrees) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 2), (8, 4), (9, 2)] {
            let offset = runs * RUN_LEN;
            assert!(Prefix::new(Integrity::Blake3, offset, &sums[..32 * subtrees]).is_some(), "{runs}");
            assert_eq!(Prefix::new(Integrity::Blake3, offset, &sums[..32 * subtrees + 32]), None, "{runs}");
            assert_eq!(Prefix::new(Integrity::Blake3, offset, &sums[..32 * subtrees - 32]), None, "{runs}");
        }
    }

    #[test]
    fn a_checksum_reads_back_from_its_sums() {
        for checksum in [Checksum::None, Checksum::Crc32c(0x1234_5678), Checksum::Blake3([7; 32])] {
            let sums = checksum.as_sums();
            assert_eq!(Checksum::from_sums(checksum.integrity(), &sums), Some(checksum));
            assert_eq!(Checksum::from_sums(checksum.integrity(), &[0; 33]), None);
        }
        assert_eq!(Checksum::from_sums(Integrity::Crc32c, &[0; 5]), None);
        assert_eq!(Checksum::from_sums(Integrity::Blake3, &[0; 4]), None);
    }
}
