//! Landing: staged, durable, published in one step.
//!
//! ```text
//! DirectorySink ──put, open, finish, sync, publish──▶ Landing ──poll_op──▶ FileOp ──▶ Executor
//!                                                        ◀───────done(id, reply)────────┘
//!
//! parent/                     .DEST.longhaul.lock       held while a process is at it
//! │                           .DEST.longhaul.journal    what of staging is durable: see [`journal`]
//! ├── DEST                    the published state, or the old one until one step replaces it
//! └── .DEST.longhaul/         staging, 0700
//!     ├── state               what becomes DEST: a directory, or a file
//!     ├── kept.N              what run N staged and a later run has not moved to its place yet
//!     └── links/              the first file of each set of hard links, by its item's number
//! ```
//!
//! The order in which things become durable is written once, in [`Landing`], which does no IO; an
//! [`Executor`] carries its operations out and knows no order of its own.

mod attributes;
mod dirty;
mod executor;
pub mod journal;
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod linux;
mod machine;
mod op;
mod portable;
mod reading;
mod site;
mod site_journal;
mod staging;
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod writeback;

#[cfg(test)]
mod tests;

pub use executor::{Executor, run};
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
pub use linux::LinuxExecutor;
pub use machine::{Landing, LandingOptions, LandingState, SMALL_STATE};
pub use op::{Destination, FileOp, Leftover, OpError, OpId, OpReply, Probed, Rename, RootAttributes, Space};

pub use portable::PortableExecutor;
pub use reading::Rotten;
pub(crate) use reading::read_back;
pub use site::Site;
pub use staging::Staging;

/// The executor of this platform.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
pub type NativeExecutor = LinuxExecutor;
/// The executor of this platform.
#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
pub type NativeExecutor = PortableExecutor;
