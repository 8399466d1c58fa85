//! Which bytes of a large item have come, when several lanes carry runs of it.

use heapless::Vec;

use super::super::RUNS_AHEAD;
use crate::integrity::RUN_LEN;

/// The bytes of one item that have come: all before the frontier, and parts of some runs behind it.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    /// Everything before this offset has come.
    frontier: u64,
    /// Runs behind the frontier: first byte, next byte.
    open: Vec<(u64, u64), RUNS_AHEAD>,
}

impl Runs {
    /// Everything before `frontier` has come, and nothing behind it.
    pub(super) const fn from(frontier: u64) -> Self {
        Self { frontier, open: Vec::new() }
    }

    /// Takes `len` bytes at `offset` of an item of `size` bytes; `false` if they do not belong there:
    /// outside the item, there already, not next in their run, across the end of a run, or too far ahead.
    pub(super) fn take(&mut self, offset: u64, len: u64, size: u64) -> bool {
        let Some(end) = offset.checked_add(len) else { return false };
        let run_end = (offset / RUN_LEN + 1).saturating_mul(RUN_LEN).min(size);
        if end > run_end || offset < self.frontier {
            return false;
        }
        let start = offset / RUN_LEN * RUN_LEN;
        if let Some(run) = self.open.iter_mut().find(|run| run.0 == start) {
            if run.1 != offset {
                return false;
            }
            run.1 = end;
        } else if offset != start || self.open.push((start, end)).is_err() {
            return false;
        }
        while let Some(at) = self
            .open
            .iter()
            .position(|run| run.0 == self.frontier && run.1 == run.0.saturating_add(RUN_LEN).min(size))
        {
            self.frontier = self.open.swap_remove(at).1;
        }
        true
    }

    /// Forgets everything from `to` on: the frontier, or the start of a run before it.
    pub(super) fn rewind(&mut self, to: u64) {
        let whole = to == self.frontier || to < self.frontier && to.is_multiple_of(RUN_LEN);
        debug_assert!(whole, "runs are kept whole");
        self.frontier = to;
        self.open.clear();
    }

    /// Behind the last byte that has come.
    pub(super) fn reach(&self) -> u64 {
        self.open.iter().map(|run| run.1).fold(self.frontier, u64::max)
    }

    /// The first byte that has not come.
    pub(super) const fn frontier(&self) -> u64 {
        self.frontier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 3 * RUN_LEN + 5;

    #[test]
    fn runs_fill_in_any_order_of_lanes() {
        let mut runs = Runs::default();
        assert!(runs.take(RUN_LEN, RUN_LEN, SIZE));
        assert!(runs.take(3 * RUN_LEN, 5, SIZE));
        assert_eq!(runs.frontier(), 0);
        assert!(runs.take(0, 10, SIZE));
        assert!(runs.take(10, RUN_LEN - 10, SIZE));
        assert_eq!((runs.frontier(), runs.reach()), (2 * RUN_LEN, SIZE));
        assert!(runs.take(2 * RUN_LEN, RUN_LEN, SIZE));
        assert_eq!((runs.frontier(), runs.reach()), (SIZE, SIZE));
    }

    // Catalogue: B14
    #[test]
    fn bytes_that_do_not_belong_are_refused() {
        let mut runs = Runs::default();
        assert!(runs.take(0, 10, SIZE));
        for (offset, len, why) in [
            (0, 10, "twice"),
            (20, 10, "a gap"),
            (10, RUN_LEN, "across the end of the run"),
            (RUN_LEN + 1, 1, "not from the run's start"),
            (3 * RUN_LEN, 6, "past the end"),
            (SIZE, 1, "behind the end"),
            (u64::MAX, 1, "overflow"),
        ] {
            assert!(!runs.take(offset, len, SIZE), "{why}");
        }
    }

    // Catalogue: B14
    #[test]
    fn runs_too_far_ahead_are_refused() {
        let mut runs = Runs::default();
        let size = 100 * RUN_LEN;
        for n in 1..=RUNS_AHEAD as u64 {
            assert!(runs.take(n * RUN_LEN, 1, size));
        }
        assert!(!runs.take(99 * RUN_LEN, 1, size));
    }
}
