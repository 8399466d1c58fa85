//! The bulk before joining, and only the log since then while the group goes on (Ban 1998, 3.4.4).
//!
//! ```text
//!  not on the channel          on it
//!  bulk, as long as it takes │ MAKE_COPY ── Records.. ── commit ── queue
//!  the provider logs ────────┤ up to that place, then no more
//! ```
//!
//! **Guarantees.** As [`super::copy`]; the queue holds what comes while the log moves, not while the bulk does.
//!
//! **Needs**: total order, and a log of what changes the state ([`NEEDS`]). A capture may be a scan
//! ([`crate::transfer::Capture::Fuzzy`]): the log begins before it.
//!
//! - The log is numbered from the bulk's own place through to `MAKE_COPY`'s, each record once; a gap ends the epoch.
//! - Other members make copies at that place, where captures are atomic: when the one with the log dies, or its log has
//!   grown too long, another one's copy is taken whole. Where they are scans, the bulk is prefetched anew.
//! - A log is kept for twice a stall timeout without a word of the joiner, and to [`super::Config::log_bytes`].

use crate::message::Properties;

/// What it needs of the channel and the application.
pub const NEEDS: Properties = Properties::TOTAL_ORDER.and(Properties::LOG);
