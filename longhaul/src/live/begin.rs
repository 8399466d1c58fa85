//! How a transfer begins: because this member asks for it, or because it was offered.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use longhaul_core::id::TransferId;
use longhaul_core::transfer::live::{Config, Role};

use super::fetch::{Held, Outcome, StateTransfer};
use super::join::Joining;
use super::pin;
use super::shared::{JoinerMachine, Shared, State};
use super::stage::{Stager, Work};
use crate::error::{Error, ErrorKind};

impl Shared {
    /// Begins to get a state from the first of `targets` that gives it. A member that has one is not operational from now on,
    /// until this one is there, or none comes.
    pub(super) fn fetch(
        self: &Arc<Self>,
        state: &mut State,
        targets: Vec<String>,
        state_id: Vec<u8>,
        timeout: Duration,
        transfer: TransferId,
    ) -> Result<StateTransfer, Error> {
        if state.joining.is_some() {
            return Err(Error::new(ErrorKind::Usage, "this member has a transfer under way"));
        }
        let config = Config { stall_timeout: timeout, ..self.config };
        let machine = JoinerMachine::new(config, transfer, Joining::name(0), self.clock.joiner());
        let machine = machine.map_err(|error| Error::new(ErrorKind::Usage, error.to_string()))?;
        let (pins, wanted) = channel();
        let (outcome, work) = (Arc::new(Outcome::default()), Arc::new(Work::new()));
        let held = Arc::new(Held(Arc::clone(&outcome)));
        let (stager_shared, stager_work) = (Arc::clone(self), Arc::clone(&work));
        let stager =
            Stager { shared: stager_shared, work: stager_work, state_id, patience: timeout, applied: 0 };
        let (pinning, stage_held) = (Arc::clone(self), Arc::clone(&held));
        let started = self.threads.spawn("live-stage", move || {
            stager.run();
            drop(stage_held);
        }) && self.threads.spawn("live-pin", move || {
            pin::run(&pinning, timeout, &wanted);
            drop(held);
        });
        if !started {
            work.close();
            return Err(Error::new(ErrorKind::Other, "a transfer's threads can't be started"));
        }
        let begun = StateTransfer::new(Arc::clone(self), Arc::clone(&outcome));
        if let Some(old) = &mut state.provider {
            old.set_role(Role::Joining, self.clock.provider());
        }
        state.joining = Some(Joining::new(Box::new(machine), targets, work, pins, outcome));
        self.drive(state);
        Ok(begun)
    }
}
