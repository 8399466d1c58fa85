//! The provider's role: walks a source, reads it, and hands payloads to lanes.
//!
//! ```text
//! walk thread    survey, then batches of items; small contents come with them, read in one go
//! read thread    one a lane: reads of the lane's runs, in order; closes items
//! ```

mod read;
mod walk;

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul_core::id::{ItemId, Lane, SnapshotId};
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, Root, RunSum};
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{Command, EAGER_MAX, Payload, ReadPiece, Totals};
use longhaul_state::item::{Item, What};
use longhaul_state::pool::Share;
use longhaul_state::root::{LINK_SET_BYTES, RootBuilder, RootError};
use longhaul_state::source::{Source, SourceError, SourceErrorKind, Survey};
use longhaul_state::transfer::{Event, TransferError, shape_code};

use super::{Io, LANES, Shared};
use crate::bytes::Bytes;
use crate::lane::BURST_BYTES;
use read::{Opened, ReadOp};
use walk::{Walked, Walker};

/// What a provider's helpers report.
pub(crate) enum Report {
    /// The survey is done.
    Surveyed(Survey),
    /// Items, in the order of the walk; the last batch is `last`.
    Items { items: Vec<Walked>, last: bool },
    /// A read came back.
    Read { lane: Lane, id: ItemId, offset: u64, piece: ReadPiece, bytes: Option<Bytes>, run: Option<RunSum> },
    /// An item was closed, unchanged.
    Closed { id: ItemId, size: u64, checksum: Checksum },
    /// The source failed.
    Failed(SourceError),
}

/// An item that may be asked for again.
struct Record {
    item: Item,
    /// Its element is in the root already.
    summed: bool,
    /// The content that came with it, until it is sent.
    ready: Option<walk::Ready>,
}

/// An item that is being read.
struct Reading {
    content: Arc<Opened>,
    fold: Box<ItemFold>,
    read: u64,
}

/// Bytes that were read for a lane and wait for their header.
struct Waiting {
    id: ItemId,
    offset: u64,
    bytes: Bytes,
}

pub(crate) struct Provide {
    source: Arc<dyn Source>,
    walker: Walker,
    share: Share,
    readers: Vec<Option<Sender<ReadOp>>>,
    /// Walked, not offered: the session has no room yet.
    walked: VecDeque<Walked>,
    walk_ended: bool,
    /// Offered, not verified: from `first` on.
    records: VecDeque<Record>,
    first: u32,
    /// To be offered again.
    again: VecDeque<ItemId>,
    reading: HashMap<ItemId, Reading>,
    waiting: Vec<VecDeque<Waiting>>,
    root: SharedRoot,
    integrity: Integrity,
    summed: Option<(u64, u64, Root)>,
}

/// The root, summed by whichever thread has an item in hand.
#[derive(Clone)]
pub(crate) struct SharedRoot(Arc<Mutex<RootBuilder>>);

impl SharedRoot {
    fn new(integrity: Integrity) -> Self {
        Self(Arc::new(Mutex::new(RootBuilder::new(integrity))))
    }

    fn lock(&self) -> MutexGuard<'_, RootBuilder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: ItemId, item: &Item, size: u64, checksum: &Checksum) -> Result<(), SourceError> {
        self.lock().add(id, item, size, checksum).map_err(|error| {
            let kind = match error {
                RootError::TooManyLinks => SourceErrorKind::TooManyLinks,
                RootError::NoSuchLink => {
                    SourceErrorKind::Changed("a hard link leads to no file of this state")
                }
            };
            SourceError::item(item.name.clone(), kind)
        })
    }
}

impl Provide {
    /// Starts the helpers.
    pub(crate) fn start(source: Arc<dyn Source>, shared: &Shared) -> Self {
        let walker = Walker::start(Arc::clone(&source), shared);
        let mut provide = Self {
            source,
            walker,
            share: shared.share.clone(),
            readers: (0..LANES).map(|_| None).collect(),
            walked: VecDeque::new(),
            walk_ended: false,
            records: VecDeque::new(),
            first: 0,
            again: VecDeque::new(),
            reading: HashMap::new(),
            waiting: (0..LANES).map(|_| VecDeque::new()).collect(),
            root: SharedRoot::new(Integrity::None),
            integrity: Integrity::None,
            summed: None,
        };
        provide.lane_up(Lane::CONTROL, shared);
        provide
    }

    pub(super) fn lane_up(&mut self, lane: Lane, shared: &Shared) {
        let (sender, ops) = channel();
        read::start(lane, ops, shared);
        self.readers[lane.index()] = Some(sender);
    }

    pub(super) fn handle(&mut self, report: Report, io: &mut Io<'_>) -> Result<(), TransferError> {
        match report {
            Report::Surveyed(survey) => self.surveyed(&survey, io),
            Report::Items { items, last } => {
                self.walked.extend(items);
                self.walk_ended |= last;
            }
            Report::Read { lane, id, offset, piece, bytes, run } => {
                self.read(lane, id, offset, piece, bytes, run, io)?;
            }
            Report::Closed { id, size, checksum } => io.machine.handle_closed(id, size, checksum, io.now),
            Report::Failed(error) => return Err(TransferError::source(error, io.machine.phase())),
        }
        Ok(())
    }

    fn surveyed(&mut self, survey: &Survey, io: &mut Io<'_>) {
        let totals = Totals {
            shape: shape_code(survey.shape),
            items: survey.items,
            bytes: survey.bytes,
            allocated: survey.allocated,
            snapshot: fresh_snapshot(),
            app_meta: b"",
        };
        let len = io.machine.handle_surveyed(&totals, io.now, &mut io.scratch[..]);
        if let Some(control_lane) = &mut io.lanes[0] {
            control_lane.building.control(&io.scratch[..len]);
        }
        let Some(terms) = io.machine.terms() else { return };
        self.integrity = terms.integrity;
        self.root = SharedRoot::new(terms.integrity);
        // The walk's table of first names, and the root's of sets.
        self.share.charge(
            usize::try_from(survey.linked).unwrap_or(usize::MAX / 256).saturating_mul(LINK_SET_BYTES),
        );
        io.control.set_totals(survey.items, survey.bytes);
        io.control.set_work(0);
        io.control.emit(&Event::Prepared { shape: survey.shape, items: survey.items, bytes: survey.bytes });
        let warnings = survey.warnings;
        if warnings.special_skipped > 0 {
            let text = format!("{} special files are left out", warnings.special_skipped);
            io.control.emit(&Event::Warning(text));
        }
        if warnings.mode_bits_dropped > 0 {
            let text = format!("set-id and sticky bits of {} items are dropped", warnings.mode_bits_dropped);
            io.control.emit(&Event::Warning(text));
        }
        self.walker.go(walk::Terms {
            integrity: terms.integrity,
            eager: EAGER_MAX.min(terms.chunk.bytes()),
            root: self.root.clone(),
        });
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one report")]
    fn read(
        &mut self,
        lane: Lane,
        id: ItemId,
        offset: u64,
        piece: ReadPiece,
        bytes: Option<Bytes>,
        run: Option<RunSum>,
        io: &mut Io<'_>,
    ) -> Result<(), TransferError> {
        if let Some(reading) = self.reading.get_mut(&id) {
            let (logical, sent) = match piece {
                ReadPiece::Data { len, .. } => (len.into(), len.into()),
                ReadPiece::Hole { len } => (len, 0),
                ReadPiece::End => (0, 0),
            };
            reading.read += logical;
            io.control.add_bytes(logical, sent);
            if let Some(run) = run {
                reading.fold.push(run).map_err(|error| defect(io, &error.to_string()))?;
            }
        }
        // An item that was dropped meanwhile has no payload to wait for: the machine drops the read.
        if let (Some(bytes), true) = (bytes, self.reading.contains_key(&id)) {
            self.waiting[lane.index()].push_back(Waiting { id, offset, bytes });
        }
        io.machine.handle_read(lane, id, offset, piece, io.now);
        Ok(())
    }

    pub(super) fn command(&mut self, command: Command, io: &mut Io<'_>) -> Result<(), TransferError> {
        match command {
            Command::Survey => self.walker.survey(),
            Command::Read { lane, id, offset, len, .. } => self.read_command(lane, id, offset, len, io),
            Command::Close { id } => self.close(id, io)?,
            Command::Reoffer { id } => {
                self.reading.remove(&id);
                self.again.push_back(id);
            }
            Command::Forget { before } => {
                while self.first < before.0 {
                    self.records.pop_front();
                    self.first += 1;
                }
            }
            Command::SumUp => {
                let builder = self.root.lock();
                let (items, bytes) = builder.totals();
                let root = builder.finish();
                drop(builder);
                self.summed = Some((items, bytes, root));
                io.machine.handle_root(items, bytes, root, io.now);
                io.control.emit(&Event::Agreed { root });
            }
            _ => return Err(defect(io, "a joiner's command at a provider")),
        }
        Ok(())
    }

    fn record(&mut self, id: ItemId) -> &mut Record {
        let at = (id.0 - self.first) as usize;
        self.records.get_mut(at).expect("items that the machine names are not forgotten")
    }

    fn read_command(&mut self, lane: Lane, id: ItemId, offset: u64, len: u32, io: &mut Io<'_>) {
        if let Some(ready) = &self.record(id).ready {
            let (bytes, crc) = (ready.bytes(), ready.crc);
            io.control.add_bytes(len.into(), len.into());
            self.waiting[lane.index()].push_back(Waiting { id, offset, bytes });
            return io.machine.handle_read(lane, id, offset, ReadPiece::Data { len, crc }, io.now);
        }
        let integrity = self.integrity;
        let content = if let Some(reading) = self.reading.get(&id) {
            Arc::clone(&reading.content)
        } else {
            let item = self.record(id).item.clone();
            let content = Arc::new(Opened::new(Arc::clone(&self.source), item));
            let fold = Box::new(ItemFold::new(integrity));
            self.reading.insert(id, Reading { content: Arc::clone(&content), fold, read: 0 });
            content
        };
        if let Some(reader) = &self.readers[lane.index()] {
            // A reader that has ended has reported why.
            let _ = reader.send(ReadOp::Read { id, offset, len, content, integrity });
        }
    }

    fn close(&mut self, id: ItemId, io: &mut Io<'_>) -> Result<(), TransferError> {
        let (integrity, root) = (self.integrity, self.root.clone());
        if let Some(ready) = self.record(id).ready.take() {
            let (size, checksum) = (ready.range.len() as u64, ready.checksum);
            io.machine.handle_closed(id, size, checksum, io.now);
            return Ok(());
        }
        let summed = std::mem::replace(&mut self.record(id).summed, true);
        let Some(reading) = self.reading.remove(&id) else {
            // Empty: nothing was read.
            let checksum = Checksum::empty(integrity);
            if !summed {
                let item = &self.record(id).item;
                root.add(id, item, 0, &checksum)
                    .map_err(|error| TransferError::source(error, Phase::Stream))?;
            }
            io.machine.handle_closed(id, 0, checksum, io.now);
            return Ok(());
        };
        let size = reading.read;
        let checksum = reading.fold.finish(size).map_err(|error| defect(io, &error.to_string()))?;
        let root = (!summed).then_some(root);
        let reader = self.readers.iter().flatten().next_back();
        if let Some(reader) = reader {
            // A reader that has ended has reported why.
            let _ = reader.send(ReadOp::Close { id, content: reading.content, size, checksum, root });
        }
        Ok(())
    }

    /// Offers what was walked as far as the session and the lanes have room.
    pub(super) fn offer(&mut self, io: &mut Io<'_>) -> Result<(), TransferError> {
        while let Some(&id) = self.again.front() {
            let item = self.record(id).item.clone();
            if !room(io) || !io.machine.can_reoffer(&item.as_wire()) {
                return Ok(());
            }
            self.again.pop_front();
            let offered = io.machine.handle_reoffer(id, &item.as_wire(), &mut io.scratch[..]);
            send(io, offered.lane, offered.len);
            self.carry_out(io)?;
        }
        while let Some(walked) = self.walked.front() {
            if !room(io) || !io.machine.can_offer(&walked.item.as_wire()) {
                return Ok(());
            }
            let Some(walked) = self.walked.pop_front() else { return Ok(()) };
            self.walker.consumed(&walked);
            let offered = io.machine.handle_item(&walked.item.as_wire(), io.now, &mut io.scratch[..]);
            send(io, offered.lane, offered.len);
            let link = matches!(walked.item.what, What::HardLink { .. });
            if link {
                self.root
                    .add(offered.id, &walked.item, 0, &Checksum::None)
                    .map_err(|error| TransferError::source(error, Phase::Stream))?;
            }
            let summed = link || walked.summed;
            self.records.push_back(Record { item: walked.item, summed, ready: walked.ready });
            self.carry_out(io)?;
        }
        if self.walk_ended {
            self.walk_ended = false;
            io.machine.handle_items_end(io.now);
        }
        Ok(())
    }

    /// Carries out what an offer brought: the reads of content that is there already need no thread.
    fn carry_out(&mut self, io: &mut Io<'_>) -> Result<(), TransferError> {
        while let Some(command) = io.machine.poll_command() {
            self.command(command, io)?;
        }
        for lane in 0..LANES {
            let Some(end) = &mut io.lanes[lane] else { continue };
            while end.has_room() {
                let Some(transmit) = io.machine.poll_transmit(Lane(lane as u16), &mut io.scratch[..]) else {
                    break;
                };
                end.building.control(&io.scratch[..transmit.len]);
                if let Some(payload) = transmit.payload {
                    end.building.payload(self.payload(lane, &payload));
                }
            }
        }
        Ok(())
    }

    /// The bytes whose header has just been emitted.
    pub(super) fn payload(&mut self, lane: usize, payload: &Payload) -> Bytes {
        loop {
            let waiting =
                self.waiting[lane].pop_front().expect("headers are emitted for bytes that were read");
            // What precedes it was read for items that failed before their headers were emitted.
            if waiting.id == payload.id && waiting.offset == payload.offset {
                assert_eq!(waiting.bytes.len(), payload.len as usize, "a payload is what was read");
                return waiting.bytes;
            }
        }
    }

    pub(super) fn end(&mut self) -> super::Totals {
        self.readers.clear();
        self.walker.stop();
        self.walked.clear();
        self.records.clear();
        self.waiting.clear();
        let (items, bytes, root) =
            self.summed.take().unwrap_or((0, 0, Root { integrity: Integrity::None, hash: [0; 32] }));
        super::Totals { items, bytes, root, caveat: None }
    }
}

/// Whether every lane can take more: offers are built only as fast as they are sent.
fn room(io: &Io<'_>) -> bool {
    io.lanes.iter().flatten().all(|end| end.building.len() < BURST_BYTES)
}

fn send(io: &mut Io<'_>, lane: Lane, len: usize) {
    if let Some(end) = &mut io.lanes[lane.index()] {
        end.building.control(&io.scratch[..len]);
    }
}

fn defect(io: &Io<'_>, what: &str) -> TransferError {
    TransferError::new(Reason::Internal, Side::Provider, io.machine.phase(), what)
}

fn fresh_snapshot() -> SnapshotId {
    let mut bytes = [0; 16];
    // Without randomness the id only loses its meaning for later runs.
    let _ = getrandom::fill(&mut bytes);
    SnapshotId(bytes)
}
