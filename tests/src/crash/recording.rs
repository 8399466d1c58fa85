//! A real fetch onto a real file system, recorded.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use longhaul_core::reason::Side;

use crate::carrier::Carrier;
use crate::conformance::tree::{Tree, look};
use crate::disk::log::{Log, Promise};
use crate::disk::state::{self, Shape};
use crate::disk::{Access, Device, FileSystem, claimed};
use crate::link::Link;
use crate::listening::Listening;

/// What all sessions are told.
const SESSION: [&str; 3] = ["--no-redial", "--stall-timeout", "10s"];

/// Bytes a second at which there are several checkpoints on the way.
const SLOW: u32 = 4 << 20;
/// Bytes after which one that is interrupted gets no more: the first checkpoint comes before the end on any machine.
const HELD_AFTER: u64 = 2 << 20;

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// A directory, where nothing was.
    New,
    /// A directory takes the place of another one.
    Replace,
    /// A file takes the place of another one.
    File,
    /// A state that is landed without a journal.
    Small,
    /// A directory, where nothing was; the command is killed when something is durable, and run again.
    Interrupted,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::New, Self::Replace, Self::File, Self::Small, Self::Interrupted];

    /// Whether there is an old state to replace.
    pub(super) const fn replaces(self) -> bool {
        matches!(self, Self::Replace | Self::File)
    }

    /// Whether what is removed at the end stays removed: where there is no journal, the next landing removes it again.
    pub(super) const fn tidies_durably(self) -> bool {
        !matches!(self, Self::Small)
    }

    /// Few files are synced one by one, many by one sync of the file system: both, by the seed.
    const fn shape(self, seed: u64) -> Shape {
        let (few, many) = if seed.is_multiple_of(2) { (12, 90) } else { (90, 12) };
        match self {
            Self::New => Shape::Tree(few),
            Self::Replace | Self::Interrupted => Shape::Tree(many),
            Self::Small => Shape::Small,
            Self::File => Shape::File,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Replace => "replace",
            Self::File => "file",
            Self::Small => "small",
            Self::Interrupted => "interrupted",
        })
    }
}

/// In the directory of a stage: what is given, and what stands at the destination before.
fn states(place: &Path) -> [PathBuf; 2] {
    [place.join("source"), place.join("old")]
}

/// The destination of a transfer, in a mounted file system.
pub(super) fn home(mounted: &Path) -> PathBuf {
    mounted.join("home")
}

/// See [`home`].
pub(super) fn destination(mounted: &Path) -> PathBuf {
    home(mounted).join("to")
}

/// A provider with its state, and what its joiner may show.
#[derive(Debug)]
pub(super) struct Stage {
    longhaul: PathBuf,
    pub(super) mode: Mode,
    /// By which the joiner moves bytes.
    pub(super) carrier: Carrier,
    /// Where the provider listens.
    pub(super) address: String,
    /// The provider, where it was started.
    _provider: Option<Listening>,
    /// What stands at the destination before.
    pub(super) old: Option<Tree>,
    /// And after.
    pub(super) new: Tree,
}

impl Stage {
    /// The stage for `mode` in a directory: its state is made by `seed`, unless it is there.
    pub(super) fn set(
        longhaul: &Path,
        place: &Path,
        mode: Mode,
        carrier: Carrier,
        seed: u64,
    ) -> Result<Self, String> {
        let wrong = |error: std::io::Error| format!("{}: {error}", place.display());
        let [source, old] = states(place);
        if !source.exists() {
            state::make(&source, mode.shape(seed), seed).map_err(wrong)?;
        }
        let mut serve = Command::new(longhaul);
        serve.arg("serve").arg(&source);
        let provider = Listening::start(&mut serve, place)?;
        if mode.replaces() && !old.exists() {
            state::make(&old, mode.shape(seed), !seed).map_err(wrong)?;
        }
        let stage = Self::again(longhaul, place, mode, carrier, provider.address.clone());
        Ok(Self { _provider: Some(provider), ..stage })
    }

    /// The stage that was set in a directory, with its provider at this address.
    pub(super) fn again(
        longhaul: &Path,
        place: &Path,
        mode: Mode,
        carrier: Carrier,
        address: String,
    ) -> Self {
        let [source, old] = states(place);
        let (longhaul, new) = (longhaul.to_path_buf(), look(&source));
        let old = mode.replaces().then(|| look(&old));
        Self { longhaul, mode, carrier, address, _provider: None, old, new }
    }

    /// The command that fetches the state.
    pub(super) fn fetch(&self, mounted: &Path, address: &str) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec![self.longhaul.clone().into(), "fetch".into(), address.into()];
        command.push(destination(mounted).into());
        let by = self.carrier.arguments(Side::Joiner);
        command.extend(["--json", "-q"].into_iter().chain(SESSION).chain(by).map(OsString::from));
        if self.mode.replaces() {
            command.push("--replace".into());
        }
        command
    }

    /// Records a fetch onto a new file system; everything that happens to its disk, until it is unmounted.
    pub(super) fn record(&self, file_system: FileSystem, seed: u64) -> Result<Log, String> {
        let device = Device::new(file_system.len())?;
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mount = || {
            let mounted = file_system.mount(device.path(), place.path(), Access::Write);
            mounted.map_err(|errno| format!("mount of a new {file_system}: {errno}"))
        };
        file_system.make(device.path())?;
        let mounted = mount()?;
        fs::create_dir(home(place.path())).map_err(|error| error.to_string())?;
        if self.mode.replaces() {
            let made = state::make(&destination(place.path()), self.mode.shape(seed), !seed);
            made.map_err(|error| format!("an old state: {error}"))?;
        }
        mounted.unmount()?;
        let mounted = mount()?;
        device.medium().record();
        let link = |after| Link::holding(&self.address, SLOW, after).map_err(|error| error.to_string());
        if self.mode == Mode::Interrupted {
            self.interrupt(place.path(), &link(HELD_AFTER)?)?;
        }
        let link = link(u64::MAX)?;
        self.complete(&device, place.path(), &link)?;
        mounted.unmount()?;
        device.medium().recorded().ok_or_else(|| "nothing was recorded".into())
    }

    fn start(&self, mounted: &Path, link: &Link) -> Result<(Child, File), String> {
        let command = self.fetch(mounted, &link.address().to_string());
        let errors = tempfile::tempfile().map_err(|error| error.to_string())?;
        let heard = errors.try_clone().map_err(|error| error.to_string())?;
        let mut started = Command::new(&command[0]);
        started.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let child = started.spawn().map_err(|error| format!("{}: {error}", self.longhaul.display()))?;
        Ok((child, heard))
    }

    /// A fetch that is killed when something of it is durable.
    fn interrupt(&self, mounted: &Path, link: &Link) -> Result<(), String> {
        let (mut child, _) = self.start(mounted, link)?;
        let over = loop {
            if claimed(&destination(mounted)) > 0 {
                break false;
            }
            if child.try_wait().map_err(|error| error.to_string())?.is_some() {
                break true;
            }
            thread::yield_now();
        };
        child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
        if over { Err("the fetch ended before anything was durable".into()) } else { Ok(()) }
    }

    /// A fetch to its end; its promises are noted as it makes them.
    fn complete(&self, device: &Device, mounted: &Path, link: &Link) -> Result<(), String> {
        let (mut child, mut errors) = self.start(mounted, link)?;
        let words = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut promised = false;
        for line in words.lines().map_while(Result::ok) {
            if line.contains("\"event\":\"installed\"") {
                device.medium().promise(Promise::Installed);
                promised = true;
            }
        }
        let status = child.wait().map_err(|error| error.to_string())?;
        if status.success() && promised {
            device.medium().promise(Promise::Over);
            return Ok(());
        }
        let mut said = String::new();
        std::io::Seek::rewind(&mut errors).and_then(|()| errors.read_to_string(&mut said)).ok();
        Err(format!("a fetch that was let alone: {status}, {said}"))
    }
}
