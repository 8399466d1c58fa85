//! Those who write, at every member that is operational: in one message, or in two phases.

use std::collections::{BTreeMap, BTreeSet};

use longhaul_core::message::{Effect, Transaction, Verdict};

use super::agenda::Event;
use super::channel::Content;
use super::process::Process;
use super::world::Shared;

const MS: u64 = 1_000_000;

/// Something that a client wants, or that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Write { key: u8, value: u64 },
    Prepare { number: u64, key: u8, value: u64 },
    Decide { number: u64, commit: bool },
}

/// One member's clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    pub(super) is_throttled: bool,
    numbers: u64,
    /// What the latch held.
    waiting: Vec<Request>,
    /// Transactions that are prepared, and whose votes are awaited.
    votes: BTreeMap<u64, BTreeSet<usize>>,
    /// Under total order a request ends when its own message is delivered, or contained; those up to this one were.
    in_flight: u64,
    heard: u64,
    is_started: bool,
}

impl Clients {
    pub(super) const fn has_started(&self) -> bool {
        self.is_started
    }

    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.votes.is_empty() && self.in_flight == 0
    }
}

impl Process {
    /// Begins, or goes on.
    pub(super) fn start_client(&mut self, world: &mut Shared) {
        if std::mem::replace(&mut self.clients.is_started, true) {
            return self.retry_requests(world);
        }
        world.agenda.after(world.case.every, Event::Client { process: self.number });
    }

    /// A client's next request.
    pub(super) fn client(&mut self, world: &mut Shared) {
        if world.is_quiet {
            return;
        }
        let every = if self.clients.is_throttled { 5 * world.case.every } else { world.case.every };
        let pause = world.random.within(every / 4, every);
        world.agenda.after(pause, Event::Client { process: self.number });
        let (key, value) = (world.random.below(8) as u8, world.random.next());
        let request = if world.random.one_in(world.case.two_phase_one_in) {
            self.clients.numbers += 1;
            Request::Prepare { number: self.clients.numbers, key, value }
        } else {
            Request::Write { key, value }
        };
        self.request(request, world);
    }

    fn request(&mut self, request: Request, world: &mut Shared) {
        let now = self.now(world);
        let machine = self.provider.as_mut().expect("it is operational");
        if machine.handle_request(now) == Verdict::Deliver {
            let work = world.random.below(2 * MS);
            world.agenda.after(work, Event::Send { process: self.number, request });
        } else {
            world.outcome.held += 1;
            self.clients.waiting.push(request);
        }
        self.drive(world);
    }

    pub(super) fn retry_requests(&mut self, world: &mut Shared) {
        for request in std::mem::take(&mut self.clients.waiting) {
            let now = self.now(world);
            let machine = self.provider.as_mut().expect("it is operational");
            if machine.handle_request(now) == Verdict::Deliver {
                world.agenda.after(1, Event::Send { process: self.number, request });
            } else {
                self.clients.waiting.push(request);
            }
        }
    }

    /// An admitted request goes to the group.
    pub(super) fn send(&mut self, request: Request, world: &mut Shared) {
        let transaction = |number| Transaction { member: self.member, number };
        let (effect, key, value) = match request {
            Request::Write { key, value } => {
                world.outcome.writes += 1;
                (Effect::Write, key, value)
            }
            Request::Prepare { number, key, value } => {
                world.outcome.transactions += 1;
                let voters: BTreeSet<_> = world.hosts_of.values().copied().collect();
                self.clients.votes.insert(number, voters);
                (Effect::Prepare(transaction(number)), key, value)
            }
            Request::Decide { number, commit: true } => (Effect::Commit(transaction(number)), 0, 0),
            Request::Decide { number, commit: false } => (Effect::Rollback(transaction(number)), 0, 0),
        };
        let content = Content { effect, writer: self.member, key, value, control: None };
        if world.case.total {
            self.clients.in_flight += 1;
            let arrival = world.wires.latency / 2;
            return world.agenda.after(arrival, Event::Order(content));
        }
        let (stream, sequence) = world.multicast(self.number, content);
        self.message(stream, sequence, world);
        self.done(world);
    }

    /// Under total order one's own message has come back.
    pub(super) fn own_message(&mut self, sequence: u64, content: &Content, world: &mut Shared) {
        let is_new = sequence > self.clients.heard;
        if world.case.total && content.writer == self.member && is_new && self.clients.in_flight > 0 {
            self.clients.heard = sequence;
            self.clients.in_flight -= 1;
            self.done(world);
        }
    }

    /// What of one's own is in the state that has just taken the place of another will not come back by itself.
    pub(super) fn own_messages_within(&mut self, world: &mut Shared) {
        if !world.case.total {
            return;
        }
        let within = self
            .store
            .as_ref()
            .and_then(|store| store.digest.entry(world.streams[0].sender))
            .map_or(0, |entry| entry.delivered().0);
        for sequence in self.clients.heard + 1..=within {
            let content = world.streams[0].content(sequence).clone();
            self.own_message(sequence, &content, world);
        }
    }

    fn done(&mut self, world: &mut Shared) {
        let now = self.now(world);
        self.provider.as_mut().expect("it is operational").handle_request_done(now);
        self.drive(world);
    }

    /// Answers a prepare yes.
    pub(super) fn vote(&self, transaction: Transaction, world: &mut Shared) {
        let Some(process) = world.process_of(transaction.member) else { return };
        let host = world.hosts_of[&process];
        let arrival = world.wires.arrival(self.host, host, world.agenda.now(), &mut world.random);
        let vote = Event::Vote { process, voter: self.host, number: transaction.number };
        world.agenda.at(arrival, vote);
    }

    /// A vote has come, or its voter is gone: the last one decides.
    pub(super) fn voted(&mut self, voter: usize, number: u64, world: &mut Shared) {
        let Some(awaited) = self.clients.votes.get_mut(&number) else { return };
        awaited.remove(&voter);
        if awaited.is_empty() {
            self.clients.votes.remove(&number);
            let commit = !world.random.one_in(5);
            self.request(Request::Decide { number, commit }, world);
        }
    }

    /// A voter is gone: nobody waits for it.
    pub(super) fn voter_gone(&mut self, voter: usize, world: &mut Shared) {
        let open: Vec<u64> = self.clients.votes.keys().copied().collect();
        for number in open {
            self.voted(voter, number, world);
        }
    }
}
