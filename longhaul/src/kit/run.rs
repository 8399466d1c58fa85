//! A run: the messages are drawn, then one check after another is made, each on a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use longhaul_core::message::Effect;
use longhaul_core::transfer::Apply;

use super::check::{Check, Report, Verdict};
use super::draw::Draw;
use super::history::History;
use super::subject::Subject;
use super::trial::{Bench, Outcome, Trial};

/// The variable that gives the seed.
const SEED: &str = "LONGHAUL_SEED";

/// Puts an engine to the test.
#[must_use = "nothing is tested before it runs"]
pub struct Kit<S> {
    subject: S,
    seed: Option<u64>,
    messages: usize,
    rounds: u32,
    only: Option<Check>,
    directory: Option<PathBuf>,
    patience: Duration,
}

impl<S: Subject> Kit<S> {
    /// A kit for this engine.
    pub fn new(subject: S) -> Self {
        let patience = Duration::from_mins(1);
        Self { subject, seed: None, messages: 64, rounds: 4, only: None, directory: None, patience }
    }

    /// What is drawn. Unless told, what `LONGHAUL_SEED` says; if that is not set, another seed each time.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Messages of an order, 16 at least. 64 unless told.
    pub fn messages(mut self, messages: usize) -> Self {
        self.messages = messages.max(16);
        self
    }

    /// How often each check is made, at other places. 4 times unless told.
    pub fn rounds(mut self, rounds: u32) -> Self {
        self.rounds = rounds.max(1);
        self
    }

    /// Looks at one promise alone.
    pub fn only(mut self, check: Check) -> Self {
        self.only = Some(check);
        self
    }

    /// Where engines are made, in directories that are removed. Where the system keeps such things, unless told.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// An engine that returns from no call for so long hangs. A minute unless told.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Makes all checks.
    ///
    /// # Panics
    /// If there is no directory for engines, or messages can't be drawn and delivered, one by one, at all.
    pub fn run(self) -> Report {
        let seed = self.seed.unwrap_or_else(seed_of_environment);
        let rounds = self.rounds;
        let checks = self.only.map_or(Check::ALL.to_vec(), |check| vec![check]);
        let bench = Arc::new(self.bench(seed).unwrap_or_else(|wrong| panic!("{wrong} ({SEED}={seed})")));
        let verdict = |check: Check| match bench.not_asked(check) {
            Some(why) => Verdict::NotAsked(why),
            None => check_apart(&bench, check, seed, rounds).map_or_else(Verdict::Broken, |()| Verdict::Kept),
        };
        Report { seed, verdicts: checks.into_iter().map(|check| (check, verdict(check))).collect() }
    }

    fn bench(self, seed: u64) -> Outcome<Bench<S>> {
        let Self { subject, messages, directory, patience, .. } = self;
        let scratch = directory.map_or_else(tempfile::tempdir, tempfile::tempdir_in);
        let scratch = scratch.map_err(|error| format!("no directory for engines: {error}"))?;
        let mut draw = Draw::new(seed);
        let mut history = |len, structure| History::draw(&subject, len, structure, &mut draw);
        let (plain, mixed, old) = (history(messages, 0)?, history(messages, 2)?, history(8, 2)?);
        let (directories, calls) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut bench = Bench { subject, plain, mixed, old, scratch, directories, calls, patience };
        bench.plain.seen = bench.reference(&bench.plain)?;
        bench.mixed.seen = bench.reference(&bench.mixed)?;
        bench.old.seen = bench.reference(&bench.old)?;
        Ok(bench)
    }
}

/// On a thread of its own: an engine that hangs is given up.
fn check_apart<S: Subject>(bench: &Arc<Bench<S>>, check: Check, seed: u64, rounds: u32) -> Outcome {
    let (says, said) = channel();
    let mut trial = Trial { bench: Arc::clone(bench), draw: Draw::new(seed ^ check as u64) };
    thread::spawn(move || {
        // Members and their sockets take longer than engines.
        let rounds = if check == Check::LatchHolds { 1 } else { rounds };
        let outcome = (0..rounds).try_for_each(|_| trial.check(check));
        drop(trial);
        // Nobody waits for it any more.
        let _ = says.send(outcome);
    });
    let mut calls = bench.calls.load(Ordering::Relaxed);
    loop {
        match said.recv_timeout(bench.patience) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Disconnected) => return Err("the check panicked".into()),
            Err(RecvTimeoutError::Timeout) => {
                let now = bench.calls.load(Ordering::Relaxed);
                if std::mem::replace(&mut calls, now) == now {
                    return Err(format!("the engine has returned from no call for {:?}", bench.patience));
                }
            }
        }
    }
}

impl<S: Subject> Bench<S> {
    /// What is seen behind each message, where nothing else ever happens.
    fn reference(&self, history: &History<S::Operation>) -> Outcome<Vec<super::subject::Seen>> {
        let mut host = self.fresh()?;
        let mut seen = vec![self.seen(&host)?];
        for to in 1..=history.len() {
            self.deliver_at_once(&mut host, history, to)?;
            seen.push(self.seen(&host)?);
        }
        let counts = seen.iter().map(|seen| seen.delivered.0);
        if let Some((told, number)) = counts.zip(0..).find(|(told, number)| told != number) {
            return Err(format!("behind message {number}, Subject::state says that {told} were delivered"));
        }
        Ok(seen)
    }

    fn not_asked(&self, check: Check) -> Option<&'static str> {
        let has_prepares = self.mixed.steps.iter().any(|step| matches!(step.effect, Effect::Prepare(_)));
        match check {
            Check::CaptureUnderStructure if !self.mixed.has_structure => {
                Some("it has no structure that changes")
            }
            Check::ApplyIdempotent if self.subject.contract().apply() == Apply::Once => {
                Some("it declares that records are applied once")
            }
            Check::PendingFromStart | Check::PreparesForgotten if !has_prepares => {
                Some("nothing is ever prepared")
            }
            Check::StageLostAtReopening | Check::CommitDurable if !self.subject.is_durable() => {
                Some("it lives in memory")
            }
            _ => None,
        }
    }
}

impl<S: Subject> Trial<S> {
    fn check(&mut self, check: Check) -> Outcome {
        match check {
            Check::DeliveryWithNumber => self.delivery_with_number(),
            Check::CaptureExact => self.capture_exact(),
            Check::CaptureUnderWrites => self.capture_while(|bench| &bench.plain),
            Check::CaptureUnderStructure => self.capture_while(|bench| &bench.mixed),
            Check::CapturesApart => self.captures_apart(),
            Check::SourceWhole => self.source_whole(),
            Check::LogWhole => self.log_whole(),
            Check::LogTrimmed => self.log_trimmed(),
            Check::LogBegunAnew => self.log_begun_anew(),
            Check::LogSuffices => self.log_suffices(),
            Check::ApplyIdempotent => self.apply_idempotent(),
            Check::PendingFromStart => self.pending_from_start(),
            Check::PreparesForgotten => self.prepares_forgotten(),
            Check::StageEmpty => self.stage_empty(),
            Check::StageHidden => self.stage_hidden(),
            Check::DiscardLeavesOld => self.discard_leaves_old(),
            Check::StageLostAtReopening => self.stage_lost_at_reopening(),
            Check::CommitWhole => self.commit_whole(),
            Check::CommitInOneStep => self.commit_in_one_step(),
            Check::CommitDurable => self.commit_durable(),
            Check::LatchHolds => self.latch_holds(),
        }
    }
}

fn seed_of_environment() -> u64 {
    let told = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    told.unwrap_or_else(|| crate::settings::random().map_or(1, u64::from_le_bytes))
}
