//! An item's checksum, folded from its runs in whatever order lanes finish them.

use core::fmt;

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};
use heapless::Vec;

use super::run::{RUN_LEN, RunPart, RunSum};
use super::{Checksum, Integrity, Prefix, crc32c_combine};

/// Runs that may be finished ahead of the first unfinished one.
const AHEAD: usize = crate::session::RUNS_AHEAD;
/// 2^64 bytes are 2^40 runs: a merged tree never has more open subtrees than that exponent.
pub(super) const DEPTH: usize = 41;

/// Folds the [`RunSum`]s of one item into its [`Checksum`].
pub struct ItemFold {
    integrity: Integrity,
    /// Everything before this offset has been folded.
    frontier: u64,
    crc: u32,
    alone: [u8; 32],
    subtrees: Vec<[u8; 32], DEPTH>,
    ahead: Vec<RunSum, AHEAD>,
}

/// Why a run can't be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldError {
    /// The run begins before the frontier, or was given before.
    Twice,
    /// More runs are finished ahead of the first unfinished one than the protocol allows.
    TooFarAhead,
    /// The item ended with a run missing, or a short run has another behind it.
    Gap,
}

impl fmt::Display for FoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Twice => "a run of the item came twice",
            Self::TooFarAhead => "too many runs are ahead of the first unfinished one",
            Self::Gap => "a run of the item is missing",
        })
    }
}

impl core::error::Error for FoldError {}

impl ItemFold {
    /// A fold of no runs yet.
    #[must_use]
    pub const fn new(integrity: Integrity) -> Self {
        Self { integrity, frontier: 0, crc: 0, alone: [0; 32], subtrees: Vec::new(), ahead: Vec::new() }
    }

    /// A fold of what `prefix` is the checksum of.
    ///
    /// # Panics
    /// Never: a prefix has the sums of its offset.
    #[must_use]
    pub fn from_prefix(prefix: &Prefix) -> Self {
        let mut fold = Self::new(prefix.integrity());
        fold.frontier = prefix.offset();
        match prefix.integrity() {
            Integrity::None => {}
            Integrity::Crc32c => {
                fold.crc = u32::from_le_bytes(prefix.sums().try_into().expect("a prefix has its sums"));
            }
            Integrity::Blake3 => {
                let (subtrees, _) = prefix.sums().as_chunks::<32>();
                fold.subtrees = Vec::from_slice(subtrees).expect("a prefix has at most DEPTH subtrees");
            }
        }
        fold
    }

    /// What has been folded so far; `None` while that is nothing, or not whole runs.
    #[must_use]
    pub fn prefix(&self) -> Option<Prefix> {
        match self.integrity {
            Integrity::None => Prefix::new(self.integrity, self.frontier, &[]),
            Integrity::Crc32c => Prefix::new(self.integrity, self.frontier, &self.crc.to_le_bytes()),
            Integrity::Blake3 => Prefix::new(self.integrity, self.frontier, self.subtrees.as_flattened()),
        }
    }

    /// Takes one finished run.
    ///
    /// # Errors
    /// If the run came before or is too far ahead.
    pub fn push(&mut self, run: RunSum) -> Result<(), FoldError> {
        if run.start < self.frontier || self.ahead.iter().any(|other| other.start == run.start) {
            return Err(FoldError::Twice);
        }
        if run.start > self.frontier {
            return self.ahead.push(run).map_err(|_| FoldError::TooFarAhead);
        }
        self.fold(&run)?;
        while let Some(at) = self.ahead.iter().position(|other| other.start == self.frontier) {
            let next = self.ahead.swap_remove(at);
            self.fold(&next)?;
        }
        Ok(())
    }

    /// Takes a run of an item that is read again: one that came before is as good as this.
    ///
    /// # Errors
    /// If it is too far ahead.
    pub fn push_again(&mut self, run: RunSum) -> Result<(), FoldError> {
        match self.push(run) {
            Err(FoldError::Twice) => Ok(()),
            pushed => pushed,
        }
    }

    /// Forgets the runs from `to` on: they will come again.
    ///
    /// # Errors
    /// If one of them is folded already.
    pub fn rewind(&mut self, to: u64) -> Result<(), FoldError> {
        self.ahead.clear();
        if self.frontier > to { Err(FoldError::Twice) } else { Ok(()) }
    }

    fn fold(&mut self, run: &RunSum) -> Result<(), FoldError> {
        // Only the last run is short, so the frontier stands on the grid until then.
        if !self.frontier.is_multiple_of(RUN_LEN) {
            return Err(FoldError::Gap);
        }
        match run.part {
            RunPart::None => {}
            RunPart::Crc32c(crc) => self.crc = crc32c_combine(self.crc, crc, run.len),
            RunPart::Blake3 { alone, subtree } => {
                // Two subtrees of one size merge when a third arrives: the last merge must wait,
                // it may turn out to be the root's.
                let runs_before = self.frontier / RUN_LEN;
                while self.subtrees.len() > runs_before.count_ones() as usize {
                    self.merge();
                }
                self.alone = alone;
                self.subtrees.push(subtree).expect("DEPTH bounds the subtrees of 2^64 bytes");
            }
        }
        self.frontier += run.len;
        Ok(())
    }

    fn merge(&mut self) {
        if let (Some(right), Some(left)) = (self.subtrees.pop(), self.subtrees.pop()) {
            let merged = merge_subtrees_non_root(&left, &right, Mode::Hash);
            self.subtrees.push(merged).expect("two were taken");
        }
    }

    /// Bytes folded so far without a gap.
    #[must_use]
    pub const fn frontier(&self) -> u64 {
        self.frontier
    }

    /// The checksum of the item's `len` bytes.
    ///
    /// # Errors
    /// If the runs given are not those `len` bytes.
    pub fn finish(mut self, len: u64) -> Result<Checksum, FoldError> {
        if self.frontier != len || !self.ahead.is_empty() {
            return Err(FoldError::Gap);
        }
        if len == 0 {
            return Ok(Checksum::empty(self.integrity));
        }
        Ok(match self.integrity {
            Integrity::None => Checksum::None,
            Integrity::Crc32c => Checksum::Crc32c(self.crc),
            Integrity::Blake3 if self.subtrees.len() < 2 => Checksum::Blake3(self.alone),
            Integrity::Blake3 => {
                while self.subtrees.len() > 2 {
                    self.merge();
                }
                let hash = merge_subtrees_root(&self.subtrees[0], &self.subtrees[1], Mode::Hash);
                Checksum::Blake3(*hash.as_bytes())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integrity::{RunHasher, crc32c};
    use std::vec::Vec as StdVec;

    fn bytes(len: usize) -> StdVec<u8> {
        let mut x = 1_u32;
        (0..len)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 24) as u8
            })
            .collect()
    }

    fn sums(integrity: Integrity, data: &[u8], chunk: usize) -> StdVec<RunSum> {
        data.chunks(RUN_LEN as usize)
            .enumerate()
            .map(|(n, run)| {
                let mut hasher = RunHasher::new(integrity, n as u64 * RUN_LEN);
                for piece in run.chunks(chunk) {
                    if piece.iter().all(|&byte| byte == 0) {
                        hasher.update_hole(piece.len() as u64);
                    } else {
                        hasher.update(piece, crc32c(piece));
                    }
                }
                hasher.finish().unwrap()
            })
            .collect()
    }

    #[test]
    fn an_item_has_its_ordinary_checksum_for_every_chunk_size_and_order_of_runs() {
        let run = RUN_LEN as usize;
        let mut data = bytes(3 * run + 12_345);
        data[run / 2..2 * run + 4096].fill(0);
        for len in [0, 1, 1024, run - 1, run, run + 1, 2 * run, 2 * run + 1, data.len()] {
            let data = &data[..len];
            for chunk in [512 << 10, 4 << 20] {
                for integrity in [Integrity::Crc32c, Integrity::Blake3] {
                    let expected = match integrity {
                        Integrity::Crc32c => Checksum::Crc32c(crc32c(data)),
                        _ => Checksum::Blake3(*blake3::hash(data).as_bytes()),
                    };
                    let mut runs = sums(integrity, data, chunk);
                    for _ in 0..2 {
                        let mut fold = ItemFold::new(integrity);
                        for run in &runs {
                            fold.push(*run).unwrap();
                        }
                        assert_eq!(fold.finish(len as u64), Ok(expected), "{len} {chunk} {integrity}");
                        runs.reverse();
                    }
                }
            }
        }
    }

    #[test]
    fn runs_that_come_twice_or_never_are_errors() {
        let data = bytes(2 * RUN_LEN as usize + 1);
        let runs = sums(Integrity::Crc32c, &data, 512 << 10);
        let mut fold = ItemFold::new(Integrity::Crc32c);
        fold.push(runs[0]).unwrap();
        assert_eq!(fold.push(runs[0]), Err(FoldError::Twice));
        fold.push(runs[2]).unwrap();
        assert_eq!(fold.push(runs[2]), Err(FoldError::Twice));
        assert_eq!(fold.finish(data.len() as u64), Err(FoldError::Gap));
    }
}
