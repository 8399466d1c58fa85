//! The promises, each with its name; and what was found of them.

use std::fmt;

/// A promise of the traits of [`crate::live`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Check {
    /// See [`Check::promise`].
    DeliveryWithNumber,
    /// See [`Check::promise`].
    CaptureExact,
    /// See [`Check::promise`].
    CaptureUnderWrites,
    /// See [`Check::promise`].
    CaptureUnderStructure,
    /// See [`Check::promise`].
    CapturesApart,
    /// See [`Check::promise`].
    SourceWhole,
    /// See [`Check::promise`].
    LogWhole,
    /// See [`Check::promise`].
    LogTrimmed,
    /// See [`Check::promise`].
    LogBegunAnew,
    /// See [`Check::promise`].
    LogSuffices,
    /// See [`Check::promise`].
    ApplyIdempotent,
    /// See [`Check::promise`].
    PendingFromStart,
    /// See [`Check::promise`].
    PreparesForgotten,
    /// See [`Check::promise`].
    StageEmpty,
    /// See [`Check::promise`].
    StageHidden,
    /// See [`Check::promise`].
    DiscardLeavesOld,
    /// See [`Check::promise`].
    StageLostAtReopening,
    /// See [`Check::promise`].
    CommitWhole,
    /// See [`Check::promise`].
    CommitInOneStep,
    /// See [`Check::promise`].
    CommitDurable,
    /// See [`Check::promise`].
    LatchHolds,
}

impl Check {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 21] = [
        Self::DeliveryWithNumber,
        Self::CaptureExact,
        Self::CaptureUnderWrites,
        Self::CaptureUnderStructure,
        Self::CapturesApart,
        Self::SourceWhole,
        Self::LogWhole,
        Self::LogTrimmed,
        Self::LogBegunAnew,
        Self::LogSuffices,
        Self::ApplyIdempotent,
        Self::PendingFromStart,
        Self::PreparesForgotten,
        Self::StageEmpty,
        Self::StageHidden,
        Self::DiscardLeavesOld,
        Self::StageLostAtReopening,
        Self::CommitWhole,
        Self::CommitInOneStep,
        Self::CommitDurable,
        Self::LatchHolds,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.words().0
    }

    /// What is promised.
    #[must_use]
    pub const fn promise(self) -> &'static str {
        self.words().1
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::DeliveryWithNumber => {
                ("delivery-with-number", "a message's effect and its number are noted in one step, and once")
            }
            Self::CaptureExact => (
                "capture-exact",
                "a capture contains what its digest says, of which a fuzzy one's log has the rest",
            ),
            Self::CaptureUnderWrites => {
                ("capture-under-writes", "a capture stays as it is, whatever is written while it is read")
            }
            Self::CaptureUnderStructure => (
                "capture-under-structure",
                "a capture stays as it is, whatever tables, indexes or files are made, renamed or dropped",
            ),
            Self::CapturesApart => {
                ("captures-apart", "captures of several places stand beside each other, each as it was")
            }
            Self::SourceWhole => {
                ("source-whole", "a source yields what it surveyed, the same each time and in each way")
            }
            Self::LogWhole => (
                "log-whole",
                "from its start on a log has one record for each completion, in the order of delivery",
            ),
            Self::LogTrimmed => ("log-trimmed", "a log that is trimmed keeps all records behind that point"),
            Self::LogBegunAnew => {
                ("log-begun-anew", "a log that was stopped begins anew, behind the point that it is told")
            }
            Self::LogSuffices => {
                ("log-suffices", "a capture, the log behind it and the pending prepares are the state")
            }
            Self::ApplyIdempotent => {
                ("apply-idempotent", "records that are applied again, in order, lead to the same state")
            }
            Self::PendingFromStart => (
                "pending-from-start",
                "every transaction that is prepared and not ended is told with its changes, from the process's start on",
            ),
            Self::PreparesForgotten => {
                ("prepares-forgotten", "prepares that are forgotten are gone; what was applied stays")
            }
            Self::StageEmpty => {
                ("stage-empty", "a hidden copy begins empty, whatever became of the one before")
            }
            Self::StageHidden => ("stage-hidden", "nobody sees what is staged until it is committed"),
            Self::DiscardLeavesOld => {
                ("discard-leaves-old", "what is discarded leaves the old state and its digest, which go on")
            }
            Self::StageLostAtReopening => (
                "stage-lost-at-reopening",
                "killed before the commit, it has its old state and its old digest",
            ),
            Self::CommitWhole => (
                "commit-whole",
                "the commit brings state, digest and pending prepares, and nothing of the old ones",
            ),
            Self::CommitInOneStep => (
                "commit-in-one-step",
                "whoever looks sees the old state and digest or the new ones, never one of each",
            ),
            Self::CommitDurable => {
                ("commit-durable", "killed behind the commit, it has the new state and digest")
            }
            Self::LatchHolds => (
                "latch-holds",
                "who is held changes nothing until the latch opens, and all of it passes then",
            ),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.promise())
    }
}

/// What was found of a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was kept.
    Kept,
    /// It was broken: how.
    Broken(String),
    /// The engine promises no such thing: why.
    NotAsked(&'static str),
}

/// What was found of an engine.
#[derive(Clone, Debug)]
#[must_use = "a promise may be broken"]
pub struct Report {
    /// What repeats it.
    pub seed: u64,
    /// Of each promise that was looked at.
    pub verdicts: Vec<(Check, Verdict)>,
}

impl Report {
    /// The promises that were broken, and how.
    pub fn broken(&self) -> impl Iterator<Item = (Check, &str)> {
        self.verdicts.iter().filter_map(|(check, verdict)| match verdict {
            Verdict::Broken(how) => Some((*check, how.as_str())),
            Verdict::Kept | Verdict::NotAsked(_) => None,
        })
    }

    /// # Panics
    /// If a promise was broken: with all that were, and the seed.
    #[track_caller]
    pub fn expect_kept(&self) {
        assert!(self.broken().next().is_none(), "\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (check, verdict) in &self.verdicts {
            match verdict {
                Verdict::Kept => writeln!(f, "kept      {check}")?,
                Verdict::NotAsked(why) => writeln!(f, "not asked {check} ({why})")?,
                Verdict::Broken(how) => writeln!(f, "BROKEN    {check}\n          {how}")?,
            }
        }
        write!(f, "LONGHAUL_SEED={} repeats it", self.seed)
    }
}
