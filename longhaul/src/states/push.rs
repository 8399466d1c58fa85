//! A state that is offered to who has not asked for it: both sides of [`crate::member::offer`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::id::{Epoch, MemberId, TransferId};
use longhaul_core::transfer::fetch::{Failure, Protocol, Want};
use longhaul_core::transfer::wire::{Frame, Refusal};
use longhaul_core::transfer::{Decision, Role, Tag};

use super::begin::Wanted;
use super::ended::Ended;
use super::fetch::Fetched;
use super::member::Peer;
use super::peer::Job;
use super::shared::{Shared, State};
use crate::error::{Error, ErrorKind};
use crate::member::control;
use crate::member::frames::emitted;
use crate::member::offer::{self, Stands};
use crate::settings::random;

impl Shared {
    /// Offers this member's state, and waits until the joiner serves.
    pub(super) fn push(&self, target: &Peer, port: u16, timeout: Duration) -> Result<(), Error> {
        let usage = |what: &str| Err(Error::new(ErrorKind::Usage, what));
        if self.config.protocol == Protocol::Flush {
            return usage("where all members are stopped, who joins must know them all: nothing is pushed");
        }
        if self.lock().provider.as_ref().is_none_or(|machine| machine.role() != Role::Provider) {
            return usage("this member gives no state");
        }
        let tag = Tag { transfer: random().map(TransferId)?, epoch: Epoch(1) };
        match self.offer(target, port, tag, timeout) {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(Ended::new(Failure::Refused(why), Some(target.member), &[], None).into()),
            Err(error) => Err(offer::failed(&target.address, error)),
        }
    }

    fn offer(&self, target: &Peer, port: u16, tag: Tag, timeout: Duration) -> io::Result<Option<Refusal>> {
        let stream = control::connect(&target.address, self.config.stall_timeout)?;
        let member = self.config.member;
        let mut words = emitted(tag, &Frame::Hello { from: member, to: target.member });
        words.extend(emitted(tag, &Frame::Offer { member, port }));
        offer::offer(&stream, &words, tag, timeout, || {
            let state = self.lock();
            match &state.provider {
                _ if state.stopped => Stands::Stopped,
                // What is kept for joiners is freed when they come no further.
                Some(machine) if !machine.is_idle() => Stands::Here,
                _ => Stands::Nowhere,
            }
        })
    }

    /// A provider offers its state: it is asked for, if it is wanted. `false`: the connection is over.
    pub(super) fn take_offer(
        self: &Arc<Self>,
        state: &mut State,
        number: u32,
        tag: Tag,
        (member, port): (MemberId, u16),
    ) -> bool {
        let from = state.peers.get(&number).and_then(super::peer::Peer::address);
        let Some(address) = from.map(|from| SocketAddr::new(from.ip(), port).to_string()) else {
            return false;
        };
        let targets = vec![Peer { member, address }];
        let wanted =
            Wanted { targets, state_id: Vec::new(), want: Want::One, timeout: self.config.stall_timeout };
        let is_wanted = state.accepts && state.provider.is_none() && self.config.protocol != Protocol::Flush;
        let begun = if is_wanted { self.begin(state, wanted).ok() } else { None };
        let Some(transfer) = begun else {
            let refused = Frame::Refused { why: Refusal::NotWanted, retry_after_ms: 0 };
            state.say_last(number, tag, &refused);
            return true;
        };
        if let Some(peer) = state.peers.get_mut(&number) {
            peer.has_offered = true;
            let accepted = Frame::Offer { member: self.config.member, port: 0 };
            peer.give(Job::Frame(emitted(tag, &accepted), Vec::new()));
        }
        let shared = Arc::clone(self);
        self.threads.spawn("states-offered", move || {
            let last = match transfer.wait() {
                Ok(Fetched::State(_)) => Frame::Outcome { decision: Decision::Commit },
                Ok(Fetched::NoState) => Frame::Refused { why: Refusal::Oneself, retry_after_ms: 0 },
                Err(error) => Frame::Refused { why: refusal(&error), retry_after_ms: 0 },
            };
            shared.lock().say_last(number, tag, &last);
        })
    }
}

impl State {
    /// Says something, which is the last: who offered hangs up.
    fn say_last(&mut self, number: u32, tag: Tag, frame: &Frame<'_>) {
        if let Some(peer) = self.peers.get_mut(&number) {
            peer.has_offered = false;
            peer.give(Job::Frame(emitted(tag, frame), Vec::new()));
        }
    }
}

/// Why a joiner has given up, as far as there is a word for it.
fn refusal(error: &Error) -> Refusal {
    match error.states().map(|ended| ended.failure) {
        Some(Failure::Refused(why)) => why,
        Some(Failure::Stalled) => Refusal::Stalled,
        _ => Refusal::Gone,
    }
}
