//! What a joiner's machine commands, and how a transfer ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::transfer::fetch::{Failure, JoinerCommand, Protocol, State as Phase, Want};

use super::calls::Call;
use super::ended::Ended;
use super::event::Event;
use super::fetch::{Fetched, Given, Joined};
use super::link::Link;
use super::shared::{JoinerMachine, Shared, State};
use super::stage::{Item, Work};
use crate::error::Error;
use crate::live::ApplicationError;
use crate::live::fetch::Outcome;
use crate::live::shared::guarded;

/// A transfer, as the driver knows it.
pub(super) struct Joining {
    pub(super) machine: Box<JoinerMachine>,
    protocol: Protocol,
    want: Want,
    pub(super) is_on_channel: bool,
    /// Where members listen.
    pub(super) addresses: BTreeMap<MemberId, String>,
    /// Connections to them, and how often one could not be had since the last one.
    pub(super) links: BTreeMap<MemberId, Link>,
    pub(super) failures: HashMap<MemberId, u32>,
    /// What is done for an earlier one has no effect.
    pub(super) generation: u64,
    pub(super) work: Arc<Work>,
    /// What was behind the last failure.
    pub(super) cause: Option<ApplicationError>,
    pub(super) given: Vec<Given>,
    pub(super) outcome: Arc<Outcome<Fetched>>,
    told: (Option<Phase>, Option<Failure>),
}

impl Joining {
    pub(super) fn new(
        machine: Box<JoinerMachine>,
        (protocol, want): (Protocol, Want),
        addresses: BTreeMap<MemberId, String>,
        work: Arc<Work>,
        outcome: Arc<Outcome<Fetched>>,
    ) -> Self {
        Self {
            machine,
            protocol,
            want,
            is_on_channel: protocol != Protocol::Prefetch,
            addresses,
            links: BTreeMap::new(),
            failures: HashMap::new(),
            generation: 0,
            work,
            cause: None,
            given: Vec::new(),
            outcome,
            told: (None, None),
        }
    }

    pub(super) fn poll_command(&mut self) -> Option<JoinerCommand> {
        self.machine.poll_command()
    }

    /// Whether all have to stop, and to say so.
    pub(super) fn stops_all(&self) -> bool {
        self.protocol == Protocol::Flush
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.machine.state(), Phase::Serving | Phase::Failed | Phase::Alone)
    }

    pub(super) fn transfer(&self) -> TransferId {
        self.machine.tag().transfer
    }

    pub(super) fn stop(&mut self) {
        for link in self.links.values() {
            link.close();
        }
        self.work.stop();
    }

    fn result(&mut self) -> Option<Result<Fetched, Error>> {
        match self.machine.state() {
            Phase::Serving => {
                let (given, digest) =
                    (std::mem::take(&mut self.given), Box::new(self.machine.digest().clone()));
                Some(Ok(Fetched::State(Joined { given, digest })))
            }
            Phase::Alone => Some(Ok(Fetched::NoState)),
            Phase::Failed => {
                let failure = self.machine.failure().unwrap_or(Failure::Lost);
                let (provider, answers) = (self.machine.provider(), self.machine.answers());
                Some(Err(Ended::new(failure, provider, answers, self.cause.take()).into()))
            }
            _ => None,
        }
    }
}

impl Shared {
    pub(super) fn take(self: &Arc<Self>, state: &mut State, command: JoinerCommand) {
        let Some(joining) = &mut state.joining else { return };
        match command {
            JoinerCommand::Join => {
                let joined = guarded(|| self.application.join());
                match joined {
                    Ok(heard) => {
                        joining.is_on_channel = true;
                        joining.machine.handle_joined(&Box::new(heard), self.now());
                    }
                    Err(error) => {
                        joining.cause = Some(error);
                        joining.machine.handle_application_failed();
                    }
                }
            }
            JoinerCommand::Stage { provider, snapshot, keep } => {
                let is_all = joining.want == Want::All;
                if !is_all {
                    joining.given.clear();
                    if !keep {
                        joining.work.push(joining.generation, Item::Discard);
                    }
                }
                let Some(address) = joining.addresses.get(&provider).cloned() else { return };
                let (keep, transfer) = (keep && !is_all, joining.transfer());
                let item = Item::Stage { provider, address, snapshot, keep, transfer };
                joining.work.push(joining.generation, item);
            }
            JoinerCommand::StopStaging => joining.rewind(Item::Nothing),
            JoinerCommand::Rewind { to } => {
                if to.is_none() {
                    joining.given.clear();
                }
                joining.rewind(if to.is_some() { Item::Nothing } else { Item::Discard });
            }
            JoinerCommand::Reoffer => state.call(Call::Reoffer),
            JoinerCommand::Commit => joining.work.push(joining.generation, Item::Commit),
            JoinerCommand::Serve => {
                let role = state.wanted;
                if let Some(machine) = &mut state.provider {
                    machine.set_role(role, self.now());
                }
                self.admit();
                state.call(Call::Serve);
            }
        }
    }

    /// Tells how it goes, and ends what is over.
    pub(super) fn settle_joining(self: &Arc<Self>, state: &mut State) {
        let Some(joining) = &mut state.joining else { return };
        let (phase, why) = (joining.machine.state(), joining.machine.failure());
        let (before, why_before) = std::mem::replace(&mut joining.told, (Some(phase), why));
        if let Some(why) = why.filter(|why| Some(*why) != why_before) {
            self.watchers.emit(&Event::Again { why });
        }
        if before != Some(phase) {
            self.watchers.emit(&Event::Phase(phase));
        }
        if let Some(result) = joining.result() {
            joining.outcome.set(result);
            joining.work.close();
            // With it go the ways to the writers of its connections, which end behind the last frame.
            state.joining = None;
        }
    }
}

impl Joining {
    /// What is under way is left.
    fn rewind(&mut self, instead: Item) {
        self.generation += 1;
        self.work.rewind(Some((self.generation, instead)));
    }
}
