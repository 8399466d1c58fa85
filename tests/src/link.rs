//! A slow link: a transfer of some MiB takes time enough for several checkpoints, or for ever.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes that travel at a time.
const PIECE: usize = 16 << 10;

/// Stands between a joiner and a listening provider, until it is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    gate: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// A link to who listens at `provider`: all its connections together carry so many bytes in a second.
    pub fn to(provider: &str, rate: u32) -> std::io::Result<Self> {
        Self::holding(provider, rate, u64::MAX)
    }

    /// A slow link that holds back whatever comes after so many bytes, until it is told to [let go](Self::let_go).
    pub fn holding(provider: &str, rate: u32, after: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let (stop, provider) = (Arc::clone(&stopped), provider.to_owned());
        let gate = Arc::new(Gate::new(rate, after));
        let passed = Arc::clone(&gate);
        let thread = thread::spawn(move || {
            while let Ok((joiner, _)) = listener.accept() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // A provider that has ended takes nobody: the joiner sees the end.
                let Ok(provider) = TcpStream::connect(&provider) else { continue };
                let (Ok(from), Ok(to)) = (provider.try_clone(), joiner.try_clone()) else { continue };
                let gate = Arc::clone(&passed);
                thread::spawn(move || carry(&from, &to, Some(&gate)));
                thread::spawn(move || carry(&joiner, &provider, None));
            }
        });
        Ok(Self { address, stopped, gate, thread: Some(thread) })
    }

    /// Holds nothing back any more.
    pub fn let_go(&self) {
        self.gate.open(u64::MAX);
    }

    /// Where to dial.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.let_go();
        // It sleeps until somebody comes.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What all that comes from the provider passes.
#[derive(Debug)]
struct Gate {
    /// Bytes in a second.
    rate: u32,
    passing: Mutex<Passing>,
    changed: Condvar,
}

#[derive(Debug)]
struct Passing {
    /// When the link has carried what it has taken.
    free: Instant,
    /// Bytes that may pass yet.
    left: u64,
}

impl Gate {
    fn new(rate: u32, left: u64) -> Self {
        Self { rate, passing: Mutex::new(Passing { free: Instant::now(), left }), changed: Condvar::new() }
    }

    fn open(&self, left: u64) {
        self.passing.lock().unwrap_or_else(PoisonError::into_inner).left = left;
        self.changed.notify_all();
    }

    /// Returns when so many bytes may go on.
    fn pass(&self, len: usize) {
        let passing = self.passing.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.changed.wait_while(passing, |passing| passing.left < len as u64);
        let mut passing = held.unwrap_or_else(PoisonError::into_inner);
        passing.left -= len as u64;
        let now = Instant::now();
        passing.free = passing.free.max(now) + Duration::from_secs_f64(len as f64 / f64::from(self.rate));
        let wait = passing.free - now;
        drop(passing);
        // What a slow link does.
        thread::sleep(wait);
    }
}

/// Carries what comes until one side ends, as the gate lets it.
fn carry(mut from: &TcpStream, mut to: &TcpStream, gate: Option<&Gate>) {
    let mut piece = vec![0; PIECE];
    while let Ok(len @ 1..) = from.read(&mut piece) {
        if let Some(gate) = gate {
            gate.pass(len);
        }
        if to.write_all(&piece[..len]).is_err() {
            break;
        }
    }
    // Ended already is as good.
    let _ = from.shutdown(Shutdown::Read);
    let _ = to.shutdown(Shutdown::Write);
}
