//! What messages do to transactions.

use crate::id::MemberId;

/// A transaction: who coordinates it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transaction {
    /// Its coordinator, which alone sends its messages.
    pub member: MemberId,
    /// Its number among that member's transactions.
    pub number: u64,
}

/// What a message does. What *completes* something is logged while somebody follows the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes the state at once: a transaction in one message.
    Write,
    /// First phase: its changes are kept aside, and its coordinator is answered.
    Prepare(Transaction),
    /// Second phase: what was kept aside becomes part of the state.
    Commit(Transaction),
    /// Second phase: what was kept aside is forgotten.
    Rollback(Transaction),
    /// This member is gone, and sends nothing more: what it has prepared and not decided is rolled back.
    Leave(MemberId),
    /// Changes nothing of the state.
    Nothing,
}

impl Effect {
    /// Whether something is complete with it, so that it belongs in a log of completions.
    #[must_use]
    pub const fn completes(self) -> bool {
        matches!(self, Self::Write | Self::Commit(_) | Self::Rollback(_) | Self::Leave(_))
    }
}
