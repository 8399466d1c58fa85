//! What the benches measure and what the instruction counter counts: the same paths, so that a time
//! and a number of instructions speak of the same work.

pub mod paths;
