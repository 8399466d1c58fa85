//! Receiving a state: providers dial.

use std::path::Path;

use longhaul_core::integrity::Integrity;
use longhaul_state::{LinksPolicy, Sink, SinkError};

use crate::destination::Destination;
use crate::error::Error;
use crate::serve::{Listening, listening_settings};
use crate::service::{Role, Service};
use crate::settings::{Settings, common_settings};

/// What makes the sink of each session.
type MakeSink = Box<dyn Fn() -> Result<Box<dyn Sink>, SinkError> + Send + Sync>;

/// Receives states from providers that dial: made by [`crate::receive`].
#[must_use = "nothing is received before it is started"]
pub struct Receive {
    target: Target,
    settings: Settings,
    listening: Listening,
}

enum Target {
    Path(std::path::PathBuf, Destination),
    Sinks(MakeSink),
}

impl Receive {
    pub(crate) fn path(path: &Path) -> Self {
        Self::new(Target::Path(path.to_path_buf(), Destination::default()))
    }

    fn new(target: Target) -> Self {
        Self { target, settings: Settings::default(), listening: Listening::default() }
    }

    /// Receives into sinks of one's own: `make` is called for every session.
    pub fn sinks(make: impl Fn() -> Result<Box<dyn Sink>, SinkError> + Send + Sync + 'static) -> Self {
        Self::new(Target::Sinks(Box::new(make)))
    }

    common_settings!();
    listening_settings!();

    fn destination(&mut self) -> Option<&mut Destination> {
        match &mut self.target {
            Target::Path(_, destination) => Some(destination),
            Target::Sinks(_) => None,
        }
    }

    /// The integrity that is demanded. CRC-32C unless told.
    pub fn integrity(mut self, integrity: Integrity) -> Self {
        self.settings.integrity = integrity;
        self
    }

    /// Whether an old state at the destination may be replaced. No unless told; of no effect on
    /// other sinks than a path.
    pub fn replace(mut self, replace: bool) -> Self {
        if let Some(destination) = self.destination() {
            destination.replace = replace;
        }
        self
    }

    /// What becomes of symbolic links that lead out of the state. Refused unless told; of no effect
    /// on other sinks than a path.
    pub fn links(mut self, links: LinksPolicy) -> Self {
        if let Some(destination) = self.destination() {
            destination.links = links;
        }
        self
    }

    /// Whether a journal is kept, so that a transfer whose process ends goes on where it was when it is
    /// started again. Yes unless told; of no effect on other sinks than a path.
    pub fn resume(mut self, resume: bool) -> Self {
        if let Some(destination) = self.destination() {
            destination.resume = resume;
        }
        self
    }

    /// Whether what an earlier run left is read and compared with its checksums before it is kept. No
    /// unless told; of no effect on other sinks than a path.
    pub fn paranoid(mut self, paranoid: bool) -> Self {
        if let Some(destination) = self.destination() {
            destination.paranoid = paranoid;
        }
        self
    }

    /// Whether all content is read back from the disk, past the page cache, and compared with its checksums
    /// before it is published. No unless told; of no effect on other sinks than a path.
    pub fn verify_after(mut self, verify: bool) -> Self {
        if let Some(destination) = self.destination() {
            destination.verify_after = verify;
        }
        self
    }

    /// Where the source is, if it is known to be on this machine: a destination inside it is
    /// refused. Of no effect on other sinks than a path.
    pub fn source_path(mut self, path: impl AsRef<Path>) -> Self {
        if let Some(destination) = self.destination() {
            destination.source_path = Some(path.as_ref().to_path_buf());
        }
        self
    }

    /// Listens and receives, until it is stopped.
    ///
    /// # Errors
    /// If the destination can't be used, a choice can't be, or the address can't be had.
    pub fn start(self) -> Result<Service, Error> {
        self.settings.check_joiner()?;
        let make: MakeSink = match self.target {
            Target::Path(path, destination) => {
                destination.check(self.settings.integrity)?;
                if destination.recover(&path)?.is_some() {
                    tracing::warn!("an earlier run had a state ready, which is published now");
                }
                destination.sink(&path)?;
                Box::new(move || destination.sink(&path))
            }
            Target::Sinks(make) => make,
        };
        Service::start(Role::Joiner(make), self.settings, &self.listening)
    }
}
