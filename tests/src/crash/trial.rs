//! One state after a power cut: mounted, looked at, and gone on from.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::recording::{Stage, destination, home};
use crate::conformance::tree::{Entry, Tree, look};
use crate::disk::log::Promise;
use crate::disk::{Access, FileSystem};

/// What a state showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It does not mount, and need not.
    Unmountable,
    /// What was there before, or nothing if nothing was.
    Old,
    /// The new state.
    New,
}

impl Shown {
    const ALL: [Self; 3] = [Self::Unmountable, Self::Old, Self::New];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unmountable => "unmountable",
            Self::Old => "old",
            Self::New => "new",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shown| shown.name() == name)
    }
}

/// What is to be done with a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    /// To write: the same command is run again.
    pub(super) access: Access,
    /// What had been promised.
    pub(super) promise: Promise,
    /// It need not mount.
    pub(super) is_shredded: bool,
}

/// What came of the same command, run again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Resumed {
    /// Bytes that it kept of what was there.
    pub(super) kept: u64,
    /// It found the lock of the one whose power went.
    pub(super) found_lock: bool,
}

/// Looks at what a power cut has left on a device.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) file_system: FileSystem,
    pub(super) stage: Stage,
    /// The device, and where it is mounted.
    pub(super) device: PathBuf,
    pub(super) place: PathBuf,
}

/// What is told while a state is tried, before it is gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is mounted.
    Mounted,
    /// The command that is run again promises this.
    Promised(Promise),
}

impl Trial {
    /// Mounts what is there, looks at it, and runs the same command again if it may be written to.
    ///
    /// # Errors
    /// What is wrong before or after, or what `tell` says is.
    pub(super) fn visit(
        &self,
        visit: Visit,
        tell: &mut dyn FnMut(Told) -> Result<(), String>,
    ) -> Result<(Shown, Option<Resumed>), String> {
        let mounted = match self.file_system.mount(&self.device, &self.place, visit.access) {
            Ok(mounted) => mounted,
            Err(_) if visit.is_shredded => return Ok((Shown::Unmountable, None)),
            Err(errno) => return Err(format!("{} does not mount: {errno}", self.file_system)),
        };
        tell(Told::Mounted)?;
        let shown = self.shown(visit.promise)?;
        if visit.promise == Promise::Over && self.stage.mode.tidies_durably() {
            self.nothing_is_left()?;
        }
        let resumed = match visit.access {
            Access::Look => None,
            Access::Write => self.run_again(shown, tell)?,
        };
        mounted.unmount()?;
        Ok((shown, resumed))
    }

    /// What stands at the destination, if it may.
    fn shown(&self, promise: Promise) -> Result<Shown, String> {
        let to = destination(&self.place);
        let exists = fs::symlink_metadata(&to).is_ok();
        let tree = exists.then(|| catch_unwind(AssertUnwindSafe(|| look(&to)))).transpose();
        let tree = tree.map_err(|panic| {
            let words = panic.downcast_ref::<String>();
            format!("the destination can't be read: {}", words.map_or("", String::as_str))
        })?;
        let shown = if tree.as_ref().is_some_and(|tree| self.is_new(tree, promise)) {
            Shown::New
        } else if tree == self.stage.old {
            Shown::Old
        } else {
            return Err(match tree {
                None => "the destination is gone".into(),
                Some(tree) => format!("the destination is neither old nor new:\n{}", self.differs(&tree)),
            });
        };
        if promise >= Promise::Installed && shown == Shown::Old {
            return Err(format!(
                "the command had said {promise:?}, and the destination shows what was before"
            ));
        }
        Ok(shown)
    }

    /// Whether this is the new state. Where exchanging a directory gives it a new time, its own may be on its way until it
    /// is said to be installed.
    fn is_new(&self, tree: &Tree, promise: Promise) -> bool {
        let root: &[u8] = b"";
        let unsettled = promise < Promise::Installed && self.file_system.touches_what_it_exchanges();
        let is_directory = |entry: &Entry| matches!(entry, Entry::Directory { .. });
        let same = |name: &Vec<u8>, is: &Entry, new: &Entry| {
            is == new || unsettled && name == root && is_directory(is) && is_directory(new)
        };
        tree.len() == self.stage.new.len()
            && tree.iter().all(|(name, is)| self.stage.new.get(name).is_some_and(|new| same(name, is, new)))
    }

    /// The names that are not as in the state that it is more like, some of them.
    fn differs(&self, tree: &Tree) -> String {
        let unlike = |state: &Tree| {
            let names: BTreeSet<_> = tree.keys().chain(state.keys()).collect();
            let unlike = names.into_iter().filter(|&name| tree.get(name) != state.get(name));
            let line = |name: &Vec<u8>| {
                let (is, other) = (tree.get(name), state.get(name));
                format!("{:?}: {is:?}, not {other:?}\n", String::from_utf8_lossy(name))
            };
            unlike.map(line).collect::<Vec<_>>()
        };
        let new = ("new", unlike(&self.stage.new));
        let old = self.stage.old.as_ref().map(|old| ("old", unlike(old)));
        let nearer = old.into_iter().chain([new]).min_by_key(|(_, lines)| lines.len());
        nearer.map_or_else(String::new, |(name, lines)| {
            format!(
                "{} names are unlike the {name} state, as:\n{}",
                lines.len(),
                lines[..lines.len().min(5)].concat()
            )
        })
    }

    fn nothing_is_left(&self) -> Result<(), String> {
        let names = fs::read_dir(home(&self.place)).map_err(|error| error.to_string())?;
        let names: Vec<_> = names.flatten().map(|entry| entry.file_name()).collect();
        if names == ["to"] { Ok(()) } else { Err(format!("what is left beside the destination: {names:?}")) }
    }

    /// Runs the command that was recorded again, unless it would rightly refuse: where the new state stands already, and
    /// nothing tells that there is something to go on with.
    fn run_again(
        &self,
        shown: Shown,
        tell: &mut dyn FnMut(Told) -> Result<(), String>,
    ) -> Result<Option<Resumed>, String> {
        let beside = |name: &str| home(&self.place).join(name).exists();
        if shown == Shown::New && !self.stage.mode.replaces() && !beside(".to.longhaul.journal") {
            return Ok(None);
        }
        if shown == Shown::New {
            // It may not go back.
            tell(Told::Promised(Promise::Installed))?;
        }
        let found_lock = beside(".to.longhaul.lock");
        let command = self.stage.fetch(&self.place, &self.stage.address);
        let mut again = Command::new("timeout");
        again.args(["-s", "KILL", "60"]).args(command).stdin(Stdio::null());
        let again = again.output().map_err(|error| format!("timeout: {error}"))?;
        let words = String::from_utf8_lossy(&again.stderr);
        if !again.status.success() {
            return Err(format!("the same command again: {}, {words}", again.status));
        }
        tell(Told::Promised(Promise::Over))?;
        if self.shown(Promise::Over)? != Shown::New {
            return Err(format!("the same command again: the destination is not new; {words}"));
        }
        self.nothing_is_left()?;
        Ok(Some(Resumed { kept: kept(&String::from_utf8_lossy(&again.stdout)), found_lock }))
    }
}

/// The bytes that a summary says were there already.
fn kept(summary: &str) -> u64 {
    let number = summary.rsplit_once("\"bytes_resumed\":").map_or("", |(_, number)| number);
    number.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
