//! The messages that engines are given, and what each of them must lead to.

use longhaul_core::digest::SequenceNumber;
use longhaul_core::message::{Effect, Transaction};

use super::draw::Draw;
use super::subject::{Kind, Seen, Step, Subject};

/// One order of messages. An engine to which nothing else ever happens has said what the state is behind each.
pub(super) struct History<O> {
    pub(super) steps: Vec<Step<O>>,
    /// What is seen behind so many messages.
    pub(super) seen: Vec<Seen>,
    /// Transactions that are prepared and not ended behind so many.
    pub(super) open: Vec<Vec<Transaction>>,
    pub(super) has_structure: bool,
}

impl<O> History<O> {
    /// So many messages; of those that are no end of a transaction one in `structure` changes the structure, none if it is 0.
    pub(super) fn draw<S: Subject<Operation = O>>(
        subject: &S,
        len: usize,
        structure: u64,
        draw: &mut Draw,
    ) -> Result<Self, String> {
        let mut history =
            Self { steps: Vec::new(), seen: Vec::new(), open: vec![Vec::new()], has_structure: false };
        for number in 1..=len as u64 {
            let mut open = history.open.last().cloned().unwrap_or_default();
            let sequence = SequenceNumber(number);
            let (effect, operation) = if !open.is_empty() && draw.one_in(3) {
                let ended = open.remove(draw.below(open.len() as u64) as usize);
                let effect = if draw.one_in(3) { Effect::Rollback(ended) } else { Effect::Commit(ended) };
                (effect, None)
            } else {
                let kind = match (structure > 0 && draw.one_in(structure), draw.one_in(3)) {
                    (true, _) => Kind::Structure,
                    (false, true) => Kind::Prepare,
                    (false, false) => Kind::Write,
                };
                let drawn = subject.draw(kind, draw).map(|operation| (kind, operation));
                let (kind, operation) = drawn
                    .or_else(|| subject.draw(Kind::Write, draw).map(|operation| (Kind::Write, operation)))
                    .ok_or("Subject::draw draws no write")?;
                history.has_structure |= kind == Kind::Structure;
                let effect = if kind == Kind::Prepare {
                    let transaction = Transaction { member: subject.sender(), number };
                    open.push(transaction);
                    Effect::Prepare(transaction)
                } else {
                    Effect::Write
                };
                (effect, Some(operation))
            };
            history.steps.push(Step { sequence, effect, operation });
            history.open.push(open);
        }
        Ok(history)
    }

    pub(super) const fn len(&self) -> u64 {
        self.steps.len() as u64
    }

    /// The messages behind `from`, up to and with `to`.
    pub(super) fn between(&self, from: u64, to: u64) -> &[Step<O>] {
        &self.steps[from as usize..to as usize]
    }

    /// What is seen behind so many messages.
    pub(super) fn seen(&self, delivered: u64) -> &Seen {
        &self.seen[delivered as usize]
    }

    pub(super) fn open(&self, delivered: u64) -> &[Transaction] {
        &self.open[delivered as usize]
    }
}
