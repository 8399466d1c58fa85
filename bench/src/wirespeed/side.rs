//! What one side of a transfer cost: measured by the process itself, told on its standard output.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

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
    Cost { cpu_seconds: cpu_seconds(), peak_bytes: kib.unwrap_or(0) * 1024 }
}

#[cfg(target_os = "linux")]
fn cpu_seconds() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
    })
}

#[cfg(not(target_os = "linux"))]
fn cpu_seconds() -> f64 {
    0.0
}

/// Tells the parent something: one line of JSON.
pub(crate) fn tell(value: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

/// Tells the parent what this side has cost, at its end.
pub(crate) fn tell_cost(seconds: f64, bytes: u64, digest: &str) -> io::Result<()> {
    let cost = own_cost();
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
    pub(crate) fn start(arguments: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or_else(|| io::Error::other("the child has no output"))?;
        Ok(Self { child, lines: BufReader::new(out) })
    }

    /// The next thing that it tells.
    pub(crate) fn hear(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a side of the transfer ended without a word"));
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    }

    /// Waits for its end; what it told last.
    pub(crate) fn finish(mut self) -> io::Result<(Value, Cost)> {
        let told = self.hear()?;
        if !self.child.wait()?.success() {
            return Err(io::Error::other("a side of the transfer failed"));
        }
        let cost = Cost {
            cpu_seconds: told["cpu"].as_f64().unwrap_or(0.0),
            peak_bytes: told["peak"].as_u64().unwrap_or(0),
        };
        Ok((told, cost))
    }
}

/// Runs a receiver that tells its address, and a sender that is given it.
pub(crate) fn both(
    first: &[&str],
    second: &dyn Fn(&str) -> Vec<String>,
    first_sends: bool,
) -> io::Result<Measured> {
    let mut listener = Side::start(first)?;
    let address = listener.hear()?["address"].as_str().unwrap_or_default().to_owned();
    let arguments = second(&address);
    let dialler = Side::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    let (told, dialler_cost) = dialler.finish()?;
    let (listener_told, listener_cost) = listener.finish()?;
    if told["digest"] != listener_told["digest"] {
        return Err(io::Error::other("the two sides did not do the same work"));
    }
    let (sender, receiver) =
        if first_sends { (listener_cost, dialler_cost) } else { (dialler_cost, listener_cost) };
    // The receiver's clock counts: it ends when everything is there, and durable.
    let clock = if first_sends { &told } else { &listener_told };
    Ok(Measured {
        bytes: clock["bytes"].as_u64().unwrap_or(0),
        seconds: clock["seconds"].as_f64().unwrap_or(0.0),
        sender: Some(sender),
        receiver: Some(receiver),
        digest: clock["digest"].as_str().unwrap_or_default().to_owned(),
    })
}
