//! A member that has a state gets another one, at any time: until that is there it goes on with the old one.

use std::sync::Arc;

use longhaul::live::{Decision, Effect, Event, Failure, Fetched, Phase, Refusal, Transaction};

use crate::bus::Content;
use crate::failing::quick;
use crate::host::{Host, PATIENCE, config};
use crate::joining::Group;
use crate::wire::Wire;

/// A group whose second member gets another state from the first, and has staged it.
fn rejoining(group: &Group, from: &[String]) -> longhaul::live::StateTransfer {
    let host = &group.hosts[1];
    host.map.gates.apply.close();
    let transfer = host.member().fetch_state(from, b"", PATIENCE).unwrap();
    assert!(!host.member().is_operational(), "from the beginning on");
    host.map.gates.apply.is_met();
    transfer
}

/// It has gone on with the old state, and nobody was told anything else.
fn has_stayed(group: &mut Group) {
    assert!(group.hosts[1].member().is_operational());
    group.written(20);
    group.settle();
}

#[test]
fn a_member_that_serves_gets_another_state_while_all_write_and_goes_on_with_the_old_one_until_then() {
    rejoins_under_writes(Group::start(3));
}

pub(crate) fn rejoins_under_writes(mut group: Group) {
    group.written(100);
    for writes in [4000, 1, 1] {
        let transfer = rejoining(&group, &[group.hosts[0].address()]);
        // Into the old state, which readers have; and though there is room for fewer open transactions than come.
        group.written(writes);
        let before = group.bus.last_of(group.hosts[0].id);
        group.hosts[1].delivered(&[before.next()]);
        group.hosts[1].map.gates.apply.open();
        let Fetched::State(state) = transfer.wait().unwrap() else { panic!("there is a state") };
        assert!(state.bulk.is_some() && group.hosts[1].member().is_operational());
        group.written(20);
    }
    assert_eq!(*group.hosts[1].map.staged.lock().unwrap(), 3);
    group.settle();
}

#[test]
fn what_is_prepared_comes_with_the_other_state_once() {
    rejoins_with_what_is_prepared(Group::start(0));
}

pub(crate) fn rejoins_with_what_is_prepared(mut group: Group) {
    let bus = Arc::clone(&group.bus);
    group.hosts.extend((1..3).map(|n| Host::found(&bus, config(n))));
    // Each of another sender.
    let transactions = [0, 1].map(|n: usize| Transaction { member: group.hosts[n].id, number: 1 });
    let send = |transaction: Transaction, effect| {
        bus.send(transaction.member, Content { effect, key: u64::from(transaction.member.0[0]), value: 6 })
    };
    let prepared = transactions.map(|transaction| send(transaction, Effect::Prepare(transaction)));
    group.hosts.iter().for_each(|host| drop(host.delivered(&prepared)));
    let transfer = rejoining_without_log(&group);
    // Delivered into the old state, and into the one that comes.
    let ended = send(transactions[1], Effect::Commit(transactions[1]));
    group.hosts[1].delivered(&[ended]);
    group.hosts[1].map.gates.stage.open();
    assert!(matches!(transfer.wait().unwrap(), Fetched::State(_)));
    assert_eq!(group.hosts[1].map.lock().prepared.len(), 1);
    send(transactions[0], Effect::Commit(transactions[0]));
    group.settle();
    assert_eq!(group.hosts[1].map.lock().applied, 2);
}

/// The same, and nothing is staged yet.
fn rejoining_without_log(group: &Group) -> longhaul::live::StateTransfer {
    let host = &group.hosts[1];
    host.map.gates.stage.close();
    let transfer = host.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap();
    host.map.gates.stage.is_met();
    transfer
}

#[test]
fn who_gives_up_another_state_goes_on_with_the_old_one_and_lacks_nothing() {
    let mut group = Group::start(2);
    group.written(20);
    let transfer = rejoining(&group, &[group.hosts[0].address()]);
    transfer.cancel();
    group.hosts[1].map.gates.apply.open();
    let error = transfer.wait().unwrap_err();
    assert_eq!(error.live().unwrap().failure, Failure::Cancelled);
    has_stayed(&mut group);
}

#[test]
fn an_application_that_fails_to_get_another_state_has_the_old_one() {
    let mut group = Group::with(2, quick);
    group.written(20);
    let transfer = rejoining(&group, &[group.hosts[0].address()]);
    *group.hosts[1].map.fails.lock().unwrap() = Some("a disk that fails");
    group.hosts[1].map.gates.apply.open();
    assert_eq!(transfer.wait().unwrap_err().live().unwrap().failure, Failure::Application);
    *group.hosts[1].map.fails.lock().unwrap() = None;
    has_stayed(&mut group);
}

// Catalogue: F49
#[test]
fn where_the_provider_of_another_state_dies_the_next_one_takes_over_or_the_old_one_stays() {
    let mut group = Group::with(3, quick);
    group.written(20);
    let targets: Vec<String> = [2, 0].map(|n: usize| group.hosts[n].address()).into();
    let transfer = rejoining(&group, &targets);
    drop(group.hosts.pop());
    group.hosts[1].map.gates.apply.open();
    let Fetched::State(state) = transfer.wait().unwrap() else { panic!("there is a state") };
    assert_eq!(state.provider, targets[1]);
    let wire = Wire::to(group.hosts[0].address());
    let transfer = rejoining(&group, &[wire.address()]);
    wire.cut();
    group.hosts[1].map.gates.apply.open();
    assert_eq!(transfer.wait().unwrap_err().live().unwrap().failure, Failure::Lost);
    has_stayed(&mut group);
}

#[test]
fn whoever_waits_at_the_latch_of_a_member_that_joins_again_is_told_to_go_elsewhere() {
    let mut group = Group::start(0);
    let bus = Arc::clone(&group.bus);
    group.hosts.extend((1..3).map(|n| Host::found(&bus, config(n))));
    let transaction = Transaction { member: group.hosts[0].id, number: 1 };
    let send = |effect| bus.send(transaction.member, Content { effect, key: 5, value: 6 });
    let prepared = send(Effect::Prepare(transaction));
    group.hosts.iter().for_each(|host| drop(host.delivered(&[prepared])));
    let joiner = Host::join(&bus, config(3));
    joiner.map.gates.prepare.close();
    let targets = [group.hosts[1].address(), group.hosts[0].address()];
    let joining = joiner.member().fetch_state(&targets, b"", PATIENCE).unwrap();
    joiner.map.gates.prepare.is_met();
    let again = group.hosts[1].member().fetch_state(&targets[1..], b"", PATIENCE).unwrap();
    let aborted = |event: &Event| matches!(event, Event::Decided { decision: Decision::Abort, .. });
    group.hosts[1].expect("an end", aborted);
    joiner.map.gates.prepare.open();
    assert!(matches!(again.wait().unwrap(), Fetched::State(_)));
    assert!(matches!(joining.wait().unwrap(), Fetched::State(_)));
    group.hosts.push(joiner);
    send(Effect::Commit(transaction));
    group.settle();
}

#[test]
fn who_joins_again_gives_no_state_and_who_wants_it_stays_what_it_was() {
    let mut group = Group::start(3);
    group.written(20);
    let transfer = rejoining(&group, &[group.hosts[2].address()]);
    let other = group.hosts[0].member().fetch_state(&[group.hosts[1].address()], b"", PATIENCE).unwrap();
    let failure = other.wait().map_err(|error| error.live().unwrap().failure);
    group.hosts[1].map.gates.apply.open();
    assert_eq!(failure.unwrap_err(), Failure::Refused(Refusal::NotOperational));
    assert!(group.hosts[0].member().is_operational());
    assert!(matches!(transfer.wait().unwrap(), Fetched::State(_)));
    has_stayed(&mut group);
}

#[test]
fn a_state_that_is_pushed_replaces_that_of_a_member_that_accepts_one() {
    let mut group = Group::start(2);
    group.written(20);
    let push = |group: &Group| group.hosts[0].member().push_state(&group.hosts[1].address(), PATIENCE);
    let not_wanted = |group: &Group| {
        let error = push(group).unwrap_err();
        assert_eq!(error.live().unwrap().failure, Failure::Refused(Refusal::NotWanted), "{error}");
    };
    not_wanted(&group);
    group.hosts[1].member().accept_pushes(true);
    push(&group).unwrap();
    assert_eq!(*group.hosts[1].map.staged.lock().unwrap(), 1);
    group.hosts[1].expect("its own end", |event| *event == Event::Phase(Phase::Serving));
    not_wanted(&group);
    has_stayed(&mut group);
}
