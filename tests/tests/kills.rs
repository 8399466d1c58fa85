//! The real command, killed at drawn calls of the system. Where strace is; skipped with a word elsewhere.

use std::time::Duration;

use longhaul_core::reason::Side;
use longhaul_tests::carrier::Carrier;
use longhaul_tests::command::longhaul;
use longhaul_tests::kills::{Plan, is_there, kills};

/// So many cases of each side by each carrier: the rig's own command tries more, and all.
const CASES: usize = 2;
/// Enough for these by far.
const TIME: Duration = Duration::from_mins(5);

/// Some of it by each carrier, where that is possible.
fn try_some(side: Side) {
    if !is_there() {
        println!("skipped: there is no strace");
        return;
    }
    let mut ended = 0;
    for &carrier in Carrier::ALL {
        let plan = Plan { side: Some(side), carrier: Some(carrier), seed: 0, time: TIME, cases: CASES };
        let tried = kills(&longhaul(), plan).unwrap_or_else(|wrong| panic!("{wrong}"));
        println!("{carrier}: {tried:?}");
        assert_eq!(tried.cases, CASES);
        ended += tried.ended;
    }
    assert!(ended > 0, "no command was killed or failed");
}

// Catalogue: F48
#[test]
fn a_joiner_that_is_killed_at_any_call_goes_on_from_there() {
    try_some(Side::Joiner);
}

// Catalogue: F49
#[test]
fn a_provider_that_is_killed_at_any_call_leaves_the_old_state_or_the_new() {
    try_some(Side::Provider);
}
