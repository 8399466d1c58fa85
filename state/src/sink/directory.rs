//! A directory, or a single file, as a sink: staged, durable, published in one step.

use std::path::{Path, PathBuf};

use longhaul_core::id::ItemId;

use super::{Place, Sink, SinkError};
use crate::item::{Item, Name};
use crate::landing::{Landing, LandingOptions, LandingState, NativeExecutor, Site, run};
use crate::links::LinksPolicy;
use crate::source::{Progress, Survey};

/// What a directory sink may do.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DirectorySinkOptions {
    /// An old state may be replaced.
    pub replace: bool,
    /// Symbolic links that lead out of the state.
    pub links: LinksPolicy,
    /// The source's path, if it is on this machine: the destination must not lie inside it.
    pub source_path: Option<PathBuf>,
}

/// Lands a state at a path that is the published thing itself: a file when the state is one file or
/// stream, else a directory.
#[derive(Debug)]
pub struct DirectorySink {
    landing: Landing,
    executor: NativeExecutor,
    destination: PathBuf,
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
        let landing = Landing::new(LandingOptions { replace: options.replace, links: options.links });
        Ok(Self { landing, executor: NativeExecutor::new(site), destination })
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

    fn abort(&mut self) {
        self.landing.abort();
        // It reports nothing: what can't be removed is swept by the next run.
        let _ = self.run(&[]);
    }

    fn caveat(&self) -> Option<&'static str> {
        self.landing.caveat()
    }
}

/// A sink that is dropped without a word leaves no staging behind.
impl Drop for DirectorySink {
    fn drop(&mut self) {
        if self.landing.state() != LandingState::Published {
            self.abort();
        }
    }
}
