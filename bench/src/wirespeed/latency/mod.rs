//! How long a chunk takes from the moment when its read was submitted until it is durable.
//!
//! ```text
//! provider: driver ──reads──▶ Submitted (the clock is read) ──▶ the engine
//! joiner:   driver ──checkpoints, syncs──▶ Durable ──▶ the sink: what it claims (the clock is read)
//! ```
//!
//! Durable is what the joiner's journal claims: the bytes that had come, without a gap, when a sync began that has
//! ended; or all of them after the last sync. So a chunk's latency is that of a checkpoint rather than that of its
//! write. Both processes read the system's one monotonic clock. It is a transfer of its own, whose time counts
//! nowhere: what watches it costs a thread more at the provider.

mod durable;
mod submitted;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;
use serde_json::Value;

pub(crate) use durable::Durable;
pub(crate) use submitted::Submitted;

use crate::side::play;
use crate::way::Way;

/// Latencies of all chunks of a file, in microseconds.
pub(crate) struct Latency(Histogram<u64>);

/// Those that are told, and their names.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];

impl Latency {
    /// Of one transfer.
    pub(crate) fn measure(way: &Way, from: &Path, to: &Path) -> io::Result<Self> {
        let provide = ["provide-traced", way.name, &from.display().to_string()].map(str::to_owned);
        let join = |address: &str| {
            vec!["join-traced".into(), way.name.into(), address.into(), to.display().to_string()]
        };
        let (provider, joiner) = play(&provide, &join)?;
        let (submitted, durable) = (stamps(&provider.told["submitted"])?, stamps(&joiner.told["durable"])?);
        Self::between(&submitted, &durable).ok_or_else(|| io::Error::other("a chunk was never durable"))
    }

    /// `submitted`: where each chunk begins, and when its read was submitted. `durable`: how many bytes were
    /// durable, and when, in the order of both.
    fn between(submitted: &[Stamp], durable: &[Stamp]) -> Option<Self> {
        let mut histogram = Histogram::new_with_max(DAY_MICROS, 3).ok()?;
        for (offset, read) in submitted {
            let (_, claimed) = durable.get(durable.partition_point(|(bytes, _)| bytes <= offset))?;
            histogram.saturating_record(claimed.checked_sub(*read)? / 1000);
        }
        Some(Self(histogram))
    }

    /// Names and seconds.
    pub(crate) fn quantiles(&self) -> impl Iterator<Item = (&'static str, f64)> {
        QUANTILES.map(|(name, quantile)| (name, self.0.value_at_quantile(quantile) as f64 / 1e6)).into_iter()
    }
}

/// Beyond it nothing is told apart.
const DAY_MICROS: u64 = 86_400_000_000;

/// A place in the file, and nanoseconds of the system's monotonic clock.
type Stamp = (u64, u64);

fn stamps(told: &Value) -> io::Result<Vec<Stamp>> {
    let stamp = |pair: &Value| Some((pair[0].as_u64()?, pair[1].as_u64()?));
    let stamps = told.as_array().and_then(|pairs| pairs.iter().map(stamp).collect());
    stamps.ok_or_else(|| io::Error::other("a side of the transfer was not traced"))
}

/// Stamps that are still written.
#[derive(Clone, Default)]
pub(crate) struct Stamps(Arc<Mutex<Vec<Stamp>>>);

impl Stamps {
    /// At this place, now.
    fn stamp(&self, place: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((place, now()));
    }

    /// All of them, which is the end of them.
    pub(crate) fn take(&self) -> Vec<Stamp> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(target_os = "linux")]
fn now() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    // A clock that every Linux has.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Elsewhere two processes have no clock in common here.
#[cfg(not(target_os = "linux"))]
fn now() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_durable_with_the_first_claim_that_reaches_beyond_its_start() {
        let ms = |n: u64| n * 1_000_000;
        let submitted = [(0, ms(1)), (512, ms(2)), (1024, ms(3))];
        let durable = [(512, ms(11)), (1024, ms(22)), (u64::MAX, ms(103))];
        let latency = Latency::between(&submitted, &durable).unwrap();
        let told: Vec<_> =
            latency.quantiles().map(|(name, seconds)| (name, (seconds * 1e3) as u64)).collect();
        assert_eq!(told, [("p50", 20), ("p90", 100), ("p99", 100), ("max", 100)]);
    }

    #[test]
    fn what_was_never_claimed_has_no_latency() {
        assert!(Latency::between(&[(512, 0)], &[(512, 1)]).is_none());
    }
}
