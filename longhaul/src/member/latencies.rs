//! How long writes take: a histogram of constant size, exact to a thirtieth.

use std::time::Duration;

/// Buckets of an octave.
const FINE: u32 = 32;
/// Nanoseconds below which times are not told apart: 2^10, about a microsecond.
const SHORTEST_LOG2: u32 = 10;
/// Octaves: up to a minute, and what is longer.
const OCTAVES: u32 = 26;
const BUCKETS: usize = (OCTAVES * FINE) as usize;

#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl Latencies {
    pub(crate) fn record(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// As long or shorter than this were so many of a thousand; `None` if there were none at all.
    pub(crate) fn per_mille(&self, per_mille: u64) -> Option<Duration> {
        let wanted = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        });
        found.map(|bucket| Duration::from_nanos(end_of(bucket)))
    }

    /// What was long ago counts for less.
    pub(crate) fn fade(&mut self) {
        self.counts.iter_mut().for_each(|count| *count /= 2);
        self.total = self.counts.iter().copied().map(u64::from).sum();
    }
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(1 << SHORTEST_LOG2);
    let octave = nanos.ilog2();
    let within = ((u128::from(nanos) * u128::from(FINE)) >> octave) as u32 - FINE;
    (((octave - SHORTEST_LOG2) * FINE + within) as usize).min(BUCKETS - 1)
}

/// The first time that is in no bucket up to this one.
const fn end_of(bucket: usize) -> u64 {
    let (octave, within) = (bucket as u32 / FINE, bucket as u32 % FINE);
    (((within + FINE + 1) as u64) << (octave + SHORTEST_LOG2)) / FINE as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_told_to_a_thirtieth() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.per_mille(990), None);
        for micros in 1..=1000 {
            latencies.record(Duration::from_micros(micros));
        }
        for rank in [1, 500, 990, 999, 1000] {
            let (exact, told) = (1000 * rank, latencies.per_mille(rank).unwrap().as_nanos() as u64);
            // A thirtieth, and what is not told apart.
            assert!(told >= exact && told <= exact + exact / 30 + 1024, "{rank}: {told} for {exact}");
        }
    }

    #[test]
    fn the_shortest_and_the_longest_have_a_bucket() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::MAX);
        assert!(latencies.per_mille(1).unwrap() < Duration::from_micros(2));
        assert!(latencies.per_mille(1000).unwrap() > Duration::from_mins(1));
    }

    #[test]
    fn what_has_faded_counts_for_half() {
        let mut latencies = Latencies::default();
        (0..10).for_each(|_| latencies.record(Duration::from_millis(1)));
        latencies.fade();
        assert_eq!(latencies.total(), 5);
    }
}
