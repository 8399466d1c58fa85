//! What any bytes may do to the core. Each module is the body of one fuzz target: `check` takes any bytes
//! and panics if a property does not hold.
//!
//! ```text
//! cargo +nightly fuzz run TARGET --features libfuzzer    # look for more
//! cargo test --manifest-path fuzz/Cargo.toml             # replay what was found, on any compiler
//! ```
//!
//! | target | bytes are | property |
//! | --- | --- | --- |
//! | [`frames`] | a header and a body | they parse or fail; what parses is emitted and parsed as the same |
//! | [`bodies`] | a kind and its body, digest parts among them | the same, and every bound holds behind the parser |
//! | [`names`] | a name | exactly what is relative, plain and short is one |
//! | [`session`] | what happens to one session: frames of any peer, answers of an honest driver | no panic, all invariants after every step |
//! | [`pair`] | what an adversary does between two honest sessions | what is published is the provider's state; every session ends |

pub mod bodies;
mod bytes;
pub mod frames;
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
];
