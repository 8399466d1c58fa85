//! Rounds: how fast the log grows and shrinks, and whether it converges.

use core::time::Duration;

use super::super::Config;
use crate::time::Instant;
use crate::transfer::LogPoint;

/// A joiner's pace. A round ends when it has applied what was logged when the round began.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    since: Instant,
    /// Where the joiner and the log were then.
    applied: LogPoint,
    end: LogPoint,
    /// Rounds in a row that left no smaller rest.
    stuck: u8,
}

/// What a round showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It goes on.
    Nothing,
    /// The rest fits in the latch's budget.
    Near,
    /// The rest does not shrink.
    Stuck { written_per_second: u64, applied_per_second: u64 },
}

impl Pace {
    pub(super) const fn new(now: Instant, applied: LogPoint, end: LogPoint) -> Self {
        Self { since: now, applied, end, stuck: 0 }
    }

    /// The joiner has come to `applied`, the log to `end`.
    pub(super) fn applied(
        &mut self,
        applied: LogPoint,
        end: LogPoint,
        config: &Config,
        now: Instant,
    ) -> Shown {
        if applied < self.end {
            return Shown::Nothing;
        }
        let elapsed = now.since(self.since);
        let (before, rest) = (self.end.bytes - self.applied.bytes, end.bytes - applied.bytes);
        let drained = per_second(applied.bytes - self.applied.bytes, elapsed);
        let written = per_second(end.bytes - self.end.bytes, elapsed);
        let stuck = if rest < before { 0 } else { self.stuck.saturating_add(1) };
        *self = Self { since: now, applied, end, stuck };
        if rest <= config.small_bytes || takes(rest, drained) <= config.latch_budget / 2 {
            return Shown::Near;
        }
        if stuck < config.patience {
            return Shown::Nothing;
        }
        self.stuck = 0;
        Shown::Stuck { written_per_second: written, applied_per_second: drained }
    }
}

/// Bytes a second; at a clock that stands still, the most there can be.
fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    let nanos = elapsed.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// How long bytes take at a rate.
fn takes(bytes: u64, per_second: u64) -> Duration {
    if bytes == 0 {
        return Duration::ZERO;
    }
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::MemberId;
    use crate::message::Properties;
    use crate::transfer::{Apply, Capture, Contract};

    fn config() -> Config {
        let contract = Contract::new(Capture::Atomic, Apply::Once).unwrap();
        let offers = Properties::FIFO.and(Properties::SEND_AGAIN);
        Config { small_bytes: 10, patience: 2, ..Config::new(MemberId([1; 16]), offers, contract) }
    }

    const fn point(bytes: u64) -> LogPoint {
        LogPoint { records: bytes, bytes }
    }

    // Catalogue: F47, F66
    #[test]
    fn a_rest_that_does_not_shrink_is_told_with_both_rates_and_a_small_one_is_near() {
        let (config, second) = (config(), |n: u64| Instant::from_nanos(n * 1_000_000_000));
        let mut pace = Pace::new(second(0), point(0), point(1000));
        assert_eq!(pace.applied(point(500), point(1500), &config, second(1)), Shown::Nothing, "half a round");
        assert_eq!(pace.applied(point(1000), point(2000), &config, second(1)), Shown::Nothing);
        let stuck = Shown::Stuck { written_per_second: 1000, applied_per_second: 1000 };
        assert_eq!(pace.applied(point(2000), point(3000), &config, second(2)), stuck);
        assert_eq!(pace.applied(point(3000), point(3010), &config, second(3)), Shown::Near);
        // A clock that stands still divides by nothing.
        assert_eq!(pace.applied(point(3010), point(9000), &config, second(3)), Shown::Near);
    }
}
