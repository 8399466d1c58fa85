//! A directory, or a single file, as a sink: staged, durable, published in one step.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, Prefix, RUN_LEN, RunHasher, crc32c};

use super::{Kept, Place, Resume, Sink, SinkError};
use crate::item::{Item, Name};
use crate::landing::journal::{Agreed, Content};
use crate::landing::{Landing, LandingOptions, LandingState, NativeExecutor, Site, run};
use crate::links::LinksPolicy;
use crate::source::{Progress, Survey};

/// Bytes that are read at once of what an earlier run left, where it is not trusted.
const READ: usize = 256 << 10;

/// What a directory sink may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorySinkOptions {
    /// An old state may be replaced.
    pub replace: bool,
    /// Symbolic links that lead out of the state.
    pub links: LinksPolicy,
    /// The source's path, if it is on this machine: the destination must not lie inside it.
    pub source_path: Option<PathBuf>,
    /// A journal is kept, and what an earlier run left is gone on with; else it is removed.
    pub resume: bool,
    /// What an earlier run left is read and compared with its checksums before it is kept.
    pub paranoid: bool,
}

impl Default for DirectorySinkOptions {
    fn default() -> Self {
        Self {
            replace: false,
            links: LinksPolicy::default(),
            source_path: None,
            resume: true,
            paranoid: false,
        }
    }
}

/// Lands a state at a path that is the published thing itself: a file when the state is one file or
/// stream, else a directory.
#[derive(Debug)]
pub struct DirectorySink {
    landing: Landing,
    executor: NativeExecutor,
    destination: PathBuf,
    holds: bool,
    paranoid: bool,
}

impl DirectorySink {
    /// The sink for `destination`; nothing is touched yet.
    ///
    /// # Errors
    /// If the path can't be made absolute.
    pub fn new(destination: impl AsRef<Path>, options: DirectorySinkOptions) -> Result<Self, SinkError> {
        let failed = |error| SinkError::io(Name::root(), "inspection of the destination", error);
        // A path that can't be resolved holds nothing that the destination could lie inside of.
        let source = options.source_path.map(|path| path.canonicalize().unwrap_or(path));
        let site = Site::new(destination.as_ref(), source).map_err(failed)?;
        let destination = site.destination().to_path_buf();
        let holds = options.resume && site.has_journal();
        let landing = Landing::new(LandingOptions {
            replace: options.replace,
            links: options.links,
            resume: options.resume,
        });
        let executor = NativeExecutor::new(site);
        Ok(Self { landing, executor, destination, holds, paranoid: options.paranoid })
    }

    /// The absolute path of what will be published.
    #[must_use]
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Makes, changing nothing, every check that needs no knowledge of the state: before anybody is
    /// connected to.
    ///
    /// # Errors
    /// If the destination can't take any state.
    pub fn preflight(&mut self) -> Result<(), SinkError> {
        self.landing.preflight();
        self.run(&[])
    }

    /// Sees through what an earlier run was about to publish when its process ended, and says what it was;
    /// `None` if there is no such thing. To be called after [`DirectorySink::preflight`], whatever that said.
    ///
    /// # Errors
    /// If it can't be seen through: nothing is lost, and the same may be tried again.
    pub fn recover(&mut self) -> Result<Option<Agreed>, SinkError> {
        if !self.holds {
            return Ok(None);
        }
        self.landing.recover();
        self.run(&[])?;
        Ok(self.landing.recovered())
    }

    fn run(&mut self, payload: &[u8]) -> Result<(), SinkError> {
        run(&mut self.landing, &mut self.executor, payload, &mut || true)
    }
}

impl Sink for DirectorySink {
    fn begin(&mut self, survey: &Survey) -> Result<(), SinkError> {
        self.landing.begin(survey);
        self.run(&[])
    }

    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError> {
        self.landing.open(id, item);
        self.run(&[])?;
        match self.executor.file(id) {
            Some(file) => Ok(Place::File(file)),
            None => unreachable!("a file that was created is open"),
        }
    }

    fn write(&mut self, _id: ItemId, _offset: u64, _bytes: &[u8]) -> Result<(), SinkError> {
        Err(SinkError::user("files are written at their places"))
    }

    /// Nothing is written for a hole: the file gets its length whatever comes.
    fn hole(&mut self, _id: ItemId, _offset: u64, _len: u64) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self, id: ItemId, len: u64) -> Result<(), SinkError> {
        self.landing.finish(id, len);
        self.run(&[])
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.landing.discard(id);
        self.run(&[])
    }

    fn put(&mut self, id: ItemId, item: &Item, content: &[u8]) -> Result<(), SinkError> {
        self.landing.put(id, item);
        self.run(content)
    }

    fn sync(&mut self, progress: &dyn Progress) -> Result<(), SinkError> {
        self.landing.sync();
        let mut done = 0;
        run(&mut self.landing, &mut self.executor, &[], &mut || {
            done += 1;
            progress.advance(done)
        })
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        self.landing.publish();
        self.run(&[])?;
        self.landing.clean_up();
        self.run(&[])
    }

    /// What the journal claims stays for a later run.
    fn abort(&mut self) {
        self.landing.abort();
        // It reports nothing: what can't be removed is swept by the next run.
        let _ = self.run(&[]);
    }

    fn resuming(&mut self) -> Option<&mut dyn Resume> {
        Some(self)
    }

    fn caveat(&self) -> Option<&'static str> {
        self.landing.caveat()
    }
}

impl Resume for DirectorySink {
    fn holds(&self) -> bool {
        self.holds
    }

    fn reopen(&mut self, id: ItemId, item: &Item, integrity: Integrity) -> Result<Option<Kept>, SinkError> {
        self.landing.reopen(id, item, integrity);
        self.run(&[])?;
        let (Some(content), Some(file)) = (self.landing.adopted(), self.executor.file(id)) else {
            return Ok(None);
        };
        let len = content.len(item.as_wire().what.size().unwrap_or(0));
        if self.paranoid && !holds(&file, len, &content).unwrap_or(false) {
            tracing::warn!("{}: what an earlier run left of it has changed: it is fetched again", item.name);
            self.discard(id)?;
            return Ok(None);
        }
        Ok(Some(Kept { place: Place::File(file), content }))
    }

    fn vouch(&mut self, item: &Item, checksum: &Checksum) -> Result<(), SinkError> {
        self.landing.claim(item, checksum);
        self.run(&[])
    }

    fn checkpoint(&mut self, parts: &[(ItemId, Prefix)]) -> Result<bool, SinkError> {
        self.landing.checkpoint(parts);
        self.run(&[])?;
        Ok(self.landing.has_unmarked())
    }

    fn agreed(&mut self, agreed: Agreed) {
        self.landing.agreed(agreed);
    }
}

/// Whether the first `len` bytes of a file are what `content` vouches for.
fn holds(file: &File, len: u64, content: &Content) -> io::Result<bool> {
    let integrity = content.integrity();
    let mut fold = ItemFold::new(integrity);
    let mut bytes = vec![0; READ];
    for start in (0..len).step_by(usize::try_from(RUN_LEN).expect("runs are short")) {
        let mut hasher = RunHasher::new(integrity, start);
        let end = len.min(start + RUN_LEN);
        let mut at = start;
        while at < end {
            let piece = usize::try_from(end - at).unwrap_or(READ).min(READ);
            file.read_exact_at(&mut bytes[..piece], at)?;
            hasher.update(&bytes[..piece], crc32c(&bytes[..piece]));
            at += piece as u64;
        }
        if let Some(run) = hasher.finish() {
            fold.push(run).map_err(io::Error::other)?;
        }
    }
    Ok(match content {
        Content::Whole(checksum) => fold.finish(len) == Ok(*checksum),
        Content::Part(prefix) => fold.prefix().as_ref() == Some(prefix),
    })
}

/// A sink that is dropped without a word leaves nothing behind but what its journal claims.
impl Drop for DirectorySink {
    fn drop(&mut self) {
        if self.landing.state() != LandingState::Published {
            self.abort();
        }
    }
}
