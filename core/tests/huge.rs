//! An item of more chunks than 32 bits count, moved whole from one session to another: all of it holes,
//! but for its last chunk, so that it takes a million frames and not four thousand million.

use core::time::Duration;

use longhaul_core::id::{ClusterId, Epoch, Lane, MemberId, SnapshotId, TaskId, Token, TransferId};
use longhaul_core::integrity::{Checksum, Integrity, RUN_LEN};
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};
use longhaul_core::reason::Side;
use longhaul_core::session::{Command, Config, ReadPiece, Receive, Session, Totals, capability};
use longhaul_core::time::Instant;
use longhaul_core::wire::{ChunkLen, FRAME_MAX, Frame, HEADER_LEN, Header, Kind, Roles};

type Machine = Session<2, 4>;

const NOW: Instant = Instant::ZERO;
const DATA: Lane = Lane(1);
const TASK: TaskId = TaskId(0);
const CHUNK: u64 = ChunkLen::MIN.bytes() as u64;
/// One chunk more than 32 bits count.
const SIZE: u64 = (1 << 32) * CHUNK + CHUNK;
const SUM: Checksum = Checksum::Crc32c(7);

fn config(side: Side) -> Config {
    Config {
        roles: if side == Side::Provider { Roles::PROVIDER } else { Roles::JOINER },
        requests: u16::from(side == Side::Joiner),
        member: MemberId([1 + side as u8; 16]),
        cluster: ClusterId::default(),
        transfer: TransferId([3; 16]),
        epoch: Epoch(0),
        token: Token([4; 16]),
        capabilities: capability::ALL,
        integrity: Integrity::Crc32c,
        lanes: 1,
        chunk: ChunkLen::MIN,
        fresh: true,
        read_depth: 1,
        max_retries: 3,
        stall_timeout: Duration::from_secs(30),
        handshake_timeout: Duration::from_secs(10),
        seed: 1,
    }
}

fn item() -> Item<'static> {
    Item {
        name: ItemName::ROOT,
        mode: 0o644,
        mtime: Timestamp::default(),
        version: Version::default(),
        what: What::File { size: SIZE, linked: false, sparse: true },
    }
}

/// Two sessions, and what their drivers know.
struct Pair {
    provider: Machine,
    joiner: Machine,
    out: Vec<u8>,
    /// Bytes that have come, in order, holes and all.
    come: u64,
    /// Bytes of payload among them.
    payload: u64,
    finished: Option<(u64, Checksum)>,
    /// The provider's session knows that all is verified.
    all_verified: bool,
}

impl Pair {
    /// Init to Welcome.
    fn new() -> Self {
        let mut joiner = Machine::dial(config(Side::Joiner), NOW);
        let mut out = vec![0; FRAME_MAX];
        let sent = joiner.poll_transmit(Lane::CONTROL, &mut out).unwrap().len;
        let header = Header::parse(out.first_chunk().unwrap()).unwrap();
        let Ok(Frame::Init(init)) = Frame::parse(&header, &out[HEADER_LEN..sent]) else { panic!("no Init") };
        let provider = Machine::accept(config(Side::Provider), &init, NOW).unwrap();
        Self { provider, joiner, out, come: 0, payload: 0, finished: None, all_verified: false }
    }

    /// Carries everything that waits, both ways; whether there was anything.
    fn carry(&mut self) -> bool {
        let mut any = false;
        for lane in [Lane::CONTROL, DATA] {
            while let Some(sent) = self.provider.poll_transmit(lane, &mut self.out) {
                any = true;
                let header = Header::parse(self.out.first_chunk().unwrap()).unwrap();
                if header.kind == Kind::Data {
                    let frame = Frame::parse(&header, b"").unwrap();
                    self.joiner.handle_frame(lane, header.task, &frame, NOW);
                    let payload = sent.payload.expect("content has a payload");
                    let placed = Receive::Place(payload);
                    assert_eq!(self.joiner.poll_receive(lane), Some(placed));
                    assert!(self.joiner.handle_payload(lane, payload.len, Some(9)));
                    self.come(payload.offset, payload.len.into());
                    self.payload += u64::from(payload.len);
                } else {
                    let body = self.out[HEADER_LEN..sent.len].to_vec();
                    let frame = Frame::parse(&header, &body).unwrap();
                    self.joiner.handle_frame(lane, header.task, &frame, NOW);
                }
                self.join();
            }
            while let Some(sent) = self.joiner.poll_transmit(lane, &mut self.out) {
                any = true;
                let header = Header::parse(self.out.first_chunk().unwrap()).unwrap();
                let body = self.out[HEADER_LEN..sent.len].to_vec();
                match Frame::parse(&header, &body).unwrap() {
                    Frame::Attach(attach) => assert!(self.provider.handle_lane_up(attach.lane, NOW)),
                    frame => self.provider.handle_frame(lane, header.task, &frame, NOW),
                }
            }
        }
        any
    }

    fn come(&mut self, offset: u64, len: u64) {
        assert_eq!(offset, self.come, "in order, without a gap");
        self.come += len;
    }

    /// Carries out what the joiner's session wants; whether there was anything.
    fn join(&mut self) -> bool {
        let mut any = false;
        while let Some(command) = self.joiner.poll_command() {
            any = true;
            match command {
                Command::Request { task } => {
                    let len = self.joiner.handle_request(task, b"", b"", &mut self.out);
                    let header = Header::parse(self.out.first_chunk().unwrap()).unwrap();
                    let frame = Frame::parse(&header, &self.out[HEADER_LEN..len]).unwrap();
                    self.provider.handle_frame(Lane::CONTROL, task, &frame, NOW);
                }
                Command::Begin { task } => self.joiner.handle_begun(task, NOW),
                Command::Dial { lane } => assert!(self.joiner.handle_lane_up(lane, NOW)),
                Command::Open { id } => self.joiner.handle_opened(id, NOW),
                Command::Hole { offset, len, .. } => self.come(offset, len),
                Command::Finish { id, size, checksum } => {
                    self.finished = Some((size, checksum));
                    self.joiner.handle_finished(id, true, NOW);
                }
                other => panic!("{other:?}"),
            }
        }
        while self.joiner.poll_event().is_some() {}
        any
    }

    /// Carries out what the provider's session wants; whether there was anything.
    fn provide(&mut self) -> bool {
        let mut any = false;
        while let Some(command) = self.provider.poll_command() {
            any = true;
            match command {
                Command::Survey { task } => {
                    let totals = Totals {
                        shape: 1,
                        items: 1,
                        bytes: Some(SIZE),
                        allocated: CHUNK,
                        longest_name: 0,
                        snapshot: SnapshotId::default(),
                        digest_members: 0,
                        app_meta: b"",
                    };
                    let len = self.provider.handle_surveyed(task, &totals, NOW, &mut self.out);
                    self.tell_joiner(len);
                }
                Command::Walk { .. } => {
                    assert!(self.provider.can_offer(&item()));
                    let offered = self.provider.handle_item(&item(), NOW, &mut self.out);
                    self.tell_joiner(offered.len);
                    self.provider.handle_items_end(NOW);
                }
                Command::Read { lane, id, offset, len, .. } => {
                    let last = SIZE - CHUNK;
                    let piece = if offset == last {
                        assert_eq!(u64::from(len), CHUNK);
                        ReadPiece::Data { len, crc: Some(9) }
                    } else {
                        ReadPiece::Hole { len: RUN_LEN.min(last - offset) }
                    };
                    assert!(self.provider.handle_read(lane, id, offset, piece, NOW));
                }
                Command::Close { id } => self.provider.handle_closed(id, SIZE, SUM, NOW),
                Command::Forget { .. } => {}
                Command::SumUp { .. } => self.all_verified = true,
                other => panic!("{other:?}"),
            }
        }
        while self.provider.poll_event().is_some() {}
        any
    }

    fn tell_joiner(&mut self, len: usize) {
        let header = Header::parse(self.out.first_chunk().unwrap()).unwrap();
        let frame = Frame::parse(&header, &self.out[HEADER_LEN..len]).unwrap();
        self.joiner.handle_frame(Lane::CONTROL, TASK, &frame, NOW);
    }
}

// Catalogue: B22
#[test]
fn an_item_may_have_more_chunks_than_32_bits_count() {
    let mut pair = Pair::new();
    while !pair.all_verified {
        let moved = [pair.join(), pair.provide(), pair.carry()];
        assert!(moved.contains(&true), "stuck at {} of {SIZE}", pair.come);
    }
    assert!(pair.come / CHUNK > u64::from(u32::MAX));
    assert_eq!((pair.come, pair.payload), (SIZE, CHUNK));
    assert_eq!(pair.finished, Some((SIZE, SUM)));
    assert_eq!(pair.joiner.grades(Side::Joiner).verified, 1);
    assert_eq!((pair.provider.failure(), pair.joiner.failure()), (None, None));
}
