//! Runs seeds for a time, on some cores.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Case, Outcome, run};

/// One seed in so many runs twice: its two traces must be equal.
const TWICE: u64 = 16;

/// What a soak did.
#[derive(Clone, Debug, Default)]
pub struct Soaked {
    /// Seeds that were run.
    pub seeds: u64,
    /// Items sent again.
    pub retries: u64,
    /// Connections replaced.
    pub resumed: u64,
    /// Data lanes that died alone.
    pub lanes_lost: u64,
    /// Sessions that ended without knowing the joiner's verdict.
    pub unconfirmed: u64,
    /// Plans begun.
    pub attempts: u64,
    /// Sessions that failed.
    pub failures: u64,
    /// Events.
    pub steps: u64,
    /// The worlds' time.
    pub simulated: Duration,
    /// How long it took.
    pub elapsed: Duration,
    /// The first seed that broke something, and what.
    pub broken: Option<(u64, String)>,
}

/// Runs the seeds from `from` on, until `time` is over, `most` seeds have run, or one broke something.
#[must_use]
pub fn soak(from: u64, most: u64, time: Duration, cores: usize) -> Soaked {
    let start = Instant::now();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let soaked = Mutex::new(Soaked::default());
    thread::scope(|scope| {
        for _ in 0..cores.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && start.elapsed() < time {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= most {
                        break;
                    }
                    let seed = from.wrapping_add(n);
                    let result = run_seed(seed);
                    let mut soaked = soaked.lock().unwrap_or_else(PoisonError::into_inner);
                    soaked.add(seed, result);
                    if soaked.broken.is_some() {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut soaked = soaked.into_inner().unwrap_or_else(PoisonError::into_inner);
    soaked.elapsed = start.elapsed();
    soaked
}

fn run_seed(seed: u64) -> Result<Outcome, String> {
    let case = Case::draw(seed);
    let outcome = run(&case, false)?;
    if seed.is_multiple_of(TWICE) && run(&case, false)? != outcome {
        return Err("two runs of it went differently".into());
    }
    Ok(outcome)
}

impl Soaked {
    fn add(&mut self, seed: u64, result: Result<Outcome, String>) {
        self.seeds += 1;
        match result {
            Ok(outcome) => {
                self.retries += outcome.retries;
                self.resumed += outcome.resumed;
                self.lanes_lost += outcome.lanes_lost;
                self.unconfirmed += outcome.unconfirmed;
                self.attempts += outcome.attempts;
                self.failures += outcome.failures;
                self.steps += outcome.steps;
                self.simulated += outcome.simulated;
            }
            Err(what) if self.broken.as_ref().is_none_or(|(first, _)| seed < *first) => {
                self.broken = Some((seed, what));
            }
            Err(_) => {}
        }
    }

    /// Seeds a second, all cores together.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.seeds as f64 / self.elapsed.as_secs_f64()
    }
}
