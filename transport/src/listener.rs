//! Listens, and sorts who comes: new sessions, lanes of running ones, and strangers.
//!
//! A connection says in its first frame what it is. One that has said so by the time that it is accepted, as
//! peers do, is sorted at once, however many strangers there are. Until it has, it costs a small thread, has ten
//! seconds, and may send one frame; only so many may be in that state at once. When there are more,
//! the oldest of the origin that has most gives way.

mod first;
mod half_open;
mod origin;

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use longhaul_core::id::{Epoch, Token, TransferId};
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{Outcomes, SessionError};
use longhaul_core::wire::{Frame, HEADER_LEN, Init, Outcome, Query, Verdict};
use longhaul_state::pool::Pool;
use longhaul_state::transfer::{Control, Options, Summary, TransferError};
use longhaul_state::{Sink, Source};
use socket2::SockRef;

use crate::channel;
use crate::driver::{self, Admission, Began, Lanes, Message, Part, Queue, Setup, Spare, Ticket, queue};
use crate::engine::Engine;
use crate::stream::Connection;
use first::First;
use half_open::HalfOpen;
pub use origin::Origin;

/// How many connections may wait to be accepted. Where the system allows fewer, it is those: of a crowd, each
/// that finds no place calls again after a second at the earliest.
const BACKLOG: i32 = 4096;
/// When a connection that gave way may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest pause after the system had no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Listens for peers.
pub struct Listener {
    address: SocketAddr,
    door: Arc<Door>,
    callers: Mutex<mpsc::Receiver<io::Result<Option<Caller>>>>,
    /// Wakes those who wait for callers when there will be none.
    waker: Callers,
    thread: Option<JoinHandle<()>>,
}

/// Callers on their way to those who accept them; `None`: there will be no more.
type Callers = mpsc::Sender<io::Result<Option<Caller>>>;

/// A control connection of a transfer ([`longhaul_core::transfer::wire`]).
#[derive(Debug)]
pub struct Arrival {
    /// The connection.
    pub stream: TcpStream,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its first bytes, which were read.
    pub head: [u8; HEADER_LEN],
}

type TakeTransfer = Box<dyn Fn(Arrival) + Send + Sync>;

/// What the accepting thread, the first-frame threads and sessions share.
struct Door {
    engine: Arc<dyn Engine>,
    address: SocketAddr,
    /// Who takes the control connections of transfers.
    transfers: OnceLock<TakeTransfer>,
    state: Mutex<DoorState>,
    changed: Condvar,
    spare: Arc<Spare>,
}

#[derive(Default)]
struct DoorState {
    stopped: bool,
    /// Sessions that run or may yet be admitted, by the token that their lanes bring.
    sessions: HashMap<Token, Queue>,
    /// How the transfers stand that were received here.
    outcomes: Outcomes,
    /// Sessions that their dialler may resume, by their transfer.
    transfers: HashMap<TransferId, Queue>,
    /// Connections that have not said what they are, to be closed on stop.
    half_open: HalfOpen,
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, DoorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Nobody needs a connection any more: stopped, and no session waits for lanes.
    fn is_closed(&self) -> bool {
        let state = self.lock();
        state.stopped && state.sessions.is_empty()
    }

    /// The accepting thread sleeps in a system call that only a connection ends.
    fn wake(&self) {
        self.changed.notify_all();
        // Whoever can't be reached is not asleep.
        let _ = TcpStream::connect_timeout(&reachable(self.address), Duration::from_secs(1));
    }
}

/// Keeps a session's token valid until dropped.
struct Registration {
    door: Arc<Door>,
    token: Token,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.door.lock().sessions.remove(&self.token);
        if self.door.is_closed() {
            self.door.wake();
        }
    }
}

/// Keeps a session known by its transfer, until dropped.
struct Resumable {
    door: Arc<Door>,
    transfer: TransferId,
}

impl Resumable {
    /// `None` if another session has the transfer already: that one can be resumed, this one can't.
    fn new(door: &Arc<Door>, transfer: TransferId, queue: &Queue) -> Option<Self> {
        let mut state = door.lock();
        if state.transfers.contains_key(&transfer) {
            return None;
        }
        state.transfers.insert(transfer, queue.clone());
        drop(state);
        Some(Self { door: Arc::clone(door), transfer })
    }
}

impl Drop for Resumable {
    fn drop(&mut self) {
        self.door.lock().transfers.remove(&self.transfer);
    }
}

impl Listener {
    /// Listens at `address`; port 0 takes any free one. `engine` moves the bytes of all sessions.
    ///
    /// # Errors
    /// If the address can't be had.
    pub fn bind(address: impl ToSocketAddrs, engine: Arc<dyn Engine>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        SockRef::from(&listener).listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let door = Arc::new(Door {
            engine,
            address,
            transfers: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
            spare: Arc::default(),
        });
        let (waker, callers) = mpsc::channel();
        let thread = {
            let (door, sender) = (Arc::clone(&door), waker.clone());
            thread::Builder::new()
                .name("longhaul-accept".into())
                .spawn(move || accept(&listener, &door, &sender))?
        };
        Ok(Self { address, door, callers: Mutex::new(callers), waker, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next peer that opens a session; `None` once stopped. Connections that are lanes of
    /// running sessions go there by themselves, and those that don't speak the protocol are told so.
    ///
    /// # Errors
    /// If the listening socket failed for good.
    pub fn accept(&self) -> io::Result<Option<Caller>> {
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.door.is_stopped() {
            match callers.recv() {
                Ok(Ok(Some(caller))) if !self.door.is_stopped() => return Ok(Some(caller)),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Has `take` called with each control connection of a transfer that comes, on the thread that sorts who comes: it
    /// must not block. The first who asks for them gets them; else they are turned away.
    pub fn take_transfers(&self, take: impl Fn(Arrival) + Send + Sync + 'static) {
        // Who asked first keeps them.
        let _ = self.door.transfers.set(Box::new(take));
    }

    /// Ends the listening, from any thread: no new sessions. Running ones go on, and their lanes still
    /// come in; the address is free when the last of them has ended.
    pub fn stop(&self) {
        let mut state = self.door.lock();
        if std::mem::replace(&mut state.stopped, true) {
            return;
        }
        if state.sessions.is_empty() {
            state.half_open.close();
        }
        drop(state);
        // Those who wait hear of it; if nobody does, so much the better.
        let _ = self.waker.send(Ok(None));
        self.door.wake();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
        // With sessions running it ends by itself, after the last of them.
        if let Some(thread) = self.thread.take().filter(|_| self.door.is_closed()) {
            // It has no result, and a panic in it was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// An address that reaches a listener bound to all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn accept(listener: &TcpListener, door: &Arc<Door>, callers: &Callers) {
    let mut pause = Duration::from_millis(10);
    while !door.is_closed() {
        match listener.accept() {
            Ok((stream, peer)) => {
                pause = Duration::from_millis(10);
                greet(stream, peer, door, callers);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_fatal(&error) => {
                // Nobody listens any more if nobody waits for callers.
                let _ = callers.send(Err(error));
                return;
            }
            // Out of descriptors or memory, or the peer is gone already: later it may go better.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                let state = door.lock();
                let waited = door.changed.wait_timeout_while(state, pause, |state| !state.stopped);
                drop(waited);
                pause = (pause * 2).min(ACCEPT_PAUSE);
            }
        }
    }
}

/// Errors of `accept` that no waiting mends: the socket itself is none, or no longer listens.
fn is_fatal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Sorts a new connection, or gives it a thread that reads its first frame.
fn greet(stream: TcpStream, peer: SocketAddr, door: &Arc<Door>, callers: &Callers) {
    if first::has_come(&stream) {
        let first = first::read(&stream);
        return sort(stream, peer, &first, door, callers);
    }
    let Ok(watched) = stream.try_clone() else { return };
    let mut state = door.lock();
    if state.stopped && state.sessions.is_empty() {
        return;
    }
    let (number, gave_way) = state.half_open.take(Origin::from(peer.ip()), watched);
    if let Some(oldest) = gave_way {
        tracing::debug!("too many connections have not said what they are: the oldest is turned away");
        // Nothing was written to it yet: this does not block. What it says meanwhile is read, and not listened to.
        turn_away(oldest, &SessionError::Busy { retry_after: RETRY_AFTER });
    }
    drop(state);
    let (for_thread, callers) = (Arc::clone(door), callers.clone());
    let spawned =
        thread::Builder::new().name("longhaul-greet".into()).stack_size(128 << 10).spawn(move || {
            let first = first::read(&stream);
            if for_thread.lock().half_open.leave(number) {
                sort(stream, peer, &first, &for_thread, &callers);
            }
        });
    if let Err(error) = spawned {
        door.lock().half_open.leave(number);
        tracing::warn!(%error, %peer, "no thread for a connection");
    }
}

/// Sends a connection where it belongs.
fn sort(
    stream: TcpStream,
    peer: SocketAddr,
    first: &Result<First, SessionError>,
    door: &Arc<Door>,
    callers: &Callers,
) {
    match first {
        Ok(First::Init(init)) => {
            if init.epoch > Epoch(0) {
                resume(stream, init, door);
            } else if let Some((registration, queue, messages)) = register(door) {
                let engine = Arc::clone(&door.engine);
                let caller = Caller { stream, peer, init: *init, registration, queue, messages, engine };
                // Nobody waits for callers any more: the connection closes.
                let _ = callers.send(Ok(Some(caller)));
            } else {
                tracing::debug!(%peer, "a session was opened after the listening had ended");
            }
        }
        Ok(First::Query(query)) => answer(stream, query, door),
        Ok(First::Transfer(head)) => {
            if let Some(take) = door.transfers.get().filter(|_| !door.is_stopped()) {
                take(Arrival { stream, peer, head: *head });
            } else {
                tracing::info!(%peer, "a live transfer was asked for, and nobody here provides one");
            }
        }
        Ok(First::Attach(attach)) => {
            let session = door.lock().sessions.get(&attach.token).cloned();
            if let (Some(queue), Ok(connection)) = (session, Connection::tcp(stream)) {
                let ticket = Ticket::Attached(attach.token);
                queue.send(Message::LaneUp { lane: attach.lane, ticket, connection });
            } else {
                tracing::debug!(%peer, "a lane came for no running session");
            }
        }
        Err(SessionError::LaneLost(_)) => {
            tracing::debug!(%peer, "a connection ended before it said what it is");
        }
        Err(error) => {
            tracing::info!(%peer, %error, "a connection was turned away");
            turn_away(&stream, error);
        }
    }
}

/// Says how a transfer stands that was received here.
fn answer(mut stream: TcpStream, query: &Query, door: &Door) {
    let verdict = door.lock().outcomes.verdict(query.transfer);
    let outcome = Frame::Outcome(Outcome { transfer: query.transfer, verdict, app_reply: b"" });
    let mut words = [0; 2 * APP_WORDS];
    let len = outcome.emit(&mut words).unwrap_or(0);
    // Whoever asks and does not listen misses the answer, nothing else.
    let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
    let _ = stream.write_all(&words[..len]);
    let _ = stream.shutdown(Shutdown::Write);
}

/// A fresh token, by which the lanes of a session find it from now on; none once stopped.
fn register(door: &Arc<Door>) -> Option<(Registration, Queue, channel::Receiver<Message>)> {
    let token = fresh_token()?;
    let (queue, messages) = queue();
    let mut state = door.lock();
    if state.stopped {
        return None;
    }
    state.sessions.insert(token, queue.clone());
    drop(state);
    Some((Registration { door: Arc::clone(door), token }, queue, messages))
}

fn fresh_token() -> Option<Token> {
    let mut token = [0; 16];
    match getrandom::fill(&mut token) {
        Ok(()) => Some(Token(token)),
        Err(error) => {
            tracing::error!(%error, "no randomness for a token");
            None
        }
    }
}

/// Brings a connection to the session that its dialler lost.
fn resume(stream: TcpStream, init: &Init, door: &Arc<Door>) {
    let Some(token) = fresh_token() else { return };
    let mut state = door.lock();
    let Some(queue) = state.transfers.get(&init.transfer).cloned() else {
        drop(state);
        return turn_away(&stream, &SessionError::Gone);
    };
    state.sessions.insert(token, queue.clone());
    drop(state);
    let registration = Registration { door: Arc::clone(door), token };
    if let Ok(connection) = Connection::tcp(stream) {
        let admission = Admission { token, _registration: Box::new(registration) };
        queue.send(Message::Resume { init: *init, connection, admission });
    }
}

fn turn_away(mut stream: &TcpStream, error: &SessionError) {
    let mut words = [0; 2 * APP_WORDS];
    let len = longhaul_core::session::refusal(error, Side::Provider, &mut words);
    // Whoever does not listen misses the reason, nothing else.
    let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
    let _ = stream.write_all(&words[..len]);
    let _ = stream.shutdown(Shutdown::Write);
}

/// More than the words of any refusal.
const APP_WORDS: usize = 1024;

/// A peer that wants a session and has not been admitted.
pub struct Caller {
    stream: TcpStream,
    peer: SocketAddr,
    init: Init,
    registration: Registration,
    queue: Queue,
    messages: channel::Receiver<Message>,
    engine: Arc<dyn Engine>,
}

impl Caller {
    /// Its bytes are moved by this engine, not by the listener's.
    #[must_use]
    pub fn by(self, engine: Arc<dyn Engine>) -> Self {
        Self { engine, ..self }
    }

    /// Where it calls from.
    #[must_use]
    pub const fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Where it comes from, as far as fairness between callers goes.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::from(self.peer.ip())
    }

    /// Turns it away for now.
    pub fn busy(self, retry_after: Duration) {
        turn_away(&self.stream, &SessionError::Busy { retry_after });
    }

    /// Admits it and gives it the state. Blocks until the session is over.
    ///
    /// # Errors
    /// If the transfer failed, or the joiner could not publish it.
    pub fn provide(
        self,
        source: Arc<dyn Source>,
        options: &Options,
        pool: &Pool,
        control: &Arc<Control>,
    ) -> Result<Summary, TransferError> {
        self.run(Part::Provide(source), options, pool, control)
    }

    /// Admits it and receives its state. Blocks until the session is over.
    ///
    /// # Errors
    /// If the transfer failed; nothing was published then.
    pub fn join(
        self,
        sink: Box<dyn Sink>,
        options: &Options,
        pool: &Pool,
        control: &Arc<Control>,
    ) -> Result<Summary, TransferError> {
        let (door, transfer) = (Arc::clone(&self.registration.door), self.init.transfer);
        let record = |verdict| door.lock().outcomes.record(transfer, verdict);
        record(Verdict::Running);
        let end = self.run(Part::Join(sink), options, pool, control);
        record(if end.is_ok() { Verdict::Installed } else { Verdict::Failed });
        end
    }

    fn run(
        self,
        part: Part,
        options: &Options,
        pool: &Pool,
        control: &Arc<Control>,
    ) -> Result<Summary, TransferError> {
        let side = part.side();
        let internal = |error: String| TransferError::new(Reason::Internal, side, Phase::Init, error);
        let token = self.registration.token;
        let _resumable = Resumable::new(&self.registration.door, self.init.transfer, &self.queue);
        let connection = Connection::tcp(self.stream).map_err(|error| internal(error.to_string()))?;
        let spare = Arc::clone(&self.registration.door.spare);
        let setup = Setup {
            options,
            pool,
            control,
            lanes: Lanes::Attach(Admission { token, _registration: Box::new(self.registration) }),
            queue: self.queue,
            messages: self.messages,
            engine: &self.engine,
        };
        driver::run(part, connection, setup, Began::Called { init: self.init, spare })
    }
}
