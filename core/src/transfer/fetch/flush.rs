//! Everybody stops, and the state is all that was ever sent (`JGroups` manual, `FLUSH`): the baseline.
//!
//! ```text
//!  SUSPEND to all ──▶ each ends what is in flight, and says the last number that it has sent
//!  when all have   ──▶ a capture that contains all of that, and the stream
//!  once it is installed: RESUME to all
//! ```
//!
//! **Guarantees.** From the last Suspended to Resume nobody writes, and the state contains everything that was sent. Should a
//! member write nevertheless, because the word that stops it came late, its messages lie above the digest and are
//! delivered once, as in [`super::streaming`]: no message depends on the stop.
//!
//! **Needs**: order per sender and a view ([`NEEDS`]), given by the caller until the group's protocols exist.
//!
//! - A stop is a lease that the joiner renews four times in its length. Who hears nothing for that long goes on, and *says so*:
//!   the round begins anew. A barrier never opens unseen.
//! - A stop ends with Resume, with the lease, and with a view or a Leave without its joiner.
//! - The joiner itself writes nothing before it serves; a member that serves already can't flush for itself.
//! - Resume goes out when state and digest are swapped in, not before.

use crate::message::Properties;

/// What it needs of the channel.
pub const NEEDS: Properties = Properties::FIFO.and(Properties::VIEWS);
