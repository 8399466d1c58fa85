//! longhaul's own sides, each played by a child process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Subcommand;
use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::wire::ChunkLen;
use longhaul_state::pool::{DEFAULT_MEMORY, Pool};
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions, DiscardSink};
use longhaul_state::source::{DirectoryOptions, DirectorySource, RepeatedSource};
use longhaul_state::transfer::{Control, Options};
use longhaul_state::{Sink, Source};
use longhaul_transport_std::{Listener, join};
use serde_json::json;

use crate::side::{Measured, both, tell, tell_cost};

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
    /// Provides one repeated buffer.
    ProvideMemory { bytes: u64 },
    /// Receives it and drops it.
    JoinMemory { address: String },
    /// Provides a path.
    ProvidePath { path: PathBuf },
    /// Receives it, durable and published.
    JoinPath { address: String, path: PathBuf, bytes: u64 },
}

/// Memory to memory.
pub(crate) fn memory(bytes: u64) -> io::Result<Measured> {
    both(&["provide-memory", &bytes.to_string()], &|address| vec!["join-memory".into(), address.into()], true)
}

/// A path to a path, durable and published.
pub(crate) fn files(from: &Path, to: &Path, bytes: u64) -> io::Result<Measured> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    both(
        &["provide-path", &from],
        &|address| vec!["join-path".into(), address.into(), to.clone(), bytes.to_string()],
        true,
    )
}

impl Role {
    pub(crate) fn play(&self) -> Result<(), Box<dyn std::error::Error>> {
        match self {
            Self::BareSend { bytes, checksums, address } => crate::bare::send(*bytes, *checksums, address)?,
            Self::BareReceive { bytes, checksums } => crate::bare::receive(*bytes, *checksums)?,
            Self::ProvideMemory { bytes } => {
                provide(Arc::new(RepeatedSource::new(crate::bare::buffer().into(), *bytes)))?;
            }
            Self::JoinMemory { address } => receive(address, Box::new(DiscardSink::new()))?,
            Self::ProvidePath { path } => {
                provide(Arc::new(DirectorySource::new(path, DirectoryOptions::default())?))?;
            }
            Self::JoinPath { address, path, .. } => {
                receive(address, Box::new(DirectorySink::new(path, DirectorySinkOptions::default())?))?;
            }
        }
        Ok(())
    }
}

fn options(member: u8) -> Options {
    Options { member: MemberId([member; 16]), transfer: TransferId([1; 16]), ..Options::default() }
}

fn pool() -> Pool {
    Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 1, 2)
}

fn provide(source: Arc<dyn Source>) -> Result<(), Box<dyn std::error::Error>> {
    let listener = Listener::bind("127.0.0.1:0")?;
    tell(&json!({ "address": listener.local_addr().to_string() }))?;
    let caller = listener.accept()?.ok_or("the listener was stopped")?;
    let started = Instant::now();
    let summary = caller.provide(source, &options(1), &pool(), &Arc::new(Control::new()))?;
    Ok(tell_cost(started.elapsed().as_secs_f64(), summary.bytes, &summary.root.to_string())?)
}

fn receive(address: &str, sink: Box<dyn Sink>) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let summary = join(address, sink, &options(2), &pool(), &Arc::new(Control::new()))?;
    Ok(tell_cost(started.elapsed().as_secs_f64(), summary.bytes, &summary.root.to_string())?)
}
