//! A state that is offered to who has not asked for it.
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
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_core::id::Epoch;
use longhaul_core::transfer::live::{Failure, Link, Role};
use longhaul_core::transfer::wire::{Frame, Refusal};
use longhaul_core::transfer::{Decision, Tag};

use super::control;
use super::ended::Ended;
use super::fetch::Fetched;
use super::frames::{Frames, emitted};
use super::join::fresh_transfer;
use super::peer::{Job, Peer};
use super::shared::{Shared, State};
use crate::error::{Error, ErrorKind};

/// How often who pushes looks whether the transfer still has a place here.
const LOOK: Duration = Duration::from_millis(100);

impl Shared {
    /// Offers this member's state, and waits until the joiner serves.
    pub(super) fn push(&self, target: &str, port: u16, timeout: Duration) -> Result<(), Error> {
        let gives = self.lock().provider.as_ref().is_some_and(|machine| machine.role() == Role::Provider);
        if !gives {
            return Err(Error::new(ErrorKind::Usage, "this member gives no state"));
        }
        let tag = Tag { transfer: fresh_transfer()?, epoch: Epoch(1) };
        match self.offer(target, port, tag, timeout) {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(Ended::new(Failure::Refused(why), target.to_owned(), 1, None).into()),
            Err(error) => {
                let stalled = error.kind() == io::ErrorKind::TimedOut;
                let kind = if stalled { ErrorKind::Stalled } else { ErrorKind::Unreachable };
                let what = format!("the state could not be pushed to {target}: {error}");
                Err(Error::new(kind, what).with_cause(error))
            }
        }
    }

    /// Why the joiner does not serve, in its words; `None`: it does.
    fn offer(&self, target: &str, port: u16, tag: Tag, timeout: Duration) -> io::Result<Option<Refusal>> {
        let stream = control::connect(target, self.config.stall_timeout)?;
        let offer = Frame::Offer { member: self.config.member, port };
        (&stream).write_all(&emitted(tag, &offer))?;
        let mut frames = Frames::new(&stream);
        loop {
            self.await_word(&stream, tag, timeout)?;
            match frames.next()? {
                (theirs, Frame::Offer { .. }) if theirs == tag => {}
                (theirs, Frame::Outcome { decision: Decision::Commit }) if theirs == tag => return Ok(None),
                (theirs, Frame::Refused { why, .. }) if theirs == tag => return Ok(Some(why)),
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to nothing")),
            }
        }
    }

    /// Waits until the joiner says something; an error once its transfer has had no place here for too long.
    fn await_word(&self, stream: &TcpStream, tag: Tag, timeout: Duration) -> io::Result<()> {
        let mut moved = Instant::now();
        stream.set_read_timeout(Some(LOOK))?;
        loop {
            match stream.peek(&mut [0]) {
                Ok(_) => return stream.set_read_timeout(Some(timeout)),
                Err(error) if is_early(&error) => {}
                Err(error) => return Err(error),
            }
            let state = self.lock();
            // A place is kept for as long as the transfer comes further.
            if state.provider.as_ref().is_some_and(|machine| machine.at(tag.transfer).is_some()) {
                moved = Instant::now();
            }
            if state.stopped || moved.elapsed() > timeout {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// A provider offers its state: it is asked for, if it is wanted. `false`: the connection is over.
    pub(super) fn take_offer(self: &Arc<Self>, state: &mut State, link: Link, tag: Tag, port: u16) -> bool {
        let Some(from) = state.peers.get(&link.0).and_then(Peer::address) else { return false };
        let provider = SocketAddr::new(from.ip(), port).to_string();
        let timeout = self.config.stall_timeout;
        let begun = state
            .accepts
            .then(|| self.fetch(state, vec![provider], Vec::new(), timeout, tag.transfer))
            .and_then(Result::ok);
        let Some(transfer) = begun else {
            let refused = Frame::Refused { why: Refusal::NotWanted, retry_after_ms: 0 };
            self.say_last(state, link, tag, &refused);
            return true;
        };
        if let Some(peer) = state.peers.get_mut(&link.0) {
            peer.has_offered = true;
            let accepted = Frame::Offer { member: self.config.member, port: 0 };
            peer.give(Job::Frame(emitted(tag, &accepted), Vec::new()));
        }
        let shared = Arc::clone(self);
        self.threads.spawn("live-offered", move || {
            let last = match transfer.wait() {
                Ok(Fetched::State(_)) => Frame::Outcome { decision: Decision::Commit },
                Ok(Fetched::NoState) => Frame::Refused { why: Refusal::Oneself, retry_after_ms: 0 },
                Err(error) => Frame::Refused { why: refusal(&error), retry_after_ms: 0 },
            };
            shared.say_last(&mut shared.lock(), link, tag, &last);
        })
    }

    /// Says something, and ends the connection behind it.
    fn say_last(&self, state: &mut State, link: Link, tag: Tag, frame: &Frame<'_>) {
        if let Some(peer) = state.peers.get_mut(&link.0) {
            peer.has_offered = false;
            peer.give(Job::Frame(emitted(tag, frame), Vec::new()));
            peer.finish(self.clock.provider());
        }
    }
}

/// Why a joiner has given up, as far as there is a word for it.
fn refusal(error: &Error) -> Refusal {
    match error.live().map(|ended| ended.failure) {
        Some(Failure::Refused(why)) => why,
        Some(Failure::Stalled | Failure::Aborted) => Refusal::Stalled,
        _ => Refusal::Gone,
    }
}

fn is_early(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
