//! Which name came or went, or which file has another size, when a walk meets another tree than
//! the survey did.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use super::fingerprint::{Fingerprint, name_hash};
use super::tree::{Kind, Step, Tree};
use super::{DirectorySource, SpecialFiles};
use crate::item::Name;
use crate::source::{SourceError, SourceErrorKind};

/// The two fingerprints that differ.
pub(super) struct Changes<'a> {
    pub(super) before: &'a Fingerprint,
    pub(super) now: &'a Fingerprint,
}

/// When an inode was last changed. The greater of two suspects is the likelier culprit; clocks are
/// not compared, as the kernel's coarse one lags behind any that could be read here.
type ChangedAt = (i64, i64);

impl Changes<'_> {
    /// Walks once more and finds the culprit. The sums leave few suspects: a name that came is known
    /// by its hash, else it is the suspect that was changed last, else the root.
    pub(super) fn find(&self, source: &DirectorySource) -> SourceError {
        match self.culprit(source) {
            Ok(Some(error)) | Err(error) => error,
            Ok(None) => SourceError::whole(SourceErrorKind::Changed("names came and went")),
        }
    }

    fn culprit(&self, source: &DirectorySource) -> Result<Option<SourceError>, SourceError> {
        let mut last: Option<(ChangedAt, SourceError)> = None;
        let mut suspect = |metadata: &Metadata, error: SourceError| {
            let at = (metadata.ctime(), metadata.ctime_nsec());
            if last.as_ref().is_none_or(|(before, _)| at > *before) {
                last = Some((at, error));
            }
        };
        let names_differ = !self.now.same_names(self.before);
        let mut tree = Tree::new(source)?;
        while let Some(step) = tree.next()? {
            match step {
                Step::Entry(Kind::Special) if source.options.special == SpecialFiles::Skip => {}
                Step::Entry(kind) if names_differ => {
                    let came = self.now.difference(self.before, tree.parent());
                    if came == name_hash(tree.name(), kind, tree.inode()) {
                        return Ok(Some(tree.error(SourceErrorKind::Changed("it came meanwhile"))));
                    }
                }
                Step::Entry(Kind::File) if self.now.differs_in_size(self.before, tree.name()) => {
                    let error = tree.error(SourceErrorKind::Changed("it has another size"));
                    suspect(&tree.metadata()?, error);
                }
                Step::Entry(_) => {}
                Step::Leave(metadata) if self.now.difference(self.before, tree.name()) != 0 => {
                    let name = Name::new(tree.name()).unwrap_or_default();
                    let what = "a name in it came, went or was replaced";
                    suspect(&metadata, SourceError::item(name, SourceErrorKind::Changed(what)));
                }
                Step::Leave(_) => {}
            }
        }
        Ok(last.map(|(_, error)| error))
    }
}
