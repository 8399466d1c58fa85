//! What is given: to who has not asked for it, and as fast as the writers allow.

use longhaul::ErrorKind;
use longhaul::live::Refusal;
use longhaul::states::{Event, Failure, Protocol};

use crate::group::{Group, fetch};
use crate::host::{Host, PATIENCE, config};

#[test]
fn a_state_is_pushed_to_who_accepts_it_and_to_nobody_else() {
    for protocol in [Protocol::Copy, Protocol::Streaming, Protocol::Prefetch] {
        let mut group = Group::start(protocol, 2);
        group.written(20);
        let push = |to: &Host| group.hosts[0].member().push_state(&to.peer(), PATIENCE);
        let not_wanted = |to: &Host| {
            let refused = push(to).unwrap_err();
            let failure = refused.states().map(|ended| ended.failure);
            assert_eq!(failure, Some(Failure::Refused(Refusal::NotWanted)), "{protocol:?}: {refused}");
        };
        let closed = group.joiner(3);
        not_wanted(&closed);
        let joiner = Host::accepting(&group.bus, config(protocol, 4));
        push(&joiner).unwrap();
        assert!(joiner.member().is_operational() && !closed.member().is_operational());
        // It has a state.
        not_wanted(&joiner);
        let without = closed.member().push_state(&joiner.peer(), PATIENCE).unwrap_err();
        assert_eq!(without.kind(), ErrorKind::Usage, "it has nothing to give: {without}");
        drop(closed);
        group.hosts.push(joiner);
        group.written(20);
        group.settle();
    }
}

#[test]
fn where_all_must_stop_nothing_is_pushed() {
    let group = Group::silent(Protocol::Flush, 1);
    let joiner = Host::accepting(&group.bus, config(Protocol::Flush, 2));
    let refused = group.hosts[0].member().push_state(&joiner.peer(), PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage, "{refused}");
}

#[test]
fn what_is_sent_is_limited_for_the_sake_of_writers_who_go_on_and_not_of_those_who_are_stopped() {
    for protocol in [Protocol::Copy, Protocol::Streaming, Protocol::Flush, Protocol::Prefetch] {
        let mut group = Group::start(protocol, 1);
        // So many writes are a baseline.
        group.written(300);
        let joiner = group.joiner(2);
        fetch(&joiner, &group.peers());
        let stops_all = protocol == Protocol::Flush;
        let found = group.hosts[0].expect("a limit, or the end", |event| match event {
            Event::Limited { .. } => true,
            Event::Resumed { .. } => stops_all,
            _ => false,
        });
        assert_eq!(matches!(found, Event::Limited { .. }), !stops_all, "{protocol:?}");
        group.hosts.push(joiner);
        group.settle();
    }
}
