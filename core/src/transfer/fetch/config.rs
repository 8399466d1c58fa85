//! What both machines are told before they begin.

use core::fmt;
use core::time::Duration;

use super::{copy, flush, prefetch, streaming};
use crate::id::MemberId;
use crate::message::{Missing, Properties};
use crate::transfer::{Capture, Contract};

/// Which protocol: chosen once, and the same at all members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// [`copy`].
    Copy,
    /// [`streaming`].
    Streaming,
    /// [`flush`].
    Flush,
    /// [`prefetch`].
    Prefetch,
}

impl Protocol {
    /// What it needs of the channel and its surroundings.
    #[must_use]
    pub const fn needs(self) -> Properties {
        match self {
            Self::Copy => copy::NEEDS,
            Self::Streaming => streaming::NEEDS,
            Self::Flush => flush::NEEDS,
            Self::Prefetch => prefetch::NEEDS,
        }
    }

    /// Whether captures are of one place in the order of all messages.
    pub(super) const fn is_ordered(self) -> bool {
        matches!(self, Self::Copy | Self::Prefetch)
    }
}

/// Who this member is, by which protocol it transfers, and within which bounds.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This member.
    pub member: MemberId,
    /// By which protocol.
    pub protocol: Protocol,
    /// What the channel and its surroundings offer.
    pub offers: Properties,
    /// How the application captures and applies.
    pub contract: Contract,
    /// Who makes no progress for so long is given up.
    pub stall_timeout: Duration,
    /// How long a copy that nobody fetches is kept, and how long members stay suspended by one word.
    pub lease: Duration,
    /// The most bytes of messages that a joiner queues.
    pub queue_bytes: u64,
    /// The most bytes of log that are kept for joiners.
    pub log_bytes: u64,
    /// The most bytes of log in one frame.
    pub batch_bytes: u32,
    /// How often a joiner begins anew with all providers before it fails.
    pub tries: u8,
    /// Pieces of another snapshot may be kept: versions of the items are comparable.
    pub comparable: bool,
    /// The joiner has a state already, and serves until its own place in the order ([`Protocol::Copy`] alone).
    pub serves: bool,
}

impl Config {
    /// The usual bounds.
    #[must_use]
    pub const fn new(member: MemberId, protocol: Protocol, offers: Properties, contract: Contract) -> Self {
        Self {
            member,
            protocol,
            offers,
            contract,
            stall_timeout: Duration::from_secs(30),
            lease: Duration::from_mins(1),
            queue_bytes: 1 << 30,
            log_bytes: 1 << 30,
            batch_bytes: 1 << 20,
            tries: 8,
            comparable: false,
            serves: false,
        }
    }

    /// Checks what was asked for against what there is, once, when a machine is made.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.offers.meet(self.protocol.needs()).map_err(ConfigError::Missing)?;
        // Only a log mends what a scan has mixed.
        if self.contract.capture() == Capture::Fuzzy && self.protocol != Protocol::Prefetch {
            return Err(ConfigError::Fuzzy);
        }
        if self.lease.is_zero() || self.stall_timeout.is_zero() {
            return Err(ConfigError::Bounds);
        }
        Ok(())
    }
}

/// Why a machine is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// What is needed is not offered.
    Missing(Missing),
    /// A capture that is a scan, without a log of what was written meanwhile.
    Fuzzy,
    /// This protocol takes the state of one member: only copies of one place can be compared.
    OneAlone,
    /// A lease or a stall timeout of nothing.
    Bounds,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::Fuzzy => f.write_str("a fuzzy capture needs a log, and this protocol sends none"),
            Self::OneAlone => f.write_str("this protocol takes the state of one member alone"),
            Self::Bounds => f.write_str("a lease and a stall timeout must be longer than nothing"),
        }
    }
}

impl core::error::Error for ConfigError {}
