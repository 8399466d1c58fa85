//! What there is here to move bytes with.

use std::path::{Path, PathBuf};

use crate::DataPath;
use crate::error::{Error, ErrorKind};
use crate::settings::Transport;

/// What there is here to move bytes with, and what would be chosen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Probe {
    /// The kernel's release, where it says so.
    pub kernel: Option<String>,
    /// What a ring can do here, or why there is none.
    pub ring: Result<RingProbe, String>,
    /// The limit on locked memory in bytes: what a process has, and what it may ask for.
    pub locked_memory: Option<(u64, u64)>,
    /// Whether bytes could move by splice, or why not.
    pub splice: Result<(), String>,
    /// The file system that was asked for.
    pub place: Option<PlaceProbe>,
    /// What [`Transport::Auto`] takes for what is large; see there.
    pub transport: Transport,
}

/// What a ring can do here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RingProbe {
    /// What runs for it interrupts nobody.
    pub cooperative: bool,
    /// Operations, and whether it has them.
    pub operations: Vec<(&'static str, bool)>,
    /// How many of the rings that were asked for can be had at once.
    pub threads: usize,
    /// How many buffers may be registered with them.
    pub registered: usize,
    /// Of how many.
    pub buffers: usize,
    /// Bytes of them that lie in huge pages.
    pub huge_bytes: u64,
}

/// A file system.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlaceProbe {
    /// What was looked at.
    pub path: PathBuf,
    /// The name of the file system; its number if the name is not known.
    pub file_system: String,
    /// What lies on it lies in memory.
    pub in_memory: bool,
    /// Whether the page cache can be passed by; nothing if that can't be told.
    pub direct: Option<bool>,
    /// Whether its files can be spliced from and into; nothing if that can't be told.
    pub splice: Option<bool>,
}

impl PlaceProbe {
    /// What [`DataPath::Auto`] comes to for large files that land here, and why.
    #[must_use]
    pub const fn data_path(&self) -> (DataPath, &'static str) {
        match self.direct {
            _ if self.in_memory => (DataPath::Buffered, "what lies here lies in memory"),
            Some(true) => (DataPath::Direct, "large files are written past the page cache"),
            Some(false) => (DataPath::Buffered, "the file system takes nothing past the page cache"),
            None => (DataPath::Auto, "it is tried file by file"),
        }
    }
}

impl Probe {
    /// Looks at this machine, and at what `path` lies on.
    pub(crate) fn look(path: Option<&Path>, threads: usize) -> Result<Self, Error> {
        let place = path.map(place).transpose()?;
        let (ring, locked_memory) = ring(threads);
        Ok(Self {
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().into()),
            transport: if ring.is_ok() { Transport::Uring } else { Transport::Std },
            ring,
            locked_memory,
            splice: splice(),
            place,
        })
    }

    /// Why [`Probe::transport`] is chosen.
    #[must_use]
    pub fn why(&self) -> String {
        match &self.ring {
            Ok(_) => "a ring can be made: for states of 32 MiB and more".into(),
            Err(why) => format!("there is no ring: {why}"),
        }
    }
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
fn ring(threads: usize) -> (Result<RingProbe, String>, Option<(u64, u64)>) {
    let pools = crate::settings::Settings::default().pools(threads, threads);
    let found = longhaul_transport_uring::features(&pools).map_err(|why| why.to_string());
    let buffers = pools.iter().map(|pool| pool.lay_out().len()).sum();
    let ring = found.map(|found| RingProbe {
        cooperative: found.cooperative,
        operations: found.operations,
        threads: found.rings,
        registered: found.registered,
        buffers,
        huge_bytes: found.huge_bytes,
    });
    (ring, longhaul_transport_uring::locked_memory())
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
fn place(path: &Path) -> Result<PlaceProbe, Error> {
    let found = longhaul_transport_uring::file_system(path).map_err(|error| {
        Error::new(ErrorKind::Other, format!("{} can't be looked at: {error}", path.display()))
            .with_cause(error)
    })?;
    Ok(PlaceProbe {
        path: path.into(),
        file_system: found.name,
        in_memory: found.in_memory,
        direct: found.direct,
        splice: longhaul_transport_uring::splices(path),
    })
}

fn splice() -> Result<(), String> {
    let pipe = longhaul_transport::Pipes::default().open();
    pipe.map(drop).map_err(|why| format!("no pipe of 1 MiB is to be had: {why}"))
}

#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
fn ring(_threads: usize) -> (Result<RingProbe, String>, Option<(u64, u64)>) {
    (Err("this build has none".into()), None)
}

#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
fn place(_path: &Path) -> Result<PlaceProbe, Error> {
    Err(Error::new(ErrorKind::Other, "this build can't look at file systems"))
}
