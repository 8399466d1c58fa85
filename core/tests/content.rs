//! Content: on which lanes it travels, which bytes of an item may come, and what stays of an item when
//! some of it must come again.

mod sides;

use longhaul_core::id::{ItemId, Lane, TaskId};
use longhaul_core::integrity::{Checksum, Integrity, Root};
use longhaul_core::item::{Item, What};
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{Command, Misbehaviour, ReadPiece, Receive, SessionError, State};
use longhaul_core::wire::{
    Complete, End, FRAME_MAX, Failed, Frame, Grades, HEADER_LEN, Header, Kind, Refused, TASKS,
};
use sides::{Machine, STALL, T, at, config, drain, file, init, joiner, joiner_with, provider, request, sent};

const CHUNK: u32 = 512 << 10;
const RUN: u64 = 16 << 20;

fn reason(machine: &Machine) -> Option<Reason> {
    machine.failure().map(|failure| failure.reason())
}

fn offer(machine: &mut Machine, id: u32, eager: bool, lane: u16, item: Item<'_>) {
    let offer = Frame::Offer { id: ItemId(id), eager, attempt: 0, item };
    machine.handle_frame(Lane(lane), T, &offer, at(3));
}

/// Offers items that are no eager ones, and accepts them.
fn open(machine: &mut Machine, items: &[Item<'_>]) {
    for (n, item) in items.iter().enumerate() {
        offer(machine, n as u32, false, 0, *item);
        drain(machine);
        machine.handle_opened(ItemId(n as u32), at(3));
    }
    sent(machine, 0);
}

fn header(machine: &mut Machine, lane: u16, id: u32, offset: u64, len: u32) {
    let frame = Frame::Data { id: ItemId(id), attempt: 0, offset, len, run_end: false, crc: Some(9) };
    machine.handle_frame(Lane(lane), T, &frame, at(3));
}

fn data(machine: &mut Machine, lane: u16, id: u32, offset: u64, len: u32) {
    header(machine, lane, id, offset, len);
    assert!(machine.handle_payload(Lane(lane), len, Some(9)), "{:?}", machine.failure());
}

/// All of one run but for its last `less` chunks.
fn run(machine: &mut Machine, lane: u16, id: u32, run: u64, less: u64) {
    for n in 0..RUN / u64::from(CHUNK) - less {
        data(machine, lane, id, run * RUN + n * u64::from(CHUNK), CHUNK);
    }
}

// Catalogue: B8
#[test]
fn content_travels_on_the_lanes_that_carry_it() {
    let mut machine = joiner(2);
    offer(&mut machine, 0, true, 0, file(1000));
    assert_eq!(machine.failure(), Some(SessionError::Misbehaved(Misbehaviour::WrongLane(Kind::Offer))));
    let mut machine = joiner(2);
    offer(&mut machine, 0, false, 1, file(1 << 30));
    assert_eq!(machine.failure(), Some(SessionError::Misbehaved(Misbehaviour::WrongLane(Kind::Offer))));
    let mut machine = joiner(2);
    open(&mut machine, &[file(1 << 30)]);
    header(&mut machine, 0, 0, 0, 10);
    assert_eq!(machine.failure(), Some(SessionError::Misbehaved(Misbehaviour::WrongLane(Kind::Data))));
    let mut machine = joiner(2);
    open(&mut machine, &[file(1 << 30)]);
    let hole = Frame::Hole { id: ItemId(0), attempt: 0, offset: 0, len: 10, run_end: false };
    machine.handle_frame(Lane(0), T, &hole, at(3));
    assert_eq!(machine.failure(), Some(SessionError::Misbehaved(Misbehaviour::WrongLane(Kind::Hole))));
}

// Catalogue: B8
#[test]
fn content_without_a_checksum_comes_only_where_none_was_agreed() {
    for integrity in [Integrity::None, Integrity::Crc32c, Integrity::Blake3] {
        let mut machine = joiner_with(1, true, integrity);
        open(&mut machine, &[file(1 << 30)]);
        let unchecked =
            Frame::Data { id: ItemId(0), attempt: 0, offset: 0, len: CHUNK, run_end: false, crc: None };
        machine.handle_frame(Lane(1), T, &unchecked, at(3));
        if integrity == Integrity::None {
            assert!(machine.handle_payload(Lane(1), CHUNK, None), "{:?}", machine.failure());
        } else {
            let missing = SessionError::Misbehaved(Misbehaviour::Checksum(ItemId(0)));
            assert_eq!(machine.failure(), Some(missing), "{integrity:?}");
        }
    }
}

// Catalogue: B14
#[test]
fn a_small_item_takes_its_length_and_no_more() {
    for (second, taken) in [(400, true), (401, false), (1000, false)] {
        let mut machine = joiner(2);
        offer(&mut machine, 0, true, 1, file(1000));
        data(&mut machine, 1, 0, 0, 600);
        header(&mut machine, 1, 0, 600, second);
        assert_eq!(reason(&machine).is_none(), taken, "{second}");
    }
}

// Catalogue: B4, B14
#[test]
fn a_payload_lies_within_one_chunk_of_the_grid() {
    for (what, offset, len) in [
        ("across the grid", 1 << 10, CHUNK),
        ("longer than a chunk", 0, CHUNK + 1),
        ("nothing", 0, 0),
        ("nothing, within a chunk", 10, 0),
        ("past all offsets", u64::MAX, 2),
    ] {
        let mut machine = joiner(2);
        open(&mut machine, &[file(1 << 30)]);
        header(&mut machine, 1, 0, offset, len);
        assert_eq!(reason(&machine), Some(Reason::Protocol), "{what}");
    }
}

fn recall(machine: &mut Machine, id: u32) -> Vec<Command> {
    machine.handle_frame(Lane(0), T, &Frame::Recall { id: ItemId(id), attempt: 0 }, at(4));
    assert_eq!(machine.failure(), None);
    drain(machine)
}

#[test]
fn whole_runs_stay_when_an_item_is_recalled() {
    let mut machine = joiner(2);
    open(&mut machine, &[file(1 << 30), file(1 << 30)]);
    run(&mut machine, 1, 0, 0, 0);
    run(&mut machine, 2, 0, 1, 0);
    // A part of a third, and a header of another item.
    data(&mut machine, 1, 0, 2 * RUN, CHUNK);
    header(&mut machine, 2, 1, 0, CHUNK);
    assert_eq!(recall(&mut machine, 0), [Command::Rewind { id: ItemId(0), to: 2 * RUN }]);
}

#[test]
fn a_payload_whose_header_alone_came_does_not_stay() {
    let mut machine = joiner(2);
    open(&mut machine, &[file(1 << 30)]);
    run(&mut machine, 1, 0, 0, 0);
    run(&mut machine, 1, 0, 1, 1);
    header(&mut machine, 1, 0, 2 * RUN - u64::from(CHUNK), CHUNK);
    assert_eq!(recall(&mut machine, 0), [Command::Rewind { id: ItemId(0), to: RUN }]);
}

#[test]
fn what_two_lanes_lost_is_asked_for_once() {
    let mut machine = joiner(2);
    offer(&mut machine, 0, true, 1, file(1000));
    data(&mut machine, 1, 0, 0, 600);
    assert_eq!(recall(&mut machine, 0).last(), Some(&Command::Discard { id: ItemId(0) }));
    assert_eq!(sent(&mut machine, 0).last().map(String::as_str), Some("Again"));
    recall(&mut machine, 0);
    assert_eq!(sent(&mut machine, 0), [""; 0]);
}

#[test]
fn what_another_attempt_overtook_may_come_when_its_task_is_over() {
    let mut machine = joiner(1);
    offer(&mut machine, 0, true, 1, file(1000));
    header(&mut machine, 1, 0, 0, 600);
    assert!(!machine.handle_payload(Lane(1), 600, Some(8)), "it is not what was sent");
    drain(&mut machine);
    sent(&mut machine, 0);
    let offer = Frame::Offer { id: ItemId(0), eager: true, attempt: 1, item: file(1000) };
    machine.handle_frame(Lane(2), T, &offer, at(3));
    let whole = Frame::Data { id: ItemId(0), attempt: 1, offset: 0, len: 1000, run_end: true, crc: Some(9) };
    machine.handle_frame(Lane(2), T, &whole, at(3));
    assert!(machine.handle_payload(Lane(2), 1000, Some(9)));
    let end = End { size: 1000, checksum: Checksum::Crc32c(7) };
    machine.handle_frame(Lane(2), T, &Frame::End { id: ItemId(0), attempt: 1, end }, at(3));
    machine.handle_finished(ItemId(0), true, at(3));
    let root = Root { integrity: Integrity::Crc32c, hash: [8; 32] };
    let complete = Complete { items: 1, bytes: 1 << 30, root };
    machine.handle_frame(Lane(0), T, &Frame::Complete(complete), at(3));
    machine.handle_root(Side::Joiner, T, (1, 1 << 30, root), at(3));
    assert_eq!(sent(&mut machine, 0).last().map(String::as_str), Some("Agreed"));
    // The rest of the first attempt, on its slow lane.
    header(&mut machine, 1, 0, 600, 400);
    assert_eq!(machine.poll_receive(Lane(1)), Some(Receive::Discard { len: 400 }));
    assert!(!machine.handle_payload(Lane(1), 400, Some(9)));
    assert_eq!(machine.failure(), None);
}

#[test]
fn an_offer_that_comes_after_its_recall_is_dropped() {
    let mut machine = joiner(2);
    recall(&mut machine, 0);
    offer(&mut machine, 0, true, 1, file(1000));
    assert_eq!((machine.failure(), drain(&mut machine)), (None, vec![]));
    header(&mut machine, 1, 0, 0, 1000);
    assert_eq!(machine.poll_receive(Lane(1)), Some(Receive::Discard { len: 1000 }));
}

#[test]
fn a_recall_that_was_not_said_yet_is_not_said_after_again() {
    let mut machine = provider(1);
    let lane = machine.handle_item(&file(1000), at(3), &mut [0; FRAME_MAX]).lane;
    machine.handle_items_end(at(3));
    send(&mut machine, ItemId(0));
    sent(&mut machine, 0);
    machine.handle_lane_lost(lane, at(3));
    machine.handle_frame(Lane(0), T, &Frame::Again { id: ItemId(0) }, at(3));
    send(&mut machine, ItemId(0));
    machine.handle_frame(Lane(0), T, &Frame::Grades(Grades { received: 1, verified: 1, durable: 0 }), at(3));
    assert_eq!(drain(&mut machine).last(), Some(&Command::SumUp { side: Side::Provider, task: T }));
    let root = Root { integrity: Integrity::Crc32c, hash: [8; 32] };
    machine.handle_root(Side::Provider, T, (1, 1000, root), at(3));
    assert_eq!(sent(&mut machine, 0), ["Complete"]);
}

#[test]
fn nothing_stays_of_a_stream() {
    let mut machine = joiner(2);
    open(&mut machine, &[Item { what: What::Stream, ..file(0) }]);
    run(&mut machine, 1, 0, 0, 0);
    assert_eq!(recall(&mut machine, 0), [Command::Discard { id: ItemId(0) }]);
}

#[test]
fn what_is_durable_before_the_end_is_told_as_far_as_it_is_verified() {
    let grades = |machine: &Machine| machine.grades(Side::Joiner);
    let mut machine = joiner(3);
    offer(&mut machine, 0, false, 0, Item { what: What::Directory, ..file(0) });
    drain(&mut machine);
    machine.handle_finished(ItemId(0), true, at(3));
    assert_eq!(grades(&machine), Grades { received: 1, verified: 1, durable: 0 });
    machine.handle_durable_before(ItemId(3), at(3));
    assert_eq!(grades(&machine), Grades { received: 1, verified: 1, durable: 1 });
    assert_eq!(sent(&mut machine, 0).last().map(String::as_str), Some("Grades"));
}

#[test]
fn a_failure_of_this_side_is_told_whole() {
    let mut machine = joiner(1);
    let failed = Failed {
        reason: Reason::NoSpace,
        phase: Phase::Stream,
        side: Side::Joiner,
        offset: Some(7),
        name: file(0).name,
        message: "no space left",
        app_reply: b"",
    };
    let mut out = [0; FRAME_MAX];
    let len = machine.fail(&failed, &mut out);
    let header = Header::parse(out.first_chunk().unwrap()).unwrap();
    assert_eq!(Frame::parse(&header, &out[HEADER_LEN..len]), Ok(Frame::Failed(failed)));
    assert_eq!(machine.fail(&failed, &mut out), 0, "once");
}

/// Sends the one small item of a provider, at whatever attempt.
fn send(machine: &mut Machine, id: ItemId) {
    for command in drain(machine) {
        match command {
            Command::Reoffer { .. } => {
                let _ = machine.handle_reoffer(id, &file(1000), &mut [0; FRAME_MAX]);
                send(machine, id);
            }
            Command::Read { lane, id, .. } => {
                assert!(machine.handle_read(lane, id, 0, ReadPiece::Data { len: 1000, crc: Some(9) }, at(3)));
                send(machine, id);
            }
            Command::Close { id } => {
                machine.handle_closed(id, 1000, Checksum::Crc32c(7), at(3));
            }
            _ => {}
        }
    }
    sent(machine, 1);
    sent(machine, 2);
}

#[test]
fn a_session_that_failed_sends_no_more_content() {
    let mut machine = provider(1);
    let lane = machine.handle_item(&file(1000), at(3), &mut [0; FRAME_MAX]).lane;
    let piece = piece_read(&mut machine);
    assert!(machine.handle_read(lane, ItemId(0), 0, piece, at(3)));
    machine.handle_frame(Lane(0), T, &Frame::Begin, at(3));
    assert_eq!(machine.state(), State::Failed);
    assert_eq!(sent(&mut machine, lane.0), [""; 0]);
}

/// The one read that is wanted comes back.
fn piece_read(machine: &mut Machine) -> ReadPiece {
    assert!(matches!(drain(machine)[..], [Command::Read { offset: 0, len: 1000, .. }]));
    ReadPiece::Data { len: 1000, crc: Some(9) }
}

#[test]
fn a_session_stalls_to_the_second_and_what_is_verified_is_progress() {
    let stalls = |machine: &mut Machine| loop {
        let next = machine.poll_timeout().expect("it waits for its peer");
        machine.handle_timeout(next);
        if machine.failure().is_some() {
            return next;
        }
    };
    let mut machine = provider(2);
    assert_eq!(stalls(&mut machine), at(2).after(STALL));
    let mut machine = provider(2);
    let _ = machine.handle_item(&file(1000), at(3), &mut [0; FRAME_MAX]);
    send(&mut machine, ItemId(0));
    let grades = Frame::Grades(Grades { received: 1, verified: 1, durable: 0 });
    machine.handle_frame(Lane(0), T, &grades, at(20));
    // Said again it is nothing new.
    machine.handle_frame(Lane(0), T, &grades, at(25));
    assert_eq!(stalls(&mut machine), at(20).after(STALL));
}

// Catalogue: B15
#[test]
fn an_item_is_sent_again_so_often_and_what_a_lane_lost_does_not_count() {
    let again = Frame::Again { id: ItemId(0) };
    let retries = config(Side::Provider, 1).max_retries;
    let mut machine = provider(2);
    let _ = machine.handle_item(&file(1000), at(3), &mut [0; FRAME_MAX]);
    for _ in 0..retries {
        send(&mut machine, ItemId(0));
        machine.handle_frame(Lane(0), T, &again, at(3));
        assert_eq!(machine.failure(), None);
    }
    send(&mut machine, ItemId(0));
    machine.handle_frame(Lane(0), T, &again, at(3));
    let failure = SessionError::ItemFailed { id: ItemId(0), attempts: retries + 1 };
    assert_eq!(machine.failure(), Some(failure));

    let mut machine = provider(2);
    let lane = machine.handle_item(&file(1000), at(3), &mut [0; FRAME_MAX]).lane;
    send(&mut machine, ItemId(0));
    machine.handle_lane_lost(lane, at(3));
    assert_eq!(sent(&mut machine, 0).last().map(String::as_str), Some("Recall"));
    machine.handle_frame(Lane(0), T, &again, at(3));
    let counted = std::iter::from_fn(|| machine.poll_event())
        .any(|event| event == longhaul_core::session::Event::Retrying { id: ItemId(0), failures: 0 });
    assert!(counted, "it comes again, and nothing is wrong with it");
}

#[test]
fn as_many_requests_as_there_may_be_are_all_refused() {
    let mut machine = Machine::accept(config(Side::Provider, 1), &init(true), at(0)).unwrap();
    let tasks = TASKS as u16;
    machine.handle_frame(Lane(0), T, &Frame::Prepare { requests: tasks }, at(1));
    let refused = Refused { reason: Reason::Refused, message: "no", app_reply: b"" };
    for task in (0..tasks).map(TaskId) {
        machine.handle_frame(Lane(0), task, &Frame::Request(request()), at(1));
        assert!(machine.handle_refused(task, &refused, at(1), &mut [0; FRAME_MAX]) > 0);
    }
    assert_eq!((machine.state(), machine.failure()), (State::Done, None));
    assert_eq!(machine.terms(Side::Provider), None);
}
