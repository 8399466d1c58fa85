//! The survey: what a directory holds, by metadata alone.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;

use super::fingerprint::Fingerprint;
use super::tree::{Kind, Step, Tree};
use super::{DirectorySource, HardLinks, SpecialFiles, failed, special_name};
use crate::item::Name;
use crate::links::{LinksPolicy, leads_out};
use crate::root::LINK_SETS_MAX;
use crate::source::{Progress, Shape, SourceError, SourceErrorKind, Survey};

/// Entries between two words of progress.
const STEP: u64 = 256;
/// The bits of a mode that don't travel: set-user-id, set-group-id, sticky.
const DROPPED_BITS: u32 = 0o7000;

/// What the walk is compared with.
#[derive(Clone, Debug)]
pub(super) struct Surveyed {
    pub(super) survey: Survey,
    pub(super) fingerprint: Fingerprint,
    /// There are files with several names.
    pub(super) links: bool,
}

pub(super) fn survey(source: &DirectorySource, progress: &dyn Progress) -> Result<Survey, SourceError> {
    let surveyed = if source.single { single_file(source)? } else { directory(source, progress)? };
    let survey = surveyed.survey;
    *source.surveyed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(surveyed);
    Ok(survey)
}

fn single_file(source: &DirectorySource) -> Result<Surveyed, SourceError> {
    let metadata =
        fs::symlink_metadata(&source.root).map_err(|error| failed(&Name::root(), "stat", error))?;
    if !metadata.is_file() {
        return Err(SourceError::whole(SourceErrorKind::Changed("it was replaced")));
    }
    let mut survey =
        Survey { shape: Shape::File, items: 1, bytes: Some(metadata.size()), ..Survey::default() };
    survey.allocated = metadata.blocks() * 512;
    note_mode(&mut survey, &metadata);
    Ok(Surveyed { survey, fingerprint: Fingerprint::new(), links: false })
}

fn directory(source: &DirectorySource, progress: &dyn Progress) -> Result<Surveyed, SourceError> {
    let mut survey = Survey::default();
    let mut fingerprint = Fingerprint::new();
    let mut sets = HashSet::new();
    let mut bytes = 0_u64;
    let mut seen = 0;
    let mut tree = Tree::new(source)?;
    while let Some(step) = tree.next()? {
        seen += 1;
        if seen % STEP == 0 && !progress.advance(seen) {
            return Err(SourceError::whole(SourceErrorKind::Stopped));
        }
        let kind = match step {
            Step::Entry(kind) => kind,
            Step::Leave(metadata) => {
                survey.items += 1;
                survey.allocated += metadata.blocks() * 512;
                note_mode(&mut survey, &metadata);
                continue;
            }
        };
        if kind == Kind::Special {
            match source.options.special {
                SpecialFiles::Skip => survey.warnings.special_skipped += 1,
                SpecialFiles::Refuse => {
                    return Err(tree.error(SourceErrorKind::Special(special_name(&tree.metadata()?))));
                }
            }
            continue;
        }
        let name = tree.checked_name()?;
        survey.longest_name = survey.longest_name.max(tree.part_len());
        fingerprint.add_name(tree.parent(), tree.name(), kind, tree.inode());
        match kind {
            // It counts when it is left.
            Kind::Directory | Kind::Special => {}
            Kind::SymbolicLink => {
                survey.items += 1;
                if source.options.links == LinksPolicy::Refuse && leads_out(name.as_name(), &tree.target()?) {
                    return Err(tree.error(SourceErrorKind::LinkLeaves));
                }
            }
            Kind::File => {
                survey.items += 1;
                let metadata = tree.metadata()?;
                if !metadata.is_file() {
                    return Err(tree.error(SourceErrorKind::Changed("it was replaced")));
                }
                if metadata.dev() != tree.device() {
                    return Err(tree.error(SourceErrorKind::MountInside));
                }
                fingerprint.add_size(tree.name(), metadata.size());
                if metadata.nlink() > 1 && source.options.hard_links == HardLinks::Keep {
                    if !sets.insert(metadata.ino()) {
                        continue;
                    }
                    if sets.len() > LINK_SETS_MAX {
                        return Err(SourceError::whole(SourceErrorKind::TooManyLinks));
                    }
                }
                bytes = bytes
                    .checked_add(metadata.size())
                    .ok_or_else(|| SourceError::whole(SourceErrorKind::TooManyBytes))?;
                survey.allocated += metadata.blocks() * 512;
                note_mode(&mut survey, &metadata);
            }
        }
    }
    if survey.items > u64::from(u32::MAX) {
        return Err(SourceError::whole(SourceErrorKind::TooManyItems));
    }
    progress.advance(seen);
    survey.bytes = Some(bytes);
    survey.linked = sets.len() as u64;
    Ok(Surveyed { survey, fingerprint, links: !sets.is_empty() })
}

fn note_mode(survey: &mut Survey, metadata: &Metadata) {
    survey.warnings.mode_bits_dropped += u64::from(metadata.mode() & DROPPED_BITS != 0);
}
