//! The thread that keeps the deadlines, and looks after what has no place at the machines.

use std::sync::Arc;

use longhaul_core::time::Instant;

use super::event::Event;
use super::shared::{Shared, State};
use crate::live::driver::TICK;

impl Shared {
    pub(super) fn keep_deadlines(self: &Arc<Self>) {
        let mut ticked = self.now();
        let mut state = self.lock();
        while !state.stopped {
            let now = self.now();
            if let Some(machine) = &mut state.provider
                && machine.poll_timeout().is_some_and(|deadline| deadline <= now)
            {
                machine.handle_timeout(now);
            }
            if let Some(joining) = &mut state.joining
                && joining.machine.poll_timeout().is_some_and(|deadline| deadline <= now)
            {
                joining.machine.handle_timeout(now);
            }
            if now.since(ticked) >= TICK {
                ticked = now;
                self.look_at_peers(&mut state);
            }
            self.look_at_giving(&mut state, now);
            self.drive(&mut state);
            state = self.wait_for_deadline(state);
        }
    }

    /// What is sent is measured, and limited.
    fn look_at_giving(&self, state: &mut State, now: Instant) {
        let (is_sending, before) = (state.giving.sends(), state.giving.limit());
        if state.giving.look(now, is_sending, || 0).is_some() && state.giving.limit() != before {
            self.tell_limit(state);
        }
    }

    pub(super) fn tell_limit(&self, state: &State) {
        if let Some(limit) = state.giving.limit() {
            self.watchers.emit(&Event::Limited { bytes_per_second: limit.get() });
        }
    }

    /// Progress of the bulk is told, and whoever has no business here is closed.
    fn look_at_peers(&self, state: &mut State) {
        let State { provider, peers, giving, unsaid, .. } = state;
        let now = self.now();
        for transfer in giving.moved() {
            if let Some(machine) = provider {
                machine.handle_bulk_progress(transfer, now);
            }
        }
        let is_busy = provider.as_ref().is_some_and(|machine| !machine.is_idle());
        for peer in peers.values_mut() {
            peer.look(is_busy, now);
        }
        unsaid.retain(|word| now.since(word.since) < self.config.stall_timeout);
    }
}
