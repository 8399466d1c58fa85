//! What a joiner's machine has its driver do.

use longhaul_core::digest::Entry;
use longhaul_core::id::{StateId, TransferId};
use longhaul_core::message::Effect;
use longhaul_core::time::Instant;
use longhaul_core::transfer::fetch::{Joiner, JoinerCommand, Protocol, State as At, Want};
use longhaul_core::transfer::live::Take;
use longhaul_core::transfer::{Role, Tag};

use super::super::agenda::Event;
use super::super::judge;
use super::super::machines::{FetchProvider, Giver};
use super::super::process::Process;
use super::super::store::{Delivered, MEMBERS, Requested, Store};
use super::super::wires::Load;
use super::super::world::Shared;
use super::Captured;

impl Process {
    /// A transfer from those who are operational.
    pub(in crate::group) fn fetch(&mut self, protocol: Protocol, world: &mut Shared) {
        let view = world.view();
        if view.is_empty() {
            return;
        }
        if self.fetching.machine.is_none() {
            self.fetching.is_on_channel = protocol != Protocol::Prefetch;
            self.fetching.floor = world.floor();
        }
        if let Some(before) = self.fetching.machine.take().filter(|_| self.fetching.is_on_channel) {
            self.fetching.floor = before.heard().clone();
        }
        let heard = self.fetching.floor.clone();
        let transfer = TransferId(std::array::from_fn(|n| (world.random.next() >> n) as u8));
        let (now, config) = (self.now(world), world.fetch_config(self.member, protocol));
        let wanted = (StateId::default(), world.case.want);
        let machine = Joiner::new(config, transfer, wanted, &view, heard, now).expect("its needs are met");
        self.fetching.machine = Some(Box::new(machine));
        // Who prefetches leaves the channel, and joins it again.
        self.fetching.is_on_channel = protocol != Protocol::Prefetch;
        self.drive(world);
    }

    pub(in crate::group) fn take_fetched(
        &mut self,
        command: JoinerCommand,
        now: Instant,
        world: &mut Shared,
    ) {
        let machine = self.fetching.machine.as_mut().expect("it commands");
        match command {
            JoinerCommand::Join => {
                self.fetching.is_on_channel = true;
                let floor = world.floor();
                machine.handle_joined(&floor, now);
                self.answer_unheard(&self.fetching.floor, &floor, world);
            }
            JoinerCommand::Stage { provider, snapshot, .. } => {
                if world.case.want != Want::All {
                    self.fetching.copies.clear();
                }
                let Some(provider) = world.process_of(provider) else { return };
                let (joiner, tag, left) = (self.number, machine.tag(), world.case.pieces);
                world.agenda.after(1, Event::Piece { joiner, provider, tag, snapshot, left });
            }
            JoinerCommand::StopStaging => {}
            JoinerCommand::Rewind { to } => {
                self.fetching.generation += 1;
                self.fetching.waiting.clear();
                if to.is_none() {
                    self.fetching.copies.clear();
                }
            }
            JoinerCommand::Reoffer => {
                for (stream, sequence) in std::mem::take(&mut self.held) {
                    self.offer(stream, sequence, world);
                }
            }
            JoinerCommand::Commit => self.commit_fetched(world),
            JoinerCommand::Serve => {
                judge::serves(self, world);
                self.is_operational = true;
                self.provider.as_mut().expect("it has committed").set_role(Role::Provider, now);
                world.outcome.served += 1;
                self.start_client(world);
            }
        }
    }

    /// The next piece of the bulk has come; with the last one the hidden copy is whole.
    pub(in crate::group) fn piece(&mut self, captured: &Captured, tag: Tag, left: u32, world: &mut Shared) {
        let now = self.now(world);
        let wanted =
            |machine: &&mut Box<Joiner<MEMBERS>>| machine.tag() == tag && machine.state() == At::Staging;
        let Some(machine) = self.fetching.machine.as_mut().filter(wanted) else {
            return;
        };
        machine.handle_bulk_progress(now);
        if left == 0 {
            let provider = machine.provider().expect("it gives");
            let (state, prepared, digest) =
                (captured.state.clone(), captured.prepared.clone(), captured.digest.clone());
            let root = Some(state.root());
            self.fetching.copies.push((provider, Store::new(world.rules(), state, prepared, digest)));
            machine.handle_staged(captured.id, root, now);
        }
        self.drive(world);
    }

    /// Requests of the log have come.
    pub(in crate::group) fn take_requests(
        &mut self,
        requests: Vec<Requested>,
        now: Instant,
        world: &mut Shared,
    ) {
        let machine = self.fetching.machine.as_mut().expect("it is taken for it");
        let mut payload = Load::Requests(requests.clone()).payload();
        if world.random.one_in(world.flips_one_in) {
            payload.crc ^= 1;
        }
        if !machine.handle_payload(payload, now) {
            return;
        }
        for one in requests {
            match machine.handle_record(one.end.records, now) {
                Take::Apply => self.fetching.waiting.push_back(one),
                Take::Skip => {}
                Take::Stop => break,
            }
        }
        let delay = world.random.below(world.case.staging) + 1;
        let applied = Event::Applied { process: self.number, generation: self.fetching.generation };
        world.agenda.after(delay, applied);
    }

    /// What has come of the log is durable.
    pub(in crate::group) fn applied(&mut self, generation: u64, world: &mut Shared) {
        let now = self.now(world);
        if generation != self.fetching.generation {
            return;
        }
        let Some((_, store)) = self.fetching.copies.last_mut() else { return };
        let mut end = None;
        for one in self.fetching.waiting.drain(..) {
            store.deliver(one.sender, one.sequence, &one.content);
            end = Some(one.end);
        }
        if let (Some(end), Some(machine)) = (end, &mut self.fetching.machine) {
            machine.handle_applied(end, now);
        }
        self.drive(world);
    }

    /// State and digest change in one step; the member's own machine has the messages now.
    pub(in crate::group) fn commit_fetched(&mut self, world: &mut Shared) {
        let machine = self.fetching.machine.as_mut().expect("it commands");
        let mut digest = machine.digest().clone();
        if digest.entry(self.member).is_none() {
            digest.insert(Entry::fresh(self.member)).expect("room for all incarnations");
        }
        for (provider, copy) in &self.fetching.copies {
            let (state, prepared) = (copy.state.clone(), copy.prepared.clone());
            let store = Store::new(world.rules(), state, prepared, digest.clone());
            world.trace.say(world.agenda.now(), || format!("committed: {}, of {provider}", machine.tag()));
            judge::assert_holds(&store, "committed", world);
            self.store = Some(store);
        }
        self.fetching.copies.clear();
        assert!(self.store.is_some(), "something is committed");
        let heard = self.fetching.machine.as_ref().expect("it commits").heard().clone();
        self.answer_unheard(&heard, &digest, world);
        let config = world.fetch_config(self.member, world.case.protocol.expect("it fetches"));
        let machine = FetchProvider::new(config, Role::Joining, digest).expect("its needs are met");
        self.provider = Some(Giver::Fetch(Box::new(machine)));
        self.fetching.machine.as_mut().expect("it commands").handle_committed();
    }

    /// What the state contains and the channel has not brought yet it need not bring: whoever waits is answered.
    pub(in crate::group) fn answer_unheard(&self, heard: &Delivered, digest: &Delivered, world: &mut Shared) {
        for stream in 0..world.streams.len() {
            let sender = world.streams[stream].sender;
            let of = |digest: &Delivered| digest.entry(sender).map_or(0, |entry| entry.delivered().0);
            for sequence in of(heard) + 1..=of(digest) {
                if let Effect::Prepare(transaction) = world.streams[stream].content(sequence).effect {
                    self.vote(transaction, world);
                }
            }
        }
    }
}
