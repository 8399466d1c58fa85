//! Early writeback: the disk works while items still arrive, so that the last sync has little left.
//!
//! A thread syncs the staging directory's file system whenever something was written since its last
//! time. It claims nothing: the sync that counts is the machine's own, after the last write. But the
//! kernel reports an error of writing back only once for an open file, so what this thread hears is
//! kept for that sync, and is as final.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::unistd::syncfs;

/// Bytes written between two syncs at least: a sync for each file would only cost.
pub(super) const EVERY_BYTES: u64 = 32 << 20;

#[derive(Debug)]
pub(super) struct Writeback {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    wanted: bool,
    stopped: bool,
    error: Option<io::Error>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writeback {
    /// Starts the thread for the file system of `staging`. The duplicated descriptor shares the open
    /// file, and with it the errors that the kernel reports.
    pub(super) fn start(staging: &File) -> io::Result<Self> {
        let staging = staging.try_clone()?;
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("longhaul-writeback".into()).spawn(move || run(&staging, &shared))?
        };
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has the thread sync once more, when it has ended what it is at.
    pub(super) fn begin(&self) {
        self.shared.lock().wanted = true;
        self.shared.changed.notify_one();
    }

    /// Ends the thread; the error that it heard, if it heard one.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.stop();
        match self.shared.lock().error.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn stop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.shared.lock().error = Some(io::Error::other("the writeback thread panicked"));
        }
    }
}

impl Drop for Writeback {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(staging: &File, shared: &Shared) {
    let mut state = shared.lock();
    while !state.stopped {
        if !state.wanted {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        state.wanted = false;
        drop(state);
        let synced = syncfs(staging.as_fd());
        state = shared.lock();
        if let Err(error) = synced {
            state.error = Some(error.into());
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_can_be_synced_reports_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let writeback = Writeback::start(&File::open(dir.path()).unwrap()).unwrap();
        writeback.begin();
        writeback.finish().unwrap();
    }

    #[test]
    fn what_the_thread_heard_is_heard_by_the_last_sync() {
        let dir = tempfile::tempdir().unwrap();
        let writeback = Writeback::start(&File::open(dir.path()).unwrap()).unwrap();
        writeback.begin();
        writeback.shared.lock().error = Some(io::ErrorKind::StorageFull.into());
        assert_eq!(writeback.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
