//! The thread that builds a joiner's hidden copies: bulks, then records of a log, then the commit.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use longhaul_core::digest::Entry;
use longhaul_core::id::{MemberId, SnapshotId, TransferId};
use longhaul_core::integrity::Integrity;
use longhaul_core::transfer::{LogPoint, Role};

use super::event::Event;
use super::fetch::Given;
use super::join::Joining;
use super::shared::{ProviderMachine, Shared};
use crate::error::Error;
use crate::fetch::Fetch;
use crate::live::batch::changes;
use crate::live::shared::guarded;
use crate::live::stage::is_of_sink;
use crate::live::{ApplicationError, LogRecord};
use crate::member::work::Task;
use crate::summary::Summary;

/// How often the bulk's progress is looked at: so often within a stall timeout, and this often at least.
const LOOKS: (u32, Duration) = (8, Duration::from_millis(250));

/// What is to be done, in this order.
pub(super) type Work = crate::member::work::Work<Item>;

pub(super) enum Item {
    /// Takes the bulk of a capture into an empty hidden copy.
    Stage { provider: MemberId, address: String, snapshot: SnapshotId, keep: bool, transfer: TransferId },
    /// Applies so many records of a payload, behind those that are skipped.
    Apply { bytes: Vec<u8>, skipped: usize, taken: usize, to: LogPoint },
    /// Drops the hidden copies.
    Discard,
    /// What was under way before is over.
    Nothing,
    /// Makes them the state.
    Commit,
}

impl Task for Item {
    fn is_payload(&self) -> bool {
        matches!(self, Self::Apply { .. })
    }
}

/// The stage thread of one transfer.
pub(super) struct Stager {
    pub(super) shared: Arc<Shared>,
    pub(super) work: Arc<Work>,
    pub(super) state_id: Vec<u8>,
    /// Who makes no progress for so long is given up.
    pub(super) patience: Duration,
    /// The number of the last record that the hidden copy contains.
    pub(super) applied: u64,
}

/// A capture on its way into a hidden copy.
struct Bulk {
    provider: MemberId,
    address: String,
    snapshot: SnapshotId,
    keep: bool,
    transfer: TransferId,
}

impl Stager {
    /// Until nothing more comes.
    pub(super) fn run(mut self) {
        while let Some((generation, item)) = self.work.next() {
            let done = match item {
                Item::Stage { provider, address, snapshot, keep, transfer } => {
                    self.stage(generation, &Bulk { provider, address, snapshot, keep, transfer })
                }
                Item::Apply { bytes, skipped, taken, to } => {
                    self.apply(generation, &bytes, skipped, taken, to)
                }
                Item::Discard => guarded(|| {
                    self.shared.application.discard();
                    Ok(())
                }),
                Item::Nothing => Ok(()),
                Item::Commit => self.commit(),
            };
            if let Err(error) = done {
                tracing::error!(%error, "the hidden copy failed");
                self.report(generation, |joining, _| {
                    joining.cause = Some(error);
                    joining.machine.handle_application_failed();
                });
            }
        }
    }

    /// Tells the machine, unless what was done is of no effect any more.
    fn report(&self, generation: u64, tell: impl FnOnce(&mut Joining, &Shared)) {
        let mut state = self.shared.lock();
        let current = |joining: &&mut Joining| {
            joining.generation == generation && Arc::ptr_eq(&joining.work, &self.work)
        };
        let current = state.joining.as_mut().filter(current);
        if let Some(joining) = current {
            tell(joining, &self.shared);
        }
        self.shared.drive(&mut state);
    }

    fn stage(&mut self, generation: u64, bulk: &Bulk) -> Result<(), ApplicationError> {
        self.applied = 0;
        let Bulk { provider, snapshot, keep, transfer, .. } = *bulk;
        let sink = guarded(|| self.shared.application.stage(provider, snapshot, keep))?;
        let fetch = Fetch::new(bulk.address.clone()).state(transfer.0).selector(self.state_id.clone());
        let fetch = fetch.with_settings(&self.shared.session).member(self.shared.config.member);
        let session = fetch.stall_timeout(self.patience).busy_wait(self.patience).into_sink(sink);
        self.work.follow(session.watch());
        let mut events = session.events();
        let look = (self.patience / LOOKS.0).min(LOOKS.1);
        let mut seen = (0, 0, 0);
        while !matches!(events.next_within(look), Err(RecvTimeoutError::Disconnected)) {
            let stats = session.stats();
            let now = (stats.bytes >> 16, stats.items, stats.work);
            if std::mem::replace(&mut seen, now) != now {
                self.report(generation, |joining, shared| {
                    joining.machine.handle_bulk_progress(shared.now());
                });
            }
        }
        let result = session.wait();
        self.work.unfollow();
        self.staged(generation, bulk, result)
    }

    fn staged(
        &self,
        generation: u64,
        bulk: &Bulk,
        result: Result<Summary, Error>,
    ) -> Result<(), ApplicationError> {
        let Bulk { provider, snapshot, .. } = *bulk;
        match result {
            Ok(summary) => {
                self.shared.watchers.emit(&Event::Staged { provider, bytes: summary.bytes });
                self.report(generation, |joining, shared| {
                    let root = Some(summary.root.hash).filter(|_| summary.integrity != Integrity::None);
                    joining.given.push(Given { provider, bulk: summary });
                    joining.machine.handle_staged(snapshot, root, shared.now());
                });
                Ok(())
            }
            // What this side's sink says ends the transfer; whatever else it was, another provider may do better.
            Err(error) if is_of_sink(&error) => Err(error.into()),
            Err(error) => {
                self.report(generation, |joining, shared| {
                    joining.cause = Some(error.into());
                    joining.machine.handle_lost(provider, shared.now());
                });
                Ok(())
            }
        }
    }

    fn apply(
        &mut self,
        generation: u64,
        bytes: &[u8],
        skipped: usize,
        taken: usize,
        to: LogPoint,
    ) -> Result<(), ApplicationError> {
        // Some were applied already, if the word of it got lost.
        let new: Vec<LogRecord<'_>> = changes(bytes)
            .flatten()
            .skip(skipped)
            .take(taken)
            .filter(|record| record.record.number > self.applied)
            .collect();
        if let Some(last) = new.last() {
            guarded(|| self.shared.application.apply(&new))?;
            self.applied = last.record.number;
        }
        self.report(generation, |joining, shared| joining.machine.handle_applied(to, shared.now()));
        Ok(())
    }

    /// State and digest change in one step; the member's own machine has the messages then.
    fn commit(&self) -> Result<(), ApplicationError> {
        let shared = &self.shared;
        let digest = shared.lock().joining.as_ref().map(|joining| Box::new(joining.machine.digest().clone()));
        let Some(mut digest) = digest else { return Ok(()) };
        // Of itself it knows that it has sent nothing.
        if digest.entry(shared.config.member).is_none() {
            digest.insert(Entry::fresh(shared.config.member))?;
        }
        let machine = ProviderMachine::new(shared.config, Role::Joining, (*digest).clone())?;
        guarded(|| shared.application.commit(&digest))?;
        let mut state = shared.lock();
        // What is given of the state before ends with it.
        if let Some(before) = &mut state.provider {
            before.set_role(Role::NonParticipant, shared.now());
            shared.drive(&mut state);
        }
        (state.provider, state.states_so_far) = (Some(Box::new(machine)), state.states_so_far + 1);
        if let Some(joining) = &mut state.joining {
            joining.machine.handle_committed();
        }
        shared.drive(&mut state);
        Ok(())
    }
}
