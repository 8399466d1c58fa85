//! What any bytes may do to the core. Each module is one fuzz target: its `check` takes any bytes and panics
//! if a property does not hold.
//!
//! ```text
//! fuzz/run 60                                  # look for more, a minute a target; needs a nightly compiler
//! cargo test -p longhaul-core --test corpora   # replay what was found; part of the core's tests
//! ```
//!
//! | target | bytes are | what holds |
//! | --- | --- | --- |
//! | [`frames`] | a header and a body | they parse or fail; a header has one form; what parses is emitted within the bounds, and parsed as the same |
//! | [`bodies`] | a kind and its body, digest parts among them | the same; and behind the parser every bound holds that nobody checks again |
//! | [`names`] | a name | exactly what is relative, plain and short is one, as the standard library's paths see it; it is shown in printable characters that tell names apart |
//! | [`session`] | what happens to one session: frames of any peer, answers of an honest driver | no panic; all invariants after every step; what is sent parses; a drain ends; every wait has a deadline; what failed stays failed |
//! | [`pair`] | what an adversary does between two honest sessions | the same on both sides; what is published is the provider's state; every session ends; networks alone keep no state from arriving |
//! | [`control`] | a header of a transfer's control frame, and a body | as `frames`; and a frame has one form |
//! | [`live`] | what happens to one machine of a live transfer, or to both of a member that gets another state: frames of any peer, answers of an honest driver | no panic; all invariants after every step; nothing is delivered twice or at a latch; only what was committed is served; what nobody asks for is released |
//! | [`fetch`] | the same to one machine of the four other protocols | as `live`; and only whoever holds the queue's place delivers |
//!
//! Payloads are units instead of bytes ([`pair`], [`session`]): the core never sees one.

pub mod bodies;
mod bytes;
pub mod control;
pub mod fetch;
pub mod frames;
mod group;
pub mod live;
mod member;
pub mod names;
pub mod pair;
pub mod session;
mod state;

/// Takes any bytes; panics if a property does not hold.
pub type Check = fn(&[u8]);

/// Every target, by name.
pub const TARGETS: &[(&str, Check)] = &[
    ("frames", frames::check),
    ("bodies", bodies::check),
    ("names", names::check),
    ("session", session::check),
    ("pair", pair::check),
    ("control", control::check),
    ("live", live::check),
    ("fetch", fetch::check),
];
