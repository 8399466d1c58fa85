//! What proves longhaul, apart from each crate's own tests.
//!
//! | module | proves |
//! | --- | --- |
//! | [`sim`] | whole members in a simulated world keep their promises, seed by seed and case by case |
//! | [`catalogue`] | which faults and bad input are proved to be withstood, and by which tests |
//! | [`broken`] | that the directed runs find what is broken on purpose |
//! | [`mod@conformance`] | a transport moves every kind of state, and fails as it should |
//! | [`kills`] | the command keeps its promises, killed or failed at any call of the system |
//! | [`hostile`] | a transport withstands peers that lie, cut off, and speak something else |
#![forbid(unsafe_code)]

pub mod broken;
pub mod catalogue;
pub mod conformance;
pub mod hostile;
pub mod kills;
pub mod sim;
