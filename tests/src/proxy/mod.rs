//! The proxy rig: between the real provider and the real joiner, at a drawn byte, something goes wrong.
//!
//! After each round
//!
//! - the command that dialled has done its work, or says with an exit code of the network why not; it did not panic;
//! - it came to its end within twice the stall timeout after the last fault, and so did the other side's session;
//! - the destination is absent, or the whole state, and it is there if that was said;
//! - the same command without the fault comes to its end, and nothing is left beside the destination.

mod fault;
mod listening;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::between::{Between, Meddling, Toward, Watch};
use crate::command::{Ended, PATIENCE, Running};
use crate::drawn::State;
use crate::sim::Random;
use crate::transport::Transport;
use fault::{Carried, Transfer};
use listening::Listening;

/// What all sides are told.
const STALL: Duration = Duration::from_millis(600);
/// After the last fault a session ends within twice the stall timeout; so long may a busy machine take to
/// start and end threads and processes.
const BOUND: Duration = STALL.saturating_mul(2).saturating_add(Duration::from_millis(800));
/// How a command ends that met a fault of the network: unreachable, another protocol, integrity, stalled.
const CODES: [i32; 4] = [10, 12, 23, 30];
/// How a push ends whose joiner's last word was lost.
const UNCONFIRMED: i32 = 14;
/// Rounds at once: they mostly wait.
const AT_ONCE: usize = 8;

/// What a run of the rig has seen.
#[derive(Clone, Debug, Default)]
pub struct Proxied {
    /// Rounds.
    pub rounds: usize,
    /// Rounds in which the fault came about.
    pub meddled: usize,
    /// How often each exit code came.
    pub codes: HashMap<i32, usize>,
    /// The longest that a command took to end after the last fault.
    pub longest: Duration,
    /// The longest that the listener's session took to end after its connections.
    pub longest_listener: Duration,
}

/// Tries so many rounds, drawn by `seed`, in `scratch`.
///
/// # Errors
/// The first round in which a promise was broken, with all that is needed to try it again.
pub fn rounds(longhaul: &Path, scratch: &Path, rounds: usize, seed: u64) -> Result<Proxied, String> {
    let rig = Rig::new(longhaul, scratch)?;
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Proxied::default()));
    let work = |worker: usize| -> Result<(), String> {
        let mut worker = Worker::new(&rig, worker)?;
        loop {
            let round = next.fetch_add(1, Ordering::Relaxed);
            if round >= rounds {
                return worker.end();
            }
            // Each round by its own seed, so that it can be tried alone.
            worker.round(seed + round as u64, &tally).inspect_err(|_| {
                next.store(rounds, Ordering::Relaxed);
            })?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..AT_ONCE.min(rounds)).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "the rig panicked")?)
    })?;
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

struct Rig {
    longhaul: PathBuf,
    scratch: PathBuf,
    /// The small state and the large one.
    states: [State; 2],
}

impl Rig {
    fn new(longhaul: &Path, scratch: &Path) -> Result<Self, String> {
        let states = [State::draw(1, 300_000, 12), State::draw(2, 3_000_000, 40)];
        let rig = Self { longhaul: longhaul.to_owned(), scratch: scratch.to_owned(), states };
        for large in [false, true] {
            rig.state(large).make(&rig.source(large)).map_err(|error| error.to_string())?;
        }
        Ok(rig)
    }

    fn state(&self, large: bool) -> &State {
        &self.states[usize::from(large)]
    }

    fn source(&self, large: bool) -> PathBuf {
        self.scratch.join(if large { "large" } else { "small" })
    }

    fn run(&self, transport: Transport, arguments: &[&str]) -> Result<Running, String> {
        let stall = format!("{}ms", STALL.as_millis());
        let terms = [["--stall-timeout", &stall], transport.arguments()].concat();
        Running::start(&self.longhaul, [arguments, &terms].concat())
    }
}

/// Goes from round to round, with a provider of each state by each transport of its own.
struct Worker<'a> {
    rig: &'a Rig,
    home: PathBuf,
    /// Of the small state, and of the large one.
    providers: [Vec<Listening>; 2],
    /// What transfers carry that are let alone.
    carried: HashMap<Transfer, Carried>,
}

/// Counts what each connection carries.
#[derive(Default)]
struct Count(Mutex<Carried>);

impl Watch for Count {
    fn carried(&self, connection: usize, toward: Toward, bytes: &[u8]) {
        let mut carried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if carried.len() <= connection {
            carried.resize(connection + 1, [0; 2]);
        }
        carried[connection][usize::from(toward == Toward::Listener)] += bytes.len();
    }
}

impl<'a> Worker<'a> {
    fn new(rig: &'a Rig, number: usize) -> Result<Self, String> {
        let serve = |large, transport| {
            let source = rig.source(large);
            let source = source.to_str().ok_or("a path that is no text")?;
            let arguments = ["serve", source, "--listen", "127.0.0.1:0", "--lanes", "3"];
            Listening::new(rig.run(transport, &arguments)?)
        };
        let home = rig.scratch.join(number.to_string());
        let by_each = |large| {
            Transport::ALL.map(|transport| serve(large, transport)).into_iter().collect::<Result<_, String>>()
        };
        let providers = [by_each(false)?, by_each(true)?];
        Ok(Self { rig, home, providers, carried: HashMap::new() })
    }

    fn end(self) -> Result<(), String> {
        self.providers.into_iter().flatten().try_for_each(Listening::end)
    }

    fn round(&mut self, seed: u64, tally: &Mutex<Proxied>) -> Result<(), String> {
        let mut random = Random::new(seed);
        let transfer = Transfer::draw(&mut random);
        let mut words = format!("seed {seed}: {transfer:?}");
        let wrong = |words: &str, error: String| format!("{words}: {error}");
        if !self.carried.contains_key(&transfer) {
            let carried = self.let_alone(transfer).map_err(|error| wrong(&words, error))?;
            self.carried.insert(transfer, carried);
        }
        let fault = fault::draw(&mut random, &self.carried[&transfer]);
        words = format!("{words}, {fault:?}");
        self.meddled(transfer, fault, tally).map_err(|error| wrong(&words, error))
    }

    /// How much a transfer carries.
    fn let_alone(&mut self, transfer: Transfer) -> Result<Carried, String> {
        let count = Arc::new(Count::default());
        let mut attempt = Attempt::new(self, transfer)?;
        let between = attempt.between(&[], Arc::clone(&count) as Arc<_>)?;
        let ended = attempt.dial(&between.address().to_string())?.wait(PATIENCE)?;
        between.finish();
        attempt.is_done(&ended)?;
        attempt.over()?;
        Ok(std::mem::take(&mut count.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn meddled(&mut self, transfer: Transfer, fault: Meddling, tally: &Mutex<Proxied>) -> Result<(), String> {
        let mut attempt = Attempt::new(self, transfer)?;
        let between = attempt.between(&[fault], Arc::new(()))?;
        let ended = attempt.dial(&between.address().to_string())?.wait(PATIENCE)?;
        let meddled = between.meddled();
        drop(between);
        let took = meddled.map_or(Duration::ZERO, |meddled| ended.at.saturating_duration_since(meddled));
        let code = ended.code.unwrap_or(-1);
        if took > BOUND {
            return Err(format!("it took {took:?} to end: {ended:?}"));
        }
        let listener = attempt.listener().settled(BOUND)?;
        if code == 0 {
            attempt.is_done(&ended)?;
        } else if code == UNCONFIRMED && meddled.is_some() {
            // The last word was lost: only the joiner knows.
            attempt.is_absent_or_whole()?;
        } else if CODES.contains(&code) && meddled.is_some() {
            attempt.is_absent_or_whole()?;
            let address = attempt.listener().address.to_string();
            let again = attempt.dial(&address)?.wait(PATIENCE)?;
            attempt.is_done(&again).map_err(|error| format!("the same command again: {error}"))?;
        } else {
            return Err(format!("it ended so: {ended:?}"));
        }
        attempt.over()?;
        let mut seen = tally.lock().unwrap_or_else(PoisonError::into_inner);
        seen.rounds += 1;
        seen.meddled += usize::from(meddled.is_some());
        *seen.codes.entry(code).or_default() += 1;
        seen.longest = seen.longest.max(took);
        seen.longest_listener = seen.longest_listener.max(listener);
        Ok(())
    }
}

/// One transfer, tried until it is done.
struct Attempt<'a> {
    rig: &'a Rig,
    transfer: Transfer,
    copy: PathBuf,
    /// The joiner that a push needs.
    receiving: Option<Listening>,
    provider: &'a mut Listening,
}

impl<'a> Attempt<'a> {
    fn new(worker: &'a mut Worker<'_>, transfer: Transfer) -> Result<Self, String> {
        let (rig, by, home) = (worker.rig, transfer.transport, &worker.home);
        let _ = fs::remove_dir_all(home);
        fs::create_dir(home).map_err(|error| error.to_string())?;
        let copy = home.join("copy");
        let lanes = transfer.lanes.to_string();
        let path = copy.to_str().ok_or("a path that is no text")?;
        let receive = || {
            // Published or not, the same command comes again.
            let arguments = ["receive", path, "--listen", "127.0.0.1:0", "--replace", "--max-sessions", "1"];
            let terms = ["--lanes", &lanes, "--integrity", transfer.integrity()];
            Listening::new(rig.run(by, &[&arguments[..], &terms].concat())?)
        };
        let receiving = transfer.push.then(receive).transpose()?;
        let provider = &mut worker.providers[usize::from(transfer.large)][by as usize];
        Ok(Self { rig, transfer, copy, receiving, provider })
    }

    fn listener(&mut self) -> &mut Listening {
        self.receiving.as_mut().unwrap_or(self.provider)
    }

    fn between(&mut self, meddling: &[Meddling], watch: Arc<dyn Watch>) -> Result<Between, String> {
        Between::new(self.listener().address, meddling, watch).map_err(|error| error.to_string())
    }

    /// Starts the command that dials.
    fn dial(&self, address: &str) -> Result<Running, String> {
        let lanes = self.transfer.lanes.to_string();
        let source = self.rig.source(self.transfer.large);
        let (source, copy) = (source.to_str().unwrap_or_default(), self.copy.to_str().unwrap_or_default());
        if self.transfer.push {
            return self.rig.run(self.transfer.transport, &["push", source, address, "--lanes", &lanes]);
        }
        let integrity = self.transfer.integrity();
        let arguments = ["fetch", address, copy, "--lanes", &lanes, "--integrity", integrity];
        self.rig.run(self.transfer.transport, &arguments)
    }

    /// The command says that it has done its work: it has.
    fn is_done(&self, ended: &Ended) -> Result<(), String> {
        if ended.code != Some(0) {
            return Err(format!("it is not done: {ended:?}"));
        }
        self.rig.state(self.transfer.large).compare(&self.copy)?;
        let names = self.names();
        if names.len() == 1 { Ok(()) } else { Err(format!("what is left: {names:?}")) }
    }

    fn names(&self) -> Vec<String> {
        let home = self.copy.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten();
        home.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    fn is_absent_or_whole(&self) -> Result<(), String> {
        if fs::symlink_metadata(&self.copy).is_err() {
            return Ok(());
        }
        self.rig.state(self.transfer.large).compare(&self.copy)
    }

    fn over(mut self) -> Result<(), String> {
        self.listener().settled(BOUND)?;
        self.receiving.map_or(Ok(()), Listening::end)
    }
}

impl Transfer {
    const fn integrity(self) -> &'static str {
        if self.blake3 { "blake3" } else { "crc32c" }
    }
}
