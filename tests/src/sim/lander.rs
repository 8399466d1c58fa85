//! A joiner's landing: the real machine of `longhaul-state`, its operations carried out on the model
//! disk one after another, each in its own time.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Prefix, Root};
use longhaul_state::item::Item;
use longhaul_state::landing::journal::{Agreed, Content};
use longhaul_state::landing::{FileOp, Landing, LandingOptions, LandingState, OpId};
use longhaul_state::root::RootBuilder;
use longhaul_state::sink::{SinkError, SinkErrorKind, WRITE};
use longhaul_state::source::Survey;

use super::agenda::Event;
use super::case::Case;
use super::content::Piece;
use super::disk::{Disk, EIO, Ino, View};
use super::executor::{Errors, Executor};
use super::judge;
use super::member::{Io, Job};
use super::state::State;

/// One call to the sink.
#[derive(Debug)]
pub(crate) enum SinkOp {
    Begin {
        survey: Survey,
        integrity: Integrity,
    },
    /// From what an earlier process left; else as the next.
    Reopen {
        id: ItemId,
        item: Item,
    },
    Open {
        id: ItemId,
        item: Item,
    },
    Finish {
        id: ItemId,
        item: Item,
        size: u64,
        checksum: Checksum,
    },
    Put {
        id: ItemId,
        item: Item,
        pieces: Vec<Piece>,
        size: u64,
        checksum: Checksum,
    },
    /// What was finished or put last is vouched for.
    Claim {
        item: Item,
        size: u64,
        checksum: Checksum,
    },
    Discard {
        id: ItemId,
    },
    /// A write failed: nothing of the item is gone on with.
    Doubt {
        id: ItemId,
    },
    SumUp,
    /// Goes on with the journal's checkpoint, with the first bytes of open items.
    Journal {
        parts: Vec<(ItemId, Prefix)>,
    },
    /// Makes durable what came so far, in the middle of everything.
    Checkpoint,
    Sync,
    Publish,
    CleanUp,
    Abort,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Report {
    Begun,
    Opened {
        id: ItemId,
        file: Ino,
        kept: Option<Content>,
    },
    Landed {
        id: ItemId,
    },
    Summed {
        items: u64,
        bytes: u64,
        root: Root,
    },
    /// An operation is done.
    Worked,
    /// Items before this one are durable.
    DurableBefore {
        id: ItemId,
    },
    Synced,
    Published,
    Failed(SinkError),
}

/// What a landing must know of the host that it is on.
pub(crate) struct Host<'a> {
    pub(crate) disk: &'a Disk,
    /// Who the process is among those who want locks.
    pub(crate) holder: u64,
    /// Its process is of a version that knows no journal of today's.
    pub(crate) is_older: bool,
}

pub(crate) struct Lander {
    /// Which of the session's tasks this is.
    task: usize,
    landing: Landing,
    executor: Executor,
    root: RootBuilder,
    queue: VecDeque<SinkOp>,
    at: Option<SinkOp>,
    in_flight: Option<(OpId, FileOp)>,
    destination: Box<[u8]>,
    /// What must be there in the end.
    expected: Rc<State>,
    /// Items that have landed: all before the first, and these.
    landed: (u32, BTreeSet<ItemId>),
    /// How many had when the checkpoint under way began.
    claim: u32,
    /// After so many items there is a checkpoint; 0: none.
    checkpoint_every: u64,
    /// After so many items the journal's checkpoint goes on; 0: there is no journal.
    journal_every: u64,
    /// Items since.
    unclaimed: u64,
    /// An earlier process has left a journal.
    holds: bool,
    integrity: Integrity,
}

impl Lander {
    pub(crate) fn new(
        destination: &[u8],
        case: &Case,
        expected: Rc<State>,
        task: usize,
        host: &Host<'_>,
    ) -> Self {
        let options = LandingOptions {
            replace: case.replace,
            resume: case.journal_every > 0,
            ..LandingOptions::default()
        };
        let mut executor = Executor::new(destination, host.holder);
        executor.journal.is_older = host.is_older;
        Self {
            task,
            landing: Landing::new(options),
            holds: case.journal_every > 0 && executor.has_journal(host.disk),
            executor,
            root: RootBuilder::new(Integrity::None),
            queue: VecDeque::new(),
            at: None,
            in_flight: None,
            destination: destination.into(),
            expected,
            landed: (0, BTreeSet::new()),
            claim: 0,
            checkpoint_every: case.checkpoint_every,
            journal_every: case.journal_every,
            unclaimed: 0,
            integrity: Integrity::None,
        }
    }

    /// Whether each item must be asked for before its content is sent.
    pub(crate) const fn holds(&self) -> bool {
        self.holds
    }

    /// Whether the journal's checkpoint is to go on; `parts`: there are first bytes of open items to claim.
    pub(crate) fn wants_journal(&self, parts: bool) -> bool {
        let at_it = |op: &SinkOp| matches!(op, SinkOp::Journal { .. } | SinkOp::Sync | SinkOp::Abort);
        let open = self.landing.state() == LandingState::Receiving;
        let some = parts || self.unclaimed >= self.journal_every || self.landing.has_unmarked();
        self.journal_every > 0 && open && some && !self.queue.iter().chain(&self.at).any(at_it)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.at.is_none() && self.queue.is_empty()
    }

    pub(crate) fn push(&mut self, op: SinkOp) {
        self.queue.push_back(op);
    }

    /// The session failed: nothing more of it is carried out; what was not published is given up.
    pub(crate) fn abort(&mut self) {
        self.queue.clear();
        self.landing.stop();
        self.queue.push_back(SinkOp::Abort);
    }

    /// Begins the next call, and goes on until an operation of it is in flight.
    pub(crate) fn pump(&mut self, reports: &mut Vec<Report>, io: &mut Io<'_>) {
        while self.in_flight.is_none() {
            if self.at.is_none() {
                let Some(op) = self.queue.pop_front() else { return };
                self.request(&op);
                self.at = Some(op);
            }
            if let Some((id, op)) = self.landing.poll_op() {
                let op = op.clone();
                let time = io.random.below(if matters(&op) { 3_000_000 } else { 150_000 });
                self.in_flight = Some((id, op));
                io.later(time, Job::Landing { task: self.task });
                return;
            }
            self.settle(reports, io);
        }
    }

    /// The operation in flight is done.
    pub(crate) fn done(&mut self, reports: &mut Vec<Report>, io: &mut Io<'_>) {
        if io.random.one_in(io.rates.deaths) {
            let (host, incarnation) = (io.host, io.incarnation);
            let power = io.random.one_in(2);
            return io.agenda.after(0, Event::Die { host, incarnation, power });
        }
        let Some((id, op)) = self.in_flight.take() else { return };
        let payload = match &self.at {
            Some(SinkOp::Put { pieces, .. }) => &pieces[..],
            _ => &[],
        };
        let errors = Errors {
            write: io.random.one_in(io.rates.write_errors),
            sync: io.random.one_in(io.rates.sync_errors),
        };
        let result = self.executor.execute(&op, payload, io.disk, io.locks, errors);
        io.trace.say(io.agenda.now(), || format!("host {}: {} {op:?}: {result:?}", io.host, io.session));
        self.landing.done(id, result);
        reports.push(Report::Worked);
        self.pump(reports, io);
    }

    fn request(&mut self, op: &SinkOp) {
        match op {
            SinkOp::Begin { survey, integrity } => {
                self.root = RootBuilder::new(*integrity);
                self.integrity = *integrity;
                // A small state has no journal: here every state has one, if any has.
                let bytes = survey.bytes.filter(|_| self.journal_every == 0);
                self.landing.begin(&Survey { bytes, ..*survey });
            }
            SinkOp::Reopen { id, item } => self.landing.reopen(*id, item, self.integrity),
            SinkOp::Claim { item, size, checksum } => self.landing.claim(item, *size, checksum),
            SinkOp::Doubt { id } => self.landing.doubt(*id),
            SinkOp::Journal { parts } => {
                self.unclaimed = 0;
                self.landing.checkpoint(parts);
            }
            SinkOp::Open { id, item } => self.landing.open(*id, item),
            SinkOp::Finish { id, size, .. } => self.landing.finish(*id, *size),
            SinkOp::Put { id, item, .. } => self.landing.put(*id, item),
            SinkOp::Discard { id } => self.landing.discard(*id),
            SinkOp::SumUp => {}
            SinkOp::Checkpoint | SinkOp::Sync => {
                self.claim = self.landed.0;
                self.landing.sync();
            }
            SinkOp::Publish => self.landing.publish(),
            SinkOp::CleanUp => self.landing.clean_up(),
            SinkOp::Abort => self.landing.abort(),
        }
    }

    /// The call is over: what came of it.
    fn settle(&mut self, reports: &mut Vec<Report>, io: &mut Io<'_>) {
        let Some(op) = self.at.take() else { return };
        if matches!(op, SinkOp::SumUp) {
            let (items, bytes) = self.root.totals();
            return reports.push(Report::Summed { items, bytes, root: self.root.finish() });
        }
        if let Err(error) = self.landing.outcome() {
            // Nothing of a failed session is carried out any more, least of all publishing.
            self.queue.retain(|op| matches!(op, SinkOp::Abort));
            return reports.push(Report::Failed(error));
        }
        match op {
            SinkOp::Begin { .. } => reports.push(Report::Begun),
            SinkOp::Reopen { id, item } => match self.landing.adopted() {
                Some(content) => {
                    let file = self.executor.file(id).expect("a file that was taken over is open");
                    judge::assert_kept(io.disk, file, &self.expected.items[id.0 as usize], &content);
                    reports.push(Report::Opened { id, file, kept: Some(content) });
                }
                None => self.queue.push_front(SinkOp::Open { id, item }),
            },
            SinkOp::Open { id, .. } => {
                let file = self.executor.file(id).expect("a file that was created is open");
                reports.push(Report::Opened { id, file, kept: None });
            }
            SinkOp::Finish { id, item, size, checksum } | SinkOp::Put { id, item, size, checksum, .. } => {
                let added = self.root.add(id, &item, size, &checksum);
                if self.journal_every > 0 {
                    self.queue.push_front(SinkOp::Claim { item: item.clone(), size, checksum });
                }
                reports.push(match added {
                    Ok(()) => {
                        self.note_landed(id);
                        Report::Landed { id }
                    }
                    Err(_) => Report::Failed(SinkError::item(item.name, SinkErrorKind::NoSuchLink)),
                });
            }
            SinkOp::Checkpoint => {
                let root = self
                    .executor
                    .durable_root(io.disk)
                    .expect("a power cut leaves the staged state in its place");
                let id = ItemId(self.claim);
                judge::assert_durable_before(io.disk, root, &self.expected, id);
                reports.push(Report::DurableBefore { id });
            }
            SinkOp::Sync => {
                self.assert_durable(io.disk);
                let ((items, bytes), root) = (self.root.totals(), self.root.finish());
                self.landing.agreed(Agreed { items, bytes, root });
                reports.push(Report::Synced);
            }
            SinkOp::Publish => {
                judge::assert_published(io.disk, &self.destination, &self.expected);
                self.queue.push_back(SinkOp::CleanUp);
                reports.push(Report::Published);
            }
            SinkOp::Abort => self.executor.close(io.locks),
            SinkOp::Doubt { id } => {
                let name = self.expected.items[id.0 as usize].item.name.clone();
                let error = std::io::Error::from_raw_os_error(EIO);
                reports.push(Report::Failed(SinkError::io(name, WRITE, error)));
            }
            SinkOp::Discard { .. }
            | SinkOp::CleanUp
            | SinkOp::SumUp
            | SinkOp::Claim { .. }
            | SinkOp::Journal { .. } => {}
        }
    }

    fn note_landed(&mut self, id: ItemId) {
        self.unclaimed += 1;
        let (next, ahead) = &mut self.landed;
        ahead.insert(id);
        while ahead.remove(&ItemId(*next)) {
            *next += 1;
        }
        let count = u64::from(*next) + ahead.len() as u64;
        // At the end everything is made durable anyway.
        let is_last = count == self.expected.items.len() as u64;
        if self.checkpoint_every > 0 && count.is_multiple_of(self.checkpoint_every) && !is_last {
            self.queue.push_back(SinkOp::Checkpoint);
        }
    }

    /// Nothing is claimed before it is durable.
    fn assert_durable(&self, disk: &Disk) {
        let root =
            self.executor.durable_root(disk).expect("a power cut leaves the staged state in its place");
        let words = "claimed durable, and a power cut would take it";
        // A root without the right to write gets its mode when it is published.
        judge::assert_holds(disk, root, View::Disk, &self.expected, true, words);
    }

    /// Whether the destination holds the state, for sure.
    pub(crate) fn is_published(&self) -> bool {
        self.landing.state() == LandingState::Published
    }
}

const fn matters(op: &FileOp) -> bool {
    matches!(
        op,
        FileOp::SyncFile { .. }
            | FileOp::SyncDirectory { .. }
            | FileOp::SyncTree
            | FileOp::SyncStaging
            | FileOp::SyncParent
            | FileOp::PollSync
            | FileOp::Mark { .. }
            | FileOp::RecordReady { .. }
            | FileOp::Publish { .. }
    )
}
