//! The real command, fetching onto a real file system on a disk of our own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use longhaul_state::landing::Staging;
use tempfile::TempDir;

use super::device::Device;
use super::faults::Faults;
use super::file_system::{Access, FileSystem, Mounted};
use super::state::{self, Shape};
use crate::command::{Ended, PATIENCE, Running};
use crate::conformance::tree::{Tree, look};
use crate::link::Link;
use crate::listening::Listening;
use crate::transport::Transport;

/// By blocking calls it goes through the page cache here, unless told otherwise: faults between it and the disk are tried
/// so. A ring passes it by.
const CACHED: [&str; 2] = ["--data-path", "buffered"];
const DIRECT: [&str; 2] = ["--data-path", "direct"];

/// What all sessions are told, in the environment: what stands on the command line outranks it.
const SESSION: [(&str, &str); 2] = [("LONGHAUL_NO_REDIAL", "1"), ("LONGHAUL_STALL_TIMEOUT", "10s")];

/// A provider with a state, and a disk for it with a file system, mounted.
#[derive(Debug)]
pub struct Rig {
    longhaul: PathBuf,
    transport: Transport,
    data_path: Option<[&'static str; 2]>,
    file_system: FileSystem,
    options: Option<&'static str>,
    provider: Listening,
    /// What it says, one object a line.
    provider_said: File,
    mounted: Option<Mounted>,
    device: Device,
    mount_point: TempDir,
    /// The provider's source, and what else is not on the disk.
    place: TempDir,
}

impl Rig {
    /// The rig with a file system, made with `options` beside its own; its provider serves a state of some MiB.
    ///
    /// # Errors
    /// What can't be set up.
    pub fn new(longhaul: &Path, file_system: FileSystem, options: &[&str]) -> Result<Self, String> {
        Self::with_source(longhaul, file_system, options, &|source| state::make(source, Shape::Tree(12), 0))
    }

    /// The same with a state that `make` makes.
    ///
    /// # Errors
    /// What can't be set up.
    pub fn with_source(
        longhaul: &Path,
        file_system: FileSystem,
        options: &[&str],
        make: &dyn Fn(&Path) -> std::io::Result<()>,
    ) -> Result<Self, String> {
        let wrong = |error: std::io::Error| error.to_string();
        let place = tempfile::tempdir().map_err(wrong)?;
        let source = place.path().join("source");
        make(&source).map_err(wrong)?;
        let (provider, provider_said) = serve(longhaul, &[], &source, place.path())?;
        let device = Device::new(file_system.len())?;
        file_system.make_with(device.path(), options)?;
        let mount_point = tempfile::tempdir().map_err(wrong)?;
        let longhaul = longhaul.to_path_buf();
        let mounted = None;
        let options = None;
        let mut rig = Self {
            longhaul,
            transport: Transport::chosen(),
            data_path: None,
            file_system,
            options,
            provider,
            provider_said,
            mounted,
            device,
            mount_point,
            place,
        };
        rig.mount()?;
        fs::create_dir(rig.home()).map_err(wrong)?;
        Ok(rig)
    }

    /// The same, whose fetches move bytes by this transport.
    #[must_use]
    pub fn by(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The same, whose fetches pass the page cache by, whatever the transport.
    #[must_use]
    pub fn past_the_cache(mut self) -> Self {
        self.data_path = Some(DIRECT);
        self
    }

    /// Where the provider's state stands.
    #[must_use]
    pub fn source(&self) -> PathBuf {
        self.place.path().join("source")
    }

    /// Where the disk is mounted.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        self.mount_point.path()
    }

    /// The directory on the disk that holds the destination, and nothing else.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.mount_point.path().join("home")
    }

    /// The destination.
    #[must_use]
    pub fn destination(&self) -> PathBuf {
        self.home().join("to")
    }

    /// How the disk fails.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        self.device.faults()
    }

    /// Puts an old state at the destination, and what it shows.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn put_old(&self) -> Result<Tree, String> {
        state::make(&self.destination(), Shape::Small, 1).map_err(|error| error.to_string())?;
        nix::unistd::sync();
        Ok(look(&self.destination()))
    }

    /// What the provider's state is.
    #[must_use]
    pub fn state(&self) -> Tree {
        look(&self.source())
    }

    /// What the destination shows, read from the disk: the file system is mounted anew before. `None` if there is nothing.
    ///
    /// # Errors
    /// If it can't be mounted.
    pub fn shown(&mut self) -> Result<Option<Tree>, String> {
        self.unmount()?;
        self.mount()?;
        let destination = self.destination();
        Ok(fs::symlink_metadata(&destination).is_ok().then(|| look(&destination)))
    }

    /// The names beside and including the destination.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn names(&self) -> Result<Vec<String>, String> {
        let names = fs::read_dir(self.home()).map_err(|error| error.to_string())?;
        let mut names: Vec<_> =
            names.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// Mounts with other options from now on.
    ///
    /// # Errors
    /// If that can't be done.
    pub fn remount_with(&mut self, options: &'static str) -> Result<(), String> {
        self.unmount()?;
        self.options = Some(options);
        self.mount()
    }

    /// Fetches to the end.
    ///
    /// # Errors
    /// If the command can't be run.
    pub fn fetch<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Ended, String> {
        self.fetch_under::<&str, S>(&[], arguments)
    }

    /// Fetches to the end, by a command that is run by another one.
    ///
    /// # Errors
    /// If the command can't be run.
    pub fn fetch_under<R: AsRef<OsStr>, S: AsRef<OsStr>>(
        &self,
        runner: &[R],
        arguments: &[S],
    ) -> Result<Ended, String> {
        self.start_under(runner, arguments)?.wait(PATIENCE)
    }

    /// Pushes the state to a joiner that receives onto the disk, and is told these arguments; what the one that pushes said.
    ///
    /// # Errors
    /// If a command can't be run.
    pub fn push<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Ended, String> {
        let mut command = Command::new(&self.longhaul);
        command.arg("receive").arg(self.destination()).args(self.moving()).envs(SESSION).args(arguments);
        let joiner = Listening::start(&mut command, self.place.path())?;
        let mut command = Command::new(&self.longhaul);
        command.arg("push").arg(self.source()).args([&joiner.address, "-q"]);
        command.args(self.transport.arguments()).envs(SESSION);
        Running::run(command)?.wait(PATIENCE)
    }

    /// Begins to fetch.
    ///
    /// # Errors
    /// If the command can't be run.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Running, String> {
        self.start_under::<&str, S>(&[], arguments)
    }

    /// From now on the provider serves this, and is run by another command.
    ///
    /// # Errors
    /// If it does not listen.
    pub fn serve_under(&mut self, runner: &[&str], source: &Path) -> Result<(), String> {
        (self.provider, self.provider_said) = serve(&self.longhaul, runner, source, self.place.path())?;
        Ok(())
    }

    /// Begins to fetch over a slow link that holds back what comes after 2 MiB, to interfere when something of it is
    /// durable; whoever has the link must keep it.
    ///
    /// # Errors
    /// If the command can't be run, or ends before.
    pub fn start_slowly<S: AsRef<OsStr>>(
        &self,
        bytes_per_second: u32,
        arguments: &[S],
    ) -> Result<(Running, Link), String> {
        let link = Link::holding(&self.provider.address, bytes_per_second, 2 << 20);
        let link = link.map_err(|error| error.to_string())?;
        let from = link.address().to_string();
        let running = self.command::<&str, S>(&[], &from, &self.destination(), arguments)?;
        while self.durable() == 0 {
            if running.is_over()? {
                return Err(format!("it ended before anything was durable: {:?}", running.wait(PATIENCE)));
            }
            thread::yield_now();
        }
        Ok((running, link))
    }

    /// Bytes beside the destination that a later run need not ask for.
    #[must_use]
    pub fn durable(&self) -> u64 {
        claimed(&self.destination())
    }

    /// Fetches to the end, to another place.
    ///
    /// # Errors
    /// If the command can't be run.
    pub fn fetch_to(&self, destination: &Path) -> Result<Ended, String> {
        self.command::<&str, &str>(&[], &self.provider.address, destination, &[])?.wait(PATIENCE)
    }

    fn start_under<R: AsRef<OsStr>, S: AsRef<OsStr>>(
        &self,
        runner: &[R],
        arguments: &[S],
    ) -> Result<Running, String> {
        self.command(runner, &self.provider.address, &self.destination(), arguments)
    }

    fn command<R: AsRef<OsStr>, S: AsRef<OsStr>>(
        &self,
        runner: &[R],
        from: &str,
        destination: &Path,
        arguments: &[S],
    ) -> Result<Running, String> {
        // env becomes what it is told to run, and what that one runs.
        let mut command = Command::new("env");
        command.args(runner).arg(&self.longhaul).arg("fetch").arg(from).arg(destination).arg("-q");
        command.args(self.moving()).envs(SESSION).args(arguments);
        Running::run(command)
    }

    /// How a joiner moves bytes onto the disk.
    fn moving(&self) -> impl Iterator<Item = &'static str> {
        let usual = (self.transport == Transport::Std).then_some(CACHED);
        self.transport.arguments().into_iter().chain(self.data_path.or(usual).into_iter().flatten())
    }

    /// Waits until the provider has said this.
    ///
    /// # Errors
    /// If it does not, or that can't be read.
    pub fn wait_until_provider_says(&self, words: &str) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let said = read(&self.provider_said)?;
            if said.contains(words) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("the provider never says {words:?}, but {said}"));
            }
            thread::yield_now();
        }
    }

    fn mount(&mut self) -> Result<(), String> {
        let mounted = self.file_system.mount_with(
            self.device.path(),
            self.mount_point.path(),
            Access::Write,
            self.options,
        );
        self.mounted = Some(mounted.map_err(|errno| format!("mount of {}: {errno}", self.file_system))?);
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        self.mounted.take().map_or(Ok(()), Mounted::unmount)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Nobody is waited for by a disk that does not answer.
        self.faults().mend();
    }
}

/// Bytes beside a destination that a later run need not ask for.
pub(crate) fn claimed(destination: &Path) -> u64 {
    let staging = Staging::of(destination).ok().flatten();
    staging.and_then(|staging| staging.journal.ok().flatten()).map_or(0, |(_, claimed)| claimed.bytes)
}

/// Serves a state, by a command that is run by another one, and gives the file of what it says.
fn serve(longhaul: &Path, runner: &[&str], source: &Path, place: &Path) -> Result<(Listening, File), String> {
    let wrong = |error: std::io::Error| error.to_string();
    let said = tempfile::tempfile().map_err(wrong)?;
    let mut command = Command::new("env");
    command.args(runner).arg(longhaul).arg("serve").arg(source).arg("--json");
    let provider = Listening::start(command.stdout(said.try_clone().map_err(wrong)?), place)?;
    Ok((provider, said))
}

/// All that stands in a file. A process that writes to it shares its position, which stays where it is.
fn read(file: &File) -> Result<String, String> {
    let read = || {
        let mut bytes = vec![0; file.metadata()?.len() as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map_err(|error: std::io::Error| error.to_string())
}
