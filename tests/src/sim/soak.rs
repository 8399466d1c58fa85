//! Runs seeds for a time, on some cores.

use std::time::Duration;

use super::{Case, Outcome, run};
use crate::seeds::sweep;

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
    /// Items that an earlier process had left, in part or whole.
    pub kept: u64,
    /// States that were seen through for a process that was gone.
    pub recovered: u64,
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
    let mut soaked = Soaked::default();
    let run = |seed| run(&Case::draw(seed), false);
    soaked.elapsed = sweep(from, most, time, cores, run, |seed, result| soaked.add(seed, result));
    soaked
}

impl Soaked {
    fn add(&mut self, seed: u64, result: Result<Outcome, String>) {
        self.seeds += 1;
        match result {
            Ok(outcome) => {
                self.retries += outcome.retries;
                self.resumed += outcome.resumed;
                self.lanes_lost += outcome.lanes_lost;
                self.kept += outcome.kept;
                self.recovered += outcome.recovered;
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
