//! The provider's half of a session: surveys, reads, hashes and offers a model state.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use longhaul_core::id::{ItemId, Lane, SnapshotId, TaskId};
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, Prefix, RUN_LEN, RunHasher};
use longhaul_core::session::{Command, Payload, ReadPiece, Totals};
use longhaul_core::wire::FRAME_MAX;
use longhaul_state::item::What;
use longhaul_state::source::Shape;

use super::content::Piece;
use super::member::{Io, Job};
use super::session::{LANES, Machine, Said};
use super::state::State;

/// Bytes of buffers: with as many read and not sent, reads wait.
const POOL: u64 = 4 << 20;

/// An item that is being read, or may be read again.
struct Reading {
    /// The sums of the runs that were read, at whatever attempt.
    fold: ItemFold,
    /// Its size and checksum, once it was read whole.
    closed: Option<(u64, Checksum)>,
}

pub(crate) struct Provide {
    /// What is given: a task each.
    states: Vec<Rc<State>>,
    integrity: Integrity,
    /// The task under way.
    task: usize,
    /// Its next item; none while no task is walked.
    next: Option<usize>,
    again: VecDeque<ItemId>,
    readings: BTreeMap<ItemId, Reading>,
    /// The runs that lanes are reading.
    runs: BTreeMap<(usize, ItemId), RunHasher>,
    /// Reads of one lane are answered in order: item, offset, length.
    reads: [VecDeque<(ItemId, u64, u32)>; LANES],
    /// When a lane's last read comes back.
    busy: [u64; LANES],
    /// Pieces read, waiting for their header.
    waiting: [VecDeque<(ItemId, u64, Piece)>; LANES],
}

impl Provide {
    pub(crate) fn new(states: Vec<Rc<State>>, integrity: Integrity) -> Self {
        Self {
            states,
            integrity,
            task: 0,
            next: None,
            again: VecDeque::new(),
            readings: BTreeMap::new(),
            runs: BTreeMap::new(),
            reads: Default::default(),
            busy: [0; LANES],
            waiting: Default::default(),
        }
    }

    /// Bytes held: read, and not sent.
    pub(crate) fn held(&self) -> u64 {
        self.waiting.iter().flatten().map(|(.., piece)| piece.len).sum()
    }

    /// What was read for the lane and not sent is not sent any more.
    pub(crate) fn lane_closed(&mut self, lane: Lane) {
        self.waiting[lane.index()].clear();
    }

    /// What was to be offered again will be named again.
    pub(crate) fn disconnected(&mut self) {
        self.again.clear();
    }

    fn reading(&mut self, id: ItemId) -> &mut Reading {
        let integrity = self.integrity;
        let fresh = || Reading { fold: ItemFold::new(integrity), closed: None };
        self.readings.entry(id).or_insert_with(fresh)
    }

    pub(crate) fn command(&mut self, command: Command, machine: &mut Machine, io: &mut Io<'_>) {
        let delay = 1 + io.random.below(500_000);
        match command {
            Command::Survey { task } => io.later(delay, Job::Surveyed { task }),
            Command::Walk { task } => {
                (self.task, self.next) = (task.index(), Some(0));
                self.again.clear();
                self.readings.clear();
                self.runs.clear();
            }
            Command::Read { lane, id, offset, len, .. } => {
                self.reading(id);
                let busy = &mut self.busy[lane.index()];
                *busy = (*busy).max(io.agenda.now()) + delay;
                self.reads[lane.index()].push_back((id, offset, len));
                io.at(*busy, Job::Read { lane });
            }
            Command::Close { id } => {
                let (size, checksum) = self.close(id);
                io.later(delay, Job::Closed { id, size, checksum });
            }
            Command::Reoffer { id } => {
                self.runs.retain(|key, _| key.1 != id);
                // A stream is read from its start again.
                if self.states[self.task].items[id.0 as usize].item.what == What::Stream {
                    self.readings.remove(&id);
                }
                self.again.push_back(id);
            }
            Command::Skipped { id, size, checksum } => {
                let entry = &self.states[self.task].items[id.0 as usize];
                assert_eq!((size, checksum), (entry.content.size, entry.checksum), "the joiner has another");
            }
            Command::Forget { before } => {
                self.readings.retain(|id, _| *id >= before);
                self.again.retain(|id| *id >= before);
            }
            Command::SumUp { side, task } => {
                let builder = self.states[task.index()].root(self.integrity);
                let (items, bytes) = builder.totals();
                machine.handle_root(side, task, (items, bytes, builder.finish()), io.now);
            }
            other => panic!("{other:?} at a provider"),
        }
    }

    /// The joiner says that it has kept the first bytes of an item, or all of it.
    pub(crate) fn kept(&mut self, id: ItemId, offset: u64, integrity: Integrity, sums: &[u8]) {
        let size = self.states[self.task].items[id.0 as usize].content.size;
        let reading = self.reading(id);
        if reading.closed.is_some() || reading.fold.frontier() >= offset {
            return;
        }
        if offset == size {
            let checksum = Checksum::from_sums(integrity, sums).expect("a joiner says what it has");
            reading.closed = Some((size, checksum));
        } else {
            let prefix = Prefix::new(integrity, offset, sums).expect("a joiner says what it has");
            reading.fold = ItemFold::from_prefix(&prefix);
        }
    }

    pub(crate) fn surveyed(&self, task: TaskId, machine: &mut Machine, said: &mut Said, io: &Io<'_>) {
        let state = &self.states[task.index()];
        let totals = Totals {
            shape: match state.shape {
                Shape::Directory => 0,
                Shape::File => 1,
                Shape::Stream => 2,
            },
            items: state.items.len() as u64,
            bytes: (state.shape != Shape::Stream).then_some(state.bytes),
            allocated: state.bytes,
            longest_name: 0,
            snapshot: SnapshotId::default(),
            digest_members: 0,
            app_meta: b"sim",
        };
        said.encode(|out| (Lane::CONTROL, machine.handle_surveyed(task, &totals, io.now, out)));
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
        let content = &self.states[self.task].items[id.0 as usize].content;
        if offset == content.size {
            let _ = machine.handle_read(lane, id, offset, ReadPiece::End, io.now);
            return true;
        }
        let run_end = ((offset / RUN_LEN + 1) * RUN_LEN).min(content.size);
        let key = (lane.index(), id);
        if self.runs.get(&key).is_none_or(|hasher| hasher.next_offset() != offset)
            && offset.is_multiple_of(RUN_LEN)
        {
            self.runs.insert(key, RunHasher::new(self.integrity, offset));
        }
        // Of an attempt that was given up in the middle of a run nothing is hashed.
        let hasher = self.runs.get_mut(&key).filter(|hasher| hasher.next_offset() == offset);
        let found = content.read(offset, len.into());
        let hole = found.err().map_or(0, |hole| hole.min(run_end - offset));
        if let Some(hasher) = hasher {
            match found {
                Ok(piece) => piece.slices(|bytes, crc| hasher.update(bytes, crc)),
                Err(_) => hasher.update_hole(hole),
            }
            if hasher.next_offset() == run_end {
                let hasher = self.runs.remove(&key).expect("it is there");
                if let (Some(sum), Some(reading)) = (hasher.finish(), self.readings.get_mut(&id)) {
                    reading.fold.push_again(sum).expect("runs are not too far ahead");
                }
            }
        }
        let read = match found {
            Ok(piece) => ReadPiece::Data { len: piece.len as u32, crc: Some(piece.crc()) },
            Err(_) => ReadPiece::Hole { len: hole },
        };
        let wanted = machine.handle_read(lane, id, offset, read, io.now);
        if let (Ok(piece), true) = (found, wanted) {
            self.waiting[lane.index()].push_back((id, offset, piece));
        }
        true
    }

    /// Everything of the item was read, at this attempt or an earlier one.
    fn close(&mut self, id: ItemId) -> (u64, Checksum) {
        let size = self.states[self.task].items[id.0 as usize].content.size;
        let closed = match self.readings.remove(&id) {
            Some(Reading { closed: Some(closed), .. }) => closed,
            Some(Reading { fold, .. }) => (size, fold.finish(size).expect("all runs were read")),
            None => (0, Checksum::empty(self.integrity)),
        };
        self.reading(id).closed = Some(closed);
        closed
    }

    /// Offers what there is room for; true if that was something.
    pub(crate) fn offer(&mut self, machine: &mut Machine, said: &mut Said, io: &Io<'_>) -> bool {
        let items = &self.states[self.task].items;
        if let Some(&id) = self.again.front() {
            let item = items[id.0 as usize].item.as_wire();
            if machine.can_reoffer(&item) {
                self.again.pop_front();
                said.encode(|out| {
                    let offered = machine.handle_reoffer(id, &item, out);
                    (offered.lane, offered.len)
                });
                return true;
            }
        }
        let Some(next) = self.next else { return false };
        if let Some(entry) = items.get(next) {
            let item = entry.item.as_wire();
            if machine.can_offer(&item) {
                said.encode(|out| {
                    let offered = machine.handle_item(&item, io.now, out);
                    assert_eq!(offered.id.0 as usize, next, "items are numbered as they come");
                    (offered.lane, offered.len)
                });
                self.next = Some(next + 1);
                return true;
            }
            return false;
        }
        self.next = None;
        machine.handle_items_end(io.now);
        true
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
