//! Why something can't be done, grouped by who is at fault.

use std::fmt;
use std::io;

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;

use crate::bytes::Malformed;
use crate::record::TransactionId;

/// Why a member, or one of its parts, can't go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The storage engine failed.
    Engine(redb::Error),
    /// The system failed.
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        error: io::Error,
    },
    /// What is in the data directory, or came from a peer, is not what was written.
    Malformed(Malformed),
    /// Records do not follow on what was applied.
    Gap {
        /// The last one that was applied.
        applied: SequenceNumber,
        /// The one that came.
        came: SequenceNumber,
    },
    /// A record ends a transaction that is not prepared here: this copy is not what it should be.
    NotPrepared(TransactionId),
    /// The log no longer reaches back to what is needed.
    LogTooShort {
        /// The first record that is needed.
        needed: SequenceNumber,
        /// The first record that is kept.
        first: SequenceNumber,
    },
    /// The data belongs to another primary.
    OtherOrder {
        /// Whose records are here.
        here: MemberId,
        /// Whose came.
        there: MemberId,
    },
    /// There is no state here yet: the replica joins.
    NoState,
    /// A live transfer failed; the old state stands.
    Transfer(longhaul::Error),
    /// The peer does not speak this protocol, or broke it.
    Peer(&'static str),
    /// What was asked for can't be.
    Usage(String),
}

impl Error {
    /// The system's error, with what was tried.
    pub fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |error| Self::Io { action, error }
    }

    /// What to do about it, if something can be advised.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::LogTooShort { .. } => Some("the replica must join anew"),
            Self::OtherOrder { .. } => {
                Some("start it with another --data directory, or follow the primary that it belongs to")
            }
            Self::NotPrepared(_) | Self::Gap { .. } => {
                Some("move the --data directory away and let the replica join anew")
            }
            Self::Engine(redb::Error::DatabaseAlreadyOpen) => {
                Some("another process has the --data directory")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => write!(f, "the storage engine failed: {error}"),
            Self::Io { action, error } => write!(f, "{action} failed: {error}"),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Gap { applied, came } => write!(f, "record {came} came where {applied} was the last"),
            Self::NotPrepared(transaction) => {
                write!(f, "transaction {transaction} is ended, and was never prepared here")
            }
            Self::LogTooShort { needed, first } => {
                write!(f, "record {needed} is needed, and the log begins at {first}")
            }
            Self::OtherOrder { here, there } => {
                write!(f, "the data is of primary {here}, and this is primary {there}")
            }
            Self::NoState => {
                f.write_str("there is no state here yet: the replica is joining, try again later")
            }
            Self::Transfer(error) => error.fmt(f),
            Self::Peer(what) => write!(f, "the peer broke the protocol: {what}"),
            Self::Usage(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Engine(error) => Some(error),
            Self::Io { error, .. } => Some(error),
            Self::Malformed(malformed) => Some(malformed),
            Self::Transfer(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<longhaul::Error> for Error {
    fn from(error: longhaul::Error) -> Self {
        Self::Transfer(error)
    }
}

macro_rules! engine_errors {
    ($($error:ident)*) => {
        $(impl From<redb::$error> for Error {
            fn from(error: redb::$error) -> Self {
                Self::Engine(error.into())
            }
        })*
    };
}

engine_errors!(StorageError TableError DatabaseError TransactionError CommitError SetDurabilityError);
