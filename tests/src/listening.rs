//! A real command that listens, for the rigs.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// One that does not listen by then never will.
const PATIENCE: Duration = Duration::from_mins(1);

/// A command that listens, and is let alone until this is dropped.
#[derive(Debug)]
pub struct Listening {
    /// Its process.
    pub child: Child,
    /// Where it listens.
    pub address: String,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Over already is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Listening {
    /// Starts it, and waits until it listens; `scratch` is for a file of its own.
    ///
    /// # Errors
    /// If it can't be started, or does not listen.
    pub fn start(command: &mut Command, scratch: &Path) -> Result<Self, String> {
        let file = scratch.join("address");
        let _ = fs::remove_file(&file);
        command.args(["--listen", "127.0.0.1:0", "-q", "--addr-file"]).arg(&file).stderr(Stdio::null());
        let child =
            command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut listening = Self { child, address: String::new() };
        let start = Instant::now();
        while listening.address.is_empty() {
            if start.elapsed() > PATIENCE {
                return Err("nobody listens".into());
            }
            fs::read_to_string(&file).unwrap_or_default().trim().clone_into(&mut listening.address);
            thread::yield_now();
        }
        Ok(listening)
    }
}
