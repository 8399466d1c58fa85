//! The one error of this library.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_state::item::Name;
use longhaul_state::sink::SinkError;
use longhaul_state::source::SourceError;
use longhaul_state::transfer::TransferError;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $exit:literal, $name:literal $(<= $($reason:ident)|+)?;)*) => {
        /// What went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* $kind,)* }

        impl ErrorKind {
            /// The word in output.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// What a command that fails for this reason exits with.
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$kind => $exit,)* }
            }
        }

        impl From<Reason> for ErrorKind {
            fn from(reason: Reason) -> Self {
                match reason {
                    $($($(Reason::$reason)|+ => Self::$kind,)?)*
                    _ => Self::Other,
                }
            }
        }
    };
}

kinds! {
    /// Something else: a defect of longhaul, or of the system below it.
    Other = 1, "other" <= Internal;
    /// The library or the command was told what can't be.
    Usage = 2, "usage";
    /// The peer can't be reached, or the connection to it was lost.
    Unreachable = 10, "unreachable" <= Unreachable | Gone;
    /// The peer does not know who we are, or does not allow it.
    Unauthorised = 11, "unauthorised" <= Unauthorised;
    /// The peer does not speak the protocol, or breaks its rules.
    Protocol = 12, "protocol" <= Protocol;
    /// No version, capability or demand in common.
    Incompatible = 12, "incompatible" <= Incompatible;
    /// The peer had no room, for as long as it was asked.
    Busy = 13, "busy" <= Busy;
    /// The peer will not, or another process holds the staging directory.
    Refused = 13, "refused" <= Refused;
    /// All was sent and the joiner has agreed to it; whether it has published is not known.
    Unconfirmed = 14, "unconfirmed";
    /// The source does not exist, can't be read, or holds what can't be sent.
    Source = 20, "source" <= Source;
    /// The destination can't be used or written.
    Destination = 21, "destination" <= Destination | LostData;
    /// The destination has no room.
    NoSpace = 22, "no-space" <= NoSpace;
    /// What arrived is not what was sent, or two states differ.
    Integrity = 23, "integrity" <= Integrity | Rotten;
    /// The source changed while it was read.
    SourceChanged = 24, "source-changed" <= SourceChanged;
    /// Someone asked it to stop.
    Cancelled = 25, "cancelled" <= Cancelled;
    /// A live connection, and no progress within the stall timeout.
    Stalled = 30, "stalled" <= Stalled;
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something failed: what, on whose side, in which phase, about which item; and what to do.
///
/// Cheap to clone: several watchers of one transfer may want to hear it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    side: Option<Side>,
    phase: Option<Phase>,
    item: Option<Name>,
    offset: Option<u64>,
    message: String,
    hint: Cow<'static, str>,
    retryable: bool,
    resumable: bool,
    lost_data: bool,
    retry_after: Option<Duration>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with words of one's own, outside any session.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            side: None,
            phase: None,
            item: None,
            offset: None,
            message: message.into(),
            hint: Cow::Borrowed(""),
            retryable: false,
            resumable: false,
            lost_data: false,
            retry_after: None,
            cause: None,
        }))
    }

    /// A source that is looked at without a session: nobody's side, and no phase.
    pub(crate) fn from_source(error: SourceError) -> Self {
        Self::from(error).change(|inner| (inner.side, inner.phase) = (None, None))
    }

    /// The same error, with an advice.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.change(|inner| inner.hint = hint.into())
    }

    /// The same error, with what caused it.
    #[must_use]
    pub fn with_cause(self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.change(|inner| inner.cause = Some(cause.into()))
    }

    /// An error that has been shared already keeps what it says.
    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whose side, if it is one's.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        self.0.side
    }

    /// Where in a session's life, if there was a session.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// The item, if it is about one.
    #[must_use]
    pub fn item(&self) -> Option<&Name> {
        self.0.item.as_ref()
    }

    /// Where in the item, in bytes, if known.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// A sentence for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do, if something can be advised.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        Some(&*self.0.hint).filter(|hint| !hint.is_empty())
    }

    /// When a busy peer wants to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same call, made again as it is, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether the same transfer, started again, goes on from what this one left durable.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        self.0.resumable
    }

    /// The same error, when something durable was left to go on from.
    pub(crate) fn resumable(self, resumable: bool) -> Self {
        self.change(|inner| inner.resumable = resumable)
    }

    /// Whether the joiner's disk lost what was written, so that another try with other files may succeed.
    pub(crate) fn lost_data(&self) -> bool {
        self.0.lost_data
    }

    /// What a command that fails with this exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.0.kind.exit_code()
    }
}

impl From<TransferError> for Error {
    fn from(error: TransferError) -> Self {
        let retryable = error.is_retryable();
        Self(Arc::new(Inner {
            kind: error.reason.into(),
            side: Some(error.side),
            phase: Some(error.phase),
            item: error.item,
            offset: error.offset,
            message: error.message.into(),
            hint: Cow::Borrowed(error.hint),
            retryable,
            resumable: false,
            lost_data: matches!(error.reason, Reason::LostData | Reason::Rotten),
            retry_after: error.retry_after,
            cause: error.cause,
        }))
    }
}

/// A source that failed before there was a session.
impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        TransferError::source(error, Phase::Connect).into()
    }
}

/// A destination that failed before there was a session.
impl From<SinkError> for Error {
    fn from(error: SinkError) -> Self {
        TransferError::sink(error, Phase::Connect).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match (self.0.side, self.0.phase) {
            (Some(side), Some(phase)) => write!(f, " ({}; {side}, {phase})", self.0.kind),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("side", &self.0.side)
            .field("phase", &self.0.phase)
            .field("item", &self.0.item)
            .field("offset", &self.0.offset)
            .field("message", &self.0.message)
            .field("cause", &self.0.cause)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_ref().map(|cause| &**cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_on_the_wire_has_a_kind() {
        for &reason in Reason::ALL {
            let kind = ErrorKind::from(reason);
            let expected = match reason {
                Reason::Internal => "other",
                // Who has gone can't be reached any more.
                Reason::Gone => "unreachable",
                // What is lost is told apart by who would move it again, and by nobody else.
                Reason::LostData => "destination",
                Reason::Rotten => "integrity",
                _ => reason.name(),
            };
            assert_eq!(kind.name(), expected);
            assert_ne!(kind.exit_code(), 0);
        }
    }

    #[test]
    fn an_error_of_a_session_keeps_what_it_knows() {
        let mut error = TransferError::new(Reason::NoSpace, Side::Joiner, Phase::Stream, "no space left");
        error.offset = Some(7);
        error.cause = Some("the disk is full".into());
        let error = Error::from(error);
        assert_eq!((error.kind(), error.exit_code(), error.offset()), (ErrorKind::NoSpace, 22, Some(7)));
        assert_eq!(error.to_string(), "no space left (no-space; joiner, stream)");
        assert_eq!(error.source().unwrap().to_string(), "the disk is full");
        assert!(error.hint().unwrap().contains("free some space"));
    }
}
