//! The model network: connections between hosts that delay, split, flip, fall silent and break.
//!
//! A connection is TCP as its two ends see it: bytes in order, in pieces of any length, a window,
//! an end. What happens to it never says why. Two connections know nothing of each other: what was
//! sent on one later may come earlier.

use std::collections::VecDeque;

use super::Random;
use super::agenda::{Agenda, Event};
use super::content::Piece;

/// Bytes that may be sent and not acknowledged.
const WINDOW: usize = 256 << 10;
const MILLISECOND: u64 = 1_000_000;

/// What lies on a wire.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    Bytes(Vec<u8>),
    Piece(Piece),
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe {
    segments: VecDeque<Segment>,
    queued: usize,
    /// Bytes that were sent and whose arrival the sender has not heard of.
    unacknowledged: usize,
    /// A delivery is on the agenda.
    scheduled: bool,
    /// Nothing more is sent: the receiver is told when all has come.
    ended: bool,
    told: bool,
}

#[derive(Debug)]
struct Connection {
    hosts: [usize; 2],
    /// What goes to end 0, and to end 1.
    pipes: [Pipe; 2],
    /// The process at this end is gone, and its host answers for it once it can.
    gone: [bool; 2],
}

/// A direction between two hosts that lets nothing through until then.
#[derive(Debug)]
struct Block {
    from: usize,
    to: usize,
    until: u64,
}

/// What the wires of one case are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wires {
    /// The longest that a packet takes, in nanoseconds.
    pub(crate) latency: u64,
    /// Bytes a second and connection.
    pub(crate) bandwidth: u64,
}

#[derive(Debug)]
pub(crate) struct Network {
    wires: Wires,
    connections: Vec<Connection>,
    blocks: Vec<Block>,
    /// Which hosts have a process.
    up: Vec<bool>,
    /// One delivery in so many has a flipped bit; 0: none.
    pub(crate) flip_one_in: u64,
}

/// What comes out of a connection.
pub(crate) enum Delivery {
    Nothing,
    Segments(Vec<Segment>),
    Ended,
}

impl Network {
    pub(crate) fn new(wires: Wires, hosts: usize) -> Self {
        Self { wires, connections: Vec::new(), blocks: Vec::new(), up: vec![false; hosts], flip_one_in: 0 }
    }

    /// A process runs on this host from now on, or does not.
    pub(crate) fn set_up(&mut self, host: usize, up: bool) {
        self.up[host] = up;
    }

    /// Whether a process on this host takes connections.
    pub(crate) fn is_up(&self, host: usize) -> bool {
        self.up[host]
    }

    /// Whether the process at an end is gone.
    pub(crate) fn is_gone(&self, connection: usize, end: usize) -> bool {
        self.connections[connection].gone[end]
    }

    /// Whether the connection broke before its dialler had it.
    pub(crate) fn is_broken(&self, connection: usize) -> bool {
        self.connections[connection].pipes[0].ended
    }

    /// Whether a connection is one between these two hosts.
    pub(crate) fn joins(&self, connection: usize, a: usize, b: usize) -> bool {
        let hosts = self.connections[connection].hosts;
        hosts == [a, b] || hosts == [b, a]
    }

    /// A connection between two hosts: the dialler's is end 0.
    pub(crate) fn connect(&mut self, dialler: usize, listener: usize) -> usize {
        let pipes = [Pipe::default(), Pipe::default()];
        self.connections.push(Connection { hosts: [dialler, listener], pipes, gone: [false; 2] });
        self.connections.len() - 1
    }

    /// The host at an end.
    pub(crate) fn host(&self, connection: usize, end: usize) -> usize {
        self.connections[connection].hosts[end]
    }

    /// Lets nothing through from one host to the other until then.
    pub(crate) fn block(&mut self, from: usize, to: usize, until: u64) {
        self.blocks.push(Block { from, to, until });
    }

    /// Everything gets through from now on.
    pub(crate) fn heal(&mut self) {
        self.blocks.clear();
        self.flip_one_in = 0;
    }

    /// Until when nothing gets from one host to the other.
    pub(crate) fn blocked_until(&self, from: usize, to: usize, now: u64) -> Option<u64> {
        let blocks = self.blocks.iter().filter(|block| (block.from, block.to) == (from, to));
        blocks.map(|block| block.until).max().filter(|until| *until > now)
    }

    /// How long a packet takes now.
    pub(crate) fn latency(&self, random: &mut Random) -> u64 {
        1 + random.below(self.wires.latency)
    }

    /// Whether `end` may send more.
    pub(crate) fn has_room(&self, connection: usize, end: usize) -> bool {
        self.connections[connection].pipes[1 - end].unacknowledged < WINDOW
    }

    /// `end` sends.
    pub(crate) fn send(
        &mut self,
        connection: usize,
        end: usize,
        segment: Segment,
        random: &mut Random,
        agenda: &mut Agenda,
    ) {
        let pipe = &mut self.connections[connection].pipes[1 - end];
        // A connection that was cut swallows what is still written into it.
        if pipe.ended {
            return;
        }
        pipe.queued += segment.len();
        pipe.unacknowledged += segment.len();
        match (pipe.segments.back_mut(), segment) {
            (Some(Segment::Bytes(last)), Segment::Bytes(bytes)) => last.extend_from_slice(&bytes),
            (_, segment) => pipe.segments.push_back(segment),
        }
        self.schedule(connection, 1 - end, random, agenda);
    }

    fn schedule(&mut self, connection: usize, to: usize, random: &mut Random, agenda: &mut Agenda) {
        let latency = self.latency(random);
        let pipe = &mut self.connections[connection].pipes[to];
        if !std::mem::replace(&mut pipe.scheduled, true) {
            agenda.after(latency, Event::Deliver { connection, to });
        }
    }

    /// `end` has said all that it had to say.
    pub(crate) fn finish(&mut self, connection: usize, end: usize, random: &mut Random, agenda: &mut Agenda) {
        let pipe = &mut self.connections[connection].pipes[1 - end];
        if !std::mem::replace(&mut pipe.ended, true) {
            self.schedule(connection, 1 - end, random, agenda);
        }
    }

    /// `end` has said all, and listens no more: to bytes that come its host says so.
    pub(crate) fn close(&mut self, connection: usize, end: usize, random: &mut Random, agenda: &mut Agenda) {
        self.finish(connection, end, random, agenda);
        self.connections[connection].gone[end] = true;
    }

    /// The connection breaks: what was under way is lost from some byte on.
    pub(crate) fn cut(&mut self, connection: usize, random: &mut Random, agenda: &mut Agenda) {
        for to in [0, 1] {
            self.break_off(connection, to, random, agenda);
        }
    }

    /// What goes to `to` ends somewhere in what is under way.
    fn break_off(&mut self, connection: usize, to: usize, random: &mut Random, agenda: &mut Agenda) {
        let pipe = &mut self.connections[connection].pipes[to];
        let keep = random.below(pipe.queued as u64 + 1) as usize;
        let kept = pipe.take(keep);
        (pipe.segments, pipe.queued, pipe.ended) = (kept.into(), keep, true);
        self.schedule(connection, to, random, agenda);
    }

    /// The process at `end` is gone. Its host says so at once, or, if the power went, when it is up
    /// again and asked.
    pub(crate) fn desert(
        &mut self,
        connection: usize,
        end: usize,
        silently: bool,
        random: &mut Random,
        agenda: &mut Agenda,
    ) {
        self.connections[connection].gone[end] = true;
        if !silently {
            self.break_off(connection, 1 - end, random, agenda);
        }
    }

    /// The connections of a host, and its end of each.
    pub(crate) fn of(&self, host: usize) -> Vec<(usize, usize)> {
        let ends = |(n, c): (usize, &Connection)| {
            (0..2)
                .filter(|end| c.hosts[*end] == host && !c.gone[*end])
                .map(|end| (n, end))
                .collect::<Vec<_>>()
        };
        self.connections.iter().enumerate().flat_map(ends).collect()
    }

    /// A delivery is due at `to`, whose process takes as much as is offered.
    pub(crate) fn deliver(
        &mut self,
        connection: usize,
        to: usize,
        random: &mut Random,
        agenda: &mut Agenda,
    ) -> Delivery {
        let now = agenda.now();
        let Connection { hosts, gone, .. } = self.connections[connection];
        let (from, host) = (hosts[1 - to], hosts[to]);
        if let Some(until) = self.blocked_until(from, host, now) {
            agenda.at(until + random.below(MILLISECOND), Event::Deliver { connection, to });
            return Delivery::Nothing;
        }
        let acknowledged = self.blocked_until(host, from, now).map_or(now, |until| until + 1);
        let pipe = &mut self.connections[connection].pipes[to];
        pipe.scheduled = false;
        if gone[to] {
            // Bytes for nobody: the host says so.
            if pipe.queued > 0 && !gone[1 - to] {
                (pipe.segments, pipe.queued) = (VecDeque::new(), 0);
                self.break_off(connection, 1 - to, random, agenda);
            }
            return Delivery::Nothing;
        }
        if pipe.queued == 0 {
            let news = pipe.ended && !std::mem::replace(&mut pipe.told, true);
            return if news { Delivery::Ended } else { Delivery::Nothing };
        }
        // Now and then a single byte, now and then all there is.
        let most = match random.below(8) {
            0 => 1,
            1 => 1 + random.below(64),
            2 | 3 => 1 + random.below(64 << 10),
            _ => pipe.queued as u64,
        };
        let taken = pipe.queued.min(most as usize);
        let mut segments = pipe.take(taken);
        if acknowledged > now {
            agenda.at(acknowledged, Event::Acknowledge { connection, to, bytes: taken });
        } else {
            pipe.unacknowledged = pipe.unacknowledged.saturating_sub(taken);
        }
        if pipe.queued > 0 || pipe.ended {
            pipe.scheduled = true;
            let transit = (taken as u64).saturating_mul(1000 * MILLISECOND) / self.wires.bandwidth;
            agenda.after(
                transit + 1 + random.below(self.wires.latency / 4 + 1),
                Event::Deliver { connection, to },
            );
        }
        if random.one_in(self.flip_one_in) {
            flip(&mut segments, taken, random);
        }
        Delivery::Segments(segments)
    }

    /// The sender hears that bytes have arrived.
    pub(crate) fn acknowledge(&mut self, connection: usize, to: usize, bytes: usize) {
        let pipe = &mut self.connections[connection].pipes[to];
        pipe.unacknowledged = pipe.unacknowledged.saturating_sub(bytes);
    }
}

impl Pipe {
    /// Takes the first `len` bytes, which are there.
    fn take(&mut self, len: usize) -> Vec<Segment> {
        self.queued -= len;
        take(&mut self.segments, len)
    }
}

/// Takes the first `len` bytes of `segments`, which hold as many.
pub(crate) fn take(segments: &mut VecDeque<Segment>, mut len: usize) -> Vec<Segment> {
    let mut taken = Vec::new();
    while len > 0 {
        let segment = segments.pop_front().expect("as many bytes are there");
        let (first, rest) = if segment.len() > len { segment.split_at(len) } else { (segment, None) };
        len -= first.len();
        taken.push(first);
        if let Some(rest) = rest {
            segments.push_front(rest);
        }
    }
    taken
}

/// Turns over one bit of `segments`, which hold `len` bytes.
fn flip(segments: &mut [Segment], len: usize, random: &mut Random) {
    let mut at = random.below(len as u64) as usize;
    for segment in segments {
        if at < segment.len() {
            match segment {
                Segment::Bytes(bytes) => bytes[at] ^= 1 << random.below(8),
                Segment::Piece(piece) => piece.broken |= 1 << random.below(32),
            }
            return;
        }
        at -= segment.len();
    }
}

impl Segment {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Piece(piece) => piece.len as usize,
        }
    }

    fn split_at(self, at: usize) -> (Self, Option<Self>) {
        match self {
            Self::Bytes(mut bytes) => {
                let rest = bytes.split_off(at);
                (Self::Bytes(bytes), Some(Self::Bytes(rest)))
            }
            Self::Piece(piece) => {
                let (first, rest) = piece.split_at(at as u64);
                (Self::Piece(first), Some(Self::Piece(rest)))
            }
        }
    }
}
