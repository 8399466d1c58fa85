//! States that live in memory.

use std::ops::Range;
use std::sync::Arc;

use longhaul_core::item::{Timestamp, Version};

use super::{Content, Piece, Progress, Shape, Source, SourceError, SourceErrorKind, Survey, Walk};
use crate::item::{Item, Name, What};

/// One file whose bytes are in memory.
#[derive(Clone, Debug)]
pub struct MemorySource(RepeatedSource);

impl MemorySource {
    /// The state whose only file holds `bytes`.
    #[must_use]
    pub fn new(bytes: Arc<[u8]>) -> Self {
        let total = bytes.len() as u64;
        Self(RepeatedSource { block: bytes, total })
    }
}

/// One file of `total` bytes made of one buffer, over and over: what a bench gives.
#[derive(Clone, Debug)]
pub struct RepeatedSource {
    block: Arc<[u8]>,
    total: u64,
}

impl RepeatedSource {
    /// The state whose only file is `total` bytes long, `block` repeated and cut off at the end.
    ///
    /// # Panics
    /// If `block` is empty and `total` is not zero: nothing could be repeated.
    #[must_use]
    pub fn new(block: Arc<[u8]>, total: u64) -> Self {
        assert!(!block.is_empty() || total == 0, "an empty block can't be repeated");
        Self { block, total }
    }

    fn item(&self) -> Item {
        Item {
            name: Name::root(),
            mode: 0o600,
            mtime: Timestamp::default(),
            version: Version::default(),
            what: What::File { size: self.total, linked: false, sparse: false },
        }
    }
}

impl Source for RepeatedSource {
    fn survey(&self, _progress: &dyn Progress) -> Result<Survey, SourceError> {
        Ok(Survey {
            shape: Shape::File,
            items: 1,
            bytes: Some(self.total),
            allocated: self.total,
            ..Survey::default()
        })
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        Ok(Box::new(SingleItem::new(self.item())))
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        if *item != self.item() {
            return Err(SourceError::item(item.name.clone(), SourceErrorKind::Changed("it is another item")));
        }
        Ok(Box::new(MemoryContent(self.clone())))
    }
}

impl Source for MemorySource {
    fn survey(&self, progress: &dyn Progress) -> Result<Survey, SourceError> {
        self.0.survey(progress)
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        self.0.walk()
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        self.0.open(item)
    }
}

struct MemoryContent(RepeatedSource);

impl MemoryContent {
    fn range(&self, offset: u64, len: usize) -> Range<usize> {
        let rest = self.0.total.saturating_sub(offset);
        if rest == 0 {
            return 0..0;
        }
        // The block is in memory, so what is left of it fits a usize.
        let start = (offset % self.0.block.len() as u64) as usize;
        let len = len.min(self.0.block.len() - start).min(usize::try_from(rest).unwrap_or(usize::MAX));
        start..start + len
    }
}

impl Content for MemoryContent {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let range = self.range(offset.saturating_add(filled as u64), buffer.len() - filled);
            if range.is_empty() {
                break;
            }
            buffer[filled..filled + range.len()].copy_from_slice(&self.0.block[range.clone()]);
            filled += range.len();
        }
        Ok(if filled == 0 { Piece::End } else { Piece::Data(filled) })
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }

    fn memory(&self, offset: u64, len: usize) -> Option<(Arc<[u8]>, Range<usize>)> {
        Some((Arc::clone(&self.0.block), self.range(offset, len)))
    }
}

/// The walk over a state that is one item.
pub(super) struct SingleItem(Option<Item>);

impl SingleItem {
    pub(super) fn new(item: Item) -> Self {
        Self(Some(item))
    }
}

impl Walk for SingleItem {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        Ok(self.0.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_item(source: &dyn Source) -> Item {
        let mut walk = source.walk().unwrap();
        let item = walk.next().unwrap().unwrap();
        assert_eq!(walk.next().unwrap(), None);
        item
    }

    #[test]
    fn memory_is_one_file_with_a_known_size() {
        let source = MemorySource::new(Arc::from(*b"hello"));
        let survey = source.survey(&()).unwrap();
        assert_eq!((survey.shape, survey.items, survey.bytes), (Shape::File, 1, Some(5)));
        let content = source.open(&only_item(&source)).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(content.read_at(2, &mut buffer).unwrap(), Piece::Data(3));
        assert_eq!(&buffer[..3], b"llo");
        assert_eq!(content.read_at(5, &mut buffer).unwrap(), Piece::End);
        let (bytes, range) = content.memory(1, 100).unwrap();
        assert_eq!(&bytes[range], b"ello");
        assert!(content.memory(5, 1).unwrap().1.is_empty());
        content.close().unwrap();
    }

    #[test]
    fn a_repeated_block_is_read_and_lent_alike() {
        let source = RepeatedSource::new(Arc::from(*b"abc"), 8);
        let content = source.open(&only_item(&source)).unwrap();
        let mut read = [0; 16];
        assert_eq!(content.read_at(0, &mut read).unwrap(), Piece::Data(8));
        assert_eq!(&read[..8], b"abcabcab");
        let mut lent = Vec::new();
        loop {
            let (bytes, range) = content.memory(lent.len() as u64, 3).unwrap();
            if range.is_empty() {
                break;
            }
            lent.extend_from_slice(&bytes[range]);
        }
        assert_eq!(lent, b"abcabcab");
    }

    #[test]
    fn an_empty_state_ends_at_once() {
        let source = MemorySource::new(Arc::from(*b""));
        let content = source.open(&only_item(&source)).unwrap();
        assert_eq!(content.read_at(0, &mut [0; 1]).unwrap(), Piece::End);
        assert!(content.memory(0, 1).unwrap().1.is_empty());
    }
}
