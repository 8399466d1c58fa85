//! The provider's side of the simulation.

use std::collections::{HashMap, VecDeque};

use longhaul_core::id::{ItemId, Lane, SnapshotId};
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, RUN_LEN, RunHasher, crc32c};
use longhaul_core::item::ItemName;
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{Command, Config, ReadPiece, Totals};
use longhaul_core::time::Instant;
use longhaul_core::wire::{FRAME_MAX, Failed, Frame};
use longhaul_state::root::RootBuilder;

use super::state::State;
use super::{Agenda, Event, Machine, Random, dialled, parse};

pub(crate) struct Provider {
    pub(crate) machine: Option<Machine>,
    config: Config,
    state: State,
    integrity: Integrity,
    inbox: Vec<u8>,
    pub(crate) tick: Option<Instant>,
    pub(crate) dials: Vec<Lane>,
    /// Frames that were encoded in a call, for each lane.
    encoded: Vec<VecDeque<Vec<u8>>>,
    /// Bytes read, waiting for their header.
    waiting: Vec<VecDeque<(ItemId, u64, Vec<u8>)>>,
    /// When a lane's last read comes back: reads of one lane are answered in order.
    lane_busy: [u64; 4],
    folds: HashMap<ItemId, ItemFold>,
    runs: HashMap<(usize, ItemId), RunHasher>,
    next: usize,
    ended: bool,
    again: VecDeque<ItemId>,
}

impl Provider {
    pub(crate) fn new(config: Config, dials: bool, state: State, integrity: Integrity) -> Self {
        Self {
            machine: dials.then(|| Machine::dial(config, Instant::ZERO)),
            config,
            state,
            integrity,
            inbox: Vec::new(),
            tick: None,
            dials: Vec::new(),
            encoded: (0..4).map(|_| VecDeque::new()).collect(),
            waiting: (0..4).map(|_| VecDeque::new()).collect(),
            lane_busy: [0; 4],
            folds: HashMap::new(),
            runs: HashMap::new(),
            next: 0,
            ended: false,
            again: VecDeque::new(),
        }
    }

    /// A listener that nobody has reached is not waiting for anything.
    pub(crate) fn is_over(&self) -> bool {
        self.machine.as_ref().is_none_or(Machine::is_over)
    }

    pub(crate) fn receive(
        &mut self,
        lane: usize,
        bytes: &[u8],
        now: Instant,
        random: &mut Random,
        agenda: &mut Agenda,
    ) {
        assert_eq!(lane, 0, "a joiner sends on lane 0 alone");
        self.inbox.extend_from_slice(bytes);
        while let Some(header) = self.inbox.first_chunk() {
            let header = match longhaul_core::wire::Header::parse(header) {
                Ok(header) => header,
                Err(error) => return self.invalid(error),
            };
            let end = 32 + header.len as usize;
            let Some(body) = self.inbox.get(32..end) else { return };
            let body = body.to_vec();
            self.inbox.drain(..end);
            match Frame::parse(&header, &body) {
                Ok(Frame::Init(init)) if self.machine.is_none() => {
                    self.machine = Machine::accept(self.config, &init, now).ok();
                }
                Ok(frame) => {
                    if let Some(machine) = &mut self.machine {
                        machine.handle_frame(Lane(0), &frame, now);
                    }
                }
                Err(error) => return self.invalid(error),
            }
            // After every mutation.
            while self.drain(now, random, agenda) {}
        }
    }

    fn invalid(&mut self, error: longhaul_core::wire::WireError) {
        if let Some(machine) = &mut self.machine {
            machine.handle_invalid(error);
        }
        self.inbox.clear();
    }

    pub(crate) fn surveyed(&mut self, now: Instant) {
        let bytes = self.state.items.iter().map(|(_, content)| content.size).sum();
        let totals = Totals {
            shape: 0,
            items: self.state.items.len() as u64,
            bytes: Some(bytes),
            allocated: bytes,
            snapshot: SnapshotId::default(),
            app_meta: b"sim",
        };
        let mut out = vec![0; FRAME_MAX];
        let Some(machine) = &mut self.machine else { return };
        let len = machine.handle_surveyed(&totals, now, &mut out);
        self.encoded[0].push_back(out[..len].to_vec());
    }

    pub(crate) fn read_done(
        &mut self,
        lane: Lane,
        id: ItemId,
        offset: u64,
        len: u32,
        fails: bool,
        now: Instant,
    ) {
        let Some(machine) = self.machine.as_mut().filter(|machine| !machine.is_over()) else { return };
        if fails {
            return self.fail();
        }
        let content = &self.state.items[id.0 as usize].1;
        let run_end = ((offset / RUN_LEN + 1) * RUN_LEN).min(content.size);
        let hasher = match self.runs.entry((lane.index(), id)) {
            std::collections::hash_map::Entry::Occupied(entry) if entry.get().next_offset() == offset => {
                entry.into_mut()
            }
            entry => entry.insert_entry(RunHasher::new(self.integrity, offset)).into_mut(),
        };
        let piece = match content.read(offset, len.into()) {
            Ok(bytes) => {
                let crc = crc32c(bytes);
                hasher.update(bytes, crc);
                self.waiting[lane.index()].push_back((id, offset, bytes.to_vec()));
                ReadPiece::Data { len: bytes.len() as u32, crc: Some(crc) }
            }
            Err(hole) => {
                let len = hole.min(run_end - offset);
                hasher.update_hole(len);
                ReadPiece::Hole { len }
            }
        };
        if hasher.next_offset() == run_end {
            let hasher = self.runs.remove(&(lane.index(), id)).expect("it is there");
            if let (Some(sum), Some(fold)) = (hasher.finish(), self.folds.get_mut(&id)) {
                fold.push(sum).expect("each run is read once an attempt");
            }
        }
        machine.handle_read(lane, id, offset, piece, now);
    }

    fn fail(&mut self) {
        let failed = Failed {
            reason: Reason::Source,
            phase: Phase::Stream,
            side: Side::Provider,
            offset: None,
            name: ItemName::ROOT,
            message: "the disk is broken",
        };
        let mut out = vec![0; FRAME_MAX];
        if let Some(machine) = &mut self.machine {
            let len = machine.fail(&failed, &mut out);
            self.encoded[0].push_back(out[..len].to_vec());
        }
    }

    pub(crate) fn closed(&mut self, id: ItemId, now: Instant) {
        let size = self.state.items[id.0 as usize].1.size;
        let checksum = match self.folds.remove(&id) {
            Some(fold) => fold.finish(size).expect("all runs were read"),
            None => Checksum::empty(self.integrity),
        };
        if let Some(machine) = &mut self.machine {
            machine.handle_closed(id, size, checksum, now);
        }
    }

    pub(crate) fn drain(&mut self, now: Instant, random: &mut Random, agenda: &mut Agenda) -> bool {
        let Some(machine) = &mut self.machine else { return false };
        let mut moved = false;
        while let Some(command) = machine.poll_command() {
            moved = true;
            let delay = 1 + random.below(1_000_000);
            match dialled(command, &mut self.dials) {
                None | Some(Command::Forget { .. }) => {}
                Some(Command::Survey) => agenda.after(delay, Event::Surveyed),
                Some(Command::Read { lane, id, offset, len, .. }) => {
                    if offset == 0 || !self.folds.contains_key(&id) {
                        self.folds.entry(id).or_insert_with(|| ItemFold::new(self.integrity));
                    }
                    let busy = &mut self.lane_busy[lane.index()];
                    *busy = (*busy).max(now.as_nanos()) + delay;
                    agenda.at(*busy, Event::ReadDone { lane, id, offset, len });
                }
                Some(Command::Close { id }) => agenda.after(delay, Event::Closed { id }),
                Some(Command::Reoffer { id }) => {
                    self.folds.remove(&id);
                    self.runs.retain(|key, _| key.1 != id);
                    self.again.push_back(id);
                }
                Some(Command::SumUp) => {
                    let mut builder = RootBuilder::new(self.integrity);
                    for (n, (item, content)) in self.state.items.iter().enumerate() {
                        let checksum = content.checksum(self.integrity);
                        builder.add(ItemId(n as u32), item, content.size, &checksum).expect("no hard links");
                    }
                    let (items, bytes) = builder.totals();
                    machine.handle_root(items, bytes, builder.finish(), now);
                }
                Some(other) => panic!("{other:?} at a provider"),
            }
        }
        while machine.poll_event().is_some() {}
        moved | self.offer(now)
    }

    fn offer(&mut self, now: Instant) -> bool {
        let Some(machine) = &mut self.machine else { return false };
        let mut out = vec![0; FRAME_MAX];
        if let Some(&id) = self.again.front() {
            let item = self.state.items[id.0 as usize].0.as_wire();
            if machine.can_reoffer(&item) {
                self.again.pop_front();
                let offered = machine.handle_reoffer(id, &item, &mut out);
                self.encoded[offered.lane.index()].push_back(out[..offered.len].to_vec());
                return true;
            }
        }
        if let Some((item, _)) = self.state.items.get(self.next) {
            if machine.can_offer(&item.as_wire()) {
                let offered = machine.handle_item(&item.as_wire(), now, &mut out);
                assert_eq!(offered.id.0 as usize, self.next);
                self.next += 1;
                self.encoded[offered.lane.index()].push_back(out[..offered.len].to_vec());
                return true;
            }
        } else if !self.ended && machine.state() == longhaul_core::session::State::Streaming {
            self.ended = true;
            machine.handle_items_end(now);
            return true;
        }
        false
    }

    pub(crate) fn transmit(&mut self, lane: usize, out: &mut [u8]) -> (usize, Vec<u8>) {
        // What was encoded in a call precedes what the machine has queued since.
        if let Some(frame) = self.encoded[lane].pop_front() {
            out[..frame.len()].copy_from_slice(&frame);
            return (frame.len(), Vec::new());
        }
        let Some(machine) = &mut self.machine else { return (0, Vec::new()) };
        let Some(transmit) = machine.poll_transmit(Lane(lane as u16), out) else { return (0, Vec::new()) };
        let payload = transmit.payload.map(|payload| {
            loop {
                let (id, offset, bytes) =
                    self.waiting[lane].pop_front().expect("headers are emitted for bytes that were read");
                if id == payload.id && offset == payload.offset && bytes.len() == payload.len as usize {
                    break bytes;
                }
            }
        });
        debug_assert!(payload.is_some() || parse(&out[..transmit.len]).is_some());
        (transmit.len, payload.unwrap_or_default())
    }
}
