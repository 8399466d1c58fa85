//! Whatever fails: another takes over, or the old state stands, and nothing is kept.

use std::time::Duration;

use longhaul::ErrorKind;
use longhaul::live::{Delivered, Properties, Refusal};
use longhaul::states::{Config, Event, Failure, Fetched, Member, Phase, Protocol};

use crate::group::{Group, fetch};
use crate::host::{Host, PATIENCE, config, wait};

const ALL: [Protocol; 4] = [Protocol::Copy, Protocol::Streaming, Protocol::Flush, Protocol::Prefetch];

// Catalogue: F69
#[test]
fn when_the_provider_dies_another_takes_over() {
    for protocol in ALL {
        let mut group = Group::start(protocol, 3);
        group.written(20);
        let mut joiner = group.joiner(4);
        joiner.map.stage.close();
        let transfer = joiner.member().fetch_state(&group.peers(), b"", PATIENCE).unwrap();
        joiner.expect("bulk", |event| *event == Event::Phase(Phase::Staging));
        joiner.map.stage.is_met();
        let dead = group.hosts[0].id;
        group.hosts[0].die();
        group.hosts.remove(0);
        joiner.member().handle_view(&group.peers());
        for host in &group.hosts {
            host.member().handle_view(&[&group.peers()[..], &[joiner.peer()]].concat());
        }
        joiner.map.stage.open();
        let Fetched::State(state) = transfer.wait().unwrap() else { panic!("there is a state") };
        assert_ne!(state.given[0].provider, dead, "{protocol:?}");
        group.hosts.push(joiner);
        group.written(20);
        group.settle();
    }
}

#[test]
fn a_joiner_that_dies_leaves_nothing_behind() {
    for protocol in ALL {
        let mut group = Group::start(protocol, 2);
        let mut joiner = group.joiner(3);
        joiner.map.stage.close();
        let transfer = joiner.member().fetch_state(&group.peers(), b"", PATIENCE).unwrap();
        joiner.map.stage.is_met();
        joiner.map.stage.open();
        joiner.die();
        assert!(matches!(transfer.wait(), Err(_) | Ok(Fetched::State(_))));
        drop(joiner);
        for host in &group.hosts {
            host.member().handle_view(&group.peers());
        }
        group.written(20);
        group.settle();
    }
}

// Catalogue: F75
#[test]
fn who_gives_up_leaves_the_old_state_and_nothing_behind() {
    for protocol in ALL {
        let mut group = Group::start(protocol, 2);
        group.written(20);
        let joiner = group.joiner(3);
        joiner.map.stage.close();
        let transfer = joiner.member().fetch_state(&group.peers(), b"", PATIENCE).unwrap();
        joiner.map.stage.is_met();
        transfer.cancel();
        joiner.map.stage.open();
        let error = transfer.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{protocol:?}: {error}");
        assert_eq!(error.states().unwrap().failure, Failure::Cancelled);
        assert!(!joiner.member().is_operational() && joiner.map.lock().map.is_empty());
        for host in &group.hosts {
            host.is_idle();
        }
        // And may ask again.
        fetch(&joiner, &group.peers());
        group.hosts.push(joiner);
        group.settle();
    }
}

#[test]
fn a_word_that_can_not_be_said_is_said_again_until_it_is_or_nobody_wants_it() {
    for protocol in [Protocol::Copy, Protocol::Flush, Protocol::Prefetch] {
        let mut group = Group::start(protocol, 1);
        let joiner = group.joiner(2);
        *joiner.map.is_mute.lock().unwrap() = 3;
        fetch(&joiner, &group.peers());
        let mute = group.joiner(3);
        *mute.map.is_mute.lock().unwrap() = u32::MAX;
        let transfer = mute.member().fetch_state(&group.peers(), b"", PATIENCE).unwrap();
        wait("a word that is not said", || *mute.map.is_mute.lock().unwrap() < u32::MAX - 1);
        transfer.cancel();
        assert_eq!(transfer.wait().unwrap_err().kind(), ErrorKind::Cancelled, "{protocol:?}");
        drop(mute);
        group.hosts.push(joiner);
        group.hosts[0].member().handle_view(&group.peers());
        group.settle();
    }
}

#[test]
fn who_takes_no_part_says_so_at_once_and_may_again() {
    for protocol in [Protocol::Copy, Protocol::Streaming, Protocol::Prefetch] {
        let group = Group::silent(protocol, 1);
        group.hosts[0].member().provide(false);
        let joiner = Host::join(&group.bus, Config { tries: 0, ..config(protocol, 2) });
        let transfer = joiner.member().fetch_state(&group.peers(), b"", PATIENCE).unwrap();
        let error = transfer.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{protocol:?}: {error}");
        assert_eq!(error.states().unwrap().failure, Failure::Refused(Refusal::NonParticipant));
        group.hosts[0].member().provide(true);
        fetch(&joiner, &group.peers());
    }
}

#[test]
fn who_has_no_state_says_so() {
    let group = Group::silent(Protocol::Streaming, 0);
    let (one, two) =
        (group.joiner(1), Host::join(&group.bus, Config { tries: 0, ..config(Protocol::Streaming, 2) }));
    let error = two.member().fetch_state(&[one.peer()], b"", PATIENCE).unwrap().wait().unwrap_err();
    assert_eq!(error.states().unwrap().failure, Failure::Refused(Refusal::NotOperational), "{error}");
}

// Catalogue: F70
#[test]
fn who_is_somebody_else_by_now_is_not_taken_for_who_was_there() {
    let group = Group::silent(Protocol::Streaming, 1);
    let mut other = group.hosts[0].peer();
    other.member = longhaul::MemberId([7; 16]);
    let joiner = Host::join(&group.bus, Config { tries: 0, ..config(Protocol::Streaming, 2) });
    let error = joiner.member().fetch_state(&[other], b"", PATIENCE).unwrap().wait().unwrap_err();
    assert_eq!((error.kind(), error.states().unwrap().failure), (ErrorKind::Unreachable, Failure::Lost));
}

#[test]
fn a_provider_that_can_not_capture_and_a_joiner_that_can_not_stage_say_so() {
    for protocol in ALL {
        let group = Group::silent(protocol, 1);
        let joiner = Host::join(&group.bus, Config { tries: 0, ..config(protocol, 2) });
        *group.hosts[0].map.fails.lock().unwrap() = Some("the engine is broken");
        let error = joiner.member().fetch_state(&group.peers(), b"", PATIENCE).unwrap().wait().unwrap_err();
        // Who asks for a copy that was not made hears that there was no room for it.
        let kind = if protocol == Protocol::Copy { ErrorKind::Busy } else { ErrorKind::Refused };
        assert_eq!(error.kind(), kind, "{protocol:?}: {error}");
        *group.hosts[0].map.fails.lock().unwrap() = None;
        *joiner.map.fails.lock().unwrap() = Some("the disk is full");
        let error = joiner.member().fetch_state(&group.peers(), b"", PATIENCE).unwrap().wait().unwrap_err();
        assert_eq!(error.states().unwrap().failure, Failure::Application, "{protocol:?}: {error}");
        assert!(std::error::Error::source(error.states().unwrap()).unwrap().to_string().contains("disk"));
        *joiner.map.fails.lock().unwrap() = None;
        fetch(&joiner, &group.peers());
        group.hosts[0].is_idle();
    }
}

#[test]
fn who_makes_no_progress_is_given_up_and_nothing_is_kept() {
    for protocol in ALL {
        let quick = |config: Config| Config {
            stall_timeout: Duration::from_millis(300),
            lease: Duration::from_millis(600),
            tries: 0,
            ..config
        };
        let mut group = Group::with(protocol, 2, quick);
        let mut joiner = Host::join(&group.bus, quick(config(protocol, 3)));
        joiner.map.stage.close();
        let transfer = joiner.member().fetch_state(&group.peers(), b"", Duration::from_millis(300)).unwrap();
        joiner.map.stage.is_met();
        joiner.expect("end", |event| *event == Event::Phase(Phase::Failed));
        joiner.map.stage.open();
        let error = transfer.wait().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Stalled | ErrorKind::Refused), "{protocol:?}: {error}");
        for host in &group.hosts {
            host.is_idle();
        }
        group.write_at(0);
        group.written(5);
        group.settle();
    }
}

#[test]
fn what_a_protocol_needs_is_checked_when_a_member_is_made() {
    let group = Group::silent(Protocol::Copy, 0);
    let offers = [
        (Protocol::Copy, Properties::FIFO, "the same order"),
        (Protocol::Flush, Properties::FIFO, "views"),
        (Protocol::Prefetch, Properties::TOTAL_ORDER, "a log"),
        (Protocol::Prefetch, Properties::TOTAL_ORDER.and(Properties::LOG), "none was given"),
    ];
    for (protocol, offers, missing) in offers {
        let config = Config { offers, ..config(protocol, 1) };
        let map =
            std::sync::Arc::new(crate::map::Map::new(crate::bus::Line::new(&group.bus, config.member, true)));
        let builder = || Member::builder(config, std::sync::Arc::clone(&map) as _).listen("127.0.0.1:0");
        for made in [builder().found(&Delivered::new()), builder().join()] {
            let error = made.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().contains(missing), "{error}");
        }
    }
}
