//! A copy of the sources where things may be broken, and a target directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::mutation::{Finder, Mutation};

/// What is not copied.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

pub(super) struct Workshop {
    tree: PathBuf,
    target: PathBuf,
}

impl Workshop {
    /// A fresh copy of the sources at `root`, under its target directory.
    pub(super) fn new(root: &Path) -> Result<Self, String> {
        let home = root.join("target/broken");
        let workshop = Self { tree: home.join("tree"), target: home.join("target") };
        let failed = |error| format!("{}: {error}", workshop.tree.display());
        copy(root, &workshop.tree).map_err(failed)?;
        Ok(workshop)
    }

    /// What `act` makes of the sources while they are broken.
    pub(super) fn with<T>(&self, mutation: &Mutation, act: impl FnOnce() -> T) -> Result<T, String> {
        let path = self.tree.join(&mutation.file);
        let failed = |error| format!("{}: {}: {error}", mutation.name, mutation.file);
        let whole = fs::read_to_string(&path).map_err(failed)?;
        let count = whole.matches(&mutation.find).count();
        if count != 1 {
            return Err(format!(
                "{}: {} has what is to be changed {count} times",
                mutation.name, mutation.file
            ));
        }
        fs::write(&path, whole.replace(&mutation.find, &mutation.with)).map_err(failed)?;
        let made = act();
        fs::write(&path, whole).map_err(failed)?;
        Ok(made)
    }

    /// Whether the run fails on the sources as they stand. What does not build is an error.
    pub(super) fn finds(&self, finder: &Finder) -> Result<bool, String> {
        match finder {
            Finder::Case(name) => {
                built(&self.cargo(&["build", "-p", "longhaul-tests", "--bin", "longhaul-tests"]))?;
                let line = self.line(name)?;
                let case = self.tree.join("case.txt");
                fs::write(&case, line).map_err(|error| error.to_string())?;
                let program = self.target.join("debug/longhaul-tests");
                let ran = Command::new(program).arg("scenario").arg(case).output();
                Ok(!ran.map_err(|error| error.to_string())?.status.success())
            }
            Finder::Test { package, binary, name } => {
                built(&self.cargo(&["test", "--no-run", "-p", package, "--test", binary]))?;
                let ran = self.cargo(&["test", "-p", package, "--test", binary, "--", "--exact", name]);
                let said = String::from_utf8_lossy(&ran.stdout).into_owned();
                if !said.contains("1 passed") && !said.contains("1 failed") {
                    return Err(format!("{package} has no test {name} in {binary}"));
                }
                Ok(!ran.status.success())
            }
        }
    }

    fn cargo(&self, arguments: &[&str]) -> Output {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.tree).args(arguments).env("CARGO_TARGET_DIR", &self.target);
        // Nothing is asked of the network or of the lints; a broken invariant must still be a panic.
        command.env("RUSTFLAGS", "-Awarnings").env("RUST_BACKTRACE", "0");
        command.output().expect("cargo runs: it has built this program")
    }

    /// The line of `tests/scenarios` with this name.
    fn line(&self, name: &str) -> Result<String, String> {
        let files = fs::read_dir(self.tree.join("tests/scenarios")).map_err(|error| error.to_string())?;
        for file in files.flatten() {
            let text = fs::read_to_string(file.path()).map_err(|error| error.to_string())?;
            let found = text.lines().find(|line| line.strip_prefix(name).is_some_and(|r| r.starts_with(':')));
            if let Some(line) = found {
                return Ok(line.to_owned());
            }
        }
        Err(format!("tests/scenarios has no case \"{name}\""))
    }
}

fn built(output: &Output) -> Result<(), String> {
    if output.status.success() {
        return Ok(());
    }
    Err(format!("it does not build:\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Copies what has changed, and removes what is no longer there: cargo builds by the times of files.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if fs::symlink_metadata(from.join(entry.file_name())).is_err() {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        if LEFT_OUT.iter().any(|left| name == *left) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            let bytes = fs::read(entry.path())?;
            if fs::read(&target).ok().as_ref() != Some(&bytes) {
                fs::write(target, bytes)?;
            }
        }
    }
    Ok(())
}
