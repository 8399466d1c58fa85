//! The provider's window: the items of the task under way, offered, read, sent, and sent again.
//!
//! The states of an item and what moves it on are declared in [`item`]; which lane reads and carries
//! what is in [`lanes`].

mod item;
mod lanes;

use heapless::Deque;

pub use self::item::ITEM_OUT;
use self::item::{ItemOut, ItemOutInput as Input};
use self::lanes::{LaneOut, Out};
use super::command::{Command, Event, Offered, ReadPiece, Transmit};
use super::error::{Misbehaviour, SessionError};
use super::reports::Reports;
use super::{EAGER_MAX, OFFER_BYTES, OPEN_ITEMS};
use crate::id::{ItemId, Lane, TaskId};
use crate::integrity::{Checksum, RUN_LEN};
use crate::item::{Item, What};
use crate::reason::Side;
use crate::wire::{ChunkLen, End, Frame, Grades, Kind};

/// A slot that holds no open item.
const NOT_OPEN: u8 = u8::MAX;

/// An item of the window.
#[derive(Clone, Copy, Debug)]
struct Slot {
    state: ItemOut,
    /// Which attempt at it is under way, modulo 16.
    attempt: u8,
    /// How often it failed because of its content.
    failures: u8,
    /// Reads that were commanded and have not come back.
    reads: u8,
    /// It is being closed.
    closing: bool,
    /// Its end was sent, at this or an earlier attempt: the joiner may verify it.
    ended: bool,
    /// A recall waits to be sent.
    recall: bool,
    /// It was recalled, so that the next Again is no fault of its content.
    recalled: bool,
    /// The driver was told to offer it again.
    reoffered: bool,
    /// The lane of its end.
    lane: u8,
    /// Its place in the table of open items, or [`NOT_OPEN`].
    open: u8,
    /// Lanes that carried some of this attempt, a bit each.
    lanes: u16,
    offer_len: u16,
    /// Content that travels with its offer: its length.
    eager: u32,
}

const FREE: Slot = Slot {
    state: ItemOut::Free,
    attempt: 0,
    failures: 0,
    reads: 0,
    closing: false,
    ended: false,
    recall: false,
    recalled: false,
    reoffered: false,
    lane: 0,
    open: NOT_OPEN,
    lanes: 0,
    offer_len: 0,
    eager: 0,
};

/// An item whose content is sent after its offer was accepted, on several lanes perhaps.
#[derive(Clone, Copy, Debug)]
struct Open {
    size: u64,
    sparse: bool,
    stream: bool,
    /// A stream's end was read.
    at_end: bool,
    /// Bytes given to lanes to read.
    assigned: u64,
    /// Bytes that were read, or that the joiner kept.
    read: u64,
    /// The joiner has everything before this offset.
    accepted: u64,
    /// What earlier attempts have given to lanes: the joiner can't have more.
    known: u64,
}

/// What the task looks like to its window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) task: TaskId,
    pub(super) chunk: ChunkLen,
    pub(super) small: bool,
    pub(super) fresh: bool,
    pub(super) read_depth: u8,
    pub(super) max_retries: u8,
    pub(super) checked: bool,
}

pub(super) struct Outgoing<const LANES: usize, const WINDOW: usize> {
    terms: Terms,
    /// The connection was lost, or the joiner is not ready yet: nothing moves.
    paused: bool,
    slots: [Slot; WINDOW],
    open: [Option<Open>; OPEN_ITEMS as usize],
    /// The first item of the window: those before it are verified, and nothing of them is under way.
    base: u32,
    /// The first item that the joiner has not verified.
    verified: u32,
    /// The next item's number.
    next: u32,
    /// The last item with content, plus one: those without come after it is verified.
    content_end: u32,
    offer_bytes: u32,
    received: u32,
    durable: u32,
    all_offered: bool,
    summed: bool,
    /// Items that wait for their recall to be sent, and for the driver to be told to offer them again.
    recalls: u32,
    reoffers: u32,
    lanes: [LaneOut; LANES],
    /// Lanes that stand, a bit each.
    up: u16,
    /// The lane for the next eager items, and how many it will still take.
    eager_lane: (u16, u8),
    /// Accepted items with bytes that no lane reads yet, oldest first.
    ready: Deque<ItemId, { OPEN_ITEMS as usize }>,
}

const fn misbehaved(kind: Kind, id: ItemId) -> SessionError {
    SessionError::Misbehaved(Misbehaviour::Item(kind, id))
}

impl<const LANES: usize, const WINDOW: usize> Outgoing<LANES, WINDOW> {
    /// A window without a task.
    pub(super) fn idle() -> Self {
        Self {
            terms: Terms {
                task: TaskId(0),
                chunk: ChunkLen::DEFAULT,
                small: true,
                fresh: true,
                read_depth: 1,
                max_retries: 0,
                checked: true,
            },
            paused: true,
            slots: [FREE; WINDOW],
            open: [None; OPEN_ITEMS as usize],
            base: 0,
            verified: 0,
            next: 0,
            content_end: 0,
            offer_bytes: 0,
            received: 0,
            durable: 0,
            all_offered: false,
            summed: false,
            recalls: 0,
            reoffers: 0,
            lanes: core::array::from_fn(|_| LaneOut::default()),
            up: 0,
            eager_lane: (0, 0),
            ready: Deque::new(),
        }
    }

    /// The next task begins: the window of the last one is empty, everything of it is verified.
    pub(super) fn start(&mut self, terms: Terms) {
        debug_assert!(self.base == self.next, "tasks stream one after another");
        self.terms = terms;
        self.paused = false;
        (self.base, self.verified, self.next, self.content_end) = (0, 0, 0, 0);
        (self.received, self.durable) = (0, 0);
        (self.all_offered, self.summed) = (false, false);
        self.eager_lane = (0, 0);
    }

    const fn slot(&mut self, id: ItemId) -> &mut Slot {
        &mut self.slots[id.0 as usize % WINDOW]
    }

    const fn slot_ref(&self, id: ItemId) -> &Slot {
        &self.slots[id.0 as usize % WINDOW]
    }

    fn open_of(&mut self, id: ItemId) -> Option<&mut Open> {
        let at = usize::from(self.slot_ref(id).open);
        self.open.get_mut(at).and_then(Option::as_mut)
    }

    const fn in_window(&self, id: ItemId) -> bool {
        id.0 >= self.base && id.0 < self.next
    }

    /// Moves an item on; `None` if `input` has no place in its state.
    fn on(&mut self, id: ItemId, input: Input) -> Option<ItemOut> {
        let slot = self.slot(id);
        slot.state = slot.state.on(input)?;
        Some(slot.state)
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
        if self.paused
            || self.all_offered
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
        self.open.iter().any(Option::is_none) && (0..LANES).any(|lane| self.carries(lane))
    }

    pub(super) fn offer(&mut self, item: &Item<'_>, out: &mut [u8], reports: &mut Reports) -> Offered {
        let id = ItemId(self.next);
        self.next += 1;
        *self.slot(id) = FREE;
        if item.what.has_content() {
            self.content_end = self.next;
        }
        self.place(id, item, out, reports)
    }

    /// Whether the lanes have room for an item that is offered again.
    pub(super) fn can_reoffer(&self, item: &Item<'_>) -> bool {
        !self.paused && (!self.is_eager(item) || self.lane_for_eager().is_some())
    }

    pub(super) fn reoffer(
        &mut self,
        id: ItemId,
        item: &Item<'_>,
        out: &mut [u8],
        reports: &mut Reports,
    ) -> Offered {
        let waits = self.in_window(id) && self.slot(id).reoffered;
        assert!(waits && self.slot(id).state == ItemOut::Reoffering, "reoffers answer Reoffer");
        self.place(id, item, out, reports)
    }

    /// Encodes the offer and decides how its content will travel.
    fn place(&mut self, id: ItemId, item: &Item<'_>, out: &mut [u8], reports: &mut Reports) -> Offered {
        let eager_lane = if self.is_eager(item) { self.lane_for_eager() } else { None };
        let attempt = self.slot(id).attempt;
        let frame = Frame::Offer { id, eager: eager_lane.is_some(), attempt, item: *item };
        let len = frame.emit_of(self.terms.task, out).expect("the caller's buffer takes any frame");
        let slot = self.slot(id);
        if slot.offer_len == 0 {
            slot.offer_len = len as u16;
            self.offer_bytes += len as u32;
        }
        let slot = self.slot(id);
        (slot.recall, slot.recalled, slot.reoffered, slot.lanes) = (false, false, false, 0);
        let offered = Offered { id, lane: Lane::CONTROL, len };
        if !item.what.has_content() {
            slot.ended = true;
            self.on(id, Input::OfferEmpty).expect("offers answer Free and Reoffering");
            return offered;
        }
        let Some((lane, left)) = eager_lane else {
            self.open_place(id, item);
            self.on(id, Input::Offer).expect("offers answer Free and Reoffering");
            return offered;
        };
        self.close_place(id);
        self.on(id, Input::OfferEager).expect("offers answer Free and Reoffering");
        self.eager_lane = (lane as u16, left);
        let size = item.what.size().unwrap_or(0) as u32;
        let slot = self.slot(id);
        (slot.lane, slot.lanes, slot.eager) = (lane as u8, 1 << lane, size);
        if size == 0 {
            self.close(id, reports);
        } else {
            self.lanes[lane].eager.push_back(id).expect("lane_for_eager left room");
        }
        Offered { lane: Lane(lane as u16), ..offered }
    }

    /// Gives the item a fresh place in the table of open items.
    fn open_place(&mut self, id: ItemId, item: &Item<'_>) {
        let known = self.open_of(id).map_or(0, |before| before.assigned.max(before.known));
        self.close_place(id);
        let at = self.open.iter().position(Option::is_none).expect("can_offer left room");
        self.open[at] = Some(Open {
            size: item.what.size().unwrap_or(u64::MAX),
            sparse: matches!(item.what, What::File { sparse: true, .. }),
            stream: item.what.size().is_none(),
            at_end: false,
            assigned: 0,
            read: 0,
            accepted: 0,
            known,
        });
        self.slot(id).open = at as u8;
    }

    fn close_place(&mut self, id: ItemId) {
        let at = usize::from(self.slot(id).open);
        if let Some(open) = self.open.get_mut(at) {
            *open = None;
        }
        self.slot(id).open = NOT_OPEN;
    }

    /// Everything of the item was read: the driver closes it.
    fn close(&mut self, id: ItemId, reports: &mut Reports) {
        self.on(id, Input::Read).expect("only what is read is read whole");
        let slot = self.slot(id);
        slot.closing = true;
        let lane = usize::from(slot.lane);
        slot.lanes |= 1 << lane;
        self.lanes[lane].closing += 1;
        reports.command(Command::Close { id });
    }

    pub(super) const fn all_offered(&mut self) {
        self.all_offered = true;
    }

    /// The joiner wants the item's content from `offset` on, or has come so far with it.
    pub(super) fn accept(
        &mut self,
        id: ItemId,
        offset: u64,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        let wrong = misbehaved(Kind::Accept, id);
        if !self.in_window(id) {
            return Err(wrong);
        }
        let at = usize::from(self.slot(id).open);
        let Some(open) = self.open.get_mut(at).and_then(Option::as_mut) else { return Err(wrong) };
        if self.slots[id.0 as usize % WINDOW].state == ItemOut::Offered {
            let known = open.known;
            return self.begin_at(id, offset, known, wrong, reports);
        }
        // Word of an earlier attempt, or of bytes long read, changes little.
        let reading = self.slot(id).state == ItemOut::Reading;
        let open = self.open[at].as_mut().expect("looked above");
        if offset > if reading { open.assigned } else { open.size } {
            return Err(wrong);
        }
        open.accepted = open.accepted.max(offset);
        self.on(id, Input::Accept).ok_or(wrong).map(drop)
    }

    /// The joiner kept everything before `offset` from an earlier run, and has said its checksum.
    pub(super) fn kept(
        &mut self,
        id: ItemId,
        offset: u64,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        let wrong = misbehaved(Kind::Kept, id);
        let offered = self.in_window(id) && self.slot(id).state == ItemOut::Offered;
        // Who holds nothing from before has nothing to keep.
        if !offered || offset == 0 || self.terms.fresh {
            return Err(wrong);
        }
        self.begin_at(id, offset, u64::MAX, wrong, reports)
    }

    /// The item's content is sent from `offset` on, which is at most `limit`.
    fn begin_at(
        &mut self,
        id: ItemId,
        offset: u64,
        limit: u64,
        wrong: SessionError,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        let Some(open) = self.open_of(id) else { return Err(wrong) };
        let on_grid = offset == 0 || !open.stream && (offset.is_multiple_of(RUN_LEN) || offset == open.size);
        if offset > limit.min(open.size) || !on_grid {
            return Err(wrong);
        }
        (open.assigned, open.read, open.accepted) = (offset, offset, offset);
        let whole = offset == open.size;
        self.on(id, Input::Accept).ok_or(wrong)?;
        if whole {
            // All its bytes are there already; its end is not.
            self.slot(id).lane = self.any_lane();
            self.close(id, reports);
        } else {
            self.ready.push_back(id).expect("open items are bounded by its capacity");
        }
        Ok(())
    }

    /// The joiner has the item already.
    pub(super) fn skip(
        &mut self,
        id: ItemId,
        end: Option<End>,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        if !self.in_window(id) || self.on(id, Input::Skip).is_none() {
            return Err(misbehaved(Kind::Skip, id));
        }
        self.slot(id).ended = true;
        if let Some(End { size, checksum }) = end {
            reports.command(Command::Skipped { id, size, checksum });
        }
        Ok(())
    }

    /// The joiner asks for an item again.
    pub(super) fn again(&mut self, id: ItemId, reports: &mut Reports) -> Result<(), SessionError> {
        if !self.in_window(id) || self.on(id, Input::Again).is_none() {
            return Err(misbehaved(Kind::Again, id));
        }
        let max_retries = self.terms.max_retries;
        let slot = self.slot(id);
        slot.attempt = (slot.attempt + 1) & 0xf;
        slot.failures += u8::from(!slot.recalled);
        let failures = slot.failures;
        self.stop(id);
        self.reoffers += 1;
        if failures > max_retries {
            return Err(SessionError::ItemFailed { id, attempts: failures });
        }
        reports.event(Event::Retrying { id, failures });
        Ok(())
    }

    /// Nothing more is read of the item at this attempt, and its recall need not be sent.
    fn stop(&mut self, id: ItemId) {
        self.ready.retain(|other| *other != id);
        for lane in &mut self.lanes {
            lane.drop_item(id);
        }
        self.recalls -= u32::from(core::mem::take(&mut self.slot(id).recall));
    }

    /// The next item that the driver must offer again: what was under way of it has come back.
    pub(super) fn poll_reoffer(&mut self) -> Option<Command> {
        if self.paused || self.reoffers == 0 {
            return None;
        }
        let id = (self.base..self.next).map(ItemId).find(|&id| {
            let slot = self.slot_ref(id);
            slot.state == ItemOut::Reoffering && !slot.reoffered && slot.reads == 0 && !slot.closing
        })?;
        self.slot(id).reoffered = true;
        self.reoffers -= 1;
        Some(Command::Reoffer { id })
    }

    pub(super) fn read_done(
        &mut self,
        lane: Lane,
        id: ItemId,
        offset: u64,
        piece: ReadPiece,
        reports: &mut Reports,
    ) -> bool {
        assert!(self.in_window(id), "reads come back before their item is verified");
        let lane = lane.index();
        self.lanes[lane].reads -= 1;
        let checked = self.terms.checked;
        let slot = self.slot(id);
        slot.reads -= 1;
        let (attempt, eager) = (slot.attempt, u64::from(slot.eager));
        let is_eager = slot.open == NOT_OPEN;
        if slot.state != ItemOut::Reading || self.up & 1 << lane == 0 || id.0 < self.verified {
            self.lanes[lane].eager_under_way -= u8::from(is_eager);
            self.slide(reports);
            return false;
        }
        let (size, in_order) =
            self.open_of(id).map_or((eager, false), |open| (open.size, open.sparse || open.stream));
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
                if let Some(open) = self.open_of(id) {
                    open.at_end = true;
                }
                self.lanes[lane].cursor = None;
                self.ready.retain(|other| *other != id);
                (None, 0)
            }
        };
        if let Some(out) = out {
            self.lanes[lane].outbox.push_back(out).expect("has_room left room for every read");
        }
        if in_order && let Some(cursor) = &mut self.lanes[lane].cursor {
            cursor.next = offset + len;
            if cursor.next == cursor.end {
                self.lanes[lane].cursor = None;
            }
        }
        let all_read = match self.open_of(id) {
            Some(open) => {
                open.read += len;
                if open.stream { open.at_end } else { open.read == open.size }
            }
            None => len == eager,
        };
        if all_read && self.slot(id).reads == 0 {
            self.slot(id).lane = lane as u8;
            self.close(id, reports);
        }
        true
    }

    pub(super) fn closed(&mut self, id: ItemId, size: u64, checksum: Checksum, reports: &mut Reports) {
        assert!(self.slot(id).closing, "closed answers Close");
        let slot = self.slot(id);
        slot.closing = false;
        let (lane, attempt) = (usize::from(slot.lane), slot.attempt);
        let was_read = slot.open == NOT_OPEN && slot.eager > 0;
        self.lanes[lane].closing -= 1;
        self.lanes[lane].eager_under_way -= u8::from(was_read);
        if self.on(id, Input::Closed) == Some(ItemOut::Ended) {
            self.slot(id).ended = true;
            let end = Out::End { id, attempt, end: End { size, checksum } };
            self.lanes[lane].outbox.push_back(end).expect("closing items keep room for their end");
        }
        self.slide(reports);
    }

    /// The joiner's grades; returns whether items were verified.
    pub(super) fn grades(&mut self, grades: Grades, reports: &mut Reports) -> Result<bool, SessionError> {
        let Grades { received, verified, durable } = grades;
        if verified < self.verified || received > self.next || durable < self.durable || durable > verified {
            return Err(misbehaved(Kind::Grades, ItemId(verified)));
        }
        let ended = |id: &ItemId| self.slot_ref(*id).ended;
        if let Some(id) = (self.verified..verified).map(ItemId).find(|id| !ended(id)) {
            return Err(misbehaved(Kind::Grades, id));
        }
        let advanced = verified > self.verified;
        (self.received, self.verified, self.durable) = (received, verified, durable);
        self.slide(reports);
        reports.event(Event::Graded { side: Side::Provider, grades });
        Ok(advanced)
    }

    /// Frees the slots of verified items, up to the first of which something is still under way.
    fn slide(&mut self, reports: &mut Reports) {
        let before = self.base;
        while self.base < self.verified {
            let id = ItemId(self.base);
            let slot = *self.slot(id);
            if slot.reads > 0 || slot.closing {
                break;
            }
            self.stop(id);
            self.close_place(id);
            let waits = slot.state == ItemOut::Reoffering && !slot.reoffered;
            self.on(id, Input::Verify).expect("every item of the window can be verified");
            self.reoffers -= u32::from(waits);
            self.offer_bytes -= u32::from(slot.offer_len);
            *self.slot(id) = FREE;
            self.base += 1;
        }
        if self.base > before {
            reports.command(Command::Forget { before: ItemId(self.base) });
        }
    }

    fn count(&self, which: impl Fn(&Slot) -> bool) -> u32 {
        (self.base..self.next).filter(|&id| which(self.slot_ref(ItemId(id)))).count() as u32
    }

    /// Whether all items are offered and verified; said once.
    pub(super) const fn poll_all_verified(&mut self) -> bool {
        let all = !self.paused && self.all_offered && self.base == self.next && !self.summed;
        self.summed |= all;
        all
    }

    /// A data lane was lost: what it carried is recalled, so that the joiner asks for what is missing.
    pub(super) fn lane_lost(&mut self, lane: Lane) {
        self.up &= !(1 << lane.0);
        self.lanes[lane.index()].go_down();
        for id in (self.base..self.next).map(ItemId) {
            let carried = self.slot(id).lanes & 1 << lane.0 != 0;
            if carried && self.on(id, Input::Recall).is_some() {
                self.stop(id);
                let slot = self.slot(id);
                (slot.recall, slot.recalled) = (true, true);
                self.recalls += 1;
            }
        }
    }

    /// The connection was lost: everything that is not verified will be offered again.
    pub(super) fn lose(&mut self) {
        self.paused = true;
        self.up = 0;
        for lane in &mut self.lanes {
            lane.go_down();
        }
        self.eager_lane = (0, 0);
        self.ready.clear();
        (self.recalls, self.reoffers) = (0, self.next - self.base);
        for id in (self.base..self.next).map(ItemId) {
            self.on(id, Input::Lose).expect("every item of the window can be lost");
            let slot = self.slot(id);
            (slot.attempt, slot.lanes) = ((slot.attempt + 1) & 0xf, 0);
            (slot.recall, slot.reoffered) = (false, false);
        }
    }

    /// The joiner is ready again.
    pub(super) const fn go_on(&mut self) {
        self.paused = false;
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn poll_transmit(&mut self, lane: Lane, out: &mut [u8]) -> Option<Transmit> {
        if self.paused {
            return None;
        }
        let task = self.terms.task;
        if lane == Lane::CONTROL && self.recalls > 0 {
            let id = (self.base..self.next).map(ItemId).find(|&id| self.slot_ref(id).recall)?;
            self.recalls -= 1;
            let slot = self.slot(id);
            slot.recall = false;
            let frame = Frame::Recall { id, attempt: slot.attempt };
            let len = frame.emit_of(task, out).expect("the caller's buffer takes any frame");
            return Some(Transmit { len, payload: None });
        }
        let next = self.lanes[lane.index()].outbox.pop_front()?;
        let (frame, payload) = next.frame();
        let len = frame.emit_of(task, out).expect("the caller's buffer takes any frame");
        Some(Transmit { len, payload })
    }

    pub(super) const fn grades_known(&self) -> Grades {
        Grades { received: self.received, verified: self.verified, durable: self.durable }
    }

    /// The inequalities of this window.
    pub(super) fn invariants(&self) {
        assert!(self.base <= self.next && self.next - self.base <= WINDOW as u32);
        assert!(self.base <= self.verified && self.verified <= self.next && self.durable <= self.verified);
        assert!(self.content_end <= self.next);
        for lane in &self.lanes {
            lane.invariants();
        }
    }

    /// As [`Outgoing::invariants`], and those that cost a walk over the window.
    pub(super) fn thorough(&self) {
        self.invariants();
        let recalls = self.count(|slot| slot.recall);
        let reoffers = self.count(|slot| slot.state == ItemOut::Reoffering && !slot.reoffered);
        assert_eq!((self.recalls, self.reoffers), (recalls, reoffers), "counts are what is counted");
        let opened = self.count(|slot| slot.open != NOT_OPEN) as usize;
        assert_eq!(self.open.iter().flatten().count(), opened, "open items have a slot each");
        let reads = |id: u32| u32::from(self.slot_ref(ItemId(id)).reads);
        let per_item: u32 = (self.base..self.next).map(reads).sum();
        let per_lane: u32 = self.lanes.iter().map(|lane| u32::from(lane.reads)).sum();
        assert_eq!(per_item, per_lane, "reads are counted twice");
    }
}
