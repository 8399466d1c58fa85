//! Time: what is to come, in the order in which it comes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::member::Job;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// Bytes of a connection may reach its end `to`, 0 or 1.
    Deliver { connection: usize, to: usize },
    /// The sender of what went to that end hears that so many bytes have arrived.
    Acknowledge { connection: usize, to: usize, bytes: usize },
    /// The case's fault with this number sets in.
    Fault(usize),
    /// Faults stop.
    Calm,
    /// A process starts on this host.
    Start { host: usize },
    /// A process is killed, or its power goes, at a step of a landing.
    Die { host: usize, incarnation: u64, power: bool },
    /// A process of an older version gives its place to one of today's.
    Upgrade { host: usize },
    /// Whoever runs this member looks whether it must be run again.
    Operate { host: usize },
    /// A member's own work comes back; of a process that is gone it is nobody's any more.
    Work { host: usize, incarnation: u64, session: usize, job: Job },
}

/// What is to come; what is due at one time comes in the order in which it was put in.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    now: u64,
    next: u64,
    entries: BinaryHeap<Entry>,
}

#[derive(Debug)]
struct Entry {
    time: u64,
    number: u64,
    event: Event,
}

impl Agenda {
    /// Nanoseconds since the world began, by a clock that no member can see.
    pub(crate) const fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn after(&mut self, nanos: u64, event: Event) {
        self.at(self.now.saturating_add(nanos), event);
    }

    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.entries.push(Entry { time: time.max(self.now), number: self.next, event });
        self.next += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let Entry { time, event, .. } = self.entries.pop()?;
        self.now = time;
        Some(event)
    }
}

impl Ord for Entry {
    /// The earliest is the greatest: a heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.time, other.number).cmp(&(self.time, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}
