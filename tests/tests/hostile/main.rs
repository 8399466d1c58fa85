//! Peers that lie, cut off, and speak something else: a typed error, nothing published, nothing lost.

mod between;
mod joiner;
mod provider;

use std::time::Duration;

use longhaul_state::sink::{DirectorySink, DirectorySinkOptions};
use longhaul_tests::conformance::Party;
use longhaul_tests::conformance::tree::Scratch;

fn party(member: u8) -> Party {
    let mut party = Party::new(member);
    party.options.stall_timeout = Duration::from_secs(2);
    party.options.handshake_timeout = Duration::from_secs(2);
    party
}

fn landing(scratch: &Scratch) -> Box<DirectorySink> {
    Box::new(DirectorySink::new(scratch.destination(), DirectorySinkOptions::default()).unwrap())
}
