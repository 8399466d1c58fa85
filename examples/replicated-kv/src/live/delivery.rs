//! Records on their way into the state: each takes a place in the order of delivery, so that a capture or a latch
//! knows what came before it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longhaul::MemberId;
use longhaul::live::{Effect, Handle, Message, Request, Transaction, Verdict};
use longhaul::states::Turn;

use super::{Application, Transfers};
use crate::applied::Applied;
use crate::copy::Copies;
use crate::error::Error;
use crate::home::Home;
use crate::record::{Operation, Record, TransactionId, encode_changes};
use crate::stop::Stop;
use crate::store::{Keep, Pins, Store};

/// How long who is held waits until it looks again by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The pause before each batch while writers are slowed down.
const THROTTLE: Duration = Duration::from_millis(10);

/// Carries out records, in their order.
pub struct Delivery {
    /// Where the state is.
    pub home: Arc<Home>,
    /// Whom messages go through.
    pub transfers: Arc<Transfers>,
    /// Whom words go through, too.
    pub copies: Arc<Copies>,
    /// Whose log and latch it is.
    pub application: Arc<Application>,
    /// What others have asked to keep of the log.
    pub pins: Arc<Mutex<Pins>>,
    /// Bytes of the log that are kept.
    pub keep_bytes: u64,
    /// Hears how far it has come.
    pub applied: Applied,
    /// Ends it.
    pub stop: Stop,
    /// What is prepared in the copy of this number.
    pub prepared: Mutex<(u64, HashMap<TransactionId, Vec<u8>>)>,
}

/// What a record does, and what the log of completions holds of it.
pub(super) struct Completion {
    effect: Effect,
    bytes: Vec<u8>,
}

impl Delivery {
    /// What is about to be ordered is in flight from now on; waits for as long as it is held.
    #[must_use]
    pub fn admit(&self) -> Option<Request> {
        loop {
            // Held for long, it waits for longer: a place that was never given is no reason to stop.
            if let Ok(admitted) = self.transfers.admit() {
                return admitted;
            }
        }
    }

    /// Carries out `records`, which follow on each other; what is contained already is left out. Waits while
    /// they are held.
    ///
    /// # Errors
    /// If they do not follow on what is contained, or the disk fails.
    pub fn deliver(&self, records: Vec<Record>) -> Result<(), Error> {
        let mut waiting = VecDeque::from(records);
        while !waiting.is_empty() {
            if self.application.is_throttled.load(Ordering::Relaxed) {
                // Told to stop, it delivers what it has without a pause.
                let _ = self.stop.pause(THROTTLE);
            }
            let opened = self.application.gate.opened();
            if self.take_turn(&mut waiting)? {
                self.application.gate.wait(opened, LOOK_AGAIN);
            }
        }
        Ok(())
    }

    /// Carries out what may be, in one batch. Whether the rest is held.
    fn take_turn(&self, waiting: &mut VecDeque<Record>) -> Result<bool, Error> {
        let (number, store) = self.home.numbered()?;
        let order = store.order().ok_or(Error::NoState)?;
        let member = self.transfers.member()?;
        let mut turn = member.turn();
        // Behind the other, always: who begins to make copies does so while nothing is delivered.
        let copier = self.copies.member();
        let mut copiers_turn = copier.as_ref().map(|member| member.turn());
        let mut delivered: Vec<Record> = Vec::new();
        let mut completions = Vec::new();
        let mut is_held = false;
        while let Some(record) = waiting.pop_front() {
            if record.sequence <= store.applied() {
                continue;
            }
            let completion = self.completion(number, &store, order, &record)?;
            let message = Message {
                sender: order,
                sequence: record.sequence,
                len: completion.bytes.len() as u32,
                handle: Handle(record.sequence.0),
            };
            match turn.handle_message(&message, completion.effect, completion.bytes.len())? {
                Verdict::Deliver => {
                    if let Some(turn) = &mut copiers_turn {
                        copied(turn, &message, completion.effect, &record)?;
                    }
                    let is_word = matches!(record.operation, Operation::Word(_));
                    delivered.push(record);
                    completions.push(completion);
                    if is_word {
                        // What it has copied is copied at its place.
                        break;
                    }
                }
                // Contained, says a member that has just joined: once it has, it is offered again and seen to be.
                Verdict::Hold | Verdict::Drop => {
                    waiting.push_front(record);
                    is_held = true;
                    break;
                }
                Verdict::SendAgain { .. } => {
                    return Err(Error::Gap { applied: store.applied(), came: record.sequence });
                }
            }
        }
        if !delivered.is_empty() {
            self.carry_out(&store, order, &delivered, completions)?;
        }
        Ok(is_held)
    }

    pub(super) fn carry_out(
        &self,
        store: &Store,
        order: MemberId,
        records: &[Record],
        completions: Vec<Completion>,
    ) -> Result<(), Error> {
        let behind = self.pins.lock().unwrap_or_else(PoisonError::into_inner).behind(Instant::now());
        store.apply(records, Keep::bytes(self.keep_bytes, behind))?;
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        for (record, Completion { effect, bytes }) in records.iter().zip(completions) {
            self.application.log.append(order, record.sequence, effect, &bytes);
            if let Operation::Commit(transaction) | Operation::Rollback(transaction) = &record.operation {
                prepared.1.remove(transaction);
            }
        }
        self.applied.advance(store.applied());
        Ok(())
    }

    /// What a record does. A commit brings what was prepared along.
    pub(super) fn completion(
        &self,
        number: u64,
        store: &Store,
        order: MemberId,
        record: &Record,
    ) -> Result<Completion, Error> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if prepared.0 != number {
            *prepared = (number, HashMap::new());
            for (transaction, changes) in store.snapshot()?.pending()? {
                let mut bytes = Vec::new();
                encode_changes(&changes, &mut bytes);
                prepared.1.insert(transaction, bytes);
            }
        }
        let name = |transaction: TransactionId| Transaction { member: order, number: transaction.0.0 };
        Ok(match &record.operation {
            Operation::Write(changes) => {
                let mut bytes = Vec::new();
                encode_changes(changes, &mut bytes);
                Completion { effect: Effect::Write, bytes }
            }
            Operation::Prepare(changes) => {
                let mut bytes = Vec::new();
                encode_changes(changes, &mut bytes);
                let transaction = TransactionId(record.sequence);
                prepared.1.insert(transaction, bytes);
                Completion { effect: Effect::Prepare(name(transaction)), bytes: Vec::new() }
            }
            Operation::Commit(transaction) => {
                let bytes = prepared.1.get(transaction).cloned().ok_or(Error::NotPrepared(*transaction))?;
                Completion { effect: Effect::Commit(name(*transaction)), bytes }
            }
            Operation::Rollback(transaction) => {
                Completion { effect: Effect::Rollback(name(*transaction)), bytes: Vec::new() }
            }
            Operation::Word(_) => Completion { effect: Effect::Nothing, bytes: Vec::new() },
        })
    }
}

/// What is delivered is delivered at who makes copies, too.
fn copied(turn: &mut Turn<'_>, message: &Message, effect: Effect, record: &Record) -> Result<(), Error> {
    let verdict = match &record.operation {
        Operation::Word(word) => turn.handle_word(message, word)?,
        _ => turn.handle_message(message, effect, message.len as usize)?,
    };
    match verdict {
        // It has joined behind this place.
        Verdict::Deliver | Verdict::Drop => Ok(()),
        Verdict::Hold | Verdict::SendAgain { .. } => {
            Err(Error::Usage(format!("copies are not made where record {} is", message.sequence)))
        }
    }
}
