//! What a process does before it dials anybody: it sees through what an earlier one was about to publish.

use longhaul_state::landing::{Landing, LandingOptions};

use super::Random;
use super::disk::Disk;
use super::executor::{Errors, Executor, Locks};
use super::faults::Rates;

/// The host that it happens on, and what may go wrong there.
pub(crate) struct Ground<'a> {
    pub(crate) disk: &'a mut Disk,
    pub(crate) locks: &'a mut Locks,
    pub(crate) random: &'a mut Random,
    pub(crate) rates: Rates,
    /// The process may be ended between any two steps.
    pub(crate) mortal: bool,
    pub(crate) holder: u64,
    pub(crate) is_older: bool,
    pub(crate) replace: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovered {
    /// There was nothing to see through.
    Nothing,
    /// What was ready is published.
    Published,
    /// It failed; the same may be tried again.
    Failed,
    /// The process was ended, or the power went.
    Ended,
}

/// Sees through what was about to be published at `destination`.
pub(crate) fn recover(destination: &[u8], ground: &mut Ground<'_>) -> Recovered {
    let options = LandingOptions { replace: ground.replace, resume: true, ..LandingOptions::default() };
    let mut landing = Landing::new(options);
    let mut executor = Executor::new(destination, ground.holder);
    executor.journal.is_older = ground.is_older;
    landing.recover();
    if !carry_out(&mut landing, &mut executor, ground) {
        return Recovered::Ended;
    }
    let failed = landing.outcome().is_err();
    landing.abort();
    let ended = !carry_out(&mut landing, &mut executor, ground);
    executor.close(ground.locks);
    match landing.recovered() {
        _ if ended => Recovered::Ended,
        _ if failed => Recovered::Failed,
        Some(_) => Recovered::Published,
        None => Recovered::Nothing,
    }
}

/// All that the machine asks for; false if the process ended on the way.
fn carry_out(landing: &mut Landing, executor: &mut Executor, ground: &mut Ground<'_>) -> bool {
    while let Some((id, op)) = landing.poll_op() {
        let op = op.clone();
        if ground.mortal && ground.random.one_in(6) {
            ground.locks.clear();
            if ground.random.one_in(2) {
                ground.disk.lose_power(ground.random);
            }
            return false;
        }
        let errors = Errors {
            write: ground.random.one_in(ground.rates.write_errors),
            sync: ground.random.one_in(ground.rates.sync_errors),
        };
        let result = executor.execute(&op, &[], ground.disk, ground.locks, errors);
        landing.done(id, result);
    }
    true
}
