//! A directory with a destination in it.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    /// In memory where there is some: much is synced.
    pub(crate) fn new() -> Self {
        let memory = Some(Path::new("/dev/shm")).filter(|path| path.is_dir());
        Self(match memory {
            Some(memory) => tempfile::tempdir_in(memory).unwrap(),
            None => tempfile::tempdir().unwrap(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn to(&self) -> PathBuf {
        self.path().join("to")
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
