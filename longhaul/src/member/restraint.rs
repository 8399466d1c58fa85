//! What is sent to joiners yields to the writers: a loop on their latency.
//!
//! While nothing moves, their 99th percentile and their 99.9th are the baseline. While something does, as many writes as these
//! leave may take longer than one and a half times of either: one of a hundred, one of a thousand. Each write adds its part
//! to an account, each that takes longer is paid from it. A window with such writes that leaves an account overdrawn takes a third of the
//! rate away; while it stays overdrawn nothing is added; else a part of the fastest rate that was measured is (additive increase,
//! multiplicative decrease, as TCP shares a link: Chiu and Jain 1989). So what is bounded is the share of slow writes over the
//! whole transfer, and a neighbour who holds up a few of them, as happens while nothing moves too, costs no speed. It
//! begins slowly, and doubles until the writers notice. A tenth of the fastest rate always remains, so that a joiner
//! comes nearer whatever happens. Who is as slow at that rate is held up by somebody else: these writes are a baseline too, and the
//! longer of both counts.

use std::num::NonZeroU64;
use std::time::Duration;

use super::latencies::Latencies;

/// A window is judged this often at most.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);

/// What is bounded: how many of a thousand writes may take longer, and from how many writes on it has a baseline.
const BOUNDED: [(u32, u64); 2] = [(10, BASELINE_WRITES), (1, 10 * BASELINE_WRITES)];
/// With fewer there is nothing to hold a write against.
const BASELINE_WRITES: u64 = 200;
/// Of as many as this an older half is forgotten by halves.
const REMEMBERED: u64 = 16 << 10;
/// A window has so many writes, if it can have them in so many beats.
const WINDOW_WRITES: u64 = 100;
const BEATS_MAX: u32 = 10;
/// So many slow writes are saved up for at most, and so many owed.
const SAVED_MAX: i64 = 2;
const OWED_MAX: i64 = 1;
/// What a slow write costs; of this each write pays in its thousandths.
const COST: i64 = 1000;

/// Bytes a second to begin with.
const START: u64 = 32 << 20;
/// The least, whatever was measured.
const LEAST: u64 = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Restraint {
    /// By whose requests and words, and by turns where nobody says how long his writes take, while nothing moves.
    told: Latencies,
    turns: Latencies,
    /// Something moves.
    is_moving: bool,
    /// The loop, if there was a baseline.
    moving: Option<Moving>,
    /// Nothing is limited, whatever it costs the writers.
    is_off: bool,
}

/// The loop, while something moves.
#[derive(Debug)]
struct Moving {
    /// What is held against the baseline, and whether that is of turns.
    accounts: Vec<Account>,
    by_turns: bool,
    /// Writes of this window.
    writes: u64,
    beats: u32,
    /// At the least rate, since it was judged by these last.
    slowest: Latencies,
    /// Bytes a second.
    limit: u64,
    fastest: u64,
    /// The writers have not noticed yet.
    is_beginning: bool,
}

/// How many writes may still take longer than a bound.
#[derive(Debug)]
struct Account {
    bound: Duration,
    /// So many of a thousand may: what each write adds, in thousandths of one.
    longer: u32,
    /// In thousandths of a write.
    balance: i64,
    /// Writes of this window that took longer.
    is_struck: bool,
}

impl Restraint {
    pub(crate) fn new(yields: bool) -> Self {
        Self { is_off: !yields, ..Self::default() }
    }

    /// A write took so long, as its writer sees it.
    pub(crate) fn note_write(&mut self, took: Duration) {
        self.note(took, false);
    }

    /// A turn took so long, the wait for it included.
    pub(crate) fn note_turn(&mut self, took: Duration) {
        self.note(took, true);
    }

    fn note(&mut self, took: Duration, by_turns: bool) {
        if self.is_moving {
            if let Some(moving) = self.moving.as_mut().filter(|moving| moving.by_turns == by_turns) {
                moving.note(took);
            }
            return;
        }
        let idle = if by_turns { &mut self.turns } else { &mut self.told };
        if idle.total() >= REMEMBERED {
            idle.fade();
        }
        idle.record(took);
    }

    /// Whether windows are to be judged.
    pub(crate) const fn judges(&self) -> bool {
        self.moving.is_some()
    }

    /// Something moves from now on.
    pub(crate) fn begin(&mut self) {
        if !std::mem::replace(&mut self.is_moving, true) && !self.is_off {
            let by_turns = self.told.total() < BASELINE_WRITES;
            let accounts = Account::of(if by_turns { &self.turns } else { &self.told });
            self.moving = (!accounts.is_empty()).then_some(Moving {
                accounts,
                by_turns,
                writes: 0,
                beats: 0,
                slowest: Latencies::default(),
                limit: START,
                fastest: 0,
                is_beginning: true,
            });
        }
    }

    /// Nothing moves any more.
    pub(crate) fn end(&mut self) {
        (self.is_moving, self.moving) = (false, None);
    }

    /// Bytes a second that may be sent; `None`: as many as can be, for there is no baseline, or nothing moves.
    pub(crate) fn limit(&self) -> Option<NonZeroU64> {
        self.moving.as_ref().and_then(|moving| NonZeroU64::new(moving.limit))
    }

    /// A beat has passed, and so many bytes a second were sent in it.
    pub(crate) fn beat(&mut self, sent_per_second: u64) {
        let Some(moving) = &mut self.moving else { return };
        moving.fastest = moving.fastest.max(sent_per_second);
        moving.beats += 1;
        if moving.writes >= WINDOW_WRITES || moving.beats >= BEATS_MAX {
            moving.judge(sent_per_second);
        }
    }
}

impl Account {
    /// Those for which there were writes enough.
    fn of(idle: &Latencies) -> Vec<Self> {
        let bounded = BOUNDED.into_iter().filter(|(_, writes)| idle.total() >= *writes);
        let accounts = bounded.filter_map(|(longer, _)| {
            let bound = bound(idle, longer)?;
            Some(Self { bound, longer, balance: SAVED_MAX * COST, is_struck: false })
        });
        accounts.collect()
    }

    fn note(&mut self, took: Duration) {
        let is_slow = took > self.bound;
        self.is_struck |= is_slow;
        let income = i64::from(self.longer);
        let change = if is_slow { income - COST } else { income };
        self.balance = (self.balance + change).clamp(-OWED_MAX * COST, SAVED_MAX * COST);
    }

    const fn is_overdrawn(&self) -> bool {
        self.balance < 0
    }
}

/// So many of a thousand may take longer.
fn bound(baseline: &Latencies, longer: u32) -> Option<Duration> {
    baseline.per_mille(1000 - u64::from(longer)).map(|quantile| quantile * 3 / 2)
}

impl Moving {
    fn note(&mut self, took: Duration) {
        self.writes += 1;
        if self.limit == self.least() {
            self.slowest.record(took);
        }
        self.accounts.iter_mut().for_each(|account| account.note(took));
    }

    /// Where nobody writes nobody waits.
    fn judge(&mut self, sent_per_second: u64) {
        let writes = std::mem::take(&mut self.writes);
        self.beats = 0;
        let is_overdrawn = writes > 0 && self.accounts.iter().any(Account::is_overdrawn);
        let is_slow = self.accounts.iter().any(|account| account.is_struck && account.is_overdrawn());
        self.accounts.iter_mut().for_each(|account| account.is_struck = false);
        if is_slow {
            self.is_beginning = false;
            self.limit = self.limit.min(sent_per_second.max(LEAST)) * 2 / 3;
        } else if is_overdrawn {
            // What it was is already too much.
        } else if self.is_beginning {
            self.limit *= 2;
        } else {
            self.limit += (self.fastest / 16).max(LEAST);
        }
        // What is not reached limits nothing: it would not be felt when it is lowered.
        let most = (self.fastest * 2).max(START);
        self.limit = self.limit.clamp(self.least(), most);
        self.learn();
    }

    fn least(&self) -> u64 {
        (self.fastest / 10).max(LEAST)
    }

    /// What is not shorter at the least rate is not long because of it.
    fn learn(&mut self) {
        let writes = 10 * BASELINE_WRITES;
        if self.slowest.total() < writes {
            return;
        }
        let slowest = std::mem::take(&mut self.slowest);
        for account in &mut self.accounts {
            if let Some(longer) = bound(&slowest, account.longer).filter(|longer| *longer > account.bound) {
                (account.bound, account.balance) = (longer, 0);
            }
        }
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
        let more = recovered(&mut restraint, less);
        assert_eq!(more, less + 4 * START / 16, "it only adds from then on");
    }

    /// What may be sent once the writers have waited as long as ever for so long that more may be.
    fn recovered(restraint: &mut Restraint, less: u64) -> u64 {
        let windows = (0..10).map(|_| window(restraint, IDLE, u64::MAX));
        windows.into_iter().find(|limit| *limit != less).unwrap()
    }

    /// Of so many writes each `every`th takes ten times as long, while more than this may be sent: how many did.
    fn slow_writes(restraint: &mut Restraint, writes: u64, every: u64, above: u64) -> u64 {
        let mut slow = 0;
        for n in 1..=writes {
            let is_slow = n % every == 0 && restraint.limit().unwrap().get() > above;
            restraint.note_write(if is_slow { 10 * IDLE } else { IDLE });
            slow += u64::from(is_slow);
            if n % WINDOW_WRITES == 0 {
                restraint.beat(restraint.limit().unwrap().get().min(1 << 30));
            }
        }
        slow
    }

    #[test]
    fn a_few_slow_writes_cost_no_speed_and_of_many_hardly_more_than_one_of_a_hundred_remain() {
        let mut restraint = measured();
        restraint.begin();
        slow_writes(&mut restraint, 10_000, 120, 0);
        assert_eq!(restraint.limit().unwrap().get(), 1 << 31);
        let mut restraint = measured();
        restraint.begin();
        let slow = slow_writes(&mut restraint, 10_000, 20, 1 << 28);
        assert!(slow < 150, "{slow} of 500 would be");
    }

    #[test]
    fn of_a_thousand_writes_hardly_more_than_one_remains_slow_once_a_baseline_has_so_many() {
        let measured = || {
            let mut restraint = Restraint::default();
            (0..10 * BASELINE_WRITES).for_each(|_| restraint.note_write(IDLE));
            restraint.begin();
            restraint
        };
        let mut restraint = measured();
        slow_writes(&mut restraint, 20_000, 1100, 0);
        assert_eq!(restraint.limit().unwrap().get(), 1 << 31);
        let slow = slow_writes(&mut measured(), 20_000, 100, 1 << 28);
        assert!(slow < 30, "{slow} of 200 would be");
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
    fn writes_that_are_no_shorter_at_the_least_rate_are_held_up_by_somebody_else() {
        let mut restraint = measured();
        restraint.begin();
        window(&mut restraint, IDLE, 1 << 30);
        let fastest = restraint.limit().unwrap().get();
        // As slow as that they are while much is sent; and a little slower than before whatever is sent.
        for _ in 0..100 {
            let is_much = restraint.limit().unwrap().get() > fastest / 2;
            window(&mut restraint, IDLE * if is_much { 8 } else { 2 }, 1 << 30);
        }
        let limits: Vec<u64> = (0..100)
            .map(|_| {
                let is_much = restraint.limit().unwrap().get() > fastest / 2;
                window(&mut restraint, IDLE * if is_much { 8 } else { 2 }, 1 << 30)
            })
            .collect();
        let (least, most) = (limits.iter().min().unwrap(), limits.iter().max().unwrap());
        assert!(*least > fastest / 10, "it learned what is not its own: {least}");
        assert!(*most < fastest * 2 / 3, "and yields still: {most}");
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
        (0..=SAVED_MAX).for_each(|_| restraint.note_write(10 * IDLE));
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
