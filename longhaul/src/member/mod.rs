//! What members of a group are made of, whichever protocol brings them their state: connections, threads, clocks, work
//! in order, and bulks that yield to those who write.

pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod frames;
pub(crate) mod give;
pub(crate) mod giving;
mod latencies;
pub(crate) mod offer;
pub(crate) mod restraint;
pub(crate) mod threads;
pub(crate) mod work;
