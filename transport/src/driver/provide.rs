//! The provider's role: walks a source, reads it, and hands payloads to lanes.
//!
//! ```text
//! walk thread    survey, then batches of items; small contents come with them, read in one go
//! the engine     reads of each lane's runs, in order; closes items
//! ```

mod read;
mod walk;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul_core::id::{ItemId, Lane, SnapshotId, TaskId};
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, Prefix, Root, RunSum};
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{Command, EAGER_MAX, Payload, ReadPiece, Totals};
use longhaul_core::wire::{Refused, Request};
use longhaul_state::item::{Item, What};
use longhaul_state::pool::Share;
use longhaul_state::root::{LINK_SET_BYTES, RootBuilder, RootError};
use longhaul_state::source::{Part, Source, SourceError, SourceErrorKind, Survey};
use longhaul_state::transfer::{Event, TransferError, shape_code};

use super::{Io, LANES};
use crate::channel::{Sender, channel};
use crate::chunk::Chunk;
use crate::engine::{Engine, Helpers};
pub use read::{Close, Opened, Read, ReadOp, Reader};
use walk::{Walked, Walker};

/// What a provider's helpers report.
pub(crate) enum Report {
    /// The survey is done.
    Surveyed(Survey),
    /// Items, in the order of the walk; the last batch is `last`.
    Items { items: Vec<Walked>, last: bool },
    /// A read came back.
    Read { lane: Lane, id: ItemId, offset: u64, piece: ReadPiece, chunk: Option<Chunk>, run: Option<RunSum> },
    /// An item was closed, unchanged.
    Closed { id: ItemId, size: u64, checksum: Checksum },
    /// An item that has landed is still what it was.
    Checked,
    /// The source failed.
    Failed(SourceError),
}

/// An item that may be asked for again.
struct Record {
    item: Item,
    /// Its element is in the root already.
    summed: bool,
    /// Its size and checksum, once it was read whole: it may be read again.
    closed: Option<(u64, Checksum)>,
    /// The sums of the runs that an earlier attempt has read.
    fold: Option<Box<ItemFold>>,
    /// The content that came with it, until it is sent.
    ready: Option<walk::Ready>,
    /// Some of it was sent that nobody has seen: out of the source's own memory, maybe until it lands.
    unseen: bool,
}

/// An item that is being read.
struct Reading {
    content: Arc<Opened>,
    fold: Box<ItemFold>,
}

/// What the joiner asked for.
#[derive(Default)]
struct Asked {
    state_id: Vec<u8>,
    selector: Vec<u8>,
    /// It holds nothing of an earlier run.
    fresh: bool,
    /// It wants checksums.
    checked: bool,
}

/// What was announced: the same is said again after a re-dial.
struct Announced {
    survey: Survey,
    snapshot: SnapshotId,
    app_meta: Vec<u8>,
}

/// Bytes that were read for a lane and wait for their header.
struct Waiting {
    id: ItemId,
    offset: u64,
    chunk: Chunk,
}

pub(crate) struct Provide {
    source: Arc<dyn Source>,
    walker: Option<Walker>,
    /// What the walk thread is started with, once it is known what is asked for.
    helpers: Helpers,
    engine: Arc<dyn Engine>,
    asked: Asked,
    announced: Option<Announced>,
    share: Share,
    /// One a lane, started with its first read.
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
    /// Items that have landed and whose source is looked at once more.
    checks: usize,
    /// The task that is to be summed up after that.
    sum_up: Option<TaskId>,
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
    /// A provider whose helpers are started when there is something for them.
    pub(crate) fn new(source: Arc<dyn Source>, helpers: &Helpers, engine: &Arc<dyn Engine>) -> Self {
        Self {
            source,
            walker: None,
            helpers: helpers.clone(),
            engine: Arc::clone(engine),
            asked: Asked::default(),
            announced: None,
            share: helpers.share.clone(),
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
            checks: 0,
            sum_up: None,
        }
    }

    /// What the joiner wants, before the machine commands its survey.
    pub(super) fn requested(&mut self, request: &Request<'_>) {
        self.asked = Asked {
            state_id: request.state_id.to_vec(),
            selector: request.selector.to_vec(),
            fresh: request.fresh,
            checked: request.integrity != Integrity::None,
        };
    }

    /// What was read for the lane and not sent is not sent any more.
    pub(super) fn lane_closed(&mut self, lane: Lane) {
        self.waiting[lane.index()].clear();
    }

    /// What was to be offered again will be named again.
    pub(super) fn disconnected(&mut self) {
        self.again.clear();
    }

    /// What reads for the lane; for no lane in particular: the last one that there is.
    fn reader(&mut self, lane: Option<Lane>) -> &Sender<ReadOp> {
        let any = || self.readers.iter().rposition(Option::is_some).unwrap_or(Lane::CONTROL.index());
        let number = lane.map_or_else(any, Lane::index);
        self.readers[number].get_or_insert_with(|| {
            let (sender, ops) = channel();
            self.engine.start_reads(Lane(number as u16), ops, &self.helpers);
            sender
        })
    }

    pub(super) fn handle(&mut self, report: Report, io: &mut Io<'_>) -> Result<(), TransferError> {
        match report {
            Report::Surveyed(survey) => {
                let (snapshot, app_meta) = (fresh_snapshot(), self.source.app_meta());
                self.announced = Some(Announced { survey, snapshot, app_meta });
                self.surveyed(&survey, io);
                self.announce(io);
            }
            Report::Items { items, last } => {
                self.walked.extend(items);
                self.walk_ended |= last;
            }
            Report::Read { lane, id, offset, piece, chunk, run } => {
                self.read(lane, id, offset, piece, chunk, run, io)?;
            }
            Report::Closed { id, size, checksum } => io.machine.handle_closed(id, size, checksum, io.now),
            Report::Checked => {
                self.checks -= 1;
                self.sum_up(io);
            }
            Report::Failed(error) => return Err(TransferError::source(error, io.machine.phase())),
        }
        Ok(())
    }

    /// Begins the survey of what was asked for, or refuses it; after a re-dial, says the same as before.
    fn survey(&mut self, task: TaskId, io: &mut Io<'_>) {
        if self.announced.is_some() {
            return self.announce(io);
        }
        if self.walker.is_some() {
            return;
        }
        match self.source.part(&self.asked.state_id, &self.asked.selector) {
            Part::Whole => {}
            Part::Source(part) => self.source = part,
            Part::None(app_reply) => {
                let message = "there is no such state, or not for this joiner";
                return refuse(task, message, &app_reply, io);
            }
        }
        if self.asked.checked && self.helpers.data_path.is_spliced() {
            let message = "the provider's data path is one on which nobody sees the bytes: they are to be had \
                           without checksums (--integrity none)";
            return refuse(task, message, b"", io);
        }
        let walker = Walker::start(Arc::clone(&self.source), &self.helpers);
        walker.survey();
        self.walker = Some(walker);
    }

    fn announce(&self, io: &mut Io<'_>) {
        let Some(Announced { survey, snapshot, app_meta }) = &self.announced else { return };
        let totals = Totals {
            shape: shape_code(survey.shape),
            items: survey.items,
            bytes: survey.bytes,
            allocated: survey.allocated,
            longest_name: survey.longest_name,
            snapshot: *snapshot,
            digest_members: 0,
            app_meta,
        };
        let len = io.machine.handle_surveyed(TaskId(0), &totals, io.now, &mut io.scratch[..]);
        send(io, Lane::CONTROL, len);
    }

    /// The task's turn has come: its items are walked.
    fn walk(&mut self, io: &Io<'_>) {
        let Some(terms) = io.machine.terms(Side::Provider) else { return };
        self.integrity = terms.integrity;
        self.root = SharedRoot::new(terms.integrity);
        if let Some(walker) = &self.walker {
            walker.go(walk::Terms {
                integrity: terms.integrity,
                // Who may have small items already is asked before they are read.
                eager: if self.asked.fresh || terms.small { EAGER_MAX.min(terms.chunk.bytes()) } else { 0 },
                root: self.root.clone(),
            });
        }
    }

    fn surveyed(&self, survey: &Survey, io: &Io<'_>) {
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
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one report")]
    fn read(
        &mut self,
        lane: Lane,
        id: ItemId,
        offset: u64,
        piece: ReadPiece,
        chunk: Option<Chunk>,
        run: Option<RunSum>,
        io: &mut Io<'_>,
    ) -> Result<(), TransferError> {
        if let Some(reading) = self.reading.get_mut(&id) {
            let (logical, sent) = match piece {
                ReadPiece::Data { len, .. } => (len.into(), len.into()),
                ReadPiece::Hole { len } => (len, 0),
                ReadPiece::End => (0, 0),
            };
            io.control.add_bytes(logical, sent);
            if let Some(run) = run {
                reading.fold.push_again(run).map_err(|error| defect(io, &error.to_string()))?;
            }
        }
        let wanted = io.machine.handle_read(lane, id, offset, piece, io.now);
        if wanted && chunk.as_ref().is_some_and(Chunk::is_piped) {
            self.record(id).unseen = true;
        }
        if let (Some(chunk), true) = (chunk, wanted) {
            self.waiting[lane.index()].push_back(Waiting { id, offset, chunk });
        }
        Ok(())
    }

    pub(super) fn command(&mut self, command: Command, io: &mut Io<'_>) -> Result<(), TransferError> {
        match command {
            Command::Survey { task } => self.survey(task, io),
            Command::Walk { .. } => self.walk(io),
            Command::Read { lane, id, offset, len, .. } => self.read_command(lane, id, offset, len, io),
            Command::Close { id } => self.close(id, io)?,
            Command::Reoffer { id } => {
                if let Some(reading) = self.reading.remove(&id) {
                    let record = self.record(id);
                    // A stream is read from its start again.
                    let keep = !matches!(record.item.what, What::Stream);
                    record.fold = keep.then_some(reading.fold);
                }
                self.again.push_back(id);
            }
            Command::Skipped { id, size, checksum } => self.skipped(id, size, checksum, io)?,
            Command::Forget { before } => {
                while self.first < before.0 {
                    let forgotten = self.records.pop_front();
                    self.first += 1;
                    if let Some(record) = forgotten.filter(|record| record.unseen) {
                        self.check(record.item);
                    }
                }
                self.again.retain(|id| *id >= before);
            }
            Command::SumUp { task, .. } => {
                self.sum_up = Some(task);
                self.sum_up(io);
            }
            _ => return Err(defect(io, "a joiner's command at a provider")),
        }
        Ok(())
    }

    /// Looks at an item's source once more.
    fn check(&mut self, item: Item) {
        let content = Arc::new(Opened::new(Arc::clone(&self.source), item));
        self.checks += 1;
        // A reader that has ended has reported why.
        self.reader(None).send(ReadOp::Check(content));
    }

    /// Tells the root, if it is asked for and what was sent is what was offered.
    fn sum_up(&mut self, io: &mut Io<'_>) {
        let Some(task) = self.sum_up.take_if(|_| self.checks == 0) else { return };
        let builder = self.root.lock();
        let (items, bytes) = builder.totals();
        let root = builder.finish();
        drop(builder);
        self.summed = Some((items, bytes, root));
        io.machine.handle_root(Side::Provider, task, (items, bytes, root), io.now);
        io.control.emit(&Event::Agreed { root });
    }

    fn record(&mut self, id: ItemId) -> &mut Record {
        let at = (id.0 - self.first) as usize;
        self.records.get_mut(at).expect("items that the machine names are not forgotten")
    }

    fn read_command(&mut self, lane: Lane, id: ItemId, offset: u64, len: u32, io: &mut Io<'_>) {
        if let Some(ready) = &self.record(id).ready {
            let (chunk, crc) = (ready.bytes().into(), ready.crc);
            io.control.add_bytes(len.into(), len.into());
            if io.machine.handle_read(lane, id, offset, ReadPiece::Data { len, crc }, io.now) {
                self.waiting[lane.index()].push_back(Waiting { id, offset, chunk });
            }
            return;
        }
        let integrity = self.integrity;
        let content = if let Some(reading) = self.reading.get(&id) {
            Arc::clone(&reading.content)
        } else {
            let record = self.record(id);
            let fold = record.fold.take().unwrap_or_else(|| Box::new(ItemFold::new(integrity)));
            let item = record.item.clone();
            let content = Arc::new(Opened::new(Arc::clone(&self.source), item));
            self.reading.insert(id, Reading { content: Arc::clone(&content), fold });
            content
        };
        // A reader that has ended has reported why.
        self.reader(Some(lane)).send(ReadOp::Read(Read { id, offset, len, content, integrity }));
    }

    fn close(&mut self, id: ItemId, io: &mut Io<'_>) -> Result<(), TransferError> {
        let (integrity, root) = (self.integrity, self.root.clone());
        if let Some(ready) = self.record(id).ready.take() {
            let (size, checksum) = (ready.range.len() as u64, ready.checksum);
            self.record(id).closed = Some((size, checksum));
            io.machine.handle_closed(id, size, checksum, io.now);
            return Ok(());
        }
        let summed = std::mem::replace(&mut self.record(id).summed, true);
        let (content, fold) = match self.reading.remove(&id) {
            Some(reading) => (Some(reading.content), Some(reading.fold)),
            None => (None, self.record(id).fold.take()),
        };
        // What was closed before is the same still, or its content says that it changed.
        let (size, checksum) = match (self.record(id).closed, fold) {
            (Some(closed), _) => closed,
            (None, Some(fold)) => {
                let size = fold.frontier();
                let item = &self.record(id).item;
                if matches!(item.what, What::File { size: all, .. } if all != size) {
                    let words = format!("{}: the joiner says it has bytes that were not sent", item.name);
                    return Err(TransferError::new(Reason::Protocol, Side::Joiner, Phase::Stream, words));
                }
                (size, fold.finish(size).map_err(|error| defect(io, &error.to_string()))?)
            }
            (None, None) => (0, Checksum::empty(integrity)),
        };
        self.record(id).closed = Some((size, checksum));
        let root = (!summed).then_some(root);
        let Some(content) = content else {
            // Nothing was read: it is empty, or the joiner has all of it already.
            if let Some(root) = root {
                let item = &self.record(id).item;
                root.add(id, item, size, &checksum)
                    .map_err(|error| TransferError::source(error, Phase::Stream))?;
            }
            io.machine.handle_closed(id, size, checksum, io.now);
            return Ok(());
        };
        // A reader that has ended has reported why.
        self.reader(None).send(ReadOp::Close(Close { id, content, size, checksum, root }));
        Ok(())
    }

    /// The joiner kept the first bytes of the item, or all of them, from an earlier run.
    pub(super) fn kept(
        &mut self,
        id: ItemId,
        offset: u64,
        integrity: Integrity,
        sums: &[u8],
        io: &Io<'_>,
    ) -> Result<(), TransferError> {
        let record = self.record(id);
        let known = record.fold.as_ref().map_or(0, |fold| fold.frontier());
        if record.closed.is_some() || known >= offset {
            return Ok(());
        }
        let whole = matches!(record.item.what, What::File { size, .. } if size == offset);
        let understood = if whole {
            let checksum = Checksum::from_sums(integrity, sums);
            record.closed = checksum.map(|checksum| (offset, checksum));
            checksum.is_some()
        } else {
            let prefix = Prefix::new(integrity, offset, sums);
            record.fold = prefix.as_ref().map(|prefix| Box::new(ItemFold::from_prefix(prefix)));
            prefix.is_some()
        };
        if understood {
            io.control.add_resumed(offset - known);
            return Ok(());
        }
        let words = "what the joiner says it kept of an item has no checksum of so many bytes";
        let error = TransferError::new(Reason::Protocol, Side::Joiner, io.machine.phase(), words);
        Err(TransferError { item: Some(record.item.name.clone()), ..error })
    }

    /// The joiner has the item already, with this content.
    fn skipped(
        &mut self,
        id: ItemId,
        size: u64,
        checksum: Checksum,
        io: &Io<'_>,
    ) -> Result<(), TransferError> {
        let root = self.root.clone();
        let record = self.record(id);
        let phase = io.machine.phase();
        if record.closed.is_some_and(|closed| closed != (size, checksum)) {
            let words = "what the joiner has of an item is not what was sent";
            let error = TransferError::new(Reason::Integrity, Side::Joiner, phase, words);
            return Err(TransferError { item: Some(record.item.name.clone()), ..error });
        }
        if !std::mem::replace(&mut record.summed, true) {
            root.add(id, &record.item, size, &checksum)
                .map_err(|error| TransferError::source(error, phase))?;
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
            if let Some(walker) = &self.walker {
                walker.consumed(&walked);
            }
            let offered = io.machine.handle_item(&walked.item.as_wire(), io.now, &mut io.scratch[..]);
            send(io, offered.lane, offered.len);
            let link = matches!(walked.item.what, What::HardLink { .. });
            if link {
                self.root
                    .add(offered.id, &walked.item, 0, &Checksum::None)
                    .map_err(|error| TransferError::source(error, Phase::Stream))?;
            }
            let summed = link || walked.summed;
            self.records.push_back(Record {
                item: walked.item,
                summed,
                closed: None,
                fold: None,
                ready: walked.ready,
                unseen: false,
            });
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
    pub(super) fn payload(&mut self, lane: usize, payload: &Payload) -> Chunk {
        loop {
            let waiting =
                self.waiting[lane].pop_front().expect("headers are emitted for bytes that were read");
            // What precedes it was read for items that failed before their headers were emitted.
            if waiting.id == payload.id && waiting.offset == payload.offset {
                assert_eq!(waiting.chunk.len(), payload.len as usize, "a payload is what was read");
                return waiting.chunk;
            }
        }
    }

    pub(super) fn end(&mut self) -> super::Totals {
        self.readers.clear();
        self.walker = None;
        self.walked.clear();
        self.records.clear();
        self.waiting.clear();
        let (items, bytes, root) =
            self.summed.take().unwrap_or((0, 0, Root { integrity: Integrity::None, hash: [0; 32] }));
        super::Totals { items, bytes, root, caveat: None, app_meta: Vec::new() }
    }
}

/// Whether every lane can take more: offers are built only as fast as they are sent.
fn room(io: &Io<'_>) -> bool {
    io.lanes.iter().flatten().all(|end| !end.building.is_full())
}

/// The task will not be given.
fn refuse(task: TaskId, message: &str, app_reply: &[u8], io: &mut Io<'_>) {
    let refused = Refused { reason: Reason::Refused, message, app_reply };
    let len = io.machine.handle_refused(task, &refused, io.now, &mut io.scratch[..]);
    *io.refused = Some(TransferError::refused(&refused));
    send(io, Lane::CONTROL, len);
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
