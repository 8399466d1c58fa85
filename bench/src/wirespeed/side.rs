//! What one side of a transfer cost: measured by the process itself, told on its standard output.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

/// One round of one case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    /// Sender and receiver, where they are known apart.
    pub(crate) sender: Option<Cost>,
    pub(crate) receiver: Option<Cost>,
    /// A digest of the work, so that none is optimised away.
    pub(crate) digest: String,
    /// Of several receivers, the rate of the slowest as a part of the fastest's.
    pub(crate) fairness: Option<f64>,
}

/// What a process used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
}

/// What this process has used so far.
pub(crate) fn own_cost() -> Cost {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Cost { cpu_seconds: cpu::seconds(cpu::SELF), peak_bytes: kib.unwrap_or(0) * 1024 }
}

/// What the processes that this one has waited for have used.
pub(crate) fn children_cost() -> Cost {
    Cost { cpu_seconds: cpu::seconds(cpu::CHILDREN), peak_bytes: 0 }
}

#[cfg(target_os = "linux")]
mod cpu {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;

    pub(super) const SELF: UsageWho = UsageWho::RUSAGE_SELF;
    pub(super) const CHILDREN: UsageWho = UsageWho::RUSAGE_CHILDREN;

    pub(super) fn seconds(who: UsageWho) -> f64 {
        getrusage(who).map_or(0.0, |usage| {
            (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod cpu {
    pub(super) const SELF: () = ();
    pub(super) const CHILDREN: () = ();

    pub(super) fn seconds((): ()) -> f64 {
        0.0
    }
}

/// Tells the parent something: one line of JSON.
pub(crate) fn tell(value: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

/// Tells the parent what this side has cost, at its end.
pub(crate) fn tell_cost(started: Instant, bytes: u64, digest: &str) -> io::Result<()> {
    let (seconds, cost) = (started.elapsed().as_secs_f64(), own_cost());
    tell(
        &json!({ "seconds": seconds, "bytes": bytes, "digest": digest, "cpu": cost.cpu_seconds, "peak": cost.peak_bytes }),
    )
}

/// A child process that plays one side.
pub(crate) struct Side {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Side {
    pub(crate) fn start<A: AsRef<OsStr>>(arguments: &[A]) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or_else(|| io::Error::other("the child has no output"))?;
        Ok(Self { child, lines: BufReader::new(out) })
    }

    /// One that listens, and where.
    pub(crate) fn listen<A: AsRef<OsStr>>(arguments: &[A]) -> io::Result<(Self, String)> {
        let mut side = Self::start(arguments)?;
        let address = side.hear()?["address"].as_str().unwrap_or_default().to_owned();
        Ok((side, address))
    }

    /// The next thing that it tells.
    fn hear(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a side of the transfer ended without a word"));
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> io::Result<Ended> {
        let told = self.hear()?;
        if !self.child.wait()?.success() {
            return Err(io::Error::other("a side of the transfer failed"));
        }
        let cost = Cost {
            cpu_seconds: told["cpu"].as_f64().unwrap_or(0.0),
            peak_bytes: told["peak"].as_u64().unwrap_or(0),
        };
        Ok(Ended { seconds: told["seconds"].as_f64().unwrap_or(0.0), cost, told })
    }

    /// One that never ends by itself.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

/// What a side told last.
pub(crate) struct Ended {
    pub(crate) told: Value,
    pub(crate) seconds: f64,
    pub(crate) cost: Cost,
}

/// Runs a side that tells its address, and one that is given it.
pub(crate) fn both<A: AsRef<OsStr>>(
    first: &[A],
    second: &dyn Fn(&str) -> Vec<String>,
    first_sends: bool,
) -> io::Result<Measured> {
    let (listener, dialler) = play(first, second)?;
    let (sender, receiver) = if first_sends { (listener, dialler) } else { (dialler, listener) };
    // The receiver's clock counts: it ends when everything is there, and durable.
    Ok(Measured {
        bytes: receiver.told["bytes"].as_u64().unwrap_or(0),
        seconds: receiver.seconds,
        sender: Some(sender.cost),
        receiver: Some(receiver.cost),
        digest: receiver.told["digest"].as_str().unwrap_or_default().to_owned(),
        fairness: None,
    })
}

/// The same; what both told last: the one that listened first.
pub(crate) fn play<A: AsRef<OsStr>>(
    first: &[A],
    second: &dyn Fn(&str) -> Vec<String>,
) -> io::Result<(Ended, Ended)> {
    let (listener, address) = Side::listen(first)?;
    let dialler = Side::start(&second(&address))?;
    let (dialler, listener) = (dialler.finish()?, listener.finish()?);
    if dialler.told["digest"] != listener.told["digest"] {
        return Err(io::Error::other("the two sides did not do the same work"));
    }
    Ok((listener, dialler))
}
