//! How epochs ended, for those who ask later.

use heapless::Deque;

use crate::transfer::{Decision, Tag};

/// The last `N` outcomes that this incarnation has recorded. What it does not know it has not committed, as
/// far as anybody may act upon it: [`Decision::Abort`].
#[derive(Clone, Debug, Default)]
pub struct Outcomes<const N: usize = 16> {
    known: Deque<(Tag, Decision), N>,
}

impl<const N: usize> Outcomes<N> {
    /// Nothing is recorded yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { known: Deque::new() }
    }

    /// Records how an epoch ended, the oldest outcome forgotten first.
    ///
    /// # Panics
    /// If it has ended otherwise before: an epoch has one outcome.
    pub fn record(&mut self, tag: Tag, decision: Decision) {
        if let Some(before) = self.recorded(tag) {
            assert_eq!(before, decision, "an epoch has one outcome");
            return;
        }
        if self.known.is_full() {
            self.known.pop_front();
        }
        // Only a table of no size has no room now, and it answers Abort to all.
        let _ = self.known.push_back((tag, decision));
    }

    /// What was recorded of an epoch.
    #[must_use]
    pub fn recorded(&self, tag: Tag) -> Option<Decision> {
        self.known.iter().find(|known| known.0 == tag).map(|known| known.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Epoch, TransferId};

    #[test]
    fn an_outcome_is_known_until_many_later_ones_are() {
        let tag = |epoch| Tag { transfer: TransferId([1; 16]), epoch: Epoch(epoch) };
        let mut outcomes = Outcomes::<2>::new();
        outcomes.record(tag(1), Decision::Commit);
        outcomes.record(tag(2), Decision::Abort);
        assert_eq!(outcomes.recorded(tag(1)), Some(Decision::Commit));
        outcomes.record(tag(3), Decision::Abort);
        assert_eq!((outcomes.recorded(tag(1)), outcomes.recorded(tag(3))), (None, Some(Decision::Abort)));
    }

    #[test]
    #[should_panic(expected = "one outcome")]
    fn an_epoch_has_one_outcome() {
        let mut outcomes = Outcomes::<2>::new();
        outcomes.record(Tag::default(), Decision::Commit);
        outcomes.record(Tag::default(), Decision::Abort);
    }
}
