//! The log since what was prefetched, on its way into the hidden copy: every record once, in order, none left out.

use super::{Failure, Input, Joiner, JoinerCommand, State};
use crate::time::Instant;
use crate::transfer::LogPoint;
use crate::transfer::live::Take;
use crate::transfer::wire::{Frame, Payload};

use super::Destination;

impl<const MEMBERS: usize> Joiner<MEMBERS> {
    /// Records are announced.
    pub(super) fn records(&mut self, from: LogPoint, to: LogPoint, payload: Payload, now: Instant) {
        let after = self.received.records;
        if from.records > after || self.received != self.announced {
            return self.again(Failure::LogGap { after, next: from.records + 1 }, now);
        }
        self.announced = self.announced.max(to);
        (self.payload, self.progress) = (Some(payload), now);
    }

    /// The payload behind the last frame has come, with this CRC-32C. `true`: its records follow, one by one.
    /// `false`: it is not what was announced, and the epoch is over.
    pub fn handle_payload(&mut self, payload: Payload, now: Instant) -> bool {
        if self.payload.take() == Some(payload) {
            return true;
        }
        if self.state == State::Applying {
            self.again(Failure::Checksum, now);
        }
        false
    }

    /// A record of the payload that has come, by its number: the first one of the provider's process is 1.
    pub fn handle_record(&mut self, number: u64, now: Instant) -> Take {
        if self.state != State::Applying {
            return Take::Stop;
        }
        let after = self.received.records;
        if number <= after {
            return Take::Skip;
        }
        if number > after + 1 || number > self.announced.records {
            self.again(Failure::LogGap { after, next: number }, now);
            return Take::Stop;
        }
        self.received.records = number;
        if number == self.announced.records {
            self.received = self.announced;
        }
        Take::Apply
    }

    /// All before this place is durable in the hidden copy.
    pub fn handle_applied(&mut self, to: LogPoint, now: Instant) {
        let Some(have) = self.have.as_mut().filter(|_| self.state == State::Applying) else { return };
        if to > self.received || to < have.point {
            return;
        }
        have.point = to;
        self.progress = now;
        if let Some(provider) = self.provider {
            self.send(Destination::Member(provider), Frame::Applied { to });
        }
        self.all_applied();
    }

    /// The log ends here.
    pub(super) fn last(&mut self, end: LogPoint, now: Instant) {
        if self.announced.records < end.records {
            let (after, next) = (self.announced.records, end.records + 1);
            return self.again(Failure::LogGap { after, next }, now);
        }
        (self.end, self.progress) = (Some(end), now);
        self.all_applied();
    }

    fn all_applied(&mut self) {
        let applied = self.have.map(|have| have.point.records);
        if self.end.is_some_and(|end| applied == Some(end.records)) && self.advance(Input::Applied) {
            self.command(JoinerCommand::Commit);
        }
    }
}
