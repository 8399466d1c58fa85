//! The walk: files first, then links and directories, each directory after all it holds.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::PoisonError;

use longhaul_core::id::ItemId;
use longhaul_core::item::{Timestamp, Version};

use super::changes::Changes;
use super::fingerprint::{Fingerprint, name_hash};
use super::survey::Surveyed;
use super::tree::{Kind, Step, Tree};
use super::{DirectorySource, HardLinks, failed, mode, modified, sparse, version};
use crate::item::{Item, Name, What};
use crate::links::{LinksPolicy, leads_out};
use crate::root::LINK_SETS_MAX;
use crate::source::memory::SingleItem;
use crate::source::{SourceError, SourceErrorKind, Walk};

pub(super) fn walk(source: &DirectorySource) -> Result<Box<dyn Walk + '_>, SourceError> {
    let found = || source.surveyed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let surveyed = if let Some(surveyed) = found() {
        surveyed
    } else {
        super::survey::survey(source, &())?;
        found().expect("a survey that succeeds leaves what it found")
    };
    if source.single {
        return Ok(Box::new(SingleItem::new(single_file(source, &surveyed)?)));
    }
    Ok(Box::new(DirectoryWalk {
        source,
        surveyed,
        tree: Tree::new(source)?,
        pass: Pass::Files,
        seen: Fingerprint::new(),
        ids: 0,
        first_names: HashMap::new(),
    }))
}

fn single_file(source: &DirectorySource, surveyed: &Surveyed) -> Result<Item, SourceError> {
    let metadata =
        fs::symlink_metadata(&source.root).map_err(|error| failed(&Name::root(), "stat", error))?;
    if !metadata.is_file() || Some(metadata.size()) != surveyed.survey.bytes {
        return Err(SourceError::whole(SourceErrorKind::Changed("it is not what was surveyed")));
    }
    Ok(file(Name::root(), &metadata, false))
}

struct DirectoryWalk<'a> {
    source: &'a DirectorySource,
    surveyed: Surveyed,
    tree: Tree<'a>,
    pass: Pass,
    /// What this pass met.
    seen: Fingerprint,
    /// Items yielded so far: the next one's number.
    ids: u64,
    /// By inode, the first file of each set of hard links.
    first_names: HashMap<u64, FirstName>,
}

/// The name of a set of hard links that went with the content. The second pass meets it again.
struct FirstName {
    id: ItemId,
    name_hash: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Files,
    LinksAndDirectories,
    Done,
}

impl Walk for DirectoryWalk<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        while self.pass != Pass::Done {
            let Some(step) = self.tree.next()? else {
                self.end_pass()?;
                continue;
            };
            let item = match (step, self.pass) {
                (Step::Entry(Kind::Special), _) | (Step::Leave(_), Pass::Files | Pass::Done) => None,
                (Step::Entry(kind), pass) => {
                    self.seen.add_name(self.tree.parent(), self.tree.name(), kind, self.tree.inode());
                    match (kind, pass) {
                        (Kind::File, Pass::Files) => self.file()?,
                        (Kind::File, _) => self.further_name()?,
                        (Kind::SymbolicLink, Pass::LinksAndDirectories) => Some(self.symbolic_link()?),
                        _ => None,
                    }
                }
                (Step::Leave(metadata), Pass::LinksAndDirectories) => Some(self.directory(&metadata)?),
            };
            if let Some(item) = item {
                self.ids += 1;
                if self.ids > u64::from(u32::MAX) {
                    return Err(SourceError::whole(SourceErrorKind::TooManyItems));
                }
                return Ok(Some(item));
            }
        }
        Ok(None)
    }
}

impl DirectoryWalk<'_> {
    /// Both passes must meet what the survey met; only the first looks at the files' sizes.
    fn end_pass(&mut self) -> Result<(), SourceError> {
        let before = &self.surveyed.fingerprint;
        let same = match self.pass {
            Pass::Files => self.seen == *before,
            _ => self.seen.same_names(before),
        };
        if !same {
            return Err(Changes { before, now: &self.seen }.find(self.source));
        }
        self.pass = match self.pass {
            Pass::Files => Pass::LinksAndDirectories,
            _ => Pass::Done,
        };
        self.seen = Fingerprint::new();
        if self.pass != Pass::Done {
            self.tree = Tree::new(self.source)?;
        }
        Ok(())
    }

    fn keeps_links(&self, metadata: &Metadata) -> bool {
        self.source.options.hard_links == HardLinks::Keep && metadata.nlink() > 1
    }

    fn file(&mut self) -> Result<Option<Item>, SourceError> {
        let metadata = self.tree.metadata()?;
        if !metadata.is_file() {
            return Err(self.tree.error(SourceErrorKind::Changed("it was replaced")));
        }
        self.seen.add_size(self.tree.name(), metadata.size());
        let linked = self.keeps_links(&metadata);
        if linked {
            if self.first_names.contains_key(&metadata.ino()) {
                return Ok(None);
            }
            if self.first_names.len() >= LINK_SETS_MAX {
                return Err(SourceError::whole(SourceErrorKind::TooManyLinks));
            }
            let name_hash = name_hash(self.tree.name(), Kind::File, 0);
            self.first_names.insert(metadata.ino(), FirstName { id: ItemId(self.ids as u32), name_hash });
            self.surveyed.links = true;
        }
        Ok(Some(file(self.tree.checked_name()?, &metadata, linked)))
    }

    /// A further name of a set of hard links; the first, and files with one name, were yielded by
    /// the first pass.
    fn further_name(&mut self) -> Result<Option<Item>, SourceError> {
        if !self.surveyed.links {
            return Ok(None);
        }
        let metadata = self.tree.metadata()?;
        if !self.keeps_links(&metadata) {
            return Ok(None);
        }
        let Some(first) = self.first_names.get(&metadata.ino()) else {
            return Err(self.tree.error(SourceErrorKind::Changed("it was replaced, or got another name")));
        };
        if first.name_hash == name_hash(self.tree.name(), Kind::File, 0) {
            return Ok(None);
        }
        Ok(Some(Item {
            name: self.tree.checked_name()?,
            mode: mode(&metadata),
            mtime: modified(&metadata),
            version: Version::default(),
            what: What::HardLink { to: first.id },
        }))
    }

    fn symbolic_link(&mut self) -> Result<Item, SourceError> {
        let name = self.tree.checked_name()?;
        let target = self.tree.target()?;
        if self.source.options.links == LinksPolicy::Refuse && leads_out(name.as_name(), &target) {
            return Err(self.tree.error(SourceErrorKind::LinkLeaves));
        }
        Ok(Item {
            name,
            // A link has neither of its own that would matter.
            mode: 0o777,
            mtime: Timestamp::default(),
            version: Version::default(),
            what: What::SymbolicLink { target },
        })
    }

    fn directory(&mut self, metadata: &Metadata) -> Result<Item, SourceError> {
        Ok(Item {
            name: self.tree.checked_name()?,
            mode: mode(metadata),
            mtime: modified(metadata),
            version: Version::default(),
            what: What::Directory,
        })
    }
}

fn file(name: Name, metadata: &Metadata, linked: bool) -> Item {
    Item {
        name,
        mode: mode(metadata),
        mtime: modified(metadata),
        version: version(metadata),
        what: What::File { size: metadata.size(), linked, sparse: sparse(metadata) },
    }
}
