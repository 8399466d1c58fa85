//! A proxy between two real sides: it watches the bytes of all connections, and meddles with them.
//!
//! ```text
//! dialler ──▶ Between ──▶ listener     a pump each way and connection
//!                │
//!                └── tells a Watch what it carried, and does each Meddling at its byte
//! ```

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Bytes that a pump takes at once.
const TAKEN: usize = 256 << 10;

/// An address of this machine that is not the usual one.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Dials from one of this machine's addresses.
///
/// # Errors
/// As the system says.
pub fn dial_from(home: Ipv4Addr, listening: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((home, 0)).into())?;
    socket.connect(&listening.into())?;
    Ok(socket.into())
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Toward {
    /// From the listener to the dialler.
    Dialler,
    /// Back.
    Listener,
}

/// What is done to one of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meddling {
    /// Which connection, in the order in which they come: 0 is lane 0 of the first epoch.
    pub connection: usize,
    /// Which way.
    pub toward: Toward,
    /// At which byte.
    pub at: usize,
    /// What.
    pub what: Meddle,
}

/// See [`Meddling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meddle {
    /// This bit of the byte is flipped.
    Flip(u8),
    /// The connection ends before the byte, both ways.
    Cut,
    /// Nothing comes through from the byte on, this way of this connection; nobody is told.
    Stall,
    /// Nothing comes through any more, on no connection, neither way; nobody is told.
    Silence,
    /// So many bytes go at so many a second.
    Slow {
        /// How many.
        bytes: usize,
        /// How many a second.
        per_second: usize,
    },
    /// So many bytes go one at a time.
    Pieces(usize),
    /// Up to so many bytes come twice.
    Twice(usize),
    /// Up to so many bytes change places with as many after them.
    Swap(usize),
}

/// Sees what goes through, in the pump's own thread, before it goes on.
pub trait Watch: Send + Sync {
    /// These bytes have come on this connection.
    fn carried(&self, connection: usize, toward: Toward, bytes: &[u8]);
}

impl Watch for () {
    fn carried(&self, _: usize, _: Toward, _: &[u8]) {}
}

/// Stands between diallers and a listener, on all their connections, until it is dropped.
#[derive(Debug)]
pub struct Between {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// [`Meddle::Silence`] has begun.
    silent: bool,
    /// Connections that stand.
    standing: HashMap<usize, Standing>,
    /// When something was last done to the bytes.
    meddled: Option<Instant>,
}

#[derive(Debug)]
struct Standing {
    /// The dialler's and the listener's.
    ends: [TcpStream; 2],
    /// Pumps that carry it: 2, or 1.
    pumps: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is all over.
    fn until_stopped(&self) {
        let state = self.lock();
        drop(self.changed.wait_while(state, |state| !state.stopped));
    }
}

impl Between {
    /// A proxy before the side that listens at `listening`.
    ///
    /// # Errors
    /// If there is no address for it.
    pub fn new(listening: SocketAddr, meddling: &[Meddling], watch: Arc<dyn Watch>) -> io::Result<Self> {
        Self::moving(listening, meddling, watch, usize::MAX)
    }

    /// The same; from this connection on, the listener sees its dialler at another address.
    ///
    /// # Errors
    /// As [`Between::new`].
    pub fn moving(
        listening: SocketAddr,
        meddling: &[Meddling],
        watch: Arc<dyn Watch>,
        moves: usize,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (inner, meddling) = (Arc::clone(&shared), meddling.to_vec());
        let thread = thread::spawn(move || {
            let mut number = 0;
            while let Ok((dialler, _)) = listener.accept() {
                if inner.lock().stopped {
                    break;
                }
                // A listener that has ended takes nobody: the dialler sees the end.
                let home = if number < moves { Ipv4Addr::LOCALHOST } else { ELSEWHERE };
                let Ok(listening) = dial_from(home, listening) else { continue };
                // Without descriptors both see the end.
                let _ = start(number, dialler, listening, &meddling, &watch, &inner);
                number += 1;
            }
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where to dial.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// When something was last done to the bytes.
    #[must_use]
    pub fn meddled(&self) -> Option<Instant> {
        self.shared.lock().meddled
    }

    /// Waits until no connection stands.
    pub fn settled(&self) {
        let state = self.shared.lock();
        drop(self.shared.changed.wait_while(state, |state| !state.standing.is_empty()));
    }

    /// Takes no more connections, and waits for the end of those that stand.
    pub fn finish(mut self) {
        self.turn_away();
        self.settled();
    }

    fn turn_away(&mut self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        drop(state);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It sleeps until somebody comes.
            let _ = TcpStream::connect(self.address);
            // It has no result.
            let _ = thread.join();
        }
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.turn_away();
        for Standing { ends: [dialler, listening], .. } in self.shared.lock().standing.values() {
            // They may be gone already.
            let _ = (dialler.shutdown(Shutdown::Both), listening.shutdown(Shutdown::Both));
        }
        self.settled();
    }
}

fn start(
    number: usize,
    dialler: TcpStream,
    listening: TcpStream,
    meddling: &[Meddling],
    watch: &Arc<dyn Watch>,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    for stream in [&dialler, &listening] {
        stream.set_nodelay(true)?;
        // Who has closed its end while its window was shut does not tell that it takes nothing more.
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    }
    let pump = |toward, from: &TcpStream, to: &TcpStream| {
        let mine = |m: &&Meddling| m.connection == number && m.toward == toward;
        let mut meddling: Vec<_> = meddling.iter().filter(mine).map(|m| (m.at, m.what)).collect();
        meddling.sort_by_key(|(at, _)| *at);
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (watch, shared) = (Arc::clone(watch), Arc::clone(shared));
        let buffer = vec![0; TAKEN];
        io::Result::Ok(Pump {
            number,
            toward,
            from,
            to,
            watch,
            shared,
            meddling,
            buffer,
            sent: 0,
            len: 0,
            gone: 0,
        })
    };
    let back = pump(Toward::Listener, &dialler, &listening)?;
    let forth = pump(Toward::Dialler, &listening, &dialler)?;
    shared.lock().standing.insert(number, Standing { ends: [dialler, listening], pumps: 2 });
    thread::spawn(move || back.run());
    thread::spawn(move || forth.run());
    Ok(())
}

/// Carries one direction of a connection.
struct Pump {
    number: usize,
    toward: Toward,
    from: TcpStream,
    to: TcpStream,
    watch: Arc<dyn Watch>,
    shared: Arc<Shared>,
    /// What is done at which byte, in their order.
    meddling: Vec<(usize, Meddle)>,
    /// What was read: `sent` of its `len` bytes have gone on.
    buffer: Vec<u8>,
    sent: usize,
    len: usize,
    /// Bytes that have gone on in all.
    gone: usize,
}

impl Pump {
    fn run(mut self) {
        // Either end may be gone: then there is nobody to tell.
        let _ = self.pump();
        let _ = self.to.shutdown(Shutdown::Write);
        let mut state = self.shared.lock();
        if let Some(standing) = state.standing.get_mut(&self.number) {
            standing.pumps -= 1;
            if standing.pumps == 0 {
                state.standing.remove(&self.number);
            }
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn pump(&mut self) -> io::Result<()> {
        let mut meddling = std::mem::take(&mut self.meddling).into_iter().peekable();
        while self.fill()? {
            while let Some((at, what)) = meddling.next_if(|(at, _)| *at < self.gone + self.ready()) {
                self.send(at.saturating_sub(self.gone))?;
                self.shared.lock().meddled = Some(Instant::now());
                self.meddle(what)?;
            }
            self.send(self.ready())?;
        }
        Ok(())
    }

    /// Bytes that were read and have not gone on.
    const fn ready(&self) -> usize {
        self.len - self.sent
    }

    /// Reads what has come, if all before it has gone on; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.ready() == 0 {
            (self.sent, self.len) = (0, self.from.read(&mut self.buffer)?);
        }
        Ok(self.ready() > 0)
    }

    fn send(&mut self, bytes: usize) -> io::Result<()> {
        if self.shared.lock().silent {
            self.shared.until_stopped();
        }
        let mut going = &self.buffer[self.sent..self.sent + bytes];
        self.watch.carried(self.number, self.toward, going);
        while !going.is_empty() {
            match (&self.to).write(going) {
                Ok(written) => going = &going[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.is_alone() => {}
                Err(error) => return Err(error),
            }
        }
        (self.sent, self.gone) = (self.sent + bytes, self.gone + bytes);
        Ok(())
    }

    /// Whether the other direction is over.
    fn is_alone(&self) -> bool {
        self.shared.lock().standing.get(&self.number).is_none_or(|standing| standing.pumps < 2)
    }

    /// Meddles with the bytes that are ready, of which there is one at least.
    fn meddle(&mut self, what: Meddle) -> io::Result<()> {
        let ended = Err(io::ErrorKind::ConnectionAborted.into());
        match what {
            Meddle::Flip(bit) => self.buffer[self.sent] ^= 1 << bit,
            Meddle::Cut => {
                let _ = (self.from.shutdown(Shutdown::Both), self.to.shutdown(Shutdown::Both));
                return ended;
            }
            Meddle::Stall => {
                self.shared.until_stopped();
                return ended;
            }
            Meddle::Silence => {
                self.shared.lock().silent = true;
                self.shared.until_stopped();
                return ended;
            }
            Meddle::Slow { bytes, per_second } => {
                self.slowly(bytes, (per_second / 100).max(1), Some(per_second))?;
            }
            Meddle::Pieces(bytes) => self.slowly(bytes, 1, None)?,
            Meddle::Twice(bytes) => {
                let bytes = bytes.min(self.ready());
                self.send(bytes)?;
                (self.sent, self.gone) = (self.sent - bytes, self.gone - bytes);
            }
            Meddle::Swap(bytes) => {
                let half = bytes.min(self.ready() / 2);
                self.buffer[self.sent..self.sent + 2 * half].rotate_left(half);
            }
        }
        Ok(())
    }

    /// Sends the next `bytes` in pieces, with a pause after each: so many bytes a second, on a busy machine, too.
    fn slowly(&mut self, bytes: usize, piece: usize, per_second: Option<usize>) -> io::Result<()> {
        let (mut left, start) = (bytes, Instant::now());
        while left > 0 && self.fill()? {
            let piece = piece.min(left).min(self.ready());
            self.send(piece)?;
            left -= piece;
            if let Some(per_second) = per_second {
                let due = start + Duration::from_secs_f64((bytes - left) as f64 / per_second as f64);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            self.shared.lock().meddled = Some(Instant::now());
        }
        Ok(())
    }
}
