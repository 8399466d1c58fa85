//! What holds when connections are lost, and when a peer lies about what came before they were.

mod sides;

use longhaul_core::id::{Epoch, ItemId, Lane, MemberId, Token};
use longhaul_core::integrity::{Checksum, Integrity, Root};
use longhaul_core::item::{Item, What};
use longhaul_core::reason::{Reason, Side};
use longhaul_core::session::{Command, ReadPiece, Session, SessionError, State, Totals, capability};
use longhaul_core::time::Instant;
use longhaul_core::wire::{Complete, End, FRAME_MAX, Frame, Grades, Init, Welcome};
use sides::{
    Machine, STALL, T, at, config, drain, file, init, joiner, provider, request, sent, task, welcome,
};

const SUM: Checksum = Checksum::Crc32c(7);
const RUN: u64 = 16 << 20;

// Catalogue: B13
#[test]
fn a_joiner_can_not_claim_what_was_never_sent() {
    for claim in [RUN, 1 << 30] {
        let mut machine = provider(1);
        let _ = machine.handle_item(&file(1 << 30), at(3), &mut [0; FRAME_MAX]);
        machine.handle_frame(Lane(0), T, &Frame::Accept { id: ItemId(0), offset: claim }, at(3));
        assert_eq!(machine.failure().map(|error| error.reason()), Some(Reason::Protocol), "{claim}");
    }
}

#[test]
fn the_next_small_item_is_read_once_the_last_one_s_end_is_there() {
    let mut machine = provider(3);
    for _ in 0..3 {
        assert!(machine.can_offer(&file(1000)));
        let _ = machine.handle_item(&file(1000), at(3), &mut [0; FRAME_MAX]);
    }
    let mut read = 0;
    while let [Command::Read { lane, id, .. }] = drain(&mut machine)[..] {
        assert!(machine.handle_read(lane, id, 0, ReadPiece::Data { len: 1000, crc: Some(9) }, at(3)));
        assert_eq!(drain(&mut machine), [Command::Close { id }], "nothing else is read before it is closed");
        machine.handle_closed(id, 1000, SUM, at(3));
        assert_eq!(sent(&mut machine, lane.0), ["Data", "End"]);
        read += 1;
    }
    assert_eq!(read, 3);
}

/// A provider of many files, each larger than what travels with its offer.
type Large = Session<2, 128>;

const FILES: u32 = 64;
const LEN: u32 = 300 << 10;

fn large(n: u32) -> Item<'static> {
    let size = if n == 0 { 1 << 30 } else { LEN.into() };
    Item { what: What::File { size, linked: false, sparse: false }, ..file(0) }
}

/// From Prepare to a data lane, on a new connection.
fn prepare(machine: &mut Large) {
    machine.handle_frame(Lane(0), T, &Frame::Prepare { requests: 1 }, at(3));
    machine.handle_frame(Lane(0), T, &Frame::Request(request()), at(3));
    let totals = Totals {
        shape: 0,
        items: FILES.into(),
        bytes: None,
        allocated: 0,
        longest_name: 0,
        snapshot: task(1).snapshot,
        digest_members: 0,
        app_meta: b"",
    };
    assert!(machine.handle_surveyed(T, &totals, at(3), &mut [0; FRAME_MAX]) > 0);
    machine.handle_frame(Lane(0), T, &Frame::Begin, at(3));
    assert!(machine.handle_lane_up(Lane(1), at(3)));
}

/// Reads and closes whatever is wanted, until nothing is.
fn serve(machine: &mut Large, mut sends: bool) {
    let mut out = [0; FRAME_MAX];
    loop {
        let Some(command) = machine.poll_command() else {
            if sends && machine.poll_transmit(Lane(1), &mut out).is_some() {
                continue;
            }
            return;
        };
        match command {
            Command::Read { lane, id, offset, len, .. } => {
                assert!(machine.handle_read(lane, id, offset, ReadPiece::Data { len, crc: Some(9) }, at(3)));
                // Of the large one enough was sent.
                sends &= id.0 > 0;
            }
            Command::Close { id } => machine.handle_closed(id, LEN.into(), SUM, at(3)),
            Command::Reoffer { id } => {
                let _ = machine.handle_reoffer(id, &large(id.0), &mut out);
            }
            _ => {}
        }
        while machine.poll_event().is_some() {}
    }
}

#[test]
fn items_that_are_there_already_end_on_a_lane_that_is_full() {
    let config = longhaul_core::session::Config { lanes: 1, ..config(Side::Provider, 1) };
    let mut machine = Box::new(Large::accept(config, &init(true), Instant::ZERO).unwrap());
    prepare(&mut machine);
    serve(&mut machine, true);
    for n in 0..FILES {
        assert!(machine.can_offer(&large(n)));
        let _ = machine.handle_item(&large(n), at(3), &mut [0; FRAME_MAX]);
    }
    for n in 1..FILES {
        machine.handle_frame(Lane(0), T, &Frame::Accept { id: ItemId(n), offset: 0 }, at(3));
    }
    serve(&mut machine, true);
    machine.handle_lane_lost(Lane(0), at(4));
    let again = Init { epoch: Epoch(1), ..init(true) };
    machine.handle_resume(&again, Token([8; 16]), at(5)).unwrap();
    serve(&mut machine, true);
    prepare(&mut machine);
    serve(&mut machine, true);
    // The large one fills the lane, whose connection takes nothing.
    machine.handle_frame(Lane(0), T, &Frame::Accept { id: ItemId(0), offset: 0 }, at(6));
    serve(&mut machine, false);
    for n in 1..FILES {
        machine.handle_frame(Lane(0), T, &Frame::Accept { id: ItemId(n), offset: LEN.into() }, at(6));
        serve(&mut machine, false);
    }
    assert_eq!(machine.failure(), None);
    let mut ends = 0;
    let mut out = [0; FRAME_MAX];
    while machine.poll_transmit(Lane(1), &mut out).is_some() {
        ends += u32::from(out[3] == longhaul_core::wire::Kind::End.code());
    }
    assert_eq!(ends, FILES - 1);
}

/// A joiner that has all, has compared it and said so.
fn agreed(capabilities: u64) -> Machine {
    let mut machine = joiner_that_can(capabilities);
    let complete =
        Complete { items: 1, bytes: 1 << 30, root: Root { integrity: Integrity::Crc32c, hash: [8; 32] } };
    machine.handle_frame(
        Lane(1),
        T,
        &Frame::Offer { id: ItemId(0), eager: true, attempt: 0, item: file(0) },
        at(3),
    );
    let end = End { size: 0, checksum: Checksum::empty(Integrity::Crc32c) };
    machine.handle_frame(Lane(1), T, &Frame::End { id: ItemId(0), attempt: 0, end }, at(3));
    machine.handle_finished(ItemId(0), true, at(3));
    machine.handle_frame(Lane(0), T, &Frame::Complete(complete), at(3));
    machine.handle_root(Side::Joiner, T, (complete.items, complete.bytes, complete.root), at(3));
    assert_eq!(sent(&mut machine, 0).last().map(String::as_str), Some("Agreed"));
    assert_eq!(drain(&mut machine).last(), Some(&Command::MakeDurable));
    machine
}

fn joiner_that_can(capabilities: u64) -> Machine {
    if capabilities == capability::ALL {
        return joiner(1);
    }
    let config = longhaul_core::session::Config { capabilities, ..config(Side::Joiner, 2) };
    let mut machine = Machine::dial(config, Instant::ZERO);
    machine.handle_frame(Lane(0), T, &Frame::Welcome(welcome()), at(1));
    machine.handle_frame(Lane(0), T, &Frame::Task(task(1)), at(1));
    machine.handle_begun(T, at(2));
    drain(&mut machine);
    assert!(machine.handle_lane_up(Lane(1), at(2)));
    machine
}

/// Durable, installed, done: with nobody to hear it.
fn ends_well(mut machine: Machine, how: &str) {
    assert_eq!(machine.failure(), None, "{how}");
    assert!(!drain(&mut machine).iter().any(|command| matches!(command, Command::Dial { .. })), "{how}");
    // Nothing is waited for but this side's own disk, as long as it gets on.
    for second in (10..100).step_by(20) {
        machine.handle_work(1, at(second));
        machine.handle_timeout(at(second));
    }
    assert_eq!(machine.poll_timeout(), Some(at(90).after(STALL)), "{how}");
    machine.handle_durable(at(100));
    machine.handle_installing();
    assert_eq!(machine.poll_timeout(), None, "{how}: what is being published is published");
    let _ = machine.handle_installed(b"", &mut [0; FRAME_MAX]);
    assert_eq!((machine.state(), machine.failure()), (State::Done, None), "{how}");
}

#[test]
fn what_has_all_come_is_installed_whatever_becomes_of_the_provider() {
    let mut machine = agreed(capability::ALL & !capability::RESUME);
    machine.handle_lane_lost(Lane(0), at(4));
    ends_well(machine, "a session that is not resumed");

    let dialled_again = || {
        let mut machine = agreed(capability::ALL);
        machine.handle_lane_lost(Lane(0), at(4));
        machine.handle_timeout(at(9));
        assert!(drain(&mut machine).contains(&Command::Dial { lane: Lane(0) }));
        assert!(machine.handle_lane_up(Lane(0), at(9)));
        assert_eq!(sent(&mut machine, 0), ["Init"]);
        machine
    };
    let mut machine = dialled_again();
    let another = Welcome { member: MemberId([77; 16]), epoch: Epoch(1), ..welcome() };
    machine.handle_frame(Lane(0), T, &Frame::Welcome(another), at(9));
    ends_well(machine, "another member answers");

    let mut machine = dialled_again();
    let gone = longhaul_core::wire::Failed {
        reason: Reason::Refused,
        phase: longhaul_core::reason::Phase::Init,
        side: Side::Provider,
        offset: None,
        name: file(0).name,
        message: "there is no such session",
        app_reply: b"",
    };
    machine.handle_frame(Lane(0), T, &Frame::Failed(gone), at(9));
    ends_well(machine, "the session is not known there any more");
}

#[test]
fn a_disk_that_hangs_when_the_provider_is_gone_is_given_up() {
    for capabilities in [capability::ALL, capability::ALL & !capability::RESUME] {
        let mut machine = agreed(capabilities);
        machine.handle_work(1, at(5));
        machine.handle_lane_lost(Lane(0), at(6));
        for second in (6..35).chain([35, 36]) {
            machine.handle_timeout(at(second));
            drain(&mut machine);
        }
        assert_eq!(machine.failure(), Some(SessionError::Stalled { after: STALL }));
    }
}

#[test]
fn what_the_provider_says_while_its_connection_stands_still_counts() {
    let mut machine = agreed(capability::ALL);
    machine.handle_frame(Lane(0), T, &Frame::Grades(Grades::default()), at(4));
    assert_eq!(machine.state(), State::Failed);
}
