//! Cuts the bytes of a lane into frames, checks payloads, hands buffers on.
//!
//! Large payloads: one buffer each, the payload at its start; the read that completes it asks for
//! the next header too, and never waits for it. Where one came another is near: what stands between them is
//! read word by word, so that the next one begins a buffer as well. Small frames: a buffer is filled with
//! many of them while more is at hand, and handed on whole. Either way no payload is copied, but for what a
//! read of small frames caught of a large one.

use std::ops::Range;

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Integrity, RUN_LEN, RunHasher, RunSum, crc32c};
use longhaul_core::wire::{Flags, Frame, HEADER_LEN, Header, Kind, WireError};
use longhaul_state::pool::Buffer;

use crate::chunk::Coming;
use crate::pipe::{Pipe, Pipes};

/// Payloads from here on get a buffer of their own.
pub(crate) const LARGE: usize = 64 << 10;

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
pub struct Frames {
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

/// What a lane's connection brings, cut into frames: it says what to read where, takes what was read, and gives
/// whole frames.
///
/// ```text
/// step ──▶ Buffer ──▶ supply        a buffer of the pool is needed
///      ──▶ Read ────▶ received      bytes are to be read into a part of it, as many as there are
///      ──▶ Frames                   these are whole
///      ──▶ Splice                   a payload is to come into pipes; then comes the next header
/// ```
pub struct Cutter {
    hasher: LaneHasher,
    state: State,
    /// What begins the next buffer: at most what one read of small frames catches.
    carried: Vec<u8>,
    /// It begins this payload.
    large: Option<Header>,
    /// The last read took all that it had room for.
    more_at_hand: bool,
    /// What large payloads may come into that nobody is to see.
    pipes: Option<Pipes>,
    /// The last payload was a large one, and the next may be: nothing is read of it but its header.
    careful: bool,
}

enum State {
    /// A buffer is needed.
    Empty,
    Filling(Filling),
    /// The first bytes of a large payload have come.
    Large {
        header: Header,
        buffer: Buffer,
        have: usize,
    },
    /// The buffer is out, to be read into.
    Reading {
        frames: Frames,
        start: usize,
        end: usize,
        room: usize,
    },
    ReadingLarge {
        header: Header,
        have: usize,
    },
}

/// What is to be done next.
pub enum Step {
    /// It needs a buffer: [`Cutter::supply`].
    Buffer,
    /// Bytes are to be read: [`Cutter::received`].
    Read(Window),
    /// Frames are whole.
    Frames(Buffer, Frames),
    /// A payload is to come into pipes, all of it.
    Splice(Coming),
}

/// A part of a buffer, to be read into.
pub struct Window {
    /// The buffer.
    pub buffer: Buffer,
    /// Which part of it.
    pub range: Range<usize>,
    /// So many bytes must come still; 0 if that isn't known.
    pub missing: usize,
}

/// A buffer being filled: frames before `start` are complete, bytes up to `end` have come.
struct Filling {
    buffer: Buffer,
    frames: Frames,
    start: usize,
    end: usize,
}

impl Filling {
    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

impl Cutter {
    pub(super) fn new(integrity: Integrity, pipes: Option<Pipes>) -> Self {
        Self {
            hasher: LaneHasher::new(integrity),
            state: State::Empty,
            carried: Vec::new(),
            large: None,
            more_at_hand: false,
            pipes,
            careful: false,
        }
    }

    /// What is to be done next.
    ///
    /// # Errors
    /// If what came is no frame. Those before it may be had still: [`Cutter::rest`].
    ///
    /// # Panics
    /// If the buffer is out: what was read into it is [`Cutter::received`] first.
    pub fn step(&mut self) -> Result<Step, WireError> {
        loop {
            match std::mem::replace(&mut self.state, State::Empty) {
                State::Empty => return Ok(Step::Buffer),
                State::Filling(filling) => {
                    if let Some(step) = self.step_filling(filling)? {
                        return Ok(step);
                    }
                }
                State::Large { header, buffer, have } => {
                    self.careful = true;
                    let len = header.len as usize;
                    if have < len
                        && let Some((pipe, pipes)) = self.pipe_for(&header)
                    {
                        return Ok(Step::Splice(Coming::new(header, buffer, have, pipe, pipes)));
                    }
                    if have < len {
                        self.state = State::ReadingLarge { header, have };
                        // Pipes are filled by packets.
                        let missing = if self.pipes.is_some() { 0 } else { len - have };
                        return Ok(Step::Read(Window { buffer, range: have..len + HEADER_LEN, missing }));
                    }
                    let frame = self.hasher.frame(header, &buffer, 0..len)?;
                    let frames = Frames { first: Some(frame), more: Vec::new() };
                    return Ok(self.hand_on(Filling { buffer, frames, start: len, end: have }));
                }
                State::Reading { .. } | State::ReadingLarge { .. } => panic!("the buffer is out"),
            }
        }
    }

    /// `None` if there is another step to take at once.
    fn step_filling(&mut self, mut filling: Filling) -> Result<Option<Step>, WireError> {
        let incomplete = match self.cut(&mut filling) {
            Ok(incomplete) => incomplete,
            Err(error) => {
                self.state = State::Filling(filling);
                return Err(error);
            }
        };
        if let Some(header) =
            incomplete.filter(|header| header.kind == Kind::Data && header.len as usize >= LARGE)
        {
            return Ok(self.begin_large(filling, header));
        }
        let needed = incomplete.map_or(HEADER_LEN, |header| HEADER_LEN + header.len as usize);
        let fits = filling.start + needed <= filling.buffer.len();
        let half_full = filling.end > filling.buffer.len() / 2;
        // The rest of a frame comes whatever we do; what follows a whole one may wait for our answer.
        let at_hand = self.more_at_hand && !filling.rest().is_empty();
        if !filling.frames.is_empty() && (!at_hand || !fits || half_full) {
            return Ok(Some(self.hand_on(filling)));
        }
        if !fits {
            let (start, end) = (filling.start, filling.end);
            filling.buffer.copy_within(start..end, 0);
            (filling.start, filling.end) = (0, end - start);
        }
        let Filling { buffer, frames, start, end } = filling;
        self.careful &= incomplete.is_none_or(|header| header.kind != Kind::Data);
        let room = if self.careful {
            // As much as is known to come, and the header behind a body.
            needed + incomplete.map_or(0, |_| HEADER_LEN) - (end - start)
        } else {
            2 * LARGE
        };
        let room = room.min(buffer.len() - end);
        self.state = State::Reading { frames, start, end, room };
        Ok(Some(Step::Read(Window { buffer, range: end..end + room, missing: 0 })))
    }

    /// Cuts complete frames off the front; returns the header of an incomplete one.
    fn cut(&mut self, filling: &mut Filling) -> Result<Option<Header>, WireError> {
        while let Some(bytes) = filling.rest().first_chunk::<HEADER_LEN>() {
            let header = Header::parse(bytes)?;
            let body = filling.start + HEADER_LEN..filling.start + HEADER_LEN + header.len as usize;
            if HEADER_LEN + header.len as usize > filling.buffer.len() {
                return Err(WireError::Length { kind: header.kind, len: header.len });
            }
            if body.end > filling.end {
                return Ok(Some(header));
            }
            let frame = self.hasher.frame(header, &filling.buffer, body.clone())?;
            filling.start = body.end;
            filling.frames.push(frame);
        }
        Ok(None)
    }

    /// A pipe for a payload that need not be seen.
    fn pipe_for(&self, header: &Header) -> Option<(Pipe, Pipes)> {
        let unseen = header.flags.has(Flags::UNCHECKED) && self.hasher.integrity == Integrity::None;
        let pipes = self.pipes.as_ref().filter(|_| unseen)?;
        Some((pipes.take()?, pipes.clone()))
    }

    /// A large payload comes to lie at the start of a buffer of its own, and the next header behind it.
    fn begin_large(&mut self, mut filling: Filling, header: Header) -> Option<Step> {
        let (start, end) = (filling.start + HEADER_LEN, filling.end);
        self.more_at_hand = false;
        if filling.frames.is_empty() {
            filling.buffer.copy_within(start..end, 0);
            self.state = State::Large { header, buffer: filling.buffer, have: end - start };
            return None;
        }
        self.large = Some(header);
        filling.start = start;
        Some(self.hand_on(filling))
    }

    /// Hands the complete frames on, before another buffer is asked for: nobody waits for a buffer with one in
    /// hand. What is left begins the new one.
    fn hand_on(&mut self, filling: Filling) -> Step {
        self.carried.extend_from_slice(filling.rest());
        Step::Frames(filling.buffer, filling.frames)
    }

    /// A buffer that was asked for.
    pub fn supply(&mut self, mut buffer: Buffer) {
        let end = self.carried.len();
        buffer[..end].copy_from_slice(&self.carried);
        self.carried.clear();
        self.carried.shrink_to(2 * LARGE);
        self.state = match self.large.take() {
            Some(header) => State::Large { header, buffer, have: end },
            None => State::Filling(Filling { buffer, frames: Frames::default(), start: 0, end }),
        };
    }

    /// The buffer comes back, so many bytes were read into its window. How many bytes are missing of a large
    /// payload now; 0 if none is.
    ///
    /// # Panics
    /// If no buffer was out.
    pub fn received(&mut self, buffer: Buffer, bytes: usize) -> usize {
        match std::mem::replace(&mut self.state, State::Empty) {
            State::Reading { frames, start, end, room } => {
                self.more_at_hand = bytes == room;
                self.state = State::Filling(Filling { buffer, frames, start, end: end + bytes });
                0
            }
            State::ReadingLarge { header, have } => {
                let have = have + bytes;
                self.state = State::Large { header, buffer, have };
                (header.len as usize).saturating_sub(have)
            }
            State::Empty | State::Filling(_) | State::Large { .. } => panic!("no buffer was out"),
        }
    }

    /// What is whole at the end.
    pub fn rest(&mut self) -> Option<(Buffer, Frames)> {
        match std::mem::replace(&mut self.state, State::Empty) {
            State::Filling(filling) if !filling.frames.is_empty() => Some((filling.buffer, filling.frames)),
            _ => None,
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
    use longhaul_core::wire::{ChunkLen, End};
    use longhaul_state::pool::{DEFAULT_MEMORY, Pool};

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

    /// A lane: large payloads with words between them, then small ones.
    fn lane() -> Vec<u8> {
        let payload = |item: u32, len: usize| {
            let mut bytes = vec![0; HEADER_LEN];
            let data = Frame::Data {
                id: ItemId(item),
                attempt: 0,
                offset: 0,
                len: len as u32,
                run_end: true,
                crc: None,
            };
            data.emit(&mut bytes).unwrap();
            bytes.resize(HEADER_LEN + len, item as u8);
            bytes
        };
        let words = |item: u32| {
            let mut bytes = vec![0; 256];
            let hole = Frame::Hole { id: ItemId(item), attempt: 0, offset: 0, len: 1, run_end: true };
            let len = hole.emit(&mut bytes).unwrap();
            bytes.truncate(len);
            bytes
        };
        let large = [1, 2, 3].map(|item| [words(item), words(item), payload(item, 3 * LARGE)].concat());
        let small = [4, 5, 6, 7].map(|item| [words(item), payload(item, 100)].concat());
        [large.concat(), small.concat(), payload(8, 3 * LARGE)].concat()
    }

    /// Reads `lane` as fast as the cutter asks. The bytes of each payload, with how many of them came by the read that
    /// brought their header; and how many reads there were.
    fn cut(lane: &[u8]) -> (Vec<(Vec<u8>, usize)>, usize) {
        let share = Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 1, 1).share();
        let mut cutter = Cutter::new(Integrity::None, None);
        let (mut rest, mut payloads, mut reads, mut begun) = (lane, Vec::new(), 0, None);
        loop {
            match cutter.step().unwrap() {
                Step::Buffer => cutter.supply(share.take(&|| false).unwrap()),
                Step::Read(mut window) => {
                    let len = window.range.len().min(rest.len());
                    if len == 0 {
                        return (payloads, reads);
                    }
                    reads += 1;
                    if window.missing > 0 {
                        begun.get_or_insert(window.range.start);
                    }
                    window.buffer[window.range][..len].copy_from_slice(&rest[..len]);
                    rest = &rest[len..];
                    cutter.received(window.buffer, len);
                }
                Step::Frames(buffer, frames) => {
                    for frame in frames.iter().filter(|frame| frame.header.kind == Kind::Data) {
                        payloads
                            .push((buffer[frame.body.clone()].to_vec(), begun.take().unwrap_or(usize::MAX)));
                    }
                }
                Step::Splice(_) => unreachable!("there are no pipes"),
            }
        }
    }

    #[test]
    fn nothing_of_a_large_payload_is_read_before_it_has_a_buffer_where_another_came() {
        let (payloads, reads) = cut(&lane());
        let lens: Vec<_> = payloads.iter().map(|(bytes, _)| bytes.len()).collect();
        assert_eq!(lens, [3 * LARGE, 3 * LARGE, 3 * LARGE, 100, 100, 100, 100, 3 * LARGE]);
        for (item, (bytes, _)) in (1..).zip(&payloads) {
            assert!(bytes.iter().all(|byte| *byte == item), "payload {item}");
        }
        // The first could not be known of.
        assert!(payloads[0].1 > 0);
        assert_eq!((payloads[1].1, payloads[2].1), (0, 0));
        // Small ones come many at once; of a large one behind them, what that read caught.
        assert!(payloads[7].1 > 0);
        assert!(reads < 16, "{reads} reads");
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
