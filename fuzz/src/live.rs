//! One machine of a live transfer, its honest driver, and a peer that says anything; or both machines of a member that serves and
//! gets another state.
//!
//! Bytes decide which of the two it is, and what happens next: a frame of any kind, a payload as it was announced or not,
//! a message of the group, an answer of the driver to what it was commanded, a connection that is lost, time. The
//! driver keeps to the contract: it carries out each command once, and says nothing of what it was not told to do.
//! Nothing that the peer says may panic; and after every step the invariants hold.

mod joiner;
mod provider;

use longhaul_core::message::Properties;
use longhaul_core::transfer::live::{Config, Policy};

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
    let mut config = Config::new(ME, Properties::FIFO.and(Properties::SEND_AGAIN), contract(choices));
    config.policy = choices.pick(&[Policy::Throttle, Policy::Wait, Policy::Fail, Policy::LatchNow]);
    config.log_bytes = choices.pick(&[1 << 20, 1000]);
    config.batch_bytes = choices.pick(&[1 << 20, 200]);
    config.small_bytes = choices.pick(&[64 << 10, 100, 0]);
    config.comparable = choices.yes();
    config
}
