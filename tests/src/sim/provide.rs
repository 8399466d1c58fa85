//! The provider's half of a session: surveys, reads, hashes and offers a model state.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use longhaul_core::id::{ItemId, Lane, SnapshotId};
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, RUN_LEN, RunHasher};
use longhaul_core::session::{Command, Payload, ReadPiece, State as Stage, Totals};
use longhaul_core::wire::FRAME_MAX;
use longhaul_state::source::Shape;

use super::content::Piece;
use super::member::{Io, Job};
use super::session::{LANES, Machine, Said};
use super::state::State;

/// Bytes of buffers: with as many read and not sent, reads wait.
const POOL: u64 = 4 << 20;

pub(crate) struct Provide {
    state: Rc<State>,
    integrity: Integrity,
    /// Pieces read, waiting for their header.
    waiting: [VecDeque<(ItemId, u64, Piece)>; LANES],
    /// Reads of one lane are answered in order: item, offset, length.
    reads: [VecDeque<(ItemId, u64, u32)>; LANES],
    /// When a lane's last read comes back.
    busy: [u64; LANES],
    folds: BTreeMap<ItemId, ItemFold>,
    runs: BTreeMap<(usize, ItemId), RunHasher>,
    next: usize,
    ended: bool,
    again: VecDeque<ItemId>,
}

impl Provide {
    pub(crate) fn new(state: Rc<State>, integrity: Integrity) -> Self {
        Self {
            state,
            integrity,
            waiting: Default::default(),
            reads: Default::default(),
            busy: [0; LANES],
            folds: BTreeMap::new(),
            runs: BTreeMap::new(),
            next: 0,
            ended: false,
            again: VecDeque::new(),
        }
    }

    /// Bytes held: read, and not sent.
    pub(crate) fn held(&self) -> u64 {
        self.waiting.iter().flatten().map(|(.., piece)| piece.len).sum()
    }

    pub(crate) fn command(&mut self, command: Command, machine: &mut Machine, io: &mut Io<'_>) {
        let delay = 1 + io.random.below(500_000);
        match command {
            Command::Forget { .. } => {}
            Command::Survey => io.later(delay, Job::Surveyed),
            Command::Read { lane, id, offset, len, .. } => {
                self.folds.entry(id).or_insert_with(|| ItemFold::new(self.integrity));
                let busy = &mut self.busy[lane.index()];
                *busy = (*busy).max(io.agenda.now()) + delay;
                self.reads[lane.index()].push_back((id, offset, len));
                io.at(*busy, Job::Read { lane });
            }
            Command::Close { id } => io.later(delay, Job::Closed { id }),
            Command::Reoffer { id } => {
                self.folds.remove(&id);
                self.runs.retain(|key, _| key.1 != id);
                self.again.push_back(id);
            }
            Command::SumUp => {
                let builder = self.state.root(self.integrity);
                let (items, bytes) = builder.totals();
                machine.handle_root(items, bytes, builder.finish(), io.now);
            }
            other => panic!("{other:?} at a provider"),
        }
    }

    pub(crate) fn surveyed(&self, machine: &mut Machine, said: &mut Said, io: &Io<'_>) {
        let totals = Totals {
            shape: match self.state.shape {
                Shape::Directory => 0,
                Shape::File => 1,
                Shape::Stream => 2,
            },
            items: self.state.items.len() as u64,
            bytes: (self.state.shape != Shape::Stream).then_some(self.state.bytes),
            allocated: self.state.bytes,
            snapshot: SnapshotId::default(),
            app_meta: b"sim",
        };
        said.encode(|out| (Lane::CONTROL, machine.handle_surveyed(&totals, io.now, out)));
    }

    /// The oldest read of a lane comes back; `false` if it failed.
    pub(crate) fn read(&mut self, lane: Lane, machine: &mut Machine, io: &mut Io<'_>) -> bool {
        if self.held() >= POOL {
            io.later(300_000, Job::Read { lane });
            return true;
        }
        let (id, offset, len) = self.reads[lane.index()].pop_front().expect("reads come back once");
        if io.random.one_in(io.rates.read_errors) {
            return false;
        }
        let content = &self.state.items[id.0 as usize].content;
        if offset == content.size {
            machine.handle_read(lane, id, offset, ReadPiece::End, io.now);
            return true;
        }
        let run_end = ((offset / RUN_LEN + 1) * RUN_LEN).min(content.size);
        let key = (lane.index(), id);
        if self.runs.get(&key).is_none_or(|hasher| hasher.next_offset() != offset) {
            self.runs.insert(key, RunHasher::new(self.integrity, offset));
        }
        let hasher = self.runs.get_mut(&key).expect("it was just made");
        let piece = match content.read(offset, len.into()) {
            Ok(piece) => {
                piece.slices(|bytes, crc| hasher.update(bytes, crc));
                self.waiting[lane.index()].push_back((id, offset, piece));
                ReadPiece::Data { len: piece.len as u32, crc: Some(piece.crc()) }
            }
            Err(hole) => {
                let len = hole.min(run_end - offset);
                hasher.update_hole(len);
                ReadPiece::Hole { len }
            }
        };
        if hasher.next_offset() == run_end {
            let hasher = self.runs.remove(&key).expect("it is there");
            if let (Some(sum), Some(fold)) = (hasher.finish(), self.folds.get_mut(&id)) {
                fold.push(sum).expect("each run is read once an attempt");
            }
        }
        machine.handle_read(lane, id, offset, piece, io.now);
        true
    }

    pub(crate) fn closed(&mut self, id: ItemId, machine: &mut Machine, io: &Io<'_>) {
        let size = self.state.items[id.0 as usize].content.size;
        let checksum = match self.folds.remove(&id) {
            Some(fold) => fold.finish(size).expect("all runs were read"),
            None => Checksum::empty(self.integrity),
        };
        machine.handle_closed(id, size, checksum, io.now);
    }

    /// Offers what there is room for; true if that was something.
    pub(crate) fn offer(&mut self, machine: &mut Machine, said: &mut Said, io: &Io<'_>) -> bool {
        if let Some(&id) = self.again.front() {
            let item = self.state.items[id.0 as usize].item.as_wire();
            if machine.can_reoffer(&item) {
                self.again.pop_front();
                said.encode(|out| {
                    let offered = machine.handle_reoffer(id, &item, out);
                    (offered.lane, offered.len)
                });
                return true;
            }
        }
        if let Some(entry) = self.state.items.get(self.next) {
            let item = entry.item.as_wire();
            if machine.can_offer(&item) {
                said.encode(|out| {
                    let offered = machine.handle_item(&item, io.now, out);
                    assert_eq!(offered.id.0 as usize, self.next, "items are numbered as they come");
                    (offered.lane, offered.len)
                });
                self.next += 1;
                return true;
            }
        } else if !self.ended && machine.state() == Stage::Streaming {
            self.ended = true;
            machine.handle_items_end(io.now);
            return true;
        }
        false
    }

    /// The bytes that follow a header just emitted.
    pub(crate) fn payload(&mut self, lane: usize, payload: &Payload) -> Piece {
        loop {
            let (id, offset, piece) =
                self.waiting[lane].pop_front().expect("headers are emitted for bytes that were read");
            if id == payload.id && offset == payload.offset && piece.len == u64::from(payload.len) {
                return piece;
            }
        }
    }
}

impl Said {
    /// Keeps a frame that a call encodes.
    pub(crate) fn encode(&mut self, call: impl FnOnce(&mut [u8]) -> (Lane, usize)) {
        let mut out = vec![0; FRAME_MAX];
        let (lane, len) = call(&mut out);
        out.truncate(len);
        if len > 0 {
            self.0.push((lane, out));
        }
    }
}
