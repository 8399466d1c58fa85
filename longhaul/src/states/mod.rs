//! A state as it was at one place, fetched from one member of a group or from many, while the others go on.
//!
//! ```text
//!            messages and words of the group, requests of clients
//!                 │ turn, request                          ▲ verdict: deliver, hold, drop, send again
//!                 ▼                                        │
//!  application ◀─ traits ─▶ Member ── connections, transfer frames ── Member ◀─ traits ─▶ application
//!    Provide  capture          │                                        │       Stage   stage, apply, commit
//!    Log      (prefetch)       └═ an ordinary session: the bulk, verified ═┘    Channel join, send
//! ```
//!
//! Which protocol is chosen when a member is made, and is the same at all members ([`Protocol`]); what each guarantees, needs and
//! stops is written down in [`longhaul_core::transfer::fetch`]. A member whose surroundings do not offer what its
//! protocol needs is not made.
//!
//! | protocol | who stops | what the channel must be |
//! | --- | --- | --- |
//! | [`Protocol::Copy`] | nobody | total order: all who provide copy their state where `MAKE_COPY` is delivered |
//! | [`Protocol::Streaming`] | nobody | order per sender |
//! | [`Protocol::Flush`] | all writers, for the whole transfer | order per sender, and who is a member is known |
//! | [`Protocol::Prefetch`] | nobody | total order; the application keeps a log |
//!
//! [`crate::live`] follows a log while it grows instead, and stops two members at its end.
//!
//! # What a driver of the channel does
//!
//! - Each message goes through [`Member::turn`], each word ([`Channel::send`]) too, at every member and in the channel's order. Who is told
//!   to hold one keeps it, and what comes behind it, until [`Latch::reoffer`](crate::live::Latch::reoffer).
//! - Where writers are to be stopped, whoever writes holds a [`Request`] until what it has sent is delivered here.
//! - Who comes and goes is told by [`Member::handle_view`].
//!
//! # Pushed or pulled
//!
//! A joiner asks ([`Member::fetch_state`]), or a provider has it ask, if it accepts that ([`Member::push_state`]). What is sent yields to
//! those who write meanwhile ([`MemberBuilder::yields`]).
//!
//! An application may be called, and write its state into a writer or read it from a reader: `getState(OutputStream)` and
//! `setState(InputStream)` of Blagojevic 2006 are [`StreamSource::from_writer`](crate::state::StreamSource::from_writer) and
//! [`StreamSink::from_reader`](crate::state::StreamSink::from_reader), as below. Or it takes events from a queue, one after another
//! ([`Member::events`]).
//!
//! # An application
//!
//! A sum: each message adds to it. Its channel is one list, in the same order for everybody.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::sync::{Arc, Mutex};
//! use std::time::Duration;
//!
//! use longhaul::live::{
//!     Apply, ApplicationError, Capture, Contract, Delivered, Effect, Entry, Handle, Latch, Message, Properties,
//!     SequenceNumber, Snapshot, SnapshotId, Verdict,
//! };
//! use longhaul::state::{Published, SourceError, StreamSink, StreamSource};
//! use longhaul::states::{Channel, Config, Fetched, Member, Protocol, Provide, Stage};
//! use longhaul::{MemberId, Sink, Source};
//!
//! /// All that was ever said, by everybody: numbers to add, and words.
//! type List = Arc<Mutex<Vec<Result<u64, Vec<u8>>>>>;
//!
//! const ORDER: MemberId = MemberId([0xff; 16]);
//!
//! #[derive(Clone, Default)]
//! struct State {
//!     total: u64,
//!     digest: Delivered,
//! }
//!
//! #[derive(Default)]
//! struct Sum {
//!     list: List,
//!     state: Mutex<State>,
//!     hidden: Mutex<Option<Published<u64>>>,
//! }
//!
//! struct Captured(State);
//!
//! impl Snapshot for Captured {
//!     fn digest(&self) -> Delivered {
//!         self.0.digest.clone()
//!     }
//!
//!     fn source(&self, _state_id: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
//!         let total = self.0.total;
//!         Ok(Arc::new(StreamSource::from_writer(move |out: &mut dyn Write| out.write_all(&total.to_le_bytes()))))
//!     }
//! }
//!
//! impl Provide for Sum {
//!     fn capture(&self, _state_id: &[u8]) -> Result<Arc<dyn Snapshot>, ApplicationError> {
//!         Ok(Arc::new(Captured(self.state.lock().unwrap().clone())))
//!     }
//! }
//!
//! impl Stage for Sum {
//!     fn stage(&self, _: MemberId, _: SnapshotId, _keep: bool) -> Result<Box<dyn Sink>, ApplicationError> {
//!         let (sink, total) = StreamSink::from_reader(|from: &mut dyn Read| {
//!             let mut bytes = [0; 8];
//!             from.read_exact(&mut bytes)?;
//!             // To the end, which comes only once all is verified.
//!             std::io::copy(from, &mut std::io::sink())?;
//!             Ok::<_, std::io::Error>(u64::from_le_bytes(bytes))
//!         });
//!         *self.hidden.lock().unwrap() = Some(total);
//!         Ok(Box::new(sink))
//!     }
//!
//!     fn discard(&self) {
//!         *self.hidden.lock().unwrap() = None;
//!     }
//!
//!     fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
//!         let hidden = self.hidden.lock().unwrap().take();
//!         let total = hidden.and_then(|hidden| hidden.take()).ok_or("there is no hidden copy")?;
//!         *self.state.lock().unwrap() = State { total, digest: digest.clone() };
//!         Ok(())
//!     }
//! }
//!
//! impl Channel for Sum {
//!     fn join(&self) -> Result<Delivered, ApplicationError> {
//!         Ok(Delivered::new()) // The list is kept from its beginning, and brought from there.
//!     }
//!
//!     fn send(&self, word: &[u8]) -> Result<(), ApplicationError> {
//!         self.list.lock().unwrap().push(Err(word.to_vec()));
//!         Ok(())
//!     }
//! }
//!
//! impl Latch for Sum {
//!     fn reoffer(&self) {} // Whoever waits with a message that was held would be woken here.
//! }
//!
//! /// Brings message `number`, which is there; `false`: it is held, and must be brought again.
//! fn bring(sum: &Sum, member: &Member, number: u64) -> bool {
//!     let said = sum.list.lock().unwrap()[number as usize - 1].clone();
//!     let sequence = SequenceNumber(number);
//!     let message = Message { sender: ORDER, sequence, len: 8, handle: Handle(number) };
//!     let mut turn = member.turn();
//!     let verdict = match &said {
//!         Ok(_) => turn.handle_message(&message, Effect::Write, 8).unwrap(),
//!         Err(word) => turn.handle_word(&message, word).unwrap(),
//!     };
//!     if verdict == Verdict::Deliver {
//!         let mut state = sum.state.lock().unwrap();
//!         state.total += said.unwrap_or(0);
//!         state.digest.insert(Entry::new(ORDER, sequence, sequence).unwrap()).unwrap();
//!     }
//!     verdict != Verdict::Hold
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let contract = Contract::new(Capture::Atomic, Apply::Once)?;
//! let config = |id| Config::new(MemberId([id; 16]), Protocol::Copy, Properties::TOTAL_ORDER, contract);
//! let list = List::default();
//! let [first, second] = [(); 2].map(|()| Arc::new(Sum { list: Arc::clone(&list), ..Sum::default() }));
//! let provider = Member::builder(config(1), Arc::clone(&first) as _).listen("127.0.0.1:0").found(&Delivered::new())?;
//! let joiner = Member::builder(config(2), Arc::clone(&second) as _).listen("127.0.0.1:0").join()?;
//!
//! list.lock().unwrap().extend([Ok(40), Ok(2)]);
//! let transfer = joiner.fetch_state(&[provider.peer()], b"", Duration::from_secs(30))?;
//! let mut brought = [0, 0];
//! while !transfer.is_over() {
//!     for ((sum, member), brought) in [(&first, &provider), (&second, &joiner)].into_iter().zip(&mut brought) {
//!         if (list.lock().unwrap().len() as u64) > *brought && bring(sum, member, *brought + 1) {
//!             *brought += 1;
//!         }
//!     }
//! }
//! assert!(matches!(transfer.wait()?, Fetched::State(_)));
//! assert_eq!(second.state.lock().unwrap().total, 42);
//! # Ok(())
//! # }
//! ```

mod application;
mod begin;
mod calls;
mod driver;
mod ended;
mod event;
mod fetch;
mod join;
mod link;
mod member;
mod peer;
mod push;
mod serve;
mod shared;
mod stage;
mod turn;

pub use application::{Application, Channel, Provide, Stage};
pub use ended::Ended;
pub use event::Event;
pub use fetch::{Fetched, Given, Joined, StateTransfer};
pub use member::{Member, MemberBuilder, Peer};
pub use turn::{Request, Turn};

pub use longhaul_core::transfer::fetch::{Config, Failure, Protocol, Said, State as Phase, Want};
