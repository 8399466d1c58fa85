//! The joiner's role: places payloads, compares items with their checksums, lands them.
//!
//! ```text
//! sink thread    all calls to the sink, in order, in batches; sums the root
//! the engine     writes of each lane's chunks into files that the sink has opened
//! ```
//!
//! Where the disk is slower than the wire, what comes waits in its buffers until enough is claimed: then the lanes'
//! readers have none, and the provider waits too.

mod activity;
mod checkpoints;
mod items;
mod land;
mod reports;
mod write;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use longhaul_core::id::{ItemId, Lane};
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, Root, RunSum};
use longhaul_core::plan::{self, Plan};
use longhaul_core::reason::{Reason, Side};
use longhaul_core::session::{Command, Receive};
use longhaul_core::time::Instant;
use longhaul_core::wire::Frame;
use longhaul_state::item::Item;
use longhaul_state::sink::{Place, Sink};
use longhaul_state::source::Survey;
use longhaul_state::transfer::{Event, Options, Stage, TransferError, survey_of};

use super::{Io, LANES};
use crate::channel::{Sender, channel};
use crate::chunk::Chunk;
use crate::direct::LARGE;
use crate::engine::{Engine, Helpers};
use crate::lane::Inbound;
use activity::activity;
use checkpoints::Checkpoints;
use items::{Eager, Open, Sums, Waiting};
use land::{Lander, SinkOp};
pub(crate) use reports::Report;
pub use write::WriteOp;

pub(crate) struct Join {
    lander: Lander,
    disks: Vec<Option<Sender<WriteOp>>>,
    helpers: Helpers,
    plan: Plan<1>,
    /// Which state, and which part of it.
    wanted: (Vec<u8>, Vec<u8>),
    announced: Option<Survey>,
    app_meta: Vec<u8>,
    integrity: Integrity,
    eager: HashMap<ItemId, Eager>,
    open: HashMap<ItemId, Open>,
    /// The item whose offer was handled last, until its command comes.
    offered: Option<(ItemId, bool, u8, Item)>,
    /// For the sink thread, sent as one batch.
    batch: Vec<SinkOp>,
    summed: Option<(u64, u64, Root)>,
    caveat: Option<&'static str>,
    /// The disks' activity when it was asked last since the call that is waited for began.
    disk_activity: Option<u64>,
    checkpoints: Checkpoints,
    waiting: VecDeque<Waiting>,
    /// The sink keeps a journal.
    resumes: bool,
    /// The sink prepares, syncs or publishes: calls that may rightly take long, while the disk moves.
    at_disk: bool,
}

impl Join {
    /// Starts the helpers.
    pub(crate) fn start(mut sink: Box<dyn Sink>, options: &Options, helpers: &Helpers) -> Self {
        let (resumes, holds) = sink.resuming().map_or((false, false), |sink| (true, sink.holds()));
        Self {
            lander: Lander::start(sink, holds, helpers),
            disks: (0..LANES).map(|_| None).collect(),
            helpers: helpers.clone(),
            plan: Plan::new(1),
            wanted: (options.state_id.clone(), options.selector.clone()),
            announced: None,
            app_meta: Vec::new(),
            integrity: Integrity::None,
            eager: HashMap::new(),
            open: HashMap::new(),
            offered: None,
            batch: Vec::new(),
            summed: None,
            caveat: None,
            disk_activity: None,
            checkpoints: Checkpoints::default(),
            waiting: VecDeque::new(),
            resumes,
            at_disk: false,
        }
    }

    /// A frame that the machine has just handled.
    pub(super) fn frame(
        &mut self,
        lane: Lane,
        frame: &Frame<'_>,
        payload: Option<Chunk>,
        inbound: &Inbound,
        io: &mut Io<'_>,
    ) -> Result<(), TransferError> {
        match frame {
            Frame::Task(task) if self.announced.is_none() && !io.machine.is_over() => {
                let survey = survey_of(task);
                self.announced = Some(survey);
                self.app_meta = task.app_meta.to_vec();
                self.integrity = task.integrity;
                io.control.set_totals(task.items, task.bytes);
                io.control.emit(&Event::Prepared {
                    shape: survey.shape,
                    items: task.items,
                    bytes: task.bytes,
                });
            }
            Frame::Offer { id, eager, attempt, item } => {
                self.offered = Some((*id, *eager, *attempt, Item::from(item)));
            }
            Frame::Data { id, offset, len, .. } => {
                let receive = io.machine.poll_receive(lane);
                let wanted = receive.is_some() && io.machine.handle_payload(lane, *len, inbound.crc);
                if let (true, Some(Receive::Place(_)), Some(chunk)) = (wanted, receive, payload) {
                    io.control.add_bytes((*len).into(), (*len).into());
                    self.payload(lane, *id, *offset, chunk, inbound.run, io)?;
                }
            }
            Frame::Hole { id, len, .. }
            | Frame::End { id, end: longhaul_core::wire::End { size: len, .. }, .. } => {
                if matches!(frame, Frame::Hole { .. }) {
                    io.control.add_bytes(*len, 0);
                }
                let attempt = inbound.header.flags.attempt();
                if let Some(run) = inbound.run.filter(|_| self.is_attempt(*id, attempt)) {
                    self.run(*id, run, io)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn payload(
        &mut self,
        lane: Lane,
        id: ItemId,
        offset: u64,
        chunk: Chunk,
        run: Option<RunSum>,
        io: &Io<'_>,
    ) -> Result<(), TransferError> {
        self.checkpoints.come(chunk.len());
        if let Some(eager) = self.eager.get_mut(&id) {
            eager.lane = lane;
            eager.pieces.push(chunk);
        } else {
            self.place(lane, id, offset, chunk, io)?;
        }
        // Behind its last write: what a run makes claimable is known to wait for that.
        run.map_or(Ok(()), |run| self.run(id, run, io))
    }

    /// Content of an item that is open.
    fn place(
        &mut self,
        lane: Lane,
        id: ItemId,
        offset: u64,
        chunk: Chunk,
        io: &Io<'_>,
    ) -> Result<(), TransferError> {
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        match &open.place {
            Some(Place::File(file)) => {
                open.writes.push(offset);
                open.received += chunk.len() as u64;
                let queue = self.helpers.queue.clone();
                let whole = open.end.is_some_and(|(size, _)| size == chunk.len() as u64);
                let op = WriteOp::new(id, Arc::clone(file), offset, chunk, whole, queue);
                if self.must_wait() {
                    self.waiting.push_back(Waiting::Write(lane, op));
                } else {
                    self.write(lane, op, io.engine);
                }
            }
            Some(Place::Sink) => self.batch.push(SinkOp::Write { id, offset, chunk }),
            Some(Place::Discard) => {}
            None => return Err(defect(io, "content came for an item that is not open")),
        }
        Ok(())
    }

    fn write(&mut self, lane: Lane, op: WriteOp, engine: &dyn Engine) {
        let disk = self.disks[lane.index()].get_or_insert_with(|| {
            let (sender, ops) = channel();
            engine.start_writes(lane, ops, &self.helpers);
            sender
        });
        // An engine that writes no more has reported why.
        disk.send(op);
    }

    /// Whether content is not to be written yet: behind what waits already, too.
    fn must_wait(&self) -> bool {
        !self.waiting.is_empty() || self.is_full()
    }

    fn is_full(&self) -> bool {
        self.resumes && self.checkpoints.is_full(|| self.behind())
    }

    /// Bytes that have come, and that no checkpoint can claim yet.
    fn behind(&self) -> u64 {
        let waits = |open: &Open| open.whole.as_ref().map_or(0, |(_, chunk)| chunk.len() as u64);
        let open = self.open.values();
        let open = open.map(|open| open.received.saturating_sub(open.claimable) + waits(open));
        let eager = self.eager.values().flat_map(|eager| &eager.pieces).map(|piece| piece.len() as u64);
        open.chain(eager).sum()
    }

    /// Goes on with what has waited, if it need not any more.
    fn go_on(&mut self, io: &mut Io<'_>) {
        while !self.waiting.is_empty() && !self.is_full() {
            match self.waiting.pop_front() {
                Some(Waiting::Write(lane, op)) => self.write(lane, op, io.engine),
                Some(Waiting::Finish { id, size, checksum }) => self.finish_eager(id, size, &checksum, io),
                None => {}
            }
        }
    }

    /// Whether frames of `attempt` belong to the item as it comes now: others were dropped.
    fn is_attempt(&self, id: ItemId, attempt: u8) -> bool {
        let eager = self.eager.get(&id).map(|eager| eager.attempt);
        eager.or_else(|| self.open.get(&id).and_then(|open| open.attempt)) == Some(attempt)
    }

    fn run(&mut self, id: ItemId, run: RunSum, io: &Io<'_>) -> Result<(), TransferError> {
        if let Some(eager) = self.eager.get_mut(&id) {
            eager.run = Some(run);
        } else if let Some(open) = self.open.get_mut(&id) {
            let Sums::Fold(fold) = &mut open.sums else {
                return Err(defect(io, "content came of an item that was kept whole"));
            };
            let before = fold.frontier();
            fold.push(run).map_err(|error| defect(io, &error.to_string()))?;
            if fold.frontier() > before && matches!(open.place, Some(Place::File(_))) {
                open.come = fold.prefix().map(Box::new).or(open.come.take());
                open.note_written();
            }
        }
        Ok(())
    }

    pub(super) fn command(&mut self, command: Command, io: &mut Io<'_>) -> Result<(), TransferError> {
        match command {
            Command::Request { task } => {
                let (state_id, selector) = (&self.wanted.0, &self.wanted.1);
                let len = io.machine.handle_request(task, state_id, selector, &mut io.scratch[..]);
                if let Some(control_lane) = &mut io.lanes[0] {
                    control_lane.building.control(&io.scratch[..len]);
                }
            }
            Command::Begin { .. } => {
                let survey = self.announced.unwrap_or_default();
                self.at_disk = true;
                self.batch.push(SinkOp::Begin { survey, integrity: self.integrity });
            }
            Command::Open { id } => self.open(id, io)?,
            Command::Hole { id, offset, len, .. } => self.hole(id, offset, len),
            Command::Finish { id, size, checksum } => {
                if self.eager.contains_key(&id) {
                    if self.must_wait() {
                        self.waiting.push_back(Waiting::Finish { id, size, checksum });
                    } else {
                        self.finish_eager(id, size, &checksum, io);
                    }
                } else if let Some(open) = self.open.get_mut(&id) {
                    open.end = Some((size, checksum));
                    self.finish_open(id, io);
                }
            }
            Command::Discard { id } => {
                self.eager.remove(&id);
                self.waiting
                    .retain(|waiting| !matches!(waiting, Waiting::Finish { id: of, .. } if *of == id));
                // The sink opens it before it hears of this.
                if self.open.remove(&id).is_some() {
                    self.batch.push(SinkOp::Discard { id });
                }
            }
            // The place and what came of earlier runs stay; what is being written is what was sent.
            Command::Rewind { id, to } => {
                if let Some(open) = self.open.get_mut(&id) {
                    (open.attempt, open.end, open.received) = (None, None, to);
                    if let Sums::Fold(fold) = &mut open.sums {
                        fold.rewind(to).map_err(|error| defect(io, &error.to_string()))?;
                    }
                }
            }
            Command::Continue { id, attempt } => {
                if let Some(open) = self.open.get_mut(&id) {
                    open.attempt = Some(attempt);
                }
            }
            Command::TellKept { id, offset } => self.tell_kept(id, offset, io)?,
            Command::SumUp { .. } => self.batch.push(SinkOp::SumUp),
            Command::MakeDurable => {
                self.disk_activity = None;
                self.at_disk = true;
                self.batch.push(SinkOp::Sync);
            }
            _ => return Err(defect(io, "a provider's command at a joiner")),
        }
        // What one message brought goes to the sink thread as one batch: the driver calls `flush`.
        Ok(())
    }

    /// A hole that goes on where the last one ended is one with it.
    fn hole(&mut self, id: ItemId, offset: u64, len: u64) {
        if let Some(open) = self.open.get_mut(&id) {
            open.received += len;
        }
        match self.batch.last_mut() {
            Some(SinkOp::Hole { id: last, offset: start, len: before })
                if *last == id && start.checked_add(*before) == Some(offset) =>
            {
                *before += len;
            }
            _ => self.batch.push(SinkOp::Hole { id, offset, len }),
        }
    }

    fn open(&mut self, id: ItemId, io: &Io<'_>) -> Result<(), TransferError> {
        let Some((offered, eager, attempt, item)) = self.offered.take() else {
            return Err(defect(io, "an item is to be opened that was not offered"));
        };
        debug_assert_eq!(offered, id, "commands are drained after every frame");
        let has_content = item.as_wire().what.has_content();
        if !has_content {
            self.batch.push(SinkOp::Put { id, item, pieces: Vec::new(), size: 0, checksum: Checksum::None });
        } else if eager {
            let lane = Lane::CONTROL;
            self.eager.insert(id, Eager { attempt, lane, item, pieces: Vec::new(), run: None });
        } else {
            self.batch.push(SinkOp::Open { id, item: item.clone() });
            let sums = Sums::Fold(Box::new(ItemFold::new(self.integrity)));
            self.open.insert(id, Open::new(Some(attempt), item, sums));
        }
        Ok(())
    }

    fn finish_eager(&mut self, id: ItemId, size: u64, expected: &Checksum, io: &mut Io<'_>) {
        let Some(eager) = self.eager.remove(&id) else { return };
        let mut fold = ItemFold::new(self.integrity);
        let folded = eager.run.is_none_or(|run| fold.push(run).is_ok());
        let matched = self.integrity == Integrity::None || folded && fold.finish(size) == Ok(*expected);
        if !matched {
            return io.machine.handle_finished(id, false, io.now);
        }
        let Eager { lane, item, mut pieces, .. } = eager;
        match pieces.pop_if(|piece| piece.len() as u64 == size && piece.len() >= LARGE) {
            // The sink opens the next one while the engine writes it.
            Some(whole) => {
                self.batch.push(SinkOp::Open { id, item: item.clone() });
                let mut open = Open::new(None, item, Sums::Kept(*expected));
                (open.whole, open.end) = (Some((lane, whole)), Some((size, *expected)));
                self.open.insert(id, open);
            }
            None => self.batch.push(SinkOp::Put { id, item, pieces, size, checksum: *expected }),
        }
    }

    /// Completes an item whose bytes are all written.
    fn finish_open(&mut self, id: ItemId, io: &mut Io<'_>) {
        let Some(open) = self.open.get(&id) else { return };
        let (true, Some((size, expected))) = (open.writes.is_empty(), open.end) else { return };
        let Some(open) = self.open.remove(&id) else { return };
        let matched = match open.sums {
            Sums::Kept(checksum) => checksum == expected,
            Sums::Fold(fold) => self.integrity == Integrity::None || fold.finish(size) == Ok(expected),
        };
        if matched {
            self.batch.push(SinkOp::Finish { id, item: open.item, size, checksum: expected });
        } else {
            self.batch.push(SinkOp::Discard { id });
            io.machine.handle_finished(id, false, io.now);
        }
    }

    /// The session is durable: the plan decides, and this side installs.
    pub(super) fn durable(&mut self, io: &mut Io<'_>) {
        self.plan.handle_durable(0);
        if self.plan.poll_command() == Some(plan::Command::Install) {
            io.machine.handle_installing();
            io.control.enter(Stage::Installing);
            self.at_disk = true;
            self.batch.push(SinkOp::Publish);
        }
    }

    /// When the driver is to look after the checkpoint, whatever comes until then.
    pub(super) fn checkpoint_due(&self) -> Option<Instant> {
        self.checkpoints.due(self.is_full()).filter(|_| !self.at_disk && self.resumes)
    }

    /// Goes on with the checkpoint when it is time.
    fn checkpoint(&mut self, now: Instant) {
        if self.checkpoint_due().is_none_or(|due| due > now) {
            return;
        }
        self.checkpoints.tell(self.behind(), now);
        let written = |(id, open): (&ItemId, &mut Open)| Some((*id, *open.written.take()?));
        let parts = self.open.iter_mut().filter_map(written).collect();
        self.batch.push(SinkOp::Checkpoint { parts });
    }

    /// Sends what has gathered to the sink thread.
    pub(super) fn flush(&mut self, now: Instant) {
        self.checkpoint(now);
        if !self.batch.is_empty() {
            self.lander.send(&mut self.batch);
        }
    }

    /// Whether the disk has moved since this was asked last, while we wait for it: a sync may take long. Asked for the
    /// first time, a call that has not returned is taken to be at work.
    pub(super) fn disk_progress(&mut self) -> u64 {
        let writes = self.open.values().any(|open| !open.writes.is_empty());
        if !self.at_disk && !writes && self.waiting.is_empty() {
            return 0;
        }
        match activity() {
            Some(now) => {
                let before = self.disk_activity.replace(now);
                u64::from(before != Some(now))
            }
            // Where the system does not tell, a call that has not returned is taken to be at work.
            None => 1,
        }
    }

    pub(super) fn end(&mut self, failed: bool) -> super::Totals {
        if failed {
            self.plan.handle_failed();
        }
        self.disks.clear();
        self.waiting.clear();
        self.eager.clear();
        self.open.clear();
        self.lander.end(failed);
        let none = Root { integrity: Integrity::None, hash: [0; 32] };
        let (items, bytes, root) = self.summed.take().unwrap_or((0, 0, none));
        let app_meta = std::mem::take(&mut self.app_meta);
        super::Totals { items, bytes, root, caveat: self.caveat, app_meta }
    }
}

fn defect(io: &Io<'_>, what: &str) -> TransferError {
    TransferError::new(Reason::Internal, Side::Joiner, io.machine.phase(), what)
}
