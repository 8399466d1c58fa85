//! Copies that all make at one place in the order of all messages (Ban 1998, 3.3).
//!
//! ```text
//!  total order      m1   MAKE_COPY   m2   m3 ...            GC
//!  provider         ──────●──────────────────────────────────○──   copies here; frees it there
//!  joiner           drops │ queues ────────────────▶│ replays      from its own delivery on
//! ```
//!
//! **Guarantees.** The state is that of `MAKE_COPY`'s place, the same at all who provide; the joiner has every message
//! before it in the state and every one behind it in its queue. Nobody else stops. With [`super::Want::Quorum`] what
//! is installed has the root that more than half of those who take part have; with [`super::Want::All`] every state is
//! there with its provider.
//!
//! **Needs**: total order ([`NEEDS`]), which the channel numbers as one sender's messages; an atomic capture.
//!
//! - Queueing begins at the joiner's *own delivery*, not when it asks: what is delivered in between is in the copies.
//! - A digest travels with each copy and must be exactly the place of `MAKE_COPY`: a provider whose order is another
//!   is found out.
//! - A copy is freed by GC ([`crate::transfer::wire::Frame::Collect`]), by a view or a Leave without its joiner, and when nobody has fetched
//!   it for its lease. A later `MAKE_COPY` of the same member frees the one before, at the same place at all members.
//! - Non-participants make no copy and answer null at once ([`crate::transfer::wire::Refusal::NonParticipant`]);
//!   they don't count for a quorum. Members that are silent or gone do: a minority is no majority.
//! - Nobody has a copy from oneself: this member is never among those who are asked, and refuses itself.
//! - A provider that dies is left for another one's copy of the same place: what was staged is kept where versions are
//!   comparable. When no copy is left, `MAKE_COPY` is said anew, and what was queued is part of it.

use crate::message::Properties;

/// What it needs of the channel.
pub const NEEDS: Properties = Properties::TOTAL_ORDER;
