//! A member of a group: it listens, provides, and joins.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use longhaul_core::id::MemberId;
use longhaul_core::integrity::Integrity;
use longhaul_core::message::Verdict;
use longhaul_core::transfer::live::{Config, Role};
use longhaul_state::transfer::Priority;

use super::application::{Application, Delivered, Pins};
use super::calls;
use super::event::Event;
use super::fetch::StateTransfer;
use super::join::fresh_transfer;
use super::shared::{JOINERS, ProviderMachine, Shared};
use super::turn::{Request, Turn, ask, done};
use crate::error::{Error, ErrorKind};
use crate::member::give::Door;
use crate::member::giving::Giving;
use crate::serve::Listening;
use crate::service::{self, Service};
use crate::settings::{Settings, common_settings};
use crate::watch::Events;

/// A member that takes part in live transfers. Dropped, it stops: the drop waits until every thread, socket and
/// session is released.
///
/// Every message of the group and every request of a client goes through it, from its start on.
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
    pins: Arc<dyn Pins>,
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

    /// The integrity of the bulk that is demanded. CRC-32C unless told.
    pub fn integrity(mut self, integrity: Integrity) -> Self {
        self.settings.integrity = integrity;
        self
    }

    /// How the threads that move the bulk compete for processors with those that write. [`Priority::Low`] unless told.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.settings.priority = priority;
        self
    }

    /// Whether what is sent to joiners yields to those who write here: it is slowed down, to a tenth if need be, while more than
    /// one of a hundred of their writes, or one of a thousand, takes more than half as long again as so many took before. Yes
    /// unless told. No: it is sent as fast as can be, for a joiner that is needed soon.
    ///
    /// Where Linux shares processors out by sessions (`sched_autogroup_enabled`, or control groups) and programs of other sessions
    /// want all of them, those who write can pay for what the bulk uses of their session's part, at any priority.
    pub fn yields(mut self, yields: bool) -> Self {
        self.yields = yields;
        self
    }

    /// Whether the member takes one state that it has not asked for, from whoever [pushes](Member::push_state) it, until it
    /// has got one. No unless told.
    pub fn accept_pushes(mut self, accepts: bool) -> Self {
        self.accepts = accepts;
        self
    }

    /// Starts a member that has no state yet, or an old one that it does not serve: it joins with
    /// [`Member::fetch_state`].
    ///
    /// # Errors
    /// If the configuration can't be, or the address can't be had.
    pub fn join(self) -> Result<Member, Error> {
        self.start(None)
    }

    /// Starts a member that is operational: it contains what `delivered` says, and these prepares are pending, each
    /// given by its coordinator.
    ///
    /// # Errors
    /// As [`MemberBuilder::join`].
    pub fn found(
        self,
        delivered: &Delivered,
        pending: impl IntoIterator<Item = MemberId>,
    ) -> Result<Member, Error> {
        let machine = ProviderMachine::new(self.config(), Role::Provider, delivered.clone(), pending);
        let machine = machine.map_err(|error| Error::new(ErrorKind::Usage, error.to_string()))?;
        self.start(Some(Box::new(machine)))
    }

    /// The configuration, and what was chosen since.
    fn config(&self) -> Config {
        let member = self.settings.member.unwrap_or(self.config.member);
        Config { member, stall_timeout: self.settings.stall_timeout, ..self.config }
    }

    fn start(mut self, machine: Option<Box<ProviderMachine>>) -> Result<Member, Error> {
        self.config = self.config();
        self.settings.without_files();
        self.settings.check()?;
        self.listening.max_sessions = JOINERS;
        let (callers, called) = channel();
        let Self { config, application, pins, settings, listening, yields, accepts } = self;
        let calling = Arc::clone(&application);
        let shared = Arc::new(Shared::new(config, settings.clone(), application, pins, machine, callers));
        {
            let mut state = shared.lock();
            (state.giving, state.accepts) = (Giving::new(yields), accepts);
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
        let keeper = Arc::clone(shared);
        let started = shared.threads.spawn("live-call", move || calls::run(&calling, &called))
            && shared.threads.spawn("live", move || keeper.keep_deadlines());
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
    /// A member with this configuration, for an application and the sources of the group's messages.
    pub fn builder(config: Config, application: Arc<dyn Application>, pins: Arc<dyn Pins>) -> MemberBuilder {
        let listening = Listening::default();
        let (stall_timeout, member) = (config.stall_timeout, Some(config.member));
        let priority = Priority::Low;
        let settings = Settings { stall_timeout, priority, member, ..Settings::default() };
        MemberBuilder { config, application, pins, settings, listening, yields: true, accepts: false }
    }

    /// Where joiners dial it.
    ///
    /// # Panics
    /// Never: it listens until it is dropped.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.service.as_ref().expect("it listens until it is dropped").local_addr()
    }

    /// A place in the order of delivery, for one message or several.
    pub fn turn(&self) -> Turn<'_> {
        Turn::new(&self.shared)
    }

    /// A client asks for something that will write. [`Verdict::Deliver`]: it is in flight until
    /// [`Member::handle_request_done`]. [`Verdict::Hold`]: ask again after [`super::Latch::reoffer`].
    pub fn handle_request(&self) -> Verdict {
        let mut state = self.shared.lock();
        let verdict = ask(&self.shared, &mut state);
        self.shared.drive(&mut state);
        verdict
    }

    /// A request that was in flight has ended; or it waits for a lock that a prepared transaction holds, and is
    /// parked.
    ///
    /// # Panics
    /// If none was in flight.
    pub fn handle_request_done(&self) {
        done(&self.shared, None);
    }

    /// A write took so long, as whoever wrote sees it: for an application whose requests don't go through
    /// [`Member::request`], which tells it by itself. Where nobody tells how long writes take, turns are measured
    /// ([`MemberBuilder::yields`]).
    pub fn note_write_latency(&self, took: Duration) {
        self.shared.lock().giving.note_write(took);
    }

    /// A client's request, once it is admitted: waits as long as it would be held.
    ///
    /// # Errors
    /// If that takes longer than `patience`, or the member is stopped.
    pub fn request(&self, patience: Duration) -> Result<Request, Error> {
        Request::admit(&self.shared, patience)
    }

    /// Whether it has a state, and serves it.
    #[must_use]
    pub fn is_operational(&self) -> bool {
        self.shared.lock().provider.as_ref().is_some_and(|machine| machine.role() != Role::Joining)
    }

    /// Whether nothing is kept for joiners: no capture, no log, no latch.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.capture.is_none()
            && !state.is_logging
            && state.provider.as_ref().is_none_or(|machine| machine.is_idle())
    }

    /// Whether it gives its state to who asks, from now on, or once it is operational. Who is given one gets its
    /// refusal, unless its outcome is near.
    pub fn provide(&self, provides: bool) {
        let role = if provides { Role::Provider } else { Role::NonParticipant };
        let mut state = self.shared.lock();
        state.wanted = role;
        let now = self.shared.clock.provider();
        if let Some(machine) = state.provider.as_mut().filter(|machine| machine.role() != Role::Joining) {
            machine.set_role(role, now);
        }
        self.shared.drive(&mut state);
    }

    /// Whether it takes one state that it has not asked for, as [`MemberBuilder::accept_pushes`] says, from now on: after it
    /// has got one it takes no other, unless told again.
    pub fn accept_pushes(&self, accepts: bool) {
        self.shared.lock().accepts = accepts;
    }

    /// Gets the state from the first of `targets` (`HOST:PORT`) that gives it: `getState(target, state_id,
    /// timeout)`. Where one is lost or refuses, the next takes over. `state_id` names a part of the state in the
    /// application's own words; empty: all of it. Who makes no progress for `timeout` is given up.
    ///
    /// A member that has a state may get another one at any time. From now on it is not operational: whom it gives its state
    /// is refused, and requests are held. Its messages are delivered into the old state as before, which the application
    /// may answer reads from, until [`super::Stage::commit`] replaces it in one step. If none comes the old one stands,
    /// and it is operational again: that state has gone on receiving the group's messages. Either way
    /// [`super::Latch::serve`] says so.
    ///
    /// # Errors
    /// If this member has a transfer under way, or `timeout` is shorter than four
    /// leases. What becomes of it is told by [`StateTransfer::wait`].
    pub fn fetch_state(
        &self,
        targets: &[impl AsRef<str>],
        state_id: &[u8],
        timeout: Duration,
    ) -> Result<StateTransfer, Error> {
        let own = self.local_addr().to_string();
        let targets: Vec<String> =
            targets.iter().map(|target| target.as_ref().to_owned()).filter(|target| *target != own).collect();
        if targets.is_empty() {
            return Ok(StateTransfer::without_state());
        }
        let mut state = self.shared.lock();
        self.shared.fetch(&mut state, targets, state_id.to_vec(), timeout, fresh_transfer()?)
    }

    /// Has `target` (`HOST:PORT`), a member that [accepts](Member::accept_pushes) it, get this
    /// one's: after a merge, say. Returns once it serves.
    ///
    /// # Errors
    /// If this member gives no state, or that one does not want it, can't be reached, makes no progress for
    /// `timeout`, or gives up.
    pub fn push_state(&self, target: &str, timeout: Duration) -> Result<(), Error> {
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
        (state.joining, state.capture) = (None, None);
        state.peers.clear();
        state.giving.clear();
        drop(state);
        self.shared.watchers.close();
    }
}
