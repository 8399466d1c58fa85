//! The states of several members: what most have, and what each has.

use longhaul::ErrorKind;
use longhaul::states::{Failure, Fetched, Protocol, Said, Want};

use crate::group::Group;
use crate::host::PATIENCE;

/// Members that write in total order; of one or two the state has gone astray.
fn astray(members: u8, astray: &[usize]) -> Group {
    let group = Group::start(Protocol::Copy, members);
    for &host in astray {
        group.hosts[host].map.lock().own.insert(host as u64, 1);
    }
    group.written(20);
    group
}

#[test]
fn a_quorum_believes_what_most_have_and_streams_it_once() {
    let mut group = astray(3, &[0]);
    let joiner = group.joiner(4);
    let transfer = joiner.member().fetch_states(&group.peers(), b"", Want::Quorum, PATIENCE).unwrap();
    let Fetched::State(state) = transfer.wait().unwrap() else { panic!("there is a state") };
    let [given] = &state.given[..] else { panic!("one is streamed: {:?}", state.given) };
    assert_ne!(given.provider, group.hosts[0].id, "not from who has gone astray");
    assert_eq!(*joiner.map.staged.lock().unwrap(), 1);
    assert_eq!(joiner.map.of_others.lock().unwrap()[&given.provider].len(), 0);
    group.hosts.push(joiner);
    group.settle();
}

#[test]
fn no_majority_is_an_error_that_lists_who_has_what() {
    let mut group = astray(3, &[0, 1]);
    let joiner = group.joiner(4);
    group.hosts[2].member().provide(true);
    let transfer = joiner.member().fetch_states(&group.peers(), b"", Want::Quorum, PATIENCE).unwrap();
    let error = transfer.wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    let ended = error.states().unwrap();
    assert_eq!(ended.failure, Failure::NoMajority);
    let mut roots: Vec<_> = ended.answers.iter().map(|(member, said)| (*member, *said)).collect();
    roots.sort_by_key(|(member, _)| *member);
    let [(_, Said::Root(one)), (_, Said::Root(two)), (_, Said::Root(three))] = roots[..] else {
        panic!("{roots:?}")
    };
    assert!(one != two && two != three && one != three);
    assert!(error.to_string().contains(&group.hosts[0].id.to_string()), "{error}");
    assert!(!joiner.member().is_operational() && *joiner.map.staged.lock().unwrap() == 0);
    group.settle();
}

#[test]
fn who_takes_no_part_does_not_count_and_who_is_gone_does() {
    let mut group = astray(3, &[0]);
    group.hosts[0].member().provide(false);
    group.hosts[2].die();
    let dead = group.hosts.remove(2);
    let peers = [group.hosts[0].member().peer(), group.hosts[1].member().peer()];
    drop(dead);
    // Of the two that take part one has died: half is no majority.
    let gone = longhaul::states::Peer { member: longhaul::MemberId([3; 16]), address: "127.0.0.1:9".into() };
    let joiner = group.joiner(4);
    let patience = std::time::Duration::from_millis(500);
    let transfer =
        joiner.member().fetch_states(&[&peers[..], &[gone]].concat(), b"", Want::Quorum, patience).unwrap();
    let error = transfer.wait().unwrap_err();
    let ended = error.states().unwrap();
    assert_eq!(ended.failure, Failure::NoMajority, "{error}");
    assert!(ended.answers.contains(&(group.hosts[0].id, Said::Null)), "{error}");
    // Of those who take part and are there, all have one root.
    let transfer = joiner.member().fetch_states(&peers, b"", Want::Quorum, PATIENCE).unwrap();
    assert!(matches!(transfer.wait().unwrap(), Fetched::State(_)));
    group.hosts.push(joiner);
    group.settle();
}

#[test]
fn all_states_are_had_each_with_its_provider() {
    let mut group = astray(3, &[0, 1, 2]);
    let joiner = group.joiner(4);
    let transfer = joiner.member().fetch_states(&group.peers(), b"", Want::All, PATIENCE).unwrap();
    let Fetched::State(state) = transfer.wait().unwrap() else { panic!("there is a state") };
    assert_eq!(state.given.len(), 3);
    let of_others = joiner.map.of_others.lock().unwrap().clone();
    for (n, host) in group.hosts.iter().enumerate() {
        assert_eq!(of_others[&host.id], [(n as u64, 1)].into(), "what only this member had");
    }
    group.hosts.push(joiner);
    group.settle();
}

#[test]
fn only_copies_of_one_place_are_compared() {
    for protocol in [Protocol::Streaming, Protocol::Flush, Protocol::Prefetch] {
        let group = Group::silent(protocol, 2);
        let joiner = group.joiner(3);
        let refused = joiner.member().fetch_states(&group.peers(), b"", Want::Quorum, PATIENCE);
        assert_eq!(refused.err().unwrap().kind(), ErrorKind::Usage, "{protocol:?}");
    }
}
