//! A provider or a joiner that listens.
//!
//! ```text
//! start ──▶ accept thread ──admits──▶ a thread for each session ──▶ transport
//!   │            └─ beyond max_sessions: Busy, with a time, unless another gives way (see `room`)
//! Service ──stop, drop──▶ no new sessions, the running ones cancelled; wait ──▶ all joined
//! ```

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use longhaul_core::id::MemberId;
use longhaul_state::sink::SinkError;
use longhaul_state::source::SourceError;
use longhaul_state::transfer::Control;
use longhaul_state::{Sink, Source};
use longhaul_transport::{Arrival, Caller, Listener};

use crate::engines::Engines;
use crate::error::{Error, ErrorKind};
use crate::room::Room;
use crate::serve::Listening;
use crate::settings::{Settings, Transport, random};
use crate::summary::Summary;
use crate::unavailable::Unavailable;
use crate::watch::{Events, Watch};

/// When one who was turned away may ask again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Events that a watcher may be behind before it loses some.
const EVENTS_BEHIND: usize = 256;

/// What makes the source of each session.
pub(crate) type MakeSource = Box<dyn Fn(&Watch) -> Result<Arc<dyn Source>, SourceError> + Send + Sync>;

/// What the sessions of a service do, and with what.
pub(crate) enum Role {
    /// The source of a session, which may be watched and stopped.
    Provider(MakeSource),
    Joiner(Box<dyn Fn() -> Result<Box<dyn Sink>, SinkError> + Send + Sync>),
}

/// One session of a [`Service`]: who, and how far. A clone looks at the same session.
#[derive(Clone, Debug)]
pub struct Session {
    id: u64,
    peer_addr: SocketAddr,
    watch: Watch,
}

impl Session {
    pub(crate) const fn new(id: u64, peer_addr: SocketAddr, watch: Watch) -> Self {
        Self { id, peer_addr, watch }
    }

    /// The session's number in its service: 1, 2, 3, ...
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where the peer called from.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }

    /// Its events, its statistics, its end.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }
}

/// What happens at a [`Service`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// A session begins.
    Admitted(Session),
    /// There was no room for a peer; it was told to ask again.
    TurnedAway {
        /// Where it called from.
        peer_addr: SocketAddr,
        /// When it may ask again.
        retry_after: Duration,
    },
    /// A session is over.
    Ended {
        /// Which.
        session: Session,
        /// How it ended.
        result: Result<Summary, Error>,
    },
}

/// What a [`Service`] has done.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Served {
    /// Sessions that succeeded.
    pub succeeded: u64,
    /// Sessions that failed.
    pub failed: u64,
    /// What the last session that succeeded has moved.
    pub last: Option<Summary>,
}

/// A provider or joiner that listens. Dropped, it stops: the drop waits until every session,
/// thread and socket is released.
#[derive(Debug)]
#[must_use = "a service that is dropped stops"]
pub struct Service {
    shared: Arc<Shared>,
    first_events: Mutex<Option<Receiver<ServiceEvent>>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    listener: Listener,
    role: Role,
    settings: Settings,
    /// What moves the bytes of all sessions, from the first on.
    engines: OnceLock<Engines>,
    /// So many of them at once, at most, on so many runtime threads.
    sessions: usize,
    runtime_threads: usize,
    once: bool,
    state: Mutex<State>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("address", &self.listener.local_addr()).finish_non_exhaustive()
    }
}

struct State {
    stopped: bool,
    over: bool,
    /// It serves once, and has.
    spent: bool,
    admitted: u64,
    room: Room,
    watchers: Vec<SyncSender<ServiceEvent>>,
    served: Served,
    /// Why it ended, if not because it was stopped.
    failure: Option<Error>,
}

impl State {
    const fn new(room: Room) -> Self {
        Self {
            stopped: false,
            over: false,
            spent: false,
            admitted: 0,
            room,
            watchers: Vec::new(),
            served: Served { succeeded: 0, failed: 0, last: None },
            failure: None,
        }
    }

    fn emit(&mut self, event: &ServiceEvent) {
        self.watchers
            .retain(|watcher| !matches!(watcher.try_send(event.clone()), Err(TrySendError::Disconnected(_))));
    }

    fn watch(&mut self) -> Receiver<ServiceEvent> {
        let (sender, receiver) = sync_channel(EVENTS_BEHIND);
        if !self.over {
            self.watchers.push(sender);
        }
        receiver
    }
}

impl Service {
    pub(crate) fn start(role: Role, mut settings: Settings, listening: &Listening) -> Result<Self, Error> {
        let addresses = listening.addresses()?;
        let listener = longhaul_transport_std::listen(addresses.as_slice()).map_err(|error| {
            Error::new(ErrorKind::Other, format!("can't listen at {}: {error}", listening.address))
                .with_hint("choose another address with --listen; port 0 takes any free one")
                .with_cause(error)
        })?;
        if settings.member.is_none() {
            settings.member = Some(MemberId(random()?));
        }
        let places = if listening.once { 1 } else { listening.max_sessions };
        let mut state = State::new(Room::new(places, settings.stall_timeout));
        let first_events = Mutex::new(Some(state.watch()));
        let shared = Arc::new(Shared {
            listener,
            role,
            settings,
            engines: OnceLock::new(),
            sessions: Room::sessions_at_most(places),
            runtime_threads: listening.runtime_threads,
            once: listening.once,
            state: Mutex::new(state),
        });
        tracing::info!(address = %shared.listener.local_addr(), "listening");
        let accepting = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("longhaul-accept".into())
            .spawn(move || accept(&accepting))
            .map_err(|error| Error::new(ErrorKind::Other, "a thread can't be started").with_cause(error))?;
        Ok(Self { shared, first_events, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.listener.local_addr()
    }

    /// Has `take` called with each control connection of a transfer that comes: see [`Listener::take_transfers`].
    pub(crate) fn take_transfers(&self, take: impl Fn(Arrival) + Send + Sync + 'static) {
        self.shared.listener.take_transfers(take);
    }

    /// The sessions that run now; those that were told to give way wind up, and are none of them.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        let mut sessions = self.shared.lock().room.sessions();
        sessions.retain(|session| !session.watch().gives_way());
        sessions
    }

    /// What was done so far.
    #[must_use]
    pub fn served(&self) -> Served {
        self.shared.lock().served.clone()
    }

    /// What happens. The first to ask hears everything from the start, later ones from now on. Who
    /// falls far behind loses events.
    #[must_use]
    pub fn events(&self) -> Events<ServiceEvent> {
        let first = self.first_events.lock().unwrap_or_else(PoisonError::into_inner).take();
        Events(first.unwrap_or_else(|| self.shared.lock().watch()))
    }

    /// Stops it from elsewhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.shared))
    }

    /// No new sessions, and the running ones are cancelled; does not wait for their end.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Waits for the end: until it is stopped, or, if it serves once, until the first session ended.
    ///
    /// # Errors
    /// If listening failed for good; if it served once, also if that session failed.
    pub fn wait(mut self) -> Result<Served, Error> {
        self.join();
        let mut state = self.shared.lock();
        match state.failure.take() {
            Some(error) => Err(error),
            None => Ok(state.served.clone()),
        }
    }

    /// How many sessions each of its engines has.
    #[cfg(all(test, target_os = "linux", not(longhaul_portable)))]
    pub(crate) fn loads(&self) -> Vec<usize> {
        self.shared.engines.get().map_or_else(Vec::new, |engines| engines.loads().clone())
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // It runs no code of others: sessions have threads of their own.
            let _ = thread.join();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.shared.stop();
            self.join();
        }
    }
}

/// Stops a [`Service`], from any thread.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Shared>);

impl Stopper {
    /// As [`Service::stop`].
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn engines(&self, control: &Control) -> &Engines {
        self.engines
            .get_or_init(|| Engines::start(&self.settings, self.sessions, self.runtime_threads, control))
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let sessions = state.room.sessions();
        drop(state);
        self.listener.stop();
        for session in sessions {
            session.watch.cancel();
        }
    }
}

/// The accept thread: ends with everything that it has started.
fn accept(shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    loop {
        match shared.listener.accept() {
            Ok(None) => break,
            Ok(Some(caller)) => {
                threads.retain(|thread| !thread.is_finished());
                threads.extend(admit(shared, caller));
            }
            // What passes, the listener has waited for itself.
            Err(error) => {
                let message = format!("listening failed: {error}");
                shared.lock().failure = Some(Error::new(ErrorKind::Other, message).with_cause(error));
                break;
            }
        }
    }
    for thread in threads {
        // A session's panics are caught: they are its result.
        let _ = thread.join();
    }
    let mut state = shared.lock();
    state.over = true;
    state.watchers.clear();
}

/// Starts a session, or turns the caller away.
fn admit(shared: &Arc<Shared>, caller: Caller) -> Option<JoinHandle<()>> {
    let peer_addr = caller.peer_addr();
    let mut state = shared.lock();
    let (origin, now) = (caller.origin(), Instant::now());
    if state.stopped || state.spent || !state.room.has_place(origin, now) {
        state.emit(&ServiceEvent::TurnedAway { peer_addr, retry_after: RETRY_AFTER });
        drop(state);
        tracing::info!(%peer_addr, "turned away: no room");
        caller.busy(RETRY_AFTER);
        return None;
    }
    state.admitted += 1;
    let session = Session::new(state.admitted, peer_addr, Watch::new());
    state.room.enter(session.clone(), origin, now);
    state.emit(&ServiceEvent::Admitted(session.clone()));
    drop(state);
    let (inner, inner_session) = (Arc::clone(shared), session.clone());
    let name = format!("longhaul-{}", session.id);
    let thread = thread::Builder::new().name(name).spawn(move || run(&inner, &inner_session, caller));
    match thread {
        Ok(thread) => Some(thread),
        Err(error) => {
            // The caller went with the closure: it hears that the connection is closed.
            let error = Error::new(ErrorKind::Other, "a session's thread can't be started").with_cause(error);
            end(shared, &session, Err(error));
            None
        }
    }
}

fn run(shared: &Shared, session: &Session, caller: Caller) {
    let started = Instant::now();
    tracing::info!(session = session.id, peer = %session.peer_addr, "session begins");
    let result = catch_unwind(AssertUnwindSafe(|| converse(shared, session, caller)))
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Other, "the session's thread panicked")));
    let result = result.map(|(summary, transport)| Summary::new(&summary, started.elapsed(), transport));
    match &result {
        Ok(summary) => {
            tracing::info!(session = session.id, items = summary.items, bytes = summary.bytes, root = %summary.root, "session done");
        }
        Err(error) => tracing::warn!(session = session.id, %error, "session failed"),
    }
    end(shared, session, result);
}

fn converse(
    shared: &Shared,
    session: &Session,
    caller: Caller,
) -> Result<(longhaul_state::transfer::Summary, Transport), Error> {
    let options = shared.settings.options()?;
    let control = session.watch.control();
    let place = shared.engines(control).place();
    tracing::debug!(session = session.id, engine = place.number, "the session's place");
    let caller = caller.by(Arc::clone(&place.engine));
    let summary = match &shared.role {
        Role::Provider(make) => {
            let source = make(session.watch()).unwrap_or_else(|error| Arc::new(Unavailable::new(error)));
            caller.provide(source, &options, place.pool, control)?
        }
        Role::Joiner(make) => {
            let sink = make().unwrap_or_else(|error| Box::new(Unavailable::new(error)));
            caller.join(sink, &options, place.pool, control)?
        }
    };
    Ok((summary, place.transport()))
}

/// Everything that a session's end changes, in one step.
fn end(shared: &Shared, session: &Session, result: Result<Summary, Error>) {
    session.watch.end();
    let mut state = shared.lock();
    state.room.leave(session.id);
    // A caller that only said who it is was not the one that is waited for.
    let spent = shared.once && session.watch.is_established();
    state.spent |= spent;
    match &result {
        Ok(summary) => {
            state.served.succeeded += 1;
            state.served.last = Some(summary.clone());
        }
        Err(_) => state.served.failed += 1,
    }
    if spent {
        state.failure = result.as_ref().err().cloned();
    }
    state.emit(&ServiceEvent::Ended { session: session.clone(), result });
    drop(state);
    if spent {
        shared.listener.stop();
    }
}
