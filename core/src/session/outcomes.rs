//! What became of transfers, for those who ask later.

use heapless::Deque;

use crate::id::TransferId;
use crate::wire::Verdict;

/// The last `N` transfers of a joiner and how they stand, the oldest forgotten first.
#[derive(Clone, Debug, Default)]
pub struct Outcomes<const N: usize = 16> {
    known: Deque<(TransferId, Verdict), N>,
}

impl<const N: usize> Outcomes<N> {
    /// Nothing is known yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { known: Deque::new() }
    }

    /// Remembers how a transfer stands now.
    pub fn record(&mut self, transfer: TransferId, verdict: Verdict) {
        if let Some(known) = self.known.iter_mut().find(|known| known.0 == transfer) {
            known.1 = verdict;
            return;
        }
        if self.known.is_full() {
            self.known.pop_front();
        }
        // Only a table of no size has no room now, and it remembers nothing.
        let _ = self.known.push_back((transfer, verdict));
    }

    /// How a transfer stands, as far as is remembered.
    #[must_use]
    pub fn verdict(&self, transfer: TransferId) -> Verdict {
        let known = self.known.iter().find(|known| known.0 == transfer);
        known.map_or(Verdict::Unknown, |known| known.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_outcomes_are_remembered_and_the_oldest_forgotten() {
        let id = |n: u8| TransferId([n; 16]);
        let mut outcomes = Outcomes::<4>::new();
        for n in 0..5 {
            outcomes.record(id(n), Verdict::Running);
        }
        outcomes.record(id(2), Verdict::Installed);
        assert_eq!(outcomes.verdict(id(0)), Verdict::Unknown);
        assert_eq!(outcomes.verdict(id(1)), Verdict::Running);
        assert_eq!(outcomes.verdict(id(2)), Verdict::Installed);
    }
}
