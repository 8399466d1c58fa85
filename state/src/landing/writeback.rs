//! Early writeback: the disk works while items still arrive, so that the last sync has little left.
//!
//! A thread syncs the staging directory's file system whenever something was written since its last
//! time. A sync that was begun after something was written makes that durable; the machine asks for it by
//! its number, and has its own last one, after the last write. The
//! kernel reports an error of writing back only once for an open file, so what this thread hears is
//! kept for that sync, and is as final.
//!
//! Where files are synced one by one the disk begins with all of them first: each alone waits for its own data and
//! for the journal, and sixty files took four times as long.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::unistd::syncfs;

/// Bytes written between two syncs at least: a sync for each file would only cost.
pub(super) const EVERY_BYTES: u64 = 32 << 20;

/// What is synced.
#[derive(Debug)]
pub(super) enum What {
    /// The whole file system.
    Tree,
    /// These files.
    Files(Vec<Arc<File>>),
}

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
    wanted: Option<What>,
    /// Syncs that were begun, and that are over: one at a time.
    begun: u64,
    over: u64,
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

    /// Has the thread sync once more, when it has ended what it is at; the number of that sync.
    pub(super) fn begin(&self, what: What) -> u64 {
        let mut state = self.shared.lock();
        state.wanted = Some(match (state.wanted.take(), what) {
            (Some(What::Files(mut files)), What::Files(more)) => {
                files.extend(more);
                What::Files(files)
            }
            (None, what) => what,
            _ => What::Tree,
        });
        self.shared.changed.notify_one();
        state.begun + 1
    }

    /// Whether that sync is over; an error is kept for the last one too.
    pub(super) fn is_over(&self, number: u64) -> io::Result<bool> {
        let state = self.shared.lock();
        match &state.error {
            Some(error) => Err(again(error)),
            None => Ok(state.over >= number),
        }
    }

    /// Ends the thread; the error that it heard, if it heard one.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.stop();
        match self.shared.lock().error.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// As if a sync had failed.
    #[cfg(test)]
    pub(super) fn fail(&self, error: io::Error) {
        self.shared.lock().error = Some(error);
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

fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Longer files keep the disk busy by themselves.
const SHORT: u64 = 1 << 20;

/// Has the disk begin with what was written to this file, and waits for none of it. To be asked for once, while all of it is
/// in memory alone: the advice drops from the page cache what is on the disk already.
pub(super) fn start_writing(file: &File) {
    if file.metadata().is_ok_and(|found| found.len() <= SHORT) {
        // Of advice that is not taken nothing is lost: the sync that follows says what fails.
        let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}

fn run(staging: &File, shared: &Shared) {
    let mut state = shared.lock();
    while !state.stopped {
        let Some(what) = state.wanted.take() else {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.begun += 1;
        drop(state);
        let synced = match what {
            What::Tree => syncfs(staging.as_fd()).map_err(io::Error::from),
            What::Files(files) => files.iter().try_for_each(|file| file.sync_all()),
        };
        state = shared.lock();
        state.over += 1;
        if let Err(error) = synced {
            state.error = Some(error);
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
        writeback.begin(What::Tree);
        writeback.finish().unwrap();
    }

    #[test]
    fn what_the_thread_heard_is_heard_by_the_last_sync() {
        let dir = tempfile::tempdir().unwrap();
        let writeback = Writeback::start(&File::open(dir.path()).unwrap()).unwrap();
        writeback.begin(What::Tree);
        writeback.fail(io::ErrorKind::StorageFull.into());
        assert_eq!(writeback.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
