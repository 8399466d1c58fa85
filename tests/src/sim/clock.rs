//! A host's monotonic clock: it may stand still for a while, or leap forward.

use longhaul_core::time::Instant;

/// What a host takes for time, as a function of the world's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// What it showed at `since`.
    shown: u64,
    /// When it was last meddled with.
    since: u64,
    /// It stands still until then.
    frozen_until: u64,
}

impl Clock {
    /// What it shows at the world's time `world`.
    pub(crate) fn read(&self, world: u64) -> Instant {
        Instant::from_nanos(self.shown + world.saturating_sub(self.since.max(self.frozen_until)))
    }

    /// When, in the world's time, it will show `instant`.
    pub(crate) fn when(&self, instant: Instant) -> u64 {
        let ahead = instant.as_nanos().saturating_sub(self.shown);
        self.since.max(self.frozen_until).saturating_add(ahead)
    }

    pub(crate) fn leap(&mut self, world: u64, by: u64) {
        self.rebase(world);
        self.shown += by;
    }

    pub(crate) fn freeze(&mut self, world: u64, nanos: u64) {
        self.rebase(world);
        self.frozen_until = self.frozen_until.max(world + nanos);
    }

    fn rebase(&mut self, world: u64) {
        self.shown = self.read(world).as_nanos();
        self.since = world;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_freezes_leaps_and_never_goes_back() {
        let mut clock = Clock::default();
        clock.freeze(100, 50);
        assert_eq!([99, 100, 149, 160].map(|world| clock.read(world).as_nanos()), [100, 100, 100, 110]);
        assert_eq!(clock.when(Instant::from_nanos(110)), 160);
        clock.leap(160, 1000);
        assert_eq!(clock.read(170).as_nanos(), 1120);
        assert_eq!(clock.when(Instant::from_nanos(1120)), 170);
    }
}
