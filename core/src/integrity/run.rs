//! The checksum of one run.

use blake3::hazmat::HasherExt;

use super::{Integrity, crc32c_combine, crc32c_zeros};

/// Bytes of an item that one lane carries in a row: runs start at multiples of this.
///
/// A power of two, so that a run is a subtree of the item's BLAKE3; a multiple of the largest chunk.
pub const RUN_LEN: u64 = 16 << 20;

/// The checksum of one run, to be folded into its item's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSum {
    /// First byte of the run inside its item: a multiple of [`RUN_LEN`].
    pub start: u64,
    /// Bytes in the run: [`RUN_LEN`], or less for the item's last.
    pub len: u64,
    pub(super) part: RunPart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunPart {
    None,
    Crc32c(u32),
    /// `alone`: the hash if this run is the whole item; `subtree`: its chaining value if not.
    Blake3 {
        alone: [u8; 32],
        subtree: [u8; 32],
    },
}

/// Hashes the bytes of one run, in order, as they pass.
pub struct RunHasher {
    start: u64,
    len: u64,
    state: State,
}

enum State {
    None,
    Crc32c(u32),
    Blake3(blake3::Hasher),
}

const ZEROS: [u8; 4096] = [0; 4096];

impl RunHasher {
    /// A hasher for the run that begins at `start`, a multiple of [`RUN_LEN`].
    ///
    /// # Panics
    /// If `start` is no multiple of [`RUN_LEN`].
    #[must_use]
    pub fn new(integrity: Integrity, start: u64) -> Self {
        assert!(start.is_multiple_of(RUN_LEN), "runs start at multiples of RUN_LEN");
        let state = match integrity {
            Integrity::None => State::None,
            Integrity::Crc32c => State::Crc32c(0),
            Integrity::Blake3 => {
                let mut hasher = blake3::Hasher::new();
                hasher.set_input_offset(start);
                State::Blake3(hasher)
            }
        };
        Self { start, len: 0, state }
    }

    /// The offset inside the item that must come next.
    #[must_use]
    pub const fn next_offset(&self) -> u64 {
        self.start + self.len
    }

    /// Takes the run's next bytes and their CRC-32C, which every payload has anyway.
    ///
    /// # Panics
    /// If the run would grow beyond [`RUN_LEN`]; the session's grid excludes it.
    pub fn update(&mut self, bytes: &[u8], crc: u32) {
        self.grow(bytes.len() as u64);
        match &mut self.state {
            State::None => {}
            State::Crc32c(sum) => *sum = crc32c_combine(*sum, crc, bytes.len() as u64),
            State::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    /// Takes the run's next `len` bytes, which nobody has seen.
    ///
    /// # Panics
    /// If there is an integrity to be kept, and as [`RunHasher::update`].
    pub fn update_unseen(&mut self, len: u64) {
        assert!(matches!(self.state, State::None), "what is checked is seen");
        self.grow(len);
    }

    /// Takes `len` zero bytes: a hole.
    ///
    /// # Panics
    /// As [`RunHasher::update`].
    pub fn update_hole(&mut self, len: u64) {
        self.grow(len);
        match &mut self.state {
            State::None => {}
            State::Crc32c(sum) => *sum = crc32c_combine(*sum, crc32c_zeros(len), len),
            // BLAKE3 binds every KiB to its place: zeros must be hashed like other bytes.
            State::Blake3(hasher) => {
                let mut rest = len;
                while rest > 0 {
                    let step = rest.min(ZEROS.len() as u64);
                    hasher.update(&ZEROS[..step as usize]);
                    rest -= step;
                }
            }
        }
    }

    fn grow(&mut self, len: u64) {
        self.len += len;
        assert!(self.len <= RUN_LEN, "a run is at most RUN_LEN bytes");
    }

    /// The run's checksum; `None` if no byte came.
    #[must_use]
    pub fn finish(self) -> Option<RunSum> {
        if self.len == 0 {
            return None;
        }
        let part = match self.state {
            State::None => RunPart::None,
            State::Crc32c(sum) => RunPart::Crc32c(sum),
            State::Blake3(hasher) => RunPart::Blake3 {
                // A hasher that was told an offset can't be a root.
                alone: if self.start == 0 { *hasher.finalize().as_bytes() } else { [0; 32] },
                subtree: hasher.finalize_non_root(),
            },
        };
        Some(RunSum { start: self.start, len: self.len, part })
    }
}
