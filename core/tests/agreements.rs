//! What two sides agree on before and after content moves, and what becomes of a session whose peer
//! says something else: announcements, digests, refusals, sums, the end that nobody hears.

mod sides;

use core::time::Duration;

use longhaul_core::digest::{Digest, Entry, SequenceNumber};
use longhaul_core::id::{Epoch, Lane, MemberId, TaskId};
use longhaul_core::integrity::{Integrity, Root};
use longhaul_core::reason::{Reason, Side};
use longhaul_core::session::{
    Command, Config, Event, SMALL_BYTES, SMALL_ITEMS, SessionError, State, Totals, capability,
};
use longhaul_core::time::Instant;
use longhaul_core::wire::{Alive, ChunkLen, Complete, FRAME_MAX, Frame, Refused, Roles, Task};
use sides::{Machine, STALL, T, at, config, drain, init, provider, request, sent, task, welcome};

fn reason(machine: &Machine) -> Option<Reason> {
    machine.failure().map(|failure| failure.reason())
}

/// A joiner that has requested its one task.
fn asking() -> Machine {
    let mut machine = Machine::dial(config(Side::Joiner, 2), Instant::ZERO);
    machine.handle_frame(Lane(0), T, &Frame::Welcome(welcome()), at(1));
    assert_eq!(sent(&mut machine, 0), ["Init", "Prepare"]);
    assert_eq!(drain(&mut machine), [Command::Request { task: T }]);
    assert!(machine.handle_request(T, b"", b"", &mut [0; FRAME_MAX]) > 0);
    machine
}

fn small(items: u64, bytes: Option<u64>) -> Task<'static> {
    Task { small: true, lanes: 0, items, bytes, ..task(items) }
}

#[test]
fn an_announcement_stays_within_what_was_asked_for() {
    let asked = config(Side::Joiner, 2);
    let good = [
        ("as many lanes as asked", task(1)),
        ("fewer lanes", Task { lanes: 1, ..task(1) }),
        ("shorter chunks", Task { chunk: ChunkLen::MIN, ..task(1) }),
        ("as many items as are counted", Task { items: u32::MAX.into(), ..task(1) }),
        ("as small as can be", small(SMALL_ITEMS, Some(SMALL_BYTES))),
    ];
    for (what, task) in good {
        let mut machine = asking();
        machine.handle_frame(Lane(0), T, &Frame::Task(task), at(1));
        assert_eq!(reason(&machine), None, "{what}");
        assert_eq!(drain(&mut machine)[0], Command::Begin { task: T }, "{what}");
    }
    let bad = [
        ("more lanes", T, Task { lanes: asked.lanes + 1, ..task(1) }),
        ("longer chunks", T, Task { chunk: ChunkLen::MAX, ..task(1) }),
        ("another integrity", T, Task { integrity: Integrity::None, ..task(1) }),
        ("more items than are counted", T, Task { items: u64::from(u32::MAX) + 1, ..task(1) }),
        ("too many items to be small", T, small(SMALL_ITEMS + 1, Some(0))),
        ("too many bytes to be small", T, small(1, Some(SMALL_BYTES + 1))),
        ("small, of no known length", T, small(1, None)),
        ("a task that nobody requested", TaskId(1), task(1)),
    ];
    for (what, id, task) in bad {
        let mut machine = asking();
        machine.handle_frame(Lane(0), id, &Frame::Task(task), at(1));
        assert_eq!(reason(&machine), Some(Reason::Protocol), "{what}");
    }
}

fn digest(members: u16) -> Box<Digest<1024>> {
    let mut digest = Box::new(Digest::new());
    for n in 0..members {
        let mut id = [1; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let number = SequenceNumber(5);
        digest.insert(Entry::new(MemberId(id), number, number).unwrap()).unwrap();
    }
    digest
}

#[test]
fn a_digest_comes_in_its_parts_in_turn() {
    let (long, short) = (digest(1000), digest(3));
    let parts: Vec<_> = long.parts().collect();
    assert!(parts.len() > 1);
    let announced = || {
        let mut machine = asking();
        let announced = Task { digest_members: 1000, ..task(1) };
        machine.handle_frame(Lane(0), T, &Frame::Task(announced), at(1));
        machine
    };
    let mut machine = announced();
    for part in &parts {
        assert_eq!(drain(&mut machine), [], "preflight waits for all of it");
        machine.handle_frame(Lane(0), T, &Frame::Digest(*part), at(1));
    }
    assert_eq!(drain(&mut machine)[0], Command::Begin { task: T });

    let wrong = [
        ("the second part first", announced(), &parts[1..2]),
        ("the first part twice", announced(), &[parts[0], parts[0]][..]),
        ("a part too many", announced(), &[&parts[..], &parts[..1]].concat()[..]),
        ("of another digest", announced(), &[short.parts().next().unwrap()][..]),
        ("before the announcement", asking(), &parts[..1]),
    ];
    for (what, mut machine, parts) in wrong {
        for part in parts {
            assert_eq!(reason(&machine), None, "{what}");
            machine.handle_frame(Lane(0), T, &Frame::Digest(*part), at(1));
        }
        assert_eq!(reason(&machine), Some(Reason::Protocol), "{what}");
    }
}

#[test]
fn a_request_is_refused_once_and_only_one_that_was_made() {
    let refused = Frame::Refused(Refused { reason: Reason::Refused, message: "no", app_reply: b"" });
    let two = Config { requests: 2, ..config(Side::Joiner, 2) };
    let asking_twice = || {
        let mut machine = Machine::dial(two, Instant::ZERO);
        machine.handle_frame(Lane(0), T, &Frame::Welcome(welcome()), at(1));
        machine
    };
    let mut machine = asking_twice();
    machine.handle_frame(Lane(0), T, &refused, at(1));
    assert_eq!((reason(&machine), machine.state()), (None, State::Preparing));
    machine.handle_frame(Lane(0), TaskId(1), &refused, at(1));
    assert_eq!((reason(&machine), machine.state()), (None, State::Done), "there is nothing left to move");
    for (what, first, second) in [("twice", T, T), ("one that was not made", T, TaskId(2))] {
        let mut machine = asking_twice();
        machine.handle_frame(Lane(0), first, &refused, at(1));
        machine.handle_frame(Lane(0), second, &refused, at(1));
        assert_eq!(reason(&machine), Some(Reason::Protocol), "{what}");
    }
}

#[test]
fn what_was_refused_before_a_redial_is_refused_again_after_it() {
    let refused = Frame::Refused(Refused { reason: Reason::Refused, message: "no", app_reply: b"" });
    // It provides too, and so goes on when nothing is left to take.
    let both = Config { requests: 2, roles: Roles::BOTH, ..config(Side::Joiner, 2) };
    let mut machine = Machine::dial(both, Instant::ZERO);
    machine.handle_frame(Lane(0), T, &Frame::Welcome(welcome()), at(1));
    machine.handle_frame(Lane(0), TaskId(1), &refused, at(1));
    machine.handle_lane_lost(Lane(0), at(2));
    machine.handle_timeout(at(7));
    assert!(machine.handle_lane_up(Lane(0), at(7)));
    let resumed = longhaul_core::wire::Welcome { epoch: Epoch(1), ..welcome() };
    machine.handle_frame(Lane(0), T, &Frame::Welcome(resumed), at(7));
    // With the first word both are refused: the second says what is known.
    machine.handle_frame(Lane(0), T, &refused, at(7));
    machine.handle_frame(Lane(0), TaskId(1), &refused, at(7));
    assert_eq!((reason(&machine), machine.state()), (None, State::Preparing));
    machine.handle_frame(Lane(0), TaskId(1), &refused, at(7));
    assert_eq!(reason(&machine), Some(Reason::Protocol), "once on each connection");
}

#[test]
fn a_joiner_begins_once_and_only_what_was_announced() {
    let requested = || {
        let mut machine = Machine::accept(config(Side::Provider, 1), &init(true), Instant::ZERO).unwrap();
        machine.handle_frame(Lane(0), T, &Frame::Prepare { requests: 1 }, at(1));
        machine.handle_frame(Lane(0), T, &Frame::Request(request()), at(1));
        drain(&mut machine);
        machine
    };
    let mut machine = requested();
    machine.handle_frame(Lane(0), T, &Frame::Begin, at(1));
    assert_eq!(reason(&machine), Some(Reason::Protocol), "before the announcement");
    let mut machine = provider(1);
    machine.handle_frame(Lane(0), T, &Frame::Begin, at(3));
    assert_eq!(reason(&machine), Some(Reason::Protocol), "twice");
    // All of the digest belongs to the announcement.
    let mut machine = requested();
    let totals = Totals { digest_members: 3, ..totals() };
    assert!(machine.handle_surveyed(T, &totals, at(1), &mut [0; FRAME_MAX]) > 0);
    machine.handle_frame(Lane(0), T, &Frame::Begin, at(1));
    assert_eq!(reason(&machine), Some(Reason::Protocol), "before the digest");
}

#[test]
#[should_panic(expected = "in parts, in order")]
fn a_driver_sends_a_digest_in_turn() {
    let digest = digest(1000);
    let mut machine = Machine::accept(config(Side::Provider, 1), &init(true), Instant::ZERO).unwrap();
    machine.handle_frame(Lane(0), T, &Frame::Prepare { requests: 1 }, at(1));
    machine.handle_frame(Lane(0), T, &Frame::Request(request()), at(1));
    let totals = Totals { digest_members: 1000, ..totals() };
    assert!(machine.handle_surveyed(T, &totals, at(1), &mut [0; FRAME_MAX]) > 0);
    let second = digest.parts().nth(1).unwrap();
    let _ = machine.handle_digest(T, &second, &mut [0; FRAME_MAX]);
}

fn totals() -> Totals<'static> {
    Totals {
        shape: 0,
        items: 0,
        bytes: Some(0),
        allocated: 0,
        longest_name: 0,
        snapshot: task(0).snapshot,
        digest_members: 0,
        app_meta: b"",
    }
}

const fn complete() -> Complete {
    Complete { items: 0, bytes: 0, root: Root { integrity: Integrity::Crc32c, hash: [8; 32] } }
}

#[test]
fn a_sum_is_that_of_what_was_announced() {
    let none = Root { integrity: Integrity::None, ..complete().root };
    for (what, sum) in [
        ("another count", Complete { items: 1, ..complete() }),
        ("other bytes", Complete { bytes: 1, ..complete() }),
        ("another integrity", Complete { root: none, ..complete() }),
    ] {
        let mut machine = sides::joiner(0);
        machine.handle_frame(Lane(0), T, &Frame::Complete(sum), at(3));
        assert_eq!(reason(&machine), Some(Reason::Protocol), "{what}");
    }
    let mut machine = sides::joiner(0);
    machine.handle_frame(Lane(0), T, &Frame::Complete(complete()), at(3));
    machine.handle_frame(Lane(0), T, &Frame::Complete(complete()), at(3));
    assert_eq!(reason(&machine), None, "the same may be said again");
    machine.handle_frame(Lane(0), T, &Frame::Complete(Complete { bytes: 1, ..complete() }), at(3));
    assert_eq!(reason(&machine), Some(Reason::Protocol), "and no other");
}

/// A provider without resume whose one empty task is summed up.
fn summed() -> Machine {
    let alone = Config { capabilities: capability::ALL & !capability::RESUME, ..config(Side::Provider, 1) };
    let mut machine = Machine::accept(alone, &init(true), Instant::ZERO).unwrap();
    machine.handle_frame(Lane(0), T, &Frame::Prepare { requests: 1 }, at(1));
    machine.handle_frame(Lane(0), T, &Frame::Request(request()), at(1));
    assert!(machine.handle_surveyed(T, &totals(), at(1), &mut [0; FRAME_MAX]) > 0);
    machine.handle_frame(Lane(0), T, &Frame::Begin, at(1));
    drain(&mut machine);
    machine.handle_items_end(at(1));
    assert_eq!(drain(&mut machine), [Command::SumUp { side: Side::Provider, task: T }]);
    let Complete { items, bytes, root } = complete();
    machine.handle_root(Side::Provider, T, (items, bytes, root), at(1));
    machine
}

#[test]
fn a_provider_is_in_doubt_once_it_has_said_all_and_not_before() {
    let mut machine = summed();
    machine.handle_lane_lost(Lane(0), at(2));
    assert_eq!(machine.state(), State::Failed, "the joiner can't have agreed to what it was not told");
    let mut machine = summed();
    assert_eq!(sent(&mut machine, 0).last().map(String::as_str), Some("Complete"));
    machine.handle_lane_lost(Lane(0), at(2));
    assert_eq!(machine.state(), State::Unconfirmed, "it may have agreed, and published");
    let mut machine = summed();
    sent(&mut machine, 0);
    machine.handle_frame(Lane(0), T, &Frame::Agreed, at(2));
    machine.handle_lane_lost(Lane(0), at(2));
    assert_eq!(machine.state(), State::Unconfirmed, "it has agreed, and may have published");
    // What broke a rule is no doubt about a connection.
    let mut machine = summed();
    sent(&mut machine, 0);
    machine.handle_frame(Lane(0), T, &Frame::Begin, at(2));
    assert_eq!(machine.state(), State::Failed);
}

// Catalogue: F79
#[test]
fn a_caller_that_only_says_who_it_is_has_the_time_of_a_handshake_and_is_not_waited_for() {
    let called = |side| Machine::accept(config(side, 1), &init(side == Side::Provider), at(0)).unwrap();
    let established = |machine: &mut Machine| {
        std::iter::from_fn(|| machine.poll_event()).any(|event| event == Event::Established)
    };
    for side in [Side::Provider, Side::Joiner] {
        let mut silent = called(side);
        assert!(!established(&mut silent), "it may be a stranger");
        // Its own signs of life don't count.
        while silent.failure().is_none() {
            let due = silent.poll_timeout().unwrap();
            silent.handle_timeout(due);
        }
        assert_eq!(silent.failure(), Some(SessionError::NoAnswer { after: Duration::from_secs(10) }));
        let mut gone = called(side);
        gone.handle_lane_lost(Lane::CONTROL, at(1));
        assert_eq!(gone.failure(), Some(SessionError::LaneLost(Lane::CONTROL)));
    }
    let mut asks = called(Side::Provider);
    asks.handle_frame(Lane(0), T, &Frame::Prepare { requests: 1 }, at(9));
    let mut gives = called(Side::Joiner);
    gives.handle_frame(Lane(0), T, &Frame::Alive(Alive { done: 0 }), at(9));
    for mut machine in [asks, gives] {
        assert!(established(&mut machine));
        machine.handle_timeout(at(29));
        assert_eq!(machine.failure(), None);
        machine.handle_lane_lost(Lane::CONTROL, at(30));
        assert_eq!(machine.state(), State::Reconnecting);
    }
}

#[test]
fn a_dialler_that_gives_says_at_once_that_it_listens() {
    let mut machine = Machine::dial(config(Side::Provider, 2), Instant::ZERO);
    machine.handle_frame(Lane(0), T, &Frame::Welcome(welcome()), at(1));
    assert_eq!(sent(&mut machine, 0), ["Init", "Alive"]);
}

#[test]
fn signs_of_life_are_sent_four_times_a_stall_timeout() {
    let mut machine = provider(3);
    sent(&mut machine, 0);
    let mut now = at(0);
    for _ in 0..3 {
        let due = machine.poll_timeout().unwrap();
        assert!(due <= now.after(STALL / 4));
        machine.handle_timeout(due);
        assert_eq!(sent(&mut machine, 0), ["Alive"]);
        now = due;
    }
    // Before the peer is known there is nobody to hear it.
    let greeting = Config { handshake_timeout: STALL * 2, ..config(Side::Joiner, 2) };
    let mut machine = Machine::dial(greeting, Instant::ZERO);
    machine.handle_timeout(Instant::ZERO.after(STALL / 4));
    assert_eq!(sent(&mut machine, 0), ["Init"]);
}

#[test]
fn a_peer_that_is_busy_when_it_is_dialled_again_says_when_to_come_back() {
    let mut machine = sides::joiner(1);
    machine.handle_lane_lost(Lane(0), at(3));
    machine.handle_timeout(at(8));
    assert!(drain(&mut machine).contains(&Command::Dial { lane: Lane(0) }));
    assert!(machine.handle_lane_up(Lane(0), at(8)));
    assert_eq!(sent(&mut machine, 0), ["Init"]);
    machine.handle_frame(Lane(0), T, &Frame::Busy { retry_after_ms: 7000 }, at(8));
    assert_eq!((machine.state(), machine.failure()), (State::Reconnecting, None));
    assert_eq!(drain(&mut machine), [Command::CloseLane { lane: Lane(0) }]);
    let next = machine.poll_timeout().unwrap();
    assert!(next >= at(15), "it waits as long as it was told");
    machine.handle_timeout(next);
    assert_eq!(drain(&mut machine), [Command::Dial { lane: Lane(0) }]);
    assert!(machine.handle_lane_up(Lane(0), next));
    assert_eq!(machine.epoch(), Epoch(2));
    let resumed = longhaul_core::wire::Welcome { epoch: Epoch(2), ..welcome() };
    machine.handle_frame(Lane(0), T, &Frame::Welcome(resumed), next);
    assert_eq!((machine.state(), machine.failure()), (State::Streaming, None));
    assert!(std::iter::from_fn(|| machine.poll_event()).any(|event| event == Event::Resumed));
    assert!(next.since(at(8)) < Duration::from_mins(1));
}
