//! One machine of the protocols that fetch a state without a cut-over, its honest driver, and peers that say anything.
//!
//! Bytes decide which protocol, which of the two machines, and what happens next, as in [`crate::live`].

mod joiner;
mod provider;

use longhaul_core::transfer::Capture;
use longhaul_core::transfer::fetch::{Config, Protocol};

use crate::bytes::Choices;
use crate::group::{ME, contract};

/// Which machine, then what happens to it.
///
/// # Panics
/// If the machine or its driver finds a property broken.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    if choices.yes() { provider::run(&mut choices) } else { joiner::run(&mut choices) }
}

fn config(choices: &mut Choices<'_>) -> Config {
    let contract = contract(choices);
    let protocols = [Protocol::Copy, Protocol::Streaming, Protocol::Flush, Protocol::Prefetch];
    let mut protocol = choices.pick(&protocols);
    if contract.capture() == Capture::Fuzzy {
        protocol = Protocol::Prefetch;
    }
    let needs = protocol.needs();
    let mut config = Config::new(ME, protocol, needs, contract);
    config.log_bytes = choices.pick(&[1 << 20, 100]);
    config.batch_bytes = choices.pick(&[1 << 20, 30]);
    config.queue_bytes = choices.pick(&[1 << 20, 40]);
    config.comparable = choices.yes();
    config.serves = protocol == Protocol::Copy && choices.yes();
    config
}
