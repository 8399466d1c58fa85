//! What a provider's machine commands.

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::id::{SnapshotId, TransferId};
use longhaul_core::transfer::live::{Command, Event as MachineEvent, Link};

use super::ApplicationError;
use super::application::Snapshot;
use super::calls::Call;
use super::event::Event;
use super::peer::Job;
use super::shared::{Captured, Shared, State, guarded};
use crate::member::give::Given;
use crate::settings::random;

impl Shared {
    pub(super) fn serve(&self, state: &mut State, command: Command) {
        match command {
            Command::Capture => self.capture(state),
            Command::Give { transfer, snapshot } => state.give(transfer, snapshot),
            Command::StopGiving { transfer } => state.giving.stop(transfer),
            Command::ReadLog { link, from, max_bytes } => {
                state.job(link, Job::ReadLog { from, max_bytes });
            }
            Command::ReadPending { link } => state.job(link, Job::ReadPending),
            Command::DropCapture { snapshot } => {
                if let Some(captured) = state.drop_capture(snapshot) {
                    self.threads.release(captured.snapshot);
                }
            }
            Command::TrimLog { before } => quickly(|| self.application.trim(before)),
            Command::StopLog => {
                state.is_logging = false;
                quickly(|| self.application.stop());
            }
            Command::Reoffer => {
                self.admit();
                state.call(Call::Reoffer);
            }
            Command::Throttle { on } => state.call(Call::Throttle(on)),
            Command::Close { link } => {
                if let Some(peer) = state.peers.get_mut(&link.0) {
                    peer.finish(self.clock.provider());
                }
            }
        }
    }

    /// At this place of the order of delivery: nothing is delivered until it is done.
    fn capture(&self, state: &mut State) {
        let started = self.clock.provider();
        let Some(machine) = &mut state.provider else { return };
        let from = machine.log_end();
        let captured = guarded(|| {
            if !state.is_logging {
                self.application.start(from)?;
            }
            let snapshot = self.application.capture()?;
            let id = snapshot.id().map_or_else(|| random().map(SnapshotId), Ok)?;
            Ok::<(SnapshotId, Arc<dyn Snapshot>), ApplicationError>((id, snapshot))
        });
        let now = self.clock.provider();
        match captured {
            Ok((id, snapshot)) => {
                state.is_logging = true;
                let digest = Box::new(snapshot.digest());
                state.capture = Some(Captured { id, snapshot, from });
                self.watchers.emit(&Event::Captured { held: now.since(started) });
                machine.handle_captured(id, &digest, now);
            }
            Err(error) => {
                tracing::error!(%error, "the state could not be captured");
                machine.handle_capture_failed(now);
            }
        }
    }

    pub(super) fn tell(&self, event: MachineEvent) {
        self.watchers.emit(&match event {
            MachineEvent::Admitted { member } => Event::Admitted { member },
            MachineEvent::Following { member } => Event::Following { member },
            MachineEvent::CannotConverge { member, written_per_second, applied_per_second } => {
                Event::CannotConverge { member, written_per_second, applied_per_second }
            }
            MachineEvent::LatchOpened { held_ns, delayed_ns } => Event::LatchOpened {
                held: Duration::from_nanos(held_ns),
                delayed: Duration::from_nanos(delayed_ns),
            },
            MachineEvent::Decided { member, decision, .. } => Event::Decided { member, decision },
            MachineEvent::Released { member, why } => Event::Released { member, why },
        });
    }
}

impl State {
    fn job(&self, link: Link, job: Job) {
        if let Some(peer) = self.peers.get(&link.0) {
            peer.give(job);
        }
    }

    fn give(&mut self, transfer: TransferId, snapshot: SnapshotId) {
        let Some(captured) = self.capture.as_ref().filter(|captured| captured.id == snapshot) else { return };
        for peer in self.peers.values_mut().filter(|peer| peer.transfer == Some(transfer)) {
            peer.applied = captured.from;
        }
        self.giving.give(transfer, Given::new(snapshot, Arc::clone(&captured.snapshot)));
    }

    /// Sessions that have the bulk already may still say goodbye.
    fn drop_capture(&mut self, snapshot: SnapshotId) -> Option<Captured> {
        self.giving.forget(snapshot);
        self.capture.take_if(|captured| captured.id == snapshot)
    }
}

/// A call that the application promised to be quick.
fn quickly(call: impl FnOnce()) {
    let called = guarded(|| {
        call();
        Ok(())
    });
    if let Err(error) = called {
        tracing::error!(%error, "a call of the application failed");
    }
}
