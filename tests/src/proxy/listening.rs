//! The side that listens, and how its sessions end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::command::Running;

pub(super) struct Listening {
    running: Running,
    pub(super) address: SocketAddr,
    /// Sessions that began and have not ended.
    open: usize,
}

impl Listening {
    pub(super) fn new(running: Running) -> Result<Self, String> {
        let listening = running.until("listening")?;
        let address = listening["address"].as_str().and_then(|address| address.parse().ok());
        Ok(Self { running, address: address.ok_or("it listens nowhere")?, open: 0 })
    }

    /// Waits until no session of it runs any more, but no longer than `patience`; says how long it took.
    pub(super) fn settled(&mut self, patience: Duration) -> Result<Duration, String> {
        let start = Instant::now();
        let mut left = Duration::ZERO;
        loop {
            match self.running.next_within(left) {
                Some(said) if said["event"] == "admitted" => self.open += 1,
                Some(said) if said["event"] == "ended" => self.open -= 1,
                Some(_) => {}
                None if self.open == 0 => return Ok(start.elapsed()),
                None if start.elapsed() >= patience => {
                    return Err(format!("{} sessions of the listener hang", self.open));
                }
                None => {}
            }
            left = if self.open == 0 { Duration::ZERO } else { patience.saturating_sub(start.elapsed()) };
        }
    }

    /// Kills it, and sees whether it has panicked.
    pub(super) fn end(self) -> Result<(), String> {
        self.running.end().map(drop)
    }
}
