//! The group's channel: its members' messages, all of which are kept, in one order or in each sender's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use longhaul::MemberId;
use longhaul::live::{Delivered, Effect, Entry, PinError, Pins, Properties, SequenceNumber};

use crate::map::Map;

/// Whoever numbers all messages, where they have one order.
pub(crate) const ORDER: MemberId = MemberId([0xff; 16]);

/// What the channel promises.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Channel {
    /// All members deliver all messages in one order.
    Total,
    /// All members deliver the messages of each sender in his order; those of different senders in whatever order this draws for
    /// each member.
    Fifo { seed: u64 },
}

impl Channel {
    /// Drawn from `LONGHAUL_SEED`, or from a fresh seed, which is printed.
    pub(crate) fn fifo() -> Self {
        let seed = std::env::var("LONGHAUL_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| getrandom::u64().unwrap());
        println!("LONGHAUL_SEED={seed}");
        Self::Fifo { seed }
    }

    pub(crate) fn offers(self) -> Properties {
        let order = match self {
            Self::Total => Properties::TOTAL_ORDER,
            Self::Fifo { .. } => Properties::FIFO,
        };
        order.and(Properties::SEND_AGAIN)
    }

    /// Which key a member writes to: one of all members' where their writes have an order, else one of its own.
    pub(crate) fn key(self, writer: MemberId, number: u64) -> u64 {
        match self {
            Self::Total => number % 97,
            Self::Fifo { .. } => (u64::from(writer.0[0]) << 32) | (number % 97),
        }
    }

    /// Whose sequence a member's message is in.
    fn sender(self, member: MemberId) -> MemberId {
        match self {
            Self::Total => ORDER,
            Self::Fifo { .. } => member,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) effect: Effect,
    pub(crate) key: u64,
    pub(crate) value: u64,
}

/// A message's: in whose sequence, and the how many-eth there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sender: MemberId,
    pub(crate) sequence: SequenceNumber,
}

impl Place {
    /// That of the next message in this sequence.
    pub(crate) fn next(self) -> Self {
        Self { sequence: self.sequence.next().unwrap(), ..self }
    }
}

pub(crate) struct Bus {
    pub(crate) channel: Channel,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sent: BTreeMap<MemberId, Vec<Content>>,
    /// Who hears that something was sent.
    maps: Vec<Weak<Map>>,
    /// Until when somebody needs all of it.
    pins: BTreeMap<MemberId, Instant>,
    refuses: bool,
    is_closed: bool,
}

impl Bus {
    pub(crate) fn new(channel: Channel) -> Arc<Self> {
        let sent = match channel {
            Channel::Total => BTreeMap::from([(ORDER, Vec::new())]),
            Channel::Fifo { .. } => BTreeMap::new(),
        };
        Arc::new(Self { channel, state: Mutex::new(State { sent, ..State::default() }) })
    }

    /// Sends a message of `member`.
    pub(crate) fn send(&self, member: MemberId, content: Content) -> Place {
        let sender = self.channel.sender(member);
        let mut state = self.lock();
        let sent = state.sent.entry(sender).or_default();
        sent.push(content);
        let sequence = SequenceNumber(sent.len() as u64);
        ring(state);
        Place { sender, sequence }
    }

    /// The last message in each sequence.
    pub(crate) fn last(&self) -> Vec<Place> {
        let state = self.lock();
        let last = |(sender, sent): (&MemberId, &Vec<_>)| Place {
            sender: *sender,
            sequence: SequenceNumber(sent.len() as u64),
        };
        state.sent.iter().filter(|(_, sent)| !sent.is_empty()).map(last).collect()
    }

    /// The last message in the sequence that `member` sends in.
    pub(crate) fn last_of(&self, member: MemberId) -> Place {
        let sender = self.channel.sender(member);
        self.last().into_iter().find(|last| last.sender == sender).unwrap()
    }

    /// What a member hears from now on, from the first message on; `map` is rung whenever there is more.
    pub(crate) fn inbox(self: &Arc<Self>, member: MemberId, map: &Arc<Map>) -> Inbox {
        self.lock().maps.push(Arc::downgrade(map));
        let seed = match self.channel {
            Channel::Total => 0,
            Channel::Fifo { seed } => seed,
        };
        let draw = Draw(seed ^ (u64::from(member.0[0]) << 56));
        Inbox { bus: Arc::clone(self), draw, passed: BTreeMap::new(), held: BTreeSet::new() }
    }

    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        ring(state);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    pub(crate) fn refuse(&self) {
        self.lock().refuses = true;
    }

    pub(crate) fn has_pins(&self) -> bool {
        !self.lock().pins.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// All hear that there is more, or that nothing comes any more.
fn ring(state: MutexGuard<'_, State>) {
    let maps: Vec<_> = state.maps.iter().filter_map(Weak::upgrade).collect();
    drop(state);
    for map in maps {
        map.ring(0);
    }
}

/// What one member has heard of the channel.
pub(crate) struct Inbox {
    bus: Arc<Bus>,
    draw: Draw,
    /// How many of each sequence are behind it.
    passed: BTreeMap<MemberId, u64>,
    /// Sequences whose next message is held.
    held: BTreeSet<MemberId>,
}

impl Inbox {
    /// A message that comes next in its sequence, if there is one that is not held: of one of the senders, drawn.
    pub(crate) fn next(&mut self) -> Option<(Place, Content)> {
        let state = self.bus.lock();
        let next = |(sender, sent): (&MemberId, &Vec<Content>)| {
            let passed = self.passed.get(sender).copied().unwrap_or(0);
            let content = sent.get(passed as usize).filter(|_| !self.held.contains(sender))?;
            Some((Place { sender: *sender, sequence: SequenceNumber(passed + 1) }, *content))
        };
        let nexts: Vec<_> = state.sent.iter().filter_map(next).collect();
        nexts.get(self.draw.below(nexts.len())).copied()
    }

    /// A message is behind it.
    pub(crate) fn pass(&mut self, place: Place) {
        self.passed.insert(place.sender, place.sequence.0);
    }

    /// Messages are sent again, from this one on.
    pub(crate) fn again(&mut self, from: Place) {
        self.passed.insert(from.sender, from.sequence.0 - 1);
    }

    /// A message is held until all are reoffered.
    pub(crate) fn hold(&mut self, place: Place) {
        self.held.insert(place.sender);
    }

    pub(crate) fn reoffer(&mut self) {
        self.held.clear();
    }

    /// Nothing is sent any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.bus.is_closed()
    }
}

/// Steele, Lea and Flood's `SplitMix64`.
struct Draw(u64);

impl Draw {
    /// A number below `end`; 0 if there is none.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

impl Pins for Bus {
    fn pin(&self, joiner: MemberId, lease: Duration) -> Result<Delivered, PinError> {
        let mut state = self.lock();
        if state.refuses {
            return Err(PinError::Refused { source: ORDER });
        }
        state.pins.insert(joiner, Instant::now() + lease);
        let mut sources = Delivered::new();
        for (sender, sent) in &state.sent {
            let sent = SequenceNumber(sent.len() as u64);
            sources.insert(Entry::new(*sender, SequenceNumber::NONE, sent).unwrap()).unwrap();
        }
        Ok(sources)
    }

    fn unpin(&self, joiner: MemberId) {
        self.lock().pins.remove(&joiner);
    }
}
