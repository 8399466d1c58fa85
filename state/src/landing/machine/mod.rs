//! The landing machine: the order of durability, written once.

mod failing;
mod journaling;

use std::collections::{HashMap, VecDeque};
use std::io;

use longhaul_core::id::ItemId;
use longhaul_core::item::{Timestamp, Version};

use self::journaling::Journaling;
use super::dirty::Dirty;
use super::journal::Claimed;
use super::{Destination, FileOp, Leftover, OpError, OpId, OpReply, Probed, Rename, RootAttributes, Space};
use crate::item::{Item, Name, What};
use crate::links::{LinksPolicy, leads_out};
use crate::root::LINK_SETS_MAX;
use crate::sink::{SinkError, SinkErrorKind};
use crate::source::{Shape, Survey};

/// A state of at most this many bytes, and so many items, is landed without a probe, and its staging is made without
/// being synced first: nothing is claimed of it before it is published. Not a directory in the place of another one:
/// what is left to do when the two have changed places would not be known after a crash.
pub const SMALL_STATE: u64 = 1 << 20;
const SMALL_ITEMS: u64 = 1024;
/// Files from this size on have their blocks reserved before they are written.
const RESERVE_FROM: u64 = 1 << 20;
/// Kept free beside what a state needs: one part in this many.
const RESERVE: u64 = 100;

/// What may be done to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LandingOptions {
    /// An old state may be replaced.
    pub replace: bool,
    /// Symbolic links that lead out of the state.
    pub links: LinksPolicy,
    /// A journal is kept, and what an earlier process has left is gone on with.
    pub resume: bool,
    /// What has come is read back, past the cache, before it counts as durable.
    pub verify_after: bool,
}

/// Where a landing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LandingState {
    /// Nothing was done.
    New,
    /// The destination can be looked at, and was.
    Checked,
    /// Staging is made; items come.
    Receiving,
    /// All that came is durable.
    Durable,
    /// The destination was renamed over, but is not known to be durable: nothing is touched any more.
    InDoubt,
    /// The state is the destination, durably.
    Published,
    /// Nothing was published, and nothing will be.
    Failed,
}

/// Lands one state, without IO: requests go in, [`FileOp`]s come out, one at a time, since each
/// depends on those before it.
///
/// ```text
/// preflight  New ──Inspect──▶ Checked
/// begin      Checked ──Inspect MeasureSpace Lock Sweep MakeStaging SyncParent* MakeStagedRoot Probe*──▶ Receiving
///            with a journal: Inspect Lock LoadJournal, KeepStaged | Sweep MakeStaging SyncParent, BeginRun, then the rest
/// recover    New | Checked ──FindJournal Inspect Lock LoadJournal Identify, then as publish and clean-up──▶ Published
/// items      Receiving | Durable ──CreateFile .. FinishFile | PutFile | FinishDirectory | links──▶ Receiving
///            with a journal: Find Adopt instead of CreateFile; Record behind FinishFile and PutFile
/// checkpoint Receiving ──Record.. StartSync, later PollSync.. Mark──▶ Receiving
/// sync       Receiving ──WriteBack* SyncFile.. SyncDirectory.. | SyncTree, then SyncStaging, Mark*, ReadBack*..──▶ Durable
/// publish    Durable ──RecordReady* Publish SettleRoot* SyncParent──▶ Published
/// clean-up   Published ──RemoveStaging RemoveJournal* Unlock SyncParent*──▶ Published
/// abort      any but InDoubt, Published ──RemoveStaging RemoveJournal* | LeaveStaging, Unlock──▶ Failed
///
/// an item's error      Receiving ──▶ Receiving: it may be sent again
/// an error of a sync   any ──▶ Failed; after the rename: InDoubt
/// any other error      any ──▶ Failed
/// ```
///
/// Operations with a star are left out where they are not needed. After each request the caller
/// carries out what [`Landing::poll_op`] gives until it gives nothing, and asks
/// [`Landing::outcome`]: [`super::run`] does both.
#[derive(Debug)]
pub struct Landing {
    options: LandingOptions,
    state: LandingState,
    request: Request,
    queue: VecDeque<FileOp>,
    in_flight: Option<(OpId, FileOp)>,
    ops: u64,
    /// The missing parents of the operation in flight were made already.
    parents_made: bool,
    /// What became of the current request, if it failed.
    error: Option<SinkError>,
    /// What the machine failed with, said again each time.
    failure: Option<SinkError>,
    destination: Destination,
    survey: Survey,
    space: Option<Space>,
    probed: Option<Probed>,
    locked: bool,
    open: HashMap<ItemId, OpenFile>,
    dirty: Dirty,
    link_sets: usize,
    /// The state's own item came.
    root_came: bool,
    /// What the root is to have, if it is a directory.
    root: Option<RootAttributes>,
    journaling: Journaling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    None,
    Preflight,
    Recover,
    Begin,
    Item,
    Checkpoint,
    Sync,
    Publish,
    CleanUp,
    Abort,
}

#[derive(Debug)]
struct OpenFile {
    name: Name,
    mode: u16,
    mtime: Option<Timestamp>,
    linked: bool,
    /// None: it is a stream.
    size: Option<u64>,
    version: Version,
    inode: Option<u64>,
    /// The journal claims something of it.
    claimed: bool,
}

impl OpenFile {
    fn new(item: &Item) -> Self {
        let (size, linked) = match item.what {
            What::File { size, linked, .. } => (Some(size), linked),
            _ => (None, false),
        };
        Self {
            name: item.name.clone(),
            mode: item.mode,
            mtime: mtime(item),
            linked,
            size,
            version: item.version,
            inode: None,
            claimed: false,
        }
    }
}

impl Landing {
    /// A landing that has not begun.
    #[must_use]
    pub fn new(options: LandingOptions) -> Self {
        Self {
            options,
            state: LandingState::New,
            request: Request::None,
            queue: VecDeque::new(),
            in_flight: None,
            ops: 0,
            parents_made: false,
            error: None,
            failure: None,
            destination: Destination::Absent,
            survey: Survey::default(),
            space: None,
            probed: None,
            locked: false,
            open: HashMap::new(),
            dirty: Dirty::default(),
            link_sets: 0,
            root_came: false,
            root: None,
            journaling: Journaling::default(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> LandingState {
        self.state
    }

    /// Why durability is unproven, if it is.
    #[must_use]
    pub fn caveat(&self) -> Option<&'static str> {
        self.space.and_then(|space| space.caveat)
    }

    /// Looks at the destination, changing nothing.
    pub fn preflight(&mut self) {
        if self.accept(Request::Preflight, &[LandingState::New, LandingState::Checked]) {
            self.queue.push_back(FileOp::Inspect);
        }
    }

    /// Checks the destination against what will come, and makes staging.
    pub fn begin(&mut self, survey: &Survey) {
        if !self.accept(Request::Begin, &[LandingState::New, LandingState::Checked]) {
            return;
        }
        self.survey = *survey;
        self.queue.push_back(FileOp::Inspect);
        if self.options.resume && !self.is_small() {
            // What the journal says decides what comes before staging is made, and what is needed still.
            self.queue.extend([FileOp::Lock, FileOp::LoadJournal, FileOp::MeasureSpace]);
        } else {
            self.queue.extend([FileOp::MeasureSpace, FileOp::Lock, FileOp::Sweep, FileOp::MakeStaging]);
            if !self.is_small() {
                self.queue.push_back(FileOp::SyncParent);
            }
            if self.options.verify_after {
                // What is to be read back is known by its claims.
                self.queue.push_back(FileOp::BeginRun { run: 1 });
            }
        }
        if survey.shape == Shape::Directory {
            self.queue.push_back(FileOp::MakeStagedRoot);
        }
        // What the destination is decides about the exchange; it is asked for when that is known.
        if !self.is_small() {
            self.queue.push_back(FileOp::Probe);
        }
    }

    /// Begins a file or stream.
    pub fn open(&mut self, id: ItemId, item: &Item) {
        if !self.accept_item(item) {
            return;
        }
        if self.open.contains_key(&id) {
            self.reject(&item.name, SinkErrorKind::NameTaken);
            return;
        }
        let name = item.name.clone();
        let (size, sparse) = match item.what {
            What::File { size, sparse, .. } => (size, sparse),
            _ => (0, true),
        };
        self.queue.push_back(FileOp::CreateFile { id, name: name.clone() });
        if size >= RESERVE_FROM {
            self.queue.push_back(FileOp::Reserve { id, name: name.clone(), len: size, sparse });
        }
        self.open.insert(id, OpenFile::new(item));
    }

    /// Completes an open file of `len` bytes.
    pub fn finish(&mut self, id: ItemId, len: u64) {
        if !self.accept(Request::Item, &[LandingState::Receiving, LandingState::Durable]) {
            return;
        }
        self.state = LandingState::Receiving;
        let Some(OpenFile { name, mode, mtime, linked, .. }) = self.open.get(&id) else {
            self.reject(&Name::root(), misuse("finish", "this item is not open"));
            return;
        };
        let sync = !self.syncs_tree();
        self.queue.push_back(FileOp::FinishFile { id, len, mode: *mode, mtime: *mtime, sync });
        if *linked {
            self.queue.push_back(FileOp::KeepLink { id, name: name.clone() });
        }
    }

    /// Forgets an open file.
    pub fn discard(&mut self, id: ItemId) {
        if !self.accept(Request::Item, &[LandingState::Receiving, LandingState::Durable]) {
            return;
        }
        self.state = LandingState::Receiving;
        match self.open.remove(&id) {
            Some(file) => {
                if file.claimed {
                    self.forget(file.name.clone());
                }
                self.queue.push_back(FileOp::RemoveFile { id, name: file.name });
            }
            None => self.reject(&Name::root(), misuse("discard", "this item is not open")),
        }
    }

    /// The operation that [`Landing::put`] would ask for, and nothing else, for this item: for a file of the state that bears
    /// one name.
    #[must_use]
    pub fn upcoming(&self, item: &Item) -> Option<FileOp> {
        let alone = matches!(item.what, What::File { linked: false, .. }) && !item.name.is_root();
        if !alone || self.survey.shape != Shape::Directory {
            return None;
        }
        let (name, mtime, sync) = (item.name.clone(), mtime(item), !self.syncs_tree());
        Some(FileOp::PutFile { name, mode: item.mode, mtime, sync })
    }

    /// Takes an item without content, or a whole small file, whose content is the payload of the
    /// operation [`FileOp::PutFile`].
    pub fn put(&mut self, id: ItemId, item: &Item) {
        if !self.accept_item(item) {
            return;
        }
        let name = item.name.clone();
        let sync = !self.syncs_tree();
        match &item.what {
            What::File { linked, .. } => {
                self.queue.push_back(FileOp::PutFile { name, mode: item.mode, mtime: mtime(item), sync });
                if *linked {
                    self.queue.push_back(FileOp::KeepLink { id, name: item.name.clone() });
                }
            }
            What::Stream => {
                self.queue.push_back(FileOp::PutFile { name, mode: item.mode, mtime: None, sync });
            }
            What::Directory => {
                // A directory without the right to write can't be moved by everybody.
                let mode = if name.is_root() { item.mode | 0o200 } else { item.mode };
                self.queue.push_back(FileOp::FinishDirectory { name, mode, mtime: item.mtime, sync });
                if item.name.is_root() {
                    self.root_came = true;
                    self.root = Some(RootAttributes { mode: item.mode, mtime: item.mtime });
                }
            }
            What::SymbolicLink { target } => {
                self.queue.push_back(FileOp::SymbolicLink { name, target: target.clone() });
            }
            What::HardLink { to } => self.queue.push_back(FileOp::HardLink { to: *to, name }),
        }
    }

    /// Makes all that came durable.
    pub fn sync(&mut self) {
        if !self.accept(Request::Sync, &[LandingState::Receiving, LandingState::Durable]) {
            return;
        }
        let many = self.dirty.is_many();
        let (files, directories) = self.dirty.take();
        // Where one sync can't cover the tree, each file and directory was synced when it was finished.
        if many && self.syncs_tree() {
            self.queue.push_back(FileOp::SyncTree);
        } else if self.syncs_tree() {
            if files.len() > 1 {
                self.queue.push_back(FileOp::WriteBack);
            }
            self.queue.extend(files.into_iter().map(|name| FileOp::SyncFile { name }));
            self.queue.extend(directories.into_iter().map(|name| FileOp::SyncDirectory { name }));
        }
        self.queue.push_back(FileOp::SyncStaging);
        self.mark_all();
        if self.options.verify_after {
            self.queue.push_back(FileOp::ReadBack { from: None });
        }
    }

    /// Publishes what is durable, in one step.
    pub fn publish(&mut self) {
        if !self.accept(Request::Publish, &[LandingState::Durable]) {
            return;
        }
        if !self.root_came || !self.open.is_empty() {
            self.reject(&Name::root(), misuse("publish", "the state is not complete"));
            return;
        }
        let how = match self.destination {
            Destination::EmptyDirectory => Rename::OverEmpty,
            Destination::Directory(_) => Rename::Exchange,
            Destination::File => Rename::Replace,
            _ if self.probed.is_some_and(|probed| !probed.no_replace) => self.without_flags(),
            _ => Rename::NoReplace,
        };
        self.record_ready();
        self.queue.push_back(FileOp::Publish { how });
        self.queue.extend(self.settled().map(|root| FileOp::SettleRoot { root }));
        self.queue.push_back(FileOp::SyncParent);
    }

    /// What the root is given once it is published: permission bits with which it could not be moved, and the time that an
    /// exchange takes from it on some file systems (xfs counts the new parent as a change of the directory).
    fn settled(&self) -> Option<RootAttributes> {
        let exchanged = matches!(self.destination, Destination::Directory(_));
        self.root.filter(|root| exchanged || root.mode & 0o200 == 0)
    }

    /// Removes what is left beside a published state. What fails here changes nothing about it.
    pub fn clean_up(&mut self) {
        if !self.accept(Request::CleanUp, &[LandingState::Published]) {
            return;
        }
        let leftover = match self.destination {
            Destination::Directory(inode) => Leftover::Old(inode),
            _ => Leftover::Nothing,
        };
        self.queue.push_back(FileOp::RemoveStaging { leftover });
        if self.journaling.on {
            self.queue.push_back(FileOp::RemoveJournal);
        }
        self.queue.push_back(FileOp::Unlock);
        if !self.is_small() {
            self.queue.push_back(FileOp::SyncParent);
        }
    }

    /// Gives up: nothing is published. Staging is removed, unless the journal claims something of it.
    pub fn abort(&mut self) {
        self.queue.clear();
        self.error = None;
        self.request = Request::Abort;
        self.open.clear();
        if matches!(self.state, LandingState::InDoubt | LandingState::Published) {
            return;
        }
        if self.locked {
            if self.leaves_staging() {
                self.queue.push_back(FileOp::LeaveStaging);
            } else {
                self.queue.push_back(FileOp::RemoveStaging { leftover: Leftover::Staged });
                if self.journaling.on {
                    self.queue.push_back(FileOp::RemoveJournal);
                }
            }
            self.queue.push_back(FileOp::Unlock);
        }
        self.fail_with(SinkError::whole(SinkErrorKind::Stopped));
    }

    /// Begins nothing more of the current request, which ends with [`SinkErrorKind::Stopped`]. A
    /// rename that was begun is seen through.
    pub fn stop(&mut self) {
        if !self.queue.is_empty() && matches!(self.request, Request::Begin | Request::Item | Request::Sync) {
            self.queue.clear();
            self.fail_with(SinkError::whole(SinkErrorKind::Stopped));
        }
    }

    /// The next operation; none while one is in flight, and none when the request is done with.
    pub fn poll_op(&mut self) -> Option<(OpId, &FileOp)> {
        if self.in_flight.is_some() {
            return None;
        }
        let op = self.queue.pop_front()?;
        let id = OpId(self.ops);
        self.ops += 1;
        let (id, op) = self.in_flight.insert((id, op));
        Some((*id, op))
    }

    /// What came of the operation in flight.
    ///
    /// # Panics
    /// If `id` is not that operation: the driver has lost track.
    pub fn done(&mut self, id: OpId, result: Result<OpReply, OpError>) {
        let (expected, op) = self.in_flight.take().expect("an operation is in flight");
        assert_eq!(id, expected, "operations are done in the order they were given out");
        match result {
            Ok(reply) => self.succeeded(op, reply),
            Err(error) => self.failed(op, error),
        }
        if self.queue.is_empty() && self.error.is_none() && self.failure.is_none() {
            self.settle();
        }
    }

    /// What came of the request.
    ///
    /// # Errors
    /// Why it was not carried out; of a machine that has failed, always the same.
    pub fn outcome(&mut self) -> Result<(), SinkError> {
        let request = std::mem::replace(&mut self.request, Request::None);
        if matches!(request, Request::Abort | Request::CleanUp) {
            return Ok(());
        }
        match (&self.failure, self.error.take()) {
            (Some(failure), _) => Err(failure.again()),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(()),
        }
    }

    fn accept(&mut self, request: Request, states: &[LandingState]) -> bool {
        debug_assert!(self.queue.is_empty() && self.in_flight.is_none(), "one request at a time");
        self.request = request;
        self.error = None;
        if self.failure.is_some() {
            return false;
        }
        if !states.contains(&self.state) {
            self.reject(&Name::root(), misuse("landing", "the sink was used out of order"));
            return false;
        }
        true
    }

    fn accept_item(&mut self, item: &Item) -> bool {
        if !self.accept(Request::Item, &[LandingState::Receiving, LandingState::Durable]) {
            return false;
        }
        self.state = LandingState::Receiving;
        // A directory's root is a directory; a file or stream is nothing but its root.
        let is_directory_state = self.survey.shape == Shape::Directory;
        let root_fits = matches!(item.what, What::Directory) == is_directory_state
            && !matches!(item.what, What::SymbolicLink { .. } | What::HardLink { .. });
        let fits = if item.name.is_root() { root_fits } else { is_directory_state };
        if !fits || (self.root_came && item.name.is_root()) {
            self.reject(&item.name, SinkErrorKind::NameTaken);
            return false;
        }
        match &item.what {
            What::SymbolicLink { target }
                if self.options.links == LinksPolicy::Refuse && leads_out(item.name.as_name(), target) =>
            {
                self.reject(&item.name, SinkErrorKind::LinkLeaves);
                return false;
            }
            What::File { linked: true, .. } if self.link_sets >= LINK_SETS_MAX => {
                self.reject(&item.name, SinkErrorKind::TooManyLinks);
                return false;
            }
            _ => {}
        }
        true
    }

    fn reject(&mut self, name: &Name, kind: SinkErrorKind) {
        self.error = Some(SinkError::item(name.clone(), kind));
    }

    fn fail_with(&mut self, error: SinkError) {
        if self.failure.is_none() {
            self.failure = Some(error);
            self.state = LandingState::Failed;
        }
    }

    fn succeeded(&mut self, op: FileOp, reply: OpReply) {
        self.parents_made = matches!(op, FileOp::MakeParents { .. });
        match (op, reply) {
            (FileOp::Inspect, OpReply::Destination(destination)) => self.inspected(destination),
            (FileOp::MeasureSpace, OpReply::Space(space)) => self.measured(space),
            (FileOp::Probe, OpReply::Probed(probed)) => self.probed(probed),
            (FileOp::Lock, _) => self.locked = true,
            (op @ FileOp::Unlock, reply) => {
                self.locked = false;
                self.journaled(op, reply);
            }
            (FileOp::FinishFile { id, .. }, reply) => {
                if let Some(file) = self.open.remove(&id) {
                    self.wrote_file(&file.name);
                }
                self.finished(&reply);
            }
            (FileOp::PutFile { name, .. }, reply) => {
                self.wrote_file(&name);
                self.finished(&reply);
            }
            (FileOp::RemoveFile { name, .. }, _) => self.dirty.forget_file(&name),
            (FileOp::MakeParents { name }, _) => self.dirty.parents_of(&name),
            (FileOp::FinishDirectory { name, .. }, _) => {
                self.dirty.parent_of(&name);
                self.dirty.directory(&name);
            }
            (FileOp::SymbolicLink { name, .. } | FileOp::HardLink { name, .. }, _) => {
                self.dirty.parent_of(&name);
            }
            (FileOp::KeepLink { .. }, _) => self.link_sets += 1,
            // From here to the parent's fsync nobody knows what a crash would leave.
            (FileOp::Publish { .. }, _) => self.state = LandingState::InDoubt,
            (op, reply) => self.journaled(op, reply),
        }
    }

    fn wrote_file(&mut self, name: &Name) {
        if self.survey.shape != Shape::Directory {
            self.root_came = true;
        }
        self.dirty.file(name);
    }

    fn settle(&mut self) {
        self.state = match self.request {
            Request::Preflight => LandingState::Checked,
            Request::Recover if self.recovered().is_some() => LandingState::Published,
            Request::Begin | Request::Item => LandingState::Receiving,
            Request::Sync => LandingState::Durable,
            Request::Publish => LandingState::Published,
            Request::None | Request::Recover | Request::Checkpoint | Request::CleanUp | Request::Abort => {
                self.state
            }
        };
    }

    fn inspected(&mut self, destination: Destination) {
        self.destination = destination;
        // What was published stands there rightly.
        if self.request == Request::Recover {
            return;
        }
        let is_directory_state = self.survey.shape == Shape::Directory;
        // Before the survey the shape is not known.
        let known = self.request == Request::Begin;
        let refusal = match destination {
            Destination::Absent => None,
            Destination::EmptyDirectory if known && !is_directory_state => {
                Some(SinkErrorKind::OtherShape("a directory, the state is a file"))
            }
            Destination::EmptyDirectory => None,
            Destination::Directory(_) | Destination::File if !self.options.replace => {
                Some(SinkErrorKind::NotEmpty)
            }
            Destination::Directory(_) if known && !is_directory_state => {
                Some(SinkErrorKind::OtherShape("a directory, the state is a file"))
            }
            Destination::File if known && is_directory_state => {
                Some(SinkErrorKind::OtherShape("a file, the state is a directory"))
            }
            Destination::Directory(_) => {
                if known && !self.queue.contains(&FileOp::Probe) {
                    self.queue.push_back(FileOp::Probe);
                }
                None
            }
            Destination::File => None,
            Destination::Other(what) => Some(SinkErrorKind::OtherShape(what)),
            Destination::MountPoint => Some(SinkErrorKind::MountPoint),
            Destination::InsideSource => Some(SinkErrorKind::InsideSource),
            Destination::NoParent => Some(SinkErrorKind::NoParent),
            Destination::NameTooLong { need, have } => Some(too_long(need, have)),
        };
        self.refuse(refusal);
    }

    fn measured(&mut self, space: Space) {
        self.space = Some(space);
        let Claimed { bytes, files } = self.already();
        let need = self.survey.allocated.saturating_sub(bytes);
        let need = need.saturating_add(need / RESERVE);
        let items = self.survey.items.saturating_sub(files);
        let name = u64::from(self.survey.longest_name);
        if let Some(have) = space.longest_name.filter(|have| *have < name) {
            self.refuse(Some(too_long(name, have)));
        } else if let Some(have) = space.free_bytes.filter(|have| *have < need) {
            self.refuse(Some(SinkErrorKind::NoSpace { need: Some(need), have: Some(have) }));
        } else if let Some(have) = space.free_inodes.filter(|have| *have < items) {
            self.refuse(Some(SinkErrorKind::NoInodes { need: items, have }));
        }
    }

    fn probed(&mut self, probed: Probed) {
        self.probed = Some(probed);
        if matches!(self.destination, Destination::Directory(_)) && !probed.exchange {
            let what = "the file system can't exchange two directories";
            self.refuse(Some(SinkErrorKind::NoAtomicRename(what)));
        }
    }

    fn refuse(&mut self, refusal: Option<SinkErrorKind>) {
        if let Some(kind) = refusal {
            self.queue.clear();
            self.fail_with(SinkError::whole(kind));
        }
    }

    fn without_flags(&self) -> Rename {
        if self.survey.shape == Shape::Directory { Rename::Claim } else { Rename::Link }
    }

    fn is_small(&self) -> bool {
        let Survey { shape, items, bytes, .. } = self.survey;
        let exchanged = self.options.replace && shape == Shape::Directory;
        bytes.is_some_and(|bytes| bytes <= SMALL_STATE) && items <= SMALL_ITEMS && !exchanged
    }

    fn syncs_tree(&self) -> bool {
        self.space.is_some_and(|space| space.syncs_tree)
    }
}

fn mtime(item: &Item) -> Option<Timestamp> {
    (item.what != What::Stream).then_some(item.mtime)
}

fn too_long(need: u64, have: u64) -> SinkErrorKind {
    SinkErrorKind::NameTooLong { need: Some(need), have: Some(have) }
}

fn misuse(action: &'static str, what: &'static str) -> SinkErrorKind {
    SinkErrorKind::Io { action, error: io::Error::new(io::ErrorKind::InvalidInput, what) }
}
