//! States that a seed draws: many small files and a few large ones, whose content their numbers tell.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::sim::Random;

/// Files that hold what the small ones leave of the bytes.
const LARGE: usize = 5;
/// Small files of one directory.
const TOGETHER: usize = 200;
/// Bytes that are made, or compared, at once.
const BLOCK: usize = 64 << 10;

/// What a state holds.
#[derive(Clone, Debug)]
pub(crate) struct State {
    seed: u64,
    /// How long each file is: the large ones come first.
    sizes: Vec<u64>,
}

impl State {
    /// A state of `files` small files and a few large ones, `bytes` in all.
    pub(crate) fn draw(seed: u64, bytes: u64, files: usize) -> Self {
        let mut random = Random::new(seed);
        // A fifth of all lies in the small ones, about.
        let longest = 2 * bytes / 5 / files.max(1) as u64;
        let small: Vec<u64> = (0..files).map(|_| random.within(0, longest)).collect();
        let mut left = bytes.saturating_sub(small.iter().sum());
        let mut sizes: Vec<u64> = Vec::with_capacity(LARGE + files);
        for after in (0..LARGE as u64).rev() {
            // The last takes all that is left.
            let size = if after == 0 { left } else { random.within(0, 2 * left / (after + 1)) };
            sizes.push(size);
            left -= size;
        }
        sizes.extend(small);
        Self { seed, sizes }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.sizes.iter().sum()
    }

    fn path(number: usize) -> PathBuf {
        match number.checked_sub(LARGE) {
            None => format!("large{number}").into(),
            Some(small) => format!("{}/{small}", small / TOGETHER).into(),
        }
    }

    fn blocks(&self, number: usize) -> impl Iterator<Item = Vec<u8>> {
        let mut random = Random::new(self.seed ^ (number as u64) << 32);
        let mut left = self.sizes[number];
        std::iter::from_fn(move || {
            let len = left.min(BLOCK as u64) as usize;
            left -= len as u64;
            let mut block = Vec::with_capacity(BLOCK);
            while block.len() < len {
                block.extend_from_slice(&random.next().to_le_bytes());
            }
            block.truncate(len);
            (len > 0).then_some(block)
        })
    }

    /// Makes it.
    pub(crate) fn make(&self, root: &Path) -> std::io::Result<()> {
        for number in 0..self.sizes.len() {
            let path = root.join(Self::path(number));
            fs::create_dir_all(path.parent().expect("it lies in the root"))?;
            let mut file = File::create(path)?;
            self.blocks(number).try_for_each(|block| file.write_all(&block))?;
        }
        Ok(())
    }

    /// Whether all of it, and nothing else, stands at `root`.
    pub(crate) fn compare(&self, root: &Path) -> Result<(), String> {
        let failed = |error| format!("{}: {error}", root.display());
        for number in 0..self.sizes.len() {
            let path = root.join(Self::path(number));
            let differs = || format!("{} is not what was sent", path.display());
            let mut file = File::open(&path).map_err(failed)?;
            let mut there = Vec::with_capacity(BLOCK);
            for block in self.blocks(number) {
                there.clear();
                (&mut file).take(block.len() as u64).read_to_end(&mut there).map_err(failed)?;
                if there != block {
                    return Err(differs());
                }
            }
            if file.read(&mut [0]).map_err(failed)? > 0 {
                return Err(differs());
            }
        }
        let (mut found, mut pending) = (0, vec![root.to_path_buf()]);
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).map_err(failed)?.flatten() {
                if entry.file_type().map_err(failed)?.is_dir() {
                    pending.push(entry.path());
                } else {
                    found += 1;
                }
            }
        }
        if found == self.sizes.len() {
            Ok(())
        } else {
            Err(format!("{found} files, not {}", self.sizes.len()))
        }
    }
}
