//! Handing an operation to the order: at the primary straight, at a replica over one connection for all its clients.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;

use super::frame::{self, Frame, Purpose};
use super::wire::{ALIVE, Caller, dial};
use crate::error::Error;
use crate::order::{Queue, Refusal};
use crate::record::Operation;
use crate::stop::Stop;

/// How long a client waits for its operation to be durable.
const ANSWER: Duration = Duration::from_secs(30);

/// An operation that is durable at the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its place.
    pub sequence: SequenceNumber,
    /// Whether this member has applied it, so that its readers see it.
    pub is_here: bool,
}

/// Why an operation was not, or not certainly, carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// The primary refused it: nothing was changed.
    Refused(Refusal),
    /// The primary can't be reached: nothing was changed.
    Unreachable(String),
    /// Writes are held here while somebody joins, for too long: nothing was changed.
    Held,
    /// It was submitted, and no answer came: it may be carried out, or not.
    InDoubt,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unreachable(why) => write!(f, "the primary can't be reached ({why}): try again later"),
            Self::Held => f.write_str("writes are held here while a replica joins: try again, or elsewhere"),
            Self::InDoubt => f.write_str(
                "the connection was lost before the answer came: it may be carried out or not; look before you repeat it",
            ),
        }
    }
}

impl std::error::Error for SubmitError {}

/// Whom a member's clients submit to.
pub trait Submit: Send + Sync {
    /// Has an operation carried out; returns when it is durable at the primary.
    ///
    /// # Errors
    /// Why it was not, or not certainly.
    fn submit(&self, operation: Operation) -> Result<Submitted, SubmitError>;
}

/// The primary's own clients.
impl Submit for Arc<Queue> {
    fn submit(&self, operation: Operation) -> Result<Submitted, SubmitError> {
        let (sender, answer) = channel();
        Queue::submit(
            self,
            operation,
            Box::new(move |result| {
                // It waits for this, and for nothing else.
                let _ = sender.send(result);
            }),
        );
        match answer.recv() {
            Ok(Ok(sequence)) => Ok(Submitted { sequence, is_here: true }),
            Ok(Err(refusal)) => Err(SubmitError::Refused(refusal)),
            Err(_) => Err(SubmitError::InDoubt),
        }
    }
}

/// A replica's connection to the primary, dialled when it is needed.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    primary: String,
    member: MemberId,
    stop: Stop,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    generation: u64,
    next: u64,
}

struct Connection {
    stream: TcpStream,
    /// Who waits for which answer; empty for good once the connection is lost.
    waiting: HashMap<u64, Sender<Result<SequenceNumber, Refusal>>>,
}

impl Link {
    /// To the primary at that address.
    #[must_use]
    pub fn new(primary: String, member: MemberId, stop: Stop) -> Self {
        Self(Arc::new(Inner { primary, member, stop, state: Mutex::default() }))
    }

    /// Dials, and keeps hearing answers.
    fn connect(&self, state: &mut State) -> Result<(), Error> {
        let caller = Caller { member: self.0.member, order: None, next: SequenceNumber::NONE };
        let dialled = dial(&self.0.primary, Purpose::Submit, caller)?;
        let stream = dialled.stream.try_clone().map_err(Error::io("keeping a connection"))?;
        // Answers come when there are operations; who waits for one has a deadline of its own.
        stream.set_read_timeout(None).map_err(Error::io("keeping a connection"))?;
        let held = self.0.stop.hold(&stream).map_err(Error::io("keeping a connection"))?;
        state.generation += 1;
        let generation = state.generation;
        let (link, mut reader) = (self.clone(), dialled.reader);
        let hear = move || {
            let _held = held;
            while let Ok(Some(Frame::Answer { number, result })) = frame::read(&mut reader) {
                let mut state = link.lock();
                let waiting =
                    state.connection.as_mut().and_then(|connection| connection.waiting.remove(&number));
                // Who no longer waits has given up.
                waiting.map(|waiting| waiting.send(result));
            }
            link.lose(generation);
        };
        thread::Builder::new().name("answers".into()).spawn(hear).map_err(Error::io("starting a thread"))?;
        let link = self.clone();
        let keep = move || while link.0.stop.pause(ALIVE) && link.say_alive(generation) {};
        thread::Builder::new().name("alive".into()).spawn(keep).map_err(Error::io("starting a thread"))?;
        state.connection = Some(Connection { stream, waiting: HashMap::new() });
        Ok(())
    }

    /// Whoever waits on this connection is in doubt.
    fn lose(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation
            && let Some(connection) = state.connection.take()
        {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
    }

    fn say_alive(&self, generation: u64) -> bool {
        let mut state = self.lock();
        let is_same = state.generation == generation;
        let Some(connection) = state.connection.as_mut().filter(|_| is_same) else { return false };
        frame::write(&mut connection.stream, &Frame::Alive { last: SequenceNumber::NONE }).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Has an operation carried out at the primary: its place.
    ///
    /// # Errors
    /// Why it was not, or not certainly.
    ///
    /// # Panics
    /// Never: it is connected before it is written to.
    pub fn submit(&self, operation: Operation) -> Result<SequenceNumber, SubmitError> {
        let (sender, answer) = channel();
        let mut state = self.lock();
        if state.connection.is_none() {
            let unreachable = |error: Error| SubmitError::Unreachable(error.to_string());
            self.connect(&mut state).map_err(unreachable)?;
        }
        let number = state.next;
        state.next += 1;
        let mut bytes = Vec::new();
        Frame::Submit { number, operation }.encode(&mut bytes);
        let connection = state.connection.as_mut().expect("connected above");
        connection.waiting.insert(number, sender);
        if connection.stream.write_all(&bytes).is_err() {
            let generation = state.generation;
            drop(state);
            self.lose(generation);
            return Err(SubmitError::InDoubt);
        }
        drop(state);
        match answer.recv_timeout(ANSWER) {
            Ok(Ok(sequence)) => Ok(sequence),
            Ok(Err(refusal)) => Err(SubmitError::Refused(refusal)),
            Err(_) => Err(SubmitError::InDoubt),
        }
    }
}
