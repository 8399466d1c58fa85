//! A state that is offered to who has not asked for it: both sides of [`crate::member::offer`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::id::Epoch;
use longhaul_core::transfer::live::{Failure, Link, Role};
use longhaul_core::transfer::wire::{Frame, Refusal};
use longhaul_core::transfer::{Decision, Tag};

use super::ended::Ended;
use super::fetch::Fetched;
use super::join::fresh_transfer;
use super::peer::{Job, Peer};
use super::shared::{Shared, State};
use crate::error::{Error, ErrorKind};
use crate::member::control;
use crate::member::frames::emitted;
use crate::member::offer::{self, Stands};

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
            Err(error) => Err(offer::failed(target, error)),
        }
    }

    fn offer(&self, target: &str, port: u16, tag: Tag, timeout: Duration) -> io::Result<Option<Refusal>> {
        let stream = control::connect(target, self.config.stall_timeout)?;
        let words = emitted(tag, &Frame::Offer { member: self.config.member, port });
        offer::offer(&stream, &words, tag, timeout, || {
            let state = self.lock();
            match &state.provider {
                _ if state.stopped => Stands::Stopped,
                Some(machine) if machine.at(tag.transfer).is_some() => Stands::Here,
                _ => Stands::Nowhere,
            }
        })
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
