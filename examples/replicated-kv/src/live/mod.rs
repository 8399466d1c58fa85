//! The store as an application of longhaul's live transfer.
//!
//! ```text
//! provider   Delivery: a turn per batch ──▶ Store, SpilledLog
//!            capture ──▶ Snapshot ──▶ Pieces: runs of pairs, each an item ══ a session ══▶ ┐
//! joiner     Home::commit ◀── prepares ◀── completions ◀── PieceSink ◀═════════════════════┘
//! ```
//!
//! The capture is atomic (one transaction of the engine), records are applied once (their place is written with
//! their effect), and the group's one sender is the order.
//!
//! **Requests at the latch.** A write is in flight from before it has a place until it is answered: at the primary all those
//! of one batch, whoever's clients they are of; at a replica each of its own clients', until its record is there. A latch
//! closes once none is in flight, and admits none ([`Transfers::admit`]): those that come wait where they are, at the primary
//! in its queue, and are given their places when it opens. Nobody waits for a lock: a write to a key that a prepared
//! transaction holds is refused at once, so that nothing need be parked; the prepares travel.

mod application;
mod delivery;
mod gate;
#[cfg(test)]
mod kit;
pub(crate) mod pieces;
mod pins;
pub(crate) mod sink;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul::live::{
    Apply, Capture, Config, Contract, Delivered, Entry, Fetched, Member, MemberBuilder, Policy, Properties,
    Request,
};
use longhaul::{ErrorKind, MemberId};
use longhaul_core::digest::SequenceNumber;

pub use application::Application;
pub use delivery::Delivery;
pub use gate::Gate;
pub use pins::PrimaryPins;

use crate::error::Error;
use crate::member::SubmitError;
use crate::store::Store;

/// A joiner or provider that makes no progress for so long is given up.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What a latch may take; half of it is for what is in flight, and a write waits for a sync of the primary's disk, at a
/// replica for one of its own as well.
const LATCH_BUDGET: Duration = Duration::from_millis(50);

/// How long a write is held at most. No latch takes as long, but one may follow on another.
const PATIENCE: Duration = Duration::from_secs(30);

/// What joiners may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of the log that are kept for them.
    pub log_bytes: u64,
    /// The longest that writes are held for one.
    pub lease: Duration,
    /// Whether what is sent to them yields to those who write.
    pub yields: bool,
}

/// This process's part in live transfers: a member that provides, or one that joins.
pub struct Transfers {
    application: Arc<Application>,
    pins: Arc<PrimaryPins>,
    /// Where joiners dial.
    ip: IpAddr,
    insecure: bool,
    bounds: Bounds,
    /// Clients' writes that are held at the moment.
    held: AtomicU64,
    /// Holds the port where joiners dialled last: who is started again is found again.
    port_file: PathBuf,
    member: Mutex<Option<Arc<Member>>>,
}

impl Transfers {
    /// Nobody provides or joins yet.
    #[must_use]
    pub fn new(
        application: Arc<Application>,
        pins: Arc<PrimaryPins>,
        ip: IpAddr,
        insecure: bool,
        bounds: Bounds,
        port_file: PathBuf,
    ) -> Self {
        let (held, member) = (AtomicU64::new(0), Mutex::default());
        Self { application, pins, ip, insecure, bounds, held, port_file, member }
    }

    /// Where joiners dial; `None` while there is no member.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.lock().as_ref().map(|member| member.local_addr())
    }

    /// The member that messages go through.
    ///
    /// # Errors
    /// [`Error::NoState`]: there is none.
    pub fn member(&self) -> Result<Arc<Member>, Error> {
        self.lock().clone().ok_or(Error::NoState)
    }

    /// Provides what is in `store` from now on.
    ///
    /// # Errors
    /// If it can't be read, or the member can't listen.
    pub fn provide(&self, member: MemberId, store: &Store) -> Result<(), Error> {
        let snapshot = store.snapshot()?;
        let order = snapshot.order().ok_or(Error::NoState)?;
        let pending = snapshot.pending()?.len();
        let digest = digest(order, snapshot.applied());
        self.start(member, |builder| builder.found(&digest, std::iter::repeat_n(order, pending)))?;
        Ok(())
    }

    /// Gets the state of `order` from the first of `providers` that gives it, and provides it from then on.
    ///
    /// # Errors
    /// Why there is none; the old state stands.
    pub fn join(&self, member: MemberId, order: MemberId, providers: &[String]) -> Result<(), Error> {
        *self.application.order.lock().unwrap_or_else(PoisonError::into_inner) = order;
        // Who joins anew gives nothing of what it had.
        let old = self.lock().take();
        drop(old);
        let joining = self.start(member, MemberBuilder::join)?;
        let fetched =
            joining.fetch_state(providers, b"", STALL_TIMEOUT).and_then(longhaul::live::StateTransfer::wait);
        match fetched {
            Ok(Fetched::State(_)) => Ok(()),
            Ok(Fetched::NoState) => Err(Error::NoState),
            Err(error) => Err(error.into()),
        }
    }

    /// A client's write is in flight from now on, until what is returned is dropped: it waits while a latch is closed or
    /// closes, and no latch is closed meanwhile. `None`: nobody can be given a state here, and so nothing is held.
    ///
    /// # Errors
    /// [`SubmitError::Held`]: it was held for too long.
    pub fn admit(&self) -> Result<Option<Request>, SubmitError> {
        let Some(member) = self.member().ok().filter(|member| member.is_operational()) else {
            return Ok(None);
        };
        let _held = Held::new(&self.held);
        match member.request(PATIENCE) {
            Ok(request) => Ok(Some(request)),
            Err(error) if error.kind() == ErrorKind::Stalled => Err(SubmitError::Held),
            // It has been stopped: whoever takes its place has no state yet.
            Err(_) => Ok(None),
        }
    }

    /// How many writes are held at the moment.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Ends what is under way, and waits for it.
    pub fn stop(&self) {
        let member = self.lock().take();
        if let Some(member) = member {
            member.stop();
        }
    }

    /// A member where joiners dialled last, or elsewhere if that can't be had.
    fn start(
        &self,
        member: MemberId,
        start: impl Fn(MemberBuilder) -> Result<Member, longhaul::Error>,
    ) -> Result<Arc<Member>, Error> {
        let last = fs::read_to_string(&self.port_file).ok().and_then(|port| port.trim().parse().ok());
        let last = last.and_then(|port| start(self.builder(member, port)).ok());
        let started = Arc::new(last.map_or_else(|| start(self.builder(member, 0)), Ok)?);
        let port = started.local_addr().port();
        fs::write(&self.port_file, format!("{port}\n")).map_err(Error::io("remembering a port"))?;
        *self.lock() = Some(Arc::clone(&started));
        Ok(started)
    }

    fn builder(&self, member: MemberId, port: u16) -> MemberBuilder {
        let contract = Contract::new(Capture::Atomic, Apply::Once).expect("a pair that goes together");
        let offers = Properties::TOTAL_ORDER.and(Properties::SEND_AGAIN).and(Properties::LOG);
        let config = Config {
            stall_timeout: STALL_TIMEOUT,
            lease: self.bounds.lease,
            latch_budget: LATCH_BUDGET,
            log_bytes: self.bounds.log_bytes,
            policy: Policy::Throttle,
            ..Config::new(member, offers, contract)
        };
        Member::builder(config, Arc::clone(&self.application) as _, Arc::clone(&self.pins) as _)
            .listen(SocketAddr::new(self.ip, port).to_string())
            .insecure(self.insecure)
            .yields(self.bounds.yields)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Member>>> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one that waits to be admitted.
struct Held<'a>(&'a AtomicU64);

impl<'a> Held<'a> {
    fn new(held: &'a AtomicU64) -> Self {
        held.fetch_add(1, Ordering::Relaxed);
        Self(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a state contains that is at this place: there is one sender.
pub(crate) fn digest(order: MemberId, applied: SequenceNumber) -> Delivered {
    let mut digest = Delivered::new();
    let entry = Entry::new(order, applied, applied).expect("equal numbers");
    digest.insert(entry).expect("room for one");
    digest
}
