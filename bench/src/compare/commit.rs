//! A commit, checked out beside the working tree.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where, below the working tree: always at the same place, so that a later one is built from what is there.
const PLACE: &str = "target/compare/commit";

/// It is taken away again when this is dropped.
pub(crate) struct Checkout {
    path: PathBuf,
    short_name: String,
}

impl Checkout {
    pub(crate) fn of(commit: &str) -> Result<Self, String> {
        let top = top()?;
        let short_name = git(
            &top,
            &["rev-parse", "--short", "--verify", "--end-of-options", &format!("{commit}^{{commit}}")],
        )?;
        let checkout = Self { path: top.join(PLACE), short_name };
        // One that was killed has left its own.
        checkout.remove();
        git(&top, &["worktree", "add", "--force", "--detach", PLACE, &checkout.short_name])?;
        Ok(checkout)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn short_name(&self) -> &str {
        &self.short_name
    }

    fn remove(&self) {
        let top = self.path.ancestors().nth(Path::new(PLACE).components().count()).unwrap_or(&self.path);
        // Where there is none there is nothing to take away.
        let mut git = Command::new("git");
        let _ = git
            .current_dir(top)
            .args(["worktree", "remove", "--force", PLACE])
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The working tree.
pub(crate) fn top() -> Result<PathBuf, String> {
    git(Path::new(env!("CARGO_MANIFEST_DIR")), &["rev-parse", "--show-toplevel"]).map(PathBuf::from)
}

fn git(at: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git").current_dir(at).args(arguments).output();
    let output = output.map_err(|error| format!("git: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
