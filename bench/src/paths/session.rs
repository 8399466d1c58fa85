//! Data headers through a session of the default size, as one lane's driver does it.

use std::collections::VecDeque;
use std::time::Duration;

use longhaul_core::id::{ClusterId, Epoch, ItemId, Lane, MemberId, SnapshotId, TaskId, Token, TransferId};
use longhaul_core::integrity::Integrity;
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};
use longhaul_core::reason::Side;
use longhaul_core::session::{Command, Config, ReadPiece, Receive, Session, Totals, capability};
use longhaul_core::time::Instant;
use longhaul_core::wire::{
    ChunkLen, FRAME_MAX, Frame, HEADER_LEN, Header, Init, Request, Roles, Task, VERSION, Welcome,
};

use super::Path;

const NOW: Instant = Instant::ZERO;
const DATA: Lane = Lane(1);
const TASK: TaskId = TaskId(0);
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
        machine.handle_frame(DATA, TASK, &frame, NOW);
        let Some(Receive::Place(place)) = machine.poll_receive(DATA) else { unreachable!("it is wanted") };
        assert!(machine.handle_payload(DATA, place.len, Some(1)), "it is what was sent");
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
        let len = emit(&mut machine, &mut reads, &mut out);
        len as u64 + u64::from(out[HEADER_LEN - 1])
    })
}

/// Both: what a provider emits is parsed and handled by a joiner, header by header.
pub(super) fn data_carried() -> Path {
    let (mut provider, mut joiner) = (provider(), joiner());
    let (mut out, mut control) = (vec![0; FRAME_MAX], vec![0; FRAME_MAX]);
    let mut reads = VecDeque::new();
    Path::new("session/data header emitted, parsed, handled", move || {
        emit(&mut provider, &mut reads, &mut out);
        let header = Header::parse(out.first_chunk().expect("a header")).expect("it was just emitted");
        let frame = Frame::parse(&header, b"").expect("it was just emitted");
        joiner.handle_frame(DATA, header.task, &frame, NOW);
        let Some(Receive::Place(place)) = joiner.poll_receive(DATA) else { unreachable!("it is wanted") };
        assert!(joiner.handle_payload(DATA, place.len, Some(1)), "it is what was sent");
        drain(&mut joiner, &mut control);
        place.offset
    })
}

/// The next data header, in `out`: its read is commanded and comes back; all is drained.
fn emit(machine: &mut Machine, reads: &mut VecDeque<u64>, out: &mut [u8]) -> usize {
    while let Some(command) = machine.poll_command() {
        let Command::Read { offset, .. } = command else { continue };
        reads.push_back(offset);
    }
    let offset: u64 = reads.pop_front().expect("a provider reads ahead");
    let piece = ReadPiece::Data { len: CHUNK, crc: Some(1) };
    assert!(machine.handle_read(DATA, ID, offset, piece, NOW), "it is wanted");
    let sent = machine.poll_transmit(DATA, out).expect("its bytes were read");
    machine.handle_sent(CHUNK.into(), NOW);
    if offset.is_multiple_of(64 << 20) {
        machine.handle_frame(Lane::CONTROL, TASK, &Frame::Accept { id: ID, offset }, NOW);
    }
    while machine.poll_event().is_some() {}
    sent.len
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
        roles: Roles::PROVIDER,
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
        longest_name: 0,
        snapshot: SnapshotId::default(),
        digest_members: 0,
        app_meta: b"",
    };
    machine.handle_frame(Lane::CONTROL, TASK, &Frame::Welcome(welcome), NOW);
    drain(&mut machine, &mut out);
    assert!(machine.handle_request(TASK, b"", b"", &mut out) > 0);
    machine.handle_frame(Lane::CONTROL, TASK, &Frame::Task(task), NOW);
    drain(&mut machine, &mut out);
    machine.handle_begun(TASK, NOW);
    drain(&mut machine, &mut out);
    machine.handle_lane_up(DATA, NOW);
    let offer = Frame::Offer { id: ID, eager: false, attempt: 0, item: item() };
    machine.handle_frame(Lane::CONTROL, TASK, &offer, NOW);
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
        roles: Roles::JOINER,
        capabilities: u64::MAX,
        member: MemberId([9; 16]),
        cluster: ClusterId::default(),
        transfer: TransferId([3; 16]),
        epoch: Epoch(0),
    };
    let request = Request {
        integrity: Integrity::Crc32c,
        fresh: true,
        agreed: false,
        lanes: 1,
        chunk: ChunkLen::DEFAULT,
        state_id: b"",
        selector: b"",
    };
    let machine = Machine::accept(config(Side::Provider), &init, NOW);
    let mut machine = Box::new(machine.expect("the two fit each other"));
    machine.handle_frame(Lane::CONTROL, TASK, &Frame::Prepare { requests: 1 }, NOW);
    machine.handle_frame(Lane::CONTROL, TASK, &Frame::Request(request), NOW);
    drain(&mut machine, &mut out);
    let totals = Totals {
        shape: 1,
        items: 1,
        bytes: Some(SIZE),
        allocated: SIZE,
        longest_name: 0,
        snapshot: SnapshotId::default(),
        digest_members: 0,
        app_meta: b"",
    };
    assert!(machine.handle_surveyed(TASK, &totals, NOW, &mut out) > 0);
    machine.handle_frame(Lane::CONTROL, TASK, &Frame::Begin, NOW);
    machine.handle_lane_up(DATA, NOW);
    drain(&mut machine, &mut out);
    assert!(machine.can_offer(&item()));
    let _ = machine.handle_item(&item(), NOW, &mut out);
    machine.handle_frame(Lane::CONTROL, TASK, &Frame::Accept { id: ID, offset: 0 }, NOW);
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
        roles: if side == Side::Provider { Roles::PROVIDER } else { Roles::JOINER },
        requests: u16::from(side == Side::Joiner),
        member: MemberId([1; 16]),
        cluster: ClusterId::default(),
        transfer: TransferId([3; 16]),
        epoch: Epoch(0),
        token: Token([4; 16]),
        capabilities: capability::ALL,
        integrity: Integrity::Crc32c,
        lanes: 1,
        chunk: ChunkLen::DEFAULT,
        fresh: true,
        read_depth: 3,
        max_retries: 3,
        stall_timeout: Duration::from_secs(30),
        handshake_timeout: Duration::from_secs(10),
        seed: 1,
    }
}
