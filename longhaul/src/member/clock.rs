//! The clocks of both machines. A provider's lease runs by one that stands still while the machine sleeps: it alone
//! decides by it. A joiner's runs on: what happened while it slept counts.

use longhaul_core::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Monotonic.
    pub(crate) fn provider(self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Monotonic, and counts sleep where the system has a clock that does.
    pub(crate) fn joiner(self) -> Instant {
        counting_sleep().map_or_else(|| self.provider(), Instant::from_nanos)
    }
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
fn counting_sleep() -> Option<u64> {
    use nix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let (seconds, nanos) = (u64::try_from(time.tv_sec()).ok()?, u64::try_from(time.tv_nsec()).ok()?);
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
fn counting_sleep() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_goes_back() {
        let clock = Clock::start();
        let (provider, joiner) = (clock.provider(), clock.joiner());
        assert!(clock.provider() >= provider && clock.joiner() >= joiner);
    }
}
