//! The demo's channel: one order for all messages, each kept until all have it and no pin asks for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longhaul::MemberId;
use longhaul::live::{Delivered, Entry, PinError, Pins, SequenceNumber};

/// Whoever numbers all messages.
pub(super) const ORDER: MemberId = MemberId([0xff; 16]);

/// A message: a key gets a value.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) key: u64,
    pub(super) value: Arc<[u8]>,
}

#[derive(Default)]
pub(super) struct Channel {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Messages before the first one that is kept.
    dropped: u64,
    kept: VecDeque<Write>,
    /// What each member that counts has.
    delivered: BTreeMap<MemberId, u64>,
    /// Until when, and all behind which message, somebody needs.
    pins: BTreeMap<MemberId, (u64, Instant)>,
    is_closed: bool,
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message; its number.
    pub(super) fn send(&self, write: Write) -> u64 {
        let mut state = self.lock();
        state.kept.push_back(write);
        let number = state.dropped + state.kept.len() as u64;
        drop(state);
        self.changed.notify_all();
        number
    }

    /// The last message's number.
    pub(super) fn last(&self) -> u64 {
        let state = self.lock();
        state.dropped + state.kept.len() as u64
    }

    /// Whoever follows gets the messages from `next` on, `most` at most, once there is one; `None` once there will be
    /// none. `delivered`: what it has, if it counts.
    ///
    /// # Errors
    /// If what comes next for who counts was dropped.
    pub(super) fn receive(
        &self,
        follower: MemberId,
        delivered: Option<u64>,
        next: u64,
        most: usize,
    ) -> Result<Option<(u64, Vec<Write>)>, String> {
        let mut state = self.lock();
        if let Some(delivered) = delivered {
            if delivered < state.dropped {
                return Err(format!("{} messages were dropped, {delivered} delivered", state.dropped));
            }
            state.delivered.insert(follower, delivered);
            state.collect();
        }
        loop {
            // What was dropped nobody needs: who asks for it has no state yet.
            let first = next.max(state.dropped + 1);
            let at = (first - state.dropped - 1) as usize;
            if at < state.kept.len() {
                return Ok(Some((first, state.kept.range(at..).take(most).cloned().collect())));
            }
            if state.is_closed {
                return Ok(None);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No more messages.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }
}

impl State {
    /// Drops what all have that follow, and no pin asks for.
    fn collect(&mut self) {
        let now = Instant::now();
        self.pins.retain(|_, (_, until)| *until > now);
        let pinned = self.pins.values().map(|(behind, _)| *behind);
        let needed = self.delivered.values().copied().chain(pinned).min().unwrap_or(0);
        let dropped = needed.saturating_sub(self.dropped);
        self.kept.drain(..dropped as usize);
        self.dropped += dropped;
    }
}

impl Pins for Channel {
    fn pin(&self, joiner: MemberId, lease: Duration) -> Result<Delivered, PinError> {
        let mut state = self.lock();
        let until = Instant::now() + lease;
        let (behind, sent) = (state.dropped, state.dropped + state.kept.len() as u64);
        state.pins.entry(joiner).and_modify(|pin| pin.1 = until).or_insert((behind, until));
        let mut sources = Delivered::new();
        let entry = Entry::new(ORDER, SequenceNumber(behind), SequenceNumber(sent));
        let inserted = entry.and_then(|entry| sources.insert(entry));
        inserted.map_err(|_| PinError::Refused { source: ORDER })?;
        Ok(sources)
    }

    /// A member from now on, it counts: as having what lay before its pin until it says more.
    fn unpin(&self, joiner: MemberId) {
        let mut state = self.lock();
        if let Some((behind, _)) = state.pins.remove(&joiner) {
            state.delivered.entry(joiner).or_insert(behind);
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul::kit::{Retention, check_pins};

    use super::*;

    const MEMBER: MemberId = MemberId([1; 16]);
    const JOINER: MemberId = MemberId([4; 16]);

    struct Kept(Arc<Channel>);

    impl Retention for Kept {
        fn sender(&self) -> MemberId {
            ORDER
        }

        fn pins(&self) -> Arc<dyn Pins> {
            Arc::clone(&self.0) as _
        }

        fn send(&self) -> SequenceNumber {
            let number = self.0.send(Write { key: 0, value: [0].into() });
            self.0.receive(MEMBER, Some(number - 1), number, 1).unwrap();
            SequenceNumber(number)
        }

        fn is_kept(&self, message: SequenceNumber) -> bool {
            message.0 > self.0.lock().dropped
        }
    }

    #[test]
    fn what_is_pinned_is_kept() {
        check_pins(&Kept(Arc::default())).unwrap();
    }

    #[test]
    fn what_a_joiner_has_pinned_is_kept_until_it_has_said_what_it_has() {
        let channel = Channel::default();
        let send = || channel.send(Write { key: 0, value: [0].into() });
        send();
        let sources = channel.pin(JOINER, Duration::from_hours(1)).unwrap();
        assert_eq!(sources.entry(ORDER).unwrap().delivered(), SequenceNumber(0));
        channel.unpin(JOINER);
        send();
        let first =
            |follower, delivered| channel.receive(follower, Some(delivered), 1, 9).unwrap().unwrap().0;
        assert_eq!(first(MEMBER, 2 - 1), 1, "the joiner has said nothing yet");
        assert_eq!(first(JOINER, 1), 2);
    }
}
