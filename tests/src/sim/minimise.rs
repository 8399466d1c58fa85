//! Shrinks a case that fails, as long as what is left still fails.

use longhaul_core::integrity::Integrity;
use longhaul_state::source::Shape;

use super::case::Case;
use super::faults::Rates;
use super::{Outcome, run};

/// The smallest case found that fails as `case` does, and how it fails; `None` if it does not fail.
#[must_use]
pub fn minimise(case: &Case) -> Option<(Case, String)> {
    shrink(case, |case| run(case, false))
}

/// Tries every smaller case until none of them fails.
fn shrink(case: &Case, run: impl Fn(&Case) -> Result<Outcome, String>) -> Option<(Case, String)> {
    let mut error = run(case).err()?;
    let mut best = case.clone();
    // Each smaller case is smaller: faults, items and members are finite.
    while let Some((smaller, why)) =
        smaller(&best).into_iter().find_map(|case| Some((case.clone(), run(&case).err()?)))
    {
        (best, error) = (smaller, why);
    }
    Some((best, error))
}

/// All cases that are one step smaller, those that save most first.
fn smaller(case: &Case) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut propose = |change: &dyn Fn(&mut Case)| {
        let mut other = case.clone();
        change(&mut other);
        if other != *case {
            cases.push(other);
        }
    };
    propose(&|case| case.faults.clear());
    propose(&|case| case.rates = Rates::default());
    for n in 0..case.faults.len() {
        propose(&|case| {
            case.faults.remove(n);
        });
    }
    propose(&|case| case.rates.flips = 0);
    propose(&|case| case.rates.read_errors = 0);
    propose(&|case| case.rates.write_errors = 0);
    propose(&|case| case.rates.sync_errors = 0);
    propose(&|case| case.rates.deaths = 0);
    if case.transfers.len() > 1 {
        for n in 0..case.transfers.len() {
            propose(&|case| {
                case.transfers.remove(n);
            });
        }
    }
    propose(&|case| {
        let transfers = case.transfers.iter().flat_map(|give| [give.provider, give.joiner]);
        let faults = case.faults.iter().map(|timed| timed.fault.highest_host());
        case.members = transfers.chain(faults).max().map_or(2, |host| host + 1).min(case.members);
    });
    propose(&|case| case.size.big = 0);
    propose(&|case| case.size.files /= 2);
    propose(&|case| case.size.files = case.size.files.saturating_sub(1));
    propose(&|case| case.size.links = 0);
    propose(&|case| case.size.shape = Shape::Directory);
    propose(&|case| case.lanes = 1);
    propose(&|case| case.reads = 1);
    propose(&|case| case.old = false);
    propose(&|case| case.checkpoint_every = 0);
    propose(&|case| case.journal_every = 0);
    propose(&|case| {
        // From none to some checksum would be no smaller.
        if case.integrity == Integrity::Blake3 {
            case.integrity = Integrity::Crc32c;
        }
    });
    cases
}

#[cfg(test)]
mod tests {
    use super::super::faults::Fault;
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let case = (0..10_000).map(Case::draw).find(|case| {
            case.faults.iter().any(|timed| matches!(timed.fault, Fault::Sleep { .. }))
                && case.faults.len() > 1
        });
        let fails_if = |case: &Case| {
            let sleeps = case.faults.iter().any(|timed| matches!(timed.fault, Fault::Sleep { .. }));
            if sleeps && case.size.files >= 2 {
                Err("it sleeps".to_owned())
            } else {
                run(&Case::default(), false)
            }
        };
        let mut case = case.expect("some seed draws it");
        case.size.files = 100;
        let (smallest, why) = shrink(&case, fails_if).expect("it fails");
        assert_eq!((smallest.size.files, smallest.faults.len(), smallest.lanes), (2, 1, 1), "{smallest}");
        assert_eq!(why, "it sleeps");
    }
}
