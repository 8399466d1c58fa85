//! A test kit for engines: whether what [`crate::live`] is promised by an application is kept.
//!
//! Whoever implements the traits of [`crate::live`] for an engine tells the kit how one is made and how a message is carried
//! out ([`Subject`]), and has each promise put to the test, by name, in a test of their own:
//!
//! ```text
//!            draws messages: content, structure, transactions            reference: one engine, nothing else happens
//!  Kit ──────────────────────────────────────────────────────▶ Subject ──▶ what is seen behind each message
//!   │  captures, reads slowly, writes meanwhile, logs, stages, ──▶ Subject ──▶ what is seen here
//!   │  commits, kills and opens again, latches                                  │
//!   └──▶ Report: kept, broken (how, and the seed), not asked  ◀── compared ─────┘
//! ```
//!
//! | promise | checks |
//! | --- | --- |
//! | an effect and its number are one step | [`Check::DeliveryWithNumber`] |
//! | a capture is what its digest says, whatever is written, made, renamed or dropped | [`Check::CaptureExact`], [`Check::CaptureUnderWrites`], [`Check::CaptureUnderStructure`], [`Check::CapturesApart`], [`Check::SourceWhole`] |
//! | a log has no hole, and is enough | [`Check::LogWhole`], [`Check::LogTrimmed`], [`Check::LogBegunAnew`], [`Check::LogSuffices`], [`Check::ApplyIdempotent`] |
//! | prepares are known from the start | [`Check::PendingFromStart`], [`Check::PreparesForgotten`] |
//! | nobody sees a hidden copy; it replaces the state in one durable step | [`Check::StageEmpty`], [`Check::StageHidden`], [`Check::DiscardLeavesOld`], [`Check::StageLostAtReopening`], [`Check::CommitWhole`], [`Check::CommitInOneStep`], [`Check::CommitDurable`] |
//! | who is held changes nothing | [`Check::LatchHolds`] |
//! | what is pinned is kept | [`check_pins`], of a channel |
//!
//! The kit is a part of the library and needs no feature: it has no dependency of its own, and nothing of it is in a program that
//! does not call it.
//!
//! # What it can't see
//!
//! A process is killed by dropping its engine: what the system would have lost with the power is there. All messages have one
//! sender, which never leaves. Outcomes of epochs are the member's business, which forgets them with its process, not the engine's.
//! Whether messages come to a closed latch is left to chance in an engine where nothing is ever prepared, and the order in
//! which threads run is not repeated by a seed.
//!
//! # An engine under test
//!
//! ```
//! # mod engine {
//! #     use std::sync::{Arc, Condvar, Mutex};
//! #     use longhaul::live::*;
//! #     use longhaul::state::{MemorySink, MemorySource, Published, SourceError};
//! #     use longhaul::{Sink, Source};
//! #     #[derive(Clone, Default)]
//! #     pub struct State { pub total: u64, pub digest: Delivered }
//! #     #[derive(Default)]
//! #     pub struct Counter {
//! #         pub state: Mutex<State>,
//! #         pub log: MemoryLog,
//! #         pub hidden: Mutex<(Option<Published<Vec<u8>>>, u64)>,
//! #         pub reoffers: Mutex<u64>,
//! #         pub rings: Condvar,
//! #     }
//! #     struct Captured(State);
//! #     impl Snapshot for Captured {
//! #         fn digest(&self) -> Delivered { self.0.digest.clone() }
//! #         fn source(&self, _state_id: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
//! #             Ok(Arc::new(MemorySource::new(self.0.total.to_le_bytes().to_vec().into())))
//! #         }
//! #     }
//! #     impl Provide for Counter {
//! #         fn capture(&self) -> Result<Arc<dyn Snapshot>, ApplicationError> {
//! #             Ok(Arc::new(Captured(self.state.lock().unwrap().clone())))
//! #         }
//! #         fn pending(&self, _batch: &mut Batch<'_>) -> Result<(), ApplicationError> { Ok(()) }
//! #     }
//! #     impl Log for Counter {
//! #         fn start(&self, from: LogPoint) -> Result<(), ApplicationError> { self.log.start(from) }
//! #         fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
//! #             self.log.read(from, batch)
//! #         }
//! #         fn trim(&self, before: LogPoint) { self.log.trim(before); }
//! #         fn stop(&self) { self.log.stop(); }
//! #     }
//! #     impl Stage for Counter {
//! #         fn stage(&self, _: SnapshotId, _keep: bool) -> Result<Box<dyn Sink>, ApplicationError> {
//! #             let sink = MemorySink::new(8);
//! #             *self.hidden.lock().unwrap() = (Some(sink.published()), 0);
//! #             Ok(Box::new(sink))
//! #         }
//! #         fn apply(&self, records: &[LogRecord<'_>]) -> Result<(), ApplicationError> {
//! #             for record in records {
//! #                 self.hidden.lock().unwrap().1 += u64::from_le_bytes(record.bytes.try_into()?);
//! #             }
//! #             Ok(())
//! #         }
//! #         fn prepare(&self, _: &[Prepare<'_>]) -> Result<(), ApplicationError> { Err("nothing is prepared".into()) }
//! #         fn forget_prepares(&self) -> Result<(), ApplicationError> { Ok(()) }
//! #         fn discard(&self) { *self.hidden.lock().unwrap() = (None, 0); }
//! #         fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
//! #             let (bulk, added) = std::mem::take(&mut *self.hidden.lock().unwrap());
//! #             let bulk = bulk.and_then(|bulk| bulk.take()).ok_or("there is no hidden copy")?;
//! #             let total = u64::from_le_bytes(bulk.as_slice().try_into()?) + added;
//! #             *self.state.lock().unwrap() = State { total, digest: digest.clone() };
//! #             Ok(())
//! #         }
//! #     }
//! #     impl Latch for Counter {
//! #         fn reoffer(&self) {
//! #             *self.reoffers.lock().unwrap() += 1;
//! #             self.rings.notify_all();
//! #         }
//! #     }
//! # }
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use engine::Counter; // implements Provide, Log, Stage and Latch
//! use longhaul::kit::{Draw, Kind, Kit, SENDER, Seen, Step, Subject};
//! use longhaul::live::{
//!     Application, ApplicationError, Apply, Capture, Contract, Entry, Handle, Member, Message, Verdict,
//! };
//!
//! struct Counters;
//!
//! impl Subject for Counters {
//!     type Engine = Counter;
//!     type Operation = u64;
//!
//!     fn contract(&self) -> Contract {
//!         Contract::new(Capture::Atomic, Apply::Once).expect("a pair that goes together")
//!     }
//!
//!     fn open(&self, _directory: &Path) -> Result<Counter, ApplicationError> {
//!         Ok(Counter::default())
//!     }
//!
//!     fn is_durable(&self) -> bool {
//!         false // It lives in memory.
//!     }
//!
//!     fn application(&self, engine: &Arc<Counter>) -> Arc<dyn Application> {
//!         Arc::clone(engine) as _
//!     }
//!
//!     fn draw(&self, kind: Kind, draw: &mut Draw) -> Option<u64> {
//!         (kind == Kind::Write).then(|| draw.below(1000))
//!     }
//!
//!     fn deliver(&self, engine: &Arc<Counter>, steps: &[Step<u64>]) -> Result<(), ApplicationError> {
//!         for step in steps {
//!             let mut state = engine.state.lock().unwrap();
//!             let added = step.operation.unwrap_or(0);
//!             state.total += added;
//!             state.digest.insert(Entry::new(SENDER, step.sequence, step.sequence)?)?;
//!             engine.log.append(SENDER, step.sequence, step.effect, &added.to_le_bytes());
//!         }
//!         Ok(())
//!     }
//!
//!     fn state(&self, engine: &Arc<Counter>) -> Result<Seen, ApplicationError> {
//!         let state = engine.state.lock().unwrap();
//!         let delivered = state.digest.entry(SENDER).map(|entry| entry.delivered()).unwrap_or_default();
//!         Ok(Seen { delivered, root: state.total.to_le_bytes().to_vec() })
//!     }
//!
//!     fn offer(
//!         &self,
//!         engine: &Arc<Counter>,
//!         member: &Arc<Member>,
//!         step: &Step<u64>,
//!     ) -> Result<(), ApplicationError> {
//!         let (sequence, handle) = (step.sequence, Handle(step.sequence.0));
//!         let message = Message { sender: SENDER, sequence, len: 8, handle };
//!         loop {
//!             let reoffers = *engine.reoffers.lock().unwrap();
//!             let mut turn = member.turn();
//!             match turn.handle_message(&message, step.effect, 8)? {
//!                 Verdict::Deliver => return self.deliver(engine, std::slice::from_ref(step)),
//!                 Verdict::Drop => return Ok(()),
//!                 Verdict::SendAgain { from } => return Err(format!("message {from} is missing").into()),
//!                 Verdict::Hold => drop(turn),
//!             }
//!             let rung = engine.reoffers.lock().unwrap();
//!             drop(engine.rings.wait_while(rung, |now| *now == reoffers).unwrap());
//!         }
//!     }
//! }
//!
//! // In a test of one's own: it panics with the promises that are broken, and the seed.
//! Kit::new(Counters).run().expect_kept();
//! ```

mod captures;
mod carry;
mod check;
mod deliveries;
mod draw;
mod history;
mod latch;
mod logs;
mod pins;
mod run;
mod sources;
mod stages;
mod subject;
mod trial;

pub use check::{Check, Report, Verdict};
pub use draw::Draw;
pub use pins::{Retention, check_pins};
pub use run::Kit;
pub use subject::{Kind, SENDER, Seen, Step, Subject};
