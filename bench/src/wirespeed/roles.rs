//! What child processes play: longhaul's own sides, and those that it is compared with.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use clap::Subcommand;
use longhaul_core::id::{MemberId, TransferId};
use longhaul_state::pool::Pool;
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions, DiscardSink};
use longhaul_state::source::{DirectoryOptions, DirectorySource, RepeatedSource};
use longhaul_state::transfer::{Control, Options, Summary};
use longhaul_state::{Sink, Source};
use longhaul_transport::{Engine, Listener, join};
use serde_json::json;

use crate::bare::relay::By;
use crate::bare::{self, memory, relay, small};
use crate::latency;
use crate::side::{Measured, both, tell, tell_cost};
use crate::way::{Way, pool, pools};

/// A side of one measurement, run as a child process.
#[derive(Subcommand)]
#[command(hide = true)]
pub(crate) enum Role {
    /// Sends bytes over a bare socket.
    BareSend {
        bytes: u64,
        #[arg(action = clap::ArgAction::Set)]
        checksums: bool,
        address: String,
    },
    /// Receives them.
    BareReceive {
        bytes: u64,
        #[arg(action = clap::ArgAction::Set)]
        checksums: bool,
    },
    /// Sends a file over a bare socket.
    BareRead { by: By, bytes: u64, path: PathBuf, address: String },
    /// Receives it into a file, past the page cache.
    BareWrite { by: By, bytes: u64, path: PathBuf },
    /// Gives 1 KiB to whoever comes.
    BareServe,
    /// Fetches it, durable and published.
    BareFetch { address: String, path: PathBuf },
    /// Provides one repeated buffer.
    ProvideMemory {
        #[arg(value_parser = Way::named)]
        way: &'static Way,
        bytes: u64,
    },
    /// Receives it and drops it.
    JoinMemory {
        #[arg(value_parser = Way::named)]
        way: &'static Way,
        address: String,
    },
    /// Provides a path to so many joiners at once.
    ProvidePath {
        #[arg(value_parser = Way::named)]
        way: &'static Way,
        path: PathBuf,
        joiners: usize,
    },
    /// Receives it, durable and published.
    JoinPath {
        #[arg(value_parser = Way::named)]
        way: &'static Way,
        address: String,
        path: PathBuf,
        /// Whether an interrupted transfer could go on.
        #[arg(action = clap::ArgAction::Set)]
        journal: bool,
    },
    /// Provides a file, and tells when each of its reads was submitted.
    ProvideTraced {
        #[arg(value_parser = Way::named)]
        way: &'static Way,
        path: PathBuf,
    },
    /// Receives it, and tells when how much of it was durable.
    JoinTraced {
        #[arg(value_parser = Way::named)]
        way: &'static Way,
        address: String,
        path: PathBuf,
    },
}

/// Memory to memory.
pub(crate) fn memory(way: &Way, bytes: u64) -> io::Result<Measured> {
    both(
        &["provide-memory", way.name, &bytes.to_string()],
        &|address| vec!["join-memory".into(), way.name.into(), address.into()],
        true,
    )
}

/// A path to a path, durable and published.
pub(crate) fn files(way: &Way, from: &Path, to: &Path, journal: bool) -> io::Result<Measured> {
    both(&provide_path(way, from, 1), &|address| join_path(way, address, to, journal), true)
}

/// What a provider of a path is told.
pub(crate) fn provide_path(way: &Way, from: &Path, joiners: usize) -> [String; 4] {
    ["provide-path".into(), way.name.into(), from.display().to_string(), joiners.to_string()]
}

/// What a joiner of it is told.
pub(crate) fn join_path(way: &Way, address: &str, to: &Path, journal: bool) -> Vec<String> {
    vec!["join-path".into(), way.name.into(), address.into(), to.display().to_string(), journal.to_string()]
}

impl Role {
    pub(crate) fn play(self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::BareSend { bytes, checksums, address } => memory::send(bytes, checksums, &address)?,
            Self::BareReceive { bytes, checksums } => memory::receive(bytes, checksums)?,
            Self::BareRead { by, bytes, path, address } => relay::send(by, bytes, &path, &address)?,
            Self::BareWrite { by, bytes, path } => relay::receive(by, bytes, &path)?,
            Self::BareServe => small::serve()?,
            Self::BareFetch { address, path } => small::fetch(&address, &path)?,
            Self::ProvideMemory { way, bytes } => {
                let source = RepeatedSource::new(bare::buffer().into(), bytes);
                provide(way, vec![Arc::new(source)])?;
            }
            Self::JoinMemory { way, address } => {
                let started = Instant::now();
                let summary = receive(way, &address, Box::new(DiscardSink::new()))?;
                tell_cost(started, summary.bytes, &summary.root.to_string())?;
            }
            Self::ProvidePath { way, path, joiners } => {
                provide(way, (0..joiners).map(|_| source(&path)).collect::<Result<_, _>>()?)?;
            }
            Self::JoinPath { way, address, path, journal } => {
                let started = Instant::now();
                let summary = receive(way, &address, Box::new(sink(&path, journal)?))?;
                tell_cost(started, summary.bytes, &summary.root.to_string())?;
            }
            Self::ProvideTraced { way, path } => {
                let pool = pool(1);
                let (engine, reads) = latency::Submitted::watch(way.engine(&pool)?);
                let (_, summary) = serve(&[(Arc::new(engine), &pool)], &options(way), vec![source(&path)?])?;
                tell(&json!({ "digest": summary.root.to_string(), "submitted": reads.take() }))?;
            }
            Self::JoinTraced { way, address, path } => {
                let (sink, claims) = latency::Durable::watch(sink(&path, true)?);
                let summary = receive(way, &address, Box::new(sink))?;
                tell(&json!({ "digest": summary.root.to_string(), "durable": claims.take() }))?;
            }
        }
        Ok(())
    }
}

/// A process of its own is a member and a transfer of its own.
fn options(way: &Way) -> Options {
    let id = u128::from(std::process::id()).to_le_bytes();
    let Way { data_path, integrity, lanes, .. } = *way;
    let (member, transfer) = (MemberId(id), TransferId(id));
    Options { member, transfer, data_path, integrity, lanes, ..Options::default() }
}

fn source(path: &Path) -> Result<Arc<dyn Source>, Box<dyn Error>> {
    Ok(Arc::new(DirectorySource::new(path, DirectoryOptions::default())?))
}

fn sink(path: &Path, journal: bool) -> Result<DirectorySink, Box<dyn Error>> {
    let options = DirectorySinkOptions { resume: journal, ..DirectorySinkOptions::default() };
    Ok(DirectorySink::new(path, options)?)
}

/// Gives a state to as many joiners as there are sources, all at once.
fn provide(way: &Way, sources: Vec<Arc<dyn Source>>) -> Result<(), Box<dyn Error>> {
    let pools = pools(sources.len(), way.engines);
    let parts =
        pools.iter().map(|pool| Ok((way.engine(pool)?, pool))).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let (started, summary) = serve(&parts, &options(way), sources)?;
    Ok(tell_cost(started, summary.bytes, &summary.root.to_string())?)
}

/// The same by these engines in turn, with the pool of each: when the first joiner came, and what the last one got.
fn serve(
    engines: &[(Arc<dyn Engine>, &Pool)],
    options: &Options,
    sources: Vec<Arc<dyn Source>>,
) -> Result<(Instant, Summary), Box<dyn Error>> {
    let (first_engine, _) = engines.first().ok_or("there is no engine")?;
    let listener = Listener::bind("127.0.0.1:0", Arc::clone(first_engine))?;
    tell(&json!({ "address": listener.local_addr().to_string() }))?;
    let mut first = None;
    thread::scope(|scope| {
        let mut sessions = Vec::new();
        for (source, (engine, pool)) in sources.into_iter().zip(engines.iter().cycle()) {
            let caller = listener.accept()?.ok_or("the listener was stopped")?.by(Arc::clone(engine));
            first.get_or_insert_with(Instant::now);
            sessions
                .push(scope.spawn(move || caller.provide(source, options, pool, &Arc::new(Control::new()))));
        }
        let mut last = None;
        for session in sessions {
            last = Some(session.join().map_err(|_| "a session panicked")??);
        }
        Ok(first.zip(last).ok_or("nobody is to be provided for")?)
    })
}

fn receive(way: &Way, address: &str, sink: Box<dyn Sink>) -> Result<Summary, Box<dyn Error>> {
    let pool = pool(1);
    let engine = way.engine(&pool)?;
    Ok(join(address, sink, &options(way), &pool, &Arc::new(Control::new()), &engine)?)
}
