//! The tools that people use today, where they are installed.

mod pipe;
mod rsync;

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

pub(crate) use pipe::Pipe;
pub(crate) use rsync::Rsync;

use crate::side::{Cost, Measured, children_cost};
use crate::tree::sync;

/// `cp -r` on the same disk, then a sync of the file system.
pub(crate) fn copy(from: &Path, to: &Path, bytes: u64) -> io::Result<Measured> {
    let (before, started) = (children_cost(), Instant::now());
    run(Command::new("cp").arg("-r").arg(from).arg(to))?;
    sync(to)?;
    let (seconds, receiver) = (started.elapsed().as_secs_f64(), Some(spent_since(&before)));
    Ok(Measured { bytes, seconds, receiver, ..Measured::default() })
}

/// Whether a program can be found.
fn is_installed(program: &str) -> io::Result<()> {
    let found = |dir: std::path::PathBuf| dir.join(program).is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(found) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "it is not installed"))
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?} ended with {status}"))) }
}

/// What the processes that were waited for meanwhile have used.
fn spent_since(before: &Cost) -> Cost {
    Cost { cpu_seconds: children_cost().cpu_seconds - before.cpu_seconds, peak_bytes: 0 }
}
