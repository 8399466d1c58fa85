//! A member of a group: it listens, provides, and fetches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use longhaul_core::id::MemberId;
use longhaul_core::integrity::Integrity;
use longhaul_core::message::Properties;
use longhaul_core::transfer::Role;
use longhaul_core::transfer::fetch::{Config, Protocol, Want};
use longhaul_state::transfer::Priority;

use super::application::Application;
use super::begin::Wanted;
use super::calls;
use super::event::Event;
use super::fetch::StateTransfer;
use super::shared::{JOINERS, ProviderMachine, Shared};
use super::turn::{Request, Turn};
use crate::error::{Error, ErrorKind};
use crate::live::{Delivered, Log};
use crate::member::give::Door;
use crate::member::giving::Giving;
use crate::serve::Listening;
use crate::service::{self, Service};
use crate::settings::{Settings, common_settings};
use crate::watch::Events;

/// A member of the group, and where it listens: `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub member: MemberId,
    /// Where.
    pub address: String,
}

/// A member that takes part in fetches. Dropped, it stops: the drop waits until every thread, socket and session
/// is released.
///
/// Every message of the group goes through it, from its start on, and where writers are to be stopped every request of a client.
#[must_use = "a member that is dropped stops"]
pub struct Member {
    shared: Arc<Shared>,
    /// Stopped first: what it gives comes from the others.
    service: Option<Service>,
}

/// Chooses how a [`Member`] is to be: made by [`Member::builder`].
#[must_use = "no member is there before it is started"]
pub struct MemberBuilder {
    config: Config,
    application: Arc<dyn Application>,
    log: Option<Arc<dyn Log>>,
    settings: Settings,
    listening: Listening,
    yields: bool,
    accepts: bool,
}

impl MemberBuilder {
    common_settings!();

    /// Where to listen, `HOST:PORT`; port 0 takes any free one. 127.0.0.1:7400 unless told.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listening.address = address.into();
        self
    }

    /// Whether others than this machine may connect, without authentication. No unless told.
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.listening.insecure = insecure;
        self
    }

    /// The integrity of the bulk that is demanded, and of the roots that are compared. CRC-32C unless told.
    pub fn integrity(mut self, integrity: Integrity) -> Self {
        self.settings.integrity = integrity;
        self
    }

    /// How the threads that move the bulk compete for processors with those that write. [`Priority::Low`] unless told.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.settings.priority = priority;
        self
    }

    /// Whether what is sent to joiners yields to those who write here: it is slowed down, to a tenth if need be, while the 99th
    /// percentile of the writers' latency is more than half as long again as it was before. Yes unless told; never where the writers
    /// are stopped until all is sent ([`Protocol::Flush`]).
    pub fn yields(mut self, yields: bool) -> Self {
        self.yields = yields;
        self
    }

    /// Whether a member that has no state takes one that it has not asked for, from whoever
    /// [pushes](Member::push_state) it. No unless told.
    pub fn accept_pushes(mut self, accepts: bool) -> Self {
        self.accepts = accepts;
        self
    }

    /// The log of messages that change the state, which [`Protocol::Prefetch`] needs: prepares are records of it, too
    /// ([`crate::live::MemoryLog::append_change`]).
    pub fn log(mut self, log: Arc<dyn Log>) -> Self {
        self.log = Some(log);
        self
    }

    /// Starts a member that has no state yet, or an old one that it does not serve: it joins with
    /// [`Member::fetch_state`].
    ///
    /// # Errors
    /// If the protocol needs what is not offered, or the address can't be had.
    pub fn join(self) -> Result<Member, Error> {
        self.start(None)
    }

    /// Starts a member that is operational: it contains what `delivered` says.
    ///
    /// # Errors
    /// As [`MemberBuilder::join`].
    pub fn found(self, delivered: &Delivered) -> Result<Member, Error> {
        self.start(Some(delivered))
    }

    fn start(mut self, delivered: Option<&Delivered>) -> Result<Member, Error> {
        let member = self.settings.member.unwrap_or(self.config.member);
        self.config = Config { member, stall_timeout: self.settings.stall_timeout, ..self.config };
        if self.config.offers.has(Properties::LOG) && self.log.is_none() {
            return Err(Error::new(ErrorKind::Usage, "a log is offered, and none was given"));
        }
        // A member that joins is checked as one that provides.
        let checked = ProviderMachine::new(
            self.config,
            if delivered.is_some() { Role::Provider } else { Role::Joining },
            delivered.cloned().unwrap_or_default(),
        );
        let machine = checked.map_err(|error| Error::new(ErrorKind::Usage, error.to_string()))?;
        let machine = delivered.map(|_| Box::new(machine));
        self.settings.without_files();
        self.settings.check()?;
        self.listening.max_sessions = JOINERS;
        let (callers, called) = channel();
        let Self { config, application, log, settings, listening, yields, accepts } = self;
        let calling = Arc::clone(&application);
        let shared = Arc::new(Shared::new(config, settings.clone(), application, log, machine, callers));
        {
            let mut state = shared.lock();
            // Who is stopped waits for the bulk, which must not wait for him.
            state.giving = Giving::new(yields && config.protocol != Protocol::Flush);
            state.accepts = accepts;
        }
        let door = Arc::downgrade(&shared);
        let give = service::Role::Provider(Box::new(move |session| {
            let (door, session) = (door.clone(), session.clone());
            let find = move |transfer| door.upgrade()?.give_to(transfer, &session);
            Ok(Arc::new(Door::new(find)))
        }));
        let service = Service::start(give, settings, &listening)?;
        let member = Member { shared, service: Some(service) };
        let shared = &member.shared;
        let (keeper, weak) = (Arc::clone(shared), Arc::downgrade(shared));
        let started = shared.threads.spawn("states-call", move || calls::run(&weak, &calling, &called))
            && shared.threads.spawn("states", move || keeper.keep_deadlines());
        if !started {
            return Err(Error::new(ErrorKind::Other, "a member's threads can't be started"));
        }
        if let Some(service) = &member.service {
            let door = Arc::downgrade(shared);
            service.take_transfers(move |arrival| {
                if let Some(shared) = door.upgrade() {
                    shared.arrive(arrival);
                }
            });
        }
        Ok(member)
    }
}

impl Member {
    /// A member with this configuration, for an application.
    pub fn builder(config: Config, application: Arc<dyn Application>) -> MemberBuilder {
        let listening = Listening::default();
        let (stall_timeout, member) = (config.stall_timeout, Some(config.member));
        let priority = Priority::Low;
        let settings = Settings { stall_timeout, priority, member, ..Settings::default() };
        MemberBuilder { config, application, log: None, settings, listening, yields: true, accepts: false }
    }

    /// Where joiners dial it.
    ///
    /// # Panics
    /// Never: it listens until it is dropped.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.service.as_ref().expect("it listens until it is dropped").local_addr()
    }

    /// Who it is, and where it listens.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer { member: self.shared.config.member, address: self.local_addr().to_string() }
    }

    /// A place in the order of delivery, for one message or several.
    pub fn turn(&self) -> Turn<'_> {
        Turn::new(&self.shared)
    }

    /// A client's request that will write, once it is admitted: waits as long as writers are stopped.
    ///
    /// # Errors
    /// If that takes longer than `patience`, or the member is stopped.
    pub fn request(&self, patience: Duration) -> Result<Request, Error> {
        Request::admit(&self.shared, patience)
    }

    /// A write took so long, as whoever wrote sees it: for an application whose requests don't go through
    /// [`Member::request`], which tells it by itself. Where nobody tells how long writes take, turns are measured
    /// ([`MemberBuilder::yields`]).
    pub fn note_write_latency(&self, took: Duration) {
        self.shared.lock().giving.note_write(took);
    }

    /// Whether it has a state, and serves it.
    #[must_use]
    pub fn is_operational(&self) -> bool {
        self.shared.lock().provider.as_ref().is_some_and(|machine| machine.role() != Role::Joining)
    }

    /// Whether writers are stopped at this member.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.shared.lock().provider.as_ref().is_some_and(|machine| machine.is_suspended())
    }

    /// Whether nothing is kept for joiners: no capture, copy or log, and no writer stopped.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.captures.is_empty() && state.provider.as_ref().is_none_or(|machine| machine.is_idle())
    }

    /// Whether it gives its state to who asks, from now on, or once it is operational. Who is given one gets its
    /// refusal; who asks a member that gives none is told so at once.
    pub fn provide(&self, provides: bool) {
        let role = if provides { Role::Provider } else { Role::NonParticipant };
        let mut state = self.shared.lock();
        state.wanted = role;
        let now = self.shared.now();
        if let Some(machine) = state.provider.as_mut().filter(|machine| machine.role() != Role::Joining) {
            machine.set_role(role, now);
        }
        self.shared.drive(&mut state);
    }

    /// These are the members of the group now: what is kept for others is freed, and those that are new may be asked.
    pub fn handle_view(&self, view: &[Peer]) {
        let members: Vec<MemberId> = view.iter().map(|peer| peer.member).collect();
        let mut state = self.shared.lock();
        let now = self.shared.now();
        if let Some(machine) = &mut state.provider {
            machine.handle_view(&members, now);
        }
        if let Some(joining) = state.joining.as_mut().filter(|joining| !joining.is_over()) {
            joining.addresses.extend(view.iter().map(|peer| (peer.member, peer.address.clone())));
            joining.machine.handle_view(&members, now);
        }
        self.shared.drive(&mut state);
    }

    /// Gets a state from the first of `targets` that gives it: `getState(target, state_id, timeout)`. Where one is
    /// lost or refuses, the next takes over. Where all must stop ([`Protocol::Flush`]) these are all members of the group.
    /// `state_id` names a part of the state in the application's own words; empty: all of it. Who makes no
    /// progress for `timeout` is given up.
    ///
    /// # Errors
    /// If there is a transfer under way; if this member serves already and the protocol is not [`Protocol::Copy`]; if the channel can't be
    /// joined. What becomes of it is told by [`StateTransfer::wait`].
    pub fn fetch_state(
        &self,
        targets: &[Peer],
        state_id: &[u8],
        timeout: Duration,
    ) -> Result<StateTransfer, Error> {
        self.fetch(targets, state_id, Want::One, timeout)
    }

    /// Gets the state of `targets` together: `GetStates`. [`Want::Quorum`]: their copies' roots are compared first, and the
    /// state that more than half of them have is streamed once. [`Want::All`]: each gives its own, and a hidden
    /// copy of each is committed. By [`Protocol::Copy`] alone.
    ///
    /// # Errors
    /// As [`Member::fetch_state`]; where there is no majority, [`Error::states`] lists who has what.
    pub fn fetch_states(
        &self,
        targets: &[Peer],
        state_id: &[u8],
        want: Want,
        timeout: Duration,
    ) -> Result<StateTransfer, Error> {
        if want == Want::Quorum && !state_id.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "roots are compared of whole states alone"));
        }
        self.fetch(targets, state_id, want, timeout)
    }

    fn fetch(
        &self,
        targets: &[Peer],
        state_id: &[u8],
        want: Want,
        timeout: Duration,
    ) -> Result<StateTransfer, Error> {
        let own = self.local_addr().to_string();
        let targets = targets.iter().filter(|target| target.address != own).cloned().collect();
        let wanted = Wanted { targets, state_id: state_id.to_vec(), want, timeout };
        self.shared.begin(&mut self.shared.lock(), wanted)
    }

    /// Has `target`, a member that has no state and [accepts](MemberBuilder::accept_pushes) it, get this one's: after a merge, say.
    /// Returns once it serves. Not by [`Protocol::Flush`]: who stops all members must know them.
    ///
    /// # Errors
    /// If this member gives no state, or that one does not want it, can't be reached, makes no progress for
    /// `timeout`, or gives up.
    pub fn push_state(&self, target: &Peer, timeout: Duration) -> Result<(), Error> {
        self.shared.push(target, self.local_addr().port(), timeout)
    }

    /// Ends what waits: requests, transfers, connections. Nothing is awaited; the drop does that.
    pub fn stop(&self) {
        self.shared.stop();
        if let Some(service) = &self.service {
            service.stop();
        }
    }

    /// What happens, from now on. Who falls far behind loses events.
    #[must_use]
    pub fn events(&self) -> Events<Event> {
        Events(self.shared.watchers.watch())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop();
        // Its sessions are cancelled, and waited for.
        drop(self.service.take());
        self.shared.threads.join();
        let mut state = self.shared.lock();
        state.joining = None;
        state.captures.clear();
        state.peers.clear();
        state.giving.clear();
        drop(state);
        self.shared.watchers.close();
    }
}
