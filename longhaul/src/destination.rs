//! A path where a state is to land.

use std::path::{Path, PathBuf};

use longhaul_state::sink::{Agreed, DirectorySink, DirectorySinkOptions};
use longhaul_state::{LinksPolicy, Sink, SinkError};

/// What may be done at a destination.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) replace: bool,
    pub(crate) links: LinksPolicy,
    pub(crate) source_path: Option<PathBuf>,
    pub(crate) resume: bool,
    pub(crate) paranoid: bool,
}

impl Default for Destination {
    fn default() -> Self {
        let DirectorySinkOptions { replace, links, source_path, resume, paranoid } =
            DirectorySinkOptions::default();
        Self { replace, links, source_path, resume, paranoid }
    }
}

impl Destination {
    /// The sink of one session, once it is known that the destination can be used.
    pub(crate) fn sink(&self, path: &Path) -> Result<Box<dyn Sink>, SinkError> {
        let mut sink = self.open(path)?;
        sink.preflight()?;
        Ok(Box::new(sink))
    }

    /// Sees through what an earlier run was about to publish when its process ended.
    pub(crate) fn recover(&self, path: &Path) -> Result<Option<Agreed>, SinkError> {
        self.open(path)?.recover()
    }

    fn open(&self, path: &Path) -> Result<DirectorySink, SinkError> {
        let options = DirectorySinkOptions {
            replace: self.replace,
            links: self.links,
            source_path: self.source_path.clone(),
            resume: self.resume,
            paranoid: self.paranoid,
        };
        DirectorySink::new(path, options)
    }
}
