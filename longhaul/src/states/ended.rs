//! Why a state was not had: the machine's reason, who said what, and what was behind it.

use std::error::Error as StdError;
use std::fmt;

use longhaul_core::id::MemberId;
use longhaul_core::transfer::fetch::{Answer, Failure, Said};
use longhaul_core::transfer::wire::Refusal;

use crate::error::{Error, ErrorKind};
use crate::live::ApplicationError;

/// Why a fetch failed: the cause of its [`Error`]. The old state stands.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ended {
    /// What ended the last try.
    pub failure: Failure,
    /// Who was asked last.
    pub provider: Option<MemberId>,
    /// Who was asked, and who said what.
    pub answers: Vec<(MemberId, Said)>,
    cause: Option<ApplicationError>,
}

impl Ended {
    pub(super) fn new(
        failure: Failure,
        provider: Option<MemberId>,
        answers: &[Answer],
        cause: Option<ApplicationError>,
    ) -> Self {
        let answers = answers.iter().map(|answer| (answer.member, answer.said)).collect();
        Self { failure, provider, answers, cause }
    }

    fn kind(&self) -> ErrorKind {
        match self.failure {
            // A session that failed says more than that it is over.
            Failure::Lost => self.session().map_or(ErrorKind::Unreachable, Error::kind),
            Failure::Stalled | Failure::Resumed => ErrorKind::Stalled,
            Failure::Refused(Refusal::Busy) => ErrorKind::Busy,
            Failure::Refused(_) => ErrorKind::Refused,
            Failure::Protocol | Failure::LogGap { .. } => ErrorKind::Protocol,
            Failure::Checksum | Failure::Root | Failure::NoMajority => ErrorKind::Integrity,
            Failure::Application => ErrorKind::Destination,
            Failure::Cancelled => ErrorKind::Cancelled,
            _ => ErrorKind::Other,
        }
    }

    fn session(&self) -> Option<&Error> {
        self.cause.as_deref().and_then(|cause| cause.downcast_ref())
    }

    const fn hint(&self) -> &'static str {
        match self.failure {
            Failure::Lost => "name another provider, or try again once it is back",
            Failure::Stalled | Failure::Resumed => "allow a longer timeout or lease",
            Failure::Refused(_) => "name another provider, or try again later",
            Failure::NoMajority => "find out which members have gone astray, or name the one to be believed",
            Failure::QueueFull => "write less meanwhile, or allow a longer queue",
            _ => "",
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no state was had: {}", self.failure)?;
        if self.failure == Failure::NoMajority {
            for (n, (member, said)) in self.answers.iter().enumerate() {
                write!(f, "{} member {member} {}", if n == 0 { ":" } else { "," }, Words(*said))?;
            }
        } else if let Some(provider) = self.provider {
            write!(f, " (the last who was asked is member {provider})")?;
        }
        if let Some(session) = self.session().filter(|_| self.failure == Failure::Lost) {
            write!(f, ": {session}")?;
        }
        Ok(())
    }
}

/// What a member has said, in words.
struct Words(Said);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Said::Nothing => f.write_str("has said nothing"),
            Said::Null => f.write_str("takes no part"),
            Said::Root(root) => {
                f.write_str("has the root ")?;
                root.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Said::Suspended => f.write_str("has stopped writing"),
            Said::Given => f.write_str("has given its state"),
            Said::Gone => f.write_str("has no copy, or is gone"),
        }
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
    /// Why a fetch from a group failed, if it is that.
    #[must_use]
    pub fn states(&self) -> Option<&Ended> {
        self.source().and_then(|cause| cause.downcast_ref())
    }
}
