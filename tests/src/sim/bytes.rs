//! A file of bytes on the model disk, as a journal is one: shared by whoever has it open.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use longhaul_state::landing::journal::Store;

use super::Random;
use super::disk::{EIO, SECTOR};

/// What such a file holds. Its clone is another file with the same bytes.
#[derive(Debug, Default)]
pub(crate) struct Bytes(Rc<RefCell<Held>>);

#[derive(Clone, Debug, Default)]
struct Held {
    cache: Vec<u8>,
    disk: Vec<u8>,
    /// Changes since the last sync, in order.
    changes: Vec<Change>,
    /// The next sync fails.
    fails: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Len(usize),
}

impl Clone for Bytes {
    fn clone(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }
}

impl Bytes {
    /// The same file, opened once more.
    pub(crate) fn share(&self) -> Self {
        Self(Rc::clone(&self.0))
    }

    /// The disk will fail at the next sync, and forget what it was to write.
    pub(crate) fn fail_next_sync(&self) {
        self.0.borrow_mut().fails = true;
    }

    /// All of it reaches the disk.
    pub(crate) fn settle(&self) {
        let held = &mut *self.0.borrow_mut();
        for change in held.changes.drain(..) {
            change.apply(&mut held.disk);
        }
    }

    /// The power goes: changes are kept, lost or torn, in whatever order they came.
    pub(crate) fn tear(&self, random: &mut Random) {
        let held = &mut *self.0.borrow_mut();
        held.fails = false;
        for change in held.changes.drain(..) {
            match change {
                Change::Len(_) if random.one_in(2) => {}
                Change::Write(offset, bytes) => {
                    let sectors = bytes.len().div_ceil(SECTOR as usize) as u64;
                    let (from, to) = match random.below(4) {
                        0 => continue,
                        1 => (0, sectors),
                        2 => (0, random.below(sectors + 1)),
                        _ => (random.below(sectors + 1), sectors),
                    };
                    let (from, to) = ((from * SECTOR) as usize, bytes.len().min((to * SECTOR) as usize));
                    if from < to {
                        Change::Write(offset + from, bytes[from..to].to_vec()).apply(&mut held.disk);
                    }
                }
                change @ Change::Len(_) => change.apply(&mut held.disk),
            }
        }
        held.cache = held.disk.clone();
    }
}

impl Change {
    fn apply(self, to: &mut Vec<u8>) {
        match self {
            Self::Len(len) => to.resize(len, 0),
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                to.resize(to.len().max(end), 0);
                to[offset..end].copy_from_slice(&bytes);
            }
        }
    }
}

impl Store for Bytes {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let held = self.0.borrow();
        let there = held.cache.get(offset as usize..).unwrap_or_default();
        let len = there.len().min(bytes.len());
        bytes[..len].copy_from_slice(&there[..len]);
        Ok(len)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let held = &mut *self.0.borrow_mut();
        let change = Change::Write(offset as usize, bytes.to_vec());
        change.clone().apply(&mut held.cache);
        held.changes.push(change);
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let held = &mut *self.0.borrow_mut();
        Change::Len(len as usize).apply(&mut held.cache);
        held.changes.push(Change::Len(len as usize));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let fails = std::mem::take(&mut self.0.borrow_mut().fails);
        if fails {
            self.0.borrow_mut().changes.clear();
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.settle();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_what_was_not_is_kept_lost_or_torn() {
        let mut bytes = Bytes::default();
        bytes.write_at(0, &[1; 1000]).unwrap();
        bytes.sync().unwrap();
        bytes.write_at(1000, &[2; 3000]).unwrap();
        let mut lens = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let torn = bytes.clone();
            torn.tear(&mut Random::new(seed));
            let mut read = vec![0; 5000];
            let len = torn.read_at(0, &mut read).unwrap();
            assert!(len >= 1000 && read[..1000] == [1; 1000], "seed {seed}");
            assert!(read[1000..len].iter().all(|byte| matches!(byte, 0 | 2)));
            lens.insert(len);
        }
        assert!(lens.contains(&1000) && lens.contains(&4000) && lens.len() > 3, "{lens:?}");
    }

    #[test]
    fn a_sync_that_fails_forgets_and_the_next_one_says_nothing_of_it() {
        let mut bytes = Bytes::default();
        bytes.write_at(0, &[1; 10]).unwrap();
        bytes.fail_next_sync();
        assert!(bytes.sync().is_err() && bytes.sync().is_ok());
        bytes.tear(&mut Random::new(1));
        assert_eq!(bytes.read_at(0, &mut [0; 10]).unwrap(), 0);
    }
}
