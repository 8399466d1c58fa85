//! The journal at a site: the file beside staging, as all executors use it.

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use super::journal::{Claim, Claimed, HEADER_LEN, JournalError, JournalFile, Loaded, Record, Run};
use super::site::{Site, open_regular};
use super::{FileOp, OpError, OpReply};

/// The name, in staging, of the table by which claims are found.
const INDEX: &str = "index";

/// The journal of one landing; none before it is loaded or made.
#[derive(Debug, Default)]
pub(super) struct SiteJournal(Option<JournalFile>);

impl SiteJournal {
    /// Carries out `op` if it is about the journal alone.
    pub(super) fn keep(&mut self, site: &Site, op: &FileOp) -> Result<Option<OpReply>, OpError> {
        let reply = match op {
            FileOp::FindJournal => OpReply::Found(site.has_journal()),
            FileOp::LoadJournal => OpReply::Journal(self.load(&site.journal_path())?),
            FileOp::Find { name } => OpReply::Claim(self.journal()?.find(name)?.map(Box::new)),
            FileOp::Record(record) => done(self.journal()?.append(record))?,
            FileOp::Forget { name } => done(self.note(&Record::Forget(name.clone())))?,
            FileOp::RecordReady { root, state } => {
                let ready = site.ready(*root, *state)?;
                done(self.note(&Record::Ready(ready)))?
            }
            FileOp::Mark { covers } => done(self.mark(*covers))?,
            FileOp::Identify => site.identify()?,
            FileOp::RemoveJournal => {
                self.close();
                done(site.remove_journal())?
            }
            _ => return Ok(None),
        };
        Ok(Some(reply))
    }

    /// Reads what an earlier process left at `path`.
    fn load(&mut self, path: &Path) -> Result<Option<Box<Loaded>>, OpError> {
        let Some(file) = open_regular(path, "journal").map_err(JournalError::Io)? else { return Ok(None) };
        let (journal, loaded) = JournalFile::open(file)?;
        self.0 = Some(journal);
        Ok(Some(Box::new(loaded)))
    }

    /// What an earlier process left at `path`, for one who only looks.
    pub(super) fn peek(path: &Path) -> Result<Option<(Loaded, Claimed)>, JournalError> {
        let Some(file) = open_regular(path, "journal")? else { return Ok(None) };
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

    /// The next whole file that run `run` claims, from a position of the journal on, and where to look for the one
    /// behind it. `None` begins with the run, when everything is marked.
    pub(super) fn next_whole(
        &mut self,
        staging: &Path,
        run: u32,
        from: Option<u64>,
    ) -> Result<Option<(Claim, u64)>, OpError> {
        let from = if let Some(from) = from {
            from
        } else {
            self.build_index(staging)?;
            HEADER_LEN
        };
        Ok(self.journal()?.next_whole(run, from)?)
    }

    /// How far the journal has come: what a sync that begins now will cover.
    pub(super) fn covers(&mut self) -> io::Result<u64> {
        Ok(self.journal()?.len())
    }

    /// Notes, durably, that what is claimed up to a position is durable.
    fn mark(&mut self, covers: Option<u64>) -> io::Result<()> {
        let journal = self.journal()?;
        let covers = covers.unwrap_or_else(|| journal.len());
        self.note(&Record::Mark(covers))
    }

    /// Appends a record durably.
    fn note(&mut self, record: &Record) -> io::Result<()> {
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

fn done(result: io::Result<()>) -> io::Result<OpReply> {
    result.map(|()| OpReply::Done)
}
