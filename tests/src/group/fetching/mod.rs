//! Members that have their state by a fetch: what both machines have their driver do.

mod giving;
mod taking;
mod words;

use std::collections::{BTreeMap, VecDeque};

use longhaul_core::digest::Entry;
use longhaul_core::id::{MemberId, SnapshotId};
use longhaul_core::message::Effect;
use longhaul_core::time::Instant;
use longhaul_core::transfer::Tag;
use longhaul_core::transfer::fetch::{
    CaptureNumber, Config, Destination, Event as Told, Joiner, Protocol, State as At,
};
use longhaul_core::transfer::wire::{FRAME_MAX, Frame, HEADER_LEN, Header};

use super::agenda::Event;
use super::channel::Content;
use super::machines::Giver;
use super::process::Process;
use super::store::{Delivered, MEMBERS, Prepared, Requested, State, Store};
use super::wires::Load;
use super::world::Shared;

/// A capture at its provider.
#[derive(Clone, Debug)]
pub(in crate::group) struct Captured {
    pub(in crate::group) id: SnapshotId,
    pub(in crate::group) state: State,
    pub(in crate::group) prepared: Prepared,
    pub(in crate::group) digest: Delivered,
    pub(in crate::group) is_whole: bool,
}

/// A joiner's side.
#[derive(Default)]
pub(in crate::group) struct Fetching {
    pub(in crate::group) machine: Option<Box<Joiner<MEMBERS>>>,
    /// What the channel won't bring: sent before the process was on it.
    pub(in crate::group) floor: Delivered,
    pub(in crate::group) is_on_channel: bool,
    /// The hidden copies, each with who gave it: more than one where all are wanted.
    copies: Vec<(MemberId, Store)>,
    /// Of the log: what has come and is not durable yet.
    waiting: VecDeque<Requested>,
    generation: u64,
}

impl Fetching {
    pub(in crate::group) fn state(&self) -> Option<At> {
        self.machine.as_ref().map(|machine| machine.state())
    }
}

impl Shared {
    pub(in crate::group) fn fetch_config(&self, member: MemberId, protocol: Protocol) -> Config {
        let contract = self.config(member).contract;
        Config {
            stall_timeout: self.stall(),
            lease: std::time::Duration::from_nanos(self.case.lease),
            queue_bytes: self.case.queue_bytes,
            log_bytes: self.case.log_bytes,
            batch_bytes: 1000,
            ..Config::new(member, protocol, protocol.needs(), contract)
        }
    }

    /// All that was sent by now.
    fn floor(&self) -> Delivered {
        let mut floor = Delivered::new();
        for stream in &self.streams {
            let entry = Entry::new(stream.sender, stream.last(), stream.last()).expect("equal numbers");
            floor.insert(entry).expect("room for all");
        }
        floor
    }
}

/// What a group's message says to the machines.
pub(in crate::group) fn control(content: &Content) -> Option<(Tag, Frame<'_>)> {
    content.control.as_deref().map(parse)
}

fn parse(bytes: &[u8]) -> (Tag, Frame<'_>) {
    let header = Header::parse(bytes[..HEADER_LEN].try_into().expect("a header")).expect("a frame");
    (header.tag, Frame::parse(&header, &bytes[HEADER_LEN..]).expect("a frame"))
}

pub(in crate::group) type Captures = BTreeMap<CaptureNumber, Captured>;

impl Process {
    /// What a message has commanded belongs to its place, and is carried out before the next one.
    pub(in crate::group) fn capture_here(&mut self, world: &mut Shared) {
        let now = self.now(world);
        while let Some(Giver::Fetch(provider)) = &mut self.provider {
            let Some(command) = provider.poll_command() else { break };
            self.give(command, now, world);
        }
    }

    /// Something that a machine wants is done; `false` if none wants anything.
    pub(in crate::group) fn drive_fetch(&mut self, now: Instant, world: &mut Shared) -> bool {
        let mut frame = [0; FRAME_MAX];
        if let Some(Giver::Fetch(provider)) = &mut self.provider
            && let Some(command) = provider.poll_command()
        {
            self.give(command, now, world);
            return true;
        }
        if let Some(command) = self.fetching.machine.as_mut().and_then(|machine| machine.poll_command()) {
            self.take_fetched(command, now, world);
            return true;
        }
        if let Some(Giver::Fetch(provider)) = &mut self.provider
            && let Some(sent) = provider.poll_transmit(&mut frame, now)
        {
            let load = sent.records.map(|(from, to)| self.requests(from, to));
            world.say(self, sent.to, frame[..sent.len].to_vec(), load);
            return true;
        }
        if let Some(sent) =
            self.fetching.machine.as_mut().and_then(|machine| machine.poll_transmit(&mut frame))
        {
            let bytes = frame[..sent.len].to_vec();
            match sent.to {
                Destination::Member(to) => world.say(self, to, bytes, None),
                Destination::Group => self.say_to_all(bytes, world),
            }
            return true;
        }
        if let Some(Giver::Fetch(provider)) = &mut self.provider
            && let Some(event) = provider.poll_event()
        {
            world.trace.say(world.agenda.now(), || format!("{}: {event:?}", self.host));
            world.outcome.released += u64::from(matches!(event, Told::Released { why: Some(_), .. }));
            return true;
        }
        false
    }

    fn say_to_all(&mut self, bytes: Vec<u8>, world: &mut Shared) {
        world.trace.say(world.agenda.now(), || format!("{} -> all: {:?}", self.host, parse(&bytes)));
        let control = Some(bytes);
        let content = Content { effect: Effect::Nothing, writer: self.member, key: 0, value: 0, control };
        if world.case.total {
            let arrival = world.wires.latency / 2;
            return world.agenda.after(arrival, Event::Order(content));
        }
        let (stream, sequence) = world.multicast(self.number, content);
        self.offer(stream, sequence, world);
    }

    /// A member says something.
    pub(in crate::group) fn word(
        &mut self,
        from: MemberId,
        bytes: &[u8],
        load: Option<Load>,
        world: &mut Shared,
    ) {
        let now = self.now(world);
        let (tag, frame) = parse(bytes);
        world
            .trace
            .say(world.agenda.now(), || format!("{} -> {}: {:?} {frame:?}", from.0[0], self.host, tag.epoch));
        let to_provider = match frame {
            Frame::Fetch { .. }
            | Frame::AskRoot { .. }
            | Frame::Staged
            | Frame::Applied { .. }
            | Frame::Cancel => true,
            // A Fetch's digest goes to the one, a Begin's to the other.
            Frame::Digest(_) => self.provider.is_some(),
            _ => false,
        };
        if to_provider {
            if let Some(provider) = &mut self.provider {
                provider.fetch().handle_frame(from, tag, &frame, now);
            } else if matches!(frame, Frame::Fetch { .. } | Frame::AskRoot { .. }) {
                // It has no state: who asks is told so.
                let why = longhaul_core::transfer::wire::Refusal::NotOperational;
                let mut out = [0; FRAME_MAX];
                let len = Frame::Refused { why, retry_after_ms: 100 }.emit(tag, &mut out).expect("it fits");
                world.say(self, from, out[..len].to_vec(), None);
            }
        } else if let Some(joiner) = &mut self.fetching.machine {
            joiner.handle_frame(from, tag, &frame, now);
            if let Some(Load::Requests(requests)) = load {
                self.take_requests(requests, now, world);
            }
        }
        self.drive(world);
    }

    /// The connection to a member is lost.
    pub(in crate::group) fn parted(&mut self, member: MemberId, world: &mut Shared) {
        let now = self.now(world);
        if let Some(Giver::Fetch(provider)) = &mut self.provider {
            provider.handle_lost(member, now);
        }
        if let Some(joiner) = &mut self.fetching.machine {
            joiner.handle_lost(member, now);
        }
        self.drive(world);
    }

    /// Who is there is told.
    pub(in crate::group) fn viewed(&mut self, world: &mut Shared) {
        let (now, view) = (self.now(world), world.view());
        if let Some(joiner) = self
            .fetching
            .machine
            .as_mut()
            .filter(|joiner| !matches!(joiner.state(), At::Serving | At::Failed | At::Alone))
        {
            joiner.handle_view(&view, now);
        }
        self.drive(world);
    }
}
