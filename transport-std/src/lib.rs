//! longhaul over blocking sockets and positional file IO: builds everywhere.
//!
//! ```text
//!  lane's reader thread ──frames, payloads──▶ ┌────────┐ ──reads──────▶ a lane's source thread
//!  lane's writer thread ◀──bursts──────────── │ driver │ ──items──────▶ walk thread
//!  (one of each a lane)                       │ owns a │ ──writes─────▶ a lane's disk thread
//!                                             │Session │ ──open, sync─▶ sink thread
//!                                             └────────┘ ◀─reports──── all of them
//! ```
//!
//! The driver thread owns the session machine and never blocks but on its own queue.
#![forbid(unsafe_code)]

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use longhaul_state::pool::Pool;
use longhaul_state::transfer::{Control, Options, Summary, TransferError};
use longhaul_state::{Sink, Source};

/// Dials a provider and receives its state.
///
/// # Errors
/// If the transfer failed; nothing was published then.
pub fn join(
    address: impl ToSocketAddrs,
    sink: Box<dyn Sink>,
    options: &Options,
    pool: &Pool,
    control: &Arc<Control>,
) -> Result<Summary, TransferError> {
    unimplemented!()
}

/// Dials a joiner and gives it the state.
///
/// # Errors
/// If the transfer failed, or the joiner could not publish it.
pub fn provide(
    address: impl ToSocketAddrs,
    source: Arc<dyn Source>,
    options: &Options,
    pool: &Pool,
    control: &Arc<Control>,
) -> Result<Summary, TransferError> {
    unimplemented!()
}

/// Listens for peers.
pub struct Listener {}

impl Listener {
    /// Listens at `address`; port 0 takes any free one.
    ///
    /// # Errors
    /// If the address can't be had.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        unimplemented!()
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Waits for the next peer that opens a session; `None` once stopped. Connections that are lanes of
    /// running sessions go there by themselves, and those that don't speak the protocol are told so.
    ///
    /// # Errors
    /// If the listening socket failed for good.
    pub fn accept(&self) -> io::Result<Option<Caller>> {
        unimplemented!()
    }

    /// Ends the listening, from any thread: no new sessions; running ones go on.
    pub fn stop(&self) {
        unimplemented!()
    }
}

/// A peer that wants a session and has not been admitted.
pub struct Caller {}

impl Caller {
    /// Where it calls from.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Turns it away for now.
    pub fn busy(self, retry_after: Duration) {
        unimplemented!()
    }

    /// Admits it and gives it the state. Blocks until the session is over.
    ///
    /// # Errors
    /// If the transfer failed, or the joiner could not publish it.
    pub fn provide(
        self,
        source: Arc<dyn Source>,
        options: &Options,
        pool: &Pool,
        control: &Arc<Control>,
    ) -> Result<Summary, TransferError> {
        unimplemented!()
    }

    /// Admits it and receives its state. Blocks until the session is over.
    ///
    /// # Errors
    /// If the transfer failed; nothing was published then.
    pub fn join(
        self,
        sink: Box<dyn Sink>,
        options: &Options,
        pool: &Pool,
        control: &Arc<Control>,
    ) -> Result<Summary, TransferError> {
        unimplemented!()
    }
}
