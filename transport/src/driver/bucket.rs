//! A token bucket that is as deep as one burst: what was sent is paid for by waiting before the next.

use std::num::NonZeroU64;
use std::time::Duration;

use longhaul_core::time::Instant;

/// What may be sent by now.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// When what was sent is paid for; `None` if it is.
    filled_at: Option<Instant>,
}

impl Bucket {
    /// Time has passed.
    pub(super) fn look(&mut self, now: Instant) {
        self.filled_at = self.filled_at.filter(|filled| *filled > now);
    }

    /// Whether a burst may be sent.
    pub(super) const fn may_send(&self) -> bool {
        self.filled_at.is_none()
    }

    /// A burst was sent.
    pub(super) fn take(&mut self, bytes: usize, bytes_per_second: Option<NonZeroU64>, now: Instant) {
        let Some(rate) = bytes_per_second else { return };
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.filled_at = Some(now.after(cost));
    }

    /// When a burst may be sent that may not now.
    pub(super) const fn filled_at(&self) -> Option<Instant> {
        self.filled_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_second_takes_as_many_bytes_as_the_limit_says() {
        let (mut bucket, limit) = (Bucket::default(), NonZeroU64::new(1000));
        let mut sent = 0;
        for now in (0..1000).map(at) {
            bucket.look(now);
            if bucket.may_send() {
                bucket.take(50, limit, now);
                sent += 50;
            }
        }
        assert_eq!(sent, 1000);
        assert_eq!(bucket.filled_at(), Some(at(1000)));
    }

    #[test]
    fn what_is_not_limited_costs_nothing() {
        let mut bucket = Bucket::default();
        bucket.take(usize::MAX, None, at(5));
        assert!(bucket.may_send());
    }
}
