//! Prepares that were answered yes and not carried out: each must be found in what the provider sends.
//!
//! A bulk may take hours, and only behind it comes the log in which they are found. So there may be any number of
//! them, and room for few. What waits for an outcome needs its place: there are never more than transactions that are
//! open at the same time. One whose outcome has gone by is kept as long as nobody else needs the place. That the log
//! has every record of a sender up to the digest, its numbers say, too.

use heapless::index_map::FnvIndexMap;

use crate::digest::{Digest, SequenceNumber};
use crate::id::MemberId;
use crate::message::{Message, Transaction};

/// The message that asked for it.
#[derive(Clone, Copy, Debug)]
struct Promise {
    sender: MemberId,
    sequence: SequenceNumber,
    /// Its outcome has gone by as a message.
    ended: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Promises<const PROMISES: usize> {
    given: FnvIndexMap<Transaction, Promise, PROMISES>,
}

impl<const PROMISES: usize> Promises<PROMISES> {
    pub(super) const fn new() -> Self {
        Self { given: FnvIndexMap::new() }
    }

    /// Notes one; `false` if there is no room, and so it may not be given yet.
    pub(super) fn give(&mut self, transaction: Transaction, message: &Message) -> bool {
        if self.given.contains_key(&transaction) {
            return true;
        }
        if self.given.is_full() {
            let ended =
                self.given.iter().find_map(|(&transaction, given)| given.ended.then_some(transaction));
            ended.and_then(|ended| self.given.remove(&ended));
        }
        let Message { sender, sequence, .. } = *message;
        self.given.insert(transaction, Promise { sender, sequence, ended: false }).is_ok()
    }

    /// Its outcome has gone by; `true` if that makes room.
    pub(super) fn end(&mut self, transaction: Transaction) -> bool {
        self.given.get_mut(&transaction).is_some_and(|given| !core::mem::replace(&mut given.ended, true))
    }

    /// The same for all of a coordinator that has left.
    pub(super) fn end_all_of(&mut self, coordinator: MemberId) -> bool {
        let of_it = self.given.iter_mut().filter(|(transaction, _)| transaction.member == coordinator);
        of_it.fold(false, |_, (_, given)| {
            given.ended = true;
            true
        })
    }

    /// It was found; `true` if it was looked for.
    pub(super) fn keep(&mut self, transaction: Transaction) -> bool {
        self.given.remove(&transaction).is_some()
    }

    /// Its coordinator has left: the state knows what became of its transactions.
    pub(super) fn keep_all_of(&mut self, coordinator: MemberId) -> bool {
        let before = self.given.len();
        self.given.retain(|transaction, _| transaction.member != coordinator);
        self.given.len() < before
    }

    /// A capture contains what this digest says: what became of these prepares may be in it, unseen.
    pub(super) fn forget<const MEMBERS: usize>(&mut self, captured: &Digest<MEMBERS>) {
        self.given.retain(|_, given| !captured.contains(given.sender, given.sequence));
    }

    /// One that the provider has delivered, and that was not found.
    pub(super) fn broken<const MEMBERS: usize>(&self, digest: &Digest<MEMBERS>) -> Option<Transaction> {
        let delivered = |given: &Promise| digest.contains(given.sender, given.sequence);
        self.given.iter().find_map(|(&transaction, given)| delivered(given).then_some(transaction))
    }
}
