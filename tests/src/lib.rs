//! What proves longhaul, apart from each crate's own tests.
//!
//! | module | proves |
//! | --- | --- |
//! | [`sim`] | whole members in a simulated world keep their promises, seed by seed and case by case |
//! | [`group`] | and groups of them, whose members join while everybody writes |
//! | [`catalogue`] | which faults and bad input are proved to be withstood, and by which tests |
//! | [`broken`] | that the directed runs find what is broken on purpose |
//! | [`mod@conformance`] | a transport moves every kind of state, and fails as it should |
//! | [`restarts`] | either side is killed and started again, and little is sent again |
//! | [`proxy`] | whatever a wire does, the command ends soon, and in order |
//! | [`strangers`] | those who mean no good keep nobody else out |
//! | [`kills`] | the command keeps its promises, killed or failed at any call of the system |
//! | `crash` | and where the power goes at any write of the file system below it (Linux) |
//! | `disk` | and where that file system's disk fails; the rig's own disk (Linux) |
//! | [`carrier`] | by what it moves bytes, some of which it never sees |
//! | [`transport`] | which transport the command of a rig moves by |
//! | [`hostile`] | a transport withstands peers that lie, cut off, and speak something else |
#![forbid(unsafe_code)]

pub mod between;
pub mod broken;
pub mod carrier;
pub mod catalogue;
pub mod command;
pub mod conformance;
#[cfg(target_os = "linux")]
pub mod crash;
#[cfg(target_os = "linux")]
pub mod disk;
mod drawn;
pub mod group;
pub mod hostile;
pub mod kills;
#[cfg(target_os = "linux")]
mod link;
pub mod listening;
pub mod proxy;
pub mod restarts;
pub mod scenario;
mod seeds;
pub mod sim;
pub mod strangers;
pub mod transport;
