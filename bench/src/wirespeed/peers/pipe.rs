//! Programs that send a file to a socket, and write what comes from one to a file.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{is_installed, run, spent_since};
use crate::side::{Cost, Measured, children_cost};
use crate::tree::sync;

/// One of them.
#[derive(Clone, Copy)]
pub(crate) enum Pipe {
    Socat,
    Mbuffer,
}

/// One that does not listen by then never will.
const PATIENCE: Duration = Duration::from_secs(10);

impl Pipe {
    pub(crate) const ALL: [Self; 2] = [Self::Socat, Self::Mbuffer];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Socat => "socat",
            Self::Mbuffer => "mbuffer",
        }
    }

    /// Whether it is there.
    pub(crate) fn find(self) -> io::Result<()> {
        is_installed(self.name())
    }

    /// Sends a file over loopback, then syncs the file system.
    pub(crate) fn copy(self, from: &Path, to: &Path, bytes: u64) -> io::Result<Measured> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let started = Instant::now();
        let mut receiver = self.receiver(port, to).stdin(Stdio::null()).spawn()?;
        until_listening(&mut receiver, port)?;
        let before = children_cost();
        run(&mut self.sender(port, from))?;
        let sent = spent_since(&before);
        let status = receiver.wait()?;
        let used = Cost { cpu_seconds: spent_since(&before).cpu_seconds - sent.cpu_seconds, peak_bytes: 0 };
        sync(to)?;
        let seconds = started.elapsed().as_secs_f64();
        if !status.success() || to.metadata()?.len() != bytes {
            return Err(io::Error::other(format!(
                "{} ended with {status}, and less than the file",
                self.name()
            )));
        }
        Ok(Measured { bytes, seconds, sender: Some(sent), receiver: Some(used), ..Measured::default() })
    }

    fn receiver(self, port: u16, to: &Path) -> Command {
        let mut command = Command::new(self.name());
        match self {
            Self::Socat => command
                .args(["-u", "-b", "1048576"])
                .arg(format!("TCP-LISTEN:{port},bind=127.0.0.1"))
                .arg(format!("CREATE:{}", to.display())),
            Self::Mbuffer => command
                .args(["-q", "-s", "512k", "-m", "16M", "-I"])
                .arg(format!("127.0.0.1:{port}"))
                .arg("-o")
                .arg(to),
        };
        command
    }

    fn sender(self, port: u16, from: &Path) -> Command {
        let mut command = Command::new(self.name());
        match self {
            Self::Socat => command
                .args(["-u", "-b", "1048576"])
                .arg(format!("OPEN:{}", from.display()))
                .arg(format!("TCP:127.0.0.1:{port}")),
            Self::Mbuffer => command
                .args(["-q", "-s", "512k", "-m", "16M", "-i"])
                .arg(from)
                .arg("-O")
                .arg(format!("127.0.0.1:{port}")),
        };
        command
    }
}

/// Waits until somebody listens there: without a connection, which would be the one that is served, and without taking the
/// port to see whether it is free.
fn until_listening(listener: &mut Child, port: u16) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_listened_at(port)? {
        if Instant::now() > deadline || listener.try_wait()?.is_some() {
            // It may have ended by itself; it is not left behind.
            let _ = listener.kill();
            let _ = listener.wait();
            return Err(io::Error::other("the receiver does not listen"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Whether the system has a socket that listens at this port of any address (`proc_pid_net(5)`).
fn is_listened_at(port: u16) -> io::Result<bool> {
    let (port, listening) = (format!(":{port:04X}"), "0A");
    let sockets = std::fs::read_to_string("/proc/net/tcp")?;
    let at = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|address| address.ends_with(&port)) && words.nth(1) == Some(listening)
    };
    Ok(sockets.lines().any(at))
}
