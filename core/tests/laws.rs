//! The laws of the session machine that one side alone can show. Those that need two sides and a
//! network (the drain rule, the order on a lane, exact states) are the simulation's.

mod sides;

use core::time::Duration;

use longhaul_core::id::{ClusterId, Epoch, ItemId, Lane, MemberId, Token, TransferId};
use longhaul_core::integrity::{Checksum, Integrity, Root};
use longhaul_core::item::{Item, ItemName, What};
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{
    Command, Event, Incompatibility, Misbehaviour, ReadPiece, Receive, Session, SessionError, State,
    capability,
};
use longhaul_core::time::Instant;
use longhaul_core::wire::{
    Alive, Complete, End, FRAME_MAX, Failed, Frame, Grades, HEADER_LEN, Header, Init, Task, VERSION, Welcome,
    WireError,
};
use proptest::prelude::*;
use sides::{
    Machine, STALL, T, at, config, drain, file, init, joiner, provider, request, sent, task, welcome,
};

#[test]
fn a_window_bounds_what_is_under_way_whatever_the_catalogue() {
    let mut machine = provider(1_000_000);
    let mut out = vec![0; FRAME_MAX];
    let mut offered = 0;
    while machine.can_offer(&file(0)) {
        let _ = machine.handle_item(&file(0), at(3), &mut out);
        for command in drain(&mut machine) {
            if let Command::Close { id } = command {
                machine.handle_closed(id, 0, Checksum::empty(Integrity::Crc32c), at(3));
            }
        }
        let _ = (sent(&mut machine, 1), sent(&mut machine, 2));
        offered += 1;
        assert!(offered <= 16, "the window holds 16");
    }
    assert_eq!(offered, 16);
    machine.handle_frame(Lane(0), T, &Frame::Grades(Grades { received: 5, verified: 5, durable: 0 }), at(4));
    assert!(drain(&mut machine).contains(&Command::Forget { before: ItemId(5) }));
    assert!(machine.can_offer(&file(0)), "a slot is free once its item is verified");
}

// Catalogue: B36
#[test]
fn names_that_wait_for_their_items_are_bounded_at_the_joiner_too() {
    let mut machine = Box::new(Session::<3, 4096>::dial(config(Side::Joiner, 2), Instant::ZERO));
    machine.handle_frame(Lane(0), T, &Frame::Welcome(welcome()), at(1));
    machine.handle_frame(Lane(0), T, &Frame::Task(task(4096)), at(1));
    machine.handle_begun(T, at(2));
    while machine.poll_command().is_some() {}
    let target = vec![b'a'; 4000];
    let mut offered = 0;
    while machine.failure().is_none() {
        let item = Item { what: What::SymbolicLink { target: &target }, ..file(0) };
        let offer = Frame::Offer { id: ItemId(offered), eager: false, attempt: 0, item };
        machine.handle_frame(Lane(0), T, &offer, at(3));
        while machine.poll_command().is_some() {}
        offered += 1;
        assert!(offered < 4096, "16 MiB of targets");
    }
    assert_eq!(machine.failure().map(|failure| failure.reason()), Some(Reason::Protocol));
    assert!((262..270).contains(&offered), "{offered} offers of 4001 bytes, a MiB is 262 of them");
}

#[test]
fn a_session_of_the_default_size_fits_its_bound() {
    assert!(size_of::<Session>() <= 320 << 10, "{}", size_of::<Session>());
}

// Catalogue: B16
#[test]
fn signs_of_life_are_no_progress_unless_their_counter_grows() {
    let alive = |done| Frame::Alive(Alive { done });
    let mut machine = joiner(3);
    machine.handle_frame(Lane(0), T, &alive(0), at(20));
    machine.handle_timeout(at(32));
    assert_eq!(machine.failure().map(|failure| failure.reason()), Some(Reason::Stalled));

    let mut machine = joiner(3);
    machine.handle_frame(Lane(0), T, &alive(1), at(20));
    machine.handle_timeout(at(32));
    assert_eq!(machine.failure(), None);
    machine.handle_frame(Lane(0), T, &alive(1), at(40));
    machine.handle_timeout(at(50));
    assert_eq!(machine.failure(), Some(SessionError::Stalled { after: Duration::from_secs(30) }));
}

// Catalogue: F7
#[test]
fn a_trickle_below_64_kib_is_no_progress() {
    let mut machine = provider(3);
    machine.handle_sent(65_535, at(20));
    machine.handle_timeout(at(32));
    assert_eq!(machine.state(), State::Failed);

    let mut machine = provider(3);
    machine.handle_sent(65_536, at(20));
    machine.handle_timeout(at(32));
    assert_eq!(machine.state(), State::Streaming);
}

// Catalogue: F14
#[test]
fn what_has_come_is_told_to_the_peer_that_sent_it_long_ago() {
    let mut machine = joiner(3);
    sent(&mut machine, 0);
    let mut done = |bytes, second| {
        machine.handle_coming(bytes, at(second));
        machine.handle_timeout(at(second));
        let mut out = [0; FRAME_MAX];
        while machine.poll_transmit(Lane(0), &mut out).is_some() {}
        let header = Header::parse(out.first_chunk().unwrap()).unwrap();
        let Ok(Frame::Alive(alive)) = Frame::parse(&header, &out[HEADER_LEN..][..header.len as usize]) else {
            panic!("{header:?} is no sign of life");
        };
        alive.done
    };
    assert_eq!([done(65_535, 10), done(1, 20), done(200_000, 40), done(0, 50)], [0, 1, 2, 2]);
}

#[test]
fn every_state_that_waits_has_a_deadline() {
    let mut machine = Machine::dial(config(Side::Joiner, 2), Instant::ZERO);
    assert!(machine.poll_timeout().is_some());
    machine.handle_timeout(at(10));
    assert_eq!(machine.failure(), Some(SessionError::NoAnswer { after: Duration::from_secs(10) }));
    assert_eq!(machine.poll_timeout(), None, "a session that is over waits for nothing");
    for mut machine in [joiner(1), provider(1)] {
        assert!(machine.poll_timeout().is_some());
        machine.handle_timeout(at(60));
        assert_eq!(machine.state(), State::Failed);
    }
}

#[test]
fn a_failed_session_stays_failed_and_says_the_same_each_time() {
    let mut machine = joiner(3);
    machine.handle_frame(Lane(0), T, &Frame::Begin, at(3));
    let failure = machine.failure();
    assert_eq!(
        failure,
        Some(SessionError::Misbehaved(Misbehaviour::Unexpected(longhaul_core::wire::Kind::Begin)))
    );
    assert!(sent(&mut machine, 0).contains(&"Failed".to_owned()), "the peer is told");
    machine.handle_frame(Lane(0), T, &Frame::Complete(complete()), at(3));
    machine.handle_lane_lost(Lane(1), at(3));
    machine.handle_timeout(at(300));
    assert_eq!((machine.failure(), machine.state()), (failure, State::Failed));
    assert_eq!((drain(&mut machine).len(), sent(&mut machine, 0).len()), (0, 0));
}

fn complete() -> Complete {
    Complete { items: 0, bytes: 0, root: Root { integrity: Integrity::Crc32c, hash: [0; 32] } }
}

#[test]
fn a_side_that_demands_integrity_never_gets_less() {
    let mut machine = Machine::dial(config(Side::Joiner, 2), Instant::ZERO);
    machine.handle_frame(Lane(0), T, &Frame::Welcome(welcome()), at(1));
    machine.handle_frame(Lane(0), T, &Frame::Task(Task { integrity: Integrity::None, ..task(1) }), at(1));
    assert_eq!(machine.failure(), Some(SessionError::Misbehaved(Misbehaviour::Task)));

    let mut machine = Machine::dial(config(Side::Joiner, 2), Instant::ZERO);
    machine.handle_frame(Lane(0), T, &Frame::Welcome(Welcome { capabilities: 0, ..welcome() }), at(1));
    let lacking = SessionError::Incompatible(Incompatibility::Capability("crc32c"));
    assert_eq!(machine.failure(), Some(lacking));
}

// Catalogue: F67, F68
#[test]
fn members_that_do_not_fit_refuse_each_other_in_words() {
    let refused = |init: &Init| Machine::accept(config(Side::Provider, 1), init, at(0)).err();
    let fits = init(true);
    let other = |what| Some(SessionError::Incompatible(what));
    assert_eq!(refused(&init(false)), other(Incompatibility::Roles));
    assert_eq!(refused(&Init { cluster: ClusterId([8; 16]), ..fits }), other(Incompatibility::Cluster));
    assert_eq!(refused(&Init { member: MemberId([1; 16]), ..fits }), other(Incompatibility::Oneself));
    let later = Incompatibility::Version { ours: (VERSION, VERSION), theirs: (2, 9) };
    assert_eq!(refused(&Init { versions: (2, 9), ..fits }), other(later));
    assert_eq!(refused(&fits), None);
    // One that speaks later versions too, and things that nobody knows yet.
    assert_eq!(refused(&Init { versions: (VERSION, VERSION + 1), ..fits }), None);
    assert_eq!(refused(&Init { capabilities: u64::MAX, ..fits }), None);
}

// Catalogue: F10
#[test]
fn a_payload_that_breaks_its_checksum_is_asked_for_again_and_not_for_ever() {
    let mut machine = joiner(1);
    for attempt in 0..4 {
        let offer = Frame::Offer { id: ItemId(0), eager: true, attempt, item: file(4) };
        machine.handle_frame(Lane(1), T, &offer, at(3));
        assert_eq!(drain(&mut machine), [Command::Open { id: ItemId(0) }]);
        let data = Frame::Data { id: ItemId(0), attempt, offset: 0, len: 4, run_end: true, crc: Some(1) };
        machine.handle_frame(Lane(1), T, &data, at(3));
        assert!(matches!(machine.poll_receive(Lane(1)), Some(Receive::Place(_))));
        assert!(!machine.handle_payload(Lane(1), 4, Some(2)), "its bytes are not wanted");
        if attempt < 3 {
            assert_eq!(drain(&mut machine), [Command::Discard { id: ItemId(0) }]);
            assert_eq!(sent(&mut machine, 0).last().map(String::as_str), Some("Again"));
        }
    }
    assert_eq!(machine.failure(), Some(SessionError::ItemFailed { id: ItemId(0), attempts: 4 }));
}

/// A joiner that receives a stream.
fn stream_receiver() -> Machine {
    let mut machine = joiner(1);
    let item = Item { what: What::Stream, ..file(0) };
    machine.handle_frame(Lane(0), T, &Frame::Offer { id: ItemId(0), eager: false, attempt: 0, item }, at(3));
    machine.handle_opened(ItemId(0), at(3));
    assert!(sent(&mut machine, 0).contains(&"Accept".to_owned()));
    drain(&mut machine);
    machine
}

#[test]
fn a_stream_ends_behind_all_that_has_come_of_it() {
    const RUN: u64 = 16 << 20;
    for (offsets, size, right) in [
        (&[0][..], 4096, true),
        (&[0], 4095, false),
        (&[0, RUN], 8192, false),
        (&[0, RUN], RUN + 4095, false),
        (&[], 0, true),
    ] {
        let mut machine = stream_receiver();
        for &offset in offsets {
            let data =
                Frame::Data { id: ItemId(0), attempt: 0, offset, len: 4096, run_end: false, crc: Some(1) };
            machine.handle_frame(Lane(1), T, &data, at(3));
            assert!(machine.handle_payload(Lane(1), 4096, Some(1)));
        }
        let end = End { size, checksum: Checksum::Crc32c(0) };
        machine.handle_frame(Lane(1), T, &Frame::End { id: ItemId(0), attempt: 0, end }, at(3));
        let failure = (!right).then_some(SessionError::Misbehaved(Misbehaviour::Size(ItemId(0))));
        assert_eq!(machine.failure(), failure, "{offsets:?} {size}");
        let finish = Command::Finish { id: ItemId(0), size, checksum: end.checksum };
        assert_eq!(drain(&mut machine).contains(&finish), right);
    }
}

// Catalogue: B43
#[test]
fn nothing_is_made_durable_before_count_bytes_and_root_agree() {
    let root = |n| Root { integrity: Integrity::Crc32c, hash: [n; 32] };
    for (theirs, ours, agree) in [(root(1), root(1), true), (root(1), root(2), false)] {
        let mut machine = joiner(0);
        machine.handle_frame(Lane(0), T, &Frame::Complete(Complete { root: theirs, ..complete() }), at(3));
        assert_eq!(drain(&mut machine), [Command::SumUp { side: Side::Joiner, task: T }]);
        machine.handle_root(Side::Joiner, T, (0, 0, ours), at(3));
        assert_eq!(drain(&mut machine), vec![], "what is agreed is said first");
        assert_eq!(
            sent(&mut machine, 0).last().map(String::as_str),
            Some(if agree { "Agreed" } else { "Failed" })
        );
        assert_eq!(drain(&mut machine), if agree { vec![Command::MakeDurable] } else { vec![] });
        assert_eq!(machine.failure(), (!agree).then_some(SessionError::RootMismatch));
    }
}

#[test]
fn an_early_complete_and_a_premature_installed_are_refused() {
    let mut machine = joiner(2);
    machine.handle_frame(Lane(0), T, &Frame::Complete(complete()), at(3));
    assert_eq!(machine.failure(), Some(SessionError::Misbehaved(Misbehaviour::Count)));
    let mut machine = provider(2);
    machine.handle_frame(Lane(0), T, &Frame::Installed { app_reply: b"" }, at(3));
    assert_eq!(machine.failure().map(|failure| failure.reason()), Some(Reason::Protocol));
}

#[test]
fn a_large_item_waits_for_its_answer_and_is_spread_over_the_lanes() {
    let mut machine = provider(1);
    let mut out = vec![0; FRAME_MAX];
    let large = file(64 << 20);
    let offered = machine.handle_item(&large, at(3), &mut out);
    assert_eq!((offered.lane, drain(&mut machine)), (Lane::CONTROL, vec![]));
    machine.handle_frame(Lane(0), T, &Frame::Accept { id: offered.id, offset: 0 }, at(3));
    let reads = drain(&mut machine);
    let lanes: Vec<u16> = reads
        .iter()
        .map(|command| match command {
            Command::Read { lane, offset, .. } => {
                assert_eq!(offset / (16 << 20), u64::from(lane.0) - 1, "a run each");
                lane.0
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lanes, [1, 1, 2, 2], "as deep as it was told");
    assert_eq!(sent(&mut machine, 1).len(), 0, "no header before its bytes were read");
    let piece = ReadPiece::Data { len: 512 << 10, crc: Some(1) };
    assert!(machine.handle_read(Lane(1), offered.id, 0, piece, at(3)), "its bytes are wanted");
    assert_eq!(sent(&mut machine, 1), ["Data"]);
}

#[test]
fn frames_of_an_attempt_that_failed_are_dropped() {
    let mut machine = joiner(2);
    let offer = |attempt| Frame::Offer { id: ItemId(0), eager: true, attempt, item: file(8) };
    let data = |attempt, offset| Frame::Data {
        id: ItemId(0),
        attempt,
        offset,
        len: 4,
        run_end: false,
        crc: Some(1),
    };
    machine.handle_frame(Lane(1), T, &offer(0), at(3));
    machine.handle_frame(Lane(1), T, &data(0, 0), at(3));
    assert!(!machine.handle_payload(Lane(1), 4, Some(2)), "it is not what was sent");
    drain(&mut machine);
    sent(&mut machine, 0);
    // The next attempt comes on another lane, what is left of the first one on its own.
    machine.handle_frame(Lane(2), T, &offer(1), at(3));
    drain(&mut machine);
    machine.handle_frame(Lane(1), T, &data(0, 4), at(3));
    assert_eq!(machine.poll_receive(Lane(1)), Some(Receive::Discard { len: 4 }));
    assert!(!machine.handle_payload(Lane(1), 4, Some(1)));
    machine.handle_frame(Lane(2), T, &data(1, 0), at(3));
    assert!(machine.handle_payload(Lane(2), 4, Some(1)), "{:?}", machine.failure());
}

#[test]
fn only_the_same_member_and_a_later_epoch_resume_a_session() {
    let later = Init { epoch: Epoch(1), capabilities: capability::ALL, ..init(true) };
    let token = Token([6; 16]);
    for (what, init) in [
        ("another member", Init { member: MemberId([8; 16]), ..later }),
        ("another transfer", Init { transfer: TransferId([8; 16]), ..later }),
        ("the same epoch", Init { epoch: Epoch(0), ..later }),
    ] {
        let mut machine = provider(3);
        assert!(machine.handle_resume(&init, token, at(5)).is_err(), "{what}");
        assert_eq!(machine.state(), State::Streaming, "{what}: the session goes on as it was");
    }
    let mut machine = provider(3);
    machine.handle_resume(&later, token, at(5)).unwrap();
    assert_eq!(machine.epoch(), Epoch(1));
    let closed = [0, 1, 2].map(|lane| Command::CloseLane { lane: Lane(lane) });
    assert_eq!(drain(&mut machine), closed, "nothing of the old epoch comes through");
    assert_eq!(sent(&mut machine, 0), ["Welcome"]);
    machine.handle_frame(Lane(0), T, &Frame::Grades(Grades::default()), at(5));
    assert!(machine.handle_resume(&later, token, at(6)).is_err(), "an epoch comes once");
}

#[test]
fn a_listener_takes_transfer_and_epoch_of_its_dialler() {
    let theirs = Init { transfer: TransferId([8; 16]), epoch: Epoch(4), ..init(true) };
    let mut machine = Machine::accept(config(Side::Provider, 1), &theirs, Instant::ZERO).unwrap();
    assert_eq!((machine.epoch(), machine.peer()), (Epoch(4), Some(theirs.member)));
    assert!(machine.handle_resume(&Init { epoch: Epoch(5), ..init(true) }, Token::default(), at(1)).is_err());
    machine.handle_resume(&Init { epoch: Epoch(5), ..theirs }, Token::default(), at(1)).unwrap();
}

#[test]
fn a_session_without_a_connection_is_where_it_was() {
    let mut machine = provider(3);
    machine.handle_lane_lost(Lane::CONTROL, at(5));
    assert_eq!((machine.state(), machine.phase()), (State::Reconnecting, Phase::Stream));
    let mut machine = Machine::accept(config(Side::Provider, 1), &init(true), Instant::ZERO).unwrap();
    machine.handle_frame(Lane(0), T, &Frame::Prepare { requests: 1 }, at(1));
    machine.handle_lane_lost(Lane::CONTROL, at(5));
    assert_eq!((machine.state(), machine.phase()), (State::Reconnecting, Phase::Prepare));
}

#[test]
fn signs_of_life_go_on_after_a_resume() {
    let mut machine = provider(3);
    machine.handle_resume(&Init { epoch: Epoch(1), ..init(true) }, Token::default(), at(5)).unwrap();
    assert_eq!(machine.poll_timeout(), Some(at(5).after(STALL / 4)));
    assert_eq!(at(5).as_nanos(), 5_000_000_000);
}

#[test]
fn a_peers_reason_is_kept() {
    let mut machine = joiner(1);
    let failed = Failed {
        reason: Reason::SourceChanged,
        phase: Phase::Stream,
        side: Side::Provider,
        offset: None,
        name: ItemName::ROOT,
        message: "it became shorter",
        app_reply: b"",
    };
    machine.handle_frame(Lane(0), T, &Frame::Failed(failed), at(3));
    let peer = SessionError::Peer { reason: Reason::SourceChanged, side: Side::Provider };
    assert_eq!(machine.failure(), Some(peer));
    assert!(sent(&mut machine, 0).is_empty(), "a peer that has failed need not be told");
}

#[test]
fn a_busy_listener_says_when_to_ask_again() {
    let mut machine = Machine::dial(config(Side::Joiner, 2), Instant::ZERO);
    machine.handle_frame(Lane(0), T, &Frame::Busy { retry_after_ms: 700 }, at(1));
    let events: Vec<Event> = std::iter::from_fn(|| machine.poll_event()).collect();
    assert_eq!(events[0], Event::Busy { retry_after: Duration::from_millis(700) });
    assert_eq!(machine.failure().map(|failure| failure.reason()), Some(Reason::Busy));
}

// Catalogue: B7
#[test]
fn bytes_that_are_no_frame_fail_the_session() {
    let mut machine = joiner(1);
    let stranger = WireError::Kind { kind: 99 };
    machine.handle_invalid(Lane(0), stranger, at(3));
    assert_eq!(machine.failure(), Some(SessionError::Invalid(stranger)));
}

/// Any frame, of small numbers: many of them fit a session's state.
fn any_frame() -> impl Strategy<Value = Frame<'static>> {
    let id = (0_u32..20).prop_map(ItemId);
    let attempt = 0_u8..3;
    prop_oneof![
        Just(Frame::Begin),
        Just(Frame::Agreed),
        (0_u16..3).prop_map(|requests| Frame::Prepare { requests }),
        (id.clone(), attempt.clone()).prop_map(|(id, attempt)| Frame::Recall { id, attempt }),
        id.clone().prop_map(|id| Frame::Skip { id, end: None }),
        Just(Frame::Welcome(welcome())),
        Just(Frame::Request(request())),
        (0_u64..4).prop_map(|items| Frame::Task(task(items))),
        (id.clone(), any::<bool>(), attempt.clone(), 0_u64..3).prop_map(|(id, eager, attempt, size)| {
            Frame::Offer { id, eager, attempt, item: file(size * 200_000) }
        }),
        (id.clone(), 0_u64..3).prop_map(|(id, runs)| Frame::Accept { id, offset: runs * (16 << 20) }),
        (id.clone(), attempt.clone(), 0_u64..4, 1_u32..600_000).prop_map(|(id, attempt, chunk, len)| {
            Frame::Data { id, attempt, offset: chunk * (512 << 10), len, run_end: false, crc: Some(0) }
        }),
        (id.clone(), attempt.clone(), any::<u64>()).prop_map(|(id, attempt, len)| Frame::Hole {
            id,
            attempt,
            offset: 0,
            len: len.max(1),
            run_end: false
        }),
        (id.clone(), attempt, 0_u64..3).prop_map(|(id, attempt, size)| Frame::End {
            id,
            attempt,
            end: End { size: size * 200_000, checksum: Checksum::Crc32c(0) },
        }),
        id.prop_map(|id| Frame::Again { id }),
        (0_u32..20, 0_u32..20).prop_map(|(verified, durable)| Frame::Grades(Grades {
            received: 20,
            verified,
            durable
        })),
        Just(Frame::Complete(complete())),
        Just(Frame::Installed { app_reply: b"" }),
        any::<u64>().prop_map(|done| Frame::Alive(Alive { done })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    // Catalogue: B8
    /// Broken input is an error; only a broken invariant is a panic, and none breaks.
    #[test]
    fn no_peer_makes_a_session_panic(
        provides in any::<bool>(),
        frames in proptest::collection::vec((0_u16..3, any_frame()), 1..60),
    ) {
        let mut machine = if provides { provider(20) } else { joiner(20) };
        let mut out = vec![0; FRAME_MAX];
        while provides && machine.can_offer(&file(300_000)) && machine.grades(Side::Provider).verified == 0 {
            let offered = machine.handle_item(&file(300_000), at(3), &mut out);
            if offered.id.0 >= 10 { break; }
        }
        for (lane, frame) in frames {
            machine.handle_frame(Lane(lane), T, &frame, at(3));
            if let Some(receive) = machine.poll_receive(Lane(lane)) {
                let len = match receive {
                    Receive::Place(payload) => payload.len,
                    Receive::Discard { len } => len,
                };
                let _ = machine.handle_payload(Lane(lane), len, Some(0));
            }
            for command in drain(&mut machine) {
                match command {
                    Command::Read { lane, id, offset, len, .. } => {
                        let _ = machine.handle_read(lane, id, offset, ReadPiece::Data { len, crc: Some(0) }, at(3));
                    }
                    Command::Close { id } => machine.handle_closed(id, 300_000, Checksum::Crc32c(0), at(3)),
                    Command::Reoffer { id } if machine.can_reoffer(&file(300_000)) => {
                        let _ = machine.handle_reoffer(id, &file(300_000), &mut out);
                    }
                    _ => {}
                }
            }
            for lane in 0..3 {
                let _ = sent(&mut machine, lane);
            }
        }
    }
}
