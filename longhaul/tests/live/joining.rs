//! What a joiner ends with is what the others have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longhaul::ErrorKind;
use longhaul::live::{Config, Decision, Effect, Event, Failure, Fetched, Phase, Refusal, Transaction};

use crate::bus::{Bus, Channel, Content};
use crate::host::{Host, PATIENCE, config};

/// Members that write, until they are told to stop.
pub(crate) struct Group {
    pub(crate) bus: Arc<Bus>,
    pub(crate) hosts: Vec<Host>,
    is_writing: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Group {
    pub(crate) fn start(members: u8) -> Self {
        Self::with(members, config)
    }

    pub(crate) fn with(members: u8, config: impl Fn(u8) -> Config) -> Self {
        Self::over(Channel::Total, members, config)
    }

    pub(crate) fn over(channel: Channel, members: u8, config: impl Fn(u8) -> Config) -> Self {
        let bus = Bus::new(channel);
        let mut group = Self {
            hosts: (1..=members).map(|n| Host::found(&bus, config(n))).collect(),
            bus,
            is_writing: Arc::new(AtomicBool::new(true)),
            written: Arc::default(),
        };
        for n in 0..group.hosts.len() {
            group.write_at(n);
        }
        group
    }

    pub(crate) fn write_at(&mut self, host: usize) {
        self.hosts[host].write(&self.is_writing, &self.written);
    }

    /// Waits until so much more was written.
    pub(crate) fn written(&self, more: u64) {
        let until = self.written.load(Ordering::SeqCst) + more;
        let start = Instant::now();
        while self.written.load(Ordering::SeqCst) < until {
            assert!(start.elapsed() < PATIENCE, "nobody writes");
            std::thread::yield_now();
        }
    }

    /// Writers stop, and everybody comes to the same state.
    pub(crate) fn settle(&mut self) {
        self.is_writing.store(false, Ordering::SeqCst);
        for host in &mut self.hosts {
            host.finish_writing();
        }
        let last = self.bus.last();
        let stores: Vec<_> = self.hosts.iter().map(|host| host.delivered(&last)).collect();
        for (store, host) in stores.iter().zip(&self.hosts) {
            assert_eq!((&store.map, &store.prepared), (&stores[0].map, &stores[0].prepared));
            assert_eq!(store.applied, stores[0].applied, "each record once");
            host.is_idle();
        }
        assert!(!self.bus.has_pins(), "nothing is pinned any more");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.is_writing.store(false, Ordering::SeqCst);
        self.bus.close();
    }
}

#[test]
fn a_joiner_under_writes_ends_with_what_the_others_have_and_writes_itself() {
    joins_under_writes(Group::start(3));
}

pub(crate) fn joins_under_writes(mut group: Group) {
    group.written(100);
    let joiner = Host::join(&group.bus, config(4));
    let fetched = joiner.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap().wait();
    let Fetched::State(state) = fetched.unwrap() else { panic!("there is a state") };
    assert!(state.bulk.is_some_and(|bulk| bulk.bytes >= 8) && joiner.member().is_operational());
    group.hosts.push(joiner);
    group.write_at(3);
    group.written(100);
    group.settle();
    let Event::LatchOpened { held, .. } =
        group.hosts[0].expect("latch", |event| matches!(event, Event::LatchOpened { .. }))
    else {
        unreachable!()
    };
    assert!(held < config(1).lease);
}

#[test]
fn several_joiners_at_once_share_what_there_is_and_all_come_to_serve() {
    let mut group = Group::start(2);
    let joiners: Vec<Host> = (3..6).map(|n| Host::join(&group.bus, config(n))).collect();
    let target = group.hosts[0].address();
    let transfers: Vec<_> = joiners
        .iter()
        .map(|joiner| joiner.member().fetch_state(&[&target], b"", PATIENCE).unwrap())
        .collect();
    for transfer in transfers {
        assert!(matches!(transfer.wait().unwrap(), Fetched::State(_)));
    }
    group.hosts.extend(joiners);
    group.written(30);
    group.settle();
}

#[test]
fn pending_prepares_travel_and_their_commit_finds_them() {
    pending_prepares_travel(Group::start(2));
}

pub(crate) fn pending_prepares_travel(mut group: Group) {
    let (bus, number, key) = (Arc::clone(&group.bus), 1_000_000, 1_000);
    // Each of another sender.
    let transactions = [0, 1].map(|n: usize| Transaction { member: group.hosts[n].id, number });
    let send = |transaction: Transaction, effect| {
        bus.send(
            transaction.member,
            Content { effect, key: key + u64::from(transaction.member.0[0]), value: 6 },
        )
    };
    let prepared = transactions.map(|transaction| send(transaction, Effect::Prepare(transaction)));
    group.hosts[0].delivered(&prepared);
    let joiner = Host::join(&bus, config(3));
    let fetched = joiner.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap().wait();
    assert!(matches!(fetched.unwrap(), Fetched::State(_)));
    for member in [1, 2] {
        assert!(joiner.map.lock().prepared.contains_key(&(member, number)), "it is not ended yet");
    }
    group.hosts.push(joiner);
    for transaction in transactions {
        send(transaction, Effect::Commit(transaction));
    }
    group.settle();
    for member in [1, 2] {
        assert_eq!(group.hosts[2].map.lock().map.get(&(key + member)), Some(&6));
    }
}

#[test]
fn who_has_joined_gives_the_state_to_the_next() {
    let mut group = Group::start(1);
    for n in 2..4 {
        let joiner = Host::join(&group.bus, config(n));
        let target = group.hosts.last().unwrap().address();
        let fetched = joiner.member().fetch_state(&[target], b"", PATIENCE).unwrap().wait();
        assert!(matches!(fetched.unwrap(), Fetched::State(_)));
        group.hosts.push(joiner);
        group.written(10);
    }
    group.settle();
}

#[test]
fn a_lease_that_runs_out_is_an_abort_and_the_next_try_commits() {
    let quick = |n| Config { lease: Duration::from_millis(100), ..config(n) };
    let mut group = Group::with(1, quick);
    let transaction = Transaction { member: group.hosts[0].id, number: 1_000_000 };
    let prepare = Content { effect: Effect::Prepare(transaction), key: 5, value: 6 };
    let prepared = group.bus.send(transaction.member, prepare);
    group.hosts[0].delivered(&[prepared]);
    let joiner = Host::join(&group.bus, quick(2));
    joiner.map.gates.prepare.close();
    let transfer = joiner.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap();
    // The latch is closed while what is prepared is on its way; nobody is ready before the lease is over.
    let first = group.hosts[0].expect("outcome", |event| matches!(event, Event::Decided { .. }));
    assert!(matches!(first, Event::Decided { decision: Decision::Abort, .. }));
    assert!(!joiner.member().is_operational());
    joiner.map.gates.prepare.open();
    assert!(matches!(transfer.wait().unwrap(), Fetched::State(_)));
    group.hosts[0]
        .expect("commit", |event| matches!(event, Event::Decided { decision: Decision::Commit, .. }));
    group.hosts.push(joiner);
    group.bus.send(transaction.member, Content { effect: Effect::Commit(transaction), key: 0, value: 0 });
    group.settle();
}

#[test]
fn a_member_of_a_group_of_one_and_one_that_asks_itself_has_no_state_and_is_told_at_once() {
    let bus = Bus::new(Channel::Total);
    let alone = Host::join(&bus, config(1));
    let nobody: [&str; 0] = [];
    for targets in [&nobody[..], &[&alone.address()]] {
        let fetched = alone.member().fetch_state(targets, b"", PATIENCE).unwrap().wait();
        assert!(matches!(fetched.unwrap(), Fetched::NoState));
    }
    // The same member under another name.
    let port = alone.member().local_addr().port();
    let fetched = alone.member().fetch_state(&[format!("localhost:{port}")], b"", PATIENCE).unwrap().wait();
    let error = fetched.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    bus.close();
}

#[test]
fn a_capture_that_is_released_slowly_holds_nobody_up() {
    let mut group = Group::start(1);
    group.hosts[0].map.gates.release.close();
    let joiner = Host::join(&group.bus, config(2));
    let fetched = joiner.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap().wait();
    assert!(matches!(fetched.unwrap(), Fetched::State(_)));
    group.written(20);
    group.hosts[0].map.gates.release.open();
    group.hosts.push(joiner);
    group.settle();
}

#[test]
fn a_provider_pushes_its_state_to_who_accepts_it_and_to_nobody_else() {
    let mut group = Group::start(1);
    group.written(20);
    let push = |host: &Host| group.hosts[0].member().push_state(&host.address(), PATIENCE);
    let closed = Host::join(&group.bus, config(8));
    let refused = push(&closed).unwrap_err();
    assert_eq!(refused.live().unwrap().failure, Failure::Refused(Refusal::NotWanted), "{refused}");
    let joiner = Host::accepting(&group.bus, config(2));
    push(&joiner).unwrap();
    assert!(joiner.member().is_operational() && !closed.member().is_operational());
    let again = push(&joiner).unwrap_err();
    assert_eq!(
        again.live().unwrap().failure,
        Failure::Refused(Refusal::NotWanted),
        "it has a state: {again}"
    );
    let without = closed.member().push_state(&joiner.address(), PATIENCE).unwrap_err();
    assert_eq!(without.kind(), ErrorKind::Usage, "it has nothing to give: {without}");
    drop(closed);
    group.hosts.push(joiner);
    group.settle();
}

#[test]
fn what_is_sent_is_limited_for_the_sake_of_the_writers() {
    let mut group = Group::start(1);
    // So many writes are a baseline.
    group.written(300);
    let joiner = Host::join(&group.bus, config(2));
    joiner.map.gates.apply.close();
    let transfer = joiner.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap();
    joiner.map.gates.apply.is_met();
    let limited = |event: &Event| matches!(event, Event::Pace(pace) if pace.limit_per_second.is_some());
    group.hosts[0].expect("a limit", limited);
    joiner.map.gates.apply.open();
    assert!(matches!(transfer.wait().unwrap(), Fetched::State(_)));
    group.hosts.push(joiner);
    group.settle();
}

#[test]
fn phases_and_pace_are_told() {
    let mut group = Group::start(1);
    group.written(20);
    let mut joiner = Host::join(&group.bus, config(2));
    let fetched = joiner.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap().wait();
    assert!(matches!(fetched.unwrap(), Fetched::State(_)));
    // Others may be over as soon as they begin.
    for phase in [Phase::Dialling, Phase::Requesting, Phase::Staging, Phase::Following, Phase::Serving] {
        joiner.expect("phase", |event| *event == Event::Phase(phase));
    }
    let provider = &mut group.hosts[0];
    provider.expect("admission", |event| matches!(event, Event::Admitted { .. }));
    provider.expect("commit", |event| matches!(event, Event::Decided { decision: Decision::Commit, .. }));
}
