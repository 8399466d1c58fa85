//! What is sent to joiners yields to the writers: a loop on their latency.
//!
//! While nothing moves, their 99th percentile is the baseline. While something does, each window of theirs is held
//! against one and a half times of it: a window that is longer takes a third of the rate away, one that is not
//! adds a part of the fastest rate that was measured (additive increase, multiplicative decrease, as TCP shares a
//! link: Chiu and Jain 1989). It begins slowly, and doubles until the writers notice. A tenth of the fastest rate
//! always remains, so that a joiner comes nearer whatever happens.

use std::num::NonZeroU64;
use std::time::Duration;

use super::latencies::Latencies;

/// A window is judged this often at most.
pub(super) const WINDOW: Duration = Duration::from_millis(100);

/// A baseline is one from so many writes on: with fewer there is nothing to hold a window against.
const BASELINE_WRITES: u64 = 200;
/// Of as many as this an older half is forgotten by halves.
const REMEMBERED: u64 = 16 << 10;
/// A window has so many writes, if it can have them in so many beats.
const WINDOW_WRITES: u64 = 100;
const BEATS_MAX: u32 = 10;

/// Bytes a second to begin with.
const START: u64 = 32 << 20;
/// The least, whatever was measured.
const LEAST: u64 = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Restraint {
    /// By whose requests and words, and by turns where nobody says how long his writes take.
    told: Writes,
    turns: Writes,
    /// Something moves.
    is_moving: bool,
    /// The loop, if there was a baseline.
    moving: Option<Moving>,
    /// Nothing is limited, whatever it costs the writers.
    is_off: bool,
}

/// How long writes took, by one measure.
#[derive(Debug, Default)]
struct Writes {
    /// While nothing moved.
    idle: Latencies,
    /// In this window.
    window: Latencies,
}

/// The loop, while something moves.
#[derive(Debug)]
struct Moving {
    /// The baseline, and whether it is that of turns.
    baseline: Duration,
    by_turns: bool,
    /// Bytes a second.
    limit: u64,
    fastest: u64,
    /// The writers have not noticed yet.
    is_beginning: bool,
    beats: u32,
}

impl Restraint {
    pub(super) fn new(yields: bool) -> Self {
        Self { is_off: !yields, ..Self::default() }
    }

    /// A write took so long, as its writer sees it.
    pub(super) fn note_write(&mut self, took: Duration) {
        self.told.note(took, self.is_moving);
    }

    /// A turn took so long, the wait for it included.
    pub(super) fn note_turn(&mut self, took: Duration) {
        self.turns.note(took, self.is_moving);
    }

    /// Whether windows are to be judged.
    pub(super) const fn judges(&self) -> bool {
        self.moving.is_some()
    }

    /// Something moves from now on.
    pub(super) fn begin(&mut self) {
        if !std::mem::replace(&mut self.is_moving, true) && !self.is_off {
            let by_turns = self.told.idle.total() < BASELINE_WRITES;
            let writes = if by_turns { &mut self.turns } else { &mut self.told };
            let baseline = writes.idle.percentile(99).filter(|_| writes.idle.total() >= BASELINE_WRITES);
            writes.window.clear();
            self.moving = baseline.map(|baseline| Moving {
                baseline,
                by_turns,
                limit: START,
                fastest: 0,
                is_beginning: true,
                beats: 0,
            });
        }
    }

    /// Nothing moves any more.
    pub(super) fn end(&mut self) {
        (self.is_moving, self.moving) = (false, None);
    }

    /// Bytes a second that may be sent; `None`: as many as can be, for there is no baseline, or nothing moves.
    pub(super) fn limit(&self) -> Option<NonZeroU64> {
        self.moving.as_ref().and_then(|moving| NonZeroU64::new(moving.limit))
    }

    /// A beat has passed, and so many bytes a second were sent in it.
    pub(super) fn beat(&mut self, sent_per_second: u64) {
        let Some(moving) = &mut self.moving else { return };
        moving.fastest = moving.fastest.max(sent_per_second);
        moving.beats += 1;
        let window = if moving.by_turns { &mut self.turns.window } else { &mut self.told.window };
        if window.total() < WINDOW_WRITES && moving.beats < BEATS_MAX {
            return;
        }
        moving.judge(window.percentile(99), sent_per_second);
        window.clear();
    }
}

impl Writes {
    fn note(&mut self, took: Duration, something_moves: bool) {
        if something_moves {
            return self.window.record(took);
        }
        if self.idle.total() >= REMEMBERED {
            self.idle.fade();
        }
        self.idle.record(took);
    }
}

impl Moving {
    fn judge(&mut self, p99: Option<Duration>, sent_per_second: u64) {
        self.beats = 0;
        let target = self.baseline * 3 / 2;
        // Where nobody writes nobody waits.
        let is_slow = p99.is_some_and(|p99| p99 > target);
        let least = (self.fastest / 10).max(LEAST);
        if is_slow {
            self.is_beginning = false;
            self.limit = self.limit.min(sent_per_second.max(LEAST)) * 2 / 3;
        } else if self.is_beginning {
            self.limit *= 2;
        } else {
            self.limit += (self.fastest / 16).max(LEAST);
        }
        // What is not reached limits nothing: it would not be felt when it is lowered.
        let most = (self.fastest * 2).max(START);
        self.limit = self.limit.clamp(least, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_micros(200);

    fn measured() -> Restraint {
        let mut restraint = Restraint::default();
        (0..BASELINE_WRITES).for_each(|_| restraint.note_write(IDLE));
        restraint
    }

    /// A window of writes that take so long, while as much is sent as may be, up to so much.
    fn window(restraint: &mut Restraint, took: Duration, most: u64) -> u64 {
        (0..WINDOW_WRITES).for_each(|_| restraint.note_write(took));
        let sent = restraint.limit().unwrap().get().min(most);
        restraint.beat(sent);
        restraint.limit().unwrap().get()
    }

    #[test]
    fn it_begins_slowly_and_doubles_until_the_writers_notice() {
        let mut restraint = measured();
        restraint.begin();
        assert_eq!(restraint.limit().unwrap().get(), START);
        assert_eq!(window(&mut restraint, IDLE, u64::MAX), 2 * START);
        assert_eq!(window(&mut restraint, IDLE, u64::MAX), 4 * START);
        let less = window(&mut restraint, 2 * IDLE, u64::MAX);
        assert_eq!(less, 4 * START * 2 / 3);
        let more = window(&mut restraint, IDLE, u64::MAX);
        assert_eq!(more, less + 4 * START / 16, "it only adds from then on");
    }

    #[test]
    fn one_and_a_half_times_the_baseline_is_allowed() {
        let mut restraint = measured();
        restraint.begin();
        assert!(window(&mut restraint, IDLE * 29 / 20, u64::MAX) > START);
        assert!(window(&mut restraint, IDLE * 8 / 5, u64::MAX) < 2 * START);
    }

    #[test]
    fn a_tenth_of_the_fastest_rate_remains_however_long_writes_take() {
        let mut restraint = measured();
        restraint.begin();
        while window(&mut restraint, IDLE, 1 << 30) < 1 << 30 {}
        window(&mut restraint, IDLE, 1 << 30);
        for _ in 0..20 {
            window(&mut restraint, 100 * IDLE, 1 << 30);
        }
        assert_eq!(restraint.limit().unwrap().get(), (1 << 30) / 10);
    }

    #[test]
    fn a_limit_that_is_not_reached_does_not_grow_out_of_reach() {
        let mut restraint = measured();
        restraint.begin();
        for _ in 0..20 {
            window(&mut restraint, IDLE, 100 << 20);
        }
        assert_eq!(restraint.limit().unwrap().get(), 200 << 20);
        assert!(window(&mut restraint, 2 * IDLE, 100 << 20) < 100 << 20, "it is felt at once");
    }

    #[test]
    fn turns_count_where_nobody_says_how_long_his_writes_take_and_nothing_is_limited_without_a_baseline() {
        let mut restraint = Restraint::default();
        restraint.begin();
        (0..BASELINE_WRITES).for_each(|_| restraint.note_write(IDLE));
        restraint.begin();
        assert_eq!(restraint.limit(), None, "a baseline is from before");
        restraint.end();
        (0..BASELINE_WRITES).for_each(|_| restraint.note_turn(IDLE));
        restraint.begin();
        assert_eq!(restraint.limit().unwrap().get(), START);
        (0..WINDOW_WRITES).for_each(|_| restraint.note_turn(10 * IDLE));
        restraint.beat(START);
        assert!(restraint.limit().unwrap().get() < START);
        restraint.end();
        assert_eq!(restraint.limit(), None);
    }

    #[test]
    fn who_is_told_not_to_yield_limits_nothing() {
        let mut restraint = Restraint { is_off: true, ..measured() };
        restraint.begin();
        assert_eq!(restraint.limit(), None);
    }

    #[test]
    fn what_is_slow_while_something_moves_does_not_become_the_baseline() {
        let mut restraint = measured();
        restraint.begin();
        window(&mut restraint, 100 * IDLE, u64::MAX);
        restraint.end();
        restraint.begin();
        assert!(window(&mut restraint, 2 * IDLE, u64::MAX) < START);
    }

    #[test]
    fn where_few_write_a_window_lasts_longer_and_where_nobody_does_nobody_waits() {
        let mut restraint = measured();
        restraint.begin();
        restraint.note_write(10 * IDLE);
        for _ in 1..BEATS_MAX {
            restraint.beat(START);
            assert_eq!(restraint.limit().unwrap().get(), START);
        }
        restraint.beat(START);
        assert!(restraint.limit().unwrap().get() < START);
        for _ in 0..BEATS_MAX {
            restraint.beat(START);
        }
        assert!(restraint.limit().unwrap().get() > START / 2);
    }
}
