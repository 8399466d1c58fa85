//! Clients that know what was acknowledged to them: they write at a fixed rate and keep a journal; later it is compared
//! with what members have.
//!
//! ```text
//! write: writers ──▶ members        each outcome ──▶ journal
//! check: journal, and what a member has ──▶ nothing acknowledged is lost, nothing refused is there
//! ```
//!
//! Each writer has keys of its own, and one operation under way. A key whose write is in doubt is never written again:
//! so what it may hold stays known.

mod check;
mod connection;
mod fill;
mod journal;
mod random;
mod writer;

pub use check::{Checked, check};
pub use connection::{Connection, Reply};
pub use fill::fill;
pub use journal::{Attempt, Journal, Outcome};
pub use random::Random;
pub use writer::{Load, Written, write};
