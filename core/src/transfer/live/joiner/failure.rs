//! Why an epoch ended, or the transfer.

use core::fmt;

use crate::id::MemberId;
use crate::message::Transaction;
use crate::transfer::wire::Refusal;

/// Why an epoch ended without a state, grouped by who is at fault. The last one stays with a transfer that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The connection was lost, or could not be had.
    Lost,
    /// No progress within the stall timeout.
    Stalled,
    /// The provider recorded Abort: its lease was over.
    Aborted,
    /// The provider will not, or not any more.
    Refused(Refusal),
    /// A frame out of turn, or a digest that is none.
    Protocol,
    /// A payload is not what was announced.
    Checksum,
    /// Records are missing: those after this one, up to where the next ones begin.
    LogGap {
        /// The last record that came.
        after: u64,
        /// What came next.
        next: u64,
    },
    /// A record of a message that its sender sent before one that was completed already; or a digest that is
    /// behind a record.
    LogOrder {
        /// Whose.
        sender: MemberId,
    },
    /// A transaction was answered yes, and is neither in the log nor among the pending ones.
    Unaccounted(Transaction),
    /// A source of messages would not keep them.
    PinRefused {
        /// Which.
        source: MemberId,
    },
    /// A source of messages has dropped some above the digest.
    PinLost {
        /// Which.
        source: MemberId,
    },
    /// More incarnations than the machine has room for.
    Full,
    /// The application could not stage or commit.
    Application,
    /// The driver chose another provider.
    Switched,
    /// The driver gave up.
    Cancelled,
}

impl Failure {
    /// Whether what is staged is good nevertheless.
    pub(super) const fn keeps(self) -> bool {
        matches!(
            self,
            Self::Lost
                | Self::Stalled
                | Self::Aborted
                | Self::Checksum
                | Self::PinLost { .. }
                | Self::PinRefused { .. }
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("the connection to the provider was lost"),
            Self::Stalled => f.write_str("no progress for too long"),
            Self::Aborted => f.write_str("the provider's lease was over before this side was ready"),
            Self::Refused(why) => why.fmt(f),
            Self::Protocol => f.write_str("the provider broke the protocol"),
            Self::Checksum => f.write_str("records did not arrive as they were sent"),
            Self::LogGap { after, next } => {
                write!(f, "the log has a gap: after record {after} came {next}")
            }
            Self::LogOrder { sender } => write!(f, "the log has messages of {sender} out of their order"),
            Self::Unaccounted(transaction) => write!(
                f,
                "transaction {} of {} was answered and is in neither log nor pending prepares",
                transaction.number, transaction.member
            ),
            Self::PinRefused { source } => write!(f, "member {source} would not keep its messages"),
            Self::PinLost { source } => write!(f, "member {source} has dropped messages that are needed"),
            Self::Full => f.write_str("the group has more members than there is room for"),
            Self::Application => f.write_str("the state could not be staged or committed"),
            Self::Switched => f.write_str("another provider was chosen"),
            Self::Cancelled => f.write_str("the transfer was cancelled"),
        }
    }
}

impl core::error::Error for Failure {}
