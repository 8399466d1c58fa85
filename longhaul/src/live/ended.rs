//! Why a state was not had: the machine's reason, and what was behind it.

use std::error::Error as StdError;
use std::fmt;

use longhaul_core::transfer::live::Failure;
use longhaul_core::transfer::wire::Refusal;

use super::ApplicationError;
use crate::error::{Error, ErrorKind};

/// Why a live transfer failed: the cause of its [`Error`]. The old state stands.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ended {
    /// What ended the last epoch.
    pub failure: Failure,
    /// From whom the state was to come.
    pub provider: String,
    /// How many epochs there were.
    pub epochs: u64,
    cause: Option<ApplicationError>,
}

impl Ended {
    pub(super) const fn new(
        failure: Failure,
        provider: String,
        epochs: u64,
        cause: Option<ApplicationError>,
    ) -> Self {
        Self { failure, provider, epochs, cause }
    }

    const fn kind(&self) -> ErrorKind {
        match self.failure {
            Failure::Lost | Failure::Switched => ErrorKind::Unreachable,
            Failure::Stalled | Failure::Aborted => ErrorKind::Stalled,
            Failure::Refused(Refusal::Busy) => ErrorKind::Busy,
            Failure::Refused(_) | Failure::PinRefused { .. } | Failure::PinLost { .. } => ErrorKind::Refused,
            Failure::Protocol
            | Failure::LogGap { .. }
            | Failure::LogOrder { .. }
            | Failure::Unaccounted(_) => ErrorKind::Protocol,
            Failure::Checksum => ErrorKind::Integrity,
            Failure::Application => ErrorKind::Destination,
            Failure::Cancelled => ErrorKind::Cancelled,
            _ => ErrorKind::Other,
        }
    }

    const fn hint(&self) -> &'static str {
        match self.failure {
            Failure::Lost | Failure::Switched => "name another provider, or try again once it is back",
            Failure::Stalled => "allow a longer timeout, or name another provider",
            Failure::Aborted => "allow a longer lease",
            Failure::Refused(Refusal::NotWanted) => {
                "let it ask for a state, or start it so that it accepts one"
            }
            Failure::Refused(Refusal::LogLost) => "look at the disk where the provider spills its log",
            Failure::Refused(Refusal::CannotCatchUp | Refusal::LogFull) => {
                "write less meanwhile, or let the provider keep more log or slow its writers down"
            }
            Failure::Refused(_) => "name another provider, or try again later",
            Failure::PinRefused { .. } | Failure::PinLost { .. } => {
                "let the sources of messages keep them for longer"
            }
            _ => "",
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no state from {}: {}", self.provider, self.failure)?;
        if self.epochs > 1 {
            write!(f, " (after {} tries)", self.epochs)?;
        }
        Ok(())
    }
}

impl StdError for Ended {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.cause {
            Some(cause) => Some(cause.as_ref()),
            None => Some(&self.failure),
        }
    }
}

impl From<Ended> for Error {
    fn from(ended: Ended) -> Self {
        Self::new(ended.kind(), ended.to_string()).with_hint(ended.hint()).with_cause(ended)
    }
}

impl Error {
    /// Why a live transfer failed, if it is that.
    #[must_use]
    pub fn live(&self) -> Option<&Ended> {
        self.source().and_then(|cause| cause.downcast_ref())
    }
}
