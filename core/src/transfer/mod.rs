//! The state transfer protocols: machines over sessions ([`crate::session`]) and a group's messages
//! ([`crate::message`]).
//!
//! | protocol | from | stops | needs |
//! | --- | --- | --- | --- |
//! | [`live`] | `JBoss` NBST v25 | provider and joiner, for the last of the log | order per sender, messages sent again |
//! | [`fetch::copy`] | Ban 1998 | nobody | total order |
//! | [`fetch::streaming`] | Blagojevic 2006 | nobody | order per sender |
//! | [`fetch::flush`] | `JGroups` manual 2.x | everybody, for the whole transfer | order per sender, views |
//! | [`fetch::prefetch`] | Ban 1998, 3.4.4 | nobody | total order, a log |
//!
//! All move a *capture*: a snapshot and the digest that says which messages it contains ([`capture`]). The
//! bulk travels in an ordinary session, to be staged and not installed; what these machines add is the log,
//! the digest and the moment from which the joiner serves.
//!
//! Every frame bears a [`Tag`]: the transfer and its epoch. An epoch is one try, on one connection, with
//! at most one cut-over and one outcome; what comes of an earlier one has no effect. The frames are written down
//! in [`wire`].

pub mod capture;
pub mod fetch;
pub mod live;
mod tag;
pub mod wire;

pub use capture::{Apply, Capture, Contract, Impossible};
pub use tag::{Decision, LogPoint, Tag};

use crate::digest::{Digest, DigestPart};

/// Whether this member provides state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It has no whole state yet.
    Joining,
    /// It is operational, and gives state to who asks.
    Provider,
    /// It is operational, and gives none.
    NonParticipant,
}

/// The checksum of what a digest says was delivered: two members with equal sums have come equally far.
#[must_use]
pub fn digest_sum<const MEMBERS: usize>(digest: &Digest<MEMBERS>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for entry in digest.entries() {
        hasher.update(&entry.member().0).update(&entry.delivered().0.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// The part of a digest after so many, which are then one more.
fn next_part<'a, const MEMBERS: usize>(
    digest: &'a Digest<MEMBERS>,
    parts: &mut usize,
) -> Option<DigestPart<'a>> {
    let part = digest.parts().nth(*parts)?;
    *parts += 1;
    Some(part)
}
