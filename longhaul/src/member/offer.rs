//! A state that is offered to who has not asked for it, as who offers it sees that.
//!
//! ```text
//!  provider                                   joiner
//!  dials, Offer {who, port} ───────────────▶  accepts it, or refuses
//!         ◀─────────────── Offer {who}
//!         ◀═══ the transfer itself, which the joiner dials as any other does
//!         ◀─────────────── Outcome {Commit}   it serves; or Refused, with the last reason
//! ```
//!
//! The connection of the offer stands as long as the transfer: where it ends, nobody knows how that one did.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use longhaul_core::transfer::wire::{Frame, Refusal};
use longhaul_core::transfer::{Decision, Tag};

use super::frames::Frames;
use crate::error::{Error, ErrorKind};

/// How often who offers looks whether the transfer still has a place here.
const LOOK: Duration = Duration::from_millis(100);

/// How a transfer does at who gives the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// It has a place, which is kept for as long as it comes further.
    Here,
    /// It has none, yet or any more.
    Nowhere,
    /// The member is stopped.
    Stopped,
}

/// Offers a state with these words; why the joiner does not serve, in its words. `None`: it does.
pub(crate) fn offer(
    stream: &TcpStream,
    words: &[u8],
    tag: Tag,
    timeout: Duration,
    looks: impl Fn() -> Stands,
) -> io::Result<Option<Refusal>> {
    let mut out = stream;
    out.write_all(words)?;
    let mut frames = Frames::new(stream);
    loop {
        await_word(stream, timeout, &looks)?;
        match frames.next()? {
            (theirs, Frame::Offer { .. }) if theirs == tag => {}
            (theirs, Frame::Outcome { decision: Decision::Commit }) if theirs == tag => return Ok(None),
            (theirs, Frame::Refused { why, .. }) if theirs == tag => return Ok(Some(why)),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to nothing")),
        }
    }
}

/// Waits until the joiner says something; an error once its transfer has had no place here for too long.
fn await_word(stream: &TcpStream, timeout: Duration, looks: &impl Fn() -> Stands) -> io::Result<()> {
    let mut moved = Instant::now();
    stream.set_read_timeout(Some(LOOK))?;
    loop {
        match stream.peek(&mut [0]) {
            Ok(_) => return stream.set_read_timeout(Some(timeout)),
            Err(error) if is_early(&error) => {}
            Err(error) => return Err(error),
        }
        let stands = looks();
        if stands == Stands::Here {
            moved = Instant::now();
        }
        if stands == Stands::Stopped || moved.elapsed() > timeout {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Nobody knows what became of an offer.
pub(crate) fn failed(target: &str, error: io::Error) -> Error {
    let stalled = error.kind() == io::ErrorKind::TimedOut;
    let kind = if stalled { ErrorKind::Stalled } else { ErrorKind::Unreachable };
    let what = format!("the state could not be pushed to {target}: {error}");
    Error::new(kind, what).with_cause(error)
}

fn is_early(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
