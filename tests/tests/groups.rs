//! Groups whose members get their state while everybody writes, seed by seed and line by line.
//!
//! `LONGHAUL_SEED=n` replays one seed; `LONGHAUL_SEEDS=n` runs that many from a random start.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::Duration;

use longhaul_tests::group::{Case, parse_scenarios, run, soak};

/// Seeds of an ordinary run.
const SEEDS: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

// Catalogue: F5, F6, F70
#[test]
fn every_seed_ends_with_everybody_serving_the_same_state() {
    if let Some(seed) = number("LONGHAUL_SEED") {
        println!("{}\n{:?}", Case::draw(seed), run(&Case::draw(seed), false).unwrap());
        return;
    }
    let (first, count) = match number("LONGHAUL_SEEDS") {
        Some(count) => (RandomState::new().build_hasher().finish(), count),
        None => (0, SEEDS),
    };
    println!("{count} seeds from {first}");
    let soaked = soak(first, count, Duration::MAX, 1);
    if let Some((seed, what)) = soaked.broken {
        panic!("replay with LONGHAUL_SEED={seed}: {what}");
    }
    println!("{soaked:?}");
    let sum = soaked.sum;
    // Outcomes that are asked for are rare: lines of the scenarios bring them about.
    let drew_all = [sum.aborted, sum.released, sum.stuck, sum.pending, sum.held];
    assert!(drew_all.iter().all(|what| *what > 0), "the seeds draw every kind of run: {sum:?}");
}

#[test]
fn a_seed_repeats_its_whole_history() {
    for seed in 0..20 {
        let case = Case::draw(seed);
        assert_eq!(run(&case, false), run(&case, false), "seed {seed}");
    }
}

#[test]
fn groups_line_by_line() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/groups.txt");
    let cases = parse_scenarios(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(!cases.is_empty());
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|(line, case)| Some(format!("{line}: {}\n    {}", case.name(), run(case, false).err()?)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
