//! A member, put together: its data, its listener, and who orders.
//!
//! ```text
//! primary   clients ──▶ Door ──▶ Queue ──▶ Orderer ──▶ Store ──▶ Feeds ──▶ replicas
//! replica   clients ──▶ Door ──▶ Link ──────▶ the primary
//!                         └──reads──▶ Store ◀── Follower ◀── the primary
//! ```

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use longhaul::MemberId;

use crate::applied::Applied;
use crate::client::Desk;
use crate::door::{Door, Listening};
use crate::error::Error;
use crate::member::{self, Feeds, Follower, Following, Link, Submit, SubmitError, Submitted};
use crate::order::{Orderer, Queue};
use crate::record::Operation;
use crate::stop::Stop;
use crate::store::{Pins, Snapshot, Store};

/// What every member is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its data is; made if there is none.
    pub data: PathBuf,
    /// Where it listens.
    pub listening: Listening,
    /// Bytes of the log that are kept.
    pub log_bytes: u64,
}

/// A member that runs, until it is stopped or dropped.
pub struct Node {
    /// First, so that it is closed before what it needs.
    door: Door,
    stop: Stop,
    applied: Applied,
    ended: Arc<Ended>,
    orderer: Option<Orderer>,
    follower: Option<JoinHandle<()>>,
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
    /// Starts a primary: on what is in its data directory, or on nothing.
    ///
    /// # Errors
    /// If the data can't be read, or it can't listen.
    pub fn primary(options: &Options) -> Result<Self, Error> {
        let store = open(options)?;
        let order = store.order().map_or_else(fresh_id, Ok)?;
        store.belong_to(order)?;
        let applied = Applied::default();
        let pins = Arc::new(Mutex::new(Pins::new(Instant::now())));
        let (stop, ended) = (Stop::default(), Arc::new(Ended::default()));
        let failed = Arc::clone(&ended);
        let orderer = Orderer::start(
            Arc::clone(&store),
            Arc::clone(&pins),
            options.log_bytes,
            applied.clone(),
            Box::new(move |error| failed.tell(Err(error))),
        )?;
        let queue = orderer.queue();
        let feeds = Arc::new(Feeds::new(Arc::clone(&store), order, applied.clone(), orderer.queue(), pins));
        let desk = Arc::new(PrimaryDesk { queue, store, order, feeds: Arc::clone(&feeds) });
        let members = Arc::new(move |stream: &_| member::serve(&feeds, stream));
        let door = Door::open(&options.listening, desk, members, stop.clone())?;
        Ok(Self { door, stop, applied, ended, orderer: Some(orderer), follower: None })
    }

    /// Starts a replica of the primary that listens at `primary`.
    ///
    /// # Errors
    /// If the data can't be read, or it can't listen. A primary that can't be reached is dialled until it is there.
    pub fn replica(options: &Options, primary: &str) -> Result<Self, Error> {
        let store = open(options)?;
        let applied = Applied::default();
        applied.advance(store.applied());
        let member = fresh_id()?;
        let (stop, ended) = (Stop::default(), Arc::new(Ended::default()));
        let following = Arc::new(Mutex::new(Following::default()));
        let link = Link::new(primary.to_owned(), member, applied.clone(), stop.clone());
        let desk = Arc::new(ReplicaDesk {
            link,
            store: Arc::clone(&store),
            member,
            primary: primary.to_owned(),
            following: Arc::clone(&following),
        });
        let members = Arc::new(|_: &_| Err(Error::Peer("a replica orders nothing: dial the primary")));
        let door = Door::open(&options.listening, desk, members, stop.clone())?;
        let follower = Follower {
            primary: primary.to_owned(),
            member,
            store,
            keep_bytes: options.log_bytes,
            applied: applied.clone(),
            following,
            stop: stop.clone(),
        };
        let done = Arc::clone(&ended);
        let thread = thread::Builder::new()
            .name("follower".into())
            .spawn(move || done.tell(follower.run()))
            .map_err(Error::io("starting a thread"))?;
        Ok(Self { door, stop, applied, ended, orderer: None, follower: Some(thread) })
    }

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
        self.stop.stop();
        drop(self.orderer.take());
        self.applied.close();
        self.door.close();
        if let Some(thread) = self.follower.take() {
            // What it had to say it has told.
            let _ = thread.join();
        }
        result
    }
}

fn open(options: &Options) -> Result<Arc<Store>, Error> {
    let path = &options.data;
    fs::create_dir_all(path).map_err(Error::io(format!("making {}", path.display())))?;
    Ok(Arc::new(Store::open(&path.join("state.redb"))?))
}

fn fresh_id() -> Result<MemberId, Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)
        .map_err(|error| Error::Usage(format!("the system has no randomness: {error}")))?;
    Ok(MemberId(id))
}

struct PrimaryDesk {
    queue: Arc<Queue>,
    store: Arc<Store>,
    order: MemberId,
    feeds: Arc<Feeds>,
}

impl Submit for PrimaryDesk {
    fn submit(&self, operation: Operation) -> Result<Submitted, SubmitError> {
        self.queue.submit(operation)
    }
}

impl Desk for PrimaryDesk {
    fn snapshot(&self) -> Result<Snapshot, Error> {
        self.store.snapshot()
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let mut status = vec![("role", "primary".into()), ("order", self.order.to_string())];
        status.extend(store_status(&self.store));
        for follower in self.feeds.followers() {
            status.push(("follower", format!("{} at {}", follower.member, follower.applied)));
        }
        status
    }
}

struct ReplicaDesk {
    link: Link,
    store: Arc<Store>,
    member: MemberId,
    primary: String,
    following: Arc<Mutex<Following>>,
}

impl Submit for ReplicaDesk {
    fn submit(&self, operation: Operation) -> Result<Submitted, SubmitError> {
        self.link.submit(operation)
    }
}

impl Desk for ReplicaDesk {
    fn snapshot(&self) -> Result<Snapshot, Error> {
        self.store.snapshot()
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let following = match &*lock(&self.following) {
            Following::Dialling => format!("{}: dialling", self.primary),
            Following::Connected(last) => format!("{}: connected, it is at {last}", self.primary),
            Following::Lost(why) => format!("{}: {why}", self.primary),
        };
        let order = self.store.order().map_or("none yet".into(), |order| order.to_string());
        let mut status = vec![("role", "replica".into()), ("member", self.member.to_string())];
        status.extend([("primary", following), ("order", order)]);
        status.extend(store_status(&self.store));
        status
    }
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
