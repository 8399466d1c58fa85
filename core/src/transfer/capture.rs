//! How a state is captured and how a log is applied to it: two declarations of the application.

use core::fmt;

/// How a snapshot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capture {
    /// In one step in the provider's order of delivery: exactly the messages of its digest are in it.
    Atomic,
    /// By a scan while writes go on: it may contain any part of what was completed since the scan began.
    Fuzzy,
}

/// How a log is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Apply {
    /// A record that is applied twice does something twice.
    Once,
    /// Records that are applied in order, from any point on that the state contains, lead to the same state.
    Idempotent,
}

/// A pair that works. A fuzzy snapshot may contain a record that is replayed, so such a log must be idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Contract {
    capture: Capture,
    apply: Apply,
}

impl Contract {
    /// The contract of an application.
    ///
    /// # Errors
    /// [`Impossible`]: a fuzzy snapshot with a log that must be applied once.
    pub const fn new(capture: Capture, apply: Apply) -> Result<Self, Impossible> {
        if matches!((capture, apply), (Capture::Fuzzy, Apply::Once)) {
            return Err(Impossible);
        }
        Ok(Self { capture, apply })
    }

    /// How snapshots are taken.
    #[must_use]
    pub const fn capture(self) -> Capture {
        self.capture
    }

    /// How the log is applied.
    #[must_use]
    pub const fn apply(self) -> Apply {
        self.apply
    }
}

/// A fuzzy capture and a log that must be applied once: nobody could say which records to leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impossible;

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fuzzy capture may contain records that its log replays: the log must be idempotent")
    }
}

impl core::error::Error for Impossible {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_impossible_pair_is_refused_and_no_other() {
        assert_eq!(Contract::new(Capture::Fuzzy, Apply::Once), Err(Impossible));
        for (capture, apply) in [
            (Capture::Fuzzy, Apply::Idempotent),
            (Capture::Atomic, Apply::Once),
            (Capture::Atomic, Apply::Idempotent),
        ] {
            assert!(Contract::new(capture, apply).is_ok(), "{capture:?}, {apply:?}");
        }
    }
}
