//! The real binary, over loopback.
//!
//! | module | proves |
//! | --- | --- |
//! | `moves` | what a state holds arrives, whoever dials |
//! | `refusals` | what can't be is refused, with its exit code, and nothing is lost |
//! | `peers` | peers that are absent, strangers, silent, busy, gone |
//! | `killed` | processes that are killed, and the same command again |
//! | `talk` | what is said where: JSON, pipes, quiet, help |
//! | `transports` | what moves the bytes, and what when that is not to be had |
//! | `verifying` | roots, receipts, and where two states differ |
#![cfg(unix)]

mod killed;
mod moves;
mod peers;
mod refusals;
mod rig;
mod talk;
#[cfg(target_os = "linux")]
mod transports;
mod tree;
mod verifying;
