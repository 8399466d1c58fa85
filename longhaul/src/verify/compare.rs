//! Where two states on disk differ: one is walked, the other looked up by name, then the reverse.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use longhaul_state::Source;
use longhaul_state::item::Name;
use longhaul_state::source::{
    DirectoryOptions, DirectorySource, HardLinks, Progress, SourceError, SourceErrorKind,
};

use super::hash::{local, stopped};
use crate::error::Error;

const BUFFER_LEN: usize = 256 << 10;

/// One difference between two states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The item; the root's name for the state as a whole.
    pub name: Name,
    /// What differs.
    pub unlike: Unlike,
}

/// In what two items of the same name differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unlike {
    /// It is in the first state alone.
    Missing,
    /// It is in the second state alone.
    Extra,
    /// One is a file, the other a directory or a link.
    Kind,
    /// Bytes in the first and in the second.
    Size(u64, u64),
    /// The first byte that differs.
    Content(u64),
    /// Where a symbolic link points.
    Target,
    /// Permission bits in the first and in the second.
    Mode(u32, u32),
    /// When it was last modified.
    ModificationTime,
    /// Which names are the same file.
    HardLinks,
}

impl Unlike {
    /// The word in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Kind => "kind",
            Self::Size(..) => "size",
            Self::Content(_) => "content",
            Self::Target => "target",
            Self::Mode(..) => "mode",
            Self::ModificationTime => "modification-time",
            Self::HardLinks => "hard-links",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match self.unlike {
            Unlike::Missing => f.write_str("missing in the other"),
            Unlike::Extra => f.write_str("only in the other"),
            Unlike::Kind => f.write_str("of another kind"),
            Unlike::Size(one, two) => write!(f, "{one} bytes here, {two} there"),
            Unlike::Content(at) => write!(f, "content differs from byte {at} on"),
            Unlike::Target => f.write_str("points elsewhere"),
            Unlike::Mode(one, two) => write!(f, "mode {one:03o} here, {two:03o} there"),
            Unlike::ModificationTime => f.write_str("modified at another time"),
            Unlike::HardLinks => f.write_str("a hard link here or there, but not on both sides alike"),
        }
    }
}

/// The differences found: the first of them, and how many there are.
#[derive(Default)]
pub(super) struct Found {
    pub(super) told: Vec<Difference>,
    pub(super) total: u64,
    told_max: usize,
}

impl Found {
    fn add(&mut self, name: &Name, unlike: Unlike) {
        self.total += 1;
        if self.told.len() < self.told_max {
            self.told.push(Difference { name: name.clone(), unlike });
        }
    }
}

pub(super) fn find(
    one: &Path,
    two: &Path,
    options: DirectoryOptions,
    progress: &dyn Progress,
    told_max: usize,
) -> Result<Found, Error> {
    let mut found = Found { told_max, ..Found::default() };
    let mut links = Found { told_max, ..Found::default() };
    each_name(one, options, progress, |name, path| {
        let other = path_in(two, name);
        let (Some(here), Some(there)) = (look(name, path)?, look(name, &other)?) else {
            found.add(name, Unlike::Missing);
            return Ok(());
        };
        compare(&mut found, name, (path, &here), (&other, &there))?;
        if options.hard_links == HardLinks::Keep
            && here.is_file()
            && there.is_file()
            && (here.nlink() > 1) != (there.nlink() > 1)
        {
            links.add(name, Unlike::HardLinks);
        }
        Ok(())
    })?;
    each_name(two, options, progress, |name, _| {
        if look(name, &path_in(one, name))?.is_none() {
            found.add(name, Unlike::Extra);
        }
        Ok(())
    })?;
    if found.total > 0 {
        return Ok(found);
    }
    if links.total == 0 {
        links.add(&Name::root(), Unlike::HardLinks);
    }
    Ok(links)
}

fn each_name(
    root: &Path,
    options: DirectoryOptions,
    progress: &dyn Progress,
    mut visit: impl FnMut(&Name, &Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let source = DirectorySource::new(root, options).map_err(local)?;
    let mut walk = source.walk().map_err(local)?;
    while let Some(item) = walk.next().map_err(local)? {
        if !progress.advance(0) {
            return Err(stopped());
        }
        visit(&item.name, &path_in(root, &item.name))?;
    }
    Ok(())
}

fn path_in(root: &Path, name: &Name) -> PathBuf {
    if name.is_root() { root.to_path_buf() } else { root.join(OsStr::from_bytes(name.as_bytes())) }
}

/// What is at the path; `None` if nothing is. The state's own path may be a symbolic link to it.
fn look(name: &Name, path: &Path) -> Result<Option<Metadata>, Error> {
    let metadata = if name.is_root() { fs::metadata(path) } else { fs::symlink_metadata(path) };
    match metadata {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(failed(name, "stat", error)),
    }
}

fn compare(
    found: &mut Found,
    name: &Name,
    (one, here): (&Path, &Metadata),
    (two, there): (&Path, &Metadata),
) -> Result<(), Error> {
    let kind = |file_type: FileType| (file_type.is_file(), file_type.is_dir(), file_type.is_symlink());
    if kind(here.file_type()) != kind(there.file_type()) {
        found.add(name, Unlike::Kind);
        return Ok(());
    }
    if here.is_symlink() {
        let target = |path: &Path| fs::read_link(path).map_err(|error| failed(name, "readlink", error));
        if target(one)? != target(two)? {
            found.add(name, Unlike::Target);
        }
        return Ok(());
    }
    if here.is_file() {
        if here.len() != there.len() {
            found.add(name, Unlike::Size(here.len(), there.len()));
        } else if let Some(at) = first_difference(one, two).map_err(|error| failed(name, "read", error))? {
            found.add(name, Unlike::Content(at));
        }
    }
    let (mode, other_mode) = (here.mode() & 0o777, there.mode() & 0o777);
    if mode != other_mode {
        found.add(name, Unlike::Mode(mode, other_mode));
    }
    if (here.mtime(), here.mtime_nsec()) != (there.mtime(), there.mtime_nsec()) {
        found.add(name, Unlike::ModificationTime);
    }
    Ok(())
}

/// The offset of the first byte that differs; a file that ends early differs there.
fn first_difference(one: &Path, two: &Path) -> io::Result<Option<u64>> {
    let (mut one, mut two) = (File::open(one)?, File::open(two)?);
    let mut buffers = (vec![0; BUFFER_LEN], vec![0; BUFFER_LEN]);
    let mut offset = 0;
    loop {
        let here = fill(&mut one, &mut buffers.0)?;
        let there = fill(&mut two, &mut buffers.1)?;
        let (here, there) = (&buffers.0[..here], &buffers.1[..there]);
        if here != there {
            let common = here.iter().zip(there).take_while(|(here, there)| here == there).count();
            return Ok(Some(offset + common as u64));
        }
        if here.is_empty() {
            return Ok(None);
        }
        offset += here.len() as u64;
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn failed(name: &Name, action: &'static str, error: io::Error) -> Error {
    local(SourceError::item(name.clone(), SourceErrorKind::Io { action, error }))
}
