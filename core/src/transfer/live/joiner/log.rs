//! The log on its way into the hidden copy: every record once, in order, none left out.

use super::super::life::State;
use super::{Failure, Joiner};
use crate::digest::{Entry, SequenceNumber};
use crate::id::MemberId;
use crate::message::{Effect, Transaction};
use crate::time::Instant;
use crate::transfer::LogPoint;
use crate::transfer::wire::Payload;

/// A record of the log, as far as the core sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number: the first one of the provider's process is 1.
    pub number: u64,
    /// Whose message completed it.
    pub sender: MemberId,
    /// That message's number.
    pub sequence: SequenceNumber,
    /// What it completed.
    pub effect: Effect,
}

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Take {
    /// Apply it to the hidden copy.
    Apply,
    /// It is there already.
    Skip,
    /// The epoch is over: leave this and all that follows.
    Stop,
}

impl<const MEMBERS: usize, const PROMISES: usize> Joiner<MEMBERS, PROMISES> {
    /// The payload behind the last frame has come, with this CRC-32C. `true`: its records or prepares follow, one by
    /// one. `false`: it is not what was announced, and the epoch is over.
    pub fn handle_payload(&mut self, payload: Payload, now: Instant) -> bool {
        if self.payload.take() == Some(payload) {
            return true;
        }
        self.again(Failure::Checksum, true, now);
        false
    }

    /// A record of the payload that has come.
    pub fn handle_record(&mut self, record: &Record, now: Instant) -> Take {
        if !matches!(self.state, State::Following | State::Closing) {
            return Take::Stop;
        }
        if record.number <= self.received.records {
            return Take::Skip;
        }
        let after = self.received.records;
        if record.number > after + 1 {
            return self.broken(Failure::LogGap { after, next: record.number }, now);
        }
        if record.number > self.announced.records {
            return self.broken(Failure::Protocol, now);
        }
        // After a lost connection some come again that were checked, and are not yet durable.
        if record.number > self.checked {
            let last = self.seen.entry(record.sender).map_or(SequenceNumber::NONE, |entry| entry.delivered());
            let entry = Entry::new(record.sender, record.sequence, record.sequence);
            if record.sequence <= last || !record.effect.completes() {
                return self.broken(Failure::LogOrder { sender: record.sender }, now);
            }
            if entry.and_then(|entry| self.seen.insert(entry)).is_err() {
                return self.broken(Failure::Full, now);
            }
            self.checked = record.number;
        }
        self.received.records = record.number;
        if record.number == self.announced.records {
            self.received = self.announced;
        }
        match record.effect {
            Effect::Commit(transaction) | Effect::Rollback(transaction) => self.found(transaction),
            Effect::Leave(gone) => {
                let kept = self.promises.keep_all_of(gone);
                self.release(kept);
            }
            Effect::Write | Effect::Prepare(_) | Effect::Nothing => {}
        }
        Take::Apply
    }

    /// All before this place is durable in the hidden copy.
    pub fn handle_applied(&mut self, to: LogPoint, now: Instant) {
        let Some(have) = &mut self.have else { return };
        if to > self.received || to < have.point {
            return;
        }
        have.point = to;
        (self.progress, self.outbox.applied, self.tries) = (now, true, 0);
        self.settle(now);
    }

    /// A pending prepare of the payload that has come is durable in the hidden copy.
    pub fn handle_prepare(&mut self, transaction: Transaction, now: Instant) -> Take {
        if !matches!(self.state, State::Following | State::Closing) {
            return Take::Stop;
        }
        self.prepares += 1;
        self.progress = now;
        self.found(transaction);
        self.settle(now);
        Take::Apply
    }

    fn found(&mut self, transaction: Transaction) {
        let kept = self.promises.keep(transaction);
        self.release(kept);
    }

    /// There is room for another promise: what was held for it is offered again.
    pub(super) fn release(&mut self, room: bool) {
        if room && core::mem::take(&mut self.withholds) {
            self.command(super::JoinerCommand::Reoffer);
        }
    }

    fn broken(&mut self, why: Failure, now: Instant) -> Take {
        self.again(why, true, now);
        Take::Stop
    }
}
