//! The model application: what a member replicates, and what it notes with every effect.

use std::collections::{BTreeMap, VecDeque};

use longhaul_core::digest::{Digest, Entry, SequenceNumber};
use longhaul_core::id::{MemberId, SnapshotId};
use longhaul_core::message::{Effect, Transaction};
use longhaul_core::transfer::LogPoint;
use longhaul_core::transfer::live::Record;

use super::channel::Content;
use crate::sim::mix;

/// Incarnations of one case, at most.
pub(super) const MEMBERS: usize = 32;
pub(super) type Delivered = Digest<MEMBERS>;

/// What counts as the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// What was written last, per writer and key; under total order writers share their keys.
    map: BTreeMap<(MemberId, u8), u64>,
    /// Where each record must be applied once: how many, and in which order, per writer.
    applied: BTreeMap<MemberId, (u64, u64)>,
    /// Under total order: the order of all.
    order: u64,
}

/// How the application is declared, and how messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) once: bool,
    pub(super) total: bool,
}

impl State {
    fn write(&mut self, rules: Rules, writer: MemberId, key: u8, value: u64) {
        let owner = if rules.total { MemberId::default() } else { writer };
        self.map.insert((owner, key), value);
        if rules.once {
            let (count, order) = self.applied.entry(writer).or_default();
            (*count, *order) = (*count + 1, mix(order.rotate_left(7) ^ value));
            if rules.total {
                self.order = mix(self.order.rotate_left(7) ^ value);
            }
        }
    }

    /// What a member's engine would find as its root.
    pub(super) fn root(&self) -> [u8; 32] {
        let writes = self.map.iter().map(|((member, key), value)| {
            mix(u64::from(member.0[0])
                ^ u64::from(member.0[1]).rotate_left(8)
                ^ u64::from(*key).rotate_left(20)
                ^ value)
        });
        let sum = writes.fold(self.order, |sum, write| sum.wrapping_add(mix(write)));
        std::array::from_fn(|n| (sum >> (n % 8 * 8)) as u8)
    }

    /// A part of a scan: keys of this remainder.
    pub(super) fn copy_piece(&mut self, from: &Self, piece: u64, pieces: u64) {
        let of_piece = |key: u8| u64::from(key) % pieces == piece;
        self.map.extend(
            from.map.iter().filter(|((_, key), _)| of_piece(*key)).map(|(key, value)| (*key, *value)),
        );
    }
}

/// A record of the log: its number, and all that applying it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) record: Record,
    /// Where the log is behind it.
    pub(super) end: LogPoint,
    write: Option<(MemberId, u8, u64)>,
}

impl Logged {
    /// For a payload's checksum.
    pub(super) fn hash(&self) -> u64 {
        let (_, key, value) = self.write.unwrap_or_default();
        mix(self.record.number
            ^ self.record.sequence.0.rotate_left(20)
            ^ value.rotate_left(40)
            ^ u64::from(key))
    }
}

pub(super) type Prepared = BTreeMap<Transaction, (u8, u64)>;

/// The state, what is prepared, and which messages both contain: written in one step each.
#[derive(Clone, Debug)]
pub(super) struct Store {
    rules: Rules,
    pub(super) state: State,
    pub(super) prepared: Prepared,
    pub(super) digest: Delivered,
    pub(super) end: LogPoint,
    pub(super) log: Option<VecDeque<Logged>>,
    /// Where the log of all requests ends, and what is kept of it.
    requests_end: LogPoint,
    pub(super) requests: Option<VecDeque<Requested>>,
}

/// A request in the log: a message that changes something.
#[derive(Clone, Debug)]
pub(super) struct Requested {
    /// Where the log is behind it.
    pub(super) end: LogPoint,
    pub(super) sender: MemberId,
    pub(super) sequence: u64,
    pub(super) content: Content,
}

impl Requested {
    /// For a payload's checksum.
    pub(super) fn hash(&self) -> u64 {
        mix(self.end.records ^ self.sequence.rotate_left(20) ^ self.content.value.rotate_left(40))
    }
}

impl Store {
    pub(super) fn new(rules: Rules, state: State, prepared: Prepared, digest: Delivered) -> Self {
        Self {
            rules,
            state,
            prepared,
            digest,
            end: LogPoint::default(),
            log: None,
            requests_end: LogPoint::default(),
            requests: None,
        }
    }

    /// Bytes of the record that a message would make.
    pub(super) fn log_bytes(content: &Content) -> u32 {
        80 + 40 * u32::from(content.key % 4)
    }

    /// Carries out a message that was delivered.
    ///
    /// # Panics
    /// If it commits what was never prepared here.
    pub(super) fn deliver(&mut self, sender: MemberId, sequence: u64, content: &Content) {
        let sequence = SequenceNumber(sequence);
        let entry = Entry::new(sender, sequence, sequence).expect("equal numbers");
        self.digest.insert(entry).expect("room for all incarnations");
        let write = match content.effect {
            Effect::Write => Some((content.writer, content.key, content.value)),
            Effect::Prepare(transaction) => {
                self.prepared.insert(transaction, (content.key, content.value));
                None
            }
            Effect::Commit(transaction) => {
                let (key, value) = self
                    .prepared
                    .remove(&transaction)
                    .unwrap_or_else(|| panic!("{transaction:?} is committed, and was never prepared here"));
                Some((transaction.member, key, value))
            }
            Effect::Rollback(transaction) => {
                self.prepared.remove(&transaction);
                None
            }
            Effect::Leave(gone) => {
                self.prepared.retain(|transaction, _| transaction.member != gone);
                None
            }
            Effect::Nothing => None,
        };
        self.apply_write(write);
        if content.effect != Effect::Nothing {
            self.requests_end = self.requests_end.behind(Self::log_bytes(content).into());
            let (end, sequence, content) = (self.requests_end, sequence.0, content.clone());
            if let Some(requests) = &mut self.requests {
                requests.push_back(Requested { end, sender, sequence, content });
            }
        }
        if content.effect.completes() {
            self.end = self.end.behind(Self::log_bytes(content).into());
            let record = Record { number: self.end.records, sender, sequence, effect: content.effect };
            if let Some(log) = &mut self.log {
                log.push_back(Logged { record, end: self.end, write });
            }
        }
    }

    /// Applies a record of another member's log.
    pub(super) fn apply(&mut self, logged: &Logged) {
        self.apply_write(logged.write);
    }

    fn apply_write(&mut self, write: Option<(MemberId, u8, u64)>) {
        if let Some((writer, key, value)) = write {
            self.state.write(self.rules, writer, key, value);
        }
    }
}

/// A capture at its provider.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) id: SnapshotId,
    pub(super) state: State,
    /// What it contains, as the engine knows it.
    pub(super) digest: Delivered,
    pub(super) is_whole: bool,
}
