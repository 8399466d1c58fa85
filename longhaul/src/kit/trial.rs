//! One check at work: engines in directories of their own, and how they are called.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longhaul_core::digest::{Entry, SequenceNumber};
use longhaul_core::id::SnapshotId;
use longhaul_core::message::Transaction;
use longhaul_core::transfer::wire::PAYLOAD_MAX;
use longhaul_core::transfer::{Capture, LogPoint};

use super::carry::carry;
use super::draw::Draw;
use super::history::History;
use super::subject::{Seen, Subject};
use crate::live::batch::{Batch, RECORD_HEAD, prepares, records};
use crate::live::{Application, ApplicationError, Delivered, LogRecord, Prepare, Snapshot};

/// How a promise was broken.
pub(super) type Outcome<T = ()> = Result<T, String>;

/// What all checks of a run share.
pub(super) struct Bench<S: Subject> {
    pub(super) subject: S,
    /// Content alone.
    pub(super) plain: History<S::Operation>,
    /// Content and structure.
    pub(super) mixed: History<S::Operation>,
    /// Other messages, of which joiners have an old state.
    pub(super) old: History<S::Operation>,
    pub(super) scratch: tempfile::TempDir,
    pub(super) directories: AtomicU64,
    /// Calls of the engine that have returned.
    pub(super) calls: AtomicU64,
    pub(super) patience: Duration,
}

/// One check, with randomness of its own.
pub(super) struct Trial<S: Subject> {
    pub(super) bench: Arc<Bench<S>>,
    pub(super) draw: Draw,
}

/// An engine that is open.
pub(super) struct Host<S: Subject> {
    pub(super) engine: Arc<S::Engine>,
    pub(super) application: Arc<dyn Application>,
    directory: PathBuf,
    /// Messages that it contains.
    pub(super) delivered: u64,
}

/// A capture, and all else that belongs to its place.
pub(super) struct Taken {
    pub(super) snapshot: Arc<dyn Snapshot>,
    pub(super) id: SnapshotId,
    pub(super) delivered: u64,
    pub(super) from: LogPoint,
}

/// Encoded records of a log, or prepares.
pub(super) struct Encoded(Vec<u8>);

impl Encoded {
    pub(super) fn records(&self) -> Vec<LogRecord<'_>> {
        records(&self.0).flatten().collect()
    }

    pub(super) fn prepares(&self) -> Vec<Prepare<'_>> {
        prepares(&self.0).flatten().collect()
    }
}

impl<S: Subject> Bench<S> {
    /// Calls the engine: what fails is told by name.
    pub(super) fn call<T>(
        &self,
        what: &str,
        call: impl FnOnce() -> Result<T, ApplicationError>,
    ) -> Outcome<T> {
        let called = catch_unwind(AssertUnwindSafe(call));
        self.calls.fetch_add(1, Ordering::Relaxed);
        match called {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(format!("{what} failed: {error}")),
            Err(panic) => {
                let said = panic.downcast_ref::<&str>().map(ToString::to_string);
                let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                Err(format!("{what} panicked: {said}"))
            }
        }
    }

    /// An engine in an empty directory.
    pub(super) fn fresh(&self) -> Outcome<Host<S>> {
        let number = self.directories.fetch_add(1, Ordering::Relaxed);
        let directory = self.scratch.path().join(format!("engine-{number}"));
        std::fs::create_dir(&directory).map_err(|error| format!("no directory for an engine: {error}"))?;
        self.open(&directory)
    }

    fn open(&self, directory: &Path) -> Outcome<Host<S>> {
        let engine = Arc::new(self.call("Subject::open", || self.subject.open(directory))?);
        let application = self.subject.application(&engine);
        let mut host = Host { engine, application, directory: directory.to_owned(), delivered: 0 };
        host.delivered = self.seen(&host)?.delivered.0;
        Ok(host)
    }

    /// Its process is killed, and another one opens its directory.
    pub(super) fn reopen(&self, host: Host<S>) -> Outcome<Host<S>> {
        let Host { engine, application, directory, .. } = host;
        drop(application);
        let engine = Arc::into_inner(engine).ok_or("somebody holds the engine still")?;
        self.call("Subject::kill", || {
            self.subject.kill(engine);
            Ok(())
        })?;
        self.open(&directory)
    }

    pub(super) fn seen(&self, host: &Host<S>) -> Outcome<Seen> {
        self.call("Subject::state", || self.subject.state(&host.engine))
    }

    pub(super) fn expect(&self, host: &Host<S>, expected: &Seen, when: &str) -> Outcome {
        let seen = self.seen(host)?;
        if seen == *expected {
            return Ok(());
        }
        Err(format!("{when}, {seen} were seen instead of {expected}"))
    }

    /// Brings messages of the history up to this one, in batches.
    pub(super) fn deliver(
        &self,
        host: &mut Host<S>,
        history: &History<S::Operation>,
        to: u64,
        draw: &mut Draw,
    ) -> Outcome {
        while host.delivered < to {
            let next = (host.delivered + draw.within(1, 6)).min(to);
            self.deliver_at_once(host, history, next)?;
        }
        Ok(())
    }

    pub(super) fn deliver_at_once(
        &self,
        host: &mut Host<S>,
        history: &History<S::Operation>,
        to: u64,
    ) -> Outcome {
        let steps = history.between(host.delivered, to);
        if steps.is_empty() {
            return Ok(());
        }
        self.call("Subject::deliver", || self.subject.deliver(&host.engine, steps))?;
        host.delivered = to;
        Ok(())
    }

    /// What says so many of the messages.
    pub(super) fn digest(&self, delivered: u64) -> Box<Delivered> {
        let mut digest = Box::new(Delivered::new());
        let sequence = SequenceNumber(delivered);
        let entry = Entry::new(self.subject.sender(), sequence, sequence).expect("equal numbers");
        digest.insert(entry).expect("room for one");
        digest
    }

    /// A log is kept from here on.
    pub(super) fn start_log(&self, host: &Host<S>, from: LogPoint) -> Outcome {
        self.call("Log::start", || host.application.start(from))
    }

    /// A capture at this place, where the log ends at `from`.
    pub(super) fn capture(&self, host: &Host<S>, from: LogPoint) -> Outcome<Taken> {
        let snapshot = self.call("Provide::capture", || host.application.capture())?;
        let digest = snapshot.digest();
        let delivered = host.delivered;
        let said = digest.entry(self.subject.sender()).map_or(0, |entry| entry.delivered().0);
        let others = digest.entries().filter(|entry| entry.member() != self.subject.sender()).count();
        if said != delivered || others > 0 {
            let of_others = if others > 0 { ", and members that never sent" } else { "" };
            return Err(format!("captured behind message {delivered}, the digest says {said}{of_others}"));
        }
        let id = snapshot.id().unwrap_or(SnapshotId([delivered as u8; 16]));
        Ok(Taken { snapshot, id, delivered, from })
    }

    /// The pending prepares of this place.
    pub(super) fn pending(&self, host: &Host<S>) -> Outcome<Encoded> {
        let mut out = Vec::new();
        let mut batch = Batch::new(&mut out, LogPoint::default(), PAYLOAD_MAX as usize);
        self.call("Provide::pending", || host.application.pending(&mut batch))?;
        let pending = Encoded(out);
        let told: Vec<Transaction> = pending.prepares().iter().map(|prepare| prepare.transaction).collect();
        let once: BTreeSet<_> = told.iter().collect();
        if once.len() < told.len() {
            return Err(format!("Provide::pending told a transaction twice: {told:?}"));
        }
        Ok(pending)
    }

    /// One batch of records behind `from`.
    pub(super) fn read_log(&self, host: &Host<S>, from: LogPoint, max_bytes: usize) -> Outcome<Encoded> {
        let mut out = Vec::new();
        let mut batch = Batch::new(&mut out, from, max_bytes);
        self.call("Log::read", || host.application.read(from, &mut batch))?;
        Ok(Encoded(out))
    }

    /// All records behind `from`, as they lie in the log, which has so many.
    pub(super) fn whole_log(&self, host: &Host<S>, from: LogPoint, expected: usize) -> Outcome<Encoded> {
        let (mut all, mut at, mut found) = (Vec::new(), from, 0);
        while found < expected {
            let part = self.read_log(host, at, PAYLOAD_MAX as usize)?;
            let records = part.records();
            let Some(last) = points(at, &records).pop().filter(|last| *last != at) else { break };
            (at, found) = (last, found + records.len());
            all.extend(part.0);
        }
        if found != expected {
            return Err(format!("the log has {found} records where {expected} messages completed something"));
        }
        Ok(Encoded(all))
    }

    /// How a joiner has the bulk of a capture, in a hidden copy.
    pub(super) fn land(
        &self,
        joiner: &Host<S>,
        taken: &Taken,
        draw: &mut Draw,
        between: &mut dyn FnMut() -> Outcome,
    ) -> Outcome {
        let mut sink = self.call("Stage::stage", || joiner.application.stage(taken.id, false))?;
        let source = self.call("Snapshot::source", || Ok(taken.snapshot.source(b"")?))?;
        let calls = &self.calls;
        let carried = catch_unwind(AssertUnwindSafe(|| {
            let carried = carry(&*source, &mut *sink, draw, &mut || {
                calls.fetch_add(1, Ordering::Relaxed);
                between()
            });
            carried.inspect_err(|_| sink.abort())
        }));
        carried.unwrap_or_else(|_| Err("a source or sink panicked".into()))
    }

    pub(super) fn apply(&self, joiner: &Host<S>, records: &[LogRecord<'_>], draw: &mut Draw) -> Outcome {
        let mut rest = records;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(draw.within(1, 8).min(rest.len() as u64) as usize);
            self.call("Stage::apply", || joiner.application.apply(now))?;
            rest = later;
        }
        Ok(())
    }

    pub(super) fn prepare(&self, joiner: &Host<S>, pending: &Encoded) -> Outcome {
        let prepares = pending.prepares();
        if prepares.is_empty() {
            return Ok(());
        }
        self.call("Stage::prepare", || joiner.application.prepare(&prepares))
    }

    pub(super) fn commit(&self, joiner: &mut Host<S>, delivered: u64) -> Outcome {
        let digest = self.digest(delivered);
        self.call("Stage::commit", || joiner.application.commit(&digest))?;
        joiner.delivered = delivered;
        Ok(())
    }

    pub(super) fn discard(&self, joiner: &Host<S>) -> Outcome {
        self.call("Stage::discard", || {
            joiner.application.discard();
            Ok(())
        })
    }
}

impl<S: Subject> Trial<S> {
    pub(super) fn is_fuzzy(&self) -> bool {
        self.bench.subject.contract().capture() == Capture::Fuzzy
    }

    /// A provider that contains so many messages.
    pub(super) fn provider(&mut self, history: &History<S::Operation>, delivered: u64) -> Outcome<Host<S>> {
        let mut host = self.bench.fresh()?;
        self.bench.deliver(&mut host, history, delivered, &mut self.draw)?;
        Ok(host)
    }

    /// A joiner that has an old state.
    pub(super) fn joiner(&mut self) -> Outcome<Host<S>> {
        let delivered = self.draw.within(1, self.bench.old.len());
        let bench = Arc::clone(&self.bench);
        self.provider(&bench.old, delivered)
    }

    /// Makes the joiner's hidden copy what the provider is now: a capture, the log behind it, and what is pending.
    pub(super) fn stage_all(&mut self, provider: &Host<S>, joiner: &Host<S>) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let taken = bench.capture(provider, LogPoint::default())?;
        bench.land(joiner, &taken, &mut self.draw, &mut || Ok(()))?;
        drop(taken);
        bench.prepare(joiner, &bench.pending(provider)?)
    }
}

/// Where each record of a log ends that begins at `from`; first `from` itself.
pub(super) fn points(from: LogPoint, records: &[LogRecord<'_>]) -> Vec<LogPoint> {
    let mut points = vec![from];
    points.extend(records.iter().scan(from, |at, record| {
        *at = at.behind((RECORD_HEAD + record.bytes.len()) as u64);
        Some(*at)
    }));
    points
}
