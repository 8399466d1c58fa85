//! A member with its application, the thread that follows the channel, and the threads that write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use longhaul::live::{
    Apply, Capture, Contract, Delivered, Effect, Handle, Message, Properties, SequenceNumber, Transaction,
    Verdict,
};
use longhaul::states::{Config, Event, Member, Peer, Protocol};
use longhaul::{Events, MemberId};

use crate::bus::{Bus, Content, Line};
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

pub(crate) fn config(protocol: Protocol, id: u8) -> Config {
    let contract = Contract::new(Capture::Atomic, Apply::Once).unwrap();
    let offers = Properties::TOTAL_ORDER.and(Properties::VIEWS).and(Properties::LOG);
    Config {
        lease: Duration::from_secs(30),
        stall_timeout: Duration::from_secs(20),
        tries: 3,
        ..Config::new(MemberId([id; 16]), protocol, offers, contract)
    }
}

impl Host {
    /// A member that is operational from the start.
    pub(crate) fn found(bus: &Arc<Bus>, config: Config) -> Self {
        Self::start(bus, config, true, false)
    }

    /// A member that has no state yet.
    pub(crate) fn join(bus: &Arc<Bus>, config: Config) -> Self {
        Self::start(bus, config, false, false)
    }

    /// The same, and it takes a state that it has not asked for.
    pub(crate) fn accepting(bus: &Arc<Bus>, config: Config) -> Self {
        Self::start(bus, config, false, true)
    }

    fn start(bus: &Arc<Bus>, config: Config, is_operational: bool, accepts: bool) -> Self {
        let map = Arc::new(Map::new(Line::new(bus, config.member, is_operational)));
        let builder = Member::builder(config, Arc::clone(&map) as _).log(Arc::clone(&map) as _);
        let builder = builder.listen("127.0.0.1:0").buffer_memory(1 << 20).accept_pushes(accepts);
        let member = if is_operational { builder.found(&Delivered::new()) } else { builder.join() };
        let member = Arc::new(member.unwrap());
        let events = member.events();
        let is_over = Arc::new(AtomicBool::new(false));
        let follower = {
            let (member, map, is_over) = (Arc::clone(&member), Arc::clone(&map), Arc::clone(&is_over));
            thread::spawn(move || follow(&member, &map, &is_over))
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

    pub(crate) fn peer(&self) -> Peer {
        self.member().peer()
    }

    /// Writes until the host or the writing is over: in one message, and every third time in two phases. Nobody else writes these keys.
    pub(crate) fn write(&mut self, is_writing: &Arc<AtomicBool>, written: &Arc<AtomicU64>) {
        let (member, map, bus) = (Arc::clone(self.member()), Arc::clone(&self.map), Arc::clone(&self.bus));
        let (is_over, is_writing, written) =
            (Arc::clone(&self.is_over), Arc::clone(is_writing), Arc::clone(written));
        let id = self.id;
        self.writers.push(thread::spawn(move || {
            let goes_on = || is_writing.load(Ordering::SeqCst) && !is_over.load(Ordering::SeqCst);
            for number in 1.. {
                if !goes_on() {
                    return;
                }
                let (key, value) = ((u64::from(id.0[0]) << 32) | (number % 97), number);
                let transaction = Transaction { member: id, number };
                let effects = match number % 3 {
                    0 => &[Effect::Prepare(transaction), Effect::Commit(transaction)][..],
                    _ => &[Effect::Write][..],
                };
                for &effect in effects {
                    let Ok(request) = member.request(PATIENCE) else { return };
                    let (sender, last) = bus.send(id, Content::of(effect, key, value));
                    let bell = map.bell.lock().unwrap();
                    let is_delivered = || map.lock().digest.contains(sender, SequenceNumber(last));
                    let waits = |_: &mut u64| !is_delivered() && !is_over.load(Ordering::SeqCst);
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

    /// Its state, once it has delivered all this.
    #[track_caller]
    pub(crate) fn delivered(&self, all: &Delivered) -> Store {
        let bell = self.map.bell.lock().unwrap();
        let waits = |_: &mut u64| !self.map.lock().has(all);
        drop(self.map.rings.wait_timeout_while(bell, PATIENCE, waits).unwrap());
        let store = self.map.lock().clone();
        assert!(store.has(all), "not all that was sent is delivered");
        store
    }

    /// Waits until nothing is kept for joiners any more.
    #[track_caller]
    pub(crate) fn is_idle(&self) {
        wait("nothing to be kept for a joiner", || self.member().is_idle());
        assert!(!self.map.log.is_kept());
    }

    /// Waits for an event.
    #[track_caller]
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
        if let Some(member) = self.member.take() {
            member.stop();
            self.map.line.close();
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
        self.map.stage.open();
        self.die();
    }
}

/// Waits for what must come.
#[track_caller]
pub(crate) fn wait(what: &str, is_there: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        thread::yield_now();
    }
}

/// Brings the channel's messages to the member, each sender's in their order.
fn follow(member: &Member, map: &Map, is_over: &AtomicBool) {
    while let Some((place, content)) = map.line.next() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let (sender, number) = place;
        let bell = *map.bell.lock().unwrap();
        let message = Message { sender, sequence: SequenceNumber(number), len: 16, handle: Handle(number) };
        let mut turn = member.turn();
        let verdict = match &content.word {
            Some(word) => turn.handle_word(&message, word),
            None => turn.handle_message(&message, content.effect, Map::LOG_BYTES),
        };
        match verdict.unwrap() {
            // Noted within the turn: a transfer that begins behind it is told.
            Verdict::Deliver => {
                map.deliver(place, &content);
                map.line.brought(place);
            }
            Verdict::Drop => map.line.brought(place),
            Verdict::SendAgain { from } => panic!("message {from} of {sender} was brought, or need not be"),
            Verdict::Hold => {
                drop(turn);
                let rung = map.bell.lock().unwrap();
                let waits = |rung: &mut u64| *rung == bell && !is_over.load(Ordering::SeqCst);
                drop(map.rings.wait_while(rung, waits).unwrap());
            }
        }
    }
}
