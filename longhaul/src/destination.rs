//! A path where a state is to land.

use std::path::{Path, PathBuf};

use longhaul_core::integrity::Integrity;
use longhaul_state::sink::{Agreed, DirectorySink, DirectorySinkOptions, Resume};
use longhaul_state::{LinksPolicy, Sink, SinkError};

use crate::error::{Error, ErrorKind};

/// What may be done at a destination.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) replace: bool,
    pub(crate) links: LinksPolicy,
    pub(crate) source_path: Option<PathBuf>,
    pub(crate) resume: bool,
    pub(crate) paranoid: bool,
    pub(crate) verify_after: bool,
}

/// A state that an earlier run had ready, and that is published now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovered {
    pub(crate) agreed: Agreed,
    /// Why its durability is not proven, if it is not.
    pub(crate) caveat: Option<&'static str>,
}

impl Default for Destination {
    fn default() -> Self {
        let DirectorySinkOptions { replace, links, source_path, resume, paranoid, verify_after } =
            DirectorySinkOptions::default();
        Self { replace, links, source_path, resume, paranoid, verify_after }
    }
}

impl Destination {
    /// Refuses what can't be had together.
    pub(crate) fn check(&self, integrity: Integrity) -> Result<(), Error> {
        if self.verify_after && integrity == Integrity::None {
            let what = "without checksums there is nothing to compare with what is read back";
            return Err(Error::new(ErrorKind::Usage, what));
        }
        Ok(())
    }

    /// The sink of one session, once it is known that the destination can be used.
    pub(crate) fn sink(&self, path: &Path) -> Result<Box<dyn Sink>, SinkError> {
        let mut sink = self.open(path)?;
        sink.preflight()?;
        Ok(Box::new(sink))
    }

    /// Sees through what an earlier run was about to publish when its process ended.
    pub(crate) fn recover(&self, path: &Path) -> Result<Option<Recovered>, SinkError> {
        let mut sink = self.open(path)?;
        let agreed = sink.recover()?;
        Ok(agreed.map(|agreed| Recovered { agreed, caveat: sink.caveat() }))
    }

    /// Whether a later run would go on from what stands beside the destination.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        self.open(path).is_ok_and(|sink| sink.holds())
    }

    fn open(&self, path: &Path) -> Result<DirectorySink, SinkError> {
        let options = DirectorySinkOptions {
            replace: self.replace,
            links: self.links,
            source_path: self.source_path.clone(),
            resume: self.resume,
            paranoid: self.paranoid,
            verify_after: self.verify_after,
        };
        DirectorySink::new(path, options)
    }
}
