//! A seeded simulation of groups whose members get their state by a live transfer or by a fetch: the real machines of both
//! sides; a model channel, model connections, clocks that disagree, and a small model application.
//!
//! ```text
//! groups (seeds), scenario lines ──▶ Case ──▶ World ──▶ Outcome, or a panic that says what broke
//!
//! World   agenda (time)   channel (messages of the group)   wires (connections)   faults   judge
//!  └ Host   clock
//!     └ Process   Provider, Joiner: the real machines, of one protocol in a case
//!        └ Store   map, order, pending prepares, digest; a log, captures, a hidden copy
//! ```
//!
//! Members write all the while, in one message or in two phases, and are killed, put to sleep and cut off; whoever
//! starts joins, and in half of the live transfers some of those that have a state join again. Then faults stop, later the writers do, and everybody must come to the same state. What must
//! hold throughout stands in `judge`. One seed, one history: half of the seeds are of a live transfer, the others of one
//! of the fetches, over a channel that is strict or late and forgetful.

mod agenda;
mod case;
mod channel;
mod clients;
mod clock;
mod faults;
mod fetching;
mod judge;
mod machines;
mod process;
mod scenario;
mod serving;
mod soak;
mod store;
mod taking;
mod wires;
mod world;

use std::time::Duration;

pub use case::Case;
pub use scenario::{parse as parse_scenario, parse_all as parse_scenarios};
pub use soak::{Soaked, soak};

use crate::seeds::caught;
use world::World;

/// How a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Members that came to serve by a transfer.
    pub served: u64,
    /// Of them, members that had a state already; and times that one did not get another.
    pub rejoined: u64,
    /// See there.
    pub stayed: u64,
    /// Epochs whose outcome was Commit, and Abort.
    pub committed: u64,
    /// See there.
    pub aborted: u64,
    /// Joiners that were refused or given up at their provider.
    pub released: u64,
    /// Times that an outcome was asked for.
    pub doubts: u64,
    /// Times that a log did not converge.
    pub stuck: u64,
    /// Writes, and transactions in two phases.
    pub writes: u64,
    /// See there.
    pub transactions: u64,
    /// Pending prepares that travelled.
    pub pending: u64,
    /// Messages and requests that a latch held.
    pub held: u64,
    /// Events.
    pub steps: u64,
    /// The world's time that it took.
    pub simulated: Duration,
    /// A hash over everything that happened, in order.
    pub trace: u64,
}

/// Runs a case; `aloud` prints what happens as it happens.
///
/// # Errors
/// What broke, if something did.
pub fn run(case: &Case, aloud: bool) -> Result<Outcome, String> {
    caught(|| World::new(case, aloud).run())
}
