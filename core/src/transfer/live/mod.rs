//! Live transfer: a joiner comes to where a provider is while writes go on, and then serves.
//!
//! ```text
//!  joiner                                        provider
//!  pins every source of messages
//!  Request ────────────────────────────────────▶          log from here on, capture (snapshot, digest)
//!          ◀──────────────────── Digest.., Begin
//!          ◀═══════════════ a session: the bulk           no write waits for it
//!  Staged ─────────────────────────────────────▶
//!          ◀────────────────────────── Records..          rounds, until the rest is small
//!  Applied.. ──────────────────────────────────▶
//!                                                         latch: nothing is delivered or admitted
//!          ◀──── Records.., Pending, Digest.., Last
//!  Ready ──────────────────────────────────────▶          the lease still runs: Commit is recorded, latch opened
//!          ◀───────────────────────────── Commit
//!  commit, then deliver what is above the digest
//! ```
//!
//! **Guarantees.** A joiner that serves contains exactly the messages of the provider's digest at the latch,
//! and delivers each later message once, in its sender's order. It serves only what the provider has recorded as
//! committed. The provider stops for one latch, bounded by its own clock, whatever becomes of the joiner.
//! An abort at any point leaves the joiner's old state and digest as they were.
//!
//! **Needs**: order per sender; messages kept while they are pinned, and sent again ([`NEEDS`]); of the
//! application a capture, a log of completions, and a hidden copy that can be swapped in ([`Contract`]).
//!
//! # The seventeen steps of NBST
//!
//! | | `JBoss` NBST v25 | here | what is different, and why |
//! | --- | --- | --- | --- |
//! | 0 | all members track pending prepares from their start | [`Provider::handle_message`] of every operational member | the same; the engine keeps their changes, the machine counts them |
//! | 1 | the joiner asks; it answers prepares and commits positively and logs none | [`Frame::Request`]; [`Joiner::handle_message`] drops, and notes each prepare | what it has answered must be found in the log or in the pending prepares: checked before Ready. It pins all sources first, so that nothing above the digest can be gone |
//! | 2 | the provider logs all transactions and writes | [`Command::Capture`]: the log begins | before the snapshot, at a digest that travels with it |
//! | 3 | it sends its state; nothing blocks | [`Command::Give`]: a session | checksums, resumption, a root that both compare; several joiners share one capture |
//! | 4 | the joiner applies it | into a hidden copy, then [`Frame::Staged`] | the old state stays until Commit |
//! | 5 | the log is sent | [`Frame::Records`] | records are numbered: one that is missing is an error, one that comes twice is left out |
//! | 6 | the log is written until it is empty or progress ends | rounds, each to where the log ended when it began | ends when the rest can be applied within half the latch's budget |
//! | 7 | no progress: the log is repeatedly not reduced | so many rounds without a smaller rest ([`Config::patience`]) | both rates are told ([`Event::CannotConverge`]), and a policy decides ([`Policy`]) |
//! | 8 | pending requests in and out complete, new ones are suspended | the latch drains: [`Provider::handle_request`], [`Provider::handle_request_done`] | for half the budget at most; then it opens, and closes later. What waits for a prepared transaction's lock is parked |
//! | 9 | a marker says that modifications must stop | the latch is closed | the provider alone decides; the joiner has nothing to stop, it delivers nothing yet |
//! | 10 | the joiner asks to close latches at both; control commands pass | control frames pass the latch, which is only in [`Provider::handle_message`] | no round trip is spent on it |
//! | 11 | others' transactions block until the latches open | [`Verdict::Hold`] | for a lease at most, by the provider's clock |
//! | 12 | the joiner applies the last of the log | [`Frame::Records`] | numbered through to [`Frame::Last`], which says where the log ends |
//! | 13 | it applies the prepares that are not committed | [`Frame::Pending`] | they are counted |
//! | 14 | a marker says that all is sent | [`Frame::Last`] with the digest | what the joiner has must be exactly that |
//! | 15 | the provider resumes | only once an outcome is recorded | NBST resumes here, before anybody knows whether the joiner has it all |
//! | 16 | the joiner has the latches released | [`Frame::Ready`], and [`Frame::Commit`] or [`Frame::Abort`] | the answer is recorded under its epoch and can be asked for ([`Frame::Ask`]); a joiner never decides |
//! | 17 | the joiner is started | [`State::Serving`], after Commit | what came above the digest is delivered now, from where it was held or sent again |
//!
//! # Cut-over, and who decides
//!
//! The provider alone, by its own monotonic clock. It records Commit only when Ready names its very digest
//! and the lease still runs; else it records Abort, and either way the latch opens. A frame of an epoch
//! that has its outcome changes nothing. Asked for an epoch without outcome, it records Abort and says so:
//! whoever asks has not been heard. A provider that restarted is another incarnation, knows no epoch, and answers
//! Abort to all.
//!
//! A joiner **may always give up and never serves by itself**. One that reads Commit later than a lease after its
//! Ready asks whether the epoch still stands, pins all sources anew, sees that nothing above its digest is gone,
//! and serves once it has delivered what they had sent by then.
//!
//! # A member that has a state, and gets another
//!
//! It may join again at any time, after a merge, say. From its request on it is not operational ([`Role::Joining`]): it gives
//! nothing, whoever waits at its latch hears Abort, and its clients' requests are held. Its [`Provider`] goes on
//! delivering every message into the old state, as before, so that this stays a prefix of the group's order; once Last has
//! come, what is above the new digest is held. Then
//!
//! - **Commit**: the new state, its digest and its prepares take the place of the old ones in one step
//!   ([`Provider::replace`]), while no message passes. What the old state had above the new digest is sent again: pins have kept it.
//! - **Any abort**: the old state contains all that has come, and what is held follows. So it is operational again
//!   at once, as whole as any member that has not joined. What is lost for good was lost to it as to any other member.
//!
//! Prepares that it answered before it joined are in the capture, or the provider delivers them behind it: of each sender
//! messages come in order. Those that it answers while it joins are looked for like those of a member that is new. What is
//! pending in the new state it answers once that is there: the message may have been behind a gap of the old one.
//!
//! # Rules where the seeds are silent
//!
//! - One transfer per joiner and provider: a later epoch of it takes over, an earlier one is dropped, another
//!   transfer of the same member is refused as busy.
//! - One capture at a time. Who asks while it is taken or streamed shares it, and its log; it is dropped when
//!   nobody streams from it. One latch at a time: the others follow the log meanwhile.
//! - A provider that becomes a non-participant refuses those who capture, stream or follow; an epoch at its latch
//!   still gets its outcome, which is a lease away at most.
//! - A member that begins to send keeps its messages from the first on for [`Config::stall_timeout`], pinned or not:
//!   a joiner that pinned before could not ask it. Ready is said with pins younger than half of that.
//! - What the log holds is bounded: at three quarters of [`Config::log_bytes`] writers are slowed down, or it is latched, if that is the
//!   policy; at all of it whoever needs the oldest record is refused
//!   ([`Refusal::LogFull`]) and begins a new round. So there is never a hole. One that can't be kept or read ends for all who need it
//!   ([`Refusal::LogLost`]).

mod config;
mod joiner;
mod life;
mod outcomes;
mod provider;

pub use super::Role;
pub use config::{Config, ConfigError, NEEDS, Policy};
pub use joiner::{Failure, Joiner, JoinerCommand, Record, Take};
pub use life::{AT_JOINER, AT_PROVIDER, At, AtInput, Input, LATCH, State};
pub use outcomes::Outcomes;
pub use provider::{Command, Event, Link, Provider, Send, Transmit};

#[cfg(doc)]
use crate::message::Verdict;
#[cfg(doc)]
use crate::transfer::Contract;
#[cfg(doc)]
use crate::transfer::wire::{Frame, Refusal};
