//! Connections between two processes: frames in order, late while a wire is blocked, and an end.

use super::agenda::{Agenda, Event};
use super::store::{Logged, Requested};
use crate::sim::Random;
use longhaul_core::message::Transaction;

/// What comes out of a connection.
#[derive(Debug)]
pub(super) enum Parcel {
    /// It stands.
    Up,
    /// It is over.
    Lost,
    /// A frame, and the payload behind it.
    Frame { bytes: Vec<u8>, payload: Option<Load> },
}

/// A payload.
#[derive(Clone, Debug)]
pub(super) enum Load {
    Log(Vec<Logged>),
    Prepared(Vec<(Transaction, (u8, u64))>),
    Requests(Vec<Requested>),
}

#[derive(Debug)]
pub(super) struct Connection {
    /// The dialler, and who was dialled.
    pub(super) ends: [(usize, u64); 2],
    /// When the last parcel reaches each end.
    reaches: [u64; 2],
    pub(super) is_cut: bool,
}

/// A direction between two hosts that lets nothing through until then.
#[derive(Clone, Copy, Debug)]
struct Block {
    from: usize,
    to: usize,
    until: u64,
}

#[derive(Debug)]
pub(super) struct Wires {
    pub(super) connections: Vec<Connection>,
    blocks: Vec<Block>,
    /// The longest that anything takes, in nanoseconds.
    pub(super) latency: u64,
}

impl Wires {
    pub(super) const fn new(latency: u64) -> Self {
        Self { connections: Vec::new(), blocks: Vec::new(), latency }
    }

    pub(super) fn connect(&mut self, dialler: (usize, u64), provider: (usize, u64)) -> usize {
        self.connections.push(Connection { ends: [dialler, provider], reaches: [0; 2], is_cut: false });
        self.connections.len() - 1
    }

    pub(super) fn block(&mut self, from: usize, to: usize, until: u64) {
        self.blocks.push(Block { from, to, until });
    }

    pub(super) fn heal(&mut self) {
        self.blocks.clear();
    }

    /// When something that is sent now comes to its host.
    pub(super) fn arrival(&self, from: usize, to: usize, now: u64, random: &mut Random) -> u64 {
        let way = random.within(self.latency / 10, self.latency);
        let blocked = self.blocks.iter().filter(|block| (block.from, block.to) == (from, to));
        blocked.map(|block| block.until).filter(|until| *until > now).max().unwrap_or(now) + way
    }

    pub(super) fn is_blocked(&self, from: usize, to: usize, now: u64) -> bool {
        self.blocks.iter().any(|block| (block.from, block.to) == (from, to) && block.until > now)
    }

    /// Sends something to an end.
    pub(super) fn send(
        &mut self,
        connection: usize,
        end: usize,
        parcel: Parcel,
        agenda: &mut Agenda,
        random: &mut Random,
    ) {
        let hosts = self.connections[connection].ends.map(|(host, _)| host);
        let arrival = self.arrival(hosts[1 - end], hosts[end], agenda.now(), random);
        let reaches = &mut self.connections[connection].reaches[end];
        *reaches = (*reaches + 1).max(arrival);
        agenda.at(*reaches, Event::Parcel { connection, end, parcel });
    }
}
