//! What a joiner keeps of an earlier run: told with its checksum, and never sent again.

mod sides;

use longhaul_core::id::{Epoch, ItemId, Lane};
use longhaul_core::integrity::{Checksum, Integrity};
use longhaul_core::item::{Item, What};
use longhaul_core::reason::Reason;
use longhaul_core::session::{Command, Misbehaviour, SessionError};
use longhaul_core::wire::{End, FRAME_MAX, Frame, HEADER_LEN, Header, Kind, Welcome};
use sides::{Machine, T, at, drain, file, joiner_of, provider_of, sent, task, welcome};

const RUN: u64 = 16 << 20;
const SIZE: u64 = 5 * RUN + 1000;
const ID: ItemId = ItemId(0);
const SUMS: [u8; 4] = [7, 0, 0, 0];
const END: End = End { size: SIZE, checksum: Checksum::Crc32c(7) };

/// A provider that has offered `item` to a joiner that may have it.
fn offering(item: &Item<'_>) -> Machine {
    let mut machine = provider_of(1, false);
    let offered = machine.handle_item(item, at(3), &mut [0; FRAME_MAX]);
    assert_eq!(offered.lane, Lane::CONTROL);
    sent(&mut machine, 0);
    machine
}

fn kept(offset: u64) -> Frame<'static> {
    Frame::Kept { id: ID, offset, integrity: Integrity::Crc32c, sums: &SUMS }
}

fn hear(machine: &mut Machine, frame: &Frame<'_>) {
    machine.handle_frame(Lane::CONTROL, T, frame, at(3));
}

/// A joiner that was offered one file, and kept its first `offset` bytes.
fn keeping(offset: u64) -> Machine {
    let mut machine = joiner_of(1, false);
    hear(&mut machine, &Frame::Offer { id: ID, eager: false, attempt: 0, item: file(SIZE) });
    assert_eq!(drain(&mut machine), [Command::Open { id: ID }]);
    machine.handle_kept(ID, offset, at(3));
    assert_eq!(sent(&mut machine, 0), ["Begin"], "no Accept");
    machine
}

/// The frame that tells of it, as it goes out.
fn told(machine: &mut Machine, offset: u64) -> Header {
    assert_eq!(drain(machine), [Command::TellKept { id: ID, offset }]);
    let mut out = vec![0; FRAME_MAX];
    assert_eq!(machine.handle_kept_sums(ID, offset, &SUMS, &mut out), HEADER_LEN + 8);
    Header::parse(out.first_chunk().unwrap()).unwrap()
}

#[test]
fn a_provider_reads_on_from_what_is_kept() {
    let mut machine = offering(&file(SIZE));
    hear(&mut machine, &kept(3 * RUN));
    let reads = drain(&mut machine);
    assert!(matches!(reads[0], Command::Read { id: ID, offset, .. } if offset == 3 * RUN), "{reads:?}");
}

#[test]
fn of_what_is_kept_whole_a_provider_says_the_end_alone() {
    let mut machine = offering(&file(SIZE));
    hear(&mut machine, &kept(SIZE));
    assert_eq!(drain(&mut machine), [Command::Close { id: ID }], "nothing is read");
    machine.handle_closed(ID, SIZE, END.checksum, at(3));
    let lanes: Vec<_> = (0..3).flat_map(|lane| sent(&mut machine, lane)).collect();
    assert_eq!(lanes, ["End"]);
}

// Catalogue: B13, B41
#[test]
fn a_joiner_can_not_keep_what_can_not_be() {
    let stream = Item { what: What::Stream, ..file(0) };
    let wrong = SessionError::Misbehaved(Misbehaviour::Item(Kind::Kept, ID));
    for (item, frame, what) in [
        (file(SIZE), kept(0), "nothing"),
        (file(SIZE), kept(RUN + 1), "not whole runs"),
        (file(SIZE), kept(SIZE + 1), "more than there is"),
        (file(SIZE), kept(6 * RUN), "whole runs beyond its end"),
        (file(SIZE), kept(u64::MAX), "everything"),
        (stream, kept(RUN), "a part of a stream"),
        (
            file(SIZE),
            Frame::Kept { id: ItemId(1), offset: RUN, integrity: Integrity::Crc32c, sums: &SUMS },
            "an item that was not offered",
        ),
    ] {
        let mut machine = offering(&item);
        hear(&mut machine, &frame);
        assert_eq!(machine.failure().map(|error| error.reason()), Some(Reason::Protocol), "{what}");
    }
    let mut machine = offering(&file(SIZE));
    hear(&mut machine, &Frame::Kept { id: ID, offset: RUN, integrity: Integrity::Blake3, sums: &[0; 32] });
    assert_eq!(machine.failure(), Some(SessionError::Misbehaved(Misbehaviour::Checksum(ID))));
    // It was answered already.
    let mut machine = offering(&file(SIZE));
    hear(&mut machine, &kept(RUN));
    hear(&mut machine, &kept(RUN));
    assert_eq!(machine.failure(), Some(wrong));
    // It said that it holds nothing.
    let mut machine = provider_of(1, true);
    let _ = machine.handle_item(&file(SIZE), at(3), &mut [0; FRAME_MAX]);
    hear(&mut machine, &kept(RUN));
    assert_eq!(machine.failure(), Some(wrong));
}

#[test]
fn what_may_be_there_is_asked_for_before_it_is_sent() {
    for fresh in [true, false] {
        let mut machine = provider_of(1, fresh);
        let _ = machine.handle_item(&file(1000), at(3), &mut [0; FRAME_MAX]);
        let reads = drain(&mut machine).len();
        assert_eq!(reads, usize::from(fresh), "a small file travels with its offer only to who has nothing");
    }
}

#[test]
fn a_joiner_tells_what_it_kept_and_takes_the_rest() {
    let mut machine = keeping(5 * RUN);
    let header = told(&mut machine, 5 * RUN);
    assert_eq!((header.kind, header.item, header.offset), (Kind::Kept, ID, 5 * RUN));
    let data = Frame::Data { id: ID, attempt: 0, offset: 5 * RUN, len: 1000, run_end: true, crc: Some(9) };
    machine.handle_frame(Lane(1), T, &data, at(3));
    assert!(machine.handle_payload(Lane(1), 1000, Some(9)));
    machine.handle_frame(Lane(1), T, &Frame::End { id: ID, attempt: 0, end: END }, at(3));
    let finish = Command::Finish { id: ID, size: SIZE, checksum: END.checksum };
    assert_eq!(drain(&mut machine), [finish]);
}

// Catalogue: B14
#[test]
fn what_was_kept_does_not_come_again() {
    let mut machine = keeping(2 * RUN);
    told(&mut machine, 2 * RUN);
    let data = Frame::Data { id: ID, attempt: 0, offset: RUN, len: 1000, run_end: false, crc: Some(9) };
    machine.handle_frame(Lane(1), T, &data, at(3));
    assert_eq!(machine.failure(), Some(SessionError::Misbehaved(Misbehaviour::Offset(ID, RUN))));
}

#[test]
fn what_is_kept_whole_is_finished_when_its_end_comes() {
    let mut machine = keeping(SIZE);
    told(&mut machine, SIZE);
    machine.handle_frame(Lane(2), T, &Frame::End { id: ID, attempt: 0, end: END }, at(3));
    let finish = Command::Finish { id: ID, size: SIZE, checksum: END.checksum };
    assert_eq!(drain(&mut machine), [finish]);
}

// Catalogue: F3
#[test]
fn what_was_kept_is_told_again_on_a_new_connection() {
    for told_before in [true, false] {
        let mut machine = keeping(2 * RUN);
        if told_before {
            told(&mut machine, 2 * RUN);
        }
        machine.handle_lane_lost(Lane::CONTROL, at(4));
        drain(&mut machine);
        let dials = machine.poll_timeout().unwrap();
        machine.handle_timeout(dials);
        assert_eq!(drain(&mut machine), [Command::Dial { lane: Lane::CONTROL }]);
        machine.handle_lane_up(Lane::CONTROL, at(5));
        assert_eq!(sent(&mut machine, 0), ["Init"]);
        machine.handle_frame(
            Lane::CONTROL,
            T,
            &Frame::Welcome(Welcome { epoch: Epoch(1), ..welcome() }),
            at(5),
        );
        hear(&mut machine, &Frame::Task(task(1)));
        drain(&mut machine);
        sent(&mut machine, 0);
        machine.handle_lane_up(Lane(1), at(6));
        hear(&mut machine, &Frame::Offer { id: ID, eager: false, attempt: 1, item: file(SIZE) });
        let commands = drain(&mut machine);
        assert!(commands.contains(&Command::Continue { id: ID, attempt: 1 }), "{commands:?}");
        assert!(commands.contains(&Command::TellKept { id: ID, offset: 2 * RUN }), "{commands:?}");
    }
}

#[test]
#[should_panic(expected = "has nothing to keep")]
fn who_said_that_it_holds_nothing_keeps_nothing() {
    let mut machine = joiner_of(1, true);
    hear(&mut machine, &Frame::Offer { id: ID, eager: false, attempt: 0, item: file(SIZE) });
    drain(&mut machine);
    machine.handle_kept(ID, RUN, at(3));
}
