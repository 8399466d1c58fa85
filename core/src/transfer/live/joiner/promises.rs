//! Prepares that were answered yes and not carried out: each must be found in what the provider sends.

use heapless::Vec;

use crate::digest::{Digest, SequenceNumber};
use crate::id::MemberId;
use crate::message::{Message, Transaction};

/// What was answered, and the message that asked for it.
#[derive(Clone, Copy, Debug)]
struct Promise {
    transaction: Transaction,
    sender: MemberId,
    sequence: SequenceNumber,
}

#[derive(Clone, Debug)]
pub(super) struct Promises<const PROMISES: usize> {
    given: Vec<Promise, PROMISES>,
}

impl<const PROMISES: usize> Promises<PROMISES> {
    pub(super) const fn new() -> Self {
        Self { given: Vec::new() }
    }

    /// Notes one; `false` if there is no room, and so it may not be given yet.
    pub(super) fn give(&mut self, transaction: Transaction, message: &Message) -> bool {
        let Message { sender, sequence, .. } = *message;
        self.given.iter().any(|given| given.transaction == transaction)
            || self.given.push(Promise { transaction, sender, sequence }).is_ok()
    }

    /// It was found; `true` if it was looked for.
    pub(super) fn keep(&mut self, transaction: Transaction) -> bool {
        let before = self.given.len();
        self.given.retain(|given| given.transaction != transaction);
        self.given.len() < before
    }

    /// Its coordinator has left: the state knows what became of its transactions.
    pub(super) fn keep_all_of(&mut self, coordinator: MemberId) -> bool {
        let before = self.given.len();
        self.given.retain(|given| given.transaction.member != coordinator);
        self.given.len() < before
    }

    /// A capture contains what this digest says: what became of these prepares may be in it, unseen.
    pub(super) fn forget<const MEMBERS: usize>(&mut self, captured: &Digest<MEMBERS>) {
        self.given.retain(|given| !captured.contains(given.sender, given.sequence));
    }

    /// One that the provider has delivered, and that was not found.
    pub(super) fn broken<const MEMBERS: usize>(&self, digest: &Digest<MEMBERS>) -> Option<Transaction> {
        let delivered = |given: &&Promise| digest.contains(given.sender, given.sequence);
        self.given.iter().find(delivered).map(|given| given.transaction)
    }
}
