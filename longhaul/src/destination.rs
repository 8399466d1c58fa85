//! A path where a state is to land.

use std::path::{Path, PathBuf};

use longhaul_state::sink::{DirectorySink, DirectorySinkOptions};
use longhaul_state::{LinksPolicy, Sink, SinkError};

/// What may be done at a destination.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destination {
    pub(crate) replace: bool,
    pub(crate) links: LinksPolicy,
    pub(crate) source_path: Option<PathBuf>,
}

impl Destination {
    /// The sink of one session, once it is known that the destination can be used.
    pub(crate) fn sink(&self, path: &Path) -> Result<Box<dyn Sink>, SinkError> {
        let options = DirectorySinkOptions {
            replace: self.replace,
            links: self.links,
            source_path: self.source_path.clone(),
        };
        let mut sink = DirectorySink::new(path, options)?;
        sink.preflight()?;
        Ok(Box::new(sink))
    }
}
