//! Small files that appear whole or not at all.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use longhaul::{Error, ErrorKind};
use tempfile::NamedTempFile;

/// A file that will appear at its path.
pub(crate) struct PendingFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl PendingFile {
    /// Finds out now whether it can be written there.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        let file = builder
            .prefix(".longhaul-")
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(parent)
            .map_err(|error| cannot_write(path, error))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Makes it appear with this content.
    pub(crate) fn publish(mut self, content: &str) -> Result<(), Error> {
        let written = self.file.write_all(content.as_bytes()).and_then(|()| self.file.as_file().sync_all());
        written.map_err(|error| cannot_write(&self.path, error))?;
        self.file.persist(&self.path).map_err(|error| cannot_write(&self.path, error.error))?;
        Ok(())
    }
}

fn cannot_write(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Other, format!("{} can't be written: {error}", path.display())).with_cause(error)
}
