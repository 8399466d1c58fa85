//! Copies of one place of the order: how a replica joins by longhaul's `copy`.
//!
//! ```text
//! the order    r1   MAKE_COPY, a record   r2   r3 ..
//! provider     ─────────●─────────────────────────────▶   copies here; Pieces, and what is prepared
//! joiner       hears, drops │ holds; the log keeps the rest ──▶ Home::commit, and follows from behind that place
//! ```
//!
//! The joiner has no state, and hears the primary's records all the same, until its own `MAKE_COPY` is among them. What
//! is behind that the primary's log keeps, as for any replica: a pin sees to it.

mod application;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use longhaul::MemberId;
use longhaul::live::{
    Apply, Capture, Contract, Effect, Handle, Message, Pins, Properties, SequenceNumber, Verdict,
};
use longhaul::states::{Config, Fetched, Member, MemberBuilder, Peer, Protocol};

use self::application::Application;
use crate::error::Error;
use crate::home::Home;
use crate::live::{Gate, PrimaryPins, STALL_TIMEOUT, digest};
use crate::member::{Heard, Link, listen, where_copies_are};
use crate::record::{Operation, Record};
use crate::stop::Stop;
use crate::store::Store;

/// How long a copy is kept that nobody fetches.
const LEASE: Duration = Duration::from_secs(10);
/// How often a joiner asks all for copies anew: a member that was started again is found by who joins anew.
const TRIES: u8 = 1;
/// How long the primary's log is pinned at once.
const PIN: Duration = Duration::from_secs(30);
/// How long who is held waits until it looks again by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The pause before the primary is dialled again.
const REDIAL: Duration = Duration::from_millis(50);

/// This process's part in copies: a member that makes them, or one that fetches them.
pub struct Copies {
    home: Arc<Home>,
    words: Option<Link>,
    /// Where joiners dial.
    ip: IpAddr,
    insecure: bool,
    member: Mutex<Option<Arc<Member>>>,
}

impl Copies {
    /// Nobody makes or fetches them yet. `words`: to the primary, if this is another.
    #[must_use]
    pub fn new(home: Arc<Home>, words: Option<Link>, ip: IpAddr, insecure: bool) -> Self {
        Self { home, words, ip, insecure, member: Mutex::default() }
    }

    /// Where copies are fetched; `None` while there is no member.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.lock().as_ref().map(|member| member.local_addr())
    }

    /// The member that makes them, or fetches one.
    #[must_use]
    pub fn member(&self) -> Option<Arc<Member>> {
        self.lock().clone()
    }

    /// Makes copies of what is in `store` from now on. Nothing is delivered until it returns.
    ///
    /// # Errors
    /// If it can't listen.
    pub fn provide(&self, member: MemberId, store: &Store) -> Result<(), Error> {
        let order = store.order().ok_or(Error::NoState)?;
        let applied = store.applied();
        let builder = self.builder(member, Arc::new(self.application(order, applied)));
        let member = builder.found(&digest(order, applied))?;
        *self.lock() = Some(Arc::new(member));
        Ok(())
    }

    /// Has all members make a copy where the order is now, and fetches it from the first of `providers` that has one,
    /// or from `primary`; makes copies itself from then on.
    ///
    /// # Errors
    /// Why there is none; the old state stands.
    pub fn join(
        &self,
        member: MemberId,
        primary: &str,
        providers: &[String],
        stop: &Stop,
    ) -> Result<(), Error> {
        self.stop();
        let (first, order, heard) = where_copies_are(primary, member)?;
        let others = providers.iter().filter_map(|address| where_copies_are(address, member).ok());
        let others = others.filter(|(_, theirs, _)| *theirs == order).map(|(peer, ..)| peer);
        let peers: Vec<Peer> = others.chain([first]).collect();
        let application = Arc::new(self.application(order, heard));
        let joiner = Arc::new(self.builder(member, Arc::clone(&application)).join()?);
        *self.lock() = Some(Arc::clone(&joiner));
        if stop.is_stopped() {
            return Err(Error::NoState);
        }
        let transfer = joiner.fetch_state(&peers, b"", STALL_TIMEOUT)?;
        let over = Stop::default();
        let listener = Listener { primary, member, joiner: &joiner, application: &application };
        thread::scope(|scope| {
            scope.spawn(|| pin(primary, member, &over));
            scope.spawn(|| listener.run(heard, &over));
            let fetched = transfer.wait();
            over.stop();
            match fetched {
                Ok(Fetched::State(_)) => Ok(()),
                Ok(Fetched::NoState) => Err(Error::NoState),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Ends what is under way, and waits for it.
    pub fn stop(&self) {
        let member = self.lock().take();
        if let Some(member) = member {
            member.stop();
        }
    }

    fn application(&self, order: MemberId, heard: SequenceNumber) -> Application {
        let (home, words) = (Arc::clone(&self.home), self.words.clone());
        Application { home, order, heard, words, gate: Gate::default() }
    }

    fn builder(&self, member: MemberId, application: Arc<Application>) -> MemberBuilder {
        let contract = Contract::new(Capture::Atomic, Apply::Once).expect("a pair that goes together");
        let config = Config {
            stall_timeout: STALL_TIMEOUT,
            lease: LEASE,
            tries: TRIES,
            ..Config::new(member, Protocol::Copy, Properties::TOTAL_ORDER, contract)
        };
        Member::builder(config, application)
            .listen(SocketAddr::new(self.ip, 0).to_string())
            .insecure(self.insecure)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Member>>> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The primary's log is kept until it is over.
fn pin(primary: &str, member: MemberId, over: &Stop) {
    let pins = PrimaryPins { primary: Some(primary.to_owned()) };
    loop {
        // Who can't be reached, or has no room, is asked again.
        let _ = pins.pin(member, PIN);
        if !over.pause(PIN / 4) {
            return pins.unpin(member);
        }
    }
}

/// Brings a member without a state what the order says.
struct Listener<'a> {
    primary: &'a str,
    member: MemberId,
    joiner: &'a Member,
    application: &'a Application,
}

impl Listener<'_> {
    /// Until it is over, through any number of lost connections.
    fn run(&self, heard: SequenceNumber, over: &Stop) {
        let mut next = SequenceNumber(heard.0 + 1);
        let who = (self.member, self.application.order);
        while !over.is_stopped() {
            match listen(self.primary, who, &mut next, over, |record| self.offer(&record, over)) {
                Ok(()) => return,
                // What it waits for will not come any more.
                Err(Error::LogTooShort { .. } | Error::OtherOrder { .. }) => return self.joiner.stop(),
                Err(_) => _ = over.pause(REDIAL),
            }
        }
    }

    /// Offers a record until it is not held.
    fn offer(&self, record: &Record, over: &Stop) -> Result<Heard, Error> {
        loop {
            let opened = self.application.gate.opened();
            let message = Message {
                sender: self.application.order,
                sequence: record.sequence,
                len: record.operation.weight() as u32,
                handle: Handle(record.sequence.0),
            };
            let mut turn = self.joiner.turn();
            if turn.delivered().is_some() || over.is_stopped() {
                // The state is here: who follows goes on behind it.
                return Ok(Heard::Enough);
            }
            let verdict = match &record.operation {
                Operation::Word(word) => turn.handle_word(&message, word)?,
                _ => turn.handle_message(&message, Effect::Write, 0)?,
            };
            drop(turn);
            match verdict {
                Verdict::Drop | Verdict::Deliver => return Ok(Heard::Next),
                Verdict::Hold => self.application.gate.wait(opened, LOOK_AGAIN),
                Verdict::SendAgain { from } => {
                    return Err(Error::Gap { applied: SequenceNumber(from.0 - 1), came: record.sequence });
                }
            }
        }
    }
}
