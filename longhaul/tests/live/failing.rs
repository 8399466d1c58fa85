//! What fails leaves the old state as it was, says why, and leaves nothing behind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use longhaul::live::{Config, Effect, Ended, Event, Failure, Fetched, Phase, Refusal, Transaction};
use longhaul::{Error, ErrorKind};

use crate::bus::{Bus, Channel, Content, ORDER};
use crate::gate::Gate;
use crate::host::{Host, PATIENCE, config};
use crate::joining::Group;
use crate::map::{Gates, Store};
use crate::wire::Wire;

/// Who gives up soon.
pub(crate) fn quick(n: u8) -> Config {
    let (lease, stall_timeout) = (Duration::from_millis(125), Duration::from_millis(500));
    Config { lease, stall_timeout, tries: 3, ..config(n) }
}

/// A joiner with an old state that it does not serve.
fn with_old_state(bus: &Arc<Bus>, config: Config) -> Host {
    let joiner = Host::join(bus, config);
    joiner.map.lock().map.insert(7, 77);
    joiner
}

fn assert_old_state(joiner: &Host) {
    let Store { map, prepared, applied, digest } = joiner.map.lock().clone();
    assert_eq!((map.into_iter().collect::<Vec<_>>(), applied, prepared.len()), (vec![(7, 77)], 0, 0));
    assert!(digest.is_empty() && !joiner.member().is_operational());
    assert!(!joiner.bus.has_pins(), "nothing is pinned any more");
}

fn ended(error: &Error) -> &Ended {
    error.live().expect("it is a live transfer's")
}

/// The one provider dies while the joiner waits at a gate.
pub(crate) fn provider_dies_at(mut group: Group, gate: impl Fn(&Gates) -> &Gate) {
    group.written(20);
    let joiner = with_old_state(&group.bus, quick(9));
    let target = group.hosts[0].address();
    gate(&joiner.map.gates).close();
    let transfer = joiner.member().fetch_state(&[target], b"", quick(9).stall_timeout).unwrap();
    gate(&joiner.map.gates).is_met();
    drop(group.hosts.pop());
    gate(&joiner.map.gates).open();
    let error = transfer.wait().unwrap_err();
    assert!(matches!(ended(&error).failure, Failure::Lost | Failure::Stalled), "{error}");
    assert_old_state(&joiner);
}

// Catalogue: F49
#[test]
fn a_provider_that_dies_while_the_bulk_moves_leaves_the_old_state() {
    provider_dies_at(Group::with(1, quick), |gates| &gates.stage);
}

// Catalogue: F49
#[test]
fn a_provider_that_dies_while_its_log_is_followed_leaves_the_old_state() {
    provider_dies_at(Group::with(1, quick), |gates| &gates.apply);
}

// Catalogue: F49
#[test]
fn a_provider_that_dies_before_its_word_leaves_the_old_state() {
    let patient =
        |n| Config { lease: Duration::from_millis(500), stall_timeout: Duration::from_secs(2), ..quick(n) };
    let mut group = Group::with(1, patient);
    let transaction = Transaction { member: group.hosts[0].id, number: 1_000_000 };
    let prepare = Content { effect: Effect::Prepare(transaction), key: 5, value: 6 };
    let prepared = group.bus.send(transaction.member, prepare);
    group.hosts[0].delivered(&[prepared]);
    let wire = Wire::to(group.hosts[0].address());
    let mut joiner = with_old_state(&group.bus, patient(9));
    joiner.map.gates.prepare.close();
    let transfer = joiner.member().fetch_state(&[wire.address()], b"", patient(9).stall_timeout).unwrap();
    joiner.map.gates.prepare.is_met();
    let provider = Arc::clone(group.hosts[0].member());
    // The last words have been said; nothing is heard as long as this turn lasts, and no lease runs out.
    let turn = provider.turn();
    joiner.map.gates.prepare.open();
    joiner.expect("readiness", |event| *event == Event::Phase(Phase::Ready));
    wire.cut();
    drop(turn);
    drop(provider);
    drop(group.hosts.pop());
    let error = transfer.wait().unwrap_err();
    assert_eq!(ended(&error).failure, Failure::Lost, "{error}");
    assert_old_state(&joiner);
}

#[test]
fn nobody_at_the_address_is_told_with_what_the_system_said() {
    let bus = Bus::new(Channel::Total);
    let joiner = with_old_state(&bus, quick(9));
    let transfer = joiner.member().fetch_state(&["127.0.0.1:1"], b"", PATIENCE).unwrap();
    let error = transfer.wait().unwrap_err();
    assert_eq!((error.kind(), ended(&error).failure), (ErrorKind::Unreachable, Failure::Lost));
    let cause = std::error::Error::source(ended(&error)).unwrap().to_string();
    assert!(cause.contains("127.0.0.1:1 can't be reached"), "{cause}");
    assert_old_state(&joiner);
    bus.close();
}

#[test]
fn a_lost_connection_is_dialled_again_and_what_is_staged_is_gone_on_with() {
    let mut group = Group::start(1);
    group.written(20);
    let wire = Wire::to(group.hosts[0].address());
    let mut joiner = Host::join(&group.bus, config(2));
    joiner.map.gates.apply.close();
    let transfer = joiner.member().fetch_state(&[wire.address()], b"", PATIENCE).unwrap();
    joiner.map.gates.apply.is_met();
    wire.cut();
    wire.mend();
    joiner.map.gates.apply.open();
    assert!(matches!(transfer.wait().unwrap(), Fetched::State(_)));
    joiner.expect("a new try", |event| {
        assert_ne!(*event, Event::Phase(Phase::Serving));
        matches!(event, Event::Again { why } if *why == Failure::Lost)
    });
    joiner.expect("the end", |event| {
        assert!(!matches!(event, Event::Again { .. }), "{event:?}");
        *event == Event::Phase(Phase::Serving)
    });
    assert_eq!(*joiner.map.staged.lock().unwrap(), 1, "the bulk moved once");
    group.hosts.push(joiner);
    group.settle();
}

// Catalogue: F49
#[test]
fn where_a_provider_dies_the_next_one_takes_over() {
    next_provider_takes_over(Group::start(2));
}

pub(crate) fn next_provider_takes_over(mut group: Group) {
    group.written(20);
    let joiner = Host::join(&group.bus, config(3));
    joiner.map.gates.apply.close();
    let targets: Vec<String> = group.hosts.iter().rev().map(Host::address).collect();
    let transfer = joiner.member().fetch_state(&targets, b"", PATIENCE).unwrap();
    joiner.map.gates.apply.is_met();
    drop(group.hosts.pop());
    joiner.map.gates.apply.open();
    let Fetched::State(state) = transfer.wait().unwrap() else { panic!("there is a state") };
    assert_eq!(state.provider, targets[1]);
    group.hosts.push(joiner);
    group.settle();
}

// Catalogue: F48
#[test]
fn a_joiner_that_dies_costs_its_provider_nothing_for_long() {
    let mut group = Group::with(1, quick);
    group.written(20);
    let joiner = Host::join(&group.bus, quick(2));
    joiner.map.gates.apply.close();
    let transfer = joiner.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap();
    joiner.map.gates.apply.is_met();
    assert!(group.hosts[0].map.log.is_kept() && group.bus.has_pins());
    joiner.member().stop();
    joiner.map.gates.apply.open();
    assert_eq!(transfer.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    drop(joiner);
    let given_up = |event: &Event| matches!(event, Event::Released { why: Some(Refusal::Stalled), .. });
    group.hosts[0].expect("end", given_up);
    group.settle();
}

// Catalogue: F34
#[test]
fn a_log_that_can_not_be_spilled_ends_the_transfer_and_not_the_member() {
    let mut group = Group::start(1);
    group.written(20);
    std::fs::remove_dir(group.hosts[0].map.disk.path()).unwrap();
    // Another try may find its end before so much is written that it must be spilled.
    let joiner = with_old_state(&group.bus, Config { tries: 0, ..config(9) });
    joiner.map.gates.stage.close();
    let transfer = joiner.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap();
    joiner.map.gates.stage.is_met();
    group.written(50);
    joiner.map.gates.stage.open();
    let error = transfer.wait().unwrap_err();
    assert_eq!(
        (error.kind(), ended(&error).failure),
        (ErrorKind::Refused, Failure::Refused(Refusal::LogLost)),
        "{error}"
    );
    assert_eq!(*joiner.map.staged.lock().unwrap(), 1, "there was one try");
    assert_old_state(&joiner);
    drop(joiner);
    group.written(20);
    group.settle();
}

#[test]
fn a_push_to_nobody_and_one_whose_joiner_fails_say_so() {
    let mut group = Group::with(1, quick);
    group.written(20);
    let push = |address: &str| group.hosts[0].member().push_state(address, PATIENCE).unwrap_err();
    assert_eq!(push("127.0.0.1:1").kind(), ErrorKind::Unreachable);
    let joiner = Host::accepting(&group.bus, quick(9));
    *joiner.map.fails.lock().unwrap() = Some("no room at all");
    let refused = push(&joiner.address());
    assert_eq!(ended(&refused).failure, Failure::Refused(Refusal::Gone), "{refused}");
    drop(joiner);
    group.settle();
}

#[test]
fn who_cancels_has_the_old_state_and_the_provider_forgets_it_at_once() {
    let mut group = Group::start(1);
    let joiner = with_old_state(&group.bus, config(2));
    joiner.map.gates.apply.close();
    group.written(20);
    let transfer = joiner.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap();
    joiner.map.gates.apply.is_met();
    transfer.cancel();
    group.hosts[0].expect("end", |event| matches!(event, Event::Released { why: None, .. }));
    joiner.map.gates.apply.open();
    let error = transfer.wait().unwrap_err();
    assert_eq!((error.kind(), ended(&error).failure), (ErrorKind::Cancelled, Failure::Cancelled));
    assert_old_state(&joiner);
    drop(joiner);
    group.settle();
}

#[test]
fn who_will_not_give_says_why_and_the_next_one_is_asked() {
    let mut group = Group::start(2);
    group.hosts[0].member().provide(false);
    let idle = Host::join(&group.bus, config(8));
    let joiner = with_old_state(&group.bus, quick(9));
    let refused = |targets: &[String]| {
        let transfer = joiner.member().fetch_state(targets, b"", PATIENCE).unwrap();
        let error = transfer.wait().unwrap_err();
        assert_old_state(&joiner);
        ended(&error).failure
    };
    let addresses = [group.hosts[0].address(), group.hosts[1].address(), idle.address()];
    assert_eq!(refused(&addresses[..1]), Failure::Refused(Refusal::NonParticipant));
    assert_eq!(refused(&addresses[2..]), Failure::Refused(Refusal::NotOperational));
    *group.hosts[1].map.fails.lock().unwrap() = Some("a disk that fails");
    assert_eq!(refused(&addresses[1..2]), Failure::Refused(Refusal::Capture));
    *group.hosts[1].map.fails.lock().unwrap() = None;
    let transfer = joiner.member().fetch_state(&addresses, b"", PATIENCE).unwrap();
    let Fetched::State(state) = transfer.wait().unwrap() else { panic!("there is a state") };
    assert_eq!(state.provider, addresses[1]);
    drop(idle);
    group.hosts.push(joiner);
    group.settle();
}

#[test]
fn an_application_that_fails_ends_it_with_its_own_words() {
    let group = Group::start(1);
    let joiner = with_old_state(&group.bus, config(2));
    joiner.map.gates.apply.close();
    let transfer = joiner.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap();
    joiner.map.gates.apply.is_met();
    *joiner.map.fails.lock().unwrap() = Some("a disk that fails");
    joiner.map.gates.apply.open();
    let error = transfer.wait().unwrap_err();
    assert_eq!((error.kind(), ended(&error).failure), (ErrorKind::Destination, Failure::Application));
    assert_eq!(std::error::Error::source(ended(&error)).unwrap().to_string(), "a disk that fails");
    assert_old_state(&joiner);
}

#[test]
fn a_source_that_keeps_no_messages_is_named() {
    let group = Group::start(1);
    let joiner = with_old_state(&group.bus, quick(2));
    group.bus.refuse();
    let transfer = joiner.member().fetch_state(&[group.hosts[0].address()], b"", PATIENCE).unwrap();
    let error = transfer.wait().unwrap_err();
    assert_eq!(ended(&error).failure, Failure::PinRefused { source: ORDER });
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_old_state(&joiner);
}

#[test]
fn a_stranger_on_a_control_connection_is_closed_and_costs_nobody_anything() {
    let group = Group::start(1);
    let mut stranger = TcpStream::connect(group.hosts[0].member().local_addr()).unwrap();
    stranger.write_all(&[b"LT".as_slice(), &[7; 200]].concat()).unwrap();
    // Closed, or reset because not all was read.
    let _ = stranger.read(&mut [0; 100]);
    assert!(group.hosts[0].member().is_idle());
}
