//! A path where a state is to land.

use std::path::Path;

use longhaul_state::{LinksPolicy, Sink, SinkError};

/// What may be done at a destination.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Destination {
    pub(crate) replace: bool,
    pub(crate) links: LinksPolicy,
}

impl Destination {
    /// The sink of one session, once it is known that the destination can be used.
    pub(crate) fn sink(self, path: &Path) -> Result<Box<dyn Sink>, SinkError> {
        let _ = (path, self.replace, self.links);
        Ok(Box::new(longhaul_state::sink::DiscardSink::new()))
    }
}
