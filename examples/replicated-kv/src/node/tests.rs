//! Writes and latches, with real sockets: what comes while one is closed is held where it has no place yet, and none closes
//! over what is in flight.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use longhaul::live::{
    Apply, Capture, Config, Contract, Decision, Delivered, Event, Fetched, Member, Phase, PinError, Pins,
    Properties, SpilledLog, StateTransfer,
};
use longhaul::{Events, MemberId};
use tempfile::TempDir;

use super::{JoinBy, Node, Options, Upstream, fresh_id};
use crate::door::Listening;
use crate::home::Home;
use crate::live::{Application, PrimaryPins, STALL_TIMEOUT};
use crate::load::{Connection, Reply};
use crate::member::where_joiners_dial;
use crate::record::Key;

/// Nothing here takes this long, whatever else the machine does.
const DEADLINE: Duration = Duration::from_mins(1);
/// A latch stays closed for this long, unless the joiner is let go.
const LEASE: Duration = Duration::from_secs(7);

struct Group {
    primary: Node,
    replica: Node,
    home: TempDir,
}

impl Group {
    fn start() -> Self {
        let home = TempDir::new().unwrap();
        let options = |name| Options {
            data: home.path().join(name),
            listening: Listening { address: "127.0.0.1:0".into(), insecure: false, max_clients: 16 },
            log_bytes: 1 << 20,
            lease: LEASE,
            yields: true,
        };
        let primary = Node::primary(&options("p")).unwrap();
        let upstream =
            Upstream { primary: primary.address().to_string(), providers: Vec::new(), join_by: JoinBy::Live };
        let replica = Node::replica(&options("r"), &upstream).unwrap();
        ask(&primary, "PUT first 1");
        poll("a replica that has joined", || ask(&replica, "GET first") == Reply::Done("1".into()));
        Self { primary, replica, home }
    }

    /// A replica that begins to join from `provider`; whoever keeps messages for it is asked once `lets_go` says so.
    fn join(&self, name: &str, provider: &Node, lets_go: &Arc<Release>) -> Joiner {
        let (address, order) =
            where_joiners_dial(&provider.address().to_string(), fresh_id().unwrap()).unwrap();
        let home = Arc::new(Home::open(&self.home.path().join(name)).unwrap());
        let log = SpilledLog::new(self.home.path().join(name), 1 << 20, 1 << 20).unwrap();
        let application = Arc::new(Application::new(Arc::clone(&home), log));
        *application.order.lock().unwrap() = order;
        let pins = GatedPins {
            primary: PrimaryPins { primary: Some(self.primary.address().to_string()) },
            release: Arc::clone(lets_go),
        };
        let contract = Contract::new(Capture::Atomic, Apply::Once).unwrap();
        let offers = Properties::TOTAL_ORDER.and(Properties::SEND_AGAIN);
        let config = Config {
            lease: LEASE,
            stall_timeout: STALL_TIMEOUT,
            ..Config::new(fresh_id().unwrap(), offers, contract)
        };
        let member = Member::builder(config, application as _, Arc::new(pins)).listen("127.0.0.1:0");
        let member = member.join().unwrap();
        let events = member.events();
        let transfer = member.fetch_state(&[address.to_string()], b"", STALL_TIMEOUT).unwrap();
        Joiner { transfer: Some(transfer), home, events, release: Arc::clone(lets_go), _member: member }
    }
}

struct Joiner {
    transfer: Option<StateTransfer>,
    home: Arc<Home>,
    events: Events<Event>,
    release: Arc<Release>,
    _member: Member,
}

impl Joiner {
    /// Waits until its provider's latch is closed for it.
    fn is_latched(&mut self) {
        while self.events.next_within(DEADLINE).unwrap() != Event::Phase(Phase::Closing) {}
    }

    /// What it has under a key, once it has joined.
    fn value(&mut self, key: &str) -> Option<Vec<u8>> {
        if let Some(transfer) = self.transfer.take() {
            assert!(matches!(transfer.wait().unwrap(), Fetched::State(_)));
        }
        self.home.current().unwrap().snapshot().unwrap().value(&Key::new(key.as_bytes()).unwrap()).unwrap()
    }
}

/// A test that has failed waits for nobody.
impl Drop for Joiner {
    fn drop(&mut self) {
        self.release.go();
    }
}

/// Lets those go who wait for it.
#[derive(Default)]
struct Release(Mutex<bool>, Condvar);

impl Release {
    fn at_once() -> Arc<Self> {
        let release = Arc::<Self>::default();
        release.go();
        release
    }

    fn go(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |is_open| !*is_open).unwrap());
    }
}

/// Asks the primary, later. Without pins nobody is ready, and the latch stays closed.
struct GatedPins {
    primary: PrimaryPins,
    release: Arc<Release>,
}

impl Pins for GatedPins {
    fn pin(&self, joiner: MemberId, lease: Duration) -> Result<Delivered, PinError> {
        self.release.wait();
        self.primary.pin(joiner, lease)
    }

    fn unpin(&self, joiner: MemberId) {
        self.primary.unpin(joiner);
    }
}

fn poll(what: &str, mut found: impl FnMut() -> bool) {
    let start = Instant::now();
    while !found() {
        assert!(start.elapsed() < DEADLINE, "waited too long for {what}");
        thread::yield_now();
    }
}

fn ask(node: &Node, line: &str) -> Reply {
    Connection::open(&node.address().to_string()).unwrap().ask(line).unwrap()
}

/// A client that waits for its answer.
fn ask_apart(node: &Node, line: &str) -> JoinHandle<Reply> {
    let (address, line) = (node.address().to_string(), line.to_owned());
    thread::spawn(move || Connection::open(&address).unwrap().ask(&line).unwrap())
}

fn events(node: &Node) -> Events<Event> {
    node.delivery.transfers.member().unwrap().events()
}

/// Whether a latch has opened since it was asked last.
fn has_opened(events: &mut Events<Event>) -> bool {
    let mut has_opened = false;
    while let Ok(event) = events.next_within(Duration::ZERO) {
        has_opened |= matches!(event, Event::LatchOpened { .. });
    }
    has_opened
}

/// A write that comes to `provider` while its latch is closed; on a machine that is slower than a lease, another one.
fn held_at_the_latch(group: &Group, provider: &Node) {
    let mut latches = events(provider);
    for round in 0.. {
        let release = Arc::default();
        let mut joiner = group.join(&format!("j{round}"), provider, &release);
        joiner.is_latched();
        has_opened(&mut latches);
        let key = format!("late/{round}");
        let is_there = || ask(&group.primary, &format!("GET {key}")) == Reply::Done("1".into());
        let writing = ask_apart(provider, &format!("PUT {key} 1"));
        let mut opened = false;
        poll("a write that is held", || {
            let is_held = provider.delivery.transfers.held() == 1;
            let was_admitted = writing.is_finished() || is_there();
            opened |= has_opened(&mut latches);
            assert!(opened || !was_admitted, "it was admitted while the latch was closed");
            opened || is_held
        });
        release.go();
        let value = joiner.value(&key);
        assert!(matches!(writing.join().unwrap(), Reply::Done(_)), "it is answered behind the latch");
        assert!(is_there());
        assert_eq!(provider.delivery.transfers.held(), 0);
        if !opened {
            // What is behind the latch comes from the primary, as everything later does.
            return assert_eq!(value, None, "the latch was opened for it");
        }
    }
}

#[test]
fn a_write_that_comes_to_the_primary_while_its_latch_is_closed_has_its_place_behind_it() {
    let group = Group::start();
    held_at_the_latch(&group, &group.primary);
}

#[test]
fn a_write_that_comes_to_a_replica_while_its_latch_is_closed_is_handed_on_behind_it() {
    let group = Group::start();
    held_at_the_latch(&group, &group.replica);
}

#[test]
fn no_latch_closes_over_a_write_that_is_in_flight() {
    let group = Group::start();
    let (mut at_primary, mut at_replica) = (events(&group.primary), events(&group.replica));
    let release = Arc::default();
    let mut first = group.join("first", &group.primary, &release);
    first.is_latched();
    has_opened(&mut at_primary);
    // Admitted at the replica, and held at the primary.
    let writing = ask_apart(&group.replica, "PUT late 1");
    poll("a write on its way", || {
        assert!(!writing.is_finished() || has_opened(&mut at_primary), "it was never held");
        writing.is_finished() || group.primary.delivery.transfers.held() == 1
    });
    let mut second = group.join("second", &group.replica, &Release::at_once());
    let mut opened = 0;
    while opened < 2 {
        match at_replica.next_within(DEADLINE).unwrap() {
            Event::LatchOpened { .. } => opened += 1,
            Event::Decided { decision: Decision::Commit, .. } => {
                assert!(has_opened(&mut at_primary), "the latch was closed over a write that was in flight");
                break;
            }
            _ => {}
        }
    }
    release.go();
    assert!(matches!(writing.join().unwrap(), Reply::Done(_)));
    assert_eq!(second.value("late"), Some(b"1".to_vec()), "what was in flight is in the state");
    first.value("late");
}
