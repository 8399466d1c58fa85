//! The model network: connections that delay, split, flip, fall silent and break.

use std::collections::VecDeque;

use longhaul_core::reason::Side;

use super::{Agenda, Event, Faults, Random};

/// Bytes that a direction holds before its sender must wait.
const WINDOW: usize = 128 << 10;

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    scheduled: bool,
    ended: bool,
    told: bool,
}

#[derive(Default)]
struct Connection {
    to_provider: Pipe,
    to_joiner: Pipe,
}

#[derive(Default)]
pub(crate) struct Network {
    connections: Vec<Option<Connection>>,
    cut_at: Option<u64>,
    silent_at: Option<u64>,
}

/// What comes out of a connection.
pub(crate) enum Delivery {
    Nothing,
    Bytes(Vec<u8>),
    Ended,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self { connections: (0..4).map(|_| None).collect(), ..Self::default() }
    }

    pub(crate) fn connect(&mut self, lane: usize) {
        self.connections[lane] = Some(Connection::default());
    }

    pub(crate) const fn cut_at(&mut self, time: u64) {
        self.cut_at = Some(time);
    }

    pub(crate) const fn silent_at(&mut self, time: u64) {
        self.silent_at = Some(time);
    }

    fn pipe(&mut self, lane: usize, to: Side) -> Option<&mut Pipe> {
        let connection = self.connections.get_mut(lane)?.as_mut()?;
        Some(match to {
            Side::Provider => &mut connection.to_provider,
            Side::Joiner => &mut connection.to_joiner,
        })
    }

    pub(crate) fn has_room(&mut self, lane: usize, from: Side) -> bool {
        self.pipe(lane, from.peer()).is_some_and(|pipe| pipe.bytes.len() < WINDOW)
    }

    pub(crate) fn send(
        &mut self,
        lane: usize,
        from: Side,
        bytes: &[u8],
        random: &mut Random,
        agenda: &mut Agenda,
    ) {
        let to = from.peer();
        // A connection that was cut swallows what is still written into it.
        let Some(pipe) = self.pipe(lane, to).filter(|pipe| !pipe.ended) else { return };
        pipe.bytes.extend(bytes);
        if !pipe.scheduled {
            pipe.scheduled = true;
            agenda.after(1 + random.below(2_000_000), Event::Deliver { lane, to });
        }
    }

    pub(crate) fn deliver(
        &mut self,
        lane: usize,
        to: Side,
        faults: &Faults,
        random: &mut Random,
        agenda: &mut Agenda,
    ) -> Delivery {
        let now = agenda.now().as_nanos();
        if self.silent_at.is_some_and(|time| now >= time) {
            return Delivery::Nothing;
        }
        if self.cut_at.take_if(|time| now >= *time).is_some() {
            // One connection, both ways; what was under way is gone.
            for to in [Side::Provider, Side::Joiner] {
                if let Some(pipe) = self.pipe(lane, to) {
                    let keep = random.below(pipe.bytes.len() as u64 + 1) as usize;
                    pipe.bytes.truncate(keep);
                    pipe.ended = true;
                    if !pipe.scheduled {
                        pipe.scheduled = true;
                        agenda.after(random.below(1_000_000), Event::Deliver { lane, to });
                    }
                }
            }
        }
        let Some(pipe) = self.pipe(lane, to) else { return Delivery::Nothing };
        pipe.scheduled = false;
        if pipe.bytes.is_empty() {
            return if pipe.ended && !std::mem::replace(&mut pipe.told, true) {
                Delivery::Ended
            } else {
                Delivery::Nothing
            };
        }
        // Now and then a single byte, now and then all there is.
        let most = match random.below(4) {
            0 => 1 + random.below(64),
            1 => pipe.bytes.len() as u64,
            _ => 1 + random.below(64 << 10),
        };
        let take = pipe.bytes.len().min(most as usize);
        let mut bytes: Vec<u8> = pipe.bytes.drain(..take).collect();
        if !pipe.bytes.is_empty() || pipe.ended {
            pipe.scheduled = true;
            agenda.after(1 + random.below(1_000_000), Event::Deliver { lane, to });
        }
        if faults.flip_one_in.is_some_and(|n| random.below(n) == 0) {
            let bit = random.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        Delivery::Bytes(bytes)
    }
}
