//! A member, put together: its data, its listener, who orders, and who joins.
//!
//! ```text
//! primary   clients ──▶ Door ──▶ Queue ──▶ Orderer ──▶ Delivery ──▶ Feeds ──▶ replicas
//! replica   clients ──▶ Door ──▶ Link ──────▶ the primary
//!                         └──reads──▶ Home ◀── Delivery ◀── Follower ◀── the primary
//!                                       ◀── a live transfer ◀── any member, while there is no state that can be gone on with
//! ```

mod primary;
mod replica;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use longhaul::MemberId;
use longhaul::live::SpilledLog;

use crate::applied::Applied;
use crate::copy::Copies;
use crate::door::{self, Door, Listening};
use crate::error::Error;
use crate::home::Home;
use crate::live::{Application, Bounds, Delivery, PrimaryPins, Transfers};
use crate::member::Link;
use crate::order::Orderer;
use crate::stop::Stop;
use crate::store::{Pins, Store};

/// What every member is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its data is; made if there is none.
    pub data: PathBuf,
    /// Where it listens.
    pub listening: Listening,
    /// Bytes of the log that are kept.
    pub log_bytes: u64,
    /// The longest that writes are held for who joins.
    pub lease: Duration,
    /// Whether a state that is given by a live transfer yields to those who write.
    pub yields: bool,
}

/// Whom a replica follows, and from whom it has its state.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Where the primary listens.
    pub primary: String,
    /// Where members listen that it may join from, the first one first; then the primary.
    pub providers: Vec<String>,
    /// How.
    pub join_by: JoinBy,
}

/// How a replica joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum JoinBy {
    /// By a live transfer, whose log it follows until it is where its provider is.
    #[default]
    Live,
    /// By a copy that all members make at one place of the order.
    Copy,
}

/// A member that runs, until it is stopped or dropped.
pub struct Node {
    /// First, so that it is closed before what it needs.
    door: Door,
    stop: Stop,
    ended: Arc<Ended>,
    orderer: Option<Orderer>,
    threads: Vec<JoinHandle<()>>,
    delivery: Arc<Delivery>,
}

/// Why a member's own work has ended.
#[derive(Default)]
struct Ended {
    why: Mutex<Option<Result<(), Error>>>,
    changed: Condvar,
}

impl Ended {
    fn tell(&self, why: Result<(), Error>) {
        lock(&self.why).get_or_insert(why);
        self.changed.notify_all();
    }
}

impl Node {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// What stops it, from any thread.
    pub fn stopper(&self) -> impl Fn() + Send + 'static {
        let (stop, ended) = (self.stop.clone(), Arc::clone(&self.ended));
        move || {
            stop.stop();
            ended.tell(Ok(()));
        }
    }

    /// Waits until it is stopped or can't go on; then ends everything, what was submitted first.
    ///
    /// # Errors
    /// Why it can't go on.
    pub fn wait(mut self) -> Result<(), Error> {
        let mut why = lock(&self.ended.why);
        while why.is_none() {
            why = self.ended.changed.wait(why).unwrap_or_else(PoisonError::into_inner);
        }
        let result = why.take().unwrap_or(Ok(()));
        drop(why);
        self.end();
        result
    }

    fn end(&mut self) {
        self.stop.stop();
        drop(self.orderer.take());
        self.delivery.applied.close();
        self.delivery.home.close();
        self.delivery.transfers.stop();
        self.delivery.copies.stop();
        self.door.close();
        for thread in self.threads.drain(..) {
            // What it had to say it has told.
            let _ = thread.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

/// Bytes of the log for joiners that are kept in memory; the rest is spilled into the data directory.
const LOG_MEMORY: usize = 8 << 20;

/// What both kinds of members begin with.
struct Parts {
    home: Arc<Home>,
    transfers: Arc<Transfers>,
    copies: Arc<Copies>,
    delivery: Arc<Delivery>,
    pins: Arc<Mutex<Pins>>,
    applied: Applied,
    stop: Stop,
    ended: Arc<Ended>,
}

impl Parts {
    fn new(options: &Options, primary: Option<&str>) -> Result<Self, Error> {
        let home = Arc::new(Home::open(&options.data)?);
        // The member's bound comes first: at it the joiner that is farthest behind is refused, not all of them.
        let disk_bytes = options.log_bytes.saturating_mul(2).max(64 << 20);
        let log =
            SpilledLog::new(&options.data, LOG_MEMORY, disk_bytes).map_err(Error::io("keeping a log"))?;
        let application = Arc::new(Application::new(Arc::clone(&home), log));
        let sources = Arc::new(PrimaryPins { primary: primary.map(str::to_owned) });
        let ip = door::address(&options.listening)?.ip();
        let transfers = Arc::new(Transfers::new(
            Arc::clone(&application),
            sources,
            ip,
            options.listening.insecure,
            Bounds { log_bytes: options.log_bytes, lease: options.lease, yields: options.yields },
            options.data.join("joiners"),
        ));
        let (applied, stop) = (Applied::default(), Stop::default());
        let words =
            primary.map(|primary| Ok::<_, Error>(Link::new(primary.to_owned(), fresh_id()?, stop.clone())));
        let insecure = options.listening.insecure;
        let copies = Arc::new(Copies::new(Arc::clone(&home), words.transpose()?, ip, insecure));
        let pins = Arc::new(Mutex::new(Pins::new(Instant::now())));
        let delivery = Arc::new(Delivery {
            home: Arc::clone(&home),
            transfers: Arc::clone(&transfers),
            copies: Arc::clone(&copies),
            application,
            pins: Arc::clone(&pins),
            keep_bytes: options.log_bytes,
            applied: applied.clone(),
            stop: stop.clone(),
            prepared: Mutex::default(),
        });
        Ok(Self { home, transfers, copies, delivery, pins, applied, stop, ended: Arc::default() })
    }
}

fn fresh_id() -> Result<MemberId, Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)
        .map_err(|error| Error::Usage(format!("the system has no randomness: {error}")))?;
    Ok(MemberId(id))
}

fn store_status(store: &Store) -> [(&'static str, String); 3] {
    [
        ("applied", store.applied().to_string()),
        ("log_first", store.first_kept().to_string()),
        ("log_bytes", store.log_bytes().to_string()),
    ]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
