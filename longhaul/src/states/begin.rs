//! How a transfer begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::id::{StateId, TransferId};
use longhaul_core::transfer::fetch::{Config, Protocol, Want};

use super::fetch::{Fetched, StateTransfer};
use super::join::Joining;
use super::member::Peer;
use super::shared::{JoinerMachine, Shared, State};
use super::stage::{Stager, Work};
use crate::error::{Error, ErrorKind};
use crate::live::ApplicationError;
use crate::live::fetch::{Held, Outcome};
use crate::live::shared::guarded;
use crate::settings::random;

/// What is to be had, and from whom.
pub(super) struct Wanted {
    pub(super) targets: Vec<Peer>,
    pub(super) state_id: Vec<u8>,
    pub(super) want: Want,
    /// Who makes no progress for so long is given up.
    pub(super) timeout: Duration,
}

impl Shared {
    pub(super) fn begin(self: &Arc<Self>, state: &mut State, wanted: Wanted) -> Result<StateTransfer, Error> {
        let Wanted { targets, state_id, want, timeout } = wanted;
        let usage = |what: String| Error::new(ErrorKind::Usage, what);
        let mut name = StateId::default();
        let named = name.0.get_mut(..state_id.len()).filter(|_| state_id.last() != Some(&0));
        let too_long = || usage("a state id has at most 16 bytes, and does not end with a zero".into());
        named.ok_or_else(too_long)?.copy_from_slice(&state_id);
        let mut members = Vec::new();
        let mut addresses = BTreeMap::new();
        for Peer { member, address } in &targets {
            if *member != self.config.member && !members.contains(member) {
                members.push(*member);
                addresses.insert(*member, address.clone());
            }
        }
        if members.is_empty() {
            return Ok(StateTransfer::without_state());
        }
        let serves = state.provider.is_some();
        let is_under_way = state.last.as_ref().is_some_and(|last| !last.is_over());
        if is_under_way || (serves && self.config.protocol != Protocol::Copy) {
            return Err(usage("this member has a state, or a transfer under way".into()));
        }
        let config = Config { stall_timeout: timeout, serves, ..self.config };
        let protocol = config.protocol;
        let heard = match (protocol, &state.provider) {
            (Protocol::Prefetch, _) => Box::default(),
            (_, Some(machine)) => Box::new(machine.delivered().clone()),
            (_, None) => {
                let joined = guarded(|| self.application.join());
                let refused = |error: ApplicationError| {
                    usage(format!("the group's channel can't be had: {error}")).with_cause(error)
                };
                Box::new(joined.map_err(refused)?)
            }
        };
        let transfer = random().map(TransferId)?;
        let machine = JoinerMachine::new(config, transfer, (name, want), &members, *heard, self.now());
        let machine = machine.map_err(|error| usage(error.to_string()))?;
        let (outcome, work) = (Arc::new(Outcome::<Fetched>::default()), Arc::new(Work::new()));
        let held = Held(Arc::clone(&outcome));
        let stager = Stager {
            shared: Arc::clone(self),
            work: Arc::clone(&work),
            state_id,
            patience: timeout,
            applied: 0,
        };
        let started = self.threads.spawn("states-stage", move || {
            stager.run();
            drop(held);
        });
        if !started {
            return Err(Error::new(ErrorKind::Other, "a transfer's threads can't be started"));
        }
        state.last = Some(Arc::clone(&outcome));
        let transfer = StateTransfer::new(Arc::clone(self), Arc::clone(&outcome));
        state.joining = Some(Joining::new(Box::new(machine), (protocol, want), addresses, work, outcome));
        self.drive(state);
        Ok(transfer)
    }
}
