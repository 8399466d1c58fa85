//! The demo's group: members with their engines, and the threads that bring them the channel's messages.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use longhaul::live::{
    Apply, Capture, Config, Contract, Effect, Handle, Member, Message, Properties, SequenceNumber, Verdict,
};
use longhaul::{Error, ErrorKind, MemberId, Priority};

use super::channel::{Channel, ORDER};
use super::map::{Map, State};
use crate::args::Demo;

/// Messages that one turn delivers, at most.
const TURN: usize = 64;

pub(super) struct Host {
    pub(super) member: Arc<Member>,
    pub(super) map: Arc<Map>,
    follower: JoinHandle<Result<(), Error>>,
}

impl Host {
    /// A member that contains `state`, or has none yet.
    pub(super) fn start(
        number: u8,
        state: Option<State>,
        channel: &Arc<Channel>,
        args: &Demo,
    ) -> Result<Self, Error> {
        let is_operational = state.is_some();
        let map = Arc::new(Map::new(state.unwrap_or_default()));
        let contract = Contract::new(Capture::Atomic, Apply::Once)
            .map_err(|error| Error::new(ErrorKind::Other, error.to_string()))?;
        let offers = Properties::TOTAL_ORDER.and(Properties::SEND_AGAIN);
        let config = Config::new(MemberId([number; 16]), offers, contract);
        let builder = Member::builder(config, Arc::clone(&map) as _, Arc::clone(channel) as _)
            .listen("127.0.0.1:0")
            // All members, and all who write, share this machine.
            .priority(Priority::Idle)
            .integrity(args.target.integrity.into())
            .lanes(args.session.lanes)
            .max_retries(args.session.max_retries)
            .stall_timeout(args.session.stall_timeout)
            .redial(!args.session.no_redial)
            .buffer_memory(crate::words::buffer_bytes(&args.common))
            .transport(args.common.transport.into());
        let digest = map.lock().digest.clone();
        let member = Arc::new(if is_operational { builder.found(&digest, [])? } else { builder.join()? });
        let (for_thread, engine, from) = (Arc::clone(&member), Arc::clone(&map), Arc::clone(channel));
        let follower = thread::Builder::new()
            .name(format!("member {number}"))
            .spawn(move || follow(MemberId([number; 16]), &for_thread, &engine, &from))
            .map_err(|error| Error::new(ErrorKind::Other, "a thread can't be started").with_cause(error))?;
        Ok(Self { member, map, follower })
    }

    /// Waits until it has delivered all that the channel had; the channel is closed.
    pub(super) fn finish(self) -> Result<State, Error> {
        let followed = self.follower.join().unwrap_or_else(|_| Err(broken("a follower panicked")));
        drop(self.member);
        followed.map(|()| self.map.lock().clone())
    }
}

/// Brings the channel's messages to a member, in their order.
fn follow(id: MemberId, member: &Member, map: &Map, channel: &Channel) -> Result<(), Error> {
    let mut next = 1;
    loop {
        let delivered = member.is_operational().then(|| map.lock().delivered());
        let received = channel.receive(id, delivered, next, TURN).map_err(|error| broken(&error))?;
        let Some((first, writes)) = received else { return Ok(()) };
        next = first;
        let rung = map.rung();
        let mut ready = Vec::with_capacity(writes.len());
        let mut is_held = false;
        let mut turn = member.turn();
        for write in &writes {
            let (sequence, len) = (SequenceNumber(next), write.value.len() as u32);
            let message = Message { sender: ORDER, sequence, len, handle: Handle(next) };
            match turn.handle_message(&message, Effect::Write, Map::LOG_BYTES)? {
                Verdict::Deliver => ready.push((next, write)),
                Verdict::Drop => {}
                Verdict::SendAgain { from } => {
                    next = from.0;
                    break;
                }
                Verdict::Hold => {
                    is_held = true;
                    break;
                }
            }
            next += 1;
        }
        map.deliver(&ready).map_err(|error| broken(&format!("a message can't be carried out: {error}")))?;
        drop(turn);
        map.ring(0);
        if is_held {
            map.wait_until(|now| now != rung);
        }
    }
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Other, what)
}
