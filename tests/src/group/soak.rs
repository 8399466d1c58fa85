//! Runs seeds for a time, on some cores.

use std::time::Duration;

use super::{Case, Outcome, run};
use crate::seeds::sweep;

/// What a soak did: the sums over all its seeds.
#[derive(Clone, Debug, Default)]
pub struct Soaked {
    /// Seeds that were run.
    pub seeds: u64,
    /// What happened in them.
    pub sum: Outcome,
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
                let sum = &mut self.sum;
                sum.served += outcome.served;
                sum.committed += outcome.committed;
                sum.aborted += outcome.aborted;
                sum.released += outcome.released;
                sum.doubts += outcome.doubts;
                sum.stuck += outcome.stuck;
                sum.writes += outcome.writes;
                sum.transactions += outcome.transactions;
                sum.pending += outcome.pending;
                sum.held += outcome.held;
                sum.steps += outcome.steps;
                sum.simulated += outcome.simulated;
            }
            Err(what) if self.broken.as_ref().is_none_or(|(first, _)| seed < *first) => {
                self.broken = Some((seed, what));
            }
            Err(_) => {}
        }
    }
}
