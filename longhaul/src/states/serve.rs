//! What a provider's machine commands.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longhaul_core::id::{SnapshotId, StateId};
use longhaul_core::integrity::Integrity;
use longhaul_core::time::Instant;
use longhaul_core::transfer::fetch::{CaptureNumber, Command, Event as MachineEvent};

use super::calls::Call;
use super::event::Event;
use super::shared::{Shared, State};
use crate::Progress;
use crate::error::Error;
use crate::live::driver::TICK;
use crate::live::shared::guarded;
use crate::live::{ApplicationError, Log, Snapshot};
use crate::member::give::Given;
use crate::settings::random;
use crate::verify::hash::receipt_of;

impl Shared {
    pub(super) fn serve(self: &Arc<Self>, state: &mut State, command: Command) {
        match command {
            Command::Capture { capture, state: name } => self.capture(state, capture, name),
            Command::KeepLog => self.keep_log(state),
            Command::Sum { capture } => self.sum(state, capture),
            Command::Give { transfer, capture, snapshot } => {
                if let Some(captured) = state.captures.get(&capture) {
                    state.giving.give(transfer, Given::new(snapshot, Arc::clone(captured)));
                }
            }
            Command::StopGiving { transfer } => state.giving.stop(transfer),
            Command::DropCapture { capture } => {
                if let Some(captured) = state.captures.remove(&capture) {
                    self.threads.release(captured);
                }
            }
            Command::ReadLog { transfer, from, end, max_bytes } => {
                state.read_log(transfer, from, end, max_bytes);
            }
            Command::TrimLog { before } => self.with_log(|log| log.trim(before)),
            Command::StopLog => self.with_log(|log| log.stop()),
            Command::Reoffer => {
                self.admit();
                state.call(Call::Reoffer);
            }
        }
    }

    /// At this place of the order of delivery: nothing is delivered until it is done.
    fn capture(&self, state: &mut State, capture: CaptureNumber, name: StateId) {
        let started = self.now();
        let has_no_log = std::mem::take(&mut state.has_no_log);
        let captured = guarded(|| {
            if has_no_log {
                return Err("no log can be kept".into());
            }
            let snapshot = self.application.capture(state_id(&name))?;
            let id = snapshot.id().map_or_else(|| random().map(SnapshotId), Ok)?;
            Ok::<(SnapshotId, Arc<dyn Snapshot>), ApplicationError>((id, snapshot))
        });
        let Some(machine) = &mut state.provider else { return };
        let now = self.now();
        match captured {
            Ok((id, snapshot)) => {
                let digest = Box::new(snapshot.digest());
                state.captures.insert(capture, snapshot);
                self.watchers.emit(&Event::Captured { held: now.since(started) });
                machine.handle_captured(capture, id, &digest, now);
            }
            Err(error) => {
                tracing::error!(%error, "the state could not be captured");
                machine.handle_capture_failed(capture, now);
            }
        }
    }

    fn keep_log(&self, state: &mut State) {
        let Some(from) = state.provider.as_ref().map(|machine| machine.log_end()) else { return };
        let log = self.log.as_ref();
        let kept = guarded(|| log.ok_or("there is no log")?.start(from));
        if let Err(error) = kept {
            tracing::error!(%error, "a log could not be kept");
            // What follows it is a capture, which is of no use without.
            state.has_no_log = true;
        }
    }

    /// Calls of the log are promised to be quick.
    fn with_log(&self, call: impl FnOnce(&dyn Log)) {
        let Some(log) = &self.log else { return };
        let called = guarded(|| {
            call(&**log);
            Ok(())
        });
        if let Err(error) = called {
            tracing::error!(%error, "a call of the application failed");
        }
    }

    /// The root is found on a thread of its own: all of the state is read for it.
    fn sum(self: &Arc<Self>, state: &mut State, capture: CaptureNumber) {
        let Some(snapshot) = state.captures.get(&capture).map(Arc::clone) else { return };
        let shared = Arc::clone(self);
        let integrity = self.session.integrity;
        let started = self.threads.spawn("states-sum", move || {
            let summing = Summing { shared: &shared, capture, told: Mutex::new(shared.now()) };
            let summed = guarded(|| Ok(root(&*snapshot, integrity, &summing)?));
            drop(snapshot);
            shared.summed(capture, summed);
        });
        if !started && let Some(machine) = &mut state.provider {
            machine.handle_capture_lost(capture, self.now());
        }
    }

    fn summed(self: &Arc<Self>, capture: CaptureNumber, summed: Result<[u8; 32], ApplicationError>) {
        let mut state = self.lock();
        let now = self.now();
        let Some(machine) = &mut state.provider else { return };
        match summed {
            Ok(root) => machine.handle_summed(capture, root, now),
            Err(error) => {
                tracing::error!(%error, "the root of a capture could not be found");
                machine.handle_capture_lost(capture, now);
            }
        }
        self.drive(&mut state);
    }

    pub(super) fn tell(&self, event: MachineEvent) {
        self.watchers.emit(&match event {
            MachineEvent::Admitted { member } => Event::Admitted { member },
            MachineEvent::Gave { member } => Event::Gave { member },
            MachineEvent::Released { member, why } => Event::Released { member, why },
            MachineEvent::Resumed { held_ns } => Event::Resumed { held: Duration::from_nanos(held_ns) },
        });
    }
}

/// The application's name of a state: what was asked for, without the zeros that fill it up.
fn state_id(name: &StateId) -> &[u8] {
    let len = name.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &name.0[..len]
}

fn root(snapshot: &dyn Snapshot, integrity: Integrity, progress: &dyn Progress) -> Result<[u8; 32], Error> {
    let source = snapshot.source(b"").map_err(Error::from)?;
    Ok(receipt_of(&*source, integrity, progress)?.root.hash)
}

/// A root that is looked for: who waits for it hears how far that has come.
struct Summing<'a> {
    shared: &'a Arc<Shared>,
    capture: CaptureNumber,
    /// When they heard it last.
    told: Mutex<Instant>,
}

impl Progress for Summing<'_> {
    fn advance(&self, done: u64) -> bool {
        let (mut state, now) = (self.shared.lock(), self.shared.now());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(*told) >= TICK
            && let Some(machine) = &mut state.provider
        {
            *told = now;
            machine.handle_summing(self.capture, done, now);
            self.shared.drive(&mut state);
        }
        !state.stopped
    }
}
