//! longhaul over blocking sockets and positional file IO: builds everywhere.
//!
//! ```text
//!  lane's reader thread ──frames, payloads──▶ ┌────────┐ ──reads──▶ a lane's source thread
//!  lane's writer thread ◀──bursts──────────── │ driver │ ──writes─▶ a lane's disk thread
//!  (one of each a lane, where needed)         └────────┘ ◀─reports─ all of them
//! ```
//!
//! On Linux large files are written past the page cache, and read past it if they are not in it. A thread for each thing
//! that waits: see [`Engine`] for what they do, and `longhaul_transport` for who commands them.
#![forbid(unsafe_code)]

mod disk;
mod lane;
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod source;
mod splice;

use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use longhaul_core::id::Lane;
use longhaul_state::pool::Pool;
use longhaul_state::transfer::{Control, Options, Summary, TransferError};
use longhaul_state::{Sink, Source};
use longhaul_transport::{
    DirectFiles, Engine, Helpers, Listener, ReadOp, Reader, Receiver, Receiving, Sending, WriteOp,
};

/// Moves bytes by threads that block.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blocking;

impl Engine for Blocking {
    fn start_receiving(&self, lane: Receiving) {
        lane::receive(lane);
    }

    fn start_sending(&self, lane: Sending) {
        lane::send(lane);
    }

    fn start_reads(&self, lane: Lane, ops: Receiver<ReadOp>, helpers: &Helpers) {
        let reader = Reader::new(lane, helpers);
        let name = format!("longhaul-source-{}", lane.0);
        #[cfg(all(target_os = "linux", not(longhaul_portable)))]
        {
            let own = helpers.clone();
            helpers.threads().spawn(name, move || source::Files::new(reader, own).run(&ops));
        }
        #[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
        helpers.threads().spawn(name, move || reader.run(&ops));
    }

    fn start_writes(&self, lane: Lane, ops: Receiver<WriteOp>, helpers: &Helpers) {
        let files = DirectFiles::new(helpers.data_path());
        let pipes = helpers.pipes().unwrap_or_default();
        helpers.threads().spawn(format!("longhaul-disk-{}", lane.0), move || disk::run(&ops, files, &pipes));
    }
}

/// Listens at `address`; port 0 takes any free one.
///
/// # Errors
/// If the address can't be had.
pub fn listen(address: impl ToSocketAddrs) -> io::Result<Listener> {
    Listener::bind(address, Arc::new(Blocking))
}

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
    longhaul_transport::join(address, sink, options, pool, control, &engine())
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
    longhaul_transport::provide(address, source, options, pool, control, &engine())
}

fn engine() -> Arc<dyn Engine> {
    Arc::new(Blocking)
}
