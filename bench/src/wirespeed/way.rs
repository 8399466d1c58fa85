//! The ways in which longhaul itself moves bytes: by which transport, along which data path.

use std::error::Error;
use std::sync::Arc;

use longhaul_core::integrity::Integrity;
use longhaul_core::wire::ChunkLen;
use longhaul_state::pool::{DEFAULT_MEMORY, Pool};
use longhaul_state::transfer::DataPath;
use longhaul_transport::Engine;

use crate::report::Report;

/// An engine, if it can be had here.
type Started = Result<Arc<dyn Engine>, Box<dyn Error>>;

/// One of them. A new one is a line in [`WAYS`]: it gets its rows in every table, and its ratios.
pub(crate) struct Way {
    /// As roles are told it.
    pub(crate) name: &'static str,
    /// What W1 must reach beside the bare loop, and W2 beside rsync and `cp`.
    pub(crate) targets: Targets,
    pub(crate) data_path: DataPath,
    pub(crate) integrity: Integrity,
    /// Engines over which a provider spreads its sessions.
    pub(crate) engines: usize,
    /// Data lanes of a session.
    pub(crate) lanes: u16,
    start: fn(&Pool) -> Started,
}

/// Ratios that are to be reached; 0 where none was set.
pub(crate) struct Targets {
    pub(crate) bare_loop: f64,
    pub(crate) limits: f64,
    pub(crate) rsync: f64,
    pub(crate) cp: f64,
    /// CPU seconds for a GB of W1, at the sender and at the receiver.
    pub(crate) cpu_per_gb: Option<(f64, f64)>,
}

const STD: Way = Way {
    name: "std",
    targets: Targets { bare_loop: 0.0, limits: 0.0, rsync: 1.4, cp: 0.0, cpu_per_gb: None },
    data_path: DataPath::Auto,
    integrity: Integrity::Crc32c,
    engines: 1,
    lanes: LANES,
    start: |_| Ok(Arc::new(longhaul_transport_std::Blocking)),
};

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
const URING: Way = Way {
    name: "uring",
    targets: Targets { bare_loop: 0.95, limits: 0.9, rsync: 2.0, cp: 1.0, cpu_per_gb: Some((0.45, 0.25)) },
    data_path: DataPath::Auto,
    integrity: Integrity::Crc32c,
    engines: 1,
    lanes: LANES,
    start: |pool| Ok(Arc::new(longhaul_transport_uring::Ring::start(pool)?)),
};

/// Data lanes, unless a user says otherwise.
const LANES: u16 = 2;

/// All of them; the first works everywhere.
pub(crate) const WAYS: &[Way] = &[
    STD,
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    URING,
];

/// No targets.
const NONE: Targets = Targets { bare_loop: 0.0, limits: 0.0, rsync: 0.0, cp: 0.0, cpu_per_gb: None };

/// Those without checksums, among them those on which nobody sees the bytes: for W1 alone.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
pub(crate) const UNCHECKED: &[Way] = &[
    Way { name: "std, no checksums", integrity: Integrity::None, targets: NONE, ..STD },
    Way {
        name: "std, no checksums, splice",
        data_path: DataPath::Splice,
        integrity: Integrity::None,
        targets: NONE,
        ..STD
    },
    Way { name: "uring, no checksums", integrity: Integrity::None, targets: NONE, ..URING },
    Way {
        name: "uring, no checksums, ring-splice",
        data_path: DataPath::RingSplice,
        integrity: Integrity::None,
        targets: NONE,
        ..URING
    },
];
#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
pub(crate) const UNCHECKED: &[Way] =
    &[Way { name: "std, no checksums", integrity: Integrity::None, targets: NONE, ..STD }];

/// Those whose provider has several rings: for W5 alone.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
pub(crate) const SPREAD: &[Way] = &[Way { name: "uring, two rings", engines: 2, targets: NONE, ..URING }];
#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
pub(crate) const SPREAD: &[Way] = &[];

/// Those with one data lane: for W3 alone, where there is no disk that would want to be busy with more.
pub(crate) const NARROW: &[Way] = &[
    Way { name: "std, one lane", lanes: 1, ..STD },
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    Way { name: "uring, one lane", lanes: 1, ..URING },
];

impl Way {
    /// Those that work here; others are noted.
    pub(crate) fn all(report: &mut Report) -> Vec<&'static Self> {
        Self::working(WAYS, report)
    }

    /// Those without checksums that work here.
    pub(crate) fn unchecked(report: &mut Report) -> Vec<&'static Self> {
        Self::working(UNCHECKED, report)
    }

    /// Those with several rings that work here.
    pub(crate) fn spread(report: &mut Report) -> Vec<&'static Self> {
        Self::working(SPREAD, report)
    }

    /// Those with one data lane that work here.
    pub(crate) fn narrow(report: &mut Report) -> Vec<&'static Self> {
        Self::working(NARROW, report)
    }

    fn working(ways: &'static [Self], report: &mut Report) -> Vec<&'static Self> {
        let works = |way: &&Self| match way.engine(&pool(1)) {
            Ok(_) => true,
            Err(why) => {
                report.note(format!("longhaul {} is left out: {why}", way.name));
                false
            }
        };
        ways.iter().filter(works).collect()
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Result<&'static Self, String> {
        WAYS.iter()
            .chain(UNCHECKED)
            .chain(SPREAD)
            .chain(NARROW)
            .find(|way| way.name == name)
            .ok_or_else(|| format!("there is no way {name}"))
    }

    /// Whether it moves bytes by rings.
    pub(crate) fn is_ring(&self) -> bool {
        self.name.starts_with("uring")
    }

    /// Its row in a table.
    pub(crate) fn row(&self) -> String {
        format!("longhaul {}", self.name)
    }

    pub(crate) fn engine(&self, pool: &Pool) -> Started {
        (self.start)(pool)
    }
}

/// The buffers of a process that has so many sessions.
pub(crate) fn pool(sessions: usize) -> Pool {
    Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, sessions, LANES)
}

/// The same in so many parts, one for each engine.
pub(crate) fn pools(sessions: usize, engines: usize) -> Vec<Pool> {
    Pool::split(DEFAULT_MEMORY, ChunkLen::DEFAULT, sessions, LANES, engines)
}
