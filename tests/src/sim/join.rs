//! The joiner's half of a session: places payloads, compares items with their checksums, lands them.

use std::collections::BTreeMap;
use std::rc::Rc;

use longhaul_core::id::{ItemId, Lane, TaskId};
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, Prefix, RunHasher, RunSum};
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{Command, Event, Receive};
use longhaul_core::wire::Frame;
use longhaul_state::item::Item;
use longhaul_state::landing::journal::Content;
use longhaul_state::source::Survey;
use longhaul_state::transfer::survey_of;

use super::case::Case;
use super::content::Piece;
use super::disk::Ino;
use super::lander::{Host, Lander, Report, SinkOp};
use super::member::{Io, Job};
use super::session::{Machine, Said};
use super::state::State;

/// Chunks that may be on their way to the disk before the lanes are read no more.
const WRITES: usize = 12;

/// An item that arrives with its offer: small, on one lane.
struct Eager {
    attempt: u8,
    item: Item,
    pieces: Vec<Piece>,
    run: Option<RunSum>,
}

/// An item that was opened before its content came.
struct Open {
    /// None between a rewind and the next offer: nothing of it counts then.
    attempt: Option<u8>,
    item: Item,
    file: Option<Ino>,
    fold: Box<ItemFold>,
    /// All of it was there, with this checksum.
    kept: Option<Checksum>,
    /// Chunks on their way to the disk.
    writes: usize,
    /// How far the journal was told.
    told: u64,
    /// All has come: what must be compared once it is written.
    end: Option<(u64, Checksum)>,
}

/// One task: where it lands.
struct Task {
    survey: Survey,
    lander: Lander,
    synced: bool,
    published: bool,
}

pub(crate) struct Join {
    integrity: Integrity,
    tasks: Vec<Task>,
    /// The task under way.
    task: usize,
    reports: Vec<Report>,
    offered: Option<(ItemId, bool, u8, Item)>,
    eager: BTreeMap<ItemId, Eager>,
    open: BTreeMap<ItemId, Open>,
    runs: BTreeMap<(Lane, ItemId), RunHasher>,
    /// Chunks on their way to the disk, of items given up too.
    writes: usize,
    /// Everything is durable; the plan has not heard of it.
    pub(crate) durable: bool,
    /// Everything is durable, and the plan decides.
    pub(crate) waits: bool,
    /// Operations of the landing that were done.
    pub(crate) done: u64,
    /// Items that an earlier process had left, in part or whole.
    pub(crate) kept: u64,
}

impl Join {
    /// The half that takes these transfers, a task each.
    pub(crate) fn new(case: &Case, transfers: &[usize], states: &[Rc<State>], host: &Host<'_>) -> Self {
        let task = |(n, transfer): (usize, &usize)| {
            let destination = Case::destination(*transfer);
            let state = Rc::clone(&states[*transfer]);
            let lander = Lander::new(&destination, case, state, n, host);
            Task { survey: Survey::default(), lander, synced: false, published: false }
        };
        Self {
            integrity: case.integrity,
            tasks: transfers.iter().enumerate().map(task).collect(),
            task: 0,
            reports: Vec::new(),
            offered: None,
            eager: BTreeMap::new(),
            open: BTreeMap::new(),
            runs: BTreeMap::new(),
            writes: 0,
            durable: false,
            waits: false,
            done: 0,
            kept: 0,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.iter().all(|task| task.lander.is_idle())
    }

    /// Some destination has something of an earlier process.
    pub(crate) fn holds(&self) -> bool {
        self.tasks.iter().any(|task| task.lander.holds())
    }

    /// Every task is published.
    pub(crate) fn has_published(&self) -> bool {
        self.tasks.iter().all(|task| task.published)
    }

    /// What the machine tells people.
    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Streaming { side: Side::Joiner, task } => self.task = task.index(),
            Event::Durable => (self.durable, self.waits) = (true, true),
            _ => {}
        }
    }

    /// A connection is closed: what had begun to come on it goes on nowhere.
    pub(crate) fn lane_closed(&mut self, lane: Lane) {
        self.runs.retain(|key, _| key.0 != lane);
    }

    fn lander(&mut self) -> &mut Lander {
        &mut self.tasks[self.task].lander
    }

    /// Whether there is a buffer for what a data lane brings.
    pub(crate) const fn has_room(&self) -> bool {
        self.writes < WRITES
    }

    /// Bytes held of items that travel with their offers.
    pub(crate) fn held(&self) -> u64 {
        self.eager.values().flat_map(|eager| &eager.pieces).map(|piece| piece.len).sum()
    }

    /// A frame that the machine has just handled.
    pub(crate) fn frame(
        &mut self,
        (lane, task): (Lane, TaskId),
        frame: &Frame<'_>,
        payload: Option<Piece>,
        machine: &mut Machine,
        io: &mut Io<'_>,
    ) {
        match frame {
            Frame::Task(announced) if !machine.is_over() => {
                self.tasks[task.index()].survey = survey_of(announced);
            }
            Frame::Offer { id, eager, attempt, item } => {
                self.offered = Some((*id, *eager, *attempt, Item::from(item)));
            }
            Frame::Data { id, offset, len, run_end, .. } => {
                let Some(piece) = payload else { return };
                let Some(receive) = machine.poll_receive(lane) else { return };
                let wanted = machine.handle_payload(lane, *len, Some(piece.crc()));
                if let (true, Receive::Place(_)) = (wanted, receive) {
                    assert!(piece.broken == 0, "a broken payload was taken");
                    self.hash(lane, *id, *offset, *run_end, |hasher| {
                        piece.slices(|bytes, crc| hasher.update(bytes, crc));
                    });
                    self.place(*id, *offset, piece, io);
                }
            }
            Frame::Hole { id, attempt, offset, len, run_end }
                if !machine.is_over() && self.is_attempt(*id, *attempt) =>
            {
                self.hash(lane, *id, *offset, *run_end, |hasher| hasher.update_hole(*len));
            }
            // Only the end tells that a stream's last run is complete.
            Frame::End { id, attempt, .. } if self.is_attempt(*id, *attempt) => self.end_run(lane, *id),
            _ => {}
        }
    }

    /// Whether frames of `attempt` belong to the item as it comes now: others were dropped.
    fn is_attempt(&self, id: ItemId, attempt: u8) -> bool {
        let eager = self.eager.get(&id).map(|eager| eager.attempt);
        eager.or_else(|| self.open.get(&id).and_then(|open| open.attempt)) == Some(attempt)
    }

    fn hash(
        &mut self,
        lane: Lane,
        id: ItemId,
        offset: u64,
        run_end: bool,
        update: impl FnOnce(&mut RunHasher),
    ) {
        let key = (lane, id);
        if self.runs.get(&key).is_none_or(|hasher| hasher.next_offset() != offset) {
            self.runs.insert(key, RunHasher::new(self.integrity, offset));
        }
        update(self.runs.get_mut(&key).expect("it was just made"));
        if run_end {
            self.end_run(lane, id);
        }
    }

    fn end_run(&mut self, lane: Lane, id: ItemId) {
        if let Some(sum) = self.runs.remove(&(lane, id)).and_then(RunHasher::finish) {
            if let Some(eager) = self.eager.get_mut(&id) {
                eager.run = Some(sum);
            } else if let Some(open) = self.open.get_mut(&id) {
                open.fold.push(sum).expect("each run comes once an attempt");
            }
        }
    }

    fn place(&mut self, id: ItemId, offset: u64, piece: Piece, io: &mut Io<'_>) {
        if let Some(eager) = self.eager.get_mut(&id) {
            return eager.pieces.push(piece);
        }
        let open = self.open.get_mut(&id).expect("content comes for open items");
        let file = open.file.expect("content comes once the item is open");
        open.writes += 1;
        self.writes += 1;
        let delay = 1 + io.random.below(400_000);
        io.later(delay, Job::Wrote { id, file, offset, piece });
    }

    pub(crate) fn command(
        &mut self,
        command: Command,
        machine: &mut Machine,
        said: &mut Said,
        io: &mut Io<'_>,
    ) {
        match command {
            Command::Request { task } => {
                said.encode(|out| (Lane::CONTROL, machine.handle_request(task, b"", b"", out)));
            }
            Command::Begin { task } => {
                let Task { survey, lander, .. } = &mut self.tasks[task.index()];
                lander.push(SinkOp::Begin { survey: *survey, integrity: self.integrity });
            }
            // Nothing is written for a hole.
            Command::Hole { .. } => {}
            Command::Open { id } => {
                let (offered, eager, attempt, item) = self.offered.take().expect("opens answer offers");
                assert_eq!(offered, id, "commands are drained after every frame");
                if !item.as_wire().what.has_content() {
                    let (pieces, checksum) = (Vec::new(), Checksum::None);
                    self.lander().push(SinkOp::Put { id, item, pieces, size: 0, checksum });
                } else if eager {
                    self.eager.insert(id, Eager { attempt, item, pieces: Vec::new(), run: None });
                } else {
                    let lander = self.lander();
                    let op = SinkOp::Open { id, item: item.clone() };
                    lander.push(if lander.holds() { SinkOp::Reopen { id, item: item.clone() } } else { op });
                    let fold = Box::new(ItemFold::new(self.integrity));
                    let open = Open {
                        attempt: Some(attempt),
                        item,
                        file: None,
                        fold,
                        kept: None,
                        writes: 0,
                        told: 0,
                        end: None,
                    };
                    self.open.insert(id, open);
                }
            }
            Command::Finish { id, size, checksum } => {
                if let Some(eager) = self.eager.remove(&id) {
                    self.finish_eager(id, eager, size, checksum, machine, io);
                } else if let Some(open) = self.open.get_mut(&id) {
                    open.end = Some((size, checksum));
                    self.finish_open(id, machine, io);
                }
            }
            Command::Discard { id } => {
                self.runs.retain(|key, _| key.1 != id);
                self.eager.remove(&id);
                if self.open.remove(&id).is_some_and(|open| open.file.is_some()) {
                    self.lander().push(SinkOp::Discard { id });
                }
            }
            Command::TellKept { id, offset } => {
                let open = &self.open[&id];
                let sums = match open.kept {
                    Some(checksum) => checksum.as_sums().to_vec(),
                    None => open.fold.prefix().expect("it ends where a run does").sums().to_vec(),
                };
                said.encode(|out| (Lane::CONTROL, machine.handle_kept_sums(id, offset, &sums, out)));
            }
            Command::Rewind { id, to } => {
                self.runs.retain(|key, _| key.1 != id);
                let open = self.open.get_mut(&id).expect("what is rewound is open");
                (open.attempt, open.end) = (None, None);
                open.fold.rewind(to).expect("what stays is in the fold");
            }
            Command::Continue { id, attempt } => {
                if let Some(open) = self.open.get_mut(&id) {
                    open.attempt = Some(attempt);
                }
            }
            Command::SumUp { task, .. } => self.tasks[task.index()].lander.push(SinkOp::SumUp),
            Command::MakeDurable => {
                self.tasks.iter_mut().for_each(|task| task.lander.push(SinkOp::Sync));
            }
            other => panic!("{other:?} at a joiner"),
        }
    }

    fn finish_eager(
        &mut self,
        id: ItemId,
        eager: Eager,
        size: u64,
        expected: Checksum,
        machine: &mut Machine,
        io: &Io<'_>,
    ) {
        let mut fold = ItemFold::new(self.integrity);
        let folded = eager.run.is_none_or(|run| fold.push(run).is_ok());
        if self.integrity == Integrity::None || folded && fold.finish(size) == Ok(expected) {
            let Eager { item, pieces, .. } = eager;
            self.lander().push(SinkOp::Put { id, item, pieces, size, checksum: expected });
        } else {
            machine.handle_finished(id, false, io.now);
        }
    }

    /// Completes an item whose bytes are all written.
    fn finish_open(&mut self, id: ItemId, machine: &mut Machine, io: &Io<'_>) {
        let Some(open) = self.open.get(&id) else { return };
        let (0, Some((size, expected))) = (open.writes, open.end) else { return };
        let open = self.open.remove(&id).expect("just looked");
        let matched = match open.kept {
            Some(checksum) => checksum == expected,
            None => self.integrity == Integrity::None || open.fold.finish(size) == Ok(expected),
        };
        if matched {
            self.lander().push(SinkOp::Finish { id, item: open.item, size, checksum: expected });
        } else {
            self.lander().push(SinkOp::Discard { id });
            machine.handle_finished(id, false, io.now);
        }
    }

    /// A chunk reaches the page cache, or does not.
    pub(crate) fn wrote(
        &mut self,
        (id, file, offset, piece): (ItemId, Ino, u64, Piece),
        machine: &mut Machine,
        said: &mut Said,
        io: &mut Io<'_>,
    ) {
        self.writes -= 1;
        let current = self.open.get_mut(&id).filter(|open| open.file == Some(file));
        // A chunk of an attempt that failed goes into a file that is gone.
        let failed = io.random.one_in(io.rates.write_errors);
        let full = !failed && io.disk.write(file, offset, piece).is_err();
        machine.handle_work(1, io.now);
        if let Some(open) = current {
            if full {
                return said.fail(machine, Reason::NoSpace, Phase::Stream);
            }
            if failed {
                return self.lander().push(SinkOp::Doubt { id });
            }
            open.writes -= 1;
            self.finish_open(id, machine, io);
        }
    }

    /// The operation of a task's landing machine that was in flight is done.
    pub(crate) fn landing(&mut self, task: usize, machine: &mut Machine, said: &mut Said, io: &mut Io<'_>) {
        let mut reports = std::mem::take(&mut self.reports);
        self.tasks[task].lander.done(&mut reports, io);
        self.report(task, &mut reports, machine, said, io);
        self.reports = reports;
    }

    /// Begins what the landing machines are asked for, and hands on what they say.
    pub(crate) fn pump(&mut self, machine: &mut Machine, said: &mut Said, io: &mut Io<'_>) -> bool {
        let mut moved = false;
        self.checkpoint();
        for task in 0..self.tasks.len() {
            let mut reports = std::mem::take(&mut self.reports);
            self.tasks[task].lander.pump(&mut reports, io);
            moved |= self.report(task, &mut reports, machine, said, io);
            self.reports = reports;
        }
        moved
    }

    fn report(
        &mut self,
        at: usize,
        reports: &mut Vec<Report>,
        machine: &mut Machine,
        said: &mut Said,
        io: &Io<'_>,
    ) -> bool {
        let some = !reports.is_empty();
        let task = TaskId(at as u16);
        for report in reports.drain(..) {
            match report {
                Report::Worked => {
                    self.done += 1;
                    machine.handle_work(1, io.now);
                }
                Report::Begun => machine.handle_begun(task, io.now),
                Report::Opened { id, file, kept } => self.opened(id, file, kept, machine, io),
                Report::Landed { id } => machine.handle_finished(id, true, io.now),
                Report::DurableBefore { id } => {
                    // A checkpoint that ends when the next task has begun says nothing about that one.
                    if at == self.task {
                        machine.handle_durable_before(id, io.now);
                    }
                }
                Report::Summed { items, bytes, root } => {
                    machine.handle_root(Side::Joiner, task, (items, bytes, root), io.now);
                }
                Report::Synced => {
                    self.tasks[at].synced = true;
                    if self.tasks.iter().all(|task| task.synced) {
                        machine.handle_durable(io.now);
                    }
                }
                Report::Published => {
                    self.tasks[at].published = true;
                    if self.has_published() {
                        said.encode(|out| (Lane::CONTROL, machine.handle_installed(b"", out)));
                    }
                }
                Report::Failed(error) => said.fail(machine, error.reason(), machine.phase()),
            }
        }
        some
    }

    fn opened(&mut self, id: ItemId, file: Ino, kept: Option<Content>, machine: &mut Machine, io: &Io<'_>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.file = Some(file);
        let Some(content) = kept else { return machine.handle_opened(id, io.now) };
        let len = content.len(open.item.as_wire().what.size().unwrap_or(0));
        match content {
            Content::Whole(checksum) => open.kept = Some(checksum),
            Content::Part(prefix) => *open.fold = ItemFold::from_prefix(&prefix),
        }
        open.told = len;
        self.kept += 1;
        machine.handle_kept(id, len, io.now);
    }

    /// What has come and is written of open items, as far as the journal was not told.
    fn parts(&mut self) -> Vec<(ItemId, Prefix)> {
        let part = |(id, open): (&ItemId, &mut Open)| {
            let prefix = open.fold.prefix().filter(|_| open.writes == 0 && open.kept.is_none())?;
            let more = prefix.offset() > open.told && open.file.is_some();
            open.told = open.told.max(prefix.offset());
            more.then_some((*id, prefix))
        };
        self.open.iter_mut().filter_map(part).collect()
    }

    /// Has the journal's checkpoint go on, when there is something to claim.
    fn checkpoint(&mut self) {
        let ready = |open: &Open| {
            open.writes == 0 && open.kept.is_none() && open.file.is_some() && open.fold.frontier() > open.told
        };
        let some = self.open.values().any(ready);
        if self.lander().wants_journal(some) {
            let parts = self.parts();
            self.lander().push(SinkOp::Journal { parts });
        }
    }

    /// The plan installs.
    pub(crate) fn publish(&mut self) {
        self.tasks.iter_mut().for_each(|task| task.lander.push(SinkOp::Publish));
    }

    /// The session is over, and this half has nothing more to hope for.
    pub(crate) fn give_up(&mut self) {
        self.eager.clear();
        self.open.clear();
        for task in self.tasks.iter_mut().filter(|task| !task.lander.is_published()) {
            task.lander.abort();
        }
    }
}
