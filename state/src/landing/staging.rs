//! What interrupted landings have left: found, told, given up.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::OpError;
use super::journal::{Claimed, JournalError, Loaded};
use super::site::Site;
use super::site_journal::SiteJournal;
use crate::item::Name;
use crate::sink::{SinkError, SinkErrorKind};

const SUFFIX: &[u8] = b".longhaul";

/// What a landing has left beside its destination, or is at.
#[derive(Debug)]
pub struct Staging {
    /// The destination, as far as its name is known: a very long one is cut in that of its staging.
    pub destination: PathBuf,
    /// The staging directory; it may be gone, and the journal be left.
    pub path: PathBuf,
    /// The process that is at it, if one is.
    pub held: Option<String>,
    /// What its journal says; none if it has none: then nothing of it is kept.
    pub journal: Result<Option<(Loaded, Claimed)>, JournalError>,
}

impl Staging {
    /// What stands in `directory`, by name.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn list(directory: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let name = name.as_bytes().strip_suffix(b".journal").unwrap_or(name.as_bytes());
            let Some(destination) = destination_of(name) else { continue };
            found.push(directory.join(destination));
        }
        found.sort();
        found.dedup();
        found.iter().filter_map(|path| Self::of(path).transpose()).collect()
    }

    /// What stands beside `destination`, which may be the path of the staging directory itself; `None` if there
    /// is nothing.
    ///
    /// # Errors
    /// If it can't be looked at.
    pub fn of(destination: &Path) -> io::Result<Option<Self>> {
        let site = site(destination)?;
        let path = site.staging_path();
        if fs::symlink_metadata(&path).is_err() && !site.has_journal() {
            return Ok(None);
        }
        let held = match site.look_at_lock() {
            Err(OpError::Held(who)) => Some(who),
            Err(OpError::Io(error)) => return Err(error),
            _ => None,
        };
        let journal = SiteJournal::peek(&site.journal_path());
        Ok(Some(Self { destination: site.destination().to_path_buf(), path, held, journal }))
    }

    /// Gives up what stands beside `destination`, whatever state it is in, and says whether there was anything.
    ///
    /// # Errors
    /// If another process is at it, or something that is not ours has the name, or it can't be removed.
    pub fn discard(destination: &Path) -> Result<bool, SinkError> {
        let failed = |error| SinkError::io(Name::root(), "removal of the staging directory", error);
        let mut site = site(destination).map_err(failed)?;
        if fs::symlink_metadata(site.staging_path()).is_err() && !site.has_journal() {
            return Ok(false);
        }
        site.lock().map_err(|error| match error {
            OpError::Held(who) => SinkError::whole(SinkErrorKind::Held(who)),
            OpError::Io(error) => failed(error),
            error => failed(io::Error::other(error.to_string())),
        })?;
        site.sweep().and_then(|()| site.unlock()).map_err(failed)?;
        Ok(true)
    }
}

/// The site of a destination, or of the one that a staging directory belongs to.
fn site(path: &Path) -> io::Result<Site> {
    let name = path.file_name().and_then(|name| destination_of(name.as_bytes()));
    match name {
        Some(name) => Site::new(&path.with_file_name(name), None),
        None => Site::new(path, None),
    }
}

/// The name of the destination that a staging directory of this name belongs to.
fn destination_of(staging: &[u8]) -> Option<OsString> {
    let name = staging.strip_prefix(b".")?.strip_suffix(SUFFIX)?;
    (!name.is_empty()).then(|| OsString::from_vec(name.to_vec()))
}
