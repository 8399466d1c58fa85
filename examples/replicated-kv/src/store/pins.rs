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

    /// Keeps all behind `behind` for `lease`, at most [`PIN_MAX`]. A pin that is renewed keeps what it kept. `first`
    /// is the first record in the log.
    ///
    /// # Errors
    /// [`PinRefused`]: something of it is gone, or there are too many.
    pub fn pin(
        &mut self,
        member: MemberId,
        behind: SequenceNumber,
        lease: Duration,
        first: SequenceNumber,
        now: Instant,
    ) -> Result<(), PinRefused> {
        self.held.retain(|_, pin| pin.until > now);
        if first.0 > behind.0.saturating_add(1) {
            self.held.remove(&member);
            return Err(PinRefused::Gone { first });
        }
        if self.held.len() >= PINS_MAX && !self.held.contains_key(&member) {
            return Err(PinRefused::Busy);
        }
        self.held.insert(member, Pin { behind, until: now + lease.min(PIN_MAX) });
        Ok(())
    }

    /// What `member` has pinned, if its lease still runs.
    #[must_use]
    pub fn held_by(&self, member: MemberId, now: Instant) -> Option<SequenceNumber> {
        self.held.get(&member).filter(|pin| pin.until > now).map(|pin| pin.behind)
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
    const FIRST: SequenceNumber = SequenceNumber::FIRST;

    fn started() -> (Pins, Instant) {
        let start = Instant::now();
        (Pins::new(start), start + PIN_MAX)
    }

    #[test]
    fn the_oldest_pin_counts_until_its_lease_ends() {
        let (mut pins, now) = started();
        assert_eq!(pins.behind(now), None);
        pins.pin(A, SequenceNumber(7), LEASE, FIRST, now).unwrap();
        pins.pin(B, SequenceNumber(5), LEASE / 2, FIRST, now).unwrap();
        assert_eq!(pins.behind(now), Some(SequenceNumber(5)));
        assert_eq!(pins.behind(now + LEASE / 2), Some(SequenceNumber(7)));
        pins.unpin(A);
        assert_eq!(pins.behind(now + LEASE / 2), None);
    }

    #[test]
    fn no_lease_is_longer_than_the_longest() {
        let (mut pins, now) = started();
        pins.pin(A, SequenceNumber(7), PIN_MAX * 9, FIRST, now).unwrap();
        assert_eq!(pins.behind(now + PIN_MAX), None);
    }

    #[test]
    fn what_is_gone_is_not_pinned() {
        let (mut pins, now) = started();
        let pinned =
            |pins: &mut Pins, first| pins.pin(A, SequenceNumber(7), LEASE, SequenceNumber(first), now);
        assert_eq!(pinned(&mut pins, 8), Ok(()));
        assert_eq!(pinned(&mut pins, 9), Err(PinRefused::Gone { first: SequenceNumber(9) }));
        assert_eq!(pins.held_by(A, now), None, "a pin that was lost is none");
    }

    #[test]
    fn a_process_that_forgot_its_pins_drops_nothing_while_they_may_last() {
        let start = Instant::now();
        let pins = Pins::new(start);
        assert_eq!(pins.behind(start + PIN_MAX / 2), Some(SequenceNumber::NONE));
        assert_eq!(pins.behind(start + PIN_MAX), None);
    }
}
