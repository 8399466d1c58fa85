//! When a lost connection is dialled again.

use core::time::Duration;

use crate::time::Instant;

/// The first pause, about.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that double, with jitter, so that those who lost one peer don't return all at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redial {
    /// Since when there is no connection.
    pub(super) since: Instant,
    /// When to dial; `None` while a dial is under way, and always at the listener.
    pub(super) at: Option<Instant>,
    /// When a dial under way is given up.
    pub(super) answer_by: Option<Instant>,
    tries: u32,
    random: u64,
}

impl Redial {
    pub(super) const fn new(since: Instant, seed: u64) -> Self {
        Self { since, at: None, answer_by: None, tries: 0, random: seed | 1 }
    }

    /// Plans the next dial, not before `earliest` has passed.
    pub(super) fn plan(&mut self, now: Instant, earliest: Duration) {
        // Marsaglia's xorshift: any spread will do.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let longest = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        let half = longest / 2;
        let jitter = Duration::from_nanos(self.random % (half.as_nanos() as u64 + 1));
        self.tries += 1;
        (self.at, self.answer_by) = (Some(now.after((half + jitter).max(earliest))), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds_and_differ_by_seed() {
        for seed in 0..100 {
            let mut redial = Redial::new(Instant::ZERO, seed);
            for tries in 0..20 {
                redial.plan(Instant::ZERO, Duration::ZERO);
                let pause = redial.at.unwrap().since(Instant::ZERO);
                let longest = FIRST.saturating_mul(1 << tries.min(16)).min(LONGEST);
                assert!(pause >= longest / 2 && pause <= longest, "seed {seed}, try {tries}: {pause:?}");
            }
        }
        let first = |seed| {
            let mut redial = Redial::new(Instant::ZERO, seed);
            redial.plan(Instant::ZERO, Duration::ZERO);
            redial.at
        };
        assert_ne!(first(2), first(4));
    }

    #[test]
    fn a_busy_peer_says_how_long_to_wait_at_least() {
        let mut redial = Redial::new(Instant::ZERO, 7);
        redial.plan(Instant::ZERO, Duration::from_secs(60));
        assert!(redial.at.unwrap().since(Instant::ZERO) >= Duration::from_secs(60));
    }
}
