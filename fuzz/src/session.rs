//! One session, its honest driver, and a peer that says anything.
//!
//! Bytes decide what happens next: a frame of any kind on any lane that stands, a payload as it was sent or
//! not, one of the driver's own answers, a lane that comes, goes or can't be dialled, a dialler that comes
//! back, time. The driver keeps to the contract: it answers each command once, and hands nothing over of a
//! lane that is closed. Nothing that the peer says may panic.

use std::time::Duration;

use longhaul_core::id::{ClusterId, Epoch, ItemId, Lane, MemberId, SnapshotId, TaskId, Token, TransferId};
use longhaul_core::integrity::{Integrity, Root};
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{Config, capability};
use longhaul_core::time::Instant;
use longhaul_core::wire::{
    Alive, Attach, ChunkLen, Complete, DigestPart, End, FRAME_MAX, Failed, Frame, Grades, HEADER_LEN, Header,
    Init, Kind, Refused, Request, Roles, Task, VERSION, Welcome, WireError,
};

use crate::bytes::Choices;
use crate::member::{LANES, Machine, Member};
use crate::state::{UNIT, any_state, checksum, crc};

const INTEGRITIES: [Integrity; 3] = [Integrity::Crc32c, Integrity::Blake3, Integrity::None];
/// A digest's parts: of one member, whole, and the two halves of one of two.
const DIGESTS: [&[u8]; 3] = [
    b"\0\0\x01\0\0\0\0\0aaaaaaaaaaaaaaaa\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0",
    b"\0\0\x02\0\0\0\0\0aaaaaaaaaaaaaaaa\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0",
    b"\x01\0\x02\0\0\0\0\0bbbbbbbbbbbbbbbb\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0",
];

struct Lone {
    member: Member,
    dialler: bool,
    integrity: Integrity,
    /// Lanes whose connection stands.
    up: [bool; LANES],
}

/// Who it is, then what happens.
///
/// # Panics
/// If the machine or its driver finds a property broken.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let Some(mut lone) = Lone::new(&mut choices) else { return };
    while !choices.is_empty() {
        lone.step(&mut choices);
    }
}

fn init(choices: &mut Choices<'_>, epoch: u64) -> Init {
    Init {
        versions: choices.pick(&[(1, 1), (1, 1), (1, 1), (0, 9), (2, 3)]),
        roles: choices.pick(&[Roles::JOINER, Roles::PROVIDER, Roles::BOTH]),
        capabilities: choices.pick(&[u64::MAX, u64::MAX, 3, 0]),
        member: MemberId([choices.pick(&[9, 9, 9, 8, 1]); 16]),
        cluster: ClusterId([choices.pick(&[0, 0, 0, 1]); 16]),
        transfer: TransferId([choices.pick(&[3, 3, 3, 4]); 16]),
        epoch: Epoch(epoch),
    }
}

impl Lone {
    fn new(choices: &mut Choices<'_>) -> Option<Self> {
        let now = Instant::ZERO;
        let flags = choices.byte();
        let (dialler, fresh) = (flags & 1 != 0, flags & 0b110 != 0b110);
        let integrity = choices.pick(&INTEGRITIES);
        let config = Config {
            roles: choices.pick(&[Roles::JOINER, Roles::PROVIDER, Roles::BOTH]),
            requests: choices.pick(&[1, 2, 3, 0, 16]),
            member: MemberId([1; 16]),
            cluster: ClusterId::default(),
            transfer: TransferId([3; 16]),
            epoch: Epoch(0),
            token: Token([4; 16]),
            capabilities: choices.pick(&[capability::ALL, capability::ALL, 3]),
            integrity,
            lanes: 1 + choices.below(LANES - 1) as u16,
            chunk: choices.pick(&[ChunkLen::MIN, ChunkLen::DEFAULT, ChunkLen::MAX]),
            fresh,
            read_depth: 1 + choices.below(8) as u8,
            max_retries: choices.pick(&[3, 0, 14]),
            stall_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            seed: 1,
        };
        let machine = if dialler {
            Machine::dial(config, now)
        } else {
            Machine::accept(config, &init(choices, 0), now).ok()?
        };
        let tasks = if config.roles.provides { choices.below(4) } else { 0 };
        let gives = (0..tasks).map(|_| choices.yes().then(|| any_state(choices))).collect();
        let mut member = Member::new(machine, now, integrity, gives, choices.yes(), !fresh);
        member.drain();
        let mut up = [false; LANES];
        up[0] = true;
        Some(Self { member, dialler, integrity, up })
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let what = choices.byte();
        let lane = Lane(u16::from(what >> 6));
        let now = self.member.now;
        match what & 31 {
            0..=13 => self.frame(lane, choices),
            14 if self.up[lane.index()] => self.member.arrive(lane, choices.below(8) == 7),
            15..=18 => drop(self.member.work(choices)),
            19 => self.member.blocked[lane.index()] ^= true,
            20 => self.dial(choices),
            21 if !self.dialler => self.come(choices),
            22 if self.up[lane.index()] => self.lost(lane),
            23 if self.up[lane.index()] => {
                let error = choices.pick(&[
                    WireError::HeaderChecksum,
                    WireError::BodyChecksum,
                    WireError::Magic,
                    WireError::Kind { kind: 77 },
                ]);
                self.member.machine.handle_invalid(lane, error, now);
            }
            24 if !self.dialler => self.come_back(choices),
            25 => {
                let time = choices.pick(&[1, 100, 5_000, 8_000, 40_000, 100_000]);
                self.member.now = now.after(Duration::from_millis(time));
                self.member.machine.handle_timeout(self.member.now);
            }
            26 => self.member.machine.handle_work(choices.byte().into(), now),
            27 => self.member.machine.handle_sent(u64::from(choices.byte()) << 12, now),
            28 => self.member.machine.handle_durable_before(ItemId(choices.byte().into()), now),
            29 if choices.below(16) == 0 => self.member.fail(&failed(Reason::Source)),
            _ => self.frame(Lane::CONTROL, choices),
        }
        self.settle();
    }

    /// Drains, and forgets the lanes that the machine has closed.
    fn settle(&mut self) {
        self.member.drain();
        for lane in std::mem::take(&mut self.member.closed) {
            self.up[lane.index()] = false;
        }
        self.member.sent.clear();
    }

    fn frame(&mut self, lane: Lane, choices: &mut Choices<'_>) {
        let (task, frame) = (TaskId(choices.pick(&[0, 0, 0, 1, 2, 15])), self.any_frame(choices));
        if !self.up[lane.index()] {
            return;
        }
        if self.member.is_arriving(lane) {
            self.member.arrive(lane, false);
            self.settle();
        }
        let mut out = [0; FRAME_MAX];
        let task = if frame.kind().has_task() { task } else { TaskId(0) };
        let Ok(len) = frame.emit_of(task, &mut out) else { return };
        let (head, body) = out[..len].split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
        // Only what passes the parser reaches a session.
        let Ok(header) = Header::parse(head) else { return };
        let Ok(frame) = Frame::parse(&header, body) else { return };
        let units = match frame {
            Frame::Data { len, .. } => payload(len),
            _ => Vec::new(),
        };
        if self.up[lane.index()] {
            self.member.frame(lane, header.task, &frame, units);
        }
    }

    fn dial(&mut self, choices: &mut Choices<'_>) {
        let now = self.member.now;
        if self.member.dials.is_empty() {
            return;
        }
        let lane = self.member.dials.remove(0);
        if choices.below(4) == 3 {
            return self.member.machine.handle_dial_failed(lane, now);
        }
        self.up[lane.index()] = true;
        self.member.machine.handle_lane_up(lane, now);
    }

    /// A connection comes with the token of this session, as any lane.
    fn come(&mut self, choices: &mut Choices<'_>) {
        let lane = Lane(choices.pick(&[1, 2, 3, 4, u16::MAX]));
        if self.up.get(lane.index()).is_some_and(|up| *up) {
            return;
        }
        if let Some(up) = self.up.get_mut(lane.index()) {
            *up = true;
        }
        self.member.machine.handle_lane_up(lane, self.member.now);
    }

    fn lost(&mut self, lane: Lane) {
        self.up[lane.index()] = false;
        self.member.lane_gone(lane);
        self.member.machine.handle_lane_lost(lane, self.member.now);
    }

    fn come_back(&mut self, choices: &mut Choices<'_>) {
        let epoch = self.member.machine.epoch().0 + choices.pick(&[1, 1, 1, 2, 0]);
        let init = init(choices, epoch);
        let admitted = self.member.machine.handle_resume(&init, Token([5; 16]), self.member.now).is_ok();
        self.settle();
        self.up[0] |= admitted;
    }

    fn end(&self, choices: &mut Choices<'_>) -> End {
        let size = any_offset(choices);
        let integrity = if choices.below(16) == 15 { choices.pick(&INTEGRITIES) } else { self.integrity };
        let units = vec![7; (size / UNIT).min(128) as usize];
        End { size, checksum: checksum(integrity, &units) }
    }

    fn any_frame(&self, choices: &mut Choices<'_>) -> Frame<'static> {
        let kind = choices.pick(Kind::ALL);
        let id = ItemId(choices.pick(&[0, 0, 1, 1, 2, 3, 4, 5, 63, 64, 70, 95, 96, 97, u32::MAX]));
        let attempt = choices.pick(&[0, 0, 0, 1, 1, 2, 15]);
        match kind {
            Kind::Init => Frame::Init(init(choices, 0)),
            Kind::Welcome => Frame::Welcome(Welcome {
                version: choices.pick(&[VERSION, VERSION, VERSION, 2]),
                roles: choices.pick(&[Roles::PROVIDER, Roles::JOINER, Roles::BOTH]),
                capabilities: choices.pick(&[u64::MAX, u64::MAX, 3, 0]),
                member: MemberId([choices.pick(&[9, 9, 9, 8, 1]); 16]),
                cluster: ClusterId([choices.pick(&[0, 0, 0, 1]); 16]),
                epoch: Epoch(self.member.machine.epoch().0.saturating_sub(choices.pick(&[0, 0, 0, 1]))),
                token: Token([6; 16]),
            }),
            Kind::Busy => Frame::Busy { retry_after_ms: choices.byte().into() },
            Kind::Attach => Frame::Attach(Attach { token: Token([5; 16]), lane: Lane(1) }),
            Kind::Prepare => Frame::Prepare { requests: choices.pick(&[1, 2, 3, 0, 16]) },
            Kind::Request => Frame::Request(Request {
                integrity: self.integrity,
                fresh: choices.yes(),
                agreed: choices.below(4) == 3,
                lanes: choices.pick(&[1, 2, 3, 500]),
                chunk: choices.pick(&[ChunkLen::DEFAULT, ChunkLen::MIN, ChunkLen::MAX]),
                state_id: b"",
                selector: b"",
            }),
            Kind::Task => {
                let lanes = choices.pick(&[0, 0, 1, 2, 3]);
                let bytes = choices.pick(&[Some(UNIT), Some(0), None, Some(1 << 20), Some(u64::MAX)]);
                Frame::Task(Task {
                    integrity: self.integrity,
                    shape: 0,
                    small: lanes == 0,
                    lanes,
                    chunk: choices.pick(&[ChunkLen::MIN, ChunkLen::DEFAULT]),
                    items: choices.pick(&[1, 2, 3, 0, 100, 256, u64::from(u32::MAX), u64::MAX]),
                    bytes,
                    allocated: 0,
                    longest_name: 0,
                    snapshot: SnapshotId::default(),
                    digest_members: choices.pick(&[0, 0, 0, 1, 2]),
                    app_meta: b"",
                })
            }
            Kind::Refused => Frame::Refused(Refused { reason: Reason::Refused, message: "", app_reply: b"" }),
            Kind::Digest => {
                let part = DigestPart::parse(choices.pick(&DIGESTS));
                Frame::Digest(part.expect("the parts are well made"))
            }
            Kind::Begin => Frame::Begin,
            Kind::Offer => Frame::Offer { id, eager: choices.yes(), attempt, item: any_item(choices) },
            Kind::Accept => Frame::Accept { id, offset: any_offset(choices) },
            Kind::Kept => Frame::Kept {
                id,
                offset: any_offset(choices),
                integrity: self.integrity,
                sums: match self.integrity {
                    Integrity::None => b"",
                    Integrity::Crc32c => &[0; 4],
                    Integrity::Blake3 => &[0; 32],
                },
            },
            Kind::Skip => Frame::Skip { id, end: choices.yes().then(|| self.end(choices)) },
            Kind::Data => {
                let len =
                    choices.pick(&[UNIT as u32, 2 * UNIT as u32, 64 << 10, 256 << 10, 512 << 10, 1, 4 << 20]);
                let crc = (choices.below(8) != 7).then(|| crc(&payload(len)));
                Frame::Data { id, attempt, offset: any_offset(choices), len, run_end: false, crc }
            }
            Kind::Hole => {
                let len = choices.pick(&[UNIT, 1, 16 << 20, u64::MAX]);
                Frame::Hole { id, attempt, offset: any_offset(choices), len, run_end: true }
            }
            Kind::End => Frame::End { id, attempt, end: self.end(choices) },
            Kind::Recall => Frame::Recall { id, attempt },
            Kind::Again => Frame::Again { id },
            Kind::Grades => {
                let durable = choices.pick(&[0, 0, 1]);
                let verified = durable + choices.pick(&[0, 1, 2, 3, 64, 96]);
                Frame::Grades(Grades { received: verified + choices.pick(&[0, 0, 1]), verified, durable })
            }
            Kind::Complete => Frame::Complete(Complete {
                items: choices.pick(&[1, 2, 3, 0]),
                bytes: any_offset(choices),
                root: Root { integrity: self.integrity, hash: [0; 32] },
            }),
            Kind::Agreed => Frame::Agreed,
            Kind::Installed => Frame::Installed { app_reply: b"" },
            Kind::Failed => {
                Frame::Failed(failed(choices.pick(&[Reason::Busy, Reason::Gone, Reason::Source])))
            }
            Kind::Alive => Frame::Alive(Alive { done: choices.byte().into() }),
            // Never a session's own; the closest that has no place either.
            Kind::Query | Kind::Outcome => Frame::Agreed,
        }
    }
}

/// All payloads are alike.
fn payload(len: u32) -> Vec<u64> {
    vec![7; (u64::from(len) / UNIT) as usize]
}

fn any_offset(choices: &mut Choices<'_>) -> u64 {
    const RUN: u64 = 16 << 20;
    let base = choices.pick(&[0, 0, 0, RUN, 2 * RUN, 24 * RUN, 1 << 62, u64::MAX - RUN + 1]);
    base.saturating_add(u64::from(choices.pick(&[0_u8, 0, 1, 2, 16, 64, 65, 128])) * UNIT)
}

fn any_item(choices: &mut Choices<'_>) -> Item<'static> {
    let what = match choices.below(8) {
        0 => What::Stream,
        1 => What::Directory,
        2 => What::SymbolicLink { target: b"t" },
        3 => What::HardLink { to: ItemId(0) },
        n => What::File { size: any_offset(choices), linked: false, sparse: n == 4 },
    };
    Item {
        name: ItemName::parse(b"name").expect("it is plain"),
        mode: 0o600,
        mtime: Timestamp::default(),
        version: Version::default(),
        what,
    }
}

const fn failed(reason: Reason) -> Failed<'static> {
    Failed {
        reason,
        phase: Phase::Stream,
        side: Side::Provider,
        offset: None,
        name: ItemName::ROOT,
        message: "",
        app_reply: b"",
    }
}
