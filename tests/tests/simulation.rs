//! Two sessions over a model network, seed by seed.
//!
//! `LONGHAUL_SEED=n` replays one seed; `LONGHAUL_SEEDS=n` runs that many from a random start.

use longhaul_core::reason::Reason;
use longhaul_tests::sim::{Faults, run, run_with};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn the_joiner_has_exactly_the_providers_state_or_a_typed_error() {
    if let Some(seed) = number("LONGHAUL_SEED") {
        println!("seed {seed}: {:?}", run(seed));
        return;
    }
    let first = match number("LONGHAUL_SEEDS") {
        Some(_) => getrandom_u64(),
        None => 0,
    };
    let count = number("LONGHAUL_SEEDS").unwrap_or(300);
    println!("{count} seeds from {first}");
    let (mut published, mut failed, mut retried) = (0, 0, 0);
    for seed in (0..count).map(|n| first.wrapping_add(n)) {
        let outcome = std::panic::catch_unwind(|| run(seed))
            .unwrap_or_else(|_| panic!("replay with LONGHAUL_SEED={seed}"));
        published += u64::from(outcome.published);
        failed += u64::from(!outcome.published);
        retried += u64::from(outcome.retries > 0);
    }
    println!("{published} published, {failed} failed as they should, {retried} sent items again");
    assert!(published > 0 && failed > 0 && retried > 0, "the seeds draw every kind of run");
}

fn getrandom_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

#[test]
fn a_seed_repeats_its_whole_history() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

#[test]
fn a_silent_peer_is_a_stall_on_both_sides() {
    for seed in 0..10 {
        let outcome = run_with(seed, Faults { silent_at: Some(10_000_000), ..Faults::default() });
        if !outcome.published {
            let timely = |reason| matches!(reason, None | Some(Reason::Stalled | Reason::Unreachable));
            assert!(timely(outcome.joiner) && timely(outcome.provider), "seed {seed}: {outcome:?}");
        }
    }
}

#[test]
fn a_read_error_reaches_the_joiner_with_its_reason() {
    let outcome = run_with(3, Faults { read_error_one_in: Some(1), ..Faults::default() });
    assert_eq!((outcome.provider, outcome.joiner), (Some(Reason::Source), Some(Reason::Source)));
}

#[test]
fn a_write_error_reaches_the_provider_with_its_reason() {
    let outcome = run_with(3, Faults { write_error_one_in: Some(1), ..Faults::default() });
    assert_eq!((outcome.provider, outcome.joiner), (Some(Reason::NoSpace), Some(Reason::NoSpace)));
}
