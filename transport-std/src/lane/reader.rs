//! The thread that reads a lane: cuts the bytes into frames, checks payloads, hands buffers on.
//!
//! Large payloads: one buffer each, the payload at its start; the read that completes it asks for
//! the next header too, and never waits for it. Small frames: a buffer is filled with many of them
//! while more is at hand, and handed on whole. Either way no payload is copied, but for what a read
//! of small frames caught of a large one.

use std::io::{self, Read};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Integrity, RUN_LEN, RunHasher, RunSum, crc32c};
use longhaul_core::wire::{Flags, Frame, HEADER_LEN, Header, Kind, WireError};
use longhaul_state::pool::{Buffer, Share};

use super::Port;
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
    pub(crate) run: Option<RunSum>,
}

/// The frames of one buffer. One alone costs no allocation: a large payload comes that way.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    first: Option<Inbound>,
    more: Vec<Inbound>,
}

impl Frames {
    fn push(&mut self, frame: Inbound) {
        if self.first.is_none() {
            self.first = Some(frame);
        } else {
            self.more.push(frame);
        }
    }

    const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Whether one of them is content, whose bytes others will need.
    pub(crate) fn have_payload(&self) -> bool {
        self.iter().any(|frame| frame.header.kind == Kind::Data)
    }

    /// The payload that is alone in its buffer.
    pub(crate) fn lone_payload(&self) -> Option<&Inbound> {
        self.first.as_ref().filter(|frame| frame.header.kind == Kind::Data && self.more.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Inbound> {
        self.first.iter().chain(&self.more)
    }
}

pub(super) fn start(
    port: Port,
    input: ReadHalf,
    share: Share,
    integrity: Integrity,
    queue: Queue,
    threads: &Threads,
) {
    threads.spawn(format!("longhaul-read-{}", port.lane.0), move || {
        let mut reader = Reader { port, input, share, hasher: LaneHasher::new(integrity), queue };
        let queue = reader.queue.clone();
        let Ok(ended) = catch_unwind(AssertUnwindSafe(|| reader.run())) else {
            return queue.send(Message::Panicked("a lane's reader"));
        };
        let message = match ended {
            Ended::Stopped => return,
            Ended::Io(error) => Message::LaneEnded { port, error },
            Ended::Invalid(error) => {
                queue.send(Message::Invalid { port, error });
                // Until the peer has read why, it is listened to: bytes unread would take our words along.
                Message::LaneEnded { port, error: reader.discard() }
            }
        };
        queue.send(message);
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
    port: Port,
    input: ReadHalf,
    share: Share,
    hasher: LaneHasher,
    queue: Queue,
}

/// A buffer being filled: frames before `start` are complete, bytes up to `end` have come.
struct Filling {
    buffer: Buffer,
    frames: Frames,
    start: usize,
    end: usize,
}

impl Filling {
    fn new(buffer: Buffer) -> Self {
        Self { buffer, frames: Frames::default(), start: 0, end: 0 }
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

    /// Reads to the end, and keeps nothing.
    fn discard(&mut self) -> Option<io::Error> {
        let mut nowhere = [0; 4096];
        loop {
            match self.read(&mut nowhere) {
                Ok(_) => {}
                Err(Ended::Io(error)) => return error,
                Err(_) => return None,
            }
        }
    }

    fn read_frames(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut filling = Filling::new(self.buffer()?);
        let mut more_at_hand = false;
        loop {
            let incomplete = match self.cut(&mut filling) {
                Ok(incomplete) => incomplete,
                Err(ended) => return Err(self.end(filling, ended)),
            };
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
            // The rest of a frame comes whatever we do; what follows a whole one may wait for our answer.
            let at_hand = more_at_hand && !filling.rest().is_empty();
            if !filling.frames.is_empty() && (!at_hand || !fits || half_full) {
                filling = self.hand_on(filling)?;
            } else if !fits {
                let (start, end) = (filling.start, filling.end);
                filling.buffer.copy_within(start..end, 0);
                (filling.start, filling.end) = (0, end - start);
            }
            let room = (filling.buffer.len() - filling.end).min(2 * LARGE);
            let end = filling.end;
            let read = match self.read(&mut filling.buffer[end..end + room]) {
                Ok(read) => read,
                Err(ended) => return Err(self.end(filling, ended)),
            };
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
            // Handed on before another is asked for: nobody waits for a buffer with one in hand.
            let carried = filling.buffer[start..end].to_vec();
            self.deliver(filling.buffer, filling.frames);
            let mut buffer = self.buffer()?;
            buffer[..carried.len()].copy_from_slice(&carried);
            (buffer, end - start)
        };
        while have < len {
            have += self.read(&mut buffer[have..len + HEADER_LEN])?;
        }
        let frame = self.hasher.frame(*header, &buffer, 0..len)?;
        let frames = Frames { first: Some(frame), more: Vec::new() };
        self.hand_on(Filling { buffer, frames, start: len, end: have })
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

    /// What is whole is handed on before the end.
    fn end(&self, filling: Filling, ended: Ended) -> Ended {
        if !filling.frames.is_empty() {
            self.deliver(filling.buffer, filling.frames);
        }
        ended
    }

    fn deliver(&self, buffer: Buffer, frames: Frames) {
        self.queue.send(Message::Inbound { port: self.port, buffer, frames });
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
                if let Some(at) = self.continued(&header, bytes.len() as u64) {
                    self.runs[at].2.update(bytes, sum);
                    run = self.ended(at, &header);
                }
            }
            Kind::Hole if self.integrity != Integrity::None => {
                if let Frame::Hole { len, .. } = Frame::parse(&header, bytes)?
                    && let Some(at) = self.continued(&header, len)
                {
                    self.runs[at].2.update_hole(len);
                    run = self.ended(at, &header);
                }
            }
            // A run that nothing else ended: a stream's last.
            Kind::End => {
                let ends =
                    |run: &(ItemId, u8, RunHasher)| run.0 == header.item && run.1 == header.flags.attempt();
                run = self.runs.iter().rposition(ends).and_then(|at| self.runs.remove(at).2.finish());
            }
            _ => {}
        }
        Ok(Inbound { header, body, crc, run })
    }

    /// Which run these bytes continue or begin; none if they do neither: the session will refuse them.
    fn continued(&mut self, header: &Header, len: u64) -> Option<usize> {
        let attempt = header.flags.attempt();
        let last = header.offset.checked_add(len - 1)?;
        if header.offset / RUN_LEN != last / RUN_LEN {
            return None;
        }
        let continued = self.runs.iter().position(|(id, tried, hasher)| {
            *id == header.item && *tried == attempt && hasher.next_offset() == header.offset
        });
        if continued.is_some() {
            return continued;
        }
        if !header.offset.is_multiple_of(RUN_LEN) {
            return None;
        }
        // What is left of attempts that failed will not be continued.
        self.runs.retain(|run| run.0 != header.item || run.1 == attempt);
        if self.runs.len() == RUNS {
            self.runs.remove(0);
        }
        self.runs.push((header.item, attempt, RunHasher::new(self.integrity, header.offset)));
        Some(self.runs.len() - 1)
    }

    /// The sum of the run at `at`, if these bytes were its last.
    fn ended(&mut self, at: usize, header: &Header) -> Option<RunSum> {
        let ends = header.flags.has(Flags::RUN_END) || self.runs[at].2.next_offset().is_multiple_of(RUN_LEN);
        if ends { self.runs.remove(at).2.finish() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longhaul_core::integrity::Checksum;
    use longhaul_core::wire::End;

    fn frame(hasher: &mut LaneHasher, frame: &Frame<'_>, payload: &[u8]) -> Option<RunSum> {
        let mut bytes = vec![0; 4096];
        let len = frame.emit(&mut bytes).unwrap();
        let header = Header::parse(bytes.first_chunk().unwrap()).unwrap();
        let body = if payload.is_empty() { &bytes[HEADER_LEN..len] } else { payload };
        hasher.frame(header, body, 0..body.len()).unwrap().run
    }

    fn data(attempt: u8, offset: u64, run_end: bool) -> Frame<'static> {
        Frame::Data { id: ItemId(1), attempt, offset, len: 4, run_end, crc: Some(0) }
    }

    #[test]
    fn what_an_attempt_left_behind_never_counts_for_the_next() {
        let mut hasher = LaneHasher::new(Integrity::Crc32c);
        assert_eq!(frame(&mut hasher, &data(0, 0, false), b"left"), None);
        let whole = frame(&mut hasher, &data(1, 0, true), b"good").unwrap();
        assert_eq!((whole.start, whole.len), (0, 4));
        let end = End { size: 4, checksum: Checksum::Crc32c(0) };
        assert_eq!(frame(&mut hasher, &Frame::End { id: ItemId(1), attempt: 1, end }, b""), None);
    }

    #[test]
    fn pieces_in_no_order_that_a_session_allows_panic_nowhere() {
        let mut hasher = LaneHasher::new(Integrity::Crc32c);
        let run = RUN_LEN;
        for (offset, len) in [(0, run - 1), (run, 1), (run - 1, 1), (run, 1), (u64::MAX - 1, 1), (1, run)] {
            let hole = Frame::Hole { id: ItemId(1), attempt: 0, offset, len, run_end: false };
            let _ = frame(&mut hasher, &hole, b"");
        }
    }
}
