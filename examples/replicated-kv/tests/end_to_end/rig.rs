//! Members as processes that may be killed and started again, and what clients see of them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use replicated_kv::load::{Connection, Random, Reply};

/// Nothing here takes this long, whatever else the machine does.
const DEADLINE: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(5);

/// Polls until `found` finds something.
#[track_caller]
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

/// What is drawn from: `LONGHAUL_SEED`, or a fresh one that is printed.
pub(crate) fn random() -> Random {
    let seed = std::env::var("LONGHAUL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).unwrap();
        u64::from_le_bytes(seed)
    });
    println!("LONGHAUL_SEED={seed}");
    Random(seed)
}

/// An address of this machine that nobody listens at, and that the system gives to nobody who does not ask for it: a
/// member that is started again must find it free.
fn free_address() -> String {
    let mut draw =
        Random(u64::from(std::process::id()) << 20 | u64::from(Instant::now().elapsed().subsec_nanos()));
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    draw.0 ^= u64::from_le_bytes(bytes);
    poll("a free port", || {
        let address = format!("127.0.0.1:{}", 12_000 + draw.below(18_000));
        TcpListener::bind(&address).ok().map(|_| address)
    })
}

/// A member, whether its process runs or not.
pub(crate) struct Member {
    pub(crate) address: String,
    home: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Member {
    /// A primary with its data in `home`, which runs.
    #[track_caller]
    pub(crate) fn primary(home: &Path, options: &[&str]) -> Self {
        Self::start_new(home, "primary", &[], options)
    }

    /// A replica of `primary`, which runs and has joined.
    #[track_caller]
    pub(crate) fn replica(home: &Path, primary: &Self, options: &[&str]) -> Self {
        Self::joined(Self::start_new(home, "replica", &["--of", &primary.address], options))
    }

    /// A replica of the primary that is reached at `address`, which runs and has joined.
    #[track_caller]
    pub(crate) fn replica_at(home: &Path, address: &str) -> Self {
        Self::joined(Self::start_new(home, "replica", &["--of", address], &[]))
    }

    #[track_caller]
    fn joined(member: Self) -> Self {
        poll("a replica that has joined", || member.applied());
        member
    }

    #[track_caller]
    fn start_new(home: &Path, role: &str, of: &[&str], options: &[&str]) -> Self {
        fs::create_dir_all(home).unwrap();
        let arguments = [role].iter().chain(of).chain(options).map(ToString::to_string).collect();
        let mut member = Self { address: free_address(), home: home.to_owned(), arguments, child: None };
        member.start();
        member
    }

    /// From its next start on it joins from another member first.
    pub(crate) fn joins_from(&mut self, address: &str) {
        if let Some(from) = self.arguments.iter().position(|argument| argument == "--from") {
            self.arguments.truncate(from);
        }
        self.arguments.extend(["--from".to_owned(), address.to_owned()]);
    }

    /// Starts its process, and waits until it listens.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        let file = self.home.join("address");
        let _ = fs::remove_file(&file);
        let mut command = Command::new(env!("CARGO_BIN_EXE_replicated-kv"));
        command.args(&self.arguments).args(["--listen", &self.address]);
        command.arg("--data").arg(self.home.join("data")).arg("--addr-file").arg(&file);
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        poll("a member that listens", || {
            let child = self.child.as_mut().expect("started above");
            assert!(child.try_wait().unwrap().is_none(), "{:?} is over before it listens", self.arguments);
            file.exists().then_some(())
        });
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; the code that it exits with.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        poll("a member's end", || child.try_wait().unwrap()).code()
    }

    /// A client's connection.
    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.address).unwrap()
    }

    /// The answer to one line.
    #[track_caller]
    pub(crate) fn ask(&self, line: &str) -> Reply {
        self.connect().ask(line).unwrap()
    }

    /// The last record that it has applied; `None`: it has no state, or can't be asked.
    pub(crate) fn applied(&self) -> Option<u64> {
        Connection::open(&self.address).and_then(|mut member| member.applied()).ok().flatten()
    }

    /// The most memory that its process has had so far, where the system tells.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.as_ref()?.id())).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kibibytes << 10)
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.join("data")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until all members have come equally far, and returns their root. Nobody writes meanwhile.
#[track_caller]
pub(crate) fn one_root(members: &[&Member]) -> String {
    poll("members that have come equally far", || {
        let applied: Option<Vec<_>> = members.iter().map(|member| member.applied()).collect();
        applied.filter(|applied| applied.iter().all(|one| *one == applied[0]))
    });
    let roots: Vec<_> = members.iter().map(|member| member.ask("ROOT")).collect();
    assert!(roots.iter().all(|root| *root == roots[0]), "not identical: {roots:#?}");
    let Reply::Done(root) = &roots[0] else { panic!("no root: {roots:?}") };
    root.clone()
}
