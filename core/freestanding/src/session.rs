//! One small state from a provider's machine to a joiner's.

use core::time::Duration;

use longhaul_core::id::{ClusterId, Epoch, Lane, MemberId, SnapshotId, Token, TransferId};
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, Root, RootSum, RunHasher, crc32c};
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};
use longhaul_core::reason::Side;
use longhaul_core::session::{Command, Config, Event, ReadPiece, Receive, Session, State, Totals};
use longhaul_core::time::Instant;
use longhaul_core::wire::{ChunkLen, FRAME_MAX, Frame, HEADER_LEN, Header, Kind};

const LEN: usize = 300_000;
const NOW: Instant = Instant::ZERO;
const INTEGRITY: Integrity = Integrity::Crc32c;

type Machine = Session<2, 16>;

/// A connection in one direction: bytes, and how far they were read.
struct Pipe {
    bytes: [u8; LEN + 4 * FRAME_MAX],
    written: usize,
    read: usize,
}

impl Pipe {
    const fn new() -> Self {
        Self { bytes: [0; LEN + 4 * FRAME_MAX], written: 0, read: 0 }
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

pub(crate) fn moves_a_state() {
    let content: [u8; LEN] = core::array::from_fn(|n| ((n * n) >> 7) as u8);
    let mut landed = [0; LEN];
    let (mut up, mut down) = (Pipe::new(), Pipe::new());
    let mut joiner = Machine::dial(config(Side::Joiner), NOW);
    transmit(&mut joiner, &mut up, &content);
    let (header, body) = up.read().expect("a dialler speaks first");
    let Ok(Frame::Init(init)) = Frame::parse(&header, body) else { panic!("Init is first") };
    let mut provider = Machine::accept(config(Side::Provider), &init, NOW).expect("they fit");
    while !(provider.is_over() && joiner.is_over()) {
        let before = (up.written, down.written);
        provide(&mut provider, &mut down, &content);
        while let Some((header, body)) = down.read() {
            receive(&mut joiner, &header, body, &mut landed);
            join(&mut joiner, &mut up, &landed);
        }
        join(&mut joiner, &mut up, &landed);
        while let Some((header, body)) = up.read() {
            let frame = Frame::parse(&header, body).expect("nothing bends bytes here");
            provider.handle_frame(Lane::CONTROL, &frame, NOW);
            provide(&mut provider, &mut down, &content);
        }
        assert!(before != (up.written, down.written) || provider.is_over(), "a session never hangs");
    }
    assert!(provider.state() == State::Done && joiner.state() == State::Done);
    assert!(landed == content);
}

/// Drains a provider.
fn provide(machine: &mut Machine, out: &mut Pipe, content: &[u8; LEN]) {
    let mut frame = [0; FRAME_MAX];
    transmit(machine, out, content);
    while let Some(command) = machine.poll_command() {
        match command {
            Command::Survey => {
                let bytes = LEN as u64;
                let (snapshot, app_meta) = (SnapshotId::default(), &[]);
                let totals =
                    Totals { shape: 1, items: 1, bytes: Some(bytes), allocated: bytes, snapshot, app_meta };
                let len = machine.handle_surveyed(&totals, NOW, &mut frame);
                out.write(&frame[..len]);
                assert!(machine.can_offer(&item()), "a small state need not wait");
                let offered = machine.handle_item(&item(), NOW, &mut frame);
                out.write(&frame[..offered.len]);
                machine.handle_items_end(NOW);
            }
            Command::Read { lane, id, offset, len, .. } => {
                let crc = crc32c(&content[offset as usize..][..len as usize]);
                machine.handle_read(lane, id, offset, ReadPiece::Data { len, crc: Some(crc) }, NOW);
            }
            Command::Close { id } => machine.handle_closed(id, LEN as u64, checksum(content), NOW),
            Command::SumUp => machine.handle_root(1, LEN as u64, root(content), NOW),
            Command::Forget { .. } => {}
            _ => panic!("no command of a provider"),
        }
        transmit(machine, out, content);
    }
    while machine.poll_event().is_some() {}
}

/// One frame to a joiner; a payload goes where the machine says.
fn receive(machine: &mut Machine, header: &Header, body: &[u8], landed: &mut [u8; LEN]) {
    let data = header.kind == Kind::Data;
    let frame = Frame::parse(header, if data { b"" } else { body }).expect("nothing bends bytes here");
    machine.handle_frame(Lane::CONTROL, &frame, NOW);
    if let Some(Receive::Place(place)) = machine.poll_receive(Lane::CONTROL) {
        assert!(machine.handle_payload(Lane::CONTROL, place.len, Some(crc32c(body)), NOW));
        landed[place.offset as usize..][..place.len as usize].copy_from_slice(body);
    }
}

/// Drains a joiner.
fn join(machine: &mut Machine, out: &mut Pipe, landed: &[u8; LEN]) {
    let mut frame = [0; FRAME_MAX];
    while let Some(command) = machine.poll_command() {
        match command {
            Command::Begin => machine.handle_begun(NOW),
            // Longer than what travels with its offer.
            Command::Open { id } => machine.handle_opened(id, NOW),
            Command::Finish { id, size, checksum: sent } => {
                let matched = size == LEN as u64 && sent == checksum(landed);
                machine.handle_finished(id, matched, NOW);
            }
            Command::SumUp => machine.handle_root(1, LEN as u64, root(landed), NOW),
            Command::MakeDurable => machine.handle_durable(NOW),
            _ => panic!("no command of a joiner"),
        }
    }
    transmit(machine, out, landed);
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
        side,
        member: MemberId([if side == Side::Provider { 1 } else { 2 }; 16]),
        cluster: ClusterId::default(),
        transfer: TransferId([3; 16]),
        epoch: Epoch(0),
        token: Token([4; 16]),
        integrity: INTEGRITY,
        lanes: 1,
        chunk: ChunkLen::MIN,
        read_depth: 2,
        max_retries: 3,
        stall_timeout: Duration::from_secs(30),
        handshake_timeout: Duration::from_secs(10),
    }
}
