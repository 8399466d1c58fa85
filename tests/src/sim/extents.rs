//! What a file holds: pieces of contents at offsets, in order, none over another.

use super::content::Piece;

/// The data extents of a file; what lies between them reads as zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extents(Vec<(u64, Piece)>);

impl Extents {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Piece)> {
        self.0.iter().copied()
    }

    /// Puts `piece` at `offset`, over what was there.
    pub(crate) fn write(&mut self, offset: u64, piece: Piece) {
        let end = offset + piece.len;
        let first = self.0.partition_point(|(start, old)| start + old.len <= offset);
        let behind = self.0.partition_point(|(start, _)| *start < end);
        let mut new = Vec::with_capacity(3);
        for &(start, old) in &self.0[first..behind] {
            if start < offset {
                new.push((start, old.split_at(offset - start).0));
            }
        }
        new.push((offset, piece));
        for &(start, old) in &self.0[first..behind] {
            if start + old.len > end {
                new.push((end, old.split_at(end - start).1));
            }
        }
        self.0.splice(first..behind, new);
        self.join_around(first);
    }

    /// Makes one of what follows on each other, so that a file written in order is one extent.
    fn join_around(&mut self, at: usize) {
        let mut n = at.saturating_sub(1);
        for _ in 0..4 {
            if let (Some(&(start, one)), Some(&(next, other))) = (self.0.get(n), self.0.get(n + 1)) {
                match one.join(other).filter(|_| start + one.len == next && one.broken == other.broken) {
                    Some(both) => {
                        self.0[n].1 = both;
                        self.0.remove(n + 1);
                    }
                    None => n += 1,
                }
            }
        }
    }

    /// Forgets what lies at `len` and behind.
    pub(crate) fn truncate(&mut self, len: u64) {
        self.0.retain(|(start, _)| *start < len);
        if let Some((start, last)) = self.0.last_mut() {
            last.len = last.len.min(len - *start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Random;
    use super::*;

    #[test]
    fn writes_in_any_order_leave_what_was_written_last() {
        let mut random = Random::new(3);
        for _ in 0..200 {
            let mut extents = Extents::default();
            let mut bytes = vec![None; 100];
            for key in 0..10 {
                let (offset, len) = (random.below(60), 1 + random.below(40));
                // Neighbours of one content join; others do not.
                let piece = Piece { key: key / 3, at: offset, len, broken: 0 };
                extents.write(offset, piece);
                (offset..offset + len).for_each(|at| bytes[at as usize] = Some((key / 3, at)));
            }
            let cut = random.below(100);
            extents.truncate(cut);
            bytes[cut as usize..].fill(None);
            let mut found = vec![None; 100];
            for (offset, piece) in extents.iter() {
                for n in 0..piece.len {
                    let place = &mut found[(offset + n) as usize];
                    assert!(place.is_none(), "an extent lies over another");
                    *place = Some((piece.key, piece.at + n));
                }
            }
            assert_eq!(found, bytes);
        }
    }
}
