//! What the machine does with a journal: claims, checkpoints, taking over what an earlier process left, and
//! seeing through what it was about to publish.

use std::collections::HashMap;

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Prefix};

use super::{Landing, LandingState, OpenFile, Request};
use crate::item::{Item, Name, What};
use crate::landing::journal::{Agreed, Claim, Claimed, Content, Loaded, Ready, Record};
use crate::landing::{Destination, FileOp, Leftover, OpReply, Rename};
use crate::source::Shape;

/// What the machine knows of its journal.
#[derive(Debug, Default)]
pub(super) struct Journaling {
    /// There is one, and this run writes to it.
    pub(super) on: bool,
    /// This run's number.
    run: u32,
    /// What earlier runs left, and how much.
    kept: Option<Loaded>,
    already: Claimed,
    /// This run has appended a claim, and one since the last sync began.
    appended: bool,
    unmarked: bool,
    /// Something is claimed and counts, of this run or an earlier one.
    claims: bool,
    /// A sync was begun: what the journal claims up to here will be durable.
    syncing: Option<u64>,
    /// Files of which a part is claimed, and how far they are.
    parts: HashMap<Name, Part>,
    /// The file that was finished last.
    finished: Option<u64>,
    /// The item that is looked for.
    wanted: Option<(ItemId, OpenFile, Integrity)>,
    /// What was taken over of it.
    adopted: Option<Content>,
    /// What both sides have.
    agreed: Option<Agreed>,
    /// What an earlier process was about to publish.
    ready: Option<Ready>,
    /// What was published for an earlier process.
    recovered: Option<Agreed>,
}

/// How far a file is of which a part is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The rest of it is being written.
    Open,
    /// All of it is claimed.
    Whole,
    /// The sync is under way that makes that count.
    Syncing,
}

impl Landing {
    /// Sees through what an earlier process was about to publish when it ended, and clears up what it left
    /// behind after that: [`Landing::recovered`] tells. Of anything else nothing is touched.
    pub fn recover(&mut self) {
        if self.accept(Request::Recover, &[LandingState::New, LandingState::Checked]) {
            self.queue.push_back(FileOp::FindJournal);
        }
    }

    /// The state that [`Landing::recover`] has published, or found to be.
    #[must_use]
    pub const fn recovered(&self) -> Option<Agreed> {
        self.journaling.recovered
    }

    /// Begins a file from what an earlier run left of it, if that was made with `integrity` and is what is
    /// offered now: then [`Landing::adopted`] says how much it is.
    pub fn reopen(&mut self, id: ItemId, item: &Item, integrity: Integrity) {
        if !self.accept_item(item) {
            return;
        }
        self.journaling.adopted = None;
        let What::File { size, .. } = item.what else { return };
        // Content that the source does not mark may be another one's.
        let comparable = size > 0 && !item.version.as_bytes().is_empty();
        if self.journaling.kept.is_some() && comparable && !self.open.contains_key(&id) {
            self.journaling.wanted = Some((id, OpenFile::new(item), integrity));
            self.queue.push_back(FileOp::Find { name: item.name.clone() });
        }
    }

    /// What [`Landing::reopen`] took over, if anything.
    pub fn adopted(&mut self) -> Option<Content> {
        self.journaling.adopted.take()
    }

    /// The file that was finished or put last is `item`, with this checksum: claimed from the next checkpoint on.
    ///
    /// What has no version is of no use to a later run, but can be read back.
    pub fn claim(&mut self, item: &Item, size: u64, checksum: &Checksum) {
        let finished = self.journaling.finished.take();
        if !self.accept(Request::Item, &[LandingState::Receiving]) || !self.journaling.on {
            return;
        }
        let Some(inode) = finished.filter(|_| size > 0) else { return };
        if item.version.as_bytes().is_empty() && !self.options.verify_after {
            return;
        }
        if let Some(part) = self.journaling.parts.get_mut(&item.name) {
            *part = Part::Whole;
        }
        let content = Content::Whole(*checksum);
        let run = self.journaling.run;
        let claim = Claim { name: item.name.clone(), size, version: item.version, inode, run, content };
        self.record(Record::Claim(claim));
    }

    /// Goes on with making durable, beside everything else, what is finished, and what is written of open
    /// files: `parts` are their first bytes. What was complete when a sync began is claimed when it is over.
    pub fn checkpoint(&mut self, parts: &[(ItemId, Prefix)]) {
        if !self.accept(Request::Checkpoint, &[LandingState::Receiving, LandingState::Durable])
            || !self.journaling.on
        {
            return;
        }
        for (id, prefix) in parts {
            let Some(file) = self.open.get_mut(id) else { continue };
            let (Some(inode), Some(size)) = (file.inode, file.size) else { continue };
            if file.version.as_bytes().is_empty() || prefix.offset() >= size {
                continue;
            }
            file.claimed = true;
            let (name, version, run) = (file.name.clone(), file.version, self.journaling.run);
            let content = Content::Part(Box::new(prefix.clone()));
            self.journaling.parts.insert(name.clone(), Part::Open);
            self.record(Record::Claim(Claim { name, size, version, inode, run, content }));
        }
        // What is appended while a sync is under way counts with the next one.
        let syncing = self.journaling.syncing.is_some();
        self.queue.push_back(if syncing { FileOp::PollSync } else { FileOp::StartSync });
    }

    /// A write of an open file failed: nothing of it counts any more, and no other write may mend it.
    pub fn doubt(&mut self, id: ItemId) {
        if !self.accept(Request::Item, &[LandingState::Receiving, LandingState::Durable]) {
            return;
        }
        if let Some(name) = self.open.get(&id).filter(|file| file.claimed).map(|file| file.name.clone()) {
            self.forget(name);
        }
    }

    /// A sync failed: which file's data is lost is not known, and the kernel tells it once. None that was
    /// written since its last good sync is gone on with, not even from what was durable then.
    pub(super) fn doubt_all(&mut self) {
        for (name, _) in std::mem::take(&mut self.journaling.parts) {
            self.forget(name);
        }
    }

    /// Nothing is claimed of `name` any more, durably.
    pub(super) fn forget(&mut self, name: Name) {
        self.journaling.parts.remove(&name);
        if self.journaling.on {
            self.queue.push_back(FileOp::Forget { name });
        }
    }

    /// Both sides have the same: it is noted before it is published, so that a later process can tell what it
    /// was, and whether it was published.
    pub const fn agreed(&mut self, agreed: Agreed) {
        self.journaling.agreed = Some(agreed);
    }

    /// Whether something is claimed that does not count yet: another checkpoint is wanted.
    #[must_use]
    pub const fn has_unmarked(&self) -> bool {
        self.journaling.syncing.is_some() || self.journaling.unmarked
    }

    /// Whether a sync is under way whose end makes claims count.
    #[must_use]
    pub const fn is_syncing(&self) -> bool {
        self.journaling.syncing.is_some()
    }

    fn record(&mut self, record: Record) {
        self.queue.push_back(FileOp::Record(Box::new(record)));
    }

    /// What is about to be published is noted first, so that a later process can tell whether it was.
    pub(super) fn record_ready(&mut self) {
        if let Some(state) = self.journaling.agreed.filter(|_| self.journaling.on) {
            self.queue.push_back(FileOp::RecordReady { root: self.settled(), state });
        }
    }

    /// What an earlier process left stays until something of this one is worth keeping.
    pub(super) const fn leaves_staging(&self) -> bool {
        self.options.resume && self.journaling.on && self.journaling.claims
    }

    /// Everything that was finished is durable: all claims count.
    pub(super) fn mark_all(&mut self) {
        if self.journaling.on {
            (self.journaling.syncing, self.journaling.unmarked) = (None, false);
            self.queue.push_back(FileOp::Mark { covers: None });
        }
    }

    /// A file is complete: what is claimed next is claimed of it.
    pub(super) const fn finished(&mut self, reply: &OpReply) {
        if let OpReply::Inode(inode) = reply {
            self.journaling.finished = Some(*inode);
        }
    }

    /// What the journal ops brought.
    pub(super) fn journaled(&mut self, op: FileOp, reply: OpReply) {
        let journaling = &mut self.journaling;
        match (op, reply) {
            (FileOp::FindJournal, OpReply::Found(true)) => {
                self.queue.extend([FileOp::Inspect, FileOp::Lock, FileOp::LoadJournal]);
            }
            (FileOp::LoadJournal, OpReply::Journal(loaded)) => self.loaded(loaded.map(|loaded| *loaded)),
            (FileOp::KeepStaged { .. }, OpReply::Claimed(claimed)) => {
                (journaling.claims, journaling.already) = (claimed.bytes > 0, claimed);
            }
            (FileOp::BeginRun { run }, _) => (journaling.on, journaling.run) = (true, run),
            (FileOp::CreateFile { id, .. }, OpReply::Inode(inode)) => {
                if let Some(file) = self.open.get_mut(&id) {
                    file.inode = Some(inode);
                }
            }
            (FileOp::Find { .. }, OpReply::Claim(claim)) => self.found(claim.map(|claim| *claim)),
            (FileOp::Adopt { id, claim, .. }, OpReply::Found(found)) => {
                let Some((_, file, _)) = journaling.wanted.take() else { return };
                if !found {
                    // Else the file that comes now might get the inode, and be taken for what is claimed.
                    return self.forget(claim.name);
                }
                if matches!(claim.content, Content::Part(_)) {
                    journaling.parts.insert(claim.name.clone(), Part::Open);
                }
                journaling.adopted = Some(claim.content);
                self.open.insert(id, OpenFile { inode: Some(claim.inode), claimed: true, ..file });
            }
            (FileOp::StartSync, OpReply::Covers(covers)) => {
                (journaling.syncing, journaling.unmarked) = (Some(covers), false);
                for part in journaling.parts.values_mut().filter(|part| **part == Part::Whole) {
                    *part = Part::Syncing;
                }
            }
            (FileOp::PollSync, OpReply::Found(true)) => {
                let covers = journaling.syncing.take();
                self.queue.push_back(FileOp::Mark { covers });
            }
            (FileOp::Record(record), _) => {
                let claims = matches!(*record, Record::Claim(_));
                (journaling.appended, journaling.unmarked) =
                    (journaling.appended || claims, journaling.unmarked || claims);
            }
            (FileOp::Mark { covers }, _) => {
                journaling.claims |= journaling.appended;
                let counts = |part: &Part| *part == Part::Syncing || covers.is_none();
                journaling.parts.retain(|_, part| !counts(part));
            }
            (FileOp::ReadBack { .. }, OpReply::ReadBack { next: Some(next) }) => {
                self.queue.push_back(FileOp::ReadBack { from: Some(next) });
            }
            (FileOp::Identify, OpReply::Identities { destination, staged, is_directory }) => {
                if self.request == Request::Recover {
                    self.survey.shape = if is_directory { Shape::Directory } else { Shape::File };
                }
                self.identified(destination, staged);
            }
            (FileOp::RemoveJournal | FileOp::Unlock, _) => journaling.on = false,
            _ => {}
        }
    }

    /// The claim on the item that is looked for: kept only if it is what is offered now.
    fn found(&mut self, claim: Option<Claim>) {
        let Some((id, file, integrity)) = &self.journaling.wanted else { return };
        let same = |claim: &Claim| {
            Some(claim.size) == file.size
                && claim.version == file.version
                && claim.content.integrity() == *integrity
        };
        match claim.filter(same) {
            Some(claim) => {
                let op = FileOp::Adopt { id: *id, claim: Box::new(claim), linked: file.linked };
                self.queue.push_back(op);
            }
            None => self.journaling.wanted = None,
        }
    }

    fn loaded(&mut self, loaded: Option<Loaded>) {
        let ready = loaded.as_ref().and_then(|loaded| loaded.ready);
        self.journaling.ready = ready;
        // Whatever fails from here on, what is there is not removed.
        (self.journaling.on, self.journaling.claims) = (loaded.is_some(), loaded.is_some());
        match (self.request, loaded) {
            (Request::Recover, Some(_)) if ready.is_some() => self.queue.push_back(FileOp::Identify),
            (Request::Recover, _) => self.queue.push_back(FileOp::Unlock),
            (_, Some(loaded)) if ready.is_some() => {
                self.journaling.kept = Some(loaded);
                self.queue.push_front(FileOp::Identify);
            }
            (_, Some(loaded)) => self.go_on(loaded),
            (_, None) => self.start_over(),
        }
    }

    /// Goes on from what an earlier run left: what follows in the queue stays.
    fn go_on(&mut self, loaded: Loaded) {
        let run = loaded.run;
        self.journaling.kept = Some(loaded);
        for op in [FileOp::BeginRun { run: run + 1 }, FileOp::KeepStaged { run }] {
            self.queue.push_front(op);
        }
    }

    /// Begins from nothing: what follows in the queue stays.
    pub(super) fn start_over(&mut self) {
        (self.journaling.kept, self.journaling.already) = (None, Claimed::default());
        (self.journaling.on, self.journaling.claims) = (false, false);
        for op in [FileOp::BeginRun { run: 1 }, FileOp::SyncParent, FileOp::MakeStaging, FileOp::Sweep] {
            self.queue.push_front(op);
        }
    }

    /// Whether what an earlier process was about to publish was published.
    fn identified(&mut self, destination: Option<u64>, staged: Option<u64>) {
        let Some(ready) = self.journaling.ready else { return };
        let published = destination == Some(ready.staged);
        if self.request != Request::Recover {
            // It was: what is left in staging is the old state. Else it is as good as anything that is kept.
            match self.journaling.kept.take() {
                Some(loaded) if !published => self.go_on(loaded),
                _ => self.start_over(),
            }
            return;
        }
        if published {
            self.journaling.recovered = Some(ready.state);
            self.queue.push_back(FileOp::OpenStaging);
        } else if staged == Some(ready.staged)
            && destination == ready.old
            && (self.options.replace
                || matches!(self.destination, Destination::Absent | Destination::EmptyDirectory))
        {
            self.journaling.recovered = Some(ready.state);
            let how = match self.destination {
                Destination::EmptyDirectory => Rename::OverEmpty,
                Destination::Directory(_) => Rename::Exchange,
                Destination::File => Rename::Replace,
                _ => Rename::NoReplace,
            };
            self.queue.extend([FileOp::OpenStaging, FileOp::Publish { how }]);
        } else {
            // The destination is something else by now: what is staged is kept for the next transfer.
            self.queue.push_back(FileOp::Unlock);
            return;
        }
        self.queue.extend(ready.root.map(|root| FileOp::SettleRoot { root }));
        let leftover = ready.old.map_or(Leftover::Nothing, Leftover::Replaced);
        self.queue.extend([
            FileOp::MeasureSpace,
            FileOp::SyncParent,
            FileOp::RemoveStaging { leftover },
            FileOp::RemoveJournal,
            FileOp::Unlock,
            FileOp::SyncParent,
        ]);
    }

    /// How much is there already.
    pub(super) const fn already(&self) -> Claimed {
        self.journaling.already
    }
}
