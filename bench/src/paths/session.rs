//! Data headers through a session of the default size, as one lane's driver does it.

use std::collections::VecDeque;
use std::time::Duration;

use longhaul_core::id::{ClusterId, Epoch, ItemId, Lane, MemberId, SnapshotId, Token, TransferId};
use longhaul_core::integrity::Integrity;
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};
use longhaul_core::reason::Side;
use longhaul_core::session::{Command, Config, ReadPiece, Receive, Session, Totals};
use longhaul_core::time::Instant;
use longhaul_core::wire::{
    ChunkLen, FRAME_MAX, Frame, HEADER_LEN, Init, Request, Roles, Task, VERSION, Welcome,
};

use super::Path;

const NOW: Instant = Instant::ZERO;
const DATA: Lane = Lane(1);
const ID: ItemId = ItemId(0);
const CHUNK: u32 = ChunkLen::DEFAULT.bytes();
/// More than anybody will move.
const SIZE: u64 = 1 << 62;

type Machine = Session;

/// A joiner: a header (its parsing is a path of its own) is handled, its payload placed and taken, all
/// is drained.
pub(super) fn data_handled() -> Path {
    let mut machine = joiner();
    let mut offset = 0;
    let mut out = vec![0; FRAME_MAX];
    Path::new("session/data header handled by a joiner", move || {
        let frame = Frame::Data { id: ID, attempt: 0, offset, len: CHUNK, run_end: false, crc: Some(1) };
        machine.handle_frame(DATA, &frame, NOW);
        let Some(Receive::Place(place)) = machine.poll_receive(DATA) else { unreachable!("it is wanted") };
        assert!(machine.handle_payload(DATA, place.len, Some(1), NOW), "it is what was sent");
        drain(&mut machine, &mut out);
        offset += u64::from(CHUNK);
        place.offset
    })
}

/// A provider: a read is commanded and comes back, its header is emitted, all is drained.
pub(super) fn data_emitted() -> Path {
    let mut machine = provider();
    let mut out = vec![0; FRAME_MAX];
    let mut reads = VecDeque::new();
    Path::new("session/data header emitted by a provider", move || {
        while let Some(command) = machine.poll_command() {
            let Command::Read { offset, .. } = command else { continue };
            reads.push_back(offset);
        }
        let offset: u64 = reads.pop_front().expect("a provider reads ahead");
        machine.handle_read(DATA, ID, offset, ReadPiece::Data { len: CHUNK, crc: Some(1) }, NOW);
        let sent = machine.poll_transmit(DATA, &mut out).expect("its bytes were read");
        machine.handle_sent(CHUNK.into(), NOW);
        if offset.is_multiple_of(64 << 20) {
            machine.handle_frame(Lane::CONTROL, &Frame::Accept { id: ID, offset }, NOW);
        }
        while machine.poll_event().is_some() {}
        sent.len as u64 + u64::from(out[HEADER_LEN - 1])
    })
}

fn drain(machine: &mut Machine, out: &mut [u8]) {
    while machine.poll_command().is_some() {}
    while machine.poll_event().is_some() {}
    while machine.poll_transmit(Lane::CONTROL, out).is_some() {}
}

/// A joiner that has opened the one item.
fn joiner() -> Box<Machine> {
    let mut out = vec![0; FRAME_MAX];
    let mut machine = Box::new(Machine::dial(config(Side::Joiner), NOW));
    let welcome = Welcome {
        version: VERSION,
        capabilities: u64::MAX,
        member: MemberId([9; 16]),
        cluster: ClusterId::default(),
        epoch: Epoch(0),
        token: Token([5; 16]),
    };
    let task = Task {
        integrity: Integrity::Crc32c,
        shape: 1,
        small: false,
        lanes: 1,
        chunk: ChunkLen::DEFAULT,
        items: 1,
        bytes: Some(SIZE),
        allocated: SIZE,
        snapshot: SnapshotId::default(),
        app_meta: b"",
    };
    for frame in [Frame::Welcome(welcome), Frame::Task(task)] {
        machine.handle_frame(Lane::CONTROL, &frame, NOW);
        drain(&mut machine, &mut out);
    }
    machine.handle_begun(NOW);
    drain(&mut machine, &mut out);
    machine.handle_lane_up(DATA, NOW);
    let offer = Frame::Offer { id: ID, eager: false, attempt: 0, item: item() };
    machine.handle_frame(Lane::CONTROL, &offer, NOW);
    drain(&mut machine, &mut out);
    machine.handle_opened(ID, NOW);
    drain(&mut machine, &mut out);
    assert_eq!(machine.failure(), None);
    machine
}

/// A provider whose one item was accepted.
fn provider() -> Box<Machine> {
    let mut out = vec![0; FRAME_MAX];
    let init = Init {
        versions: (VERSION, VERSION),
        roles: Roles { provides: false, joins: true },
        capabilities: u64::MAX,
        member: MemberId([9; 16]),
        cluster: ClusterId::default(),
        transfer: TransferId([3; 16]),
        epoch: Epoch(0),
    };
    let request = Request {
        integrity: Integrity::Crc32c,
        fresh: true,
        lanes: 1,
        chunk: ChunkLen::DEFAULT,
        state_id: b"",
        selector: b"",
    };
    let machine = Machine::accept(config(Side::Provider), &init, NOW);
    let mut machine = Box::new(machine.expect("the two fit each other"));
    machine.handle_frame(Lane::CONTROL, &Frame::Request(request), NOW);
    drain(&mut machine, &mut out);
    let (snapshot, app_meta) = (SnapshotId::default(), b"".as_slice());
    let totals = Totals { shape: 1, items: 1, bytes: Some(SIZE), allocated: SIZE, snapshot, app_meta };
    assert!(machine.handle_surveyed(&totals, NOW, &mut out) > 0);
    machine.handle_frame(Lane::CONTROL, &Frame::Begin, NOW);
    machine.handle_lane_up(DATA, NOW);
    drain(&mut machine, &mut out);
    assert!(machine.can_offer(&item()));
    let _ = machine.handle_item(&item(), NOW, &mut out);
    machine.handle_frame(Lane::CONTROL, &Frame::Accept { id: ID, offset: 0 }, NOW);
    assert_eq!(machine.failure(), None);
    machine
}

fn item() -> Item<'static> {
    Item {
        name: ItemName::ROOT,
        mode: 0o644,
        mtime: Timestamp::default(),
        version: Version::default(),
        what: What::File { size: SIZE, linked: false, sparse: false },
    }
}

fn config(side: Side) -> Config {
    Config {
        side,
        member: MemberId([1; 16]),
        cluster: ClusterId::default(),
        transfer: TransferId([3; 16]),
        epoch: Epoch(0),
        token: Token([4; 16]),
        integrity: Integrity::Crc32c,
        lanes: 1,
        chunk: ChunkLen::DEFAULT,
        read_depth: 3,
        max_retries: 3,
        stall_timeout: Duration::from_secs(30),
        handshake_timeout: Duration::from_secs(10),
    }
}
