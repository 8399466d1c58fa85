//! rsync: a daemon on loopback, whole files.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{is_installed, run, spent_since};
use crate::side::{Cost, Measured, children_cost};
use crate::tree::sync;

/// A daemon that does not answer, or a child of it that does not end, by then never will.
const PATIENCE: Duration = Duration::from_secs(10);

/// An rsync daemon on loopback.
pub(crate) struct Rsync {
    daemon: Child,
    port: u16,
    file: Option<String>,
    _config: tempfile::TempDir,
}

impl Rsync {
    /// Starts a daemon that serves `path`, a directory or a file.
    pub(crate) fn start(path: &Path) -> io::Result<Self> {
        is_installed("rsync")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = tempfile::tempdir()?;
        let (served, file) = if path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (path.parent().unwrap_or(path), Some(name))
        } else {
            (path, None)
        };
        let text = format!(
            "use chroot = no\nreverse lookup = no\n[state]\npath = {}\nread only = yes\nuid = {uid}\ngid = {uid}\n",
            served.display(),
            uid = 0,
        );
        let config_path = config.path().join("rsyncd.conf");
        std::fs::write(&config_path, text)?;
        let daemon = Command::new("rsync")
            .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--config={}", config_path.display()))
            .stdin(Stdio::null())
            .spawn()?;
        let rsync = Self { daemon, port, file, _config: config };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::other("the rsync daemon does not answer"));
            }
            std::thread::yield_now();
        }
        Ok(rsync)
    }

    /// Fetches whole files, then syncs the file system.
    pub(crate) fn fetch(&self, to: &Path, bytes: u64) -> io::Result<Measured> {
        let (daemon_before, before, started) = (self.daemon_cost(), children_cost(), Instant::now());
        let module = format!("rsync://127.0.0.1:{}/state/{}", self.port, self.file.as_deref().unwrap_or(""));
        run(Command::new("rsync").args(["-a", "--whole-file", "--inplace"]).arg(module).arg(to))?;
        sync(to)?;
        let seconds = started.elapsed().as_secs_f64();
        let receiver = Some(spent_since(&before));
        let sender = daemon_before
            .zip(self.daemon_cost())
            .map(|(before, after)| Cost { cpu_seconds: after - before, peak_bytes: 0 });
        Ok(Measured { bytes, seconds, sender, receiver, ..Measured::default() })
    }

    /// CPU seconds of the daemon and of its children, once none of them is left; `None` where the system does not tell.
    fn daemon_cost(&self) -> Option<f64> {
        let id = self.daemon.id();
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?.is_empty() {
            if Instant::now() > deadline {
                return None;
            }
            std::thread::yield_now();
        }
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Behind the name in brackets: utime, stime, cutime and cstime are the fields 14 to 17, in ticks.
        let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
        let ticks = fields.map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
        Some(ticks as f64 / TICKS_PER_SECOND)
    }
}

/// Of `/proc`, on every machine that Linux runs on here.
const TICKS_PER_SECOND: f64 = 100.0;

impl Drop for Rsync {
    fn drop(&mut self) {
        // It is ours, and it may be gone already.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
