//! The real command: started, listened to, killed, waited for.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A run that takes longer hangs, unless it was told to wait for longer.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// The command as it is now, in the profile of the test that asks: built, if it has changed.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn longhaul() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--locked", "--quiet", "--package", "longhaul-cli"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(
            build.status().expect("cargo is there: it has built this test").success(),
            "it does not build"
        );
        let test = std::env::current_exe().expect("this test runs from a file");
        // A test lies in `deps`, beside which the command comes to lie.
        test.ancestors().nth(2).expect("tests lie in a target directory").join("longhaul")
    };
    BUILT.get_or_init(build).clone()
}

/// A run of the command; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Arc<Mutex<Child>>,
    /// The objects on its stdout; they end with it.
    said: Receiver<Value>,
    stderr: File,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none if it was killed.
    pub code: Option<i32>,
    /// What it said since it was last listened to, one object after the other.
    pub said: Vec<Value>,
    /// Its last object.
    pub last: Value,
    /// What it said to people.
    pub stderr: String,
    /// When its end was seen.
    pub at: Instant,
}

impl Running {
    /// Starts `longhaul` with these arguments, and with `--json`.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start<A: AsRef<std::ffi::OsStr>>(
        longhaul: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, String> {
        let mut command = Command::new(longhaul);
        command.args(arguments);
        Self::run(command)
    }

    /// Starts a command that is `longhaul`, or becomes it, with `--json` behind its arguments.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn run(mut command: Command) -> Result<Self, String> {
        let program = command.get_program().to_owned();
        let failed = |error| format!("{}: {error}", program.display());
        let stderr = tempfile::tempfile().map_err(failed)?;
        command.arg("--json").env("RUST_LOG", "error").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(stderr.try_clone().map_err(failed)?);
        let mut child = command.spawn().map_err(failed)?;
        let stdout = child.stdout.take().ok_or("it has no stdout")?;
        let (sender, said) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            for object in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                // Whether or not anybody listens, it must be read.
                let _ = sender.send(object);
            }
        });
        Ok(Self { child: Arc::new(Mutex::new(child)), said, stderr })
    }

    /// Waits for the first object with this word as its `event`.
    ///
    /// # Errors
    /// If it ends before, or never says so.
    pub fn until(&self, event: &str) -> Result<Value, String> {
        loop {
            let object = self.said.recv_timeout(PATIENCE).map_err(|_| format!("it never said {event}"))?;
            if object["event"] == event {
                return Ok(object);
            }
        }
    }

    /// The next object that it says, if it does within `patience`.
    #[must_use]
    pub fn next_within(&self, patience: Duration) -> Option<Value> {
        self.said.recv_timeout(patience).ok()
    }

    /// What kills it, from any thread.
    pub fn killer(&self) -> impl FnOnce() + Send + 'static + use<> {
        let child = Arc::clone(&self.child);
        move || {
            // Over already is as good as killed.
            let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
        }
    }

    /// The most memory that it has had resident, in bytes.
    ///
    /// # Errors
    /// If it is over, or the system does not tell.
    pub fn most_resident(&self) -> Result<u64, String> {
        let id = self.child.lock().unwrap_or_else(PoisonError::into_inner).id();
        let status =
            std::fs::read_to_string(format!("/proc/{id}/status")).map_err(|error| error.to_string())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        let kilobytes: u64 =
            line.trim().trim_end_matches(" kB").parse().map_err(|_| format!("VmHWM is {line}"))?;
        Ok(kilobytes << 10)
    }

    /// Waits for its end, but no longer than `patience`.
    ///
    /// # Errors
    /// If it hangs, or panicked.
    pub fn wait(mut self, patience: Duration) -> Result<Ended, String> {
        let deadline = Instant::now() + patience;
        let mut said = Vec::new();
        loop {
            match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(object) => said.push(object),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("it hangs; it said last {:?}", said.last()));
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let at = Instant::now();
        let status = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
        let code = status.map_err(|error| error.to_string())?.code();
        let mut stderr = String::new();
        let read = self.stderr.seek(SeekFrom::Start(0)).and_then(|_| self.stderr.read_to_string(&mut stderr));
        read.map_err(|error| error.to_string())?;
        if stderr.contains("panicked") {
            return Err(format!("it panicked: {stderr}"));
        }
        let last = said.last().cloned().unwrap_or_default();
        Ok(Ended { code, said, last, stderr, at })
    }

    /// Waits for its end, however long it takes.
    ///
    /// # Errors
    /// If it panicked.
    pub fn over(self) -> Result<Ended, String> {
        self.wait(Duration::from_secs(1 << 32))
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn is_over(&self) -> Result<bool, String> {
        let ended = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
        ended.map(|status| status.is_some()).map_err(|error| error.to_string())
    }

    /// Kills it, and looks at what it has said.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub fn end(self) -> Result<Ended, String> {
        self.killer()();
        self.wait(PATIENCE)
    }
}

impl Ended {
    /// What it said of this kind.
    pub fn events<'a>(&'a self, event: &'a str) -> impl Iterator<Item = &'a Value> {
        self.said.iter().filter(move |object| object["event"] == event)
    }

    /// What it warned of.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.events("warning").filter_map(|warning| warning["message"].as_str())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.killer()();
        // It is no zombie, whoever looks.
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

/// The command beside this program.
///
/// # Errors
/// If this program does not know where it is.
pub fn beside() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(here.with_file_name("longhaul"))
}
