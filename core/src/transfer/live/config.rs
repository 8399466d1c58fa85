//! What both machines are told before they begin.

use core::fmt;
use core::time::Duration;

use crate::id::MemberId;
use crate::message::{Missing, Properties};
use crate::transfer::Contract;

/// What a live transfer needs of the channel.
pub const NEEDS: Properties = Properties::FIFO.and(Properties::SEND_AGAIN);

/// What to do when the log no longer shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Slow the writers down ([`super::Command::Throttle`]).
    Throttle,
    /// Go on: writes may become fewer.
    Wait,
    /// Refuse the joiner: it cannot catch up.
    Fail,
    /// Latch, however long the rest takes, up to the lease.
    LatchNow,
}

/// Who this member is, and within which bounds it transfers.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This member.
    pub member: MemberId,
    /// What the channel offers.
    pub offers: Properties,
    /// How the application captures and applies.
    pub contract: Contract,
    /// Who makes no progress for so long is given up.
    pub stall_timeout: Duration,
    /// The longest that a latch is held: [`Config::lease_for`] a round trip, or longer.
    pub lease: Duration,
    /// What a latch may take; half of it is for draining.
    pub latch_budget: Duration,
    /// The most bytes of log that are kept for joiners.
    pub log_bytes: u64,
    /// The most bytes of log in one frame.
    pub batch_bytes: u32,
    /// A rest of the log that is small enough at any rate, in bytes.
    pub small_bytes: u64,
    /// Rounds without a smaller rest until the policy decides.
    pub patience: u8,
    /// What it decides.
    pub policy: Policy,
    /// Epochs in a row without progress until a joiner fails; and epochs in all that kept nothing or were aborted.
    pub tries: u8,
    /// A staged state may be gone on with at another provider: versions of the items are comparable.
    pub comparable: bool,
}

impl Config {
    /// The usual bounds, for a channel and an application.
    #[must_use]
    pub const fn new(member: MemberId, offers: Properties, contract: Contract) -> Self {
        Self {
            member,
            offers,
            contract,
            stall_timeout: Duration::from_secs(30),
            lease: Duration::from_secs(1),
            latch_budget: Duration::from_millis(10),
            log_bytes: 1 << 30,
            batch_bytes: 1 << 20,
            small_bytes: 64 << 10,
            patience: 3,
            policy: Policy::Throttle,
            tries: 8,
            comparable: false,
        }
    }

    /// The lease for a round trip of this length: four of them, and at least a second.
    #[must_use]
    pub fn lease_for(round_trip: Duration) -> Duration {
        Duration::from_secs(1).max(round_trip.saturating_mul(4))
    }

    /// Checks what was asked for against what there is, once, when a machine is made.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.offers.meet(NEEDS).map_err(ConfigError::Missing)?;
        // A pin must outlive a lease twice over, whenever it was renewed.
        let pins_hold = self.stall_timeout >= self.lease.saturating_mul(4);
        if self.lease <= self.latch_budget || self.latch_budget.is_zero() || !pins_hold {
            return Err(ConfigError::Bounds);
        }
        Ok(())
    }
}

/// Why a machine is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The channel does not offer what is needed.
    Missing(Missing),
    /// A budget of nothing, a lease that is no longer than it, or a stall timeout of less than four leases.
    Bounds,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::Bounds => f.write_str(
                "a lease must be longer than the latch's budget, and a stall timeout at least four leases",
            ),
        }
    }
}

impl core::error::Error for ConfigError {}
