//! The real command, killed at drawn calls of the system. Where strace is; skipped with a word elsewhere.

use std::time::Duration;

use longhaul_core::reason::Side;
use longhaul_tests::command::longhaul;
use longhaul_tests::kills::{Plan, Tried, is_there, kills};
use longhaul_tests::transport::Transport;

/// So many cases of each side by each transport: the rig's own command tries more, and all.
const CASES: usize = 4;
/// Enough for these by far.
const TIME: Duration = Duration::from_mins(5);

/// What came of them; nothing where that is not possible.
fn try_some(side: Side, transport: Transport) -> Option<Tried> {
    if !is_there() {
        println!("skipped: there is no strace");
        return None;
    }
    let plan = Plan { side: Some(side), transport: Some(transport), seed: 0, time: TIME, cases: CASES };
    let tried = kills(&longhaul(), plan).unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{tried:?}");
    Some(tried)
}

// Catalogue: F48
#[test]
fn a_joiner_that_is_killed_at_any_call_goes_on_from_there() {
    for transport in Transport::ALL {
        if let Some(tried) = try_some(Side::Joiner, transport) {
            assert!(tried.cases == CASES && tried.ended > 0, "{transport}: {tried:?}");
        }
    }
}

// Catalogue: F49
#[test]
fn a_provider_that_is_killed_at_any_call_leaves_the_old_state_or_the_new() {
    for transport in Transport::ALL {
        if let Some(tried) = try_some(Side::Provider, transport) {
            assert!(tried.cases == CASES && tried.ended > 0, "{transport}: {tried:?}");
        }
    }
}
