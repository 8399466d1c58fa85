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
//!   pin:    Hello, Pin ────────────────────▶   keep the log, while somebody joins
//!                 ◀──── Pinned | PinRefused
//!   join:   Hello ─────────────────────────▶   any member: where do joiners dial, where are copies?
//!                 ◀───────────────── Welcome
//! ```
//!
//! A connection of a member begins with four bytes that no client's line begins with; see [`PREAMBLE`].

mod feed;
mod follow;
mod frame;
mod listen;
mod pin;
mod submit;
mod wire;

pub use feed::{Feeds, FollowerAt, introduce, serve};
pub use follow::{Follower, Following};
pub use frame::{Frame, Purpose, read as read_frame, write as write_frame};
pub use listen::{Heard, listen};
pub use pin::{Pinned, ask_to_pin, unpin, where_copies_are, where_joiners_dial};
pub use submit::{Link, Submit, SubmitError, Submitted};
pub use wire::{PREAMBLE, PREAMBLE_LEN, VERSION};
