//! What a disk holds: blocks that are shared until they are written.

use std::collections::HashMap;
use std::sync::Arc;

/// Blocks in which an image is kept; what a write tears into is chosen elsewhere.
pub(crate) const BLOCK: usize = 4096;

type Block = [u8; BLOCK];
static ZEROS: Block = [0; BLOCK];

/// The content of a disk. A block that is not there is zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    blocks: HashMap<u64, Arc<Block>>,
    /// The sum of what each block adds: equal for equal content.
    sum: u128,
}

impl Image {
    /// A number that tells contents apart.
    #[cfg(test)]
    pub(crate) const fn sum(&self) -> u128 {
        self.sum
    }

    /// Every block that is not zero, by its number.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (u64, &Block)> {
        self.blocks.iter().map(|(&number, block)| (number, &**block))
    }

    /// Takes a write.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        for piece in pieces(offset, data.len()) {
            let mut new = *self.block(piece.number);
            self.sum = self.sum.wrapping_sub(weight(piece.number, &new));
            new[piece.start..piece.start + piece.len].copy_from_slice(&data[piece.at..piece.at + piece.len]);
            self.put(piece.number, &new);
        }
    }

    fn block(&self, number: u64) -> &Block {
        self.blocks.get(&number).map_or(&ZEROS, |block| block)
    }

    fn put(&mut self, number: u64, block: &Block) {
        self.sum = self.sum.wrapping_add(weight(number, block));
        if *block == ZEROS {
            self.blocks.remove(&number);
        } else {
            self.blocks.insert(number, Arc::new(*block));
        }
    }
}

/// A disk that begins as an image and keeps its own writes apart: to begin costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    below: Arc<Image>,
    above: HashMap<u64, Box<Block>>,
}

impl Disk {
    /// A disk that holds this.
    pub(crate) fn new(below: Arc<Image>) -> Self {
        Self { below, above: HashMap::new() }
    }

    /// Reads a range.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) {
        for piece in pieces(offset, out.len()) {
            let from = &self.block(piece.number)[piece.start..piece.start + piece.len];
            out[piece.at..piece.at + piece.len].copy_from_slice(from);
        }
    }

    /// Takes a write.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        for piece in pieces(offset, data.len()) {
            let below = &self.below;
            let block =
                self.above.entry(piece.number).or_insert_with(|| Box::new(*below.block(piece.number)));
            block[piece.start..piece.start + piece.len]
                .copy_from_slice(&data[piece.at..piece.at + piece.len]);
        }
    }

    /// A number that tells contents apart, the same as that of an equal image.
    pub(crate) fn sum(&self) -> u128 {
        self.above.iter().fold(self.below.sum, |sum, (&number, block)| {
            let old = weight(number, self.below.block(number));
            sum.wrapping_sub(old).wrapping_add(weight(number, block))
        })
    }

    /// What it holds now.
    pub(crate) fn image(&self) -> Image {
        let mut image = (*self.below).clone();
        for (&number, block) in &self.above {
            image.write(number * BLOCK as u64, &**block);
        }
        image
    }

    fn block(&self, number: u64) -> &Block {
        match self.above.get(&number) {
            Some(block) => block,
            None => self.below.block(number),
        }
    }
}

/// What a block adds to its image's sum.
fn weight(number: u64, block: &Block) -> u128 {
    if *block == ZEROS {
        return 0;
    }
    let hash = blake3::Hasher::new().update(&number.to_le_bytes()).update(block).finalize();
    u128::from_le_bytes(hash.as_bytes()[..16].try_into().expect("16 bytes"))
}

/// The part of a range that lies in one block.
struct Piece {
    number: u64,
    /// Where it begins in the block.
    start: usize,
    /// Where it begins in the range.
    at: usize,
    len: usize,
}

fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let here = offset + at as u64;
        let start = (here % BLOCK as u64) as usize;
        let piece = Piece { number: here / BLOCK as u64, start, at, len: (BLOCK - start).min(len - at) };
        at += piece.len;
        (piece.len > 0).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_over_an_image_reads_and_sums_as_the_image_that_took_the_same_writes() {
        let mut image = Image::default();
        image.write(100, &[7; 9000]);
        let mut disk = Disk::new(Arc::new(image.clone()));
        for (offset, data) in [(4000, vec![1; 200]), (0, vec![0; 4096]), (60_000, vec![3; 512])] {
            image.write(offset, &data);
            disk.write(offset, &data);
        }
        let (mut one, mut other) = (vec![0; 70_000], vec![0; 70_000]);
        disk.read(0, &mut one);
        Disk::new(Arc::new(image.clone())).read(0, &mut other);
        assert_eq!((one == other, disk.sum(), disk.image().sum()), (true, image.sum(), image.sum()));
        let before = image.sum();
        image.write(60_000, &[4; 512]);
        assert_ne!(image.sum(), before);
        image.write(60_000, &[3; 512]);
        assert_eq!(image.sum(), before);
    }
}
