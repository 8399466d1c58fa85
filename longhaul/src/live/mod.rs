//! Live transfer: a member of a group gets its state from another one while writes go on, and then serves.
//!
//! ```text
//!            messages of the group, requests of clients
//!                 │ handle_message, handle_request      ▲ verdict: deliver, hold, drop, send again
//!                 ▼                                     │
//!  application ◀─ traits ─▶ Member ── control connection, transfer frames ── Member ◀─ traits ─▶ application
//!    Provide  capture, pending   │                                             │       Stage  stage, apply,
//!    Log      start, read, trim  └═ an ordinary session: the bulk, verified ═══┘              prepare, commit
//!    Latch    reoffer, throttle, serve                                                 Pins   pin, unpin
//! ```
//!
//! How it goes on, what is guaranteed, and what becomes of every failure is written down in
//! [`longhaul_core::transfer::live`]; here are its driver and what it asks of an application:
//!
//! | trait | side | what |
//! | --- | --- | --- |
//! | [`Provide`] | provider | a snapshot and the digest that goes with it; the pending prepares |
//! | [`Log`] | provider | what is completed from the snapshot on, for as long as somebody follows |
//! | [`Stage`] | joiner | a hidden copy: the bulk, then records; swapped in by one step |
//! | [`Latch`] | both | what was held may pass; writers are slowed down; it serves |
//! | [`Pins`] | joiner | the group's messages are kept until they are delivered |
//!
//! A provider has at most 8 joiners at once. A joiner answers prepares of at most 1024 transactions that are open at the
//! same time: what would be one more is held until one of them ends, or is found in the log.
//!
//! # An application
//!
//! A counter per member, each message one step. The engine notes a message's number with its effect: so each is
//! applied once.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use longhaul::live::{
//!     ApplicationError, Batch, Delivered, Effect, Latch, Log, LogPoint, LogRecord, MemoryLog, Prepare, Provide,
//!     Snapshot, SnapshotId, Stage,
//! };
//! use longhaul::state::{MemorySink, MemorySource, Published, SourceError};
//! use longhaul::{Sink, Source};
//!
//! /// What is replicated, and which messages it contains.
//! #[derive(Clone, Default)]
//! struct State {
//!     total: u64,
//!     digest: Delivered,
//! }
//!
//! #[derive(Default)]
//! struct Counter {
//!     state: Mutex<State>,
//!     log: MemoryLog,
//!     hidden: Mutex<Hidden>,
//! }
//!
//! /// The hidden copy: the bulk as it came, and what the log adds.
//! #[derive(Default)]
//! struct Hidden {
//!     bulk: Option<Published<Vec<u8>>>,
//!     added: u64,
//! }
//!
//! /// A capture: the state as it was.
//! struct Captured(State);
//!
//! impl Snapshot for Captured {
//!     fn digest(&self) -> Delivered {
//!         self.0.digest.clone()
//!     }
//!
//!     fn source(&self, _state_id: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
//!         Ok(Arc::new(MemorySource::new(self.0.total.to_le_bytes().to_vec().into())))
//!     }
//! }
//!
//! impl Provide for Counter {
//!     fn capture(&self) -> Result<Arc<dyn Snapshot>, ApplicationError> {
//!         Ok(Arc::new(Captured(self.state.lock().unwrap().clone())))
//!     }
//!
//!     fn pending(&self, _batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
//!         Ok(()) // Every message is a transaction of its own: nothing is ever prepared.
//!     }
//! }
//!
//! impl Log for Counter {
//!     fn start(&self, from: LogPoint) -> Result<(), ApplicationError> {
//!         self.log.start(from)
//!     }
//!     fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
//!         self.log.read(from, batch)
//!     }
//!     fn trim(&self, before: LogPoint) {
//!         self.log.trim(before);
//!     }
//!     fn stop(&self) {
//!         self.log.stop();
//!     }
//! }
//!
//! impl Stage for Counter {
//!     fn stage(&self, _snapshot: SnapshotId, _keep: bool) -> Result<Box<dyn Sink>, ApplicationError> {
//!         let sink = MemorySink::new(8);
//!         *self.hidden.lock().unwrap() = Hidden { bulk: Some(sink.published()), added: 0 };
//!         Ok(Box::new(sink))
//!     }
//!
//!     fn apply(&self, records: &[LogRecord<'_>]) -> Result<(), ApplicationError> {
//!         self.hidden.lock().unwrap().added += records.len() as u64;
//!         Ok(())
//!     }
//!
//!     fn prepare(&self, _prepares: &[Prepare<'_>]) -> Result<(), ApplicationError> {
//!         Err("nothing is ever prepared".into())
//!     }
//!
//!     fn forget_prepares(&self) -> Result<(), ApplicationError> {
//!         Ok(())
//!     }
//!
//!     fn discard(&self) {
//!         *self.hidden.lock().unwrap() = Hidden::default();
//!     }
//!
//!     fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
//!         let hidden = std::mem::take(&mut *self.hidden.lock().unwrap());
//!         let bulk = hidden.bulk.and_then(|bulk| bulk.take()).ok_or("there is no hidden copy")?;
//!         let total = u64::from_le_bytes(bulk.try_into().map_err(|_| "eight bytes are a state")?);
//!         *self.state.lock().unwrap() = State { total: total + hidden.added, digest: digest.clone() };
//!         Ok(())
//!     }
//! }
//!
//! impl Latch for Counter {
//!     fn reoffer(&self) {} // Whoever waits for the latch would be woken here.
//! }
//! ```

mod application;
pub(crate) mod batch;
mod begin;
mod calls;
pub(crate) mod driver;
mod ended;
pub(crate) mod event;
pub(crate) mod fetch;
mod join;
mod member;
mod memory_log;
mod pace;
mod paced;
mod peer;
mod pin;
mod push;
mod serve;
pub(crate) mod shared;
mod spilled_log;
pub(crate) mod stage;
mod turn;

pub use application::{
    Application, ApplicationError, Delivered, Latch, Log, MEMBERS, PinError, Pins, Provide, Snapshot, Stage,
};
pub use batch::{Batch, LogRecord, Prepare, RECORD_MAX};
pub use ended::Ended;
pub use event::Event;
pub use fetch::{Fetched, Joined, StateTransfer};
pub use member::{Member, MemberBuilder};
pub use memory_log::MemoryLog;
pub use pace::Pace;
pub use spilled_log::{SpillError, SpilledLog};
pub use turn::{Request, Turn};

pub use longhaul_core::digest::{Entry, SequenceNumber};
pub use longhaul_core::id::SnapshotId;
pub use longhaul_core::message::{Effect, Handle, Message, Properties, Transaction, Verdict};
pub use longhaul_core::transfer::live::{Config, Failure, Policy, Record, State as Phase};
pub use longhaul_core::transfer::wire::Refusal;
pub use longhaul_core::transfer::{Apply, Capture, Contract, Decision, LogPoint};
