//! A state as it was at one place, fetched from one or many: four protocols that differ in what that place is, and in who
//! stops for it.
//!
//! ```text
//!               what the state is           who stops
//!  copy         MAKE_COPY in total order    nobody; the joiner queues from its own delivery of it
//!  streaming    the provider's digest       nobody; the joiner queues from when it is on the channel
//!  flush        all that was ever sent      everybody, from SUSPEND to RESUME
//!  prefetch     as copy, the bulk before    nobody; only the log since then is fetched while it queues
//!
//!  joiner                                       provider
//!  [MakeCopy | Suspend, to the group] ────────▶ [copies | stops and says what it has sent]
//!  Fetch, Digest.. ───────────────────────────▶ delivered, and captured?
//!         ◀──────────────── Digest.., Begin
//!         ◀═══════ a session, or the log        the bulk; or Records.., Last
//!  Staged ────────────────────────────────────▶
//!  commit: state and digest in one step; then what was queued, then serve
//!  [Collect | Resume, to the group] ──────────▶ [copies are freed | goes on]
//! ```
//!
//! One pair of machines runs them all ([`Provider`], [`Joiner`]), for all but the first word is the same. What is peculiar
//! to one stands in its module: [`copy`], [`streaming`], [`flush`], [`prefetch`]. [`crate::transfer::live`] follows a
//! log instead, and stops two members at its end.
//!
//! # What all four guarantee
//!
//! A joiner that serves contains exactly the messages of its digest, and delivers each later one once, in its
//! sender's order. An abort at any point leaves the old state as it was. Whatever becomes of a joiner, what is kept for it at
//! others is freed within a lease, or twice a stall timeout.
//!
//! # Where others lose or double messages, and why that can't be here
//!
//! | elsewhere | here |
//! | --- | --- |
//! | the digest is taken apart from the state | [`Command::Capture`] belongs to one place in the order of delivery; [`Provider::handle_captured`] refuses a snapshot whose own digest is another |
//! | the joiner's channel begins behind the digest: what lies between is lost | a Fetch says what a capture must cover; a provider that has not delivered all of it answers [`crate::transfer::wire::Refusal::NotYet`], and a Begin that does not cover it ends the epoch |
//! | a barrier opens by itself, and the state overwrites what came through | what comes is queued at the joiner and never delivered before the commit; a member that resumes says so, and the round begins anew |
//! | the queue overflows, and messages are dropped | it is bounded ([`Config::queue_bytes`]): then the round begins anew with a later place, which contains what was queued |
//! | late frames of an old try mix in | every frame bears transfer and epoch; each Fetch is an epoch of its own, and only who was asked in it is heard |
//! | truncation reads as the end | a session compares count, bytes and root before [`Joiner::handle_staged`]; a log ends with Last, at a place that must have been reached record by record |
//! | success after failure, or failure after success | the declared transitions: nothing leads out of Serving and Failed |
//!
//! # Rules where the seeds are silent
//!
//! - A member has one transfer of a state at a provider: a later one, and a later epoch of one, takes its place.
//! - Joiners share a capture if it covers what each needs; captures with nothing between them that changed the state
//!   are one.
//! - Who can't be reached, refuses or stalls is left for the next member; when all were tried, a new round begins with
//!   everybody, [`Config::tries`] times. A provider that has only not come so far is asked again for a stall timeout.
//! - Finding a root takes as long as its state is large: a member that reads on is not silent, and its copy stays; but all roots
//!   together are waited for [`ROOTS_MAX`] stall timeouts at most.
//! - A state from oneself, or in a group of one: [`State::Alone`], at once.

mod config;
pub mod copy;
pub mod flush;
mod joiner;
mod life;
pub mod prefetch;
mod provider;
pub mod streaming;

pub use config::{Config, ConfigError, Protocol};
pub use joiner::{
    Answer, Destination, Failure, Joiner, JoinerCommand, JoinerTransmit, ROOTS_MAX, Said, Want,
};
pub use life::{AT_JOINER, AT_PROVIDER, At, AtInput, Input, State};
pub use provider::{CaptureNumber, Command, Event, Provider, Transmit};
