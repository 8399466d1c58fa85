//! Following a transfer to its end.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

use longhaul::{Error, Events, Transfer, Watch};

use crate::output::Output;
use crate::progress::{Bars, Reporter, TICK};

/// Shows the transfer until it is over; the first signal cancels it.
pub(crate) fn follow<T>(transfer: Transfer<T>, output: &Output) -> Result<T, Error> {
    let watch = transfer.watch();
    output.interrupt().on_first(move || watch.cancel());
    let bars = Bars::new();
    let mut follower = Follower::new(transfer.watch(), Reporter::new(output, &bars, None));
    while follower.wait() {}
    drop(follower);
    transfer.wait()
}

/// Follows one transfer or session.
pub(crate) struct Follower {
    watch: Watch,
    events: Events,
    reporter: Reporter,
}

impl Follower {
    pub(crate) fn new(watch: Watch, reporter: Reporter) -> Self {
        Self { events: watch.events(), watch, reporter }
    }

    /// Shows what happens within a tick; false once it is over.
    fn wait(&mut self) -> bool {
        let end = Instant::now() + TICK;
        loop {
            match self.events.next_within(end.saturating_duration_since(Instant::now())) {
                Ok(event) => self.reporter.event(&event),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        self.reporter.tick(&self.watch.stats());
        true
    }

    /// Shows what has happened, without waiting.
    pub(crate) fn look(&mut self) {
        while let Ok(event) = self.events.next_within(std::time::Duration::ZERO) {
            self.reporter.event(&event);
        }
        self.reporter.tick(&self.watch.stats());
    }
}
