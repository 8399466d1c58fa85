//! A joiner's connections to members: dialled with the first frame for one, dialled again with the first after it was lost.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use longhaul_core::id::MemberId;
use longhaul_core::integrity::crc32c;
use longhaul_core::transfer::Tag;
use longhaul_core::transfer::live::Take;
use longhaul_core::transfer::wire::{Frame, Payload};

use super::join::Joining;
use super::shared::{Shared, State};
use super::stage::Item;
use crate::live::batch::changes;
use crate::member::control;
use crate::member::frames::{Frames, emitted};

/// The pause before a member that was not there is dialled again, and the longest one.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// A connection to a member, or one that is being dialled.
pub(super) struct Link {
    number: u64,
    /// Frames to write; dropped, the connection ends behind the last one.
    frames: Sender<Vec<u8>>,
    stream: Option<Arc<TcpStream>>,
}

impl Link {
    pub(super) fn close(&self) {
        if let Some(stream) = &self.stream {
            // One that is gone already is as closed as can be.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Joining {
    /// Whether it is this connection that stands, or is dialled.
    fn has_link(&self, (member, number): (MemberId, u64)) -> bool {
        self.links.get(&member).is_some_and(|link| link.number == number)
    }
}

impl State {
    /// The transfer, if this connection is its.
    fn joining_by(&mut self, link: (MemberId, u64)) -> Option<&mut Joining> {
        self.joining.as_mut().filter(|joining| joining.has_link(link))
    }
}

impl Shared {
    /// Says something to a member; who can't be reached is told to the machine.
    pub(super) fn say(self: &Arc<Self>, joining: &mut Joining, member: MemberId, frame: Vec<u8>) {
        let Some(link) = self.reach(joining, member) else {
            return joining.machine.handle_lost(member, self.now());
        };
        // A writer that has ended has closed the connection: its reader tells.
        let _ = link.frames.send(frame);
    }

    /// All members are dialled where the protocol has them answer a word to the group.
    pub(super) fn reach_all(self: &Arc<Self>, joining: &mut Joining) {
        if joining.stops_all() {
            let members: Vec<_> = joining.addresses.keys().copied().collect();
            for member in members.into_iter().filter(|member| *member != self.config.member) {
                if self.reach(joining, member).is_none() {
                    joining.machine.handle_lost(member, self.now());
                }
            }
        }
    }

    fn reach<'a>(self: &Arc<Self>, joining: &'a mut Joining, member: MemberId) -> Option<&'a Link> {
        if !joining.links.contains_key(&member) {
            let address = joining.addresses.get(&member)?.clone();
            let number = self.links_so_far.fetch_add(1, Ordering::Relaxed);
            let (frames, todo) = channel();
            let shared = Arc::clone(self);
            let failures = joining.failures.get(&member).copied().unwrap_or_default();
            let converse = move || shared.converse((member, number), &address, failures, todo);
            if !self.threads.spawn("states-dial", converse) {
                return None;
            }
            joining.links.insert(member, Link { number, frames, stream: None });
        }
        joining.links.get(&member)
    }

    /// The dialler, and reader: until the connection ends.
    fn converse(
        self: &Arc<Self>,
        to: (MemberId, u64),
        address: &str,
        failures: u32,
        todo: Receiver<Vec<u8>>,
    ) {
        if failures > 0 {
            self.pause(to, (PAUSE.0 * 2_u32.saturating_pow(failures.min(8))).min(PAUSE.1));
        }
        match control::connect(address, self.config.stall_timeout) {
            Ok(stream) => {
                let stream = Arc::new(stream);
                if self.connected(to, &stream, todo)
                    && let Err(error) = self.follow(to, &stream)
                {
                    tracing::info!(%error, address, "the connection to a member is over");
                }
                let _ = stream.shutdown(Shutdown::Both);
            }
            Err(error) => {
                tracing::info!(%error, address, "a member can't be reached");
                let mut state = self.lock();
                if let Some(joining) = state.joining_by(to) {
                    *joining.failures.entry(to.0).or_default() += 1;
                    joining.cause = Some(format!("{address} can't be reached: {error}").into());
                }
            }
        }
        let mut state = self.lock();
        if let Some(joining) = state.joining_by(to) {
            joining.links.remove(&to.0);
            joining.machine.handle_lost(to.0, self.now());
            self.drive(&mut state);
        }
    }

    /// Waits, for as long as the transfer goes on.
    fn pause(&self, to: (MemberId, u64), time: Duration) {
        let end = std::time::Instant::now() + time;
        let mut state = self.lock();
        while let left = end.saturating_duration_since(std::time::Instant::now())
            && !left.is_zero()
            && !state.stopped
            && state.joining_by(to).is_some()
        {
            state = self.wait_for_admission(state, left);
        }
    }

    /// The connection stands: its writer says first who this is. `false` if it is of no use any more.
    fn connected(
        self: &Arc<Self>,
        to: (MemberId, u64),
        stream: &Arc<TcpStream>,
        todo: Receiver<Vec<u8>>,
    ) -> bool {
        let mut state = self.lock();
        // The last words of a transfer that is over are still said.
        let tag = state.joining.as_ref().map(|joining| joining.machine.tag()).unwrap_or_default();
        if state.stopped {
            return false;
        }
        let hello = emitted(tag, &Frame::Hello { from: self.config.member, to: to.0 });
        let writes = Arc::clone(stream);
        if !self.threads.spawn("states-tell", move || tell(&writes, hello, &todo)) {
            return false;
        }
        if let Some(link) = state.joining_by(to).and_then(|joining| joining.links.get_mut(&to.0)) {
            link.stream = Some(Arc::clone(stream));
        }
        true
    }

    /// Takes what the member says, as long as the connection stands.
    fn follow(self: &Arc<Self>, to: (MemberId, u64), stream: &TcpStream) -> io::Result<()> {
        let mut frames = Frames::new(BufReader::with_capacity(64 << 10, stream));
        loop {
            let (tag, frame) = frames.next()?;
            let payload = frame.payload();
            if !self.told(to, tag, &frame) {
                return Ok(());
            }
            if let Some(announced) = payload {
                let bytes = frames.payload(announced)?;
                if !self.loaded(to, bytes) {
                    return Ok(());
                }
            }
        }
    }

    /// The member says something; `false` if the connection is of no use any more.
    fn told(self: &Arc<Self>, to: (MemberId, u64), tag: Tag, frame: &Frame<'_>) -> bool {
        let mut state = self.lock();
        let Some(joining) = state.joining_by(to) else { return false };
        joining.failures.remove(&to.0);
        joining.machine.handle_frame(to.0, tag, frame, self.now());
        self.drive(&mut state);
        true
    }

    /// A payload has come: its records go to the hidden copy.
    fn loaded(self: &Arc<Self>, to: (MemberId, u64), bytes: Vec<u8>) -> bool {
        let payload = Payload { len: bytes.len() as u32, crc: crc32c(&bytes) };
        let mut state = self.lock();
        let Some(joining) = state.joining_by(to) else { return false };
        let now = self.now();
        let item = joining.machine.handle_payload(payload, now).then(|| joining.records(bytes, now));
        let (work, generation) = (Arc::clone(&joining.work), joining.generation);
        self.drive(&mut state);
        drop(state);
        match item {
            // Here the provider is held back when it is quicker than the hidden copy.
            Some(Some(item)) => work.push_when_room(generation, item),
            Some(None) => false,
            None => true,
        }
    }
}

impl Joining {
    /// Which records of a payload are to be applied.
    fn records(&mut self, bytes: Vec<u8>, now: longhaul_core::time::Instant) -> Option<Item> {
        let (mut skipped, mut taken) = (0, 0);
        for record in changes(&bytes) {
            match self.machine.handle_record(record?.record.number, now) {
                Take::Apply => taken += 1,
                Take::Skip => skipped += 1,
                Take::Stop => return None,
            }
        }
        Some(Item::Apply { bytes, skipped, taken, to: self.machine.received() })
    }
}

/// The writer: until there is nothing more to say, or nobody hears it.
fn tell(mut stream: &TcpStream, hello: Vec<u8>, frames: &Receiver<Vec<u8>>) {
    for frame in std::iter::once(hello).chain(frames) {
        if stream.write_all(&frame).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}
