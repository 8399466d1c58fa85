//! A member with its application, the thread that follows the channel, and the threads that write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use longhaul::live::{
    Apply, Capture, Config, Contract, Delivered, Effect, Event, Handle, Member, Message, Policy, Transaction,
    Verdict,
};
use longhaul::{Events, MemberId};

use crate::bus::{Bus, Channel, Content, Inbox, Place};
use crate::map::{Map, Store};

/// Nothing here takes this long, whatever else the machine does.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Host {
    pub(crate) member: Option<Arc<Member>>,
    pub(crate) map: Arc<Map>,
    pub(crate) bus: Arc<Bus>,
    pub(crate) events: Events<Event>,
    pub(crate) id: MemberId,
    is_over: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
    follower: Option<JoinHandle<()>>,
}

/// How a member begins.
#[derive(Clone, Copy)]
enum Begins {
    Operational,
    Joining,
    Accepting,
}

pub(crate) fn config(id: u8) -> Config {
    let contract = Contract::new(Capture::Atomic, Apply::Once).unwrap();
    Config {
        lease: Duration::from_secs(2),
        stall_timeout: Duration::from_secs(8),
        policy: Policy::LatchNow,
        tries: 3,
        ..Config::new(MemberId([id; 16]), Channel::Total.offers(), contract)
    }
}

impl Host {
    /// A member that is operational from the start.
    pub(crate) fn found(bus: &Arc<Bus>, config: Config) -> Self {
        Self::start(bus, config, Begins::Operational)
    }

    /// A member that has no state yet.
    pub(crate) fn join(bus: &Arc<Bus>, config: Config) -> Self {
        Self::start(bus, config, Begins::Joining)
    }

    /// The same, and it takes a state that it has not asked for.
    pub(crate) fn accepting(bus: &Arc<Bus>, config: Config) -> Self {
        Self::start(bus, config, Begins::Accepting)
    }

    fn start(bus: &Arc<Bus>, config: Config, begins: Begins) -> Self {
        let map = Arc::new(Map::default());
        let config = Config { offers: bus.channel.offers(), ..config };
        let builder = Member::builder(config, Arc::clone(&map) as _, Arc::clone(bus) as _);
        let builder = builder.listen("127.0.0.1:0").buffer_memory(1 << 20);
        let member = match begins {
            Begins::Operational => builder.found(&Delivered::new(), []),
            Begins::Joining => builder.join(),
            Begins::Accepting => builder.accept_pushes(true).join(),
        };
        let member = Arc::new(member.unwrap());
        let events = member.events();
        let is_over = Arc::new(AtomicBool::new(false));
        let follower = {
            let inbox = bus.inbox(config.member, &map);
            let (member, map, is_over) = (Arc::clone(&member), Arc::clone(&map), Arc::clone(&is_over));
            thread::spawn(move || follow(&member, &map, inbox, &is_over))
        };
        Self {
            member: Some(member),
            map,
            bus: Arc::clone(bus),
            events,
            id: config.member,
            is_over,
            writers: Vec::new(),
            follower: Some(follower),
        }
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        self.member.as_ref().unwrap()
    }

    pub(crate) fn address(&self) -> String {
        self.member().local_addr().to_string()
    }

    /// Writes until the host or the writing is over: in one message, and every third time in two phases.
    pub(crate) fn write(&mut self, is_writing: &Arc<AtomicBool>, written: &Arc<AtomicU64>) {
        let (member, map, bus) = (Arc::clone(self.member()), Arc::clone(&self.map), Arc::clone(&self.bus));
        let (is_over, is_writing, written) =
            (Arc::clone(&self.is_over), Arc::clone(is_writing), Arc::clone(written));
        let id = self.id;
        let goes_on = move || is_writing.load(Ordering::SeqCst) && !is_over.load(Ordering::SeqCst);
        let is_over = Arc::clone(&self.is_over);
        self.writers.push(thread::spawn(move || {
            for number in 1.. {
                if !goes_on() {
                    return;
                }
                let (key, value) = (bus.channel.key(id, number), number << 8 | u64::from(id.0[0]));
                let transaction = Transaction { member: id, number };
                let effects = match number % 3 {
                    0 => &[Effect::Prepare(transaction), Effect::Commit(transaction)][..],
                    _ => &[Effect::Write][..],
                };
                for &effect in effects {
                    let Ok(request) = member.request(PATIENCE) else { return };
                    let place = bus.send(id, Content { effect, key, value });
                    let bell = map.bell.lock().unwrap();
                    let waits = |_: &mut u64| !map.lock().contains(place) && !is_over.load(Ordering::SeqCst);
                    drop(map.rings.wait_while(bell, waits).unwrap());
                    drop(request);
                }
                written.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }

    /// Waits for those who write here: they were told to stop.
    pub(crate) fn finish_writing(&mut self) {
        for writer in self.writers.drain(..) {
            writer.join().unwrap();
        }
    }

    /// Its state, once it contains these messages.
    pub(crate) fn delivered(&self, places: &[Place]) -> Store {
        let lacks = |store: &Store| places.iter().any(|place| !store.contains(*place));
        let bell = self.map.bell.lock().unwrap();
        let waits = |_: &mut u64| lacks(&self.map.lock());
        drop(self.map.rings.wait_timeout_while(bell, PATIENCE, waits).unwrap());
        let store = self.map.lock().clone();
        assert!(!lacks(&store), "{places:?} are not all in {:?}", store.digest);
        store
    }

    /// Waits until nothing is kept for joiners any more.
    pub(crate) fn is_idle(&self) {
        let start = Instant::now();
        while !self.member().is_idle() {
            assert!(start.elapsed() < PATIENCE, "something is kept for a joiner");
            thread::yield_now();
        }
        assert!(!self.map.log.is_kept());
    }

    /// Waits for an event.
    pub(crate) fn expect(&mut self, what: &str, mut is_it: impl FnMut(&Event) -> bool) -> Event {
        loop {
            match self.events.next_within(PATIENCE) {
                Ok(event) if is_it(&event) => return event,
                Ok(_) => {}
                Err(error) => panic!("no {what}: {error}"),
            }
        }
    }

    /// Ends as a process does: nobody hears a last word.
    pub(crate) fn die(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.map.ring(1);
        let member = self.member.take();
        // Those who wait for the latch, or for a message, hear of it.
        if let Some(member) = member {
            member.stop();
            self.finish_writing();
            if let Some(follower) = self.follower.take() {
                follower.join().unwrap();
            }
            assert!(Arc::into_inner(member).is_some(), "nobody else holds it");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for gate in [&self.map.gates.stage, &self.map.gates.apply, &self.map.gates.prepare] {
            gate.open();
        }
        self.die();
    }
}

/// Brings the channel's messages to the member, those of each sender in their order.
fn follow(member: &Member, map: &Map, mut inbox: Inbox, is_over: &AtomicBool) {
    let mut reoffers = 0;
    while let Some((place, content)) = next(map, &mut inbox, is_over, &mut reoffers) {
        let Place { sender, sequence } = place;
        let message = Message { sender, sequence, len: 16, handle: Handle(sequence.0) };
        let mut turn = member.turn();
        match turn.handle_message(&message, content.effect, Map::LOG_BYTES).unwrap() {
            Verdict::Deliver => {
                map.deliver(place, &content);
                inbox.pass(place);
            }
            Verdict::Drop => inbox.pass(place),
            Verdict::SendAgain { from } => inbox.again(Place { sender, sequence: from }),
            Verdict::Hold => inbox.hold(place),
        }
    }
}

/// Waits for a message that is not held; `None` once it is over. `reoffers`: how many were heard of.
fn next(map: &Map, inbox: &mut Inbox, is_over: &AtomicBool, reoffers: &mut u64) -> Option<(Place, Content)> {
    let mut bell = map.bell.lock().unwrap();
    loop {
        if is_over.load(Ordering::SeqCst) {
            return None;
        }
        if std::mem::replace(reoffers, *bell) != *bell {
            inbox.reoffer();
        }
        match inbox.next() {
            Some(next) => return Some(next),
            None if inbox.is_closed() => return None,
            None => bell = map.rings.wait(bell).unwrap(),
        }
    }
}
