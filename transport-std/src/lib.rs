//! longhaul over blocking sockets and positional file IO: builds everywhere.
//!
//! ```text
//!  lane's reader thread ──frames, payloads──▶ ┌────────┐ ──reads──────▶ a lane's source thread
//!  lane's writer thread ◀──bursts──────────── │ driver │ ──batches────▶ walk thread
//!  (one of each a lane)                       │ owns a │ ──writes─────▶ a lane's disk thread
//!                                             │Session │ ──open, sync─▶ sink thread
//!                                             └────────┘ ◀─reports──── all of them
//! ```
//!
//! The driver thread owns the session machine and never blocks but on its own queue. Payloads pass
//! from the reader that received them to the thread that writes them, or from the thread that read
//! them to the writer, in buffers of the process's pool, without a copy.
#![forbid(unsafe_code)]

mod bytes;
mod channel;
mod driver;
mod lane;
mod listener;
mod outcome;
mod stream;
mod threads;

use std::net::ToSocketAddrs;
use std::sync::Arc;

use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::wire::Verdict;
use longhaul_state::pool::Pool;
use longhaul_state::transfer::{Control, Options, Stage, Summary, TransferError};
use longhaul_state::{Sink, Source};

use driver::{Lanes, Part, Setup, queue};
pub use listener::{Caller, Listener};
pub use outcome::outcome;
use stream::Connection;

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
    dial(address, Part::Join(sink), options, pool, control)
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
    let addresses = stream::resolve(address).map_err(|error| unresolved(Side::Provider, error))?;
    let mut summary = dial(&addresses[..], Part::Provide(source), options, pool, control)?;
    // The joiner was lost after it had everything: it knows what became of it.
    if !summary.confirmed && !control.is_cancelled() {
        match outcome(&addresses[..], options) {
            Ok(verdict) => summary.confirmed = verdict == Verdict::Installed,
            Err(error) => tracing::warn!(%error, "the joiner's verdict could not be asked for"),
        }
    }
    Ok(summary)
}

fn unreachable(side: Side, what: &str, error: std::io::Error) -> TransferError {
    let failed =
        TransferError::new(Reason::Unreachable, side.peer(), Phase::Connect, format!("{what}: {error}"));
    TransferError { cause: Some(Box::new(error)), ..failed }
}

fn unresolved(side: Side, error: std::io::Error) -> TransferError {
    unreachable(side, "the name can't be resolved", error)
}

fn dial(
    address: impl ToSocketAddrs,
    part: Part,
    options: &Options,
    pool: &Pool,
    control: &Arc<Control>,
) -> Result<Summary, TransferError> {
    let side = part.side();
    control.enter(Stage::Connecting);
    let addresses = stream::resolve(address).map_err(|error| unresolved(side, error))?;
    let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let connected = stream::dial(&addresses, options.handshake_timeout)
        .and_then(|stream| Ok((stream.peer_addr()?, Connection::tcp(stream)?)));
    let (peer, connection) =
        connected.map_err(|error| unreachable(side, &format!("{shown} can't be reached"), error))?;
    if control.is_cancelled() {
        return Err(TransferError::new(Reason::Cancelled, side, Phase::Connect, "cancelled"));
    }
    let (queue, messages) = queue();
    let setup = Setup { options, pool, control, lanes: Lanes::Dial(peer), init: None, queue, messages };
    driver::run(part, connection, setup)
}
