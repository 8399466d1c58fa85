//! When the sink is told to go on with its checkpoint, and how much may come before it has.
//!
//! ```text
//! come ───────────────────────────────────▶ at most UNCLAIMED ahead of claimed: else what comes waits
//! told, begun ──────────────▶ what the sync under way makes durable
//! claimed ──────▶ what a process that ends now need not ask for again
//! ```

use std::time::Duration;

use longhaul_core::time::Instant;
use longhaul_state::sink::{Checkpoint, UNCLAIMED};

/// A checkpoint is begun, looked after or ended whenever so much time has passed, or so much has come: two or
/// three times for one checkpoint, which is one a second, or every 256 MiB.
const EVERY: Duration = Duration::from_millis(300);
const BYTES: u64 = 64 << 20;
const _: () = assert!(2 * BYTES < UNCLAIMED, "a disk that keeps up holds nothing up");
/// How often the disk is looked after while content waits for it.
const LOOK: Duration = Duration::from_millis(10);

/// How far the sink is with claiming what has come. All counts are bytes of content since the session's start.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// The sink is at it.
    at_sink: bool,
    /// Something is to be claimed that does not count yet.
    more: bool,
    /// The sink claims nothing.
    off: bool,
    /// When the sink was told last.
    last: Instant,
    /// What has come, and what had when the sink was told last.
    come: u64,
    come_then: u64,
    /// So much of it could be claimed then.
    told: u64,
    /// So much will be when the sync under way is over.
    begun: Option<u64>,
    /// So much is.
    claimed: u64,
}

impl Checkpoints {
    /// So much content more has come.
    pub(super) const fn come(&mut self, bytes: usize) {
        self.come += bytes as u64;
    }

    /// Whether what comes is to wait until more is claimed. Of what has come, `behind` can't be claimed yet: if nothing
    /// else is left to claim, it must go on for that to change.
    pub(super) fn is_full(&self, behind: impl FnOnce() -> u64) -> bool {
        let over = !self.off && self.come - self.claimed >= UNCLAIMED;
        over && (self.at_sink || self.begun.is_some() || self.come.saturating_sub(behind()) > self.claimed)
    }

    /// When it is time again; `None` if nothing has come since, or the sink is at it.
    pub(super) fn due(&self, is_full: bool) -> Option<Instant> {
        let since = self.come - self.come_then;
        if self.at_sink {
            return None;
        }
        match (is_full, self.begun) {
            (true, None) => Some(self.last),
            (true, Some(_)) => Some(self.last.after(LOOK)),
            _ if since >= BYTES => Some(self.last),
            _ => (since > 0 || self.more).then(|| self.last.after(EVERY)),
        }
    }

    /// The sink is told: of what has come, `behind` can't be claimed yet.
    pub(super) const fn tell(&mut self, behind: u64, now: Instant) {
        (self.at_sink, self.last, self.come_then) = (true, now, self.come);
        self.told = self.come.saturating_sub(behind);
    }

    /// What the sink has answered.
    pub(super) fn answered(&mut self, checkpoint: Checkpoint) {
        self.at_sink = false;
        match checkpoint {
            Checkpoint::None => (self.off, self.more) = (true, false),
            Checkpoint::Begun => (self.begun, self.more) = (Some(self.told), true),
            Checkpoint::UnderWay => self.more = true,
            Checkpoint::Claimed { more } => {
                // What was discarded meanwhile may have counted.
                self.claimed = self.begun.take().unwrap_or(0).max(self.claimed);
                self.more = more;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const NOW: Instant = Instant::from_nanos(5_000_000_000);

    fn come(mib: u64) -> Checkpoints {
        let mut checkpoints = Checkpoints::default();
        checkpoints.come((mib * MIB) as usize);
        checkpoints
    }

    fn tell(checkpoints: &mut Checkpoints, behind: u64, answer: Checkpoint) {
        checkpoints.tell(behind, NOW);
        assert_eq!(checkpoints.due(true), None, "the sink is at it");
        checkpoints.answered(answer);
    }

    #[test]
    fn no_more_comes_than_may_be_unclaimed_until_the_disk_has_ended() {
        let mut checkpoints = come(100);
        tell(&mut checkpoints, 0, Checkpoint::Begun);
        checkpoints.come(155 << 20);
        assert!(!checkpoints.is_full(|| 0));
        checkpoints.come(1 << 20);
        tell(&mut checkpoints, 0, Checkpoint::UnderWay);
        assert!(checkpoints.is_full(|| 256 * MIB));
        tell(&mut checkpoints, 0, Checkpoint::Claimed { more: true });
        assert!(!checkpoints.is_full(|| 0), "100 MiB of 256 are claimed");
        checkpoints.come(100 << 20);
        assert!(checkpoints.is_full(|| 0));
    }

    #[test]
    fn what_is_full_is_looked_after_at_once_and_then_often() {
        let mut checkpoints = come(1);
        tell(&mut checkpoints, 0, Checkpoint::Begun);
        assert_eq!(checkpoints.due(false), Some(NOW.after(EVERY)));
        assert_eq!(checkpoints.due(true), Some(NOW.after(LOOK)));
        tell(&mut checkpoints, 0, Checkpoint::Claimed { more: false });
        assert_eq!((checkpoints.due(false), checkpoints.due(true)), (None, Some(NOW)));
        checkpoints.come(BYTES as usize);
        assert_eq!(checkpoints.due(false), Some(NOW));
    }

    #[test]
    fn what_can_be_claimed_only_when_more_has_come_holds_nothing_up() {
        let mut checkpoints = come(300);
        assert!(checkpoints.is_full(|| 299 * MIB), "a checkpoint would claim one");
        assert!(!checkpoints.is_full(|| 300 * MIB), "none would claim any");
        tell(&mut checkpoints, 300 * MIB, Checkpoint::Begun);
        assert!(checkpoints.is_full(|| 300 * MIB), "it may be over soon");
        tell(&mut checkpoints, 300 * MIB, Checkpoint::Claimed { more: false });
        assert!(!checkpoints.is_full(|| 300 * MIB));
    }

    #[test]
    fn a_sink_that_claims_nothing_holds_nothing_up() {
        let mut checkpoints = come(300);
        tell(&mut checkpoints, 0, Checkpoint::None);
        assert!(!checkpoints.is_full(|| 0));
    }
}
