//! The group's channel: one order for all messages or one for each sender's, and every message is kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use longhaul::MemberId;
use longhaul::live::{Delivered, Effect, Entry, SequenceNumber};

/// Whoever numbers all messages in total order.
pub(crate) const ORDER: MemberId = MemberId([0xff; 16]);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) effect: Effect,
    pub(crate) key: u64,
    pub(crate) value: u64,
    /// What it says to the members' machines.
    pub(crate) word: Option<Vec<u8>>,
}

impl Content {
    pub(crate) const fn of(effect: Effect, key: u64, value: u64) -> Self {
        Self { effect, key, value, word: None }
    }
}

/// A message's sender and its number.
pub(crate) type Place = (MemberId, u64);

pub(crate) struct Bus {
    is_total: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    sent: BTreeMap<MemberId, Vec<Content>>,
    is_closed: bool,
}

impl Bus {
    pub(crate) fn new(is_total: bool) -> Arc<Self> {
        Arc::new(Self { is_total, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Sends a message; where it stands.
    pub(crate) fn send(&self, from: MemberId, content: Content) -> Place {
        let mut state = self.state.lock().unwrap();
        let sender = if self.is_total { ORDER } else { from };
        let sent = state.sent.entry(sender).or_default();
        sent.push(content);
        let place = (sender, sent.len() as u64);
        self.changed.notify_all();
        place
    }

    /// All that was sent, by numbers.
    pub(crate) fn last(&self) -> Delivered {
        let state = self.state.lock().unwrap();
        digest(state.sent.iter().map(|(sender, sent)| (*sender, sent.len() as u64)))
    }

    pub(crate) fn close(&self) {
        self.state.lock().unwrap().is_closed = true;
        self.changed.notify_all();
    }
}

fn digest(places: impl Iterator<Item = Place>) -> Delivered {
    let mut digest = Delivered::new();
    for (sender, last) in places {
        let last = SequenceNumber(last);
        digest.insert(Entry::new(sender, last, last).unwrap()).unwrap();
    }
    digest
}

/// A member's place on the channel.
pub(crate) struct Line {
    pub(crate) bus: Arc<Bus>,
    pub(crate) id: MemberId,
    /// Up to which number messages were brought, per sender; `None`: it is not on the channel.
    brought: Mutex<Option<BTreeMap<MemberId, u64>>>,
    is_over: AtomicBool,
}

impl Line {
    pub(crate) fn new(bus: &Arc<Bus>, id: MemberId, is_on: bool) -> Self {
        Self {
            bus: Arc::clone(bus),
            id,
            brought: Mutex::new(is_on.then(BTreeMap::new)),
            is_over: AtomicBool::new(false),
        }
    }

    /// From now on; what was sent before will not come.
    pub(crate) fn join(&self) -> Delivered {
        let state = self.bus.state.lock().unwrap();
        let mut brought = self.brought.lock().unwrap();
        let floor = || state.sent.iter().map(|(sender, sent)| (*sender, sent.len() as u64)).collect();
        let brought = brought.get_or_insert_with(floor);
        self.bus.changed.notify_all();
        digest(brought.iter().map(|(sender, last)| (*sender, *last)))
    }

    pub(crate) fn say(&self, word: &[u8]) {
        let content = Content { word: Some(word.to_vec()), ..Content::of(Effect::Nothing, 0, 0) };
        self.bus.send(self.id, content);
    }

    /// The next message that was not brought, each sender's in its order; `None` once there are no more.
    pub(crate) fn next(&self) -> Option<(Place, Content)> {
        let mut state = self.bus.state.lock().unwrap();
        loop {
            if let Some(brought) = &*self.brought.lock().unwrap() {
                let waiting = state.sent.iter().find_map(|(sender, sent)| {
                    let last = brought.get(sender).copied().unwrap_or(0);
                    Some(((*sender, last + 1), sent.get(last as usize)?.clone()))
                });
                if waiting.is_some() {
                    return waiting;
                }
            }
            if state.is_closed || self.is_over.load(Ordering::SeqCst) {
                return None;
            }
            state = self.bus.changed.wait(state).unwrap();
        }
    }

    /// Nothing more is brought.
    pub(crate) fn close(&self) {
        let _state = self.bus.state.lock().unwrap();
        self.is_over.store(true, Ordering::SeqCst);
        self.bus.changed.notify_all();
    }

    /// Brought up to this one.
    pub(crate) fn brought(&self, (sender, last): Place) {
        if let Some(brought) = &mut *self.brought.lock().unwrap() {
            brought.insert(sender, last);
        }
    }
}
