//! One process of a member: its machines, its store, and what lies between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use longhaul_core::digest::SequenceNumber;
use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::message::{Effect, Handle, Message, Verdict};
use longhaul_core::time::Instant;
use longhaul_core::transfer::fetch;
use longhaul_core::transfer::live::{Joiner, Link, Role, State as At};
use longhaul_core::transfer::wire::FRAME_MAX;

use super::agenda::Event;
use super::clients::Clients;
use super::fetching::{self, Captures, Fetching};
use super::judge;
use super::machines::Giver;
use super::store::{MEMBERS, Snapshot, Store};
use super::taking::Hidden;
use super::wires::Parcel;
use super::world::Shared;

pub(super) type JoinerMachine = Joiner<MEMBERS, 4>;

/// A process, and all that ends with it.
pub(super) struct Process {
    pub(super) number: u64,
    pub(super) host: usize,
    pub(super) member: MemberId,
    pub(super) provider: Option<Giver>,
    pub(super) store: Option<Store>,
    pub(super) joiner: Option<JoinerMachine>,
    /// It has served: its votes count.
    pub(super) is_operational: bool,
    /// The joiner's connection.
    pub(super) link: Option<usize>,
    pub(super) hidden: Option<Hidden>,
    pub(super) generation: u64,
    /// Messages that a machine holds.
    pub(super) held: VecDeque<(usize, u64)>,
    /// What was asked for again, per stream: from where, and up to where.
    asked: BTreeMap<usize, (u64, u64)>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) giving: BTreeSet<TransferId>,
    pub(super) captures: Captures,
    pub(super) fetching: Fetching,
    pub(super) clients: Clients,
    /// When a wake-up is due, in the world's time.
    wake: Option<u64>,
}

impl Process {
    pub(super) fn new(number: u64, host: usize, member: MemberId) -> Self {
        Self {
            number,
            host,
            member,
            provider: None,
            store: None,
            joiner: None,
            is_operational: false,
            link: None,
            hidden: None,
            generation: 0,
            held: VecDeque::new(),
            asked: BTreeMap::new(),
            snapshot: None,
            giving: BTreeSet::new(),
            captures: Captures::new(),
            fetching: Fetching::default(),
            clients: Clients::default(),
            wake: None,
        }
    }

    pub(super) fn now(&self, world: &Shared) -> Instant {
        world.clocks[self.host].read(world.agenda.now())
    }

    /// A message of the group arrives, or is offered again.
    pub(super) fn message(&mut self, stream: usize, sequence: u64, world: &mut Shared) {
        self.offer(stream, sequence, world);
        self.drive(world);
    }

    /// The same, and nothing that follows from it is carried out yet but what must come before the next message.
    pub(super) fn offer(&mut self, stream: usize, sequence: u64, world: &mut Shared) {
        let now = self.now(world);
        let sender = world.streams[stream].sender;
        let content = world.streams[stream].content(sequence).clone();
        let len = Store::log_bytes(&content);
        let message = Message { sender, sequence: SequenceNumber(sequence), len, handle: Handle(sequence) };
        let control = fetching::control(&content);
        let control = control.as_ref().map(|(tag, frame)| (*tag, frame));
        let verdict = if let Some(provider) = &mut self.provider {
            let allowed = self
                .joiner
                .as_mut()
                .is_none_or(|joiner| joiner.allows_delivery(provider.delivered(), &message, content.effect));
            if allowed {
                let verdict = provider.handle_message(&message, content.effect, control, now);
                verdict.expect("room for all incarnations")
            } else {
                Verdict::Hold
            }
        } else if let Some(joiner) = &mut self.joiner {
            joiner.handle_message(&message, content.effect)
        } else if let Some(joiner) = self.fetching.machine.as_mut().filter(|_| self.fetching.is_on_channel) {
            joiner.handle_message(&message, control, now).expect("room for all incarnations")
        } else {
            Verdict::Drop
        };
        match verdict {
            Verdict::Deliver => {
                self.store.as_mut().expect("it has a state").deliver(sender, sequence, &content);
                self.own_message(sequence, &content, world);
            }
            Verdict::Hold => {
                world.outcome.held += 1;
                self.held.push_back((stream, sequence));
            }
            Verdict::Drop => self.own_message(sequence, &content, world),
            Verdict::SendAgain { from } => self.ask_again(stream, from.0, sequence, world),
        }
        if let Effect::Prepare(transaction) = content.effect
            && (matches!(verdict, Verdict::Deliver | Verdict::Drop)
                || verdict == Verdict::Hold && self.fetching.machine.is_some())
        {
            self.vote(transaction, world);
        }
        self.capture_here(world);
    }

    /// Has a stretch of messages sent again, unless that was done.
    pub(super) fn ask_again(&mut self, stream: usize, from: u64, to: u64, world: &mut Shared) {
        let asked = self.asked.get(&stream).filter(|asked| asked.0 == from).map_or(from, |asked| asked.1 + 1);
        let source = &world.streams[stream];
        if asked > to || world.is_cut_off(source.process.map(|_| source.host), self.host) {
            return;
        }
        assert!(!world.case.strict, "a strict channel has a gap before {to} of {}", source.sender);
        assert!(asked > source.dropped, "message {asked} of {} is needed, and gone", source.sender);
        self.asked.insert(stream, (from, to));
        let host = source.process.map_or(self.host, |_| source.host);
        let mut arrival = world.wires.arrival(host, self.host, world.agenda.now(), &mut world.random);
        for sequence in asked..=to {
            arrival += 1;
            world.agenda.at(arrival, Event::Arrive { process: self.number, stream, sequence });
        }
    }

    /// What it lacks of all that was sent is asked for, again and again.
    pub(super) fn gossip(&mut self, world: &mut Shared) {
        let heard = self.fetching.machine.as_ref().filter(|_| self.fetching.is_on_channel);
        let (delivered, latched) = match (&self.provider, heard) {
            (Some(provider), _) => (provider.delivered().clone(), provider.is_latched()),
            (None, Some(joiner)) => (joiner.heard().clone(), false),
            (None, None) => return,
        };
        if world.case.strict {
            return;
        }
        let queues = self.provider.is_none();
        for stream in 0..world.streams.len() {
            let source = &world.streams[stream];
            let last = source.last();
            let ours = delivered.entry(source.sender).map_or(0, |entry| entry.delivered().0);
            if ours < last.0 && !latched && (queues || self.held.is_empty()) {
                self.asked.remove(&stream);
                self.ask_again(stream, ours + 1, last.0, world);
            }
        }
        if let (Some(joiner), Some(provider)) = (&mut self.joiner, &self.provider) {
            joiner.handle_delivered(provider.delivered());
        }
        self.drive(world);
    }

    /// A deadline may have passed.
    pub(super) fn wake(&mut self, world: &mut Shared) {
        self.wake = None;
        let now = self.now(world);
        if let Some(provider) = &mut self.provider {
            provider.handle_timeout(now);
        }
        if let Some(joiner) = &mut self.joiner {
            joiner.handle_timeout(now);
        }
        if let Some(joiner) = &mut self.fetching.machine {
            joiner.handle_timeout(now);
        }
        self.drive(world);
    }

    /// Something comes out of a connection.
    pub(super) fn parcel(&mut self, connection: usize, end: usize, parcel: Parcel, world: &mut Shared) {
        let now = self.now(world);
        if end == 1 {
            self.serve_parcel(connection, parcel, now, world);
        } else if self.link == Some(connection) {
            self.take_parcel(connection, parcel, now, world);
        }
        self.drive(world);
    }

    /// Carries out what the machines want, until they want nothing.
    pub(super) fn drive(&mut self, world: &mut Shared) {
        let mut frame = [0; FRAME_MAX];
        for round in 0.. {
            assert!(round < 10_000, "a livelock");
            let now = self.now(world);
            if self.drive_fetch(now, world) {
                continue;
            }
            let mut live = self.provider.as_mut().filter(|provider| matches!(provider, Giver::Live(_)));
            if let Some(command) = live.as_mut().and_then(|provider| provider.live().poll_command()) {
                self.serve(command, now, world);
            } else if let Some(command) = self.joiner.as_mut().and_then(JoinerMachine::poll_command) {
                self.take(command, now, world);
            } else if let Some(sent) =
                live.as_mut().and_then(|provider| provider.live().poll_transmit(&mut frame, now))
            {
                let Link(connection) = sent.link;
                let payload = sent.payload.map(|payload| self.load(payload));
                let parcel = Parcel::Frame { bytes: frame[..sent.len].to_vec(), payload };
                world.wires.send(connection as usize, 0, parcel, &mut world.agenda, &mut world.random);
            } else if let Some(len) = self.joiner.as_mut().and_then(|joiner| joiner.poll_transmit(&mut frame))
            {
                if let Some(connection) = self.link {
                    let parcel = Parcel::Frame { bytes: frame[..len].to_vec(), payload: None };
                    world.wires.send(connection, 1, parcel, &mut world.agenda, &mut world.random);
                }
            } else if let Some(event) = live.as_mut().and_then(|provider| provider.live().poll_event()) {
                judge::told(self, event, world);
            } else if !self.stays(now, world) {
                break;
            }
        }
        self.schedule(world);
    }

    fn schedule(&mut self, world: &mut Shared) {
        let provider = self.provider.as_ref().and_then(Giver::poll_timeout);
        let fetcher = self.fetching.machine.as_ref().and_then(|joiner| joiner.poll_timeout());
        let joiner = self.joiner.as_ref().and_then(JoinerMachine::poll_timeout);
        let Some(next) = provider.into_iter().chain(joiner).chain(fetcher).min() else { return };
        let when = world.clocks[self.host].when(next).max(world.agenda.now());
        if self.wake.is_none_or(|wake| when < wake) {
            self.wake = Some(when);
            world.agenda.at(when, Event::Wake { process: self.number });
        }
    }

    /// What is held is offered again, in its order.
    pub(super) fn reoffer(&mut self, world: &mut Shared) {
        for (stream, sequence) in std::mem::take(&mut self.held) {
            let arrive = Event::Arrive { process: self.number, stream, sequence };
            world.agenda.after(0, arrive);
        }
    }

    /// Its last transfer has failed, or it has not begun one.
    pub(super) fn has_failed(&self) -> bool {
        self.joiner.as_ref().is_none_or(|joiner| joiner.state() == At::Failed)
            && self.fetching.state().is_none_or(|state| state == fetch::State::Failed)
    }

    /// A member that has failed to get another state goes on with the one that it has. Whether it is one.
    fn stays(&mut self, now: Instant, world: &mut Shared) -> bool {
        let has_failed = self.joiner.as_ref().is_some_and(|joiner| joiner.state() == At::Failed);
        let Some(provider) = self.provider.as_mut().filter(|_| has_failed && !self.is_operational) else {
            return false;
        };
        (self.joiner, self.is_operational) = (None, true);
        provider.set_role(Role::Provider, now);
        world.trace.say(world.agenda.now(), || format!("{} stays what it was", self.host));
        world.outcome.stayed += 1;
        self.retry_requests(world);
        true
    }

    /// Whom it has the state from.
    pub(super) fn asked(&self) -> Option<MemberId> {
        let fetched = self.fetching.machine.as_ref().and_then(|joiner| joiner.provider());
        self.joiner.as_ref().map(JoinerMachine::provider).or(fetched)
    }

    /// It serves nobody and waits for nothing.
    pub(super) fn is_settled(&self) -> bool {
        let joined = self.joiner.as_ref().is_none_or(|joiner| joiner.state() == At::Serving);
        let joined = joined && self.fetching.state().is_none_or(|state| state == fetch::State::Serving);
        self.is_operational && joined && self.held.is_empty() && self.clients.is_settled()
    }
}
