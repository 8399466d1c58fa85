//! One side of a session, for tests that play the other by hand.
#![allow(dead_code, reason = "each test program uses its part")]

use core::time::Duration;

use longhaul_core::id::{ClusterId, Epoch, Lane, MemberId, SnapshotId, TaskId, Token, TransferId};
use longhaul_core::integrity::Integrity;
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};
use longhaul_core::reason::Side;
use longhaul_core::session::{Command, Config, Session, Totals, capability};
use longhaul_core::time::Instant;
use longhaul_core::wire::{
    ChunkLen, FRAME_MAX, Frame, HEADER_LEN, Header, Init, Request, Roles, Task, VERSION, Welcome,
};

pub(crate) type Machine = Session<3, 16>;

/// The only task.
pub(crate) const T: TaskId = TaskId(0);

pub(crate) const STALL: Duration = Duration::from_secs(30);

pub(crate) fn at(seconds: u64) -> Instant {
    Instant::ZERO.after(Duration::from_secs(seconds))
}

pub(crate) fn config(side: Side, member: u8) -> Config {
    Config {
        roles: if side == Side::Provider { Roles::PROVIDER } else { Roles::JOINER },
        requests: 1,
        member: MemberId([member; 16]),
        cluster: ClusterId([7; 16]),
        transfer: TransferId([3; 16]),
        epoch: Epoch(0),
        token: Token([4; 16]),
        integrity: Integrity::Crc32c,
        lanes: 2,
        chunk: ChunkLen::DEFAULT,
        fresh: true,
        read_depth: 2,
        max_retries: 3,
        stall_timeout: STALL,
        handshake_timeout: Duration::from_secs(10),
        capabilities: capability::ALL,
        seed: 1,
    }
}

pub(crate) fn init(joins: bool) -> Init {
    Init {
        versions: (VERSION, VERSION),
        roles: Roles { provides: !joins, joins },
        capabilities: u64::MAX,
        member: MemberId([9; 16]),
        cluster: ClusterId([7; 16]),
        transfer: TransferId([3; 16]),
        epoch: Epoch(0),
    }
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        version: VERSION,
        roles: Roles::BOTH,
        capabilities: u64::MAX,
        member: MemberId([9; 16]),
        cluster: ClusterId([7; 16]),
        epoch: Epoch(0),
        token: Token([5; 16]),
    }
}

pub(crate) fn request() -> Request<'static> {
    Request {
        integrity: Integrity::Crc32c,
        fresh: true,
        agreed: false,
        lanes: 2,
        chunk: ChunkLen::DEFAULT,
        state_id: b"",
        selector: b"",
    }
}

pub(crate) fn task(items: u64) -> Task<'static> {
    Task {
        integrity: Integrity::Crc32c,
        shape: 0,
        small: false,
        lanes: 2,
        chunk: ChunkLen::DEFAULT,
        items,
        bytes: Some(items << 30),
        allocated: items << 30,
        longest_name: 0,
        snapshot: SnapshotId::default(),
        digest_members: 0,
        app_meta: b"",
    }
}

pub(crate) fn file(size: u64) -> Item<'static> {
    Item {
        name: ItemName::parse(b"f").unwrap(),
        mode: 0o644,
        mtime: Timestamp::default(),
        version: Version::default(),
        what: What::File { size, linked: false, sparse: false },
    }
}

pub(crate) fn drain(machine: &mut Machine) -> Vec<Command> {
    let commands = std::iter::from_fn(|| machine.poll_command()).collect();
    while machine.poll_event().is_some() {}
    commands
}

/// Everything that a lane has to send, as kinds.
pub(crate) fn sent(machine: &mut Machine, lane: u16) -> Vec<String> {
    let mut out = vec![0; FRAME_MAX];
    std::iter::from_fn(|| {
        machine.poll_transmit(Lane(lane), &mut out).map(|transmit| {
            let header = Header::parse(out.first_chunk::<HEADER_LEN>().unwrap()).unwrap();
            assert!(transmit.len >= HEADER_LEN);
            header.kind.name().to_owned()
        })
    })
    .collect()
}

/// A provider that streams on lanes 1 and 2.
pub(crate) fn provider(items: u64) -> Machine {
    provider_of(items, true)
}

/// The same, for a joiner that holds something of an earlier run unless it is `fresh`.
pub(crate) fn provider_of(items: u64, fresh: bool) -> Machine {
    let mut machine = Machine::accept(config(Side::Provider, 1), &init(true), Instant::ZERO).unwrap();
    machine.handle_frame(Lane(0), T, &Frame::Prepare { requests: 1 }, at(1));
    machine.handle_frame(Lane(0), T, &Frame::Request(Request { fresh, ..request() }), at(1));
    assert_eq!(drain(&mut machine), [Command::Survey { task: T }]);
    let totals = Totals {
        shape: 0,
        items,
        bytes: Some(1 << 40),
        allocated: 0,
        longest_name: 0,
        snapshot: SnapshotId::default(),
        digest_members: 0,
        app_meta: b"",
    };
    let mut out = vec![0; FRAME_MAX];
    assert!(machine.handle_surveyed(T, &totals, at(2), &mut out) > 0);
    machine.handle_frame(Lane(0), T, &Frame::Begin, at(2));
    machine.handle_lane_up(Lane(1), at(2));
    machine.handle_lane_up(Lane(2), at(2));
    drain(&mut machine);
    machine
}

/// A joiner that streams on lanes 1 and 2.
pub(crate) fn joiner(items: u64) -> Machine {
    joiner_of(items, true)
}

/// The same; it holds something of an earlier run unless it is `fresh`.
pub(crate) fn joiner_of(items: u64, fresh: bool) -> Machine {
    joiner_with(items, fresh, Integrity::Crc32c)
}

/// The same, which demands this integrity.
pub(crate) fn joiner_with(items: u64, fresh: bool, integrity: Integrity) -> Machine {
    let config = Config { fresh, integrity, ..config(Side::Joiner, 2) };
    let mut machine = Machine::dial(config, Instant::ZERO);
    machine.handle_frame(Lane(0), T, &Frame::Welcome(welcome()), at(1));
    assert_eq!(sent(&mut machine, 0), ["Init", "Prepare"]);
    assert_eq!(drain(&mut machine), [Command::Request { task: T }]);
    machine.handle_frame(Lane(0), T, &Frame::Task(Task { integrity, ..task(items) }), at(1));
    assert_eq!(drain(&mut machine), [Command::Begin { task: T }]);
    machine.handle_begun(T, at(2));
    assert_eq!(drain(&mut machine), [Command::Dial { lane: Lane(1) }, Command::Dial { lane: Lane(2) }]);
    machine.handle_lane_up(Lane(1), at(2));
    machine.handle_lane_up(Lane(2), at(2));
    machine
}
