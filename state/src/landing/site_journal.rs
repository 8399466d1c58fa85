//! The journal at a site: the file beside staging, as all executors use it.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use super::OpError;
use super::journal::{Claim, Claimed, JournalError, JournalFile, Loaded, Record, Run};
use crate::item::Name;

/// The name, in staging, of the table by which claims are found.
const INDEX: &str = "index";

/// The journal of one landing; none before it is loaded or made.
#[derive(Debug, Default)]
pub(super) struct SiteJournal(Option<JournalFile>);

impl SiteJournal {
    /// Reads what an earlier process left at `path`.
    pub(super) fn load(&mut self, path: &Path) -> Result<Option<Box<Loaded>>, OpError> {
        let Some(file) = open_regular(path).map_err(JournalError::Io)? else { return Ok(None) };
        let (journal, loaded) = JournalFile::open(file)?;
        self.0 = Some(journal);
        Ok(Some(Box::new(loaded)))
    }

    /// What an earlier process left at `path`, for one who only looks.
    pub(super) fn peek(path: &Path) -> Result<Option<(Loaded, Claimed)>, JournalError> {
        let Some(file) = open_regular(path)? else { return Ok(None) };
        JournalFile::peek(&file).map(Some)
    }

    /// Notes that a run begins; a journal that is new takes its name only when that is durable.
    pub(super) fn begin_run(&mut self, path: &Path, number: u32) -> io::Result<()> {
        let since = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let run = Record::Run(Run { number, since });
        if let Some(journal) = &mut self.0 {
            journal.append(&run)?;
            return journal.sync();
        }
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = Path::new(&new);
        match fs::remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(new)?;
        // Any number that the last journal is unlikely to have had.
        let nonce = RandomState::new().hash_one((std::process::id(), since));
        let mut journal = JournalFile::create(file, nonce)?;
        journal.append(&run)?;
        journal.sync()?;
        fs::rename(new, path)?;
        self.0 = Some(journal);
        Ok(())
    }

    /// Makes the claims findable, by a table in `staging` that nobody else sees.
    pub(super) fn build_index(&mut self, staging: &Path) -> Result<Claimed, OpError> {
        let path = staging.join(INDEX);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let table = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        Ok(self.journal()?.build_index(table)?)
    }

    pub(super) fn find(&mut self, name: &Name) -> io::Result<Option<Claim>> {
        self.journal()?.find(name)
    }

    pub(super) fn record(&mut self, record: &Record) -> io::Result<()> {
        self.journal()?.append(record)
    }

    /// How far the journal has come: what a sync that begins now will cover.
    pub(super) fn covers(&mut self) -> io::Result<u64> {
        Ok(self.journal()?.len())
    }

    /// Notes, durably, that what is claimed up to a position is durable.
    pub(super) fn mark(&mut self, covers: Option<u64>) -> io::Result<()> {
        let journal = self.journal()?;
        let covers = covers.unwrap_or_else(|| journal.len());
        self.note(&Record::Mark(covers))
    }

    /// Appends a record durably.
    pub(super) fn note(&mut self, record: &Record) -> io::Result<()> {
        let journal = self.journal()?;
        journal.append(record)?;
        journal.sync()
    }

    pub(super) fn close(&mut self) {
        self.0 = None;
    }

    fn journal(&mut self) -> io::Result<&mut JournalFile> {
        self.0.as_mut().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no journal"))
    }
}

/// The file at `path`, if there is one; anything but a file with one name is none of ours.
fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    options.custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    // Where the open would follow a link, or wait for a writer.
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(not_ours()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let file = options.open(path)?;
    let found = file.metadata()?;
    if found.is_file() && found.nlink() == 1 { Ok(Some(file)) } else { Err(not_ours()) }
}

fn not_ours() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "something that is no journal has its name")
}
