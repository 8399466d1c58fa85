//! What members say to each other over TCP.
//!
//! ```text
//!   replica                                    primary
//!   follow: Hello ─────────────────────────▶   whose data, from which record on
//!                 ◀─────── Welcome | Refused
//!                 ◀──────────────── Record..   as soon as each is durable
//!           From  ─────────────────────────▶   a gap: send again from here
//!           Applied ───────────────────────▶   how far it has come
//!   submit: Hello ─────────────────────────▶
//!                 ◀───────────────── Welcome
//!           Submit.. ──────────────────────▶   its clients' operations, many at once
//!                 ◀───────────────── Answer..  each once it is durable
//! ```
//!
//! A connection of a member begins with four bytes that no client's line begins with; see [`PREAMBLE`].

mod feed;
mod follow;
mod frame;
mod submit;
mod wire;

pub use feed::{Feeds, FollowerAt, serve};
pub use follow::{Follower, Following};
pub use frame::{Frame, Purpose};
pub use submit::{Link, Submit, SubmitError, Submitted};
pub use wire::{PREAMBLE, PREAMBLE_LEN, VERSION};
