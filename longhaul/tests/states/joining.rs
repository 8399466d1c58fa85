//! What a joiner ends with is what the others have, by each protocol.

use longhaul::MemberId;
use longhaul::states::{Config, Event, Fetched, Phase, Protocol};

use crate::bus::Content;
use crate::group::{Group, fetch};
use crate::host::{Host, PATIENCE, config};
use crate::map::EVEN;
use longhaul::live::{Effect, Transaction};

const ALL: [Protocol; 4] = [Protocol::Copy, Protocol::Streaming, Protocol::Flush, Protocol::Prefetch];

#[test]
fn a_joiner_under_writes_ends_with_what_the_others_have_and_writes_itself() {
    for protocol in ALL {
        let mut group = Group::start(protocol, 3);
        group.written(100);
        let joiner = group.joiner(4);
        let state = fetch(&joiner, &group.peers());
        assert_eq!(state.given.len(), 1, "{protocol:?}");
        assert!(state.given[0].bulk.bytes >= 24);
        group.hosts.push(joiner);
        group.write_at(3);
        group.written(100);
        group.settle();
    }
}

#[test]
fn several_joiners_at_once_all_come_to_serve_and_give_to_the_next() {
    for protocol in ALL {
        let mut group = Group::start(protocol, 2);
        let joiners: Vec<Host> = (3..5).map(|n| group.joiner(n)).collect();
        let peers = group.peers();
        let transfers: Vec<_> = joiners
            .iter()
            .map(|joiner| joiner.member().fetch_state(&peers, b"", PATIENCE).unwrap())
            .collect();
        for transfer in transfers {
            assert!(matches!(transfer.wait().unwrap(), Fetched::State(_)), "{protocol:?}");
        }
        group.hosts.extend(joiners);
        // Where all must stop they are all asked.
        let joiner = group.joiner(6);
        let mut peers = group.peers();
        peers.reverse();
        fetch(&joiner, &peers);
        group.hosts.push(joiner);
        group.written(20);
        group.settle();
    }
}

#[test]
fn what_is_prepared_comes_along_and_its_commit_finds_it() {
    for protocol in ALL {
        let mut group = Group::silent(protocol, 1);
        let id = group.hosts[0].id;
        let transaction = Transaction { member: id, number: 1 };
        let send = |group: &Group, effect| group.bus.send(id, Content::of(effect, 5, 6));
        send(&group, Effect::Prepare(transaction));
        group.hosts[0].delivered(&group.bus.last());
        let joiner = group.joiner(2);
        fetch(&joiner, &group.peers());
        assert_eq!(joiner.map.lock().prepared.len(), 1, "{protocol:?}");
        send(&group, Effect::Commit(transaction));
        group.hosts.push(joiner);
        group.settle();
        assert_eq!(group.hosts[1].map.lock().map.get(&5), Some(&6));
    }
}

#[test]
fn only_flush_stops_the_writers_and_it_stops_all_of_them_until_all_is_installed() {
    for protocol in [Protocol::Flush, Protocol::Streaming] {
        let mut group = Group::start(protocol, 2);
        group.written(20);
        let mut joiner = group.joiner(3);
        joiner.map.stage.close();
        let transfer = joiner.member().fetch_state(&group.peers(), b"", PATIENCE).unwrap();
        joiner.expect("bulk", |event| *event == Event::Phase(Phase::Staging));
        joiner.map.stage.is_met();
        if protocol == Protocol::Flush {
            assert!(group.hosts.iter().all(|host| host.member().is_suspended()));
            let before = group.count();
            assert!(group.hosts[0].member().request(std::time::Duration::ZERO).is_err());
            assert!(group.count() <= before + 2, "each writer may have ended one thing more");
        } else {
            group.written(20);
        }
        joiner.map.stage.open();
        assert!(matches!(transfer.wait().unwrap(), Fetched::State(_)));
        group.hosts.push(joiner);
        group.written(20);
        group.settle();
        if protocol == Protocol::Flush {
            group.hosts[0].expect("an end of the stop", |event| matches!(event, Event::Resumed { .. }));
        }
    }
}

#[test]
fn what_is_prefetched_is_fetched_once_and_followed_by_its_log_alone() {
    let mut group = Group::start(Protocol::Prefetch, 2);
    group.written(20);
    let joiner = group.joiner(3);
    joiner.map.stage.close();
    let transfer = joiner.member().fetch_state(&group.peers(), b"", PATIENCE).unwrap();
    joiner.map.stage.is_met();
    group.written(20);
    assert!(group.hosts[0].map.log.is_kept(), "what was written since is in its log");
    joiner.map.stage.open();
    let Fetched::State(state) = transfer.wait().unwrap() else { panic!("there is a state") };
    assert_eq!((state.given.len(), *joiner.map.staged.lock().unwrap()), (1, 1));
    group.hosts.push(joiner);
    group.written(20);
    group.settle();
}

#[test]
fn a_part_of_a_state_is_had_by_its_id_and_an_unknown_one_is_said_to_be() {
    for protocol in [Protocol::Copy, Protocol::Streaming] {
        let group = Group::silent(protocol, 1);
        for key in 0..10 {
            group.bus.send(group.hosts[0].id, Content::of(Effect::Write, key, key));
        }
        group.hosts[0].delivered(&group.bus.last());
        let joiner = Host::join(&group.bus, Config { tries: 1, ..config(protocol, 2) });
        let peers = group.peers();
        let unknown = joiner.member().fetch_state(&peers, b"odd", PATIENCE).unwrap().wait().unwrap_err();
        assert_eq!(unknown.kind(), longhaul::ErrorKind::Refused, "{unknown}");
        assert!(unknown.to_string().contains("no such state"), "{unknown}");
        let fetched = joiner.member().fetch_state(&peers, EVEN, PATIENCE).unwrap().wait();
        assert!(matches!(fetched.unwrap(), Fetched::State(_)));
        assert_eq!(joiner.map.lock().map.keys().copied().collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
    }
}

#[test]
fn nobody_has_a_state_from_oneself_and_is_told_at_once() {
    for protocol in ALL {
        let group = Group::silent(protocol, 0);
        let alone = group.joiner(1);
        for targets in [&[][..], &[alone.peer()]] {
            let fetched = alone.member().fetch_state(targets, b"", PATIENCE).unwrap().wait();
            assert!(matches!(fetched.unwrap(), Fetched::NoState));
        }
        assert!(alone.member().is_idle());
    }
}

#[test]
fn who_serves_may_have_another_state_and_serves_until_its_place() {
    let mut group = Group::start(Protocol::Copy, 2);
    group.written(20);
    let other = group.hosts[1].peer();
    let fetched = group.hosts[0].member().fetch_state(&[other], b"", PATIENCE).unwrap().wait();
    assert!(matches!(fetched.unwrap(), Fetched::State(_)));
    group.written(20);
    group.settle();
    let streaming = Group::silent(Protocol::Streaming, 2);
    let refused = streaming.hosts[0].member().fetch_state(&streaming.peers(), b"", PATIENCE);
    assert_eq!(refused.err().unwrap().kind(), longhaul::ErrorKind::Usage);
}

#[test]
fn who_is_gone_by_the_view_is_not_asked() {
    let mut group = Group::start(Protocol::Flush, 2);
    let gone = longhaul::states::Peer { member: MemberId([9; 16]), address: "127.0.0.1:9".into() };
    let joiner = group.joiner(3);
    let peers = [&group.peers()[..], &[gone]].concat();
    let transfer = joiner.member().fetch_state(&peers, b"", PATIENCE).unwrap();
    // It has not said that it has stopped, and never will.
    joiner.member().handle_view(&group.peers());
    assert!(matches!(transfer.wait().unwrap(), Fetched::State(_)));
    group.hosts.push(joiner);
    group.settle();
}
