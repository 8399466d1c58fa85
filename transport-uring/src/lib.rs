//! longhaul over `io_uring`: registered buffers, several operations in flight each way, `O_DIRECT`. Linux
//! alone; elsewhere, and in portable builds, there is nothing in it.
//!
//! ```text
//!  driver ──bursts──▶ ┌──────────────────────────────┐ ── send ──────────▶ socket
//!         ◀─frames─── │ ring thread: one ring,       │ ◀─ receive ──────── socket
//!         ──reads───▶ │ tasks of every lane,         │ ◀─ read ─────────── file
//!         ──writes──▶ │ the pool's buffers registered│ ── write, O_DIRECT ▶ file
//!                     │                              │ ◀─ splice ────────▶ pipe, where nobody is to see
//!                     └──────────────────────────────┘
//!                            │ ▲
//!                        opens, user code: a lane's source thread
//! ```
//!
//! Buffers are registered when as many bytes have moved as they hold, or many more are announced: for less it would only
//! cost.
//!
//! [`Ring`] is an engine: drivers, frames and the door are those of `longhaul_transport`. Nothing that may
//! block runs on the ring's thread; a source that is no file is read as the blocking transport reads it.
#![cfg(all(target_os = "linux", not(longhaul_portable)))]

mod amiss;
mod huge;
mod lane;
mod local;
mod op;
mod probe;
mod reads;
mod registered;
mod ring;
mod splice;
#[cfg(test)]
mod trials;
mod writes;

pub use probe::{Features, FileSystem, Unavailable, features, file_system, locked_memory};
pub use ring::Ring;
pub use splice::splices;
