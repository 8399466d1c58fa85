//! The world of one case: hosts, their members, the network between them, and time that jumps from
//! event to event.

use std::rc::Rc;

use longhaul_core::reason::{Reason, Side};
use longhaul_core::session::SessionError;
use longhaul_core::wire::FRAME_MAX;

use super::agenda::{Agenda, Event};
use super::case::{Case, Expected};
use super::clock::Clock;
use super::disk::{Disk, View};
use super::executor::Locks;
use super::faults::{Fault, Rates};
use super::judge;
use super::member::{Io, Member};
use super::network::{Delivery, Network};
use super::recovery::{self, Ground, Recovered};
use super::session::Session;
use super::state::{Size, State};
use super::trace::Trace;
use super::{Outcome, Random};

/// What became of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// This side dialled it.
    pub(crate) dialled: bool,
    /// Both sides knew each other.
    pub(crate) established: bool,
    /// All was sent, and the joiner's verdict is not known.
    pub(crate) unconfirmed: bool,
    pub(crate) failure: Option<SessionError>,
    /// How often an item came again, the connection was replaced, a lane died alone.
    pub(crate) retries: u64,
    pub(crate) resumed: u64,
    pub(crate) lanes_lost: u64,
    /// Items that an earlier process had left, in part or whole.
    pub(crate) kept: u64,
    /// The most bytes that it ever held.
    pub(crate) held: u64,
}

/// Events of one case: more are a livelock.
const STEPS: u64 = 4_000_000;
/// After the faults everything is over within this time.
const PATIENCE: u64 = 600_000_000_000;
/// The longest pause between two looks at a member.
const LOOK: u64 = 5_000_000_000;
/// Bytes that a session may hold at most: its lanes' windows, its reads, the window of small items.
const HELD: u64 = 24 << 20;
/// How often a process is ended on one way through what an earlier one was about to publish.
const RECOVERIES: u32 = 100;

struct Host {
    disk: Disk,
    locks: Locks,
    clock: Clock,
    member: Option<Member>,
    incarnation: u64,
    /// It runs nothing until then.
    asleep_until: u64,
    /// There is no process until then.
    down_until: u64,
    look: u64,
    /// Plans begun by processes that are gone.
    attempts: u64,
    /// The disk as it was remembered last.
    snapshot: Disk,
    /// Processes that start until then are of an older version.
    older_until: u64,
    /// The process that runs is one.
    is_older: bool,
}

pub(crate) struct World {
    case: Rc<Case>,
    agenda: Agenda,
    network: Network,
    random: Random,
    trace: Trace,
    rates: Rates,
    hosts: Vec<Host>,
    states: Rc<Vec<Rc<State>>>,
    /// What a transfer's destination may hold beside the state.
    earlier: Vec<Vec<Rc<State>>>,
    /// Nothing may be at a transfer's destination.
    may_be_absent: Vec<bool>,
    /// Somebody was told that this transfer's state is published.
    claimed: Vec<bool>,
    calm: bool,
    /// States that were published for a process that is gone.
    recovered: u64,
    /// What became of the sessions of processes that are gone.
    ended: Vec<Ended>,
    scratch: Box<[u8; FRAME_MAX]>,
}

impl World {
    pub(crate) fn new(case: &Case, aloud: bool) -> Self {
        let mut random = Random::new(case.seed ^ 0x5eed);
        let states = case.transfers.iter();
        let states = states.map(|_| Rc::new(State::draw(&case.size, case.integrity, &mut random))).collect();
        let small = Size { files: 2, big: 0, links: 0, ..case.size };
        let old = case.old.then(|| Rc::new(State::draw(&small, case.integrity, &mut random)));
        let mut hosts: Vec<Host> = (0..case.members).map(|_| Host::new()).collect();
        if let Some(old) = &old {
            for (n, give) in case.transfers.iter().enumerate() {
                judge::plant(&mut hosts[give.joiner].disk, &Case::destination(n), old);
            }
        }
        for host in &mut hosts {
            host.snapshot = host.disk.clone();
        }
        let mut agenda = Agenda::default();
        for host in 0..case.members {
            agenda.at(0, Event::Start { host });
        }
        for (n, timed) in case.faults.iter().enumerate() {
            agenda.at(timed.at, Event::Fault(n));
        }
        agenda.at(case.calm, Event::Calm);
        let mut network = Network::new(case.wires, case.members);
        network.flip_one_in = case.rates.flips;
        Self {
            agenda,
            network,
            random,
            trace: Trace::new(aloud),
            rates: case.rates,
            hosts,
            states: Rc::new(states),
            earlier: vec![old.iter().map(Rc::clone).collect(); case.transfers.len()],
            may_be_absent: vec![old.is_none(); case.transfers.len()],
            claimed: vec![false; case.transfers.len()],
            calm: false,
            recovered: 0,
            ended: Vec::new(),
            scratch: Box::new([0; FRAME_MAX]),
            case: Rc::new(case.clone()),
        }
    }

    /// Runs until everything is over, and judges.
    pub(crate) fn run(mut self) -> Outcome {
        let mut steps = 0;
        while let Some(event) = self.agenda.pop() {
            steps += 1;
            assert!(steps < STEPS, "a livelock");
            let now = self.agenda.now();
            assert!(
                now < self.case.calm + PATIENCE,
                "not over {} s after the faults: {}",
                PATIENCE / 1_000_000_000,
                self.describe()
            );
            self.trace.number(now);
            self.step(event);
            if self.is_over() {
                break;
            }
        }
        assert!(self.is_over(), "nothing is left to happen, and it is not over: {}", self.describe());
        self.judge(steps)
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Deliver { connection, to } => self.deliver(connection, to),
            Event::Acknowledge { connection, to, bytes } => {
                let sender = self.network.host(connection, 1 - to);
                self.network.acknowledge(connection, to, bytes);
                if let Some(until) = self.is_asleep(sender) {
                    return self.agenda.at(until, Event::Acknowledge { connection, to, bytes: 0 });
                }
                self.with(sender, |member, io| member.room(connection, io));
            }
            Event::Fault(n) => {
                let fault = self.case.faults[n].fault;
                self.trace.say(self.agenda.now(), || format!("{fault:?}"));
                if !self.calm {
                    self.fault(fault);
                }
            }
            Event::Calm => {
                self.trace.say(self.agenda.now(), || "calm".into());
                self.calm = true;
                self.rates = Rates::default();
                self.network.heal();
            }
            Event::Start { host } => self.start(host),
            Event::Die { host, incarnation, power } => {
                if self.hosts[host].incarnation == incarnation {
                    self.end(host, power, 1_000_000);
                }
            }
            Event::Upgrade { host } => {
                if self.hosts[host].is_older {
                    self.end(host, false, 1);
                }
            }
            Event::Operate { host } => self.operate(host),
            Event::Work { host, incarnation, session, job } => {
                if self.hosts[host].incarnation != incarnation || self.hosts[host].member.is_none() {
                    return;
                }
                if let Some(until) = self.is_asleep(host) {
                    return self.agenda.at(until, Event::Work { host, incarnation, session, job });
                }
                self.with(host, |member, io| member.work(session, job, io));
            }
        }
    }

    fn is_asleep(&self, host: usize) -> Option<u64> {
        let until = self.hosts[host].asleep_until;
        (until > self.agenda.now()).then_some(until)
    }

    fn with(&mut self, host: usize, act: impl FnOnce(&mut Member, &mut Io<'_>)) {
        let place = &mut self.hosts[host];
        let Some(member) = &mut place.member else { return };
        let mut io = Io {
            now: place.clock.read(self.agenda.now()),
            agenda: &mut self.agenda,
            network: &mut self.network,
            random: &mut self.random,
            trace: &mut self.trace,
            disk: &mut place.disk,
            locks: &mut place.locks,
            clock: &place.clock,
            scratch: &mut self.scratch,
            rates: self.rates,
            is_older: place.is_older,
            host,
            incarnation: place.incarnation,
            session: 0,
        };
        act(member, &mut io);
    }

    fn deliver(&mut self, connection: usize, to: usize) {
        let now = self.agenda.now();
        let (host, sender) = (self.network.host(connection, to), self.network.host(connection, 1 - to));
        let place = &self.hosts[host];
        if place.down_until > now && self.network.is_gone(connection, to) {
            return self.agenda.at(place.down_until + 1, Event::Deliver { connection, to });
        }
        if let Some(until) = self.is_asleep(host).filter(|_| !self.network.is_gone(connection, to)) {
            return self.agenda.at(until, Event::Deliver { connection, to });
        }
        if place.member.as_ref().is_some_and(|member| !member.has_room(connection)) {
            return self.agenda.after(300_000, Event::Deliver { connection, to });
        }
        let was_full = !self.network.has_room(connection, 1 - to);
        let delivery = self.network.deliver(connection, to, &mut self.random, &mut self.agenda);
        if was_full && self.network.has_room(connection, 1 - to) {
            self.agenda.after(0, Event::Acknowledge { connection, to, bytes: 0 });
        }
        match delivery {
            Delivery::Nothing => {}
            Delivery::Segments(segments) => {
                self.trace.number(sender as u64);
                self.with(host, |member, io| member.received(connection, to, segments, io));
            }
            Delivery::Ended => self.with(host, |member, io| member.ended(connection, io)),
        }
    }

    fn start(&mut self, host: usize) {
        let place = &mut self.hosts[host];
        if place.member.is_some() || place.down_until > self.agenda.now() {
            return;
        }
        place.incarnation += 1;
        place.look = 0;
        place.is_older = place.older_until > self.agenda.now();
        self.recover(host, &(0..self.case.transfers.len()).collect::<Vec<_>>());
        let place = &mut self.hosts[host];
        place.member = Some(Member::new(&self.case, &self.states, &mut self.random));
        self.network.set_up(host, true);
        self.agenda.after(self.random.below(1000), Event::Operate { host });
    }

    /// Whoever runs the member begins what is not done and not under way.
    fn operate(&mut self, host: usize) {
        if let Some(until) = self.is_asleep(host) {
            return self.agenda.at(until, Event::Operate { host });
        }
        let mut waits = false;
        for plan in self.case.dialled_by(host) {
            let Some(member) = &self.hosts[host].member else { return };
            if plan.iter().all(|session| self.is_session_done(*session)) {
                continue;
            }
            waits = true;
            let sessions = self.case.sessions();
            let takes = plan.iter().flat_map(|session| sessions[*session].takes.clone()).collect::<Vec<_>>();
            if !member.is_busy(&plan) {
                self.recover(host, &takes);
            }
            let Some(member) = &self.hosts[host].member else { return };
            let again = member.attempts() > 0 && matches!(self.case.expected, Expected::Fails(_));
            if !again && !member.is_busy(&plan) {
                self.with(host, |member, io| member.run(&plan, io));
            }
        }
        if waits {
            let look = &mut self.hosts[host].look;
            *look = (*look * 2).clamp(20_000_000, LOOK);
            self.agenda.after(*look, Event::Operate { host });
        }
    }

    /// Sees through, at a joiner, what an earlier process was about to publish. The process is ended on the way
    /// now and then, and starts again.
    fn recover(&mut self, host: usize, transfers: &[usize]) {
        if self.case.journal_every == 0 {
            return;
        }
        for &transfer in transfers.iter().filter(|n| self.case.transfers[**n].joiner == host) {
            let mut patience = RECOVERIES;
            loop {
                let place = &mut self.hosts[host];
                let mut ground = Ground {
                    disk: &mut place.disk,
                    locks: &mut place.locks,
                    random: &mut self.random,
                    rates: self.rates,
                    mortal: self.rates.deaths > 0 && place.member.is_none() && patience > 0,
                    holder: u64::MAX,
                    is_older: place.is_older,
                    replace: self.case.replace,
                };
                let recovered = recovery::recover(&Case::destination(transfer), &mut ground);
                patience -= u32::from(patience > 0);
                if recovered == Recovered::Published {
                    self.recovered += 1;
                    let states = self.earlier[transfer].iter().chain([&self.states[transfer]]);
                    let disk = &self.hosts[host].disk;
                    judge::assert_durable_whole(disk, &Case::destination(transfer), states);
                }
                self.assert_destinations();
                if recovered != Recovered::Ended {
                    break;
                }
            }
        }
    }

    fn is_session_done(&self, session: usize) -> bool {
        let pair = &self.case.sessions()[session];
        pair.gives.iter().chain(&pair.takes).all(|transfer| self.is_done(*transfer))
    }

    fn is_done(&self, transfer: usize) -> bool {
        let disk = &self.hosts[self.case.transfers[transfer].joiner].disk;
        judge::is_published(disk, &Case::destination(transfer), &self.states[transfer])
    }

    fn fault(&mut self, fault: Fault) {
        let now = self.agenda.now();
        match fault {
            Fault::Cut { between: (a, b), lane } => {
                let lanes = [a, b].into_iter().filter_map(|host| self.hosts[host].member.as_ref());
                let lanes = lanes.flat_map(|member| &member.sessions).filter_map(|session| {
                    session.connection(lane).filter(|c| !session.is_ended() && self.network.joins(*c, a, b))
                });
                let lanes: std::collections::BTreeSet<usize> = lanes.collect();
                for connection in lanes {
                    self.network.cut(connection, &mut self.random, &mut self.agenda);
                }
            }
            Fault::Block { from, to, nanos } => self.network.block(from, to, now + nanos),
            Fault::Kill { host, nanos } => self.end(host, false, nanos),
            Fault::Crash { host, nanos } => self.end(host, true, nanos),
            Fault::Sleep { host, nanos } => {
                let place = &mut self.hosts[host];
                place.asleep_until = place.asleep_until.max(now + nanos);
            }
            Fault::Leap { host, nanos } => {
                self.hosts[host].clock.leap(now, nanos);
                // Its timers are due earlier now.
                self.with(host, Member::rearm);
            }
            Fault::Change { nanos } => self.change(nanos),
            Fault::Snapshot { host } => {
                let mut disk = self.hosts[host].disk.clone();
                disk.lose_power(&mut self.random);
                self.hosts[host].snapshot = disk;
            }
            Fault::RollBack { host, nanos } => {
                // Who heard of what was published before is gone too.
                for host in 0..self.hosts.len() {
                    self.end(host, false, nanos);
                }
                let place = &mut self.hosts[host];
                place.disk = place.snapshot.clone();
                for (n, _) in self.case.transfers.iter().enumerate().filter(|(_, give)| give.joiner == host) {
                    self.claimed[n] = false;
                    self.may_be_absent[n] = !self.case.old;
                }
            }
            Fault::Older { host, nanos } => {
                self.hosts[host].older_until = now + nanos;
                self.agenda.at(now + nanos, Event::Upgrade { host });
                self.end(host, false, 1);
            }
            Fault::Freeze { host, nanos } => {
                self.hosts[host].clock.freeze(now, nanos);
                self.with(host, Member::rearm);
            }
        }
    }

    /// All processes end, and what they give is another state when they start again.
    fn change(&mut self, nanos: u64) {
        for host in 0..self.hosts.len() {
            self.end(host, false, nanos);
        }
        let mut states = Vec::new();
        for (n, state) in self.states.iter().enumerate() {
            self.earlier[n].push(Rc::clone(state));
            states.push(Rc::new(state.changed(self.case.integrity, &mut self.random)));
            self.claimed[n] = false;
        }
        self.states = Rc::new(states);
    }

    /// A process ends without a word.
    fn end(&mut self, host: usize, power: bool, nanos: u64) {
        if self.hosts[host].member.is_none() {
            return;
        }
        self.look_at_claims();
        let place = &mut self.hosts[host];
        if let Some(member) = place.member.take() {
            place.attempts += member.attempts();
            self.ended.extend(member.sessions.iter().map(Session::outcome));
        }
        place.locks.clear();
        place.down_until = self.agenda.now() + nanos;
        self.network.set_up(host, false);
        if power {
            place.disk.lose_power(&mut self.random);
        }
        for (connection, end) in self.network.of(host) {
            self.network.desert(connection, end, power, &mut self.random, &mut self.agenda);
        }
        self.agenda.at(self.hosts[host].down_until, Event::Start { host });
        self.assert_destinations();
    }

    /// What was said to be published stays so; what was not is old or new, never a mix.
    fn assert_destinations(&self) {
        for (n, give) in self.case.transfers.iter().enumerate() {
            let disk = &self.hosts[give.joiner].disk;
            let (destination, state) = (Case::destination(n), &self.states[n]);
            judge::assert_whole(disk, &destination, state, &self.earlier[n], self.may_be_absent[n]);
            if self.claimed[n] {
                judge::assert_published(disk, &destination, state);
            }
        }
    }

    fn look_at_claims(&mut self) {
        let sessions = self.case.sessions();
        for (n, host) in self.hosts.iter().enumerate() {
            for session in host.member.iter().flat_map(|member| &member.sessions) {
                let pair = &sessions[session.number()];
                for transfer in pair.gives.iter().chain(&pair.takes) {
                    let is_joiner = self.case.transfers[*transfer].joiner == n;
                    let side = if is_joiner { Side::Joiner } else { Side::Provider };
                    if session.claims(side) {
                        self.claimed[*transfer] = true;
                        self.may_be_absent[*transfer] = false;
                    }
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        let now = self.agenda.now();
        let quiet = |host: &Host| {
            let over = |member: &Member| member.sessions.iter().all(Session::is_over);
            host.down_until <= now && host.member.as_ref().is_some_and(over)
        };
        self.hosts.iter().all(quiet) && self.has_ended()
    }

    fn has_ended(&self) -> bool {
        match self.case.expected {
            Expected::Published => (0..self.case.transfers.len()).all(|n| self.is_done(n)),
            Expected::Fails(_) => {
                let begun = |host: &Host| host.member.as_ref().map_or(0, Member::attempts) + host.attempts;
                self.hosts.iter().map(begun).sum::<u64>() >= self.case.plans()
            }
        }
    }

    fn judge(mut self, steps: u64) -> Outcome {
        self.look_at_claims();
        self.assert_destinations();
        let mut attempts = 0;
        for host in &self.hosts {
            let Some(member) = &host.member else { continue };
            attempts += member.attempts() + host.attempts;
            self.ended.extend(member.sessions.iter().map(Session::outcome));
        }
        let failures: Vec<SessionError> = self.ended.iter().filter_map(|ended| ended.failure).collect();
        if let Expected::Fails(reason) = self.case.expected {
            for failure in &failures {
                assert_eq!(failure.reason(), reason, "why it failed");
            }
            assert!(!failures.is_empty(), "it should have failed: {reason}");
            assert!(self.claimed.iter().all(|claimed| !claimed), "it should not have published");
        }
        if self.case.is_faultless() && self.case.expected == Expected::Published {
            assert!(failures.is_empty(), "failed without a fault: {failures:?}");
        }
        if let Some(most) = self.case.attempts {
            assert!(attempts <= most, "{attempts} attempts, not {most}: {failures:?}");
        }
        if self.case.rates.flips == 0 {
            for failure in &failures {
                let broken = matches!(failure.reason(), Reason::Protocol | Reason::Internal);
                assert!(!broken, "somebody broke the protocol: {failure}");
            }
        }
        if self.case.is_gentle() && self.case.expected == Expected::Published {
            for ended in self.ended.iter().filter(|ended| ended.dialled && ended.established) {
                // A plan gives up all its sessions with one; a peer that is done is gone.
                let elsewhere = |why: SessionError| matches!(why.reason(), Reason::Gone | Reason::Cancelled);
                let excused = ended.unconfirmed || ended.failure.is_none_or(elsewhere);
                assert!(excused, "it should have gone on: {:?}", ended.failure);
            }
        }
        for ended in &self.ended {
            assert!(ended.held < HELD, "a session held {} bytes", ended.held);
        }
        let sum = |count: fn(&Ended) -> u64| self.ended.iter().map(count).sum::<u64>();
        let dialler = |ended: &Ended, count| if ended.dialled { count } else { 0 };
        let resumed: u64 = self.ended.iter().map(|ended| dialler(ended, ended.resumed)).sum();
        let lost: u64 = self.ended.iter().map(|ended| dialler(ended, ended.lanes_lost)).sum();
        assert!(
            resumed >= self.case.resumes,
            "{resumed} connections were replaced, not {}",
            self.case.resumes
        );
        assert!(lost >= self.case.loses, "{lost} lanes died alone, not {}", self.case.loses);
        let kept = self.ended.iter().map(|ended| ended.kept).sum::<u64>();
        assert!(kept >= self.case.keeps, "{kept} items were gone on with, not {}", self.case.keeps);
        let (recovered, wanted) = (self.recovered, self.case.recovers);
        assert!(recovered >= wanted, "{recovered} states were seen through, not {wanted}");
        // What is published outlives everything.
        if self.case.expected == Expected::Published {
            for (n, give) in self.case.transfers.iter().enumerate() {
                let disk = &mut self.hosts[give.joiner].disk;
                if self.claimed[n] {
                    disk.lose_power(&mut self.random);
                    judge::assert_published(disk, &Case::destination(n), &self.states[n]);
                }
                let there = disk.look_up(Disk::PARENT, &Case::destination(n), View::Cache);
                assert!(there.is_some() || !self.claimed[n], "what was published is gone");
            }
        }
        Outcome {
            attempts,
            retries: sum(|ended| ended.retries),
            resumed: sum(|ended| ended.resumed),
            lanes_lost: sum(|ended| ended.lanes_lost),
            kept,
            recovered: self.recovered,
            unconfirmed: sum(|ended| ended.unconfirmed.into()),
            failures: failures.len() as u64,
            steps,
            simulated: std::time::Duration::from_nanos(self.agenda.now()),
            trace: self.trace.hash(),
        }
    }

    fn describe(&self) -> String {
        let mut words = Vec::new();
        for (n, host) in self.hosts.iter().enumerate() {
            let Some(member) = &host.member else {
                words.push(format!("host {n} is down"));
                continue;
            };
            for session in member.sessions.iter().filter(|session| !session.is_over()) {
                words.push(format!("host {n}, session {}: {}", session.number(), session.describe()));
            }
            for session in member.sessions.iter().rev().take(2) {
                words.push(format!("host {n}: {:?}", session.failure()));
            }
        }
        words.join("; ")
    }
}

impl Host {
    fn new() -> Self {
        Self {
            disk: Disk::new(),
            locks: Locks::default(),
            clock: Clock::default(),
            member: None,
            incarnation: 0,
            asleep_until: 0,
            down_until: 0,
            look: 0,
            attempts: 0,
            snapshot: Disk::new(),
            older_until: 0,
            is_older: false,
        }
    }
}
