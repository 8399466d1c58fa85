//! The kill rig: the real command, killed at its n-th call of the system, or told that the call failed.
//!
//! strace does it. A first run, which is let through, tells which calls there are and how often one thread makes
//! each; every one of them is then a case: the command is killed there, or the call fails with an errno. It is a
//! `fetch` from a provider that is let alone, or a `push` to a joiner that is, by either transport, seen or spliced.
//!
//! A ring's operations are no calls, but each batch of them is submitted by one (`io_uring_enter`), and its thread
//! waits for completions by another (`epoll_wait`): killed there, the command has seen so many completions, and has the
//! operations of some files under way. (Killed at each single completion of a batch is what a test of the ring's own crate is:
//! `transport-uring/src/trials/killed.rs`.) What an operation itself fails with is for the disk rig. After each case
//!
//! - the destination is the old state or the whole new one, and what claims success has published;
//! - no error is a panic, and nothing hangs;
//! - the same command, let alone, comes to its end, and nothing is left beside the destination.

mod state;
mod strace;

use std::fmt;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use longhaul_core::integrity::crc32c;
use longhaul_core::reason::Side;

use crate::carrier::Carrier;
use crate::listening::Listening;

pub use strace::is_there;
use strace::{Injection, Traced};

/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(1);
/// What all sessions are told.
const SESSION: [&str; 3] = ["--no-redial", "--stall-timeout", "5s"];

/// Which points are tried: drawn by the seed, until one of the bounds is reached.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of this side alone.
    pub side: Option<Side>,
    /// By this carrier alone.
    pub carrier: Option<Carrier>,
    /// What their order is drawn by.
    pub seed: u64,
    /// For how long.
    pub time: Duration,
    /// So many cases at most.
    pub cases: usize,
}

/// What a run of the rig has tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    /// Points of which each is a case with every errno and a kill.
    pub points: usize,
    /// Cases that were tried.
    pub cases: usize,
    /// In so many the command was killed, or failed; in the others the call did not matter.
    pub ended: usize,
    /// In so many of these the new state was there already.
    pub published: usize,
}

/// Which command is killed, and what it does.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    side: Side,
    replace: bool,
    carrier: Carrier,
}

impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {}, by {}, replace: {}", self.side, self.carrier, self.replace)
    }
}

/// One place to end at.
#[derive(Clone, Debug)]
struct Point {
    transfer: Transfer,
    call: String,
    nth: usize,
}

/// Tries what is planned.
///
/// # Errors
/// The first case in which a promise was broken, with all that is needed to try it again.
pub fn kills(longhaul: &Path, plan: Plan) -> Result<Tried, String> {
    let rig = Rig::new(longhaul)?;
    let mut points = Vec::new();
    for transfer in transfers(&plan) {
        for (call, times) in rig.calls(transfer)? {
            points.extend((1..=times).map(|nth| Point { transfer, call: call.clone(), nth }));
        }
    }
    points.sort_by_cached_key(|point| crc32c(format!("{} {point:?}", plan.seed).as_bytes()));
    let mut tried = Tried { points: points.len(), ..Tried::default() };
    let start = Instant::now();
    for (n, point) in points.iter().enumerate() {
        let errnos = strace::errnos(&point.call, point.transfer.carrier.transport());
        let errno = errnos.get(n % errnos.len().max(1)).copied();
        for what in iter::once("KILL").chain(errno) {
            if tried.cases >= plan.cases || start.elapsed() >= plan.time {
                return Ok(tried);
            }
            let injection = Injection { call: &point.call, nth: point.nth, what };
            let wrong = |error| format!("{injection} at {}: {error}", point.transfer);
            rig.case(point.transfer, &injection, &mut tried).map_err(wrong)?;
        }
    }
    Ok(tried)
}

/// Those that are wanted.
fn transfers(plan: &Plan) -> impl Iterator<Item = Transfer> {
    let Plan { side: only, carrier: by, .. } = *plan;
    let sides = [(Side::Joiner, false), (Side::Joiner, true), (Side::Provider, false)];
    let all = Carrier::ALL
        .iter()
        .flat_map(move |&carrier| sides.map(|(side, replace)| Transfer { side, replace, carrier }));
    all.filter(move |transfer| {
        only.is_none_or(|side| side == transfer.side) && by.is_none_or(|carrier| carrier == transfer.carrier)
    })
}

struct Rig {
    longhaul: PathBuf,
    scratch: tempfile::TempDir,
    provider: Listening,
}

impl Rig {
    fn new(longhaul: &Path) -> Result<Self, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let source = scratch.path().join("source");
        state::make(&source, "new");
        let provider = Listening::start(Command::new(longhaul).arg("serve").arg(source), scratch.path())?;
        Ok(Self { longhaul: longhaul.to_path_buf(), scratch, provider })
    }

    /// The calls that one transfer makes at this side, and how often a thread of it makes each at most.
    fn calls(&self, transfer: Transfer) -> Result<Vec<(String, usize)>, String> {
        let traced = self.transfer(transfer, &self.home(transfer.replace), None)?;
        if traced.code != Some(0) {
            return Err(format!("a transfer that was let alone failed: {}", traced.stderr));
        }
        Ok(traced.calls)
    }

    /// One transfer, this side of it traced.
    fn transfer(
        &self,
        transfer: Transfer,
        home: &Path,
        injection: Option<&Injection<'_>>,
    ) -> Result<Traced, String> {
        let (scratch, carrier) = (self.scratch.path(), transfer.carrier);
        let trace = scratch.join("trace");
        if transfer.side == Side::Joiner {
            return Traced::run(&mut self.fetch(home, transfer), injection, &trace);
        }
        let mut receive = Command::new(&self.longhaul);
        receive
            .arg("receive")
            .arg(home.join("to"))
            .arg("--once")
            .args(SESSION)
            .args(carrier.arguments(Side::Joiner));
        let mut joiner = Listening::start(&mut receive, scratch)?;
        let mut push = Command::new(&self.longhaul);
        push.arg("push").arg(scratch.join("source")).arg(&joiner.address).arg("-q").args(SESSION);
        push.args(carrier.arguments(Side::Provider));
        let traced = Traced::run(&mut push, injection, &trace)?;
        // One that heard nothing of a provider waits for the next: it is killed.
        if traced.code == Some(0) {
            joiner.child.wait().map_err(|error| error.to_string())?;
        }
        Ok(traced)
    }

    /// A directory for a destination, with an old state if one is to be replaced.
    fn home(&self, replace: bool) -> PathBuf {
        let home = self.scratch.path().join("home");
        let _ = fs::remove_dir_all(&home);
        fs::create_dir(&home).expect("room for a destination");
        if replace {
            state::make(&home.join("to"), "old");
        }
        home
    }

    fn fetch(&self, home: &Path, transfer: Transfer) -> Command {
        let mut command = Command::new(&self.longhaul);
        command.arg("fetch").arg(&self.provider.address).arg(home.join("to"));
        command.arg("-q").args(SESSION).args(transfer.carrier.arguments(Side::Joiner));
        if transfer.replace {
            command.arg("--replace");
        }
        command
    }

    fn case(&self, transfer: Transfer, injection: &Injection<'_>, tried: &mut Tried) -> Result<(), String> {
        let replace = transfer.replace;
        let home = self.home(replace);
        let to = home.join("to");
        let traced = self.transfer(transfer, &home, Some(injection))?;
        tried.cases += 1;
        if traced.stderr.contains("panicked") {
            return Err(format!("it panicked: {}", traced.stderr));
        }
        let (old, new) = (if replace { "old" } else { "" }, "new");
        let shows = state::shows(&to);
        if shows != old && shows != new {
            return Err(format!("the destination shows {shows:?}; it said: {}", traced.stderr));
        }
        if traced.code == Some(0) && shows != new {
            return Err("it claims to have published, and has not".into());
        }
        tried.ended += usize::from(traced.code != Some(0));
        tried.published += usize::from(traced.code != Some(0) && shows == new);
        // Published, and its journal gone: only its last word was lost.
        let over = shows == new && !home.join(".to.longhaul.journal").exists();
        if over && !replace {
            return Ok(());
        }
        let again = self.fetch(&home, transfer).output().map_err(|error| error.to_string())?;
        let words = String::from_utf8_lossy(&again.stderr);
        if again.status.code() != Some(0) || state::shows(&to) != new {
            return Err(format!("the same command again: {:?}, {words}", again.status));
        }
        let left: Vec<_> = fs::read_dir(&home).map_err(|error| error.to_string())?.flatten().collect();
        if left.len() > 1 {
            let names: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
            return Err(format!("what is left: {names:?}"));
        }
        Ok(())
    }
}
