//! The provider's half of a session: items offered, read, sent, and sent again.
//!
//! ```text
//!            handle_item                     Accept (or at once, if eager)
//!   Free ──────────────────▶ Offered ───────────────────────────▶ Reading ──all read──▶ Closing
//!    ▲                          ▲                                   │ Again               │ handle_closed
//!    │ Grades{verified}         │ handle_reoffer                    ▼                     ▼
//!    └───────────── Ended ◀─────┼──────────────────────────── Reoffering ◀──Again── Ended (End sent)
//! ```

use heapless::Deque;

use super::command::{Command, Offered, Payload, ReadPiece, Transmit};
use super::error::{Misbehaviour, SessionError};
use super::{COMMANDS, EAGER_MAX, OFFER_BYTES, OPEN_ITEMS, RUNS_AHEAD};
use crate::id::{ItemId, Lane};
use crate::integrity::{Checksum, RUN_LEN};
use crate::item::{Item, What};
use crate::wire::{ChunkLen, Complete, End, Frame, Grades, Kind};

/// Frames that wait for room on a lane.
const OUTBOX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    Free,
    Offered,
    Reading,
    Closing,
    Ended,
    Reoffering,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    state: State,
    attempt: u8,
    /// Reads that were commanded and have not come back.
    reads: u8,
    eager: bool,
    sparse: bool,
    stream: bool,
    /// A stream's end was read.
    ended: bool,
    /// Counted among the open items.
    open: bool,
    lane: u8,
    offer_len: u16,
    size: u64,
    /// Bytes given to lanes to read.
    assigned: u64,
    /// Bytes that were read.
    read: u64,
    /// The joiner has everything before this offset.
    accepted: u64,
}

impl Slot {
    const fn all_read(&self) -> bool {
        self.reads == 0 && if self.stream { self.ended } else { self.read == self.size }
    }
}

/// A frame that waits for room on its lane.
#[derive(Clone, Copy, Debug)]
enum Out {
    Data { id: ItemId, attempt: u8, offset: u64, len: u32, run_end: bool, crc: Option<u32> },
    Hole { id: ItemId, attempt: u8, offset: u64, len: u64, run_end: bool },
    End { id: ItemId, attempt: u8, end: End },
}

/// The run that a lane is reading.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    id: ItemId,
    next: u64,
    end: u64,
}

#[derive(Debug, Default)]
struct LaneOut {
    up: bool,
    outbox: Deque<Out, OUTBOX>,
    cursor: Option<Cursor>,
    /// Eager items to be read for this lane, oldest first.
    eager: Deque<ItemId, 16>,
    reads: u8,
    /// Items of this lane that are being closed: each will need room for its end.
    closing: u8,
}

impl LaneOut {
    /// Room for what `more` reads may bring, beside what is already under way.
    fn has_room(&self, more: usize) -> bool {
        self.outbox.len()
            + 2 * (usize::from(self.reads) + self.eager.len() + more)
            + usize::from(self.closing)
            < OUTBOX
    }
}

/// What the task of this half looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) chunk: ChunkLen,
    pub(super) small: bool,
    pub(super) fresh: bool,
    pub(super) read_depth: u8,
    pub(super) max_retries: u8,
    pub(super) checked: bool,
}

pub(super) struct Outgoing<const LANES: usize, const WINDOW: usize> {
    terms: Terms,
    slots: [Slot; WINDOW],
    /// The first item that is not verified.
    base: u32,
    /// The next item's number.
    next: u32,
    /// The last item with content, plus one: those without come after it is verified.
    content_end: u32,
    offer_bytes: u32,
    /// Offered with an answer awaited, or accepted and not verified.
    open: u16,
    durable: u32,
    all_offered: bool,
    summed: bool,
    complete: Option<Complete>,
    complete_sent: bool,
    lanes: [LaneOut; LANES],
    /// The lane for the next eager items, and how many it will still take.
    eager_lane: (u16, u8),
    /// Accepted items with bytes that no lane reads yet, oldest first.
    ready: Deque<ItemId, { OPEN_ITEMS as usize }>,
    pub(super) commands: Deque<Command, COMMANDS>,
}

const fn misbehaved(how: Misbehaviour) -> SessionError {
    SessionError::Misbehaved(how)
}

impl<const LANES: usize, const WINDOW: usize> Outgoing<LANES, WINDOW> {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            slots: [Slot::default(); WINDOW],
            base: 0,
            next: 0,
            content_end: 0,
            offer_bytes: 0,
            open: 0,
            durable: 0,
            all_offered: false,
            summed: false,
            complete: None,
            complete_sent: false,
            lanes: core::array::from_fn(|_| LaneOut::default()),
            eager_lane: (0, 0),
            ready: Deque::new(),
            commands: Deque::new(),
        }
    }

    fn command(&mut self, command: Command) {
        self.commands.push_back(command).expect("commands are drained after every call");
    }

    fn in_window(&self, id: ItemId) -> bool {
        id.0 >= self.base && id.0 < self.next
    }

    const fn slot(&mut self, id: ItemId) -> &mut Slot {
        &mut self.slots[id.0 as usize % WINDOW]
    }

    /// Whether payload may travel on this lane.
    fn carries(&self, lane: usize) -> bool {
        self.lanes[lane].up && (lane == 0) == self.terms.small
    }

    pub(super) const fn lane_up(&mut self, lane: Lane) {
        self.lanes[lane.index()].up = true;
    }

    fn is_eager(&self, item: &Item<'_>) -> bool {
        let limit = EAGER_MAX.min(self.terms.chunk.bytes()).into();
        match item.what {
            What::File { size: 0, .. } => true,
            What::File { size, sparse, .. } => {
                !sparse && size <= limit && (self.terms.fresh || self.terms.small)
            }
            _ => false,
        }
    }

    /// Whether the window, the lanes and the order of items have room for `item` now.
    pub(super) fn can_offer(&self, item: &Item<'_>) -> bool {
        if self.all_offered
            || self.next - self.base >= WINDOW as u32
            || self.next == u32::MAX
            || self.offer_bytes >= OFFER_BYTES
        {
            return false;
        }
        if !item.what.has_content() {
            return self.base >= self.content_end;
        }
        if self.is_eager(item) {
            return self.lane_for_eager().is_some();
        }
        self.open < OPEN_ITEMS && (0..LANES).any(|lane| self.carries(lane))
    }

    /// The lane of the last eager items while it has room and they are few, else the emptiest.
    fn lane_for_eager(&self) -> Option<(usize, u8)> {
        let fits = |lane: usize| {
            self.carries(lane) && self.lanes[lane].has_room(1) && !self.lanes[lane].eager.is_full()
        };
        let (last, left) = (usize::from(self.eager_lane.0), self.eager_lane.1);
        if left > 0 && fits(last) {
            return Some((last, left - 1));
        }
        (0..LANES)
            .map(|n| (last + 1 + n) % LANES)
            .filter(|&lane| fits(lane))
            .min_by_key(|&lane| self.lanes[lane].outbox.len())
            .map(|lane| (lane, 63))
    }

    pub(super) fn offer(&mut self, item: &Item<'_>, out: &mut [u8]) -> Result<Offered, SessionError> {
        let id = ItemId(self.next);
        self.next += 1;
        *self.slot(id) = Slot::default();
        if item.what.has_content() {
            self.content_end = self.next;
        }
        self.place(id, item, out)
    }

    pub(super) fn reoffer(
        &mut self,
        id: ItemId,
        item: &Item<'_>,
        out: &mut [u8],
    ) -> Result<Offered, SessionError> {
        assert!(self.in_window(id) && self.slot(id).state == State::Reoffering, "reoffers answer Reoffer");
        self.place(id, item, out)
    }

    /// Whether the lanes have room for an item that is offered again.
    pub(super) fn can_reoffer(&self, item: &Item<'_>) -> bool {
        !self.is_eager(item) || self.lane_for_eager().is_some()
    }

    /// Encodes the offer and decides how its content will travel.
    fn place(&mut self, id: ItemId, item: &Item<'_>, out: &mut [u8]) -> Result<Offered, SessionError> {
        let attempt = self.slot(id).attempt;
        let eager_lane = if self.is_eager(item) { self.lane_for_eager() } else { None };
        let eager = eager_lane.is_some();
        let frame = Frame::Offer { id, eager, attempt, item: *item };
        let len = frame.emit(out).map_err(SessionError::Invalid)?;
        let has_content = item.what.has_content();
        let size = item.what.size();
        let slot = self.slot(id);
        let (first, was_open) = (slot.offer_len == 0, slot.open);
        let open = has_content && !eager;
        *slot = Slot {
            state: match (has_content, eager) {
                (false, _) => State::Ended,
                (true, true) => State::Reading,
                (true, false) => State::Offered,
            },
            attempt,
            eager,
            sparse: matches!(item.what, What::File { sparse: true, .. }),
            stream: size.is_none(),
            open,
            offer_len: len as u16,
            size: size.unwrap_or(u64::MAX),
            ..Slot::default()
        };
        if first {
            self.offer_bytes += len as u32;
        }
        let Some((lane, left)) = eager_lane else {
            self.open += u16::from(open && !was_open);
            return Ok(Offered { id, lane: Lane::CONTROL, len });
        };
        self.eager_lane = (lane as u16, left);
        self.slot(id).lane = lane as u8;
        if size == Some(0) {
            self.close(id);
        } else {
            self.lanes[lane].eager.push_back(id).expect("lane_for_eager left room");
        }
        Ok(Offered { id, lane: Lane(lane as u16), len })
    }

    fn close(&mut self, id: ItemId) {
        let slot = self.slot(id);
        slot.state = State::Closing;
        let lane = usize::from(slot.lane);
        self.lanes[lane].closing += 1;
        self.command(Command::Close { id });
    }

    pub(super) const fn all_offered(&mut self) {
        self.all_offered = true;
    }

    pub(super) fn accept(&mut self, id: ItemId, offset: u64) -> Result<(), SessionError> {
        if !self.in_window(id) {
            return Err(misbehaved(Misbehaviour::Item(Kind::Accept, id)));
        }
        let slot = self.slot(id);
        match slot.state {
            State::Offered if offset == 0 => {
                slot.state = State::Reading;
                self.ready.push_back(id).expect("open items are bounded by its capacity");
                Ok(())
            }
            // Word of an earlier attempt, or of bytes long read, changes nothing.
            State::Reading if offset <= slot.assigned && !slot.eager => {
                slot.accepted = slot.accepted.max(offset);
                Ok(())
            }
            State::Closing | State::Ended | State::Reoffering if offset <= slot.size => Ok(()),
            _ => Err(misbehaved(Misbehaviour::Item(Kind::Accept, id))),
        }
    }

    /// The joiner asks for an item again.
    pub(super) fn again(&mut self, id: ItemId) -> Result<u8, SessionError> {
        if !self.in_window(id) || self.slot(id).offer_len == 0 {
            return Err(misbehaved(Misbehaviour::Item(Kind::Again, id)));
        }
        let max_retries = self.terms.max_retries.min(14);
        let slot = self.slot(id);
        if !matches!(slot.state, State::Reading | State::Closing | State::Ended) || slot.size == 0 {
            return Err(misbehaved(Misbehaviour::Item(Kind::Again, id)));
        }
        slot.attempt += 1;
        let (attempt, closing) = (slot.attempt, slot.state == State::Closing);
        if attempt > max_retries {
            return Err(SessionError::ItemFailed { id, attempts: attempt });
        }
        slot.state = State::Reoffering;
        self.ready.retain(|other| *other != id);
        for lane in &mut self.lanes {
            lane.eager.retain(|other| *other != id);
            if lane.cursor.is_some_and(|cursor| cursor.id == id) {
                lane.cursor = None;
            }
        }
        // What is under way comes back first: reads by handle_read, a close by handle_closed.
        if !closing && self.slot(id).reads == 0 {
            self.command(Command::Reoffer { id });
        }
        Ok(attempt)
    }

    /// The next read for any lane that has room for what it brings.
    pub(super) fn poll_read(&mut self) -> Option<Command> {
        for lane in 0..LANES {
            if !self.carries(lane) {
                continue;
            }
            if let Some(id) = self.lanes[lane].eager.pop_front() {
                let len = self.slot(id).size as u32;
                let slot = self.slot(id);
                (slot.assigned, slot.reads) = (u64::from(len), 1);
                self.lanes[lane].reads += 1;
                return Some(Command::Read { lane: Lane(lane as u16), id, offset: 0, len, run_end: true });
            }
            if self.lanes[lane].reads < self.terms.read_depth
                && self.lanes[lane].has_room(1)
                && let Some(read) = self.read_of_run(lane)
            {
                return Some(read);
            }
        }
        None
    }

    fn read_of_run(&mut self, lane: usize) -> Option<Command> {
        if self.lanes[lane].cursor.is_none() {
            self.lanes[lane].cursor = self.next_run(lane);
        }
        let cursor = self.lanes[lane].cursor?;
        let chunk = u64::from(self.terms.chunk.bytes());
        let slot = self.slot(cursor.id);
        // Where a piece may end early nothing can be read ahead.
        if (slot.sparse || slot.stream) && slot.reads > 0 {
            return None;
        }
        let grid_end = (cursor.next / chunk + 1).saturating_mul(chunk).min(cursor.end);
        let len = (grid_end - cursor.next) as u32;
        slot.reads += 1;
        let waits = slot.sparse || slot.stream;
        let run_end = grid_end == cursor.end;
        self.lanes[lane].reads += 1;
        self.lanes[lane].cursor =
            if run_end && !waits { None } else { Some(Cursor { next: grid_end, ..cursor }) };
        let (lane, id, offset) = (Lane(lane as u16), cursor.id, cursor.next);
        Some(Command::Read { lane, id, offset, len, run_end })
    }

    /// Gives the lane the next run of the oldest item that has one the joiner can take.
    fn next_run(&mut self, lane: usize) -> Option<Cursor> {
        for _ in 0..self.ready.len() {
            let id = self.ready.pop_front()?;
            let slot = self.slot(id);
            let horizon = slot.accepted.saturating_add(RUNS_AHEAD as u64 * RUN_LEN);
            // A stream is read in order: one lane has all of it.
            if slot.assigned >= horizon
                || (slot.stream && slot.assigned > 0 && usize::from(slot.lane) != lane)
            {
                self.ready.push_back(id).expect("it was just taken");
                continue;
            }
            let start = slot.assigned;
            let end = start.saturating_add(RUN_LEN).min(slot.size);
            slot.assigned = end;
            slot.lane = lane as u8;
            if end < slot.size {
                self.ready.push_front(id).expect("it was just taken");
            }
            return Some(Cursor { id, next: start, end });
        }
        None
    }

    pub(super) fn read_done(&mut self, lane: Lane, id: ItemId, offset: u64, piece: ReadPiece) {
        let lane = lane.index();
        self.lanes[lane].reads -= 1;
        assert!(self.in_window(id), "reads come back before their item is verified");
        let checked = self.terms.checked;
        let slot = self.slot(id);
        slot.reads -= 1;
        if slot.state == State::Reoffering {
            if slot.reads == 0 {
                self.command(Command::Reoffer { id });
            }
            return;
        }
        let (attempt, size) = (slot.attempt, slot.size);
        let ends_run = |end: u64| end.is_multiple_of(RUN_LEN) || end == size;
        let (out, len) = match piece {
            ReadPiece::Data { len, crc } => {
                let crc = if checked { crc } else { None };
                let run_end = ends_run(offset + u64::from(len));
                (Some(Out::Data { id, attempt, offset, len, run_end, crc }), u64::from(len))
            }
            ReadPiece::Hole { len } => {
                let run_end = ends_run(offset + len);
                (Some(Out::Hole { id, attempt, offset, len, run_end }), len)
            }
            ReadPiece::End => {
                self.slot(id).ended = true;
                self.lanes[lane].cursor = None;
                self.ready.retain(|other| *other != id);
                (None, 0)
            }
        };
        let slot = self.slot(id);
        slot.read += len;
        let (in_order, done) = (slot.sparse || slot.stream, slot.all_read());
        if let Some(out) = out {
            self.lanes[lane].outbox.push_back(out).expect("has_room left room for every read");
        }
        if in_order && let Some(cursor) = &mut self.lanes[lane].cursor {
            cursor.next = offset + len;
            if cursor.next == cursor.end {
                self.lanes[lane].cursor = None;
            }
        }
        if done {
            self.slot(id).lane = lane as u8;
            self.close(id);
        }
    }

    pub(super) fn closed(&mut self, id: ItemId, size: u64, checksum: Checksum) {
        let slot = self.slot(id);
        let (lane, attempt, reoffering) =
            (usize::from(slot.lane), slot.attempt, slot.state == State::Reoffering);
        self.lanes[lane].closing -= 1;
        if reoffering {
            self.command(Command::Reoffer { id });
            return;
        }
        self.slot(id).state = State::Ended;
        let end = Out::End { id, attempt, end: End { size, checksum } };
        self.lanes[lane].outbox.push_back(end).expect("closing items keep room for their end");
    }

    /// The joiner's grades; returns whether items were verified.
    pub(super) fn grades(&mut self, verified: u32, durable: u32) -> Result<bool, SessionError> {
        if verified < self.base || verified > self.next || durable < self.durable || durable > verified {
            return Err(misbehaved(Misbehaviour::Item(Kind::Grades, ItemId(verified))));
        }
        let advanced = verified > self.base;
        while self.base < verified {
            let id = ItemId(self.base);
            let slot = *self.slot(id);
            if slot.state != State::Ended {
                return Err(misbehaved(Misbehaviour::Item(Kind::Grades, id)));
            }
            self.offer_bytes -= u32::from(slot.offer_len);
            self.open -= u16::from(slot.open);
            *self.slot(id) = Slot::default();
            self.base += 1;
        }
        self.durable = durable;
        if advanced {
            self.command(Command::Forget { before: ItemId(self.base) });
        }
        Ok(advanced)
    }

    /// Everything was offered and verified: sum up, once.
    pub(super) fn poll_sum_up(&mut self) -> Option<Command> {
        if self.all_offered && self.base == self.next && !self.summed {
            self.summed = true;
            return Some(Command::SumUp);
        }
        None
    }

    pub(super) const fn complete(&mut self, complete: Complete) {
        self.complete = Some(complete);
    }

    pub(super) const fn is_complete_sent(&self) -> bool {
        self.complete_sent
    }

    pub(super) fn poll_transmit(
        &mut self,
        lane: Lane,
        out: &mut [u8],
    ) -> Result<Option<Transmit>, SessionError> {
        let (frame, payload) = match self.lanes[lane.index()].outbox.pop_front() {
            Some(Out::Data { id, attempt, offset, len, run_end, crc }) => {
                (Frame::Data { id, attempt, offset, len, run_end, crc }, Some(Payload { id, offset, len }))
            }
            Some(Out::Hole { id, attempt, offset, len, run_end }) => {
                (Frame::Hole { id, attempt, offset, len, run_end }, None)
            }
            Some(Out::End { id, attempt, end }) => (Frame::End { id, attempt, end }, None),
            None if lane == Lane::CONTROL && !self.complete_sent => match self.complete {
                Some(complete) => {
                    self.complete_sent = true;
                    (Frame::Complete(complete), None)
                }
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        let len = frame.emit(out).map_err(SessionError::Invalid)?;
        Ok(Some(Transmit { len, payload }))
    }

    pub(super) const fn grades_known(&self) -> Grades {
        Grades { verified: self.base, durable: self.durable }
    }

    /// The inequalities of this half.
    pub(super) fn invariants(&self) {
        assert!(self.base <= self.next && self.next - self.base <= WINDOW as u32);
        assert!(self.durable <= self.base);
        assert!(self.content_end <= self.next);
        assert!(self.open <= OPEN_ITEMS);
        for lane in &self.lanes {
            assert!(lane.outbox.len() + usize::from(lane.reads) + usize::from(lane.closing) <= OUTBOX);
        }
    }
}
