//! Fetching a state: the joiner dials.

use std::error::Error as StdError;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_core::integrity::Integrity;
use longhaul_core::reason::Side;
use longhaul_state::sink::{MemorySink, Published, StreamSink};
use longhaul_state::source::Survey;
use longhaul_state::transfer::Event;
use longhaul_state::{LinksPolicy, Sink};

use crate::busy::{BUSY_WAIT, until_admitted};
use crate::destination::Destination;
use crate::dry_run::DryRun;
use crate::engines::Engines;
use crate::error::{Error, ErrorKind};
use crate::lent::Lender;
use crate::once_more::once_more;
use crate::settings::{Settings, common_settings};
use crate::summary::Summary;
use crate::transfer::Transfer;
use crate::watch::Watch;

/// Fetches the state of a provider: made by [`crate::fetch`].
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched before it is told where to"]
pub struct Fetch {
    address: String,
    settings: Settings,
    destination: Destination,
    busy_wait: Duration,
}

impl Fetch {
    pub(crate) fn new(address: String) -> Self {
        Self {
            address,
            settings: Settings::default(),
            destination: Destination::default(),
            busy_wait: BUSY_WAIT,
        }
    }

    /// The choices of others, for a transfer that is a part of theirs.
    pub(crate) fn with_settings(mut self, settings: &Settings) -> Self {
        let own = std::mem::replace(&mut self.settings, settings.clone());
        (self.settings.state_id, self.settings.selector) = (own.state_id, own.selector);
        self
    }

    common_settings!();

    /// The integrity that is demanded. CRC-32C unless told.
    pub fn integrity(mut self, integrity: Integrity) -> Self {
        self.settings.integrity = integrity;
        self
    }

    /// Which of the provider's states, in its own words. Its only one unless told.
    pub fn state(mut self, id: impl Into<Vec<u8>>) -> Self {
        self.settings.state_id = id.into();
        self
    }

    /// Which part of the state, in the application's own words. All of it unless told.
    pub fn selector(mut self, selector: impl Into<Vec<u8>>) -> Self {
        self.settings.selector = selector.into();
        self
    }

    /// How long a busy provider is asked again. 60 s unless told.
    pub fn busy_wait(mut self, wait: Duration) -> Self {
        self.busy_wait = wait;
        self
    }

    /// Whether an old state at the destination may be replaced. No unless told.
    pub fn replace(mut self, replace: bool) -> Self {
        self.destination.replace = replace;
        self
    }

    /// What becomes of symbolic links that lead out of the state. Refused unless told.
    pub fn links(mut self, links: LinksPolicy) -> Self {
        self.destination.links = links;
        self
    }

    /// Whether a journal is kept, so that a transfer whose process ends goes on where it was when it is
    /// started again. Yes unless told; else what an earlier run left is removed.
    pub fn resume(mut self, resume: bool) -> Self {
        self.destination.resume = resume;
        self
    }

    /// Whether what an earlier run left is read and compared with its checksums before it is kept. No unless
    /// told: name, size, version and identity are compared.
    pub fn paranoid(mut self, paranoid: bool) -> Self {
        self.destination.paranoid = paranoid;
        self
    }

    /// Whether all content is read back from the disk, past the page cache, and compared with its checksums
    /// before it is published. No unless told.
    pub fn verify_after(mut self, verify: bool) -> Self {
        self.destination.verify_after = verify;
        self
    }

    /// Where the source is, if it is known to be on this machine: a destination inside it is refused.
    pub fn source_path(mut self, path: impl AsRef<Path>) -> Self {
        self.destination.source_path = Some(path.as_ref().to_path_buf());
        self
    }

    /// Into a directory, or a file if the state is one: `destination` is the state itself, once it
    /// is published.
    pub fn into(self, destination: impl AsRef<Path>) -> Transfer {
        let path = destination.as_ref().to_path_buf();
        Transfer::start(move |watch| {
            self.settings.check_joiner()?;
            self.destination.check(self.settings.integrity)?;
            let landed = once_more(watch, "fetched", || self.land(&path, watch));
            landed.map_err(|error| error.resumable(self.destination.holds(&path)))
        })
    }

    /// One run at a destination, from what an earlier one left there.
    fn land(&self, path: &Path, watch: &Watch) -> Result<Summary, Error> {
        let started = Instant::now();
        if let Some(recovered) = self.destination.recover(path)? {
            let what = "an earlier run had this state ready, and ended before it had published it all";
            watch.control().emit(&Event::Warning(what.into()));
            return Ok(Summary::recovered(&recovered, started.elapsed(), self.settings.transport));
        }
        // Checked before anybody is dialled.
        let sink = self.destination.sink(path)?;
        self.run(sink, watch)
    }

    /// Into memory, at most `limit` bytes: a state that is one file or stream.
    pub fn into_memory(self, limit: u64) -> Transfer<(Summary, Vec<u8>)> {
        let sink = MemorySink::new(limit);
        let published = sink.published();
        self.start(Box::new(sink), published)
    }

    /// Into a writer, in order: a state that is one file or stream. What was written of a transfer
    /// that fails stays written.
    pub fn into_writer(self, writer: impl Write + Send + 'static) -> Transfer {
        self.in_order().into_sink(Box::new(StreamSink::new(writer)))
    }

    /// Into a callback that reads, in order, on a thread of its own: `setState(InputStream)`. It
    /// reads the end only if all is there and verified, an error if the transfer failed; its error
    /// or panic fails the transfer.
    pub fn into_callback<T, E>(
        self,
        read_state: impl FnOnce(&mut dyn Read) -> Result<T, E> + Send + 'static,
    ) -> Transfer<(Summary, T)>
    where
        T: Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (sink, published) = StreamSink::from_reader(read_state);
        self.in_order().start(Box::new(sink), published)
    }

    /// Into a sink of one's own.
    pub fn into_sink(mut self, sink: Box<dyn Sink>) -> Transfer {
        self.settings.without_files();
        Transfer::start(move |watch| {
            self.settings.check_joiner()?;
            self.run(sink, watch)
        })
    }

    /// Dials, hears what would come, checks that `destination` can take it, and stops: nothing is
    /// moved, and nothing is left there. To the provider it is a session that was cancelled.
    pub fn dry_run(self, destination: impl AsRef<Path>) -> Transfer<Survey> {
        let path = destination.as_ref().to_path_buf();
        Transfer::start(move |watch| {
            self.settings.check_joiner()?;
            let (sink, heard) = DryRun::new(self.destination.sink(&path)?);
            match self.run(Box::new(sink), watch) {
                Err(error) if error.kind() == ErrorKind::Cancelled && !watch.is_cancelled() => {
                    heard.survey().ok_or(error)
                }
                Err(error) => Err(error),
                Ok(_) => Err(Error::new(ErrorKind::Other, "a dry run has gone too far")),
            }
        })
    }

    /// Lanes run ahead of each other: one alone keeps the order.
    fn in_order(self) -> Self {
        self.lanes(1)
    }

    fn start<T: Send + 'static>(
        mut self,
        sink: Box<dyn Sink>,
        published: Published<T>,
    ) -> Transfer<(Summary, T)> {
        self.settings.without_files();
        Transfer::start(move |watch| {
            self.settings.check_joiner()?;
            let summary = self.run(sink, watch)?;
            let value = published.take();
            value.map(|value| (summary, value)).ok_or_else(|| {
                Error::new(ErrorKind::Other, "the state was published, and what was received is not there")
            })
        })
    }

    fn run(&self, sink: Box<dyn Sink>, watch: &Watch) -> Result<Summary, Error> {
        let started = Instant::now();
        let options = self.settings.options()?;
        let control: &Arc<_> = watch.control();
        let engines = Engines::start(&self.settings, 1, 1, control);
        let place = engines.place();
        let lender = Lender::new(sink);
        let summary = until_admitted(Side::Joiner, control, self.busy_wait, || {
            let sink = lender.lend().ok_or_else(|| {
                Error::new(ErrorKind::Busy, "the provider was busy after the session had begun")
            })?;
            Ok(longhaul_transport::join(
                self.address.as_str(),
                sink,
                &options,
                place.pool,
                control,
                &place.engine,
            )?)
        })?;
        Ok(Summary::new(&summary, started.elapsed(), place.transport()))
    }
}
