//! What a state is, and where two states differ.

mod compare;
pub(crate) mod hash;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use longhaul_core::integrity::Integrity;
use longhaul_state::LinksPolicy;
use longhaul_state::source::{DirectoryOptions, HardLinks, Progress, SpecialFiles};

pub use compare::{Difference, Unlike};

use crate::error::{Error, ErrorKind};
use crate::receipt::Receipt;

/// Differences that are told by name; the others are counted.
const TOLD_MAX: usize = 100;

/// Looks at a state: made by [`crate::verify`].
///
/// Special files are left out, and links are looked at as links, wherever they lead.
#[derive(Clone)]
#[must_use = "nothing is looked at before it is told what for"]
pub struct Verify {
    path: PathBuf,
    integrity: Integrity,
    options: DirectoryOptions,
    progress: Arc<dyn Progress + Send>,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Comparison {
    /// What the state is.
    pub state: Receipt,
    /// What it was compared with.
    pub other: Receipt,
    /// Where they differ; the first hundred. None are known where it was compared with a receipt.
    pub differences: Vec<Difference>,
    /// How many differences there are.
    pub differences_total: u64,
}

impl Comparison {
    /// Whether both are the same.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.state == self.other
    }

    /// The error that a difference is.
    ///
    /// # Errors
    /// If they are not the same, with [`ErrorKind::Integrity`].
    pub fn require_same(&self) -> Result<(), Error> {
        if self.is_same() {
            return Ok(());
        }
        let message = format!("the states differ: {} and {}", self.state.root, self.other.root);
        Err(Error::new(ErrorKind::Integrity, message))
    }
}

impl Verify {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            integrity: Integrity::Crc32c,
            options: DirectoryOptions {
                links: LinksPolicy::Keep,
                hard_links: HardLinks::Keep,
                special: SpecialFiles::Skip,
            },
            progress: Arc::new(()),
        }
    }

    /// Which root. CRC-32C unless told; the receipt's own where one is compared with.
    pub fn integrity(mut self, integrity: Integrity) -> Self {
        self.integrity = integrity;
        self
    }

    /// Whether files with several names count as such, or as copies. As such unless told.
    pub fn hard_links(mut self, hard_links: HardLinks) -> Self {
        self.options.hard_links = hard_links;
        self
    }

    /// Who hears how many bytes were read so far, and may stop it.
    pub fn progress(mut self, progress: Arc<dyn Progress + Send>) -> Self {
        self.progress = progress;
        self
    }

    /// The root, and the totals.
    ///
    /// # Errors
    /// If the state can't be read, changes meanwhile, or it was stopped.
    pub fn receipt(&self) -> Result<Receipt, Error> {
        if self.integrity == Integrity::None {
            return Err(Error::new(ErrorKind::Usage, "without checksums there is nothing to verify"));
        }
        hash::receipt(&self.path, self.options, self.integrity, &*self.progress)
    }

    /// Compares with the state at another path, and finds where they differ.
    ///
    /// # Errors
    /// As [`Verify::receipt`], for both.
    pub fn compare(&self, other: impl AsRef<Path>) -> Result<Comparison, Error> {
        let theirs = Self {
            path: other.as_ref().to_path_buf(),
            progress: Arc::new(Quiet(Arc::clone(&self.progress))),
            ..self.clone()
        };
        let (state, other) = thread::scope(|scope| {
            let theirs = scope.spawn(|| theirs.receipt());
            let ours = self.receipt();
            let theirs = theirs
                .join()
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Other, "the comparing thread panicked")));
            Ok::<_, Error>((ours?, theirs?))
        })?;
        let found = if state == other {
            compare::Found::default()
        } else {
            compare::find(&self.path, &theirs.path, self.options, &*self.progress, TOLD_MAX)?
        };
        Ok(Comparison { state, other, differences: found.told, differences_total: found.total })
    }

    /// Compares with a receipt, whose integrity is used. A receipt can't tell where a difference is.
    ///
    /// # Errors
    /// As [`Verify::receipt`].
    pub fn check(&self, receipt: &Receipt) -> Result<Comparison, Error> {
        let state = self.clone().integrity(receipt.root.integrity).receipt()?;
        Ok(Comparison {
            state,
            other: *receipt,
            differences: Vec::new(),
            differences_total: u64::from(state != *receipt),
        })
    }
}

impl std::fmt::Debug for Verify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verify")
            .field("path", &self.path)
            .field("integrity", &self.integrity)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// May stop the other side's work, and does not count it twice.
struct Quiet(Arc<dyn Progress + Send>);

impl Progress for Quiet {
    fn advance(&self, _done: u64) -> bool {
        self.0.advance(0)
    }
}
