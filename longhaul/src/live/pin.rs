//! The thread that has the sources of messages asked: to keep them, for a lease, again and again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use super::application::PinError;
use super::shared::{Shared, guarded};

/// What a joiner's machine wants of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pinning {
    /// All keep their messages.
    Pin { round: u64 },
    /// They need not any more.
    Unpin,
}

/// Until nobody wants anything any more; nothing is pinned then.
pub(super) fn run(shared: &Arc<Shared>, lease: Duration, wanted: &Receiver<Pinning>) {
    let mut pinned = false;
    while let Some(next) = newest(wanted) {
        match next {
            Pinning::Pin { round } => {
                pinned = true;
                pin(shared, lease, round);
            }
            Pinning::Unpin => {
                unpin(shared);
                pinned = false;
            }
        }
    }
    if pinned {
        unpin(shared);
    }
}

/// What is wanted now: a pin that came before another is answered by that one.
fn newest(wanted: &Receiver<Pinning>) -> Option<Pinning> {
    let mut newest = wanted.recv().ok()?;
    loop {
        match wanted.try_recv() {
            Ok(next) => newest = next,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Some(newest),
        }
    }
}

fn pin(shared: &Arc<Shared>, lease: Duration, round: u64) {
    let asked = guarded(|| Ok(shared.pins.pin(shared.config.member, lease)));
    let mut state = shared.lock();
    let now = shared.clock.joiner();
    let Some(joining) = &mut state.joining else { return };
    match asked {
        Ok(Ok(sources)) => {
            joining.unpinned = None;
            joining.machine.handle_pinned(round, &sources, now);
            if std::mem::take(&mut joining.dials_once_pinned) {
                shared.dial(joining);
            }
        }
        Ok(Err(PinError::Refused { source })) => {
            joining.unpinned = Some(source);
            joining.dials_once_pinned = false;
            joining.machine.handle_pin_refused(source, now);
        }
        Ok(Err(PinError::Unreachable)) => {
            joining.cause = Some(PinError::Unreachable.into());
        }
        Err(error) => {
            joining.cause = Some(error);
            joining.machine.handle_application_failed(now);
        }
    }
    shared.drive(&mut state);
}

fn unpin(shared: &Shared) {
    let asked = guarded(|| {
        shared.pins.unpin(shared.config.member);
        Ok(())
    });
    if let Err(error) = asked {
        tracing::error!(%error, "a call of the application failed");
    }
}
