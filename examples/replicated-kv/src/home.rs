//! A member's data directory: the copy that counts, and one that is being built beside it.
//!
//! ```text
//! DIR/lock            held by the process that has the directory
//! DIR/CURRENT         the name of the copy that counts: replaced in one step
//! DIR/joiners         the port where joiners dialled last
//! DIR/state-N.redb    copies; all but the current one are removed at the next start
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::store::Store;

/// The data directory of this process.
pub struct Home {
    directory: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    /// Held for as long as the process has the directory.
    _lock: File,
}

#[derive(Default)]
struct State {
    /// The copy that counts, and its number; numbers grow.
    current: Option<(u64, Arc<Store>)>,
    /// The copy that nobody sees yet.
    hidden: Option<(u64, Arc<Store>)>,
    last_number: u64,
    /// What is current can't be gone on with: a new state must be had.
    is_behind: bool,
    is_closed: bool,
}

impl Home {
    /// Takes the directory, makes it if there is none, and removes what an earlier process has left unfinished.
    ///
    /// # Errors
    /// If another process has it, or the disk fails.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let doing = |what: &str| Error::io(format!("{what} {}", directory.display()));
        fs::create_dir_all(directory).map_err(doing("making"))?;
        let lock = File::create(directory.join("lock")).map_err(doing("locking"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Usage(format!("another process has {}", directory.display())));
            }
            Err(TryLockError::Error(error)) => return Err(doing("locking")(error)),
        }
        let current = match fs::read_to_string(directory.join("CURRENT")) {
            Ok(number) => {
                Some(number.trim().parse().map_err(|_| Error::Usage("CURRENT names no copy".into()))?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(doing("reading CURRENT in")(error)),
        };
        for entry in fs::read_dir(directory).map_err(doing("reading"))? {
            let entry = entry.map_err(doing("reading"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix("state-").and_then(|name| name.strip_suffix(".redb"));
            if number.is_some_and(|number| number.parse() != Ok(current.unwrap_or(0))) {
                fs::remove_file(entry.path()).map_err(doing("removing an unfinished copy in"))?;
            }
        }
        let home = Self {
            directory: directory.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
            _lock: lock,
        };
        if let Some(number) = current {
            let store = Arc::new(Store::open(&home.path(number))?);
            let mut state = home.lock();
            (state.current, state.last_number) = (Some((number, store)), number);
        }
        Ok(home)
    }

    /// The copy that counts.
    ///
    /// # Errors
    /// [`Error::NoState`].
    pub fn current(&self) -> Result<Arc<Store>, Error> {
        self.numbered().map(|(_, store)| store)
    }

    /// The copy that counts, and its number: another copy has another one.
    ///
    /// # Errors
    /// [`Error::NoState`].
    pub fn numbered(&self) -> Result<(u64, Arc<Store>), Error> {
        self.lock().current.clone().ok_or(Error::NoState)
    }

    /// An empty copy that nobody sees, in the place of any other.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn stage(&self) -> Result<Arc<Store>, Error> {
        self.discard();
        let mut state = self.lock();
        state.last_number += 1;
        let number = state.last_number;
        let store = Arc::new(Store::open(&self.path(number))?);
        state.hidden = Some((number, Arc::clone(&store)));
        Ok(store)
    }

    /// The copy that nobody sees yet.
    #[must_use]
    pub fn hidden(&self) -> Option<Arc<Store>> {
        self.lock().hidden.as_ref().map(|(_, store)| Arc::clone(store))
    }

    /// Gives up the copy that nobody sees.
    pub fn discard(&self) {
        let hidden = self.lock().hidden.take();
        self.remove(hidden.as_ref());
    }

    /// The copy that nobody sees becomes the one that counts, in one step, durably.
    ///
    /// # Errors
    /// If there is none, or the disk fails: the old one counts.
    pub fn commit(&self) -> Result<(), Error> {
        let mut state = self.lock();
        let (number, store) = state.hidden.clone().ok_or(Error::NoState)?;
        self.point_to(number).map_err(Error::io("replacing CURRENT"))?;
        let old = state.current.replace((number, store));
        (state.hidden, state.is_behind) = (None, false);
        drop(state);
        self.changed.notify_all();
        self.remove(old.as_ref());
        Ok(())
    }

    /// What is current can't be gone on with.
    pub fn fall_behind(&self) {
        self.lock().is_behind = true;
        self.changed.notify_all();
    }

    /// Whether a state must be had from elsewhere.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let state = self.lock();
        state.is_behind || state.current.is_none()
    }

    /// Waits until a state must be had from elsewhere (`true`), or need not (`false`); `None` once it is closed.
    #[must_use]
    pub fn wait_until(&self, is_behind: bool) -> Option<()> {
        let mut state = self.lock();
        while !state.is_closed && (state.is_behind || state.current.is_none()) != is_behind {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (!state.is_closed).then_some(())
    }

    /// Who waits need not any more.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn point_to(&self, number: u64) -> io::Result<()> {
        let partial = self.directory.join("CURRENT.partial");
        let mut file = File::create(&partial)?;
        file.write_all(format!("{number}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, self.directory.join("CURRENT"))?;
        File::open(&self.directory)?.sync_all()
    }

    /// Who still reads from it goes on; what is not removed now is at the next start.
    fn remove(&self, copy: Option<&(u64, Arc<Store>)>) {
        if let Some((number, _)) = copy {
            let _ = fs::remove_file(self.path(*number));
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("state-{number}.redb"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use longhaul::MemberId;
    use longhaul_core::digest::SequenceNumber;

    use super::*;

    #[test]
    fn a_hidden_copy_counts_from_its_commit_on_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let order = MemberId([7; 16]);
        let home = Home::open(directory.path()).unwrap();
        assert!(home.is_behind() && home.current().is_err());
        home.stage().unwrap().complete(order, SequenceNumber(3)).unwrap();
        drop(home);
        let home = Home::open(directory.path()).unwrap();
        assert!(home.current().is_err(), "it was never committed");
        home.stage().unwrap().complete(order, SequenceNumber(5)).unwrap();
        home.commit().unwrap();
        home.stage().unwrap().complete(order, SequenceNumber(9)).unwrap();
        assert_eq!(home.current().unwrap().applied(), SequenceNumber(5));
        drop(home);
        let home = Home::open(directory.path()).unwrap();
        assert_eq!(home.current().unwrap().applied(), SequenceNumber(5));
        assert_eq!(home.current().unwrap().first_kept(), SequenceNumber(6));
        let copies = fs::read_dir(directory.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("state-"));
        assert_eq!(copies.count(), 1, "what was left unfinished is removed");
    }

    #[test]
    fn who_reads_from_a_copy_goes_on_when_another_takes_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let order = MemberId([7; 16]);
        let home = Home::open(directory.path()).unwrap();
        let pairs: Vec<_> = (0..500_u32).map(|number| (number.to_be_bytes(), [7; 1000])).collect();
        let staged = home.stage().unwrap();
        staged.add_bulk(pairs.iter().map(|(key, value)| (&key[..], &value[..]))).unwrap();
        staged.complete(order, SequenceNumber(3)).unwrap();
        home.commit().unwrap();
        drop((staged, home));
        // Opened again, so that nothing of it is in memory.
        let home = Home::open(directory.path()).unwrap();
        let snapshot = home.current().unwrap().snapshot().unwrap();
        home.stage().unwrap().complete(order, SequenceNumber(5)).unwrap();
        home.commit().unwrap();
        snapshot.root().unwrap();
    }

    #[test]
    fn a_directory_has_one_process() {
        let directory = tempfile::tempdir().unwrap();
        let _home = Home::open(directory.path()).unwrap();
        assert!(Home::open(directory.path()).is_err());
    }
}
