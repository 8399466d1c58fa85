//! Two small states from a provider's machine to a joiner's, in one session.

use core::time::Duration;

use longhaul_core::id::{ClusterId, Epoch, Lane, MemberId, SnapshotId, Token, TransferId};
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, Root, RootSum, RunHasher, crc32c};
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};
use longhaul_core::reason::Side;
use longhaul_core::session::{
    Command, Config, Event, ReadPiece, Receive, Session, State, Totals, capability,
};
use longhaul_core::time::Instant;
use longhaul_core::wire::{ChunkLen, FRAME_MAX, Frame, HEADER_LEN, Header, Kind, Roles};

const LEN: usize = 300_000;
const TASKS: usize = 2;
const NOW: Instant = Instant::ZERO;
const INTEGRITY: Integrity = Integrity::Crc32c;

type Machine = Session<2, 16>;
/// What each task moves: one file.
type Contents = [[u8; LEN]; TASKS];

/// A connection in one direction: bytes, and how far they were read.
struct Pipe {
    bytes: [u8; TASKS * LEN + 4 * FRAME_MAX],
    written: usize,
    read: usize,
}

impl Pipe {
    const fn new() -> Self {
        Self { bytes: [0; TASKS * LEN + 4 * FRAME_MAX], written: 0, read: 0 }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.bytes[self.written..][..bytes.len()].copy_from_slice(bytes);
        self.written += bytes.len();
    }

    /// The next header, and its body or payload.
    fn read(&mut self) -> Option<(Header, &[u8])> {
        let head = self.bytes[self.read..self.written].first_chunk::<HEADER_LEN>()?;
        let header = Header::parse(head).expect("nothing bends bytes here");
        let body = self.read + HEADER_LEN..self.read + HEADER_LEN + header.len as usize;
        self.read = body.end;
        Some((header, &self.bytes[body]))
    }
}

pub(crate) fn moves_two_states() {
    let contents: Contents =
        core::array::from_fn(|task| core::array::from_fn(|n| ((n * n) >> (7 + task)) as u8));
    let mut landed = [[0; LEN]; TASKS];
    let (mut up, mut down) = (Pipe::new(), Pipe::new());
    let mut joiner = Machine::dial(config(Side::Joiner), NOW);
    transmit(&mut joiner, &mut up, &contents[0]);
    let (header, body) = up.read().expect("a dialler speaks first");
    let Ok(Frame::Init(init)) = Frame::parse(&header, body) else { panic!("Init is first") };
    let mut provider = Machine::accept(config(Side::Provider), &init, NOW).expect("they fit");
    let mut under_way = 0;
    while !(provider.is_over() && joiner.is_over()) {
        let before = (up.written, down.written);
        provide(&mut provider, &mut down, &contents, &mut under_way);
        while let Some((header, body)) = down.read() {
            receive(&mut joiner, &header, body, &mut landed);
            join(&mut joiner, &mut up, &landed);
        }
        join(&mut joiner, &mut up, &landed);
        while let Some((header, body)) = up.read() {
            let frame = Frame::parse(&header, body).expect("nothing bends bytes here");
            provider.handle_frame(Lane::CONTROL, header.task, &frame, NOW);
            provide(&mut provider, &mut down, &contents, &mut under_way);
        }
        assert!(before != (up.written, down.written) || provider.is_over(), "a session never hangs");
    }
    assert!(provider.state() == State::Done && joiner.state() == State::Done);
    assert!(landed == contents);
}

/// Drains a provider. Reads are of the task `under_way`.
fn provide(machine: &mut Machine, out: &mut Pipe, contents: &Contents, under_way: &mut usize) {
    let mut frame = [0; FRAME_MAX];
    transmit(machine, out, &contents[*under_way]);
    while let Some(command) = machine.poll_command() {
        match command {
            Command::Survey { task } => {
                let len = machine.handle_surveyed(task, &totals(), NOW, &mut frame);
                out.write(&frame[..len]);
            }
            Command::Walk { task } => {
                *under_way = task.index();
                assert!(machine.can_offer(&item()), "a small state need not wait");
                let offered = machine.handle_item(&item(), NOW, &mut frame);
                out.write(&frame[..offered.len]);
                machine.handle_items_end(NOW);
            }
            Command::Read { lane, id, offset, len, .. } => {
                let crc = crc32c(&contents[*under_way][offset as usize..][..len as usize]);
                assert!(machine.handle_read(lane, id, offset, ReadPiece::Data { len, crc: Some(crc) }, NOW));
            }
            Command::Close { id } => {
                machine.handle_closed(id, LEN as u64, checksum(&contents[*under_way]), NOW);
            }
            Command::SumUp { side, task } => {
                machine.handle_root(side, task, (1, LEN as u64, root(&contents[task.index()])), NOW);
            }
            Command::Forget { .. } => {}
            _ => panic!("no command of a provider"),
        }
        transmit(machine, out, &contents[*under_way]);
    }
    while machine.poll_event().is_some() {}
}

/// One frame to a joiner; a payload goes where the machine says.
fn receive(machine: &mut Machine, header: &Header, body: &[u8], landed: &mut Contents) {
    let data = header.kind == Kind::Data;
    let frame = Frame::parse(header, if data { b"" } else { body }).expect("nothing bends bytes here");
    machine.handle_frame(Lane::CONTROL, header.task, &frame, NOW);
    if let Some(Receive::Place(place)) = machine.poll_receive(Lane::CONTROL) {
        assert!(machine.handle_payload(Lane::CONTROL, place.len, Some(crc32c(body))));
        landed[header.task.index()][place.offset as usize..][..place.len as usize].copy_from_slice(body);
    }
}

/// Drains a joiner.
fn join(machine: &mut Machine, out: &mut Pipe, landed: &Contents) {
    let mut frame = [0; FRAME_MAX];
    transmit(machine, out, &landed[0]);
    while let Some(command) = machine.poll_command() {
        match command {
            Command::Request { task } => {
                let len = machine.handle_request(task, b"", b"", &mut frame);
                out.write(&frame[..len]);
            }
            Command::Begin { task } => machine.handle_begun(task, NOW),
            // Longer than what travels with its offer.
            Command::Open { id } => machine.handle_opened(id, NOW),
            Command::Finish { id, size, checksum: sent } => {
                let matched = size == LEN as u64 && landed.iter().any(|landed| sent == checksum(landed));
                machine.handle_finished(id, matched, NOW);
            }
            Command::SumUp { side, task } => {
                machine.handle_root(side, task, (1, LEN as u64, root(&landed[task.index()])), NOW);
            }
            Command::MakeDurable => machine.handle_durable(NOW),
            _ => panic!("no command of a joiner"),
        }
        transmit(machine, out, &landed[0]);
    }
    while let Some(event) = machine.poll_event() {
        if event == Event::Durable {
            machine.handle_installing();
            let len = machine.handle_installed(b"", &mut frame);
            out.write(&frame[..len]);
        }
    }
}

fn transmit(machine: &mut Machine, out: &mut Pipe, content: &[u8; LEN]) {
    let mut frame = [0; FRAME_MAX];
    while let Some(sent) = machine.poll_transmit(Lane::CONTROL, &mut frame) {
        out.write(&frame[..sent.len]);
        if let Some(payload) = sent.payload {
            out.write(&content[payload.offset as usize..][..payload.len as usize]);
        }
    }
}

fn totals() -> Totals<'static> {
    let bytes = LEN as u64;
    Totals {
        shape: 1,
        items: 1,
        bytes: Some(bytes),
        allocated: bytes,
        longest_name: 0,
        snapshot: SnapshotId::default(),
        digest_members: 0,
        app_meta: &[],
    }
}

fn item() -> Item<'static> {
    Item {
        name: ItemName::ROOT,
        mode: 0o600,
        mtime: Timestamp::default(),
        version: Version::default(),
        what: What::File { size: LEN as u64, linked: false, sparse: false },
    }
}

fn checksum(content: &[u8; LEN]) -> Checksum {
    let mut hasher = RunHasher::new(INTEGRITY, 0);
    hasher.update(content, crc32c(content));
    let mut fold = ItemFold::new(INTEGRITY);
    fold.push(hasher.finish().expect("it is not empty")).expect("it is the first run");
    fold.finish(LEN as u64).expect("it is the only run")
}

fn root(content: &[u8; LEN]) -> Root {
    let mut sum = RootSum::new(INTEGRITY);
    sum.add(&item(), LEN as u64, &checksum(content));
    sum.finish(1, LEN as u64)
}

fn config(side: Side) -> Config {
    Config {
        roles: if side == Side::Provider { Roles::PROVIDER } else { Roles::JOINER },
        requests: if side == Side::Provider { 0 } else { TASKS as u16 },
        member: MemberId([if side == Side::Provider { 1 } else { 2 }; 16]),
        cluster: ClusterId::default(),
        transfer: TransferId([3; 16]),
        epoch: Epoch(0),
        token: Token([4; 16]),
        capabilities: capability::ALL,
        integrity: INTEGRITY,
        lanes: 1,
        chunk: ChunkLen::MIN,
        fresh: true,
        read_depth: 2,
        max_retries: 3,
        stall_timeout: Duration::from_secs(30),
        handshake_timeout: Duration::from_secs(10),
        seed: 5,
    }
}
