//! How a disk fails: at writes, from a moment on, at blocks of one's choice.
//!
//! A fault is chosen when a block is written, for a file system decides only then where the content lies. What fails
//! later, when it is read, is noted with the block, and gone when the block is written again: as disks do it that put
//! a good block in the place of a bad one.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::image::BLOCK;

/// What does not happen by then never will.
const PATIENCE: Duration = Duration::from_mins(1);

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing of it is kept.
    Refuse,
    /// It fails, and so does every later write, of whatever block.
    Break,
    /// It is acknowledged, and nothing of it is kept.
    Forget,
    /// It is acknowledged, and one bit of the block is kept wrong.
    Flip,
    /// It is acknowledged, and the block can't be read until it is written again.
    Spoil,
    /// Neither it nor anything later is answered, until the disk is mended.
    Hang,
}

/// Which blocks a fault is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// All.
    Any,
    /// Those that hold a block of some content, told by how they begin.
    Of(HashSet<[u8; 16]>),
}

impl Blocks {
    /// The blocks of a file with this content, which is noise.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self::Of(content.chunks(BLOCK).filter_map(beginning).collect())
    }

    /// One block of that file, by its number.
    #[must_use]
    pub fn one_of(content: &[u8], number: usize) -> Self {
        Self::Of(content.chunks(BLOCK).nth(number).and_then(beginning).into_iter().collect())
    }

    fn hold(&self, block: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Of(some) => beginning(block).is_some_and(|begins| some.contains(&begins)),
        }
    }
}

fn beginning(block: &[u8]) -> Option<[u8; 16]> {
    block.first_chunk().copied()
}

/// The faults of one disk: none, until it is told.
#[derive(Debug, Default)]
pub struct Faults {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rule: Option<Rule>,
    struck: u64,
    is_broken: bool,
    hangs: bool,
    spoilt: HashSet<u64>,
    bytes_per_second: Option<u32>,
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    blocks: Blocks,
    times: u64,
}

/// A failed read or write: the system says EIO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

impl Faults {
    /// From now on so many writes of these blocks have this fault.
    pub fn strike(&self, fault: Fault, blocks: Blocks, times: u64) {
        let mut state = self.lock();
        (state.rule, state.struck) = (Some(Rule { fault, blocks, times }), 0);
    }

    /// From now on it reads and writes so many bytes a second, and no more.
    pub fn slow(&self, bytes_per_second: u32) {
        self.lock().bytes_per_second = Some(bytes_per_second);
    }

    /// From now on it is well. What it has lost stays lost.
    pub fn mend(&self) {
        let mut state = self.lock();
        *state = State { struck: state.struck, ..State::default() };
        self.changed.notify_all();
    }

    /// So many writes had the last fault.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.lock().struck
    }

    /// Waits until some write has had the last fault.
    ///
    /// # Panics
    /// If none has, and none will.
    pub fn wait_until_struck(&self) {
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, |state| state.struck == 0);
        let (_state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "no write had the fault");
    }

    /// What is to be kept of a write that begins with a block: all of it, unless a fault strikes.
    pub(crate) fn write(
        &self,
        offset: u64,
        data: &[u8],
        keep: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), Failed> {
        let mut state = self.answering(data.len());
        if state.is_broken {
            return Err(Failed);
        }
        let mut result = Ok(());
        for (at, block) in (offset..).step_by(BLOCK).zip(data.chunks(BLOCK)) {
            state.spoilt.remove(&at);
            let Some(fault) = state.strikes(block) else {
                keep(at, block);
                continue;
            };
            self.changed.notify_all();
            match fault {
                Fault::Refuse => result = Err(Failed),
                Fault::Break => {
                    state.is_broken = true;
                    return Err(Failed);
                }
                Fault::Forget => {}
                Fault::Flip => {
                    let mut wrong = block.to_vec();
                    wrong[block.len() / 2] ^= 1;
                    keep(at, &wrong);
                }
                Fault::Spoil => {
                    keep(at, block);
                    state.spoilt.insert(at);
                }
                Fault::Hang => {
                    state.hangs = true;
                    state = self.until_answered(state);
                    keep(at, block);
                }
            }
        }
        result
    }

    /// Whether so much can be read there.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<(), Failed> {
        let state = self.answering(len);
        let range = offset..offset + len as u64;
        let spoilt = !state.spoilt.is_empty() && state.spoilt.iter().any(|at| range.contains(at));
        if spoilt { Err(Failed) } else { Ok(()) }
    }

    /// Returns when the disk has got round to so many bytes.
    fn answering(&self, len: usize) -> MutexGuard<'_, State> {
        let state = self.lock();
        if let Some(rate) = state.bytes_per_second {
            drop(state);
            // What a slow disk does.
            thread::sleep(Duration::from_secs_f64(len as f64 / f64::from(rate)));
            return self.until_answered(self.lock());
        }
        self.until_answered(state)
    }

    fn until_answered<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        // A test that has failed may wait for a process that waits for this.
        let waited = self.changed.wait_timeout_while(state, PATIENCE, |state| state.hangs);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn strikes(&mut self, block: &[u8]) -> Option<Fault> {
        let rule = self.rule.as_mut().filter(|rule| rule.times > 0 && rule.blocks.hold(block))?;
        rule.times -= 1;
        self.struck += 1;
        Some(rule.fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Kept = Vec<(u64, Vec<u8>)>;

    /// What is kept of one write, and whether it succeeds.
    fn write(faults: &Faults, offset: u64, data: &[u8]) -> (Kept, Result<(), Failed>) {
        let mut kept = Vec::new();
        let result = faults.write(offset, data, &mut |at, block| kept.push((at, block.to_vec())));
        (kept, result)
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_is_told_and_no_other_block() {
        let (one, other) = ([1; BLOCK], [2; BLOCK]);
        let both = [one, other].concat();
        let faults = Faults::default();
        faults.strike(Fault::Refuse, Blocks::of(&other), 1);
        assert_eq!(write(&faults, 0, &both), (vec![(0, one.to_vec())], Err(Failed)));
        assert_eq!((write(&faults, 0, &both).1, faults.struck()), (Ok(()), 1));
        faults.strike(Fault::Break, Blocks::one_of(&both, 1), 1);
        assert_eq!(write(&faults, 0, &other).1, Err(Failed));
        assert_eq!(write(&faults, 0, &one).1, Err(Failed));
        faults.mend();
        assert_eq!(write(&faults, 0, &one).1, Ok(()));
    }

    #[test]
    fn what_is_spoilt_can_be_read_again_when_it_is_written_again() {
        let faults = Faults::default();
        faults.strike(Fault::Spoil, Blocks::Any, 1);
        assert_eq!(write(&faults, 4096, &[7; BLOCK]).1, Ok(()));
        assert_eq!((faults.read(0, 4096), faults.read(0, 8192)), (Ok(()), Err(Failed)));
        assert_eq!((write(&faults, 4096, &[7; BLOCK]).1, faults.read(0, 8192)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_disk_that_lies_acknowledges_what_it_does_not_keep() {
        let faults = Faults::default();
        faults.strike(Fault::Forget, Blocks::Any, 1);
        assert_eq!(write(&faults, 0, &[7; BLOCK]), (vec![], Ok(())));
        faults.strike(Fault::Flip, Blocks::Any, 1);
        let (kept, result) = write(&faults, 0, &[7; BLOCK]);
        let wrong = kept[0].1.iter().filter(|&&byte| byte != 7).count();
        assert_eq!((wrong, result), (1, Ok(())));
    }
}
