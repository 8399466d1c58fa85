//! The thread that builds a joiner's hidden copy: the bulk, then records and prepares, then the commit.

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::digest::Entry;
use longhaul_core::id::{SnapshotId, TransferId};
use longhaul_core::reason::Side;
use longhaul_core::transfer::LogPoint;
use longhaul_core::transfer::live::{Role, Take};

use super::application::ApplicationError;
use super::batch::{LogRecord, Prepare, prepares, records};
use super::event::Event;
use super::join::Joining;
use super::shared::{ProviderMachine, Shared, guarded};
use crate::error::{Error, ErrorKind};
use crate::fetch::Fetch;
use crate::member::work::Task;
use crate::summary::Summary;

/// How often the bulk's progress is looked at: so often within a stall timeout.
const LOOKS: u32 = 8;

/// What is to be done, in this order.
pub(super) type Work = crate::member::work::Work<Item>;

pub(super) enum Item {
    /// Takes the bulk of a capture into an empty hidden copy.
    Stage { snapshot: SnapshotId, keep: bool, provider: String, transfer: TransferId },
    /// Applies so many records of a payload, behind those that are skipped.
    Apply { bytes: Vec<u8>, skipped: usize, taken: usize, to: LogPoint },
    /// Adds the pending prepares.
    Prepare { bytes: Vec<u8> },
    /// Removes them.
    Forget,
    /// Drops the hidden copy.
    Discard,
    /// Makes it the state.
    Commit,
}

impl Task for Item {
    fn is_payload(&self) -> bool {
        matches!(self, Self::Apply { .. } | Self::Prepare { .. })
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

impl Stager {
    /// Until nothing more comes.
    pub(super) fn run(mut self) {
        while let Some((generation, item)) = self.work.next() {
            let done = match item {
                Item::Stage { snapshot, keep, provider, transfer } => {
                    self.stage(generation, snapshot, keep, &provider, transfer)
                }
                Item::Apply { bytes, skipped, taken, to } => {
                    self.apply(generation, &bytes, skipped, taken, to)
                }
                Item::Prepare { bytes } => self.prepare(generation, &bytes),
                Item::Forget => guarded(|| self.shared.application.forget_prepares()),
                Item::Discard => {
                    self.applied = 0;
                    guarded(|| {
                        self.shared.application.discard();
                        Ok(())
                    })
                }
                Item::Commit => self.commit(),
            };
            if let Err(error) = done {
                tracing::error!(%error, "the hidden copy failed");
                self.report(generation, |joining, shared| {
                    joining.cause = Some(error);
                    joining.machine.handle_application_failed(shared.clock.joiner());
                });
            }
        }
    }

    /// Tells the machine, unless what was done is of no effect any more.
    fn report(&self, generation: u64, tell: impl FnOnce(&mut Joining, &Shared)) {
        let mut state = self.shared.lock();
        let current = state.joining.as_mut().filter(|joining| joining.generation == generation);
        if let Some(joining) = current {
            tell(joining, &self.shared);
        }
        self.shared.drive(&mut state);
    }

    fn stage(
        &mut self,
        generation: u64,
        snapshot: SnapshotId,
        keep: bool,
        provider: &str,
        transfer: TransferId,
    ) -> Result<(), ApplicationError> {
        self.applied = 0;
        let sink = guarded(|| self.shared.application.stage(snapshot, keep))?;
        let mut fetch = Fetch::new(provider.to_owned()).state(transfer.0).selector(self.state_id.clone());
        fetch = fetch.with_settings(&self.shared.session).member(self.shared.config.member);
        let session = fetch.stall_timeout(self.patience).busy_wait(self.patience).into_sink(sink);
        self.work.follow(session.watch());
        let mut events = session.events();
        let look = self.patience / LOOKS;
        let (mut seen, mut over) = ((0, 0, 0), false);
        while !over {
            over = matches!(
                events.next_within(look.min(Duration::from_millis(250))),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
            );
            let stats = session.stats();
            let now = (stats.bytes >> 16, stats.items, stats.work);
            if std::mem::replace(&mut seen, now) != now {
                self.report(generation, |joining, shared| {
                    joining.machine.handle_bulk_progress(shared.clock.joiner());
                });
            }
        }
        let result = session.wait();
        self.work.unfollow();
        self.staged(generation, snapshot, result)
    }

    fn staged(
        &self,
        generation: u64,
        snapshot: SnapshotId,
        result: Result<Summary, Error>,
    ) -> Result<(), ApplicationError> {
        match result {
            Ok(summary) => {
                self.shared.watchers.emit(&Event::Staged { bytes: summary.bytes });
                self.report(generation, |joining, shared| {
                    joining.bulk = Some(summary);
                    joining.machine.handle_staged(snapshot, shared.clock.joiner());
                });
                Ok(())
            }
            // What this side's sink says ends the transfer; whatever else it was, a new try may do better.
            Err(error) if is_of_sink(&error) => Err(error.into()),
            Err(error) => {
                self.report(generation, |joining, shared| {
                    joining.cause = Some(error.into());
                    joining.lose_link(shared.clock.joiner());
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
        let new: Vec<LogRecord<'_>> = records(bytes)
            .flatten()
            .skip(skipped)
            .take(taken)
            .filter(|record| record.record.number > self.applied)
            .collect();
        if let Some(last) = new.last() {
            guarded(|| self.shared.application.apply(&new))?;
            self.applied = last.record.number;
        }
        self.report(generation, |joining, shared| {
            joining.machine.handle_applied(to, shared.clock.joiner());
        });
        Ok(())
    }

    fn prepare(&self, generation: u64, bytes: &[u8]) -> Result<(), ApplicationError> {
        let all: Vec<Prepare<'_>> = prepares(bytes).flatten().collect();
        guarded(|| self.shared.application.prepare(&all))?;
        self.report(generation, |joining, shared| {
            for prepare in &all {
                let now = shared.clock.joiner();
                if joining.machine.handle_prepare(prepare.transaction, now) != Take::Apply {
                    break;
                }
                joining.prepared.push(prepare.transaction.member);
            }
        });
        Ok(())
    }

    /// State, digest and pending prepares change in one step; the member's own machine has the messages then.
    fn commit(&self) -> Result<(), ApplicationError> {
        let shared = &self.shared;
        let Some((mut digest, prepared)) = shared
            .lock()
            .joining
            .as_ref()
            .map(|joining| (Box::new(joining.machine.digest().clone()), joining.prepared.clone()))
        else {
            return Ok(());
        };
        // Of itself it knows that it has sent nothing.
        if digest.entry(shared.config.member).is_none() {
            digest.insert(Entry::fresh(shared.config.member))?;
        }
        let config = shared.config;
        let machine = ProviderMachine::new(config, Role::Joining, (*digest).clone(), prepared.clone())?;
        guarded(|| shared.application.commit(&digest))?;
        let mut state = shared.lock();
        match &mut state.provider {
            Some(old) => old.replace(*digest, prepared, shared.clock.provider()),
            none => *none = Some(Box::new(machine)),
        }
        if let Some(joining) = &mut state.joining {
            joining.machine.handle_committed(shared.clock.joiner());
        }
        shared.drive(&mut state);
        Ok(())
    }
}

/// Whether this side's sink has failed.
pub(crate) fn is_of_sink(error: &Error) -> bool {
    let sink = matches!(error.kind(), ErrorKind::Destination | ErrorKind::NoSpace | ErrorKind::Usage);
    sink && error.side() != Some(Side::Provider)
}
