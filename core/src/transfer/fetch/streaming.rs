//! A digest, then the stream (Blagojevic 2006).
//!
//! **Guarantees.** The state is that of the provider's digest; what arrives meanwhile is queued and delivered once, by
//! that digest. Nobody stops.
//!
//! **Needs**: order per sender ([`NEEDS`]), and from the channel what it will not bring because it was sent before this member
//! was on it; an atomic capture.
//!
//! - The provider captures only once it has delivered what the joiner's channel will not bring: nothing lies between
//!   the state and the queue.
//! - State and digest are one capture, taken in one step: nothing is in one and not in the other.
//! - The whole state, or a part of it by its id: each is a transfer of its own with a digest of its own, so that the
//!   messages of one part are never judged by another's digest.
//! - Joiners that ask while a capture is there that covers what they need share it.

use crate::message::Properties;

/// What it needs of the channel.
pub const NEEDS: Properties = Properties::FIFO;
