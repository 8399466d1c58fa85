//! The tools that people use today, where they are installed.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::side::Measured;
use crate::tree::sync;

/// `cp -r` on the same disk, then a sync of the file system.
pub(crate) fn copy(from: &Path, to: &Path, bytes: u64) -> io::Result<Measured> {
    let started = Instant::now();
    run(Command::new("cp").arg("-r").arg(from).arg(to))?;
    sync(to)?;
    Ok(Measured { bytes, seconds: started.elapsed().as_secs_f64(), ..Measured::default() })
}

fn run(command: &mut Command) -> io::Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?} ended with {status}"))) }
}

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
        let deadline = Instant::now() + Duration::from_secs(10);
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
        let started = Instant::now();
        let module = format!("rsync://127.0.0.1:{}/state/{}", self.port, self.file.as_deref().unwrap_or(""));
        run(Command::new("rsync").args(["-a", "--whole-file", "--inplace"]).arg(module).arg(to))?;
        sync(to)?;
        Ok(Measured { bytes, seconds: started.elapsed().as_secs_f64(), ..Measured::default() })
    }
}

impl Drop for Rsync {
    fn drop(&mut self) {
        // It is ours, and it may be gone already.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
