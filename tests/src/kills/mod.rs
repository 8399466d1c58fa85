//! The kill rig: the real command, killed at its n-th call of the system, or told that the call failed.
//!
//! strace does it. A first run, which is let through, tells which calls there are and how often one thread makes
//! each; every one of them is then a case: the fetch is killed there, or the call fails with an errno. After
//! each case
//!
//! - the destination is the old state or the whole new one, and what claims success has published;
//! - no error is a panic, and nothing hangs;
//! - the same command, let alone, comes to its end, and nothing is left beside the destination.

mod state;
mod strace;

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use longhaul_core::integrity::crc32c;

pub use strace::is_there;
use strace::{Injection, Traced};

/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(1);

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

/// One place to end at.
#[derive(Clone, Debug)]
struct Point {
    replace: bool,
    call: String,
    nth: usize,
}

/// Tries points drawn by `seed`, or all, for at most `time`.
///
/// # Errors
/// The first case in which a promise was broken, with all that is needed to try it again.
pub fn kills(longhaul: &Path, time: Duration, seed: u64, all: bool) -> Result<Tried, String> {
    let rig = Rig::new(longhaul)?;
    let mut points = Vec::new();
    for replace in [false, true] {
        for (call, times) in rig.calls(replace)? {
            points.extend((1..=times).map(|nth| Point { replace, call: call.clone(), nth }));
        }
    }
    points.sort_by_cached_key(|point| crc32c(format!("{seed} {point:?}").as_bytes()));
    let mut tried = Tried { points: points.len(), ..Tried::default() };
    let start = Instant::now();
    for (n, point) in points.iter().enumerate() {
        let errnos = strace::errnos(&point.call);
        let errno = errnos.get(n % errnos.len().max(1)).copied();
        for what in iter::once("KILL").chain(errno) {
            if !all && start.elapsed() >= time {
                return Ok(tried);
            }
            let injection = Injection { call: &point.call, nth: point.nth, what };
            rig.case(point.replace, &injection, &mut tried)
                .map_err(|error| format!("{injection}, replace: {}: {error}", point.replace))?;
        }
    }
    Ok(tried)
}

struct Rig {
    longhaul: PathBuf,
    scratch: tempfile::TempDir,
    provider: Provider,
}

/// A provider that is let alone.
struct Provider {
    child: Child,
    address: String,
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Over already is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Provider {
    fn start(longhaul: &Path, scratch: &Path) -> Result<Self, String> {
        let file = scratch.join("address");
        let mut command = Command::new(longhaul);
        command.arg("serve").arg(scratch.join("source")).args([
            "--listen",
            "127.0.0.1:0",
            "-q",
            "--addr-file",
        ]);
        let child = command.arg(&file).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("{}: {error}", longhaul.display()))?;
        let mut provider = Self { child, address: String::new() };
        let start = Instant::now();
        while provider.address.is_empty() {
            if start.elapsed() > PATIENCE {
                return Err("the provider does not listen".into());
            }
            fs::read_to_string(&file).unwrap_or_default().trim().clone_into(&mut provider.address);
            std::thread::yield_now();
        }
        Ok(provider)
    }
}

impl Rig {
    fn new(longhaul: &Path) -> Result<Self, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        state::make(&scratch.path().join("source"), "new");
        let provider = Provider::start(longhaul, scratch.path())?;
        Ok(Self { longhaul: longhaul.to_path_buf(), scratch, provider })
    }

    /// The calls that one fetch makes, and how often a thread of it makes each at most.
    fn calls(&self, replace: bool) -> Result<Vec<(String, usize)>, String> {
        let home = self.home(replace);
        let traced = Traced::run(&mut self.fetch(&home, replace), None, &self.scratch.path().join("trace"))?;
        if traced.code != Some(0) {
            return Err(format!("a fetch that was let alone failed: {}", traced.stderr));
        }
        Ok(traced.calls)
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

    fn fetch(&self, home: &Path, replace: bool) -> Command {
        let mut command = Command::new(&self.longhaul);
        command.arg("fetch").arg(&self.provider.address).arg(home.join("to"));
        command.args(["-q", "--no-redial", "--stall-timeout", "5s"]);
        if replace {
            command.arg("--replace");
        }
        command
    }

    fn case(&self, replace: bool, injection: &Injection<'_>, tried: &mut Tried) -> Result<(), String> {
        let home = self.home(replace);
        let to = home.join("to");
        let trace = self.scratch.path().join("trace");
        let traced = Traced::run(&mut self.fetch(&home, replace), Some(injection), &trace)?;
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
        let again = self.fetch(&home, replace).output().map_err(|error| error.to_string())?;
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
