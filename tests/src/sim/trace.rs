//! A hash over everything that happened, in order: two runs of one seed must agree.

use super::random::mix;

/// The hash so far, and, if somebody wants to read it, the words.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    /// Printed as it happens.
    aloud: bool,
}

impl Trace {
    pub(crate) const fn new(aloud: bool) -> Self {
        Self { hash: 0, aloud }
    }

    pub(crate) fn number(&mut self, what: u64) {
        self.hash = mix(self.hash.rotate_left(5) ^ what);
    }

    /// Something that a reader of the trace wants to see.
    pub(crate) fn say(&mut self, now: u64, words: impl FnOnce() -> String) {
        self.number(now);
        if self.aloud {
            println!("{:>14.6} ms  {}", now as f64 / 1e6, words());
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }
}
