//! A host's monotonic clock: it began somewhere, runs a little fast or slow, counts sleep, and may leap forward.

use longhaul_core::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    shown: u64,
    since: u64,
    /// How much it shows of a thousand.
    rate: u64,
}

impl Clock {
    pub(super) const fn new(shown: u64, rate: u64) -> Self {
        Self { shown, since: 0, rate }
    }

    pub(super) fn read(&self, world: u64) -> Instant {
        Instant::from_nanos(self.shown + world.saturating_sub(self.since) * self.rate / 1000)
    }

    /// When, in the world's time, it will show `instant`.
    pub(super) fn when(&self, instant: Instant) -> u64 {
        let ahead = instant.as_nanos().saturating_sub(self.shown);
        self.since + (ahead * 1000).div_ceil(self.rate)
    }

    pub(super) fn leap(&mut self, world: u64, by: u64) {
        self.shown = self.read(world).as_nanos() + by;
        self.since = world;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_at_its_rate_leaps_and_tells_when_it_will_show_something() {
        let mut clock = Clock::new(100, 900);
        assert_eq!(clock.read(1000).as_nanos(), 1000);
        clock.leap(1000, 50);
        assert_eq!(clock.read(2000).as_nanos(), 1950);
        for instant in [1950, 1951, 1959] {
            let when = clock.when(Instant::from_nanos(instant));
            assert!(clock.read(when).as_nanos() >= instant && when < 2012, "{instant}");
        }
    }
}
