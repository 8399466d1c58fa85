//! Moves the state of a running system (a database's snapshot, its files, its log) from a provider
//! that has it to a joiner that needs it: verified, durable, published in one step.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # std::fs::create_dir(scratch.path().join("state"))?;
//! # std::fs::write(scratch.path().join("state/segment"), b"some state")?;
//! # let (state, copy) = (scratch.path().join("state"), scratch.path().join("copy"));
//! // The provider: any number of joiners may come.
//! let provider = longhaul::serve(&state).listen("127.0.0.1:0").start()?;
//! let address = provider.local_addr().to_string();
//!
//! // The joiner: `copy` appears in one step, when all of it is verified and durable.
//! let summary = longhaul::fetch(&address).into(&copy).wait()?;
//! println!("{} items, {} bytes, {}", summary.items, summary.bytes, summary.root);
//! assert_eq!(summary.root, longhaul::verify(&copy).receipt()?.root);
//! # Ok(())
//! # }
//! ```
//!
//! # A tour
//!
//! | who dials | gives | receives |
//! | --- | --- | --- |
//! | the joiner | [`serve`]`(path).start()` | [`fetch`]`(address).into(path)` |
//! | the provider | [`push`]`(path).to(address)` | [`receive`]`(path).start()` |
//!
//! Each of them is a builder: [`Serve`], [`Fetch`], [`Push`] and [`Receive`] have a method for every
//! choice. What dials is a [`Transfer`] from the moment it is told where to: [`Transfer::wait`] for
//! its end, or `.await` it in whatever runtime there is (none is needed, and none is brought); follow
//! [`Transfer::events`], look at [`Transfer::stats`], or [`Transfer::cancel`] it. What listens is a
//! [`Service`] with any number of [`Session`]s. Either releases all it holds when it is dropped.
//!
//! A state need not be a directory: [`Fetch::into_memory`], [`Fetch::into_writer`] and
//! [`Fetch::into_callback`], [`Push::memory`], [`Push::reader`] and [`Push::callback`] take those
//! that are one stream of bytes, and the traits [`Source`] and [`Sink`] those of a storage engine:
//! blocking, object-safe, and small (`examples/custom_engine.rs`).
//!
//! A member of a group gets its state while the others go on writing: [`live`]; or as it was at one place, from one member or from
//! many that are compared: [`states`]. Whether an engine does what these ask of it, [`kit`] finds out.
//!
//! Everything that fails is an [`Error`]: its [`ErrorKind`], the side and the phase, the item and
//! the offset, what caused it, and a hint what to do. [`verify`] tells the root of a state, and
//! where two states differ.
//!
//! # What is guaranteed
//!
//! - Nothing is at the destination before all of it is verified and durable; then it is there at
//!   once. An old state that is replaced is there until then.
//! - Every byte bears a CRC-32C over the very memory that is written; every item and the state as a
//!   whole a checksum that both sides compare before anything is published.
//! - No wait without a deadline: a session that makes no progress fails. No limit on the whole.
//! - Memory is bounded, whatever the size of the state: the buffers, and a few MiB; what the process's allocator keeps beyond
//!   that, [`allocator`] bounds.
//!
//! # Features
//!
//! None yet: everything is built in, and nothing needs an async runtime.
//!
//! # What it does not do
//!
//! It does not encrypt or authenticate (it listens to this machine alone unless told otherwise); does not
//! move files that are written to meanwhile (it finds out, and fails: see [`live`] for states that go on
//! changing); does not keep owners, extended attributes or access control lists.
#![forbid(unsafe_code)]

mod busy;
mod destination;
mod dry_run;
mod engines;
mod error;
mod fetch;
pub mod kit;
mod lent;
pub mod live;
mod member;
mod once_more;
mod probe;
mod push;
mod receipt;
mod receive;
mod room;
mod serve;
mod service;
mod settings;
mod spliced;
pub mod states;
mod summary;
mod transfer;
mod unavailable;
mod verify;
mod watch;

use std::path::Path;

pub use error::{Error, ErrorKind};
pub use fetch::Fetch;
pub use probe::{PlaceProbe, Probe, RingProbe};
pub use push::Push;
pub use receipt::Receipt;
pub use receive::Receive;
pub use serve::{DEFAULT_ADDRESS, DEFAULT_MAX_SESSIONS, Serve};
pub use service::{Served, Service, ServiceEvent, Session, Stopper};
pub use settings::Transport;
pub use summary::Summary;
pub use transfer::{Transfer, TransferFuture};
pub use verify::{Comparison, Difference, Unlike, Verify};
pub use watch::{Events, Watch};

pub use longhaul_core::id::{ItemId, MemberId};
pub use longhaul_core::integrity::{Integrity, Root};
pub use longhaul_core::item::{Timestamp, Version};
pub use longhaul_core::reason::{Phase, Side};
pub use longhaul_core::wire::ChunkLen;
pub use longhaul_state::item::Name;
pub use longhaul_state::pool::{DEFAULT_MEMORY, Pool};
pub use longhaul_state::source::{HardLinks, Progress, Shape, SpecialFiles, Survey};
pub use longhaul_state::transfer::{DataPath, Event, Priority, Stage, Stats};
pub use longhaul_state::{Content, Item, LinksPolicy, Piece, Place, Sink, Source, Walk, What};
pub use longhaul_transport::allocator;

/// The parts that sources and sinks of one's own are made of, and those that come with longhaul.
pub mod state {
    pub use longhaul_state::landing::Staging;
    pub use longhaul_state::landing::journal;
    pub use longhaul_state::sink::{
        DirectorySink, DirectorySinkOptions, DiscardSink, MemorySink, Published, SinkError, SinkErrorKind,
        StreamSink,
    };
    pub use longhaul_state::source::{
        DirectoryOptions, DirectorySource, MemorySource, RepeatedSource, SourceError, SourceErrorKind,
        StreamSource, Warnings,
    };
}

/// Fetches the state that a provider serves at `address` (`HOST:PORT`).
pub fn fetch(address: impl Into<String>) -> Fetch {
    Fetch::new(address.into())
}

/// Serves the directory or file at `path`.
pub fn serve(path: impl AsRef<Path>) -> Serve {
    Serve::path(path.as_ref())
}

/// Pushes the directory or file at `path` to a joiner that listens.
pub fn push(path: impl AsRef<Path>) -> Push {
    Push::path(path.as_ref())
}

/// Receives a state that a provider pushes: `destination` is the state itself, once it is published.
pub fn receive(destination: impl AsRef<Path>) -> Receive {
    Receive::path(destination.as_ref())
}

/// Looks at the state at `path`: its root, and where it differs from another.
pub fn verify(path: impl AsRef<Path>) -> Verify {
    Verify::new(path.as_ref())
}

/// Looks at what there is here to move bytes with, and at the file system that `path` lies on: what
/// [`Transport::Auto`] takes, and why. Nothing is left at `path`.
///
/// # Errors
/// If there is nothing at `path`, or it may not be looked at.
pub fn probe(path: Option<&Path>) -> Result<Probe, Error> {
    Probe::look(path, 1)
}

/// The same for a service with so many rings: see [`Serve::runtime_threads`].
///
/// # Errors
/// As [`probe`].
pub fn probe_threads(path: Option<&Path>, threads: usize) -> Result<Probe, Error> {
    Probe::look(path, threads)
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
