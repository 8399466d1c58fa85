//! How a joiner comes along, measured at its provider: rates, what is left, and when the cut-over will be.

use std::time::Duration;

use longhaul_core::id::MemberId;
use longhaul_core::time::Instant;
use longhaul_core::transfer::LogPoint;

/// How a joiner comes along.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Pace {
    /// Who.
    pub member: MemberId,
    /// Bytes of the bulk that were sent.
    pub bulk_bytes: u64,
    /// Bytes of the bulk in all, if known; while it moves.
    pub bulk_total: Option<u64>,
    /// Bytes of the bulk a second.
    pub bulk_per_second: f64,
    /// Bytes that are logged a second.
    pub written_per_second: f64,
    /// Bytes of the log that the joiner applies a second.
    pub applied_per_second: f64,
    /// Bytes of log that it has not applied yet.
    pub rest_bytes: u64,
    /// Bytes a second that are sent to all joiners together at most, for the sake of the writers; `None`: as many as
    /// can be.
    pub limit_per_second: Option<u64>,
    /// When the rest is applied, at these rates: the cut-over. While the bulk moves: when that is over.
    /// `None`: it comes no nearer.
    pub cut_over: Option<Duration>,
}

/// Measures one joiner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    last: Sample,
    rates: [f64; 3],
}

/// Counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// Bytes of the bulk sent, and in all; `None` once it is staged.
    pub(super) bulk: Option<(u64, Option<u64>)>,
    /// Where the log ends, and up to where the joiner has applied it.
    pub(super) end: LogPoint,
    pub(super) applied: LogPoint,
    /// Bytes a second that may be sent.
    pub(super) limit: Option<u64>,
}

/// A new measurement counts for so much of a rate.
const WEIGHT: f64 = 0.5;

impl Meter {
    pub(super) const fn new(first: Sample) -> Self {
        Self { last: first, rates: [0.0; 3] }
    }

    pub(super) fn measure(&mut self, member: MemberId, sample: Sample) -> Pace {
        let elapsed = sample.at.since(self.last.at).as_secs_f64().max(1e-9);
        let bulk = |sample: &Sample| sample.bulk.map_or(0, |(sent, _)| sent);
        let grown = [
            bulk(&sample).saturating_sub(bulk(&self.last)),
            sample.end.bytes.saturating_sub(self.last.end.bytes),
            sample.applied.bytes.saturating_sub(self.last.applied.bytes),
        ];
        for (rate, grown) in self.rates.iter_mut().zip(grown) {
            let now = grown as f64 / elapsed;
            *rate = if *rate == 0.0 { now } else { *rate + WEIGHT * (now - *rate) };
        }
        self.last = sample;
        let [bulk_per_second, written_per_second, applied_per_second] = self.rates;
        let rest_bytes = sample.end.bytes.saturating_sub(sample.applied.bytes);
        let cut_over = match sample.bulk {
            Some((sent, total)) => total.and_then(|total| takes(total.saturating_sub(sent), bulk_per_second)),
            None => takes(rest_bytes, applied_per_second - written_per_second),
        };
        Pace {
            member,
            bulk_bytes: bulk(&sample),
            bulk_total: sample.bulk.and_then(|(_, total)| total),
            bulk_per_second,
            written_per_second,
            applied_per_second,
            rest_bytes,
            limit_per_second: sample.limit,
            cut_over,
        }
    }
}

fn takes(bytes: u64, per_second: f64) -> Option<Duration> {
    if bytes == 0 {
        return Some(Duration::ZERO);
    }
    Duration::try_from_secs_f64(bytes as f64 / per_second).ok().filter(|_| per_second > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: MemberId = MemberId([1; 16]);

    fn sample(seconds: u64, bulk: Option<(u64, Option<u64>)>, end: u64, applied: u64) -> Sample {
        let point = |bytes| LogPoint { records: bytes, bytes };
        let at = Instant::from_nanos(seconds * 1_000_000_000);
        Sample { at, bulk, end: point(end), applied: point(applied), limit: None }
    }

    // Catalogue: F47
    #[test]
    fn the_cut_over_is_where_both_rates_meet_and_nowhere_if_they_do_not() {
        let mut meter = Meter::new(sample(0, None, 1000, 0));
        let pace = meter.measure(MEMBER, sample(1, None, 1100, 600));
        assert_eq!((pace.rest_bytes, pace.cut_over), (500, Some(Duration::from_secs(1))));
        let mut meter = Meter::new(sample(0, None, 1000, 0));
        assert_eq!(meter.measure(MEMBER, sample(1, None, 1600, 600)).cut_over, None);
        assert_eq!(meter.measure(MEMBER, sample(1, None, 1600, 1600)).cut_over, Some(Duration::ZERO));
    }

    #[test]
    fn while_the_bulk_moves_its_end_is_told() {
        let mut meter = Meter::new(sample(0, Some((0, None)), 0, 0));
        assert_eq!(meter.measure(MEMBER, sample(1, Some((10, None)), 5, 0)).cut_over, None);
        let pace = meter.measure(MEMBER, sample(2, Some((20, Some(50))), 10, 0));
        assert_eq!(pace.cut_over, Some(Duration::from_secs(3)));
        assert!((pace.written_per_second - 5.0).abs() < 1e-9);
    }
}
