//! One session.

/// Runs of one item that may be open or finished ahead of its first unfinished one.
pub const RUNS_AHEAD: usize = 24;
