//! A directory, or a single file, as a sink: staged, durable, published in one step.

use std::path::{Path, PathBuf};

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Prefix};

use super::{Checkpoint, Kept, Place, Resume, Sink, SinkError};
use crate::item::{Item, Name};
use crate::landing::journal::Agreed;
use crate::landing::{
    Executor, Landing, LandingOptions, LandingState, NativeExecutor, Rotten, Site, read_back, run,
};
use crate::links::LinksPolicy;
use crate::source::{Progress, Survey};

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
    /// What has come is read back from the disk and compared with its checksums before it is published.
    pub verify_after: bool,
}

impl Default for DirectorySinkOptions {
    fn default() -> Self {
        Self {
            replace: false,
            links: LinksPolicy::default(),
            source_path: None,
            resume: true,
            paranoid: false,
            verify_after: false,
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
            verify_after: options.verify_after,
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
    /// `None` if there is no such thing. To be called before [`DirectorySink::preflight`], which refuses what
    /// has been published already.
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

    fn upcoming(&mut self, files: &[(&Item, &[u8])]) -> usize {
        if !self.executor.waits(files.len()) {
            return files.len();
        }
        let coming = |(item, content): &(&Item, _)| Some((self.landing.upcoming(item)?, *content));
        let ops: Vec<_> = files.iter().map_while(coming).collect();
        // The next one comes in its turn, and may make room for those behind it: a directory.
        self.executor.put_ahead(&ops).max(1)
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
        if self.paranoid
            && let Err(why) = NativeExecutor::forget_cached(&file)
                .map_err(|error| Rotten::Unreadable(0, error))
                .and_then(|()| read_back(&file, len, &content))
        {
            tracing::warn!("{}: what an earlier run left of it is fetched again: {why}", item.name);
            self.discard(id)?;
            return Ok(None);
        }
        Ok(Some(Kept { place: Place::File(file), content }))
    }

    fn vouch(&mut self, item: &Item, size: u64, checksum: &Checksum) -> Result<(), SinkError> {
        self.landing.claim(item, size, checksum);
        self.run(&[])
    }

    fn checkpoint(&mut self, parts: &[(ItemId, Prefix)]) -> Result<Checkpoint, SinkError> {
        let before = self.landing.is_syncing();
        self.landing.checkpoint(parts);
        self.run(&[])?;
        Ok(match (before, self.landing.is_syncing()) {
            (false, false) => Checkpoint::None,
            (false, true) => Checkpoint::Begun,
            (true, true) => Checkpoint::UnderWay,
            (true, false) => Checkpoint::Claimed { more: self.landing.has_unmarked() },
        })
    }

    fn doubt(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.landing.doubt(id);
        self.run(&[])
    }

    fn agreed(&mut self, agreed: Agreed) {
        self.landing.agreed(agreed);
    }
}

/// A sink that is dropped without a word leaves nothing behind but what its journal claims.
impl Drop for DirectorySink {
    fn drop(&mut self) {
        if self.landing.state() != LandingState::Published {
            self.abort();
        }
    }
}
