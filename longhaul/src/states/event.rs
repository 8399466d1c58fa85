//! What people see of a member's fetches.

use std::time::Duration;

use longhaul_core::id::MemberId;
use longhaul_core::transfer::fetch::{Failure, State};
use longhaul_core::transfer::wire::Refusal;

/// Something that happened at a member: as provider, or as joiner.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Provider: a joiner was admitted.
    Admitted {
        /// Who.
        member: MemberId,
    },
    /// Provider: the state is captured.
    Captured {
        /// How long nothing was delivered for it.
        held: Duration,
    },
    /// Provider: so many bytes a second are sent to all joiners together at most, for the sake of the writers. Told as it changes.
    Limited {
        /// How many.
        bytes_per_second: u64,
    },
    /// Provider: a joiner has all that it wanted of this member.
    Gave {
        /// Who.
        member: MemberId,
    },
    /// Provider: a joiner was refused, or given up.
    Released {
        /// Who.
        member: MemberId,
        /// Why; `None`: it gave up itself, or is gone.
        why: Option<Refusal>,
    },
    /// Any member: writers go on.
    Resumed {
        /// For how long they were stopped.
        held: Duration,
    },
    /// Joiner: it has come to another phase.
    Phase(State),
    /// Joiner: a try is over without a state, and the next one begins. Told once for each reason that follows another.
    Again {
        /// Why.
        why: Failure,
    },
    /// Joiner: what a provider gave is verified and durable in a hidden copy.
    Staged {
        /// Who gave it.
        provider: MemberId,
        /// Logical bytes of it.
        bytes: u64,
    },
}
