//! Runs the binary: to its end, or in the background until it is dropped. Nothing waits for ever.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Nothing here takes this long, whatever else the machine does.
const DEADLINE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(10);

/// Polls until `found` finds something.
pub(crate) fn poll<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited too long for {what}");
        thread::sleep(POLL);
    }
}

/// A directory of one's own.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A fresh directory in it.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The command, untouched by the environment of the test.
pub(crate) fn longhaul<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGHAUL_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// It ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// It says this on stderr.
    #[track_caller]
    pub(crate) fn says(self, word: &str) -> Self {
        assert!(self.stderr.contains(word), "no {word:?} in {self:#?}");
        self
    }

    /// Every line of stdout is an object: all of them.
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    }

    /// The last object on stdout.
    pub(crate) fn summary(&self) -> Value {
        self.objects().pop().unwrap_or_else(|| panic!("nothing on stdout: {self:#?}"))
    }
}

/// Runs to the end.
#[track_caller]
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Outcome {
    Running::start(longhaul(args)).wait()
}

/// Runs in the background; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map(reader);
        let stderr = child.stderr.take().map(reader);
        Self { child, stdout, stderr }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn wait(mut self) -> Outcome {
        let status = poll("the command's end", || self.child.try_wait().unwrap());
        let text = |reader: Option<JoinHandle<String>>| reader.unwrap().join().unwrap();
        Outcome { code: status.code(), stdout: text(self.stdout.take()), stderr: text(self.stderr.take()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Over already is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        let _ = from.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// A `serve` or `receive` in the background, and where it listens.
pub(crate) struct Listening {
    pub(crate) running: Running,
    pub(crate) address: String,
}

impl Listening {
    /// Starts `verb path options`, and waits until it listens.
    #[track_caller]
    pub(crate) fn start(verb: &str, path: &Path, options: &[&str]) -> Self {
        let scratch = Scratch::new();
        let file = scratch.join("address");
        let mut command = longhaul([verb.as_ref(), path.as_os_str()]);
        command.args(["--listen", "127.0.0.1:0", "--addr-file"]).arg(&file).args(options);
        let mut running = Running::start(command);
        let address = poll("the address", || {
            if running.is_over() {
                return Some(Err(()));
            }
            fs::read_to_string(&file).ok().map(|text| Ok(text.trim().to_owned()))
        });
        match address {
            Ok(address) => Self { running, address },
            Err(()) => panic!("{verb} is over before it listens: {:#?}", running.wait()),
        }
    }

    pub(crate) fn serve(path: &Path, options: &[&str]) -> Self {
        Self::start("serve", path, options)
    }

    pub(crate) fn receive(path: &Path, options: &[&str]) -> Self {
        Self::start("receive", path, options)
    }

    pub(crate) fn wait(self) -> Outcome {
        self.running.wait()
    }
}

/// `fetch address destination options`, in the background.
pub(crate) fn start_fetch(address: &str, destination: &Path, options: &[&str]) -> Running {
    let mut command = longhaul(["fetch", address]);
    command.arg(destination).args(options);
    Running::start(command)
}

/// `fetch address destination options`, to the end.
#[track_caller]
pub(crate) fn fetch(address: &str, destination: &Path, options: &[&str]) -> Outcome {
    start_fetch(address, destination, options).wait()
}

/// `push path address options`, to the end.
#[track_caller]
pub(crate) fn push(path: &Path, address: &str, options: &[&str]) -> Outcome {
    let mut command = longhaul(["push".as_ref(), path.as_os_str(), address.as_ref()]);
    command.args(options);
    Running::start(command).wait()
}

/// A user who is not root.
const NOBODY: u32 = 65_534;

/// The command as a user who is not root, and a copy of it that this user may read: it runs with both.
/// `None` if only this user's own rights are to be had and they are root's.
pub(crate) fn unprivileged<S: AsRef<OsStr>>(
    home: &Scratch,
    args: impl IntoIterator<Item = S>,
) -> Option<Command> {
    let mut command = longhaul(args);
    if !is_root() {
        return Some(command);
    }
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = home.join("longhaul");
    fs::copy(command.get_program(), &program).unwrap();
    let mut other = Command::new(&program);
    other.args(command.get_args()).env_clear().stdin(Stdio::null()).current_dir("/").uid(NOBODY).gid(NOBODY);
    command = other;
    // A sandbox may have no other user.
    let mut trial = Command::new(&program);
    let runs = trial.arg("--version").uid(NOBODY).gid(NOBODY).current_dir("/").output();
    runs.is_ok_and(|output| output.status.success()).then_some(command)
}

/// What [`unprivileged`] made, behind what a shell does first.
pub(crate) fn within(command: &Command, first: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("{first} && exec \"$0\" \"$@\"")).arg(command.get_program());
    shell.args(command.get_args()).env_clear().stdin(Stdio::null()).current_dir("/");
    if is_root() {
        shell.uid(NOBODY).gid(NOBODY);
    }
    shell
}

/// Root can't be denied what modes deny.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
