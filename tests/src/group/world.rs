//! The world of one case: hosts, their processes, the channel between them, and time that jumps from event to event.

use std::collections::BTreeMap;
use std::time::Duration;

use longhaul_core::digest::{Entry, SequenceNumber};
use longhaul_core::id::MemberId;
use longhaul_core::message::{Effect, Properties};
use longhaul_core::transfer::live::{Config, State as At};
use longhaul_core::transfer::{Apply, Capture, Contract, Decision, Role, Tag};

use super::Outcome;
use super::agenda::{Agenda, Event};
use super::case::Case;
use super::channel::{Content, Stream};
use super::clock::Clock;
use super::faults::Fault;
use super::judge;
use super::machines::Giver;
use super::process::Process;
use super::store::{Delivered, MEMBERS, Prepared, Rules, State, Store};
use super::wires::{Parcel, Wires};
use crate::sim::{Random, Trace};

const MS: u64 = 1_000_000;
/// Events of one case: more are a livelock.
const STEPS: u64 = 3_000_000;
const GOSSIP: u64 = 50 * MS;

/// All but the processes themselves.
pub(super) struct Shared {
    pub(super) case: Case,
    pub(super) agenda: Agenda,
    pub(super) random: Random,
    pub(super) trace: Trace,
    pub(super) clocks: Vec<Clock>,
    pub(super) streams: Vec<Stream>,
    pub(super) wires: Wires,
    /// Live processes, and where they run.
    pub(super) hosts_of: BTreeMap<u64, usize>,
    /// The members that are operational.
    operational: BTreeMap<u64, MemberId>,
    pub(super) members: BTreeMap<MemberId, u64>,
    /// What providers have recorded, and what they had delivered then.
    pub(super) decisions: BTreeMap<(Tag, MemberId), (Decision, [u8; 32])>,
    pub(super) outcome: Outcome,
    /// When the last word between two members arrives, and how often a host was cut off.
    pub(super) words: BTreeMap<(MemberId, MemberId), u64>,
    pub(super) cuts: Vec<u64>,
    /// On a strict channel: when the last message of a stream reaches a process.
    reaches: BTreeMap<(usize, u64), u64>,
    pub(super) flips_one_in: u64,
    lost_one_in: u64,
    pub(super) is_quiet: bool,
    pub(super) asleep: Vec<u64>,
}

pub(super) struct World {
    pub(super) shared: Shared,
    pub(super) processes: Vec<Option<Process>>,
    is_calm: bool,
}

impl World {
    pub(super) fn new(case: &Case, aloud: bool) -> Self {
        let mut random = Random::new(case.seed ^ 0x6e0e);
        let hosts = case.hosts();
        let clocks = (0..hosts)
            .map(|_| Clock::new(random.below(1 << 40), random.within(1000 - case.skew, 1000 + case.skew)))
            .collect();
        let mut shared = Shared {
            agenda: Agenda::default(),
            random,
            trace: Trace::new(aloud),
            clocks,
            streams: Vec::new(),
            wires: Wires::new(case.latency),
            hosts_of: BTreeMap::new(),
            operational: BTreeMap::new(),
            members: BTreeMap::new(),
            decisions: BTreeMap::new(),
            outcome: Outcome::default(),
            words: BTreeMap::new(),
            cuts: vec![0; hosts],
            reaches: BTreeMap::new(),
            flips_one_in: case.flips_one_in,
            lost_one_in: case.lost_one_in,
            is_quiet: false,
            asleep: vec![0; hosts],
            case: case.clone(),
        };
        if case.total {
            shared.streams.push(Stream::new(MemberId([0xff; 16]), None, 0));
        }
        let mut world = Self { shared, processes: (0..hosts).map(|_| None).collect(), is_calm: false };
        for host in 0..case.members {
            let mut process = world.shared.process(host);
            process.provider = Some(world.shared.provider(process.member));
            process.store =
                Some(Store::new(world.shared.rules(), State::default(), Prepared::new(), Delivered::new()));
            process.is_operational = true;
            process.start_client(&mut world.shared);
            world.put(process);
        }
        for (n, at) in case.joiners.iter().enumerate() {
            world.shared.agenda.at(*at, Event::Start { host: case.members + n });
        }
        for (n, timed) in case.faults.iter().enumerate() {
            world.shared.agenda.at(timed.at, Event::Fault(n));
        }
        world.shared.agenda.at(case.calm, Event::Calm);
        world.shared.agenda.at(case.calm + case.quiet, Event::Quiet);
        world.shared.agenda.at(GOSSIP, Event::Gossip);
        world
    }

    /// Runs until everything is over, and judges.
    pub(super) fn run(mut self) -> Outcome {
        let mut steps = 0;
        while let Some(event) = self.shared.agenda.pop() {
            steps += 1;
            let now = self.shared.agenda.now();
            assert!(steps < STEPS, "a livelock: {}", self.describe());
            let end = self.shared.case.calm + self.shared.case.quiet + Case::PATIENCE;
            assert!(now < end, "somebody waits for ever: {}", self.describe());
            self.shared.trace.number(now);
            let is_gossip = matches!(event, Event::Gossip);
            self.step(event);
            if is_gossip && self.is_over() {
                break;
            }
        }
        let processes: Vec<Process> = self.processes.into_iter().flatten().collect();
        judge::judge(&processes, &self.shared);
        let world = self.shared;
        let simulated = Duration::from_nanos(world.agenda.now());
        let outcome = Outcome { steps, simulated, trace: world.trace.hash(), ..world.outcome };
        let expected = world.case.expected;
        let least = |what: &str, is: u64, least: u64| assert!(is >= least, "{is} {what}, not {least}");
        least("members came to serve", outcome.served, expected.served);
        least("members got another state", outcome.rejoined, expected.rejoined);
        least("members stayed what they were", outcome.stayed, expected.stayed);
        least("epochs aborted", outcome.aborted, expected.aborted);
        least("outcomes were asked for", outcome.doubts, expected.doubts);
        least("joiners were released", outcome.released, expected.released);
        least("prepares travelled", outcome.pending, expected.pending);
        outcome
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Start { host } => self.start(host),
            Event::Arrive { process, stream, sequence } => {
                self.of(process, event, |process, world| process.message(stream, sequence, world));
            }
            Event::Order(content) => self.order(content),
            Event::Vote { process, voter, number } => {
                self.of(process, event, |process, world| process.voted(voter, number, world));
            }
            Event::Parcel { connection, end, parcel } => self.parcel(connection, end, parcel),
            Event::Pin { joiner, round } => self.pin(joiner, round),
            Event::Pinned { joiner, round, ref sources } => {
                let sources = sources.clone();
                self.of(joiner, event, |process, world| {
                    let now = process.now(world);
                    if let Some(joiner) = &mut process.joiner {
                        joiner.handle_pinned(round, &sources, now);
                    }
                    process.drive(world);
                });
            }
            Event::Wake { process } => self.of(process, event, Process::wake),
            Event::Client { process } => self.of(process, event, Process::client),
            Event::Send { process, request } => {
                self.of(process, event, |process, world| process.send(request, world));
            }
            Event::Scan { process, snapshot, piece } => {
                self.of(process, event, |process, world| process.scan(snapshot, piece, world));
            }
            Event::Bulk { joiner, provider, left } => self.bulk(joiner, provider, left),
            Event::Word { process, from, cuts, ref bytes, ref load } => {
                let (bytes, load) = (bytes.clone(), load.clone());
                if self.shared.is_whole(process, from, cuts) {
                    self.of(process, event, |process, world| process.word(from, &bytes, load, world));
                }
            }
            Event::Parted { process, member } => {
                self.of(process, event, |process, world| process.parted(member, world));
            }
            Event::Copied { process, capture, piece } => {
                self.of(process, event, |process, world| process.copied(capture, piece, world));
            }
            Event::Summed { process, capture } => {
                self.of(process, event, |process, world| process.summed(capture, world));
            }
            Event::Piece { joiner, provider, tag, snapshot, left } => {
                self.piece((joiner, provider), tag, snapshot, left);
            }
            Event::Applied { process, generation } => {
                self.of(process, event, |process, world| process.applied(generation, world));
            }
            Event::Durable { process, generation } => {
                self.of(process, event, |process, world| process.durable(generation, world));
            }
            Event::Gossip => self.gossip(),
            Event::Fault(n) => {
                let fault = self.shared.case.faults[n].fault;
                if !self.is_calm {
                    self.fault(fault);
                }
            }
            Event::Calm => {
                self.is_calm = true;
                (self.shared.flips_one_in, self.shared.lost_one_in) = (0, 0);
                self.shared.wires.heal();
                for host in 0..self.processes.len() {
                    self.fault(Fault::Return { host });
                }
            }
            Event::Quiet => {
                let waits = self.processes.iter().flatten().find(|process| !process.is_operational);
                let must = self.shared.case.expected.while_writing;
                assert!(!must || waits.is_none(), "not everybody serves before writers stop");
                self.shared.is_quiet = true;
            }
        }
    }

    /// Acts on a process that lives; once it is awake.
    fn of(&mut self, number: u64, event: Event, act: impl FnOnce(&mut Process, &mut Shared)) {
        let Some(&host) = self.shared.hosts_of.get(&number) else { return };
        let until = self.shared.asleep[host];
        if until > self.shared.agenda.now() {
            let agenda = &mut self.shared.agenda;
            let keeps_order = self.shared.case.protocol.is_some();
            return if keeps_order { agenda.defer(until, event) } else { agenda.at(until, event) };
        }
        self.at_once(number, act);
    }

    /// Acts on a process that lives, awake or not.
    pub(super) fn at_once(&mut self, number: u64, act: impl FnOnce(&mut Process, &mut Shared)) {
        let Some(&host) = self.shared.hosts_of.get(&number) else { return };
        let mut process = self.processes[host].take().expect("it lives");
        act(&mut process, &mut self.shared);
        self.put(process);
    }

    fn put(&mut self, process: Process) {
        let host = process.host;
        if process.is_operational {
            self.shared.operational.insert(process.number, process.member);
        }
        self.processes[host] = Some(process);
    }

    fn start(&mut self, host: usize) {
        if self.processes[host].is_some() {
            return;
        }
        let process = self.shared.process(host);
        let number = process.number;
        self.shared.trace.say(self.shared.agenda.now(), || format!("{host} starts as {}", process.member));
        self.put(process);
        self.at_once(number, Process::join);
    }

    /// A message is numbered, unless its sender is gone.
    fn order(&mut self, content: Content) {
        if self.shared.members.contains_key(&content.writer) || matches!(content.effect, Effect::Leave(_)) {
            self.shared.append(0, content);
        }
    }

    fn parcel(&mut self, connection: usize, end: usize, parcel: Parcel) {
        let wire = &self.shared.wires.connections[connection];
        if wire.is_cut && !matches!(parcel, Parcel::Lost) {
            return;
        }
        let (_, number) = wire.ends[end];
        if !self.shared.hosts_of.contains_key(&number) {
            // The host answers for who is gone.
            if !matches!(parcel, Parcel::Lost) && !wire.is_cut {
                self.shared.lose(connection, 1 - end);
            }
            return;
        }
        let host = self.shared.hosts_of[&number];
        let until = self.shared.asleep[host];
        if until > self.shared.agenda.now() {
            return self.shared.agenda.at(until, Event::Parcel { connection, end, parcel });
        }
        self.at_once(number, |process, world| process.parcel(connection, end, parcel, world));
    }

    /// All sources keep what they have; once the last one has answered, the joiner hears of it.
    fn pin(&mut self, joiner: u64, round: u64) {
        let world = &mut self.shared;
        let Some(&host) = world.hosts_of.get(&joiner) else { return };
        let now = world.agenda.now();
        let away = |stream: &Stream| {
            stream.process.is_some()
                && (world.asleep[stream.host] > now
                    || world.wires.is_blocked(host, stream.host, now)
                    || world.wires.is_blocked(stream.host, host, now))
        };
        if world.streams.iter().any(away) {
            return world.agenda.after(10 * MS, Event::Pin { joiner, round });
        }
        let member = self.processes[host].as_ref().expect("it lives").member;
        let until = now + world.stall().as_nanos() as u64;
        let mut sources = Delivered::new();
        for stream in &mut world.streams {
            stream.pin(member, until);
            let entry = Entry::new(stream.sender, SequenceNumber(stream.dropped), stream.last());
            sources.insert(entry.expect("what is dropped was sent")).expect("room for all");
        }
        let arrival = world.random.within(1, 2 * world.wires.latency);
        world.agenda.after(arrival, Event::Pinned { joiner, round, sources: Box::new(sources) });
    }

    fn bulk(&mut self, joiner: u64, provider: u64, left: u32) {
        let now = self.shared.agenda.now();
        let hosts = [joiner, provider].map(|number| self.shared.hosts_of.get(&number).copied());
        let [Some(to), Some(from)] = hosts else { return };
        let away = self.shared.asleep[to].max(self.shared.asleep[from]) > now
            || self.shared.wires.is_blocked(from, to, now)
            || self.shared.wires.is_blocked(to, from, now);
        if away {
            return self.shared.agenda.after(10 * MS, Event::Bulk { joiner, provider, left });
        }
        let Some(machine) = &self.processes[to].as_ref().expect("it lives").joiner else { return };
        let (tag, state) = (machine.tag(), machine.state());
        let giver = self.processes[from].as_mut().expect("it lives");
        if state != At::Staging || !giver.giving.contains(&tag.transfer) {
            return;
        }
        let whole = giver.snapshot.as_ref().filter(|snapshot| snapshot.is_whole);
        let Some(snapshot) = whole.map(|whole| (whole.id, whole.state.clone(), whole.digest.clone())) else {
            return;
        };
        let heard = self.shared.clocks[from].read(now);
        giver.provider.as_mut().expect("it gives").live().handle_bulk_progress(tag.transfer, heard);
        if left > 0 {
            let time = self.shared.random.below(self.shared.case.piece) + 1;
            self.shared.agenda.after(time, Event::Bulk { joiner, provider, left: left - 1 });
        }
        self.at_once(joiner, |process, world| process.bulk(snapshot, left, world));
    }

    /// Everybody tells how far it has come; who has failed to join tries again; what all have is forgotten.
    fn gossip(&mut self) {
        let now = self.shared.agenda.now();
        let numbers: Vec<u64> = self.shared.hosts_of.keys().copied().collect();
        for number in numbers {
            let host = self.shared.hosts_of[&number];
            if self.shared.asleep[host] > now {
                continue;
            }
            self.at_once(number, |process, world| {
                if process.provider.is_none() && process.has_failed() {
                    process.join(world);
                }
                process.viewed(world);
                process.gossip(world);
            });
        }
        for stream in &mut self.shared.streams {
            let of = |digest: &Delivered| digest.entry(stream.sender).map_or(0, |entry| entry.delivered().0);
            // Who gets another state goes on with the old one, and may stay with it.
            let states = self.processes.iter().flatten().filter_map(|process| process.provider.as_ref());
            let delivered = states.map(|machine| of(machine.delivered()));
            // Where nothing is pinned, the channel keeps what those who listen have not heard.
            let joiners = self.processes.iter().flatten().filter(|process| !process.is_operational);
            let heard =
                joiners.filter_map(|process| process.fetching.machine.as_ref()).map(|one| of(one.heard()));
            let lowest = delivered.chain(heard).min().unwrap_or(0);
            // What was sent by who is gone, the others keep.
            let is_kept = stream.process.is_none() && !self.shared.case.total;
            stream.collect(if is_kept { 0 } else { lowest }, now);
        }
        self.shared.agenda.after(GOSSIP, Event::Gossip);
    }

    fn fault(&mut self, fault: Fault) {
        let now = self.shared.agenda.now();
        self.shared.trace.say(now, || format!("{fault:?}"));
        match fault {
            Fault::Kill { host, down } => self.kill(host, down),
            Fault::KillProviderOf { host, down } => {
                let provider = self.processes[host].as_ref().and_then(Process::asked);
                let provider = provider.and_then(|member| self.shared.members.get(&member));
                if let Some(host) = provider.and_then(|number| self.shared.hosts_of.get(number)).copied() {
                    self.kill(host, down);
                }
            }
            Fault::Sleep { host, time } => {
                self.shared.asleep[host] = self.shared.asleep[host].max(now + time);
            }
            Fault::Block { from, to, time } => self.shared.wires.block(from, to, now + time),
            Fault::Isolate { host, time } => {
                for other in (0..self.processes.len()).filter(|other| *other != host) {
                    self.shared.wires.block(host, other, now + time);
                    self.shared.wires.block(other, host, now + time);
                }
            }
            Fault::Lose { host } => {
                if let Some(number) = self.processes[host].as_ref().map(|process| process.number) {
                    self.at_once(number, Process::lose_captures);
                }
            }
            Fault::Cut { host } => {
                self.shared.cuts[host] += 1;
                self.part_from_all(host);
                for connection in 0..self.shared.wires.connections.len() {
                    if self.shared.wires.connections[connection].ends.iter().any(|end| end.0 == host) {
                        self.shared.wires.connections[connection].is_cut = true;
                        self.shared.lose(connection, 0);
                        self.shared.lose(connection, 1);
                    }
                }
            }
            Fault::Leap { host, by } => self.shared.clocks[host].leap(now, by),
            Fault::Retire { host, time } => {
                self.set_role(host, Role::NonParticipant);
                let back = self.shared.case.faults.len();
                self.shared
                    .case
                    .faults
                    .push(super::faults::Timed { at: now + time, fault: Fault::Return { host } });
                self.shared.agenda.after(time, Event::Fault(back));
            }
            Fault::Return { host } => self.set_role(host, Role::Provider),
            Fault::Rejoin { host } => {
                if let Some(number) = self.processes[host].as_ref().map(|process| process.number) {
                    self.at_once(number, Process::rejoin);
                }
            }
        }
    }

    fn set_role(&mut self, host: usize, role: Role) {
        let Some(process) = self.processes[host].as_ref().filter(|process| process.is_operational) else {
            return;
        };
        let number = process.number;
        self.at_once(number, |process, world| {
            let now = process.now(world);
            process.provider.as_mut().expect("it is operational").set_role(role, now);
            process.drive(world);
        });
    }

    fn kill(&mut self, host: usize, down: u64) {
        let world = &mut self.shared;
        let Some(process) = &self.processes[host] else { return };
        let others = world.operational.keys().filter(|number| **number != process.number).count();
        if others == 0 || world.streams.len() + 2 >= MEMBERS {
            return;
        }
        let process = self.processes[host].take().expect("it lives");
        world.hosts_of.remove(&process.number);
        world.operational.remove(&process.number);
        world.members.remove(&process.member);
        let gone = process.member;
        for connection in 0..world.wires.connections.len() {
            for end in 0..2 {
                if world.wires.connections[connection].ends[end].1 == process.number {
                    world.lose(connection, 1 - end);
                }
            }
        }
        let leave = Content { effect: Effect::Leave(gone), writer: gone, key: 0, value: 0, control: None };
        if let Some(stream) = world.streams.iter().position(|stream| stream.sender == gone) {
            world.streams[stream].process = None;
            world.append(stream, leave);
        } else {
            world.append(0, leave);
        }
        for stream in &mut world.streams {
            // A source forgets the pin of a joiner that is gone when it runs out.
            stream.pins.retain(|pin| pin.joiner != gone || pin.until > world.agenda.now());
        }
        let numbers: Vec<u64> = world.hosts_of.keys().copied().collect();
        world.agenda.after(down, Event::Start { host });
        for number in numbers {
            self.at_once(number, |process, world| {
                process.voter_gone(host, world);
                process.viewed(world);
            });
        }
        self.shared.bereave(host, gone);
    }

    fn is_over(&self) -> bool {
        let world = &self.shared;
        world.is_quiet
            && self
                .processes
                .iter()
                .all(|process| process.as_ref().is_some_and(|process| judge::is_settled(process, world)))
            && world.streams.iter().all(|stream| stream.pins.is_empty())
    }

    fn describe(&self) -> String {
        let tell = |process: &Process| {
            let joiner = process.joiner.as_ref().map(|joiner| (joiner.state(), joiner.failure()));
            let fetcher = process.fetching.machine.as_ref().map(|one| (one.state(), one.failure()));
            let idle = process.provider.as_ref().map(Giver::is_idle);
            let kept = process.store.as_ref().map(|store| (store.log.is_some(), store.requests.is_some()));
            let captures = process.captures.len();
            format!(
                "{}: log and requests {kept:?}, {captures} captures, {joiner:?}, {fetcher:?}, idle {idle:?}, {} held, {:?}",
                process.host,
                process.held.len(),
                process.clients
            )
        };
        let all: Vec<String> = self.processes.iter().flatten().map(tell).collect();
        all.join("; ")
    }
}

impl Shared {
    /// A process that has just started.
    fn process(&mut self, host: usize) -> Process {
        let number = self.members.len() as u64 + self.streams.len() as u64 + self.agenda.now() * 64 + 1;
        let number = self.hosts_of.keys().last().map_or(number, |last| number.max(last + 1));
        let member =
            MemberId(std::array::from_fn(
                |n| if n == 0 { host as u8 } else { (number >> (n % 8 * 8)) as u8 },
            ));
        self.hosts_of.insert(number, host);
        self.members.insert(member, number);
        if !self.case.total {
            self.streams.push(Stream::new(member, Some(number), host));
        }
        Process::new(number, host, member)
    }

    /// Nobody joins from it any more.
    pub(super) fn leaves_operation(&mut self, number: u64) {
        self.operational.remove(&number);
    }

    pub(super) fn process_of(&self, member: MemberId) -> Option<u64> {
        self.members.get(&member).copied()
    }

    /// Somebody who is operational, and not this process.
    pub(super) fn somebody(&mut self, not: u64) -> Option<MemberId> {
        let all: Vec<MemberId> = self
            .operational
            .iter()
            .filter(|(number, _)| **number != not)
            .map(|(_, member)| *member)
            .collect();
        (!all.is_empty()).then(|| self.random.pick(&all))
    }

    /// Those who are operational.
    pub(super) fn view(&self) -> Vec<MemberId> {
        self.operational.values().copied().collect()
    }

    pub(super) fn rules(&self) -> Rules {
        Rules { once: !self.case.fuzzy, total: self.case.total }
    }

    pub(super) fn stall(&self) -> Duration {
        Duration::from_nanos((self.case.lease * 5).max(400 * MS))
    }

    pub(super) fn config(&self, member: MemberId) -> Config {
        let (capture, apply) = if self.case.fuzzy {
            (Capture::Fuzzy, Apply::Idempotent)
        } else {
            (Capture::Atomic, Apply::Once)
        };
        let order = if self.case.total { Properties::TOTAL_ORDER } else { Properties::FIFO };
        let contract = Contract::new(capture, apply).expect("a pair that works");
        Config {
            stall_timeout: self.stall(),
            lease: Duration::from_nanos(self.case.lease),
            latch_budget: Duration::from_nanos(self.case.budget),
            log_bytes: self.case.log_bytes,
            batch_bytes: 1000,
            small_bytes: 200,
            patience: 2,
            policy: self.case.policy,
            ..Config::new(member, order.and(Properties::SEND_AGAIN), contract)
        }
    }

    /// Whether nothing gets from one to the other now.
    pub(super) fn is_cut_off(&self, from: Option<usize>, to: usize) -> bool {
        let now = self.agenda.now();
        from.is_some_and(|from| self.wires.is_blocked(from, to, now) || self.wires.is_blocked(to, from, now))
    }

    /// A process sends a message of its own.
    pub(super) fn multicast(&mut self, process: u64, content: Content) -> (usize, u64) {
        let of_it = |stream: &Stream| stream.process == Some(process);
        let stream = self.streams.iter().position(of_it).expect("it lives");
        (stream, self.append(stream, content))
    }

    /// A message is sent to all that live.
    fn append(&mut self, stream: usize, content: Content) -> u64 {
        if self.streams[stream].sent.is_empty() {
            let until = self.agenda.now() + self.stall().as_nanos() as u64;
            self.streams[stream].begin(until);
        }
        self.streams[stream].sent.push(content);
        let (sequence, source) = (self.streams[stream].last().0, self.streams[stream].process);
        let from = self.streams[stream].host;
        for (number, host) in self.hosts_of.clone() {
            if Some(number) == source {
                continue;
            }
            let near = if source.is_none() { host } else { from };
            let mut arrival = self.wires.arrival(near, host, self.agenda.now(), &mut self.random);
            if self.random.one_in(self.lost_one_in) {
                arrival += 10 * self.wires.latency;
            }
            if self.case.strict {
                let reaches = self.reaches.entry((stream, number)).or_default();
                *reaches = (*reaches + 1).max(arrival);
                arrival = *reaches;
            }
            self.agenda.at(arrival, Event::Arrive { process: number, stream, sequence });
        }
        sequence
    }

    /// A connection ends, as one of its ends sees it.
    fn lose(&mut self, connection: usize, end: usize) {
        self.wires.send(connection, end, Parcel::Lost, &mut self.agenda, &mut self.random);
    }
}
