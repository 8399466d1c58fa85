//! Pushing a state: the provider dials.

use std::error::Error as StdError;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_core::reason::Side;
use longhaul_state::source::{
    DirectoryOptions, DirectorySource, HardLinks, MemorySource, SpecialFiles, StreamSource,
};
use longhaul_state::{LinksPolicy, Source};

use crate::busy::{BUSY_WAIT, until_admitted};
use crate::engines::Engines;
use crate::error::Error;
use crate::once_more::once_more;
use crate::settings::{Settings, common_settings};
use crate::summary::Summary;
use crate::transfer::Transfer;
use crate::watch::Watch;

/// Pushes a state to a joiner that listens: made by [`crate::push`] and its `push_*` kin.
#[must_use = "nothing is pushed before it is told where to"]
pub struct Push {
    state: State,
    settings: Settings,
    busy_wait: Duration,
}

enum State {
    Path(PathBuf, DirectoryOptions),
    Memory(Arc<[u8]>),
    Source(Arc<dyn Source>),
}

impl Push {
    fn new(state: State) -> Self {
        Self { state, settings: Settings::default(), busy_wait: BUSY_WAIT }
    }

    pub(crate) fn path(path: &Path) -> Self {
        Self::new(State::Path(path.to_path_buf(), DirectoryOptions::default()))
    }

    /// Pushes the state of a source of one's own.
    pub fn source(source: Arc<dyn Source>) -> Self {
        Self::new(State::Source(source))
    }

    /// Pushes bytes in memory, as a state that is one file.
    pub fn memory(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::new(State::Memory(bytes.into()))
    }

    /// Pushes what a reader gives until its end, as a state that is one stream.
    pub fn reader(reader: impl Read + Send + 'static) -> Self {
        Self::source(Arc::new(StreamSource::new(reader)))
    }

    /// Pushes what a callback writes, on a thread of its own: `getState(OutputStream)`. The state
    /// ends only when it returns Ok; its error or panic fails the transfer.
    pub fn callback<E>(write_state: impl FnOnce(&mut dyn Write) -> Result<(), E> + Send + 'static) -> Self
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self::source(Arc::new(StreamSource::from_writer(write_state)))
    }

    common_settings!();
    crate::serve::directory_settings!();

    fn directory(&mut self) -> Option<&mut DirectoryOptions> {
        match &mut self.state {
            State::Path(_, options) => Some(options),
            State::Memory(_) | State::Source(_) => None,
        }
    }

    /// How long a busy joiner is asked again. 60 s unless told.
    pub fn busy_wait(mut self, wait: Duration) -> Self {
        self.busy_wait = wait;
        self
    }

    /// To the joiner that listens at `address`.
    ///
    /// Where its disk loses what was written, a path is pushed once more, into new files; so is memory. Other sources
    /// are read once: the transfer fails.
    pub fn to(mut self, address: impl Into<String>) -> Transfer {
        let address = address.into();
        Transfer::start(move |watch| {
            self.settings.check()?;
            if !matches!(self.state, State::Path(..)) {
                self.settings.without_files();
            }
            let push = |source: Arc<dyn Source>| self.run(&source, &address, watch);
            match &self.state {
                State::Path(path, options) => once_more(watch, "pushed", || {
                    push(Arc::new(DirectorySource::new(path.clone(), *options)?))
                }),
                State::Memory(bytes) => {
                    once_more(watch, "pushed", || push(Arc::new(MemorySource::new(Arc::clone(bytes)))))
                }
                State::Source(source) => push(Arc::clone(source)),
            }
        })
    }

    fn run(&self, source: &Arc<dyn Source>, address: &str, watch: &Watch) -> Result<Summary, Error> {
        let started = Instant::now();
        let options = self.settings.options()?;
        let control = watch.control();
        let engines = Engines::start(&self.settings, 1, 1, control);
        let place = engines.place();
        let summary = until_admitted(Side::Provider, control, self.busy_wait, || {
            let source = Arc::clone(source);
            Ok::<_, Error>(longhaul_transport::provide(
                address,
                source,
                &options,
                place.pool,
                control,
                &place.engine,
            )?)
        })?;
        Ok(Summary::new(&summary, started.elapsed(), place.transport()))
    }
}
