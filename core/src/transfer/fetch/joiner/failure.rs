//! Why an epoch ended, or the transfer.

use core::fmt;

use crate::transfer::wire::Refusal;

/// Why an epoch ended without a state. The last one stays with a transfer that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The connection to the provider was lost, or it is gone.
    Lost,
    /// No progress within the stall timeout.
    Stalled,
    /// The provider will not, or not any more.
    Refused(Refusal),
    /// A frame out of turn, or a digest that is not of the place that was asked for.
    Protocol,
    /// A payload is not what was announced.
    Checksum,
    /// Records of the log are missing: those after this one, up to where the next ones begin.
    LogGap {
        /// The last record that came.
        after: u64,
        /// What came next.
        next: u64,
    },
    /// What was staged has another root than most copies.
    Root,
    /// No root is that of more than half: who said what stands in [`super::Joiner::answers`].
    NoMajority,
    /// More messages came meanwhile than may be queued.
    QueueFull,
    /// A member has begun to write again: the word that stops it came too late.
    Resumed,
    /// More incarnations than the machine has room for.
    Full,
    /// The application could not stage or commit.
    Application,
    /// The driver gave up.
    Cancelled,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("the connection to the provider was lost"),
            Self::Stalled => f.write_str("no progress for too long"),
            Self::Refused(why) => why.fmt(f),
            Self::Protocol => f.write_str("the provider broke the protocol"),
            Self::Checksum => f.write_str("records did not arrive as they were sent"),
            Self::LogGap { after, next } => {
                write!(f, "the log has a gap: after record {after} came {next}")
            }
            Self::Root => f.write_str("what came is not what most members have"),
            Self::NoMajority => f.write_str("no state is that of more than half of the members"),
            Self::QueueFull => f.write_str("more messages came during the transfer than may be queued"),
            Self::Resumed => f.write_str("a member writes again before the transfer is over"),
            Self::Full => f.write_str("the group has more members than there is room for"),
            Self::Application => f.write_str("the state could not be staged or committed"),
            Self::Cancelled => f.write_str("the transfer was cancelled"),
        }
    }
}

impl core::error::Error for Failure {}
