//! Pins: what of the log somebody has asked to keep, for a lease at a time.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;

/// The longest lease.
pub const PIN_MAX: Duration = Duration::from_mins(2);
/// Members that hold pins at once.
const PINS_MAX: usize = 64;

/// Who has pinned what, in this process. A process that was killed has forgotten it: so from its start on, nothing
/// is dropped for as long as any pin could have lasted.
#[derive(Debug)]
pub struct Pins {
    started: Instant,
    held: HashMap<MemberId, Pin>,
}

#[derive(Clone, Copy, Debug)]
struct Pin {
    behind: SequenceNumber,
    until: Instant,
}

/// Why nothing was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinRefused {
    /// The log begins behind what is to be kept.
    Gone {
        /// The first record that is kept.
        first: SequenceNumber,
    },
    /// Too many members hold pins.
    Busy,
}

impl fmt::Display for PinRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { first } => write!(f, "the log begins at {first} already"),
            Self::Busy => f.write_str("too many members hold pins"),
        }
    }
}

impl Pins {
    /// No pins yet, in a process that starts now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { started: now, held: HashMap::new() }
    }

    /// Keeps the log from its first record on, which is `first`, for `lease`, at most [`PIN_MAX`]; all behind the record
    /// that is returned. A pin that is renewed keeps what it kept.
    ///
    /// # Errors
    /// [`PinRefused`]: something of what it kept is gone, or there are too many.
    pub fn pin(
        &mut self,
        member: MemberId,
        lease: Duration,
        first: SequenceNumber,
        now: Instant,
    ) -> Result<SequenceNumber, PinRefused> {
        self.held.retain(|_, pin| pin.until > now);
        let before_first = SequenceNumber(first.0.saturating_sub(1));
        let behind = self.held.get(&member).map_or(before_first, |pin| pin.behind);
        if behind < before_first {
            self.held.remove(&member);
            return Err(PinRefused::Gone { first });
        }
        if self.held.len() >= PINS_MAX && !self.held.contains_key(&member) {
            return Err(PinRefused::Busy);
        }
        self.held.insert(member, Pin { behind, until: now + lease.min(PIN_MAX) });
        Ok(behind)
    }

    /// Releases what `member` has pinned.
    pub fn unpin(&mut self, member: MemberId) {
        self.held.remove(&member);
    }

    /// Nothing behind this may be dropped.
    #[must_use]
    pub fn behind(&self, now: Instant) -> Option<SequenceNumber> {
        if now < self.started + PIN_MAX {
            return Some(SequenceNumber::NONE);
        }
        self.held.values().filter(|pin| pin.until > now).map(|pin| pin.behind).min()
    }

    /// Members that hold pins.
    #[must_use]
    pub fn count(&self, now: Instant) -> usize {
        self.held.values().filter(|pin| pin.until > now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MemberId = MemberId([1; 16]);
    const B: MemberId = MemberId([2; 16]);
    const LEASE: Duration = Duration::from_secs(30);

    fn started() -> (Pins, Instant) {
        let start = Instant::now();
        (Pins::new(start), start + PIN_MAX)
    }

    #[test]
    fn the_oldest_pin_counts_until_its_lease_ends() {
        let (mut pins, now) = started();
        assert_eq!(pins.behind(now), None);
        assert_eq!(pins.pin(B, LEASE / 2, SequenceNumber(6), now), Ok(SequenceNumber(5)));
        assert_eq!(pins.pin(A, LEASE, SequenceNumber(8), now), Ok(SequenceNumber(7)));
        assert_eq!(pins.behind(now), Some(SequenceNumber(5)));
        assert_eq!(pins.behind(now + LEASE / 2), Some(SequenceNumber(7)));
        pins.unpin(A);
        assert_eq!(pins.behind(now + LEASE / 2), None);
    }

    #[test]
    fn no_lease_is_longer_than_the_longest() {
        let (mut pins, now) = started();
        pins.pin(A, PIN_MAX * 9, SequenceNumber(8), now).unwrap();
        assert_eq!(pins.behind(now + PIN_MAX), None);
    }

    #[test]
    fn a_pin_that_is_renewed_keeps_what_it_kept_or_is_lost() {
        let (mut pins, now) = started();
        let first = SequenceNumber(8);
        assert_eq!(pins.pin(A, LEASE, first, now), Ok(SequenceNumber(7)));
        assert_eq!(pins.pin(A, LEASE, first, now), Ok(SequenceNumber(7)));
        let first = SequenceNumber(9);
        assert_eq!(pins.pin(A, LEASE, first, now), Err(PinRefused::Gone { first }));
        assert_eq!(pins.behind(now), None, "a pin that was lost is none");
    }

    #[test]
    fn a_process_that_forgot_its_pins_drops_nothing_while_they_may_last() {
        let start = Instant::now();
        let pins = Pins::new(start);
        assert_eq!(pins.behind(start + PIN_MAX / 2), Some(SequenceNumber::NONE));
        assert_eq!(pins.behind(start + PIN_MAX), None);
    }
}
