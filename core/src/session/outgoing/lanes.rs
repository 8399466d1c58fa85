//! Which lane reads and carries what: small items in groups, large ones in runs.

use heapless::Deque;

use super::item::ItemOut;
use super::{Open, Outgoing};
use crate::id::{ItemId, Lane};
use crate::integrity::RUN_LEN;
use crate::session::command::{Command, Payload};
use crate::session::{OPEN_ITEMS, RUNS_AHEAD};
use crate::wire::{End, Frame};

/// Frames of what was read that wait for room on a lane.
const ROOM: usize = 64;
/// Beside them the end of each open item that the joiner has whole: nothing of it is read.
const OUTBOX: usize = ROOM + OPEN_ITEMS as usize;
/// Eager items of one lane that are read or closed at a time. The joiner holds the whole content of each until
/// its end, and has two buffers a lane at least.
const EAGER_UNDER_WAY: u8 = 1;
/// Eager items in a row on one lane.
const EAGER_GROUP: u8 = 64;

/// A frame that waits for room on its lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum Out {
    Data { id: ItemId, attempt: u8, offset: u64, len: u32, run_end: bool, crc: Option<u32> },
    Hole { id: ItemId, attempt: u8, offset: u64, len: u64, run_end: bool },
    End { id: ItemId, attempt: u8, end: End },
}

impl Out {
    pub(super) const fn frame(self) -> (Frame<'static>, Option<Payload>) {
        match self {
            Self::Data { id, attempt, offset, len, run_end, crc } => {
                (Frame::Data { id, attempt, offset, len, run_end, crc }, Some(Payload { id, offset, len }))
            }
            Self::Hole { id, attempt, offset, len, run_end } => {
                (Frame::Hole { id, attempt, offset, len, run_end }, None)
            }
            Self::End { id, attempt, end } => (Frame::End { id, attempt, end }, None),
        }
    }
}

/// The run that a lane is reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    pub(super) id: ItemId,
    pub(super) next: u64,
    pub(super) end: u64,
}

#[derive(Debug, Default)]
pub(super) struct LaneOut {
    pub(super) outbox: Deque<Out, OUTBOX>,
    pub(super) cursor: Option<Cursor>,
    /// Eager items to be read for this lane, oldest first.
    pub(super) eager: Deque<ItemId, 16>,
    pub(super) reads: u8,
    /// Eager items of this lane that are being read or closed.
    pub(super) eager_under_way: u8,
    /// Items of this lane that are being closed: each will need room for its end.
    pub(super) closing: u8,
}

impl LaneOut {
    /// Room for what `more` reads may bring, beside what is already under way.
    fn has_room(&self, more: usize) -> bool {
        self.outbox.len()
            + 2 * (usize::from(self.reads) + self.eager.len() + more)
            + usize::from(self.closing)
            < ROOM
    }

    /// Reads nothing more of an item for this lane.
    pub(super) fn drop_item(&mut self, id: ItemId) {
        self.eager.retain(|other| *other != id);
        self.cursor.take_if(|cursor| cursor.id == id);
    }

    /// The lane's connection is gone, and what waited for it with it.
    pub(super) fn go_down(&mut self) {
        self.outbox.clear();
        self.eager.clear();
        self.cursor = None;
    }

    pub(super) fn invariants(&self) {
        let needed = self.outbox.len() + usize::from(self.reads) + usize::from(self.closing);
        assert!(needed <= OUTBOX, "every read and close has room for its frame");
        assert!(self.eager_under_way <= self.reads + self.closing, "what is under way is read or closed");
    }
}

impl<const LANES: usize, const WINDOW: usize> Outgoing<LANES, WINDOW> {
    pub(in crate::session) const fn lane_up(&mut self, lane: Lane) {
        self.up |= 1 << lane.0;
    }

    /// Lanes on which payload may travel now, a bit each.
    const fn carriers(&self) -> u16 {
        if self.terms.small { self.up & 1 } else { self.up & !1 }
    }

    /// Whether payload may travel on this lane.
    pub(super) const fn carries(&self, lane: usize) -> bool {
        self.carriers() & 1 << lane != 0
    }

    /// A lane that carries payload now, else lane 0.
    pub(super) fn any_lane(&self) -> u8 {
        (0..LANES).find(|&lane| self.carries(lane)).unwrap_or(0) as u8
    }

    /// The lane of the last eager items while it has room and they are few, else the emptiest.
    pub(super) fn lane_for_eager(&self) -> Option<(usize, u8)> {
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
            .map(|lane| (lane, EAGER_GROUP - 1))
    }

    /// The next read for any lane that has room for what it brings.
    pub(in crate::session) fn poll_read(&mut self) -> Option<Command> {
        if self.paused {
            return None;
        }
        let mut left = self.carriers();
        while left != 0 {
            let read = self.read_for(left.trailing_zeros() as usize);
            if read.is_some() {
                return read;
            }
            left &= left - 1;
        }
        None
    }

    fn read_for(&mut self, lane: usize) -> Option<Command> {
        let out = &mut self.lanes[lane];
        if out.eager_under_way < EAGER_UNDER_WAY
            && let Some(id) = out.eager.pop_front()
        {
            out.reads += 1;
            out.eager_under_way += 1;
            let slot = self.slot(id);
            slot.reads = 1;
            let len = slot.eager;
            return Some(Command::Read { lane: Lane(lane as u16), id, offset: 0, len, run_end: true });
        }
        let has_room = self.lanes[lane].reads < self.terms.read_depth && self.lanes[lane].has_room(1);
        if has_room { self.read_of_run(lane) } else { None }
    }

    fn read_of_run(&mut self, lane: usize) -> Option<Command> {
        if self.lanes[lane].cursor.is_none() {
            self.lanes[lane].cursor = self.next_run(lane);
        }
        let cursor = self.lanes[lane].cursor?;
        let id = cursor.id;
        let waits = self.open_of(id).is_some_and(|open| open.sparse || open.stream);
        let slot = self.slot(id);
        // Where a piece may end early nothing can be read ahead.
        if waits && slot.reads > 0 {
            return None;
        }
        slot.reads += 1;
        self.lanes[lane].reads += 1;
        let grid_end = self.terms.chunk.end_of(cursor.next).min(cursor.end);
        let len = (grid_end - cursor.next) as u32;
        let run_end = grid_end == cursor.end;
        self.lanes[lane].cursor =
            if run_end && !waits { None } else { Some(Cursor { next: grid_end, ..cursor }) };
        Some(Command::Read { lane: Lane(lane as u16), id, offset: cursor.next, len, run_end })
    }

    /// Gives the lane the next run of the oldest item that has one the joiner can take.
    fn next_run(&mut self, lane: usize) -> Option<Cursor> {
        for _ in 0..self.ready.len() {
            let id = self.ready.pop_front()?;
            let own = usize::from(self.slot(id).lane) == lane;
            debug_assert!(self.slot(id).state == ItemOut::Reading, "what is ready is read");
            let Some(open) = self.open_of(id) else { continue };
            let horizon = open.accepted.saturating_add(RUNS_AHEAD as u64 * RUN_LEN);
            // A stream is read in order: one lane has all of it.
            if open.assigned >= horizon || (open.stream && open.assigned > 0 && !own) {
                self.ready.push_back(id).expect("it was just taken");
                continue;
            }
            let Open { assigned: start, size, .. } = *open;
            let end = (start / RUN_LEN + 1).saturating_mul(RUN_LEN).min(size);
            open.assigned = end;
            let slot = self.slot(id);
            slot.lane = lane as u8;
            slot.lanes |= 1 << lane;
            if end < size {
                self.ready.push_front(id).expect("it was just taken");
            }
            return Some(Cursor { id, next: start, end });
        }
        None
    }
}
