//! Listens, and sorts who comes: members, by the four bytes that they begin with, and clients.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::client::{self, Desk};
use crate::error::Error;
use crate::member::{PREAMBLE, PREAMBLE_LEN};
use crate::stop::Stop;

/// Clients at once, unless told.
pub const DEFAULT_MAX_CLIENTS: usize = 256;
/// Connections of members at once.
const MEMBERS_MAX: usize = 64;
/// How long a member may take to say that it is one.
const PREAMBLE_PATIENCE: Duration = Duration::from_secs(10);

/// What takes the connections of members.
pub(crate) type Members = Arc<dyn Fn(&TcpStream) -> Result<(), Error> + Send + Sync>;

/// Who listens, and to whom connections go.
pub(crate) struct Door {
    address: SocketAddr,
    stop: Stop,
    open: Arc<Open>,
    thread: Option<JoinHandle<()>>,
}

/// Where to listen, and how many may come.
#[derive(Clone, Debug)]
pub struct Listening {
    /// `HOST:PORT`; port 0 takes any free one.
    pub address: String,
    /// Others than this machine may connect: there is no authentication.
    pub insecure: bool,
    /// Clients at once.
    pub max_clients: usize,
}

/// Connections that are open.
#[derive(Default)]
struct Open {
    clients: AtomicUsize,
    members: AtomicUsize,
    threads: Mutex<usize>,
    ended: Condvar,
}

impl Door {
    /// Listens from now on.
    ///
    /// # Errors
    /// If it can't, or must not without `insecure`.
    pub(crate) fn open(
        listening: &Listening,
        desk: Arc<dyn Desk>,
        members: Members,
        stop: Stop,
    ) -> Result<Self, Error> {
        let listener = TcpListener::bind(address(listening)?)
            .map_err(Error::io(format!("listening at {}", listening.address)))?;
        let address = listener.local_addr().map_err(Error::io("listening"))?;
        let open = Arc::new(Open::default());
        let sorter = Sorter { desk, members, stop: stop.clone(), open: Arc::clone(&open) };
        let max_clients = listening.max_clients;
        let thread = thread::Builder::new()
            .name("door".into())
            .spawn(move || sorter.run(&listener, max_clients))
            .map_err(Error::io("starting a thread"))?;
        Ok(Self { address, stop, open, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and returns when none is left.
    pub(crate) fn close(&mut self) {
        self.stop.stop();
        // It sleeps in a system call that only a connection ends; where none can be had, it is not asleep.
        let _ = TcpStream::connect_timeout(&reachable(self.address), Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        let mut threads = self.open.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while *threads > 0 {
            threads = self.open.ended.wait(threads).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

/// Where it is to listen, once it is known that this is allowed.
pub(crate) fn address(listening: &Listening) -> Result<SocketAddr, Error> {
    let Listening { address, insecure, .. } = listening;
    let mut addresses = address.to_socket_addrs().map_err(Error::io(format!("listening at {address}")))?;
    let found = addresses.next().ok_or_else(|| Error::Usage(format!("{address} is no address")))?;
    if !insecure && !found.ip().is_loopback() {
        return Err(Error::Usage(format!(
            "{found} can be reached by others, and there is no authentication: listen at 127.0.0.1, or say \
             --insecure in a network that you trust"
        )));
    }
    Ok(found)
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

#[derive(Clone)]
struct Sorter {
    desk: Arc<dyn Desk>,
    members: Members,
    stop: Stop,
    open: Arc<Open>,
}

impl Sorter {
    fn run(&self, listener: &TcpListener, max_clients: usize) {
        for stream in listener.incoming() {
            if self.stop.is_stopped() {
                return;
            }
            let Ok(stream) = stream else {
                // No descriptor left, most of all: one that ends makes room.
                if !self.stop.pause(Duration::from_millis(100)) {
                    return;
                }
                continue;
            };
            let mut threads = lock(&self.open.threads);
            if *threads >= max_clients + MEMBERS_MAX {
                // Whoever says nothing has a thread too: who comes beyond is closed at once.
                continue;
            }
            *threads += 1;
            drop(threads);
            let sorter = self.clone();
            let spawned = thread::Builder::new().name("connection".into()).spawn(move || {
                // Its end is nobody's loss but the peer's, who sees it.
                let _ = sorter.connection(stream, max_clients);
                sorter.ended();
            });
            if spawned.is_err() {
                self.ended();
            }
        }
    }

    fn ended(&self) {
        *lock(&self.open.threads) -= 1;
        self.open.ended.notify_all();
    }

    fn connection(&self, mut stream: TcpStream, max_clients: usize) -> Result<(), Error> {
        let lost = || Error::io("a connection");
        let _held = self.stop.hold(&stream).map_err(lost())?;
        stream.set_nodelay(true).map_err(lost())?;
        stream.set_read_timeout(Some(Duration::from_mins(10))).map_err(lost())?;
        let mut first = [0; 1];
        if stream.peek(&mut first).map_err(lost())? == 0 {
            return Ok(());
        }
        if first[0] == PREAMBLE[0] {
            let _place =
                Place::take(&self.open.members, MEMBERS_MAX).ok_or(Error::Peer("too many members"))?;
            stream.set_read_timeout(Some(PREAMBLE_PATIENCE)).map_err(lost())?;
            let mut preamble = [0; PREAMBLE_LEN];
            stream.read_exact(&mut preamble).map_err(lost())?;
            if preamble != PREAMBLE {
                return Err(Error::Peer("it is neither a client nor a member of this version"));
            }
            return (self.members)(&stream);
        }
        let Some(_place) = Place::take(&self.open.clients, max_clients) else {
            writeln!(stream, "ERR {max_clients} clients are connected already: try again later")
                .map_err(lost())?;
            return stream.shutdown(Shutdown::Both).map_err(lost());
        };
        client::serve(&*self.desk, &stream).map_err(lost())
    }
}

/// One of so many places, until dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let more = |count| (count < max).then_some(count + 1);
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok().map(|_| Self(count))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
