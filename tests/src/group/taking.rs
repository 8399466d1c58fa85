//! What a joiner's machine has its driver do.

use std::collections::VecDeque;

use longhaul_core::digest::Entry;
use longhaul_core::id::{MemberId, SnapshotId, TransferId};
use longhaul_core::time::Instant;
use longhaul_core::transfer::LogPoint;
use longhaul_core::transfer::live::{Failure, JoinerCommand, Role, State as At, Take};
use longhaul_core::transfer::wire::{Frame, HEADER_LEN, Header};

use super::agenda::Event;
use super::judge;
use super::machines::{Giver, LiveProvider};
use super::process::{JoinerMachine, Process};
use super::store::{Delivered, Logged, Prepared, State, Store};
use super::wires::{Load, Parcel};
use super::world::Shared;

/// The copy that nobody sees yet.
pub(super) struct Hidden {
    pub(super) snapshot: SnapshotId,
    /// What is durable of it.
    pub(super) store: Store,
    pub(super) prepared: Prepared,
    /// What has come, and is not durable yet.
    waiting: VecDeque<Load>,
}

impl Process {
    /// A transfer from somebody who is operational.
    pub(super) fn join(&mut self, world: &mut Shared) {
        if let Some(protocol) = world.case.protocol {
            return self.fetch(protocol, world);
        }
        let Some(provider) = world.somebody(self.number) else { return };
        self.join_from(provider, world);
    }

    /// Another state, for a member that has one; unless nobody else has.
    pub(super) fn rejoin(&mut self, world: &mut Shared) {
        if !self.is_operational || world.case.protocol.is_some() {
            return;
        }
        let Some(provider) = world.somebody(self.number) else { return };
        let now = self.now(world);
        world.trace.say(world.agenda.now(), || format!("{} joins again", self.host));
        self.is_operational = false;
        world.leaves_operation(self.number);
        self.provider.as_mut().expect("it was operational").set_role(Role::Joining, now);
        self.join_from(provider, world);
    }

    fn join_from(&mut self, provider: MemberId, world: &mut Shared) {
        let transfer = TransferId(std::array::from_fn(|n| (world.random.next() >> n) as u8));
        let now = self.now(world);
        let config = world.config(self.member);
        self.joiner = Some(JoinerMachine::new(config, transfer, provider, now).expect("its needs are met"));
        self.drive(world);
    }

    pub(super) fn take(&mut self, command: JoinerCommand, now: Instant, world: &mut Shared) {
        match command {
            JoinerCommand::Dial { provider } => self.dial(provider, now, world),
            JoinerCommand::Close => {
                if let Some(connection) = self.link.take() {
                    world.wires.send(connection, 1, Parcel::Lost, &mut world.agenda, &mut world.random);
                }
            }
            JoinerCommand::Pin { round } => {
                world.agenda.after(0, Event::Pin { joiner: self.number, round });
            }
            JoinerCommand::Unpin => {
                for stream in &mut world.streams {
                    stream.unpin(self.member);
                }
            }
            JoinerCommand::Stage { .. } => {
                let provider = self.joiner.as_ref().expect("it commands").provider();
                let Some(provider) = world.process_of(provider) else { return };
                let (joiner, left) = (self.number, world.case.pieces);
                world.agenda.after(1, Event::Bulk { joiner, provider, left });
            }
            JoinerCommand::Rewind { to } => self.rewind(to),
            JoinerCommand::Reoffer => self.reoffer(world),
            JoinerCommand::Commit => self.commit(now, world),
            JoinerCommand::Serve => {
                judge::serves(self, world);
                self.is_operational = true;
                self.provider.as_mut().expect("it has committed").set_role(Role::Provider, now);
                world.outcome.served += 1;
                world.outcome.rejoined += u64::from(self.clients.has_started());
                self.start_client(world);
            }
        }
    }

    fn dial(&mut self, provider: MemberId, now: Instant, world: &mut Shared) {
        let joiner = self.joiner.as_mut().expect("it commands");
        let refused = matches!(joiner.failure(), Some(Failure::Refused(_)));
        let dead = world.process_of(provider).is_none();
        if (refused || dead)
            && let Some(other) = world.somebody(self.number).filter(|other| *other != provider)
        {
            return self.joiner.as_mut().expect("it commands").switch(other, now);
        }
        let joiner = self.joiner.as_mut().expect("it commands");
        let Some(number) = world.process_of(provider) else {
            return joiner.handle_link_lost(now);
        };
        if joiner.state() == At::Doubting {
            world.outcome.doubts += 1;
        }
        let host = world.hosts_of[&number];
        let connection = world.wires.connect((self.host, self.number), (host, number));
        self.link = Some(connection);
        world.wires.send(connection, 1, Parcel::Up, &mut world.agenda, &mut world.random);
    }

    pub(super) fn take_parcel(
        &mut self,
        connection: usize,
        parcel: Parcel,
        now: Instant,
        world: &mut Shared,
    ) {
        let Some(joiner) = &mut self.joiner else { return };
        match parcel {
            Parcel::Up => joiner.handle_link_up(now),
            Parcel::Lost => {
                self.link = None;
                joiner.handle_link_lost(now);
            }
            Parcel::Frame { bytes, payload } => {
                let header =
                    Header::parse(bytes[..HEADER_LEN].try_into().expect("a header")).expect("a frame");
                let frame = Frame::parse(&header, &bytes[HEADER_LEN..]).expect("a frame");
                let from = world.wires.connections[connection].ends[1].0;
                world.trace.say(world.agenda.now(), || {
                    format!("{from} -> {}: {:?} {frame:?}", self.host, header.tag.epoch)
                });
                joiner.handle_frame(header.tag, &frame, now);
                if let Some(load) = payload {
                    self.stage(load, now, world);
                }
            }
        }
    }

    /// A payload has come.
    fn stage(&mut self, load: Load, now: Instant, world: &mut Shared) {
        let joiner = self.joiner.as_mut().expect("it is taken for it");
        let mut payload = load.payload();
        if world.random.one_in(world.flips_one_in) {
            payload.crc ^= 1;
        }
        if !matches!(joiner.state(), At::Following | At::Closing) || !joiner.handle_payload(payload, now) {
            return;
        }
        let load = match load {
            Load::Log(records) => {
                let mut taken = Vec::new();
                for logged in records {
                    match joiner.handle_record(&logged.record, now) {
                        Take::Apply => taken.push(logged),
                        Take::Skip => {}
                        Take::Stop => break,
                    }
                }
                Load::Log(taken)
            }
            other @ (Load::Prepared(_) | Load::Requests(_)) => other,
        };
        let Some(hidden) = &mut self.hidden else { return };
        hidden.waiting.push_back(load);
        let delay = world.random.below(world.case.staging) + 1;
        let generation = self.generation;
        world.agenda.after(delay, Event::Durable { process: self.number, generation });
    }

    /// What came first is durable.
    pub(super) fn durable(&mut self, generation: u64, world: &mut Shared) {
        let now = self.now(world);
        let Some(hidden) = self.hidden.as_mut().filter(|_| generation == self.generation) else { return };
        let joiner = self.joiner.as_mut().expect("it is staged for it");
        match hidden.waiting.pop_front() {
            Some(Load::Log(records)) => {
                for logged in &records {
                    hidden.store.apply(logged);
                }
                if let Some(last) = records.last().map(|logged: &Logged| logged.end) {
                    joiner.handle_applied(last, now);
                }
            }
            Some(Load::Prepared(prepared)) => {
                for (transaction, write) in prepared {
                    if joiner.handle_prepare(transaction, now) == Take::Apply {
                        world.outcome.pending += 1;
                        hidden.prepared.insert(transaction, write);
                    }
                }
            }
            // Requests are of a fetch.
            Some(Load::Requests(_)) | None => {}
        }
        self.drive(world);
    }

    /// The next piece of the bulk has come; with the last one, what was captured is durable.
    pub(super) fn bulk(&mut self, snapshot: (SnapshotId, State, Delivered), left: u32, world: &mut Shared) {
        let now = self.now(world);
        let Some(joiner) = self.joiner.as_mut().filter(|joiner| joiner.state() == At::Staging) else {
            return;
        };
        joiner.handle_bulk_progress(now);
        if left == 0 {
            let (snapshot, state, digest) = snapshot;
            let store = Store::new(world.rules(), state, Prepared::new(), digest);
            self.hidden =
                Some(Hidden { snapshot, store, prepared: Prepared::new(), waiting: VecDeque::new() });
            joiner.handle_staged(snapshot, now);
        }
        self.drive(world);
    }

    fn rewind(&mut self, to: Option<LogPoint>) {
        self.generation += 1;
        match (&mut self.hidden, to) {
            (Some(hidden), Some(_)) => {
                hidden.waiting.clear();
                hidden.prepared.clear();
            }
            (hidden, _) => *hidden = None,
        }
    }

    /// State, digest and pending prepares change in one step; the member's own machine has the messages now.
    fn commit(&mut self, now: Instant, world: &mut Shared) {
        let joiner = self.joiner.as_mut().expect("it commands");
        let hidden = self.hidden.take().expect("it is committed");
        let mut digest = joiner.digest().clone();
        // Of itself it knows that it has sent nothing.
        if digest.entry(self.member).is_none() {
            digest.insert(Entry::fresh(self.member)).expect("room for all incarnations");
        }
        let coordinators: Vec<_> = hidden.prepared.keys().map(|transaction| transaction.member).collect();
        let transactions: Vec<_> = hidden.prepared.keys().copied().collect();
        let mut store = Store::new(world.rules(), hidden.store.state, hidden.prepared, digest.clone());
        judge::committed(joiner, hidden.snapshot, &store, world);
        // The log's places are counted by the process, whatever its state is.
        store.end = self.store.as_ref().map_or_else(LogPoint::default, |old| old.end);
        self.store = Some(store);
        if let Some(old) = &mut self.provider {
            old.live().replace(digest, coordinators, now);
        } else {
            let machine = LiveProvider::new(world.config(self.member), Role::Joining, digest, coordinators);
            self.provider = Some(Giver::Live(Box::new(machine.expect("its needs are met"))));
        }
        joiner.handle_committed(now);
        // What is pending here is answered, although its message may never have come this far.
        for transaction in transactions {
            self.vote(transaction, world);
        }
        self.own_messages_within(world);
    }
}
