//! What a machine sees of a group's message, what it says about it, and what a channel must be for it.
//!
//! ```text
//!   channel (NAKACK, SEQUENCER, TCP, ...)                 a transfer's machine
//!   a message has come ──▶ Message, Effect ─────────────▶ handle_message
//!                                         ◀───────────── Verdict: deliver, hold, drop, send again
//! ```
//!
//! A message's bytes never come here: they lie in the driver's spool, and a [`Handle`] names them. What a
//! machine knows is who sent it, its place among its sender's messages, how long it is, and what it does
//! to transactions ([`Effect`]).
//!
//! **A stack is checked when it is made**, as in Ban 1998, 3.1: a channel says what it offers, a protocol
//! what it needs ([`Properties`]), and a protocol whose needs are not met is not made.

mod effect;
mod order;
mod properties;

pub use effect::{Effect, Transaction};
pub use order::{count, place};
pub use properties::{Missing, Properties};

use crate::digest::SequenceNumber;
use crate::id::MemberId;

/// Names a message's bytes in the driver's spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Handle(pub u64);

/// A message, as far as the core sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it. Under total order: whoever numbers all messages of the group.
    pub sender: MemberId,
    /// Its place among its sender's messages.
    pub sequence: SequenceNumber,
    /// Bytes of its payload.
    pub len: u32,
    /// Where the driver keeps them.
    pub handle: Handle,
}

/// What the driver must do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Hand it to the application, which carries it out and notes its number in one step.
    Deliver,
    /// Keep it, and offer it again when the machine asks for what it held. Until then nobody is answered.
    Hold,
    /// It is contained in the state, or will be; whoever waits for an answer is answered yes.
    Drop,
    /// Something before it is missing: have its sender send again, from this number on. It is dropped.
    SendAgain {
        /// The first message that is missing.
        from: SequenceNumber,
    },
}
