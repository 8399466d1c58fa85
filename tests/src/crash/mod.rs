//! The crash rig: a real fetch onto a real file system, with the power gone at any write.
//!
//! ```text
//! longhaul fetch ──▶ ext4, xfs, btrfs ──▶ Device ──▶ Log: every write and flush, and what the command promised
//!                                                      │ States: prefixes, and writes lost or torn since a flush
//! longhaul fetch, again ──▶ the same, mounted ◀── Device: the state, in memory, and what is written onto it
//! ```
//!
//! Each state that a power cut may leave is mounted (which replays the file system's own log) and looked at:
//!
//! - the destination is the old state or the whole new one, to the last name, mode, time and link;
//! - it is the new one if the command had said that it is installed;
//! - nothing is left beside it if the command had ended with exit 0, and the state was large enough for a journal;
//! - of a sample: the same command, run again, ends with exit 0, and the same holds;
//! - of some of these: the power goes once more while it runs again.
//!
//! What is known of the recording's order stands in `disk/device.rs`. What is recorded is not the same twice: a case that
//! fails is kept, with its log, in a directory of its own, from which it is tried again exactly.
//!
//! Linux 6.18 itself dies of some states of btrfs, torn or not: `open_ctree` fails with 1, which `vfs_get_tree` takes for no
//! error and then for a BUG, and the thread that mounts is no more. The rig says so and ends, but that machine is best started
//! anew: try that file system where one may be lost.

mod bench;
mod recording;
mod states;
mod trial;

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::carrier::Carrier;
use crate::disk::FileSystem;
use crate::disk::log::{Log, Promise};
use crate::sim::Random;
use bench::Bench;
pub use bench::Visitor;
pub use recording::Mode;
use recording::Stage;
use states::{Left, Point, States};
use trial::{Resumed, Shown};

/// Of so many states one is gone on from.
const SAMPLE: u64 = 8;
/// Of so many of these one is recorded, for the power to go again.
const AGAIN: u64 = 6;
/// So many states of such a recording are tried.
const STATES_AGAIN: u64 = 8;
/// However long the recordings took, the states of each are tried for so long.
const LEAST: Duration = Duration::from_secs(1);
/// So many states in a row that were tried already: there are no more.
const EXHAUSTED: usize = 2000;

/// The programs that a case is tried with.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The command.
    pub longhaul: PathBuf,
    /// The rig, which starts itself again to mount what may be the end of who mounts it: [`Visitor`].
    pub rig: PathBuf,
}

/// What is tried.
#[derive(Clone, Debug)]
pub struct Plan {
    /// On these file systems, where they can be made.
    pub file_systems: Vec<FileSystem>,
    /// In these modes.
    pub modes: Vec<Mode>,
    /// By these carriers, in turn; whose turn is first, the seed tells.
    pub carriers: Vec<Carrier>,
    /// For so long, all together.
    pub time: Duration,
    /// So many states of each file system.
    pub states: u64,
    /// Those alone that have lost nothing in between.
    pub prefixes: bool,
    /// What they are drawn by.
    pub seed: u64,
    /// Where a case that fails is kept.
    pub keep: PathBuf,
    /// Set when it is to end early, and tidily: a process that ends while it serves a mounted disk may never end.
    pub stop: Arc<AtomicBool>,
}

/// What became of the states of one recording, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// States tried, each once.
    pub states: u64,
    /// So many of them showed what was there before.
    pub old: u64,
    /// So many the new state.
    pub new: u64,
    /// So many did not mount, torn smaller than file systems are made for.
    pub unmountable: u64,
    /// On so many the same command was run again.
    pub resumed: u64,
    /// So many of those kept some bytes of what was there.
    pub kept: u64,
    /// So many of those found the lock of the one that was no more.
    pub locked: u64,
    /// So many of the states are of a command that was run again.
    pub again: u64,
}

impl Tally {
    fn add(&mut self, shown: Shown, resumed: Option<Resumed>) {
        self.states += 1;
        match shown {
            Shown::Old => self.old += 1,
            Shown::New => self.new += 1,
            Shown::Unmountable => self.unmountable += 1,
        }
        if let Some(Resumed { kept, found_lock }) = resumed {
            self.resumed += 1;
            self.kept += u64::from(kept > 0);
            self.locked += u64::from(found_lock);
        }
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            states: self.states + other.states,
            old: self.old + other.old,
            new: self.new + other.new,
            unmountable: self.unmountable + other.unmountable,
            resumed: self.resumed + other.resumed,
            kept: self.kept + other.kept,
            locked: self.locked + other.locked,
            again: self.again + other.again,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, old, new, unmountable, resumed, kept, locked, again } = self;
        write!(
            f,
            "{states} states: {old} showed what was before, {new} the new state, {unmountable} were torn too small to \
             mount; {resumed} resumed, {kept} of them with something kept, {locked} past a lock; {again} while resumed"
        )
    }
}

/// What a run of the rig has tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// What became of the states of each file system in each mode, by a carrier.
    pub cases: Vec<(FileSystem, Mode, Carrier, Tally)>,
}

impl Tried {
    /// All of it together.
    #[must_use]
    pub fn all(&self) -> Tally {
        self.cases.iter().fold(Tally::default(), |all, (.., tally)| all.and(*tally))
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; ", self.all())?;
        for (n, (file_system, mode, carrier, tally)) in self.cases.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{file_system} {mode} {carrier} {}", tally.states)?;
        }
        Ok(())
    }
}

/// Tries what is planned, and tells of each recording when it is done.
///
/// # Errors
/// The first state that is wrong, and how to try it again.
pub fn crash(programs: &Programs, plan: &Plan, tell: &mut dyn FnMut(&str)) -> Result<Tried, String> {
    let start = Instant::now();
    let mut tried = Tried::default();
    let (there, missing): (Vec<_>, Vec<_>) = plan.file_systems.iter().copied().partition(|fs| fs.is_there());
    for file_system in missing {
        tell(&format!("{file_system}: skipped: there is no mkfs.{file_system}"));
    }
    let mut cases: Vec<(FileSystem, Mode, Carrier)> = Vec::new();
    for (n, &mode) in plan.modes.iter().enumerate() {
        // Each file system has all of them: in one mode this one, in the next another.
        let turns = plan.carriers.iter().cycle().skip(n + plan.seed as usize % plan.carriers.len());
        cases.extend(there.iter().zip(turns).map(|(&file_system, &carrier)| (file_system, mode, carrier)));
    }
    for (n, &(file_system, mode, carrier)) in cases.iter().enumerate() {
        if plan.stop.load(Ordering::Relaxed) {
            return Err("stopped".into());
        }
        let case = Case::new(programs, &plan.keep, file_system, mode, carrier, plan.seed)?;
        // Who stops this may have stopped the commands, too: what is wrong then is no news.
        let unless_stopped = |wrong: &dyn Fn() -> String| {
            if plan.stop.load(Ordering::Relaxed) { "stopped".into() } else { wrong() }
        };
        let log = case.stage.record(file_system, plan.seed);
        let log = log.map_err(|error| unless_stopped(&|| case.wrong(&error)))?;
        let states = States::new(&log, plan.seed);
        let share = plan.time.saturating_sub(start.elapsed()) / (cases.len() - n) as u32;
        let until = Instant::now() + share.max(LEAST);
        let limits = Limits {
            until,
            states: plan.states.div_ceil(plan.modes.len() as u64),
            prefixes: plan.prefixes,
            stop: &plan.stop,
        };
        let begun = Instant::now();
        let shared = Shared::default();
        let tally = case.try_states(&states, &limits, &shared);
        let tally = tally.map_err(|wrong| {
            let states = tried.all().states + shared.tried.load(Ordering::Relaxed);
            unless_stopped(&|| format!("after {states} states: {}", case.keep(&wrong, &log)))
        })?;
        let rate = tally.states as f64 / begun.elapsed().as_secs_f64();
        let (events, flushes) = (log.events.len(), states.flushes());
        tell(&format!(
            "{file_system} {mode} {carrier}: {tally}; {events} events, {flushes} flushes, {rate:.0} states a second"
        ));
        tried.cases.push((file_system, mode, carrier, tally));
    }
    Ok(tried)
}

/// Tries one state of a case that was kept again: `at` is its cut and draw.
///
/// # Errors
/// What is wrong with it.
pub fn crash_again(programs: &Programs, kept: &Path, at: &str) -> Result<Tally, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", kept.display());
    let name = fs::read_to_string(kept.join("case")).map_err(wrong)?;
    let [file_system, mode, carrier, seed] = name.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err("this is no case".into());
    };
    let parse = |what: &str| clap::ValueEnum::from_str(what, false);
    let file_system: FileSystem = parse(file_system)?;
    let mode = clap::ValueEnum::from_str(mode, false)?;
    let carrier = clap::ValueEnum::from_str(carrier, false)?;
    let seed = seed.parse().map_err(|_| "the seed is no number")?;
    let point = at.split_once('.').and_then(|(cut, draw)| Some((cut.parse().ok()?, draw.parse().ok()?)));
    let (cut, draw) = point.ok_or("a state is CUT.DRAW")?;
    let log = Log::load(&kept.join("log")).map_err(wrong)?;
    if cut > log.events.len() {
        return Err(format!("there are {} events only", log.events.len()));
    }
    let stage = Stage::set(&programs.longhaul, kept, mode, carrier, seed)?;
    let mut bench = Bench::new(&programs.rig, &programs.longhaul, kept, file_system, &stage)?;
    let left = States::new(&log, seed).left(Point { cut, draw });
    let (shown, resumed) = bench.resume(left)?;
    let mut tally = Tally::default();
    tally.add(shown, resumed);
    Ok(tally)
}

struct Limits<'a> {
    until: Instant,
    states: u64,
    prefixes: bool,
    stop: &'a AtomicBool,
}

impl Limits<'_> {
    fn is_reached(&self) -> bool {
        Instant::now() >= self.until || self.stop.load(Ordering::Relaxed)
    }
}

/// One file system in one mode.
struct Case {
    programs: Programs,
    file_system: FileSystem,
    mode: Mode,
    seed: u64,
    stage: Stage,
    path: PathBuf,
    place: Mutex<Option<TempDir>>,
}

/// What the threads that try states share.
#[derive(Default)]
struct Shared {
    next: AtomicU64,
    tried: AtomicU64,
    stopped: AtomicBool,
    seen: Mutex<HashSet<(u128, Promise)>>,
}

impl Shared {
    /// Whether nobody has tried this yet.
    fn is_new(&self, left: &Left) -> bool {
        let key = (left.disk.sum(), left.promise);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key)
    }
}

/// A state that is wrong.
struct Wrong {
    point: Point,
    what: String,
    /// The log that it is a state of, if that is not the first one.
    log: Option<Log>,
}

impl Wrong {
    fn at(point: Point) -> impl FnOnce(String) -> Self {
        move |what| Self { point, what, log: None }
    }
}

impl Case {
    fn new(
        programs: &Programs,
        keep: &Path,
        file_system: FileSystem,
        mode: Mode,
        carrier: Carrier,
        seed: u64,
    ) -> Result<Self, String> {
        let place = tempfile::Builder::new().prefix("crash-").tempdir_in(keep);
        let place = place.map_err(|error| format!("{}: {error}", keep.display()))?;
        let (programs, path) = (programs.clone(), place.path().to_path_buf());
        let stage = Stage::set(&programs.longhaul, &path, mode, carrier, seed)?;
        Ok(Self { programs, file_system, mode, seed, stage, path, place: Mutex::new(Some(place)) })
    }

    fn bench(&self) -> Result<Bench, String> {
        let Programs { longhaul, rig } = &self.programs;
        Bench::new(rig, longhaul, &self.path, self.file_system, &self.stage)
    }

    fn wrong(&self, error: &str) -> String {
        let Self { file_system, mode, seed, stage, .. } = self;
        format!("{file_system}, mode {mode}, by {}, seed {seed}: {error}", stage.carrier)
    }

    /// Keeps the case with the log of what is wrong, and says that and how to try it again.
    fn keep(&self, wrong: &Wrong, log: &Log) -> String {
        let log = wrong.log.as_ref().unwrap_or(log);
        let Point { cut, draw } = wrong.point;
        let again = if wrong.log.is_some() { " of a command run again" } else { "" };
        let told = self.wrong(&format!("state {cut}.{draw} of {}{again}: {}", log.events.len(), wrong.what));
        let Some(place) = self.place.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return told;
        };
        let place = place.keep();
        let name = format!("{} {} {} {}\n", self.file_system, self.mode, self.stage.carrier, self.seed);
        match fs::write(place.join("case"), name).and_then(|()| log.save(&place.join("log"))) {
            Ok(()) => format!("{told}\nagain: crash --again {} --at {cut}.{draw}", place.display()),
            Err(error) => format!("{told}\nit could not be kept: {error}"),
        }
    }

    fn try_states(&self, states: &States<'_>, limits: &Limits<'_>, shared: &Shared) -> Result<Tally, Wrong> {
        thread::scope(|scope| {
            let work = || {
                let tally = self.work(states, limits, shared);
                shared.stopped.fetch_or(tally.is_err(), Ordering::Relaxed);
                tally
            };
            let threads: Vec<_> = (0..self.file_system.at_once()).map(|_| scope.spawn(work)).collect();
            let ended = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err(Wrong::at(Point::START)("the rig panicked".into())))
            };
            let ended: Vec<_> = threads.into_iter().map(ended).collect();
            ended.into_iter().try_fold(Tally::default(), |all, tally| Ok(all.and(tally?)))
        })
    }

    fn work(&self, states: &States<'_>, limits: &Limits<'_>, shared: &Shared) -> Result<Tally, Wrong> {
        let mut bench = self.bench().map_err(Wrong::at(Point::START))?;
        let (mut tally, mut in_vain) = (Tally::default(), 0);
        while in_vain < EXHAUSTED && !limits.is_reached() && !shared.stopped.load(Ordering::Relaxed) {
            let n = shared.next.fetch_add(1, Ordering::Relaxed);
            let point = states.point(n);
            let left = states.left(point);
            if limits.prefixes && point.draw > 0 || !shared.is_new(&left) {
                in_vain += 1;
                continue;
            }
            in_vain = 0;
            if shared.tried.fetch_add(1, Ordering::Relaxed) >= limits.states {
                break;
            }
            let mut random = Random::new(n ^ self.seed);
            if !random.one_in(SAMPLE) {
                tally.add(bench.look(left).map_err(Wrong::at(point))?, None);
            } else if !random.one_in(AGAIN) {
                let (shown, resumed) = bench.resume(left).map_err(Wrong::at(point))?;
                tally.add(shown, resumed);
            } else {
                let (shown, resumed, log) = bench.record(left).map_err(Wrong::at(point))?;
                tally.add(shown, resumed);
                if let Some(log) = log.filter(|_| resumed.is_some()) {
                    self.try_again(&mut bench, log, limits, shared, &mut tally)?;
                }
            }
        }
        Ok(tally)
    }

    /// Tries states of a command that was run again.
    fn try_again(
        &self,
        bench: &mut Bench,
        log: Log,
        limits: &Limits<'_>,
        shared: &Shared,
        tally: &mut Tally,
    ) -> Result<(), Wrong> {
        let states = States::new(&log, self.seed);
        for n in 0..STATES_AGAIN {
            let point = states.point(n);
            let left = states.left(point);
            let wanted = !limits.prefixes || point.draw == 0;
            if limits.is_reached() || !wanted || !shared.is_new(&left) {
                continue;
            }
            match bench.resume(left) {
                Ok((shown, resumed)) => tally.add(shown, resumed),
                Err(what) => return Err(Wrong { point, what, log: Some(log) }),
            }
            tally.again += 1;
        }
        Ok(())
    }
}
