//! What longhaul's transports share: a session's driver, how bytes are cut into frames, the door.
//!
//! ```text
//!              ┌────────┐ ──bursts──────▶ ┐
//!  listener ──▶│ driver │ ◀─frames─────── │ engine: a lane's connection
//!  dial ──────▶│ owns a │ ──reads───────▶ │         a lane's contents    (provider)
//!              │Session │ ──writes──────▶ ┘         a lane's chunks      (joiner)
//!              │        │ ──batches─────▶ walk thread (provider)
//!              └────────┘ ──open, sync──▶ sink thread (joiner)
//! ```
//!
//! The driver thread owns the session machine and never blocks but on its own queue. What touches
//! sockets and files is an [`Engine`]: a transport is one of those. Payloads pass from what received
//! them to what writes them, or from what read them to what sends them, in buffers of the process's
//! pool, without a copy.
#![deny(unsafe_code)]

pub mod allocator;
mod bytes;
mod channel;
mod chunk;
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod cold;
mod direct;
mod driver;
mod engine;
mod lane;
mod listener;
mod outcome;
mod pipe;
mod priority;
mod stream;
mod threads;

use std::net::ToSocketAddrs;
use std::sync::Arc;

use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::wire::Verdict;
use longhaul_state::pool::Pool;
use longhaul_state::transfer::{Control, Options, Stage, Summary, TransferError};
use longhaul_state::{Sink, Source};

pub use bytes::Bytes;
pub use channel::{Receiver, Sender, channel};
pub use chunk::{Chunk, Coming};
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
pub use cold::past_the_cache;
pub use direct::{Direct, DirectFiles};
use driver::{Began, Lanes, Part, Setup, queue};
pub use driver::{Close, Opened, Read, ReadOp, Reader, WriteOp};
pub use engine::{Engine, Helpers, Receiving, Sending};
pub use lane::{Burst, Cutter, Frames, Reporter, Step, Telling, Window};
pub use listener::{Arrival, Caller, Listener, Origin};
pub use outcome::outcome;
pub use pipe::{PIPE_BYTES, Pipe, Pipes, refuses};
pub use stream::Connection;
pub use threads::{Running, Threads};

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
    engine: &Arc<dyn Engine>,
) -> Result<Summary, TransferError> {
    dial(address, Part::Join(sink), options, pool, control, engine)
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
    engine: &Arc<dyn Engine>,
) -> Result<Summary, TransferError> {
    let addresses = stream::resolve(address).map_err(|error| unresolved(Side::Provider, error))?;
    let mut summary = dial(&addresses[..], Part::Provide(source), options, pool, control, engine)?;
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
    mut part: Part,
    options: &Options,
    pool: &Pool,
    control: &Arc<Control>,
    engine: &Arc<dyn Engine>,
) -> Result<Summary, TransferError> {
    let machine = driver::begin(&mut part, options, pool);
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
    let setup = Setup { options, pool, control, lanes: Lanes::Dial(peer), queue, messages, engine };
    driver::run(part, connection, setup, Began::Dialled(machine))
}
