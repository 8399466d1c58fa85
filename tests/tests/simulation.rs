//! Whole members in a simulated world, seed by seed and line by line.
//!
//! `LONGHAUL_SEED=n` replays one seed; `LONGHAUL_SEEDS=n` runs that many from a random start.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::Duration;

use longhaul_tests::sim::{Case, minimise, parse_scenarios, run, soak};

/// Seeds of an ordinary run.
const SEEDS: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn every_seed_publishes_exactly_the_providers_state_once_faults_stop() {
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
        let smallest = minimise(&Case::draw(seed)).map(|(case, _)| case.to_string());
        panic!("replay with LONGHAUL_SEED={seed}: {what}\n{}", smallest.unwrap_or_default());
    }
    println!("{soaked:?}");
    let drew_all = soaked.failures > 0 && soaked.retries > 0 && soaked.attempts > count;
    assert!(drew_all, "the seeds draw every kind of run: {soaked:?}");
}

#[test]
fn a_seed_repeats_its_whole_history() {
    for seed in 0..20 {
        let case = Case::draw(seed);
        assert_eq!(run(&case, false), run(&case, false), "seed {seed}");
    }
}

/// Runs each line of a scenario file; all that fail are named.
fn scenarios(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(file);
    let cases = parse_scenarios(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(!cases.is_empty());
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|(line, case)| Some(format!("{file}:{line}: {case}\n    {}", run(case, false).err()?)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn moves() {
    scenarios("moves.txt");
}

#[test]
fn sessions_that_go_on() {
    scenarios("sessions.txt");
}

#[test]
fn networks_that_fail() {
    scenarios("network.txt");
}

#[test]
fn processes_that_end_and_clocks_that_lie() {
    scenarios("processes.txt");
}

#[test]
fn disks_that_fail() {
    scenarios("disks.txt");
}
