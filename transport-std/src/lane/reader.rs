//! The thread that reads a lane: cuts the bytes into frames, checks payloads, hands buffers on.
//!
//! Large payloads: one buffer each, the payload at its start; the read that completes it asks for
//! the next header too, and never waits for it. Small frames: a buffer is filled with many of them
//! while more is at hand, and handed on whole. Either way no payload is copied, but for what a read
//! of small frames caught of a large one.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use longhaul_core::id::{ItemId, Lane};
use longhaul_core::integrity::{Integrity, RUN_LEN, RunHasher, RunSum, crc32c};
use longhaul_core::wire::{Flags, Frame, HEADER_LEN, Header, Kind, WireError};
use longhaul_state::pool::{Buffer, Share};

use crate::driver::{Message, Queue};
use crate::stream::ReadHalf;
use crate::threads::Threads;

/// Payloads from here on get a buffer of their own.
const LARGE: usize = 64 << 10;

/// A frame in a buffer.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) header: Header,
    /// Body or payload.
    pub(crate) body: Range<usize>,
    /// The payload's CRC-32C, if it was computed.
    pub(crate) crc: Option<u32>,
    /// The checksum of the run that this frame ends.
    pub(crate) run: Option<Box<RunSum>>,
}

pub(super) fn start(
    lane: Lane,
    input: ReadHalf,
    share: Share,
    integrity: Integrity,
    queue: Queue,
    threads: &Threads,
) {
    threads.spawn(format!("longhaul-read-{}", lane.0), move || {
        let mut reader = Reader { lane, input, share, hasher: LaneHasher::new(integrity), queue };
        let ended = reader.run();
        let message = match ended {
            Ended::Stopped => return,
            Ended::Io(error) => Message::LaneEnded { lane, error },
            Ended::Invalid(error) => Message::Invalid { error },
        };
        reader.queue.send(message);
    });
}

/// Why a reader ended.
enum Ended {
    Stopped,
    Io(Option<io::Error>),
    Invalid(WireError),
}

impl From<WireError> for Ended {
    fn from(error: WireError) -> Self {
        Self::Invalid(error)
    }
}

struct Reader {
    lane: Lane,
    input: ReadHalf,
    share: Share,
    hasher: LaneHasher,
    queue: Queue,
}

/// A buffer being filled: frames before `start` are complete, bytes up to `end` have come.
struct Filling {
    buffer: Buffer,
    frames: Vec<Inbound>,
    start: usize,
    end: usize,
}

impl Filling {
    const fn new(buffer: Buffer) -> Self {
        Self { buffer, frames: Vec::new(), start: 0, end: 0 }
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

impl Reader {
    fn run(&mut self) -> Ended {
        match self.read_frames() {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    fn read_frames(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut filling = Filling::new(self.buffer()?);
        let mut more_at_hand = false;
        loop {
            let incomplete = self.cut(&mut filling)?;
            match incomplete {
                Some(header) if header.kind == Kind::Data && header.len as usize >= LARGE => {
                    filling = self.read_large(filling, &header)?;
                    more_at_hand = false;
                    continue;
                }
                _ => {}
            }
            let needed = incomplete.map_or(HEADER_LEN, |header| HEADER_LEN + header.len as usize);
            let fits = filling.start + needed <= filling.buffer.len();
            let half_full = filling.end > filling.buffer.len() / 2;
            if !filling.frames.is_empty() && (!more_at_hand || !fits || half_full) {
                filling = self.hand_on(filling)?;
            } else if !fits {
                let (start, end) = (filling.start, filling.end);
                filling.buffer.copy_within(start..end, 0);
                (filling.start, filling.end) = (0, end - start);
            }
            let room = (filling.buffer.len() - filling.end).min(2 * LARGE);
            let end = filling.end;
            let read = self.read(&mut filling.buffer[end..end + room])?;
            filling.end += read;
            more_at_hand = read == room;
        }
    }

    /// Cuts complete frames off the front; returns the header of an incomplete one.
    fn cut(&mut self, filling: &mut Filling) -> Result<Option<Header>, Ended> {
        while let Some(bytes) = filling.rest().first_chunk::<HEADER_LEN>() {
            let header = Header::parse(bytes)?;
            let body = filling.start + HEADER_LEN..filling.start + HEADER_LEN + header.len as usize;
            if HEADER_LEN + header.len as usize > filling.buffer.len() {
                return Err(WireError::Length { kind: header.kind, len: header.len }.into());
            }
            if body.end > filling.end {
                return Ok(Some(header));
            }
            filling.start = body.end;
            filling.frames.push(self.hasher.frame(header, &filling.buffer, body)?);
        }
        Ok(None)
    }

    /// Reads a large payload to the start of a buffer of its own, and the next header behind it.
    fn read_large(&mut self, mut filling: Filling, header: &Header) -> Result<Filling, Ended> {
        let len = header.len as usize;
        let (start, end) = (filling.start + HEADER_LEN, filling.end);
        let (mut buffer, mut have) = if filling.frames.is_empty() {
            filling.buffer.copy_within(start..end, 0);
            (filling.buffer, end - start)
        } else {
            let mut buffer = self.buffer()?;
            buffer[..end - start].copy_from_slice(&filling.buffer[start..end]);
            self.deliver(filling.buffer, filling.frames);
            (buffer, end - start)
        };
        while have < len {
            have += self.read(&mut buffer[have..len + HEADER_LEN])?;
        }
        let frame = self.hasher.frame(*header, &buffer, 0..len)?;
        self.hand_on(Filling { buffer, frames: vec![frame], start: len, end: have })
    }

    /// Hands the complete frames on; what is left begins a new buffer.
    fn hand_on(&mut self, filling: Filling) -> Result<Filling, Ended> {
        let mut rest = [0; HEADER_LEN];
        let (start, end) = (filling.start, filling.end);
        if end - start <= rest.len() {
            // The usual case: hand on first, so that waiting for a buffer does not hold this one back.
            rest[..end - start].copy_from_slice(filling.rest());
            self.deliver(filling.buffer, filling.frames);
            let mut next = Filling::new(self.buffer()?);
            next.buffer[..end - start].copy_from_slice(&rest[..end - start]);
            next.end = end - start;
            return Ok(next);
        }
        let carried = filling.rest().to_vec();
        self.deliver(filling.buffer, filling.frames);
        let mut next = Filling::new(self.buffer()?);
        next.buffer[..carried.len()].copy_from_slice(&carried);
        next.end = carried.len();
        Ok(next)
    }

    fn deliver(&self, buffer: Buffer, frames: Vec<Inbound>) {
        self.queue.send(Message::Inbound { lane: self.lane, buffer: Arc::new(buffer), frames });
    }

    fn buffer(&self) -> Result<Buffer, Ended> {
        self.share.take(&|| self.queue.is_stopped()).ok_or(Ended::Stopped)
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, Ended> {
        loop {
            match self.input.read(into) {
                Ok(0) => return Err(Ended::Io(None)),
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Ended::Io(Some(error))),
            }
        }
    }
}

/// Checks the payloads of a lane as they pass, and hashes its runs.
struct LaneHasher {
    integrity: Integrity,
    /// Runs under way: a small item may come between two chunks of a large one.
    runs: Vec<(ItemId, u8, RunHasher)>,
}

/// Runs that a lane may have under way; the oldest beyond are those of attempts that failed.
const RUNS: usize = 4;

impl LaneHasher {
    const fn new(integrity: Integrity) -> Self {
        Self { integrity, runs: Vec::new() }
    }

    fn frame(&mut self, header: Header, buffer: &[u8], body: Range<usize>) -> Result<Inbound, WireError> {
        let bytes = &buffer[body.clone()];
        let (mut crc, mut run) = (None, None);
        match header.kind {
            // The rest of this lane is checked as the task says: its content may follow at once.
            Kind::Task => {
                if let Frame::Task(task) = Frame::parse(&header, bytes)? {
                    self.integrity = task.integrity;
                }
            }
            Kind::Data if self.integrity != Integrity::None => {
                let sum = crc32c(bytes);
                crc = Some(sum);
                if let Some(hasher) = self.continued(&header, bytes.len() as u64) {
                    hasher.update(bytes, sum);
                    run = self.ended(&header, bytes.len() as u64);
                }
            }
            Kind::Hole if self.integrity != Integrity::None => {
                if let Frame::Hole { len, .. } = Frame::parse(&header, bytes)?
                    && let Some(hasher) = self.continued(&header, len)
                {
                    hasher.update_hole(len);
                    run = self.ended(&header, len);
                }
            }
            // A run that nothing else ended: a stream's last.
            Kind::End => run = self.taken(header.item).and_then(RunHasher::finish),
            _ => {}
        }
        Ok(Inbound { header, body, crc, run: run.map(Box::new) })
    }

    /// The hasher of the run that these bytes continue or begin; none if they do neither: the session
    /// will refuse them.
    fn continued(&mut self, header: &Header, len: u64) -> Option<&mut RunHasher> {
        let attempt = header.flags.attempt();
        let last = header.offset.checked_add(len - 1)?;
        if header.offset / RUN_LEN != last / RUN_LEN {
            return None;
        }
        let continued = self.runs.iter().position(|(id, tried, hasher)| {
            *id == header.item && *tried == attempt && hasher.next_offset() == header.offset
        });
        let at = match continued {
            Some(at) => at,
            None if header.offset.is_multiple_of(RUN_LEN) => {
                if self.runs.len() == RUNS {
                    self.runs.remove(0);
                }
                self.runs.push((header.item, attempt, RunHasher::new(self.integrity, header.offset)));
                self.runs.len() - 1
            }
            None => return None,
        };
        self.runs.get_mut(at).map(|(_, _, hasher)| hasher)
    }

    /// The hasher of the item's run that came last.
    fn taken(&mut self, id: ItemId) -> Option<RunHasher> {
        let at = self.runs.iter().rposition(|run| run.0 == id)?;
        Some(self.runs.remove(at).2)
    }

    fn ended(&mut self, header: &Header, len: u64) -> Option<RunSum> {
        if header.flags.has(Flags::RUN_END) || (header.offset + len).is_multiple_of(RUN_LEN) {
            return self.taken(header.item).and_then(RunHasher::finish);
        }
        None
    }
}
