//! A seeded simulation of whole members: real core, real landing machine; model network, model
//! disks, model clocks.
//!
//! ```text
//! soak, minimise, scenario lines ──▶ Case ──▶ World ──▶ Outcome, or a panic that says what broke
//!
//! World   agenda (time)   network (connections, partitions)   faults   judge
//!  └ Host   disk (cache, and what a power cut leaves)   clock
//!     └ Member   a process: plans, sessions
//!        └ Session   the real machine, its lanes; Provide | Join ─▶ Lander: the real landing machine
//! ```
//!
//! A seed draws the members, their states, the wires and the faults, of which some seeds have none.
//! First everything goes wrong that was drawn; then faults stop, whoever runs a member runs it again,
//! and everything must succeed. What must hold throughout stands in `judge`. Contents are never held:
//! a piece of a file is a key and a range, so that files of many megabytes cost what their frames
//! cost. One seed, one history: two runs have the same trace.

mod agenda;
mod bytes;
mod case;
mod clock;
mod content;
mod disk;
mod executor;
mod extents;
mod faults;
mod inbox;
mod join;
mod judge;
mod keeping;
mod lander;
mod member;
mod minimise;
mod network;
mod provide;
mod random;
mod recovery;
mod scenario;
mod session;
mod soak;
mod state;
mod trace;
mod world;

use std::time::Duration;

pub use case::Case;
pub use minimise::minimise;
pub use random::Random;
pub use scenario::{parse as parse_scenario, parse_all as parse_scenarios};
pub use soak::{Soaked, soak};

pub(crate) use random::mix;
pub(crate) use trace::Trace;

use crate::seeds::caught;
use world::World;

const STALL: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How often a plan was begun, all members together.
    pub attempts: u64,
    /// Items sent again.
    pub retries: u64,
    /// Connections replaced, each side counted.
    pub resumed: u64,
    /// Data lanes that died alone, each side counted.
    pub lanes_lost: u64,
    /// Items that an earlier process had left, in part or whole.
    pub kept: u64,
    /// States that were seen through for a process that was gone.
    pub recovered: u64,
    /// Sessions that ended without knowing the joiner's verdict.
    pub unconfirmed: u64,
    /// Sessions that failed, each side counted.
    pub failures: u64,
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
