//! The command, as people run it: real sockets, real processes, real disks, and processes that are killed.

mod bounds;
mod gaps;
mod joins;
mod kills;
mod rig;
mod session;
