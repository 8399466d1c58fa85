//! The thread that keeps the deadlines, and looks after what has no place at the machines.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::transfer::live::At;

use super::event::Event;
use super::pace::Sample;
use super::paced::Paced;
use super::shared::{Shared, State};

/// How often joiners are looked at, while there are any.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// A deadline that stays where it is, although it has passed, must not keep the thread busy.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
/// A look at nothing.
pub(crate) const IDLE: Duration = Duration::from_hours(1);

impl Shared {
    pub(super) fn keep_deadlines(self: &Arc<Self>) {
        let mut ticked = self.clock.provider();
        let mut paced = Paced::default();
        let mut state = self.lock();
        while !state.stopped {
            let (now, joiners_now) = (self.clock.provider(), self.clock.joiner());
            if let Some(machine) = &mut state.provider
                && machine.poll_timeout().is_some_and(|deadline| deadline <= now)
            {
                machine.handle_timeout(now);
            }
            if let Some(joining) = &mut state.joining
                && joining.machine.poll_timeout().is_some_and(|deadline| deadline <= joiners_now)
            {
                joining.machine.handle_timeout(joiners_now);
            }
            if now.since(ticked) >= TICK {
                ticked = now;
                self.look_at_peers(&mut state);
            }
            paced.look(&mut state, now);
            self.drive(&mut state);
            state = self.wait_for_deadline(state);
        }
    }

    /// Progress of the bulk is told, the pace is measured, and whoever has no business here is closed.
    fn look_at_peers(&self, state: &mut State) {
        let State { provider, peers, giving, .. } = state;
        let limit = giving.limit().map(NonZeroU64::get);
        let now = self.clock.provider();
        for transfer in giving.moved() {
            if let Some(machine) = provider {
                machine.handle_bulk_progress(transfer, now);
            }
        }
        for peer in peers.values_mut() {
            let at = provider.as_ref().and_then(|machine| machine.at(peer.transfer?));
            peer.look(at.is_some(), now);
            let (Some(machine), Some(member)) = (provider.as_ref(), peer.member) else { continue };
            let bulk = match at {
                Some(At::Staging) => peer.transfer.and_then(|transfer| giving.sent(transfer)),
                Some(At::Following | At::Closing | At::Deciding) => None,
                _ => continue,
            };
            let sample = Sample { at: now, bulk, end: machine.log_end(), applied: peer.applied, limit };
            if let Some(pace) = peer.measure(member, sample) {
                self.watchers.emit(&Event::Pace(pace));
            }
        }
    }
}
