//! The joiner's window: the items of the task under way, opened, received, compared, verified, and
//! asked for again.
//!
//! The states of an item and what moves it on are declared in [`item`]; which bytes have come is
//! counted in [`runs`].

mod item;
mod runs;

pub use self::item::ITEM_IN;
use self::item::{ItemIn, ItemInInput as Input};
use self::runs::Runs;
use super::command::{Command, Event, Payload, Receive, Transmit};
use super::error::{Misbehaviour, SessionError};
use super::reports::Reports;
use super::{EAGER_MAX, OFFER_BYTES, OPEN_ITEMS};
use crate::id::{ItemId, Lane, TaskId};
use crate::integrity::{Integrity, RUN_LEN};
use crate::item::{Item, What};
use crate::wire::{ChunkLen, End, FRAME_MAX, Frame, Grades, Kind};

/// A slot that holds no open item.
const NOT_OPEN: u8 = u8::MAX;

/// An item of the window.
#[derive(Clone, Copy, Debug)]
struct Slot {
    state: ItemIn,
    /// Which attempt at it comes, or has failed, modulo 16.
    attempt: u8,
    /// How often it failed because of its content.
    failures: u8,
    /// It was asked for again: frames of earlier attempts may still come.
    again: bool,
    /// The connection was lost: it will be offered again before anything else of it comes.
    awaits_offer: bool,
    /// The driver must be told to forget what came of it.
    reset: bool,
    /// It was offered again and is there already: a skip is to be sent.
    skip: bool,
    /// An earlier run left some of it, and the provider is not known to have heard of that.
    kept: bool,
    /// Its place in the table of open items; [`NOT_OPEN`] for eager ones and those without content.
    open: u8,
    /// Bytes of its name and link target.
    offer_len: u16,
    /// Of content that travels with its offer: its length, and how much has come.
    eager: u32,
    received: u32,
}

const FREE: Slot = Slot {
    state: ItemIn::Free,
    attempt: 0,
    failures: 0,
    again: false,
    awaits_offer: false,
    reset: false,
    skip: false,
    kept: false,
    open: NOT_OPEN,
    offer_len: 0,
    eager: 0,
    received: 0,
};

/// An item whose content comes after its offer was accepted, perhaps on several lanes.
#[derive(Clone, Debug)]
struct Open {
    id: ItemId,
    runs: Runs,
    size: u64,
    stream: bool,
    received: u64,
    /// The provider was told that everything before this offset has come.
    told: u64,
    end: Option<End>,
}

/// How many bytes of runs may come before the provider is told.
const TELL_EVERY: u64 = 4 * RUN_LEN;

impl Open {
    const fn is_far(&self) -> bool {
        self.runs.frontier() - self.told >= TELL_EVERY
    }
}

/// What the task looks like to its window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) task: TaskId,
    pub(super) integrity: Integrity,
    pub(super) chunk: ChunkLen,
    pub(super) small: bool,
    pub(super) max_retries: u8,
    pub(super) items: u64,
    /// The connection was lost before: its items may have been offered on an earlier one.
    pub(super) again: bool,
}

pub(super) struct Incoming<const LANES: usize, const WINDOW: usize> {
    terms: Terms,
    slots: [Slot; WINDOW],
    open: [Option<Open>; OPEN_ITEMS as usize],
    /// Bytes of names and link targets of the window's items.
    offer_bytes: u32,
    /// The first item that is not verified.
    base: u32,
    durable: u32,
    /// Items beyond `base` that have come whole.
    whole: u32,
    /// Items whose answer waits for lane 0, whose Again does, whose Skip does; whose driver must be told.
    accepts: u32,
    agains: u32,
    skips: u32,
    resets: u32,
    /// Items of which the provider must hear what is kept.
    tells: u32,
    /// Some item has failed, in this task or before: frames of its old attempt may still come.
    retried: bool,
    told: Grades,
    /// The grades must be told on this connection even if nothing has changed.
    tell: bool,
    /// Some open item may have come so far that the provider is to be told.
    far: bool,
    /// A payload that was announced and has not come, a lane each, with its item's attempt.
    announced: [Option<Announced>; LANES],
}

/// What a payload turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// What was sent, and it belongs to its item.
    Wanted,
    /// Of an attempt that has failed, or not what was sent: then its item has failed.
    Unwanted,
}

#[derive(Clone, Copy, Debug)]
struct Announced {
    receive: Receive,
    crc: Option<u32>,
    attempt: u8,
}

/// Bytes of an offer that the driver keeps until its item is verified.
fn offer_len(item: &Item<'_>) -> u16 {
    let target = if let What::SymbolicLink { target } = item.what { target.len() } else { 0 };
    (item.name.as_bytes().len() + target) as u16
}

const fn misbehaved(how: Misbehaviour) -> SessionError {
    SessionError::Misbehaved(how)
}

impl<const LANES: usize, const WINDOW: usize> Incoming<LANES, WINDOW> {
    /// A window without a task.
    pub(super) const fn idle() -> Self {
        Self {
            terms: Terms {
                task: TaskId(0),
                integrity: Integrity::None,
                chunk: ChunkLen::DEFAULT,
                small: true,
                max_retries: 0,
                items: 0,
                again: false,
            },
            slots: [FREE; WINDOW],
            open: [const { None }; OPEN_ITEMS as usize],
            offer_bytes: 0,
            base: 0,
            durable: 0,
            whole: 0,
            accepts: 0,
            agains: 0,
            skips: 0,
            resets: 0,
            tells: 0,
            retried: false,
            told: Grades { received: 0, verified: 0, durable: 0 },
            tell: false,
            far: false,
            announced: [None; LANES],
        }
    }

    /// The next task begins: the window of the last one is empty, everything of it is verified.
    pub(super) fn start(&mut self, terms: Terms) {
        debug_assert!(self.whole == 0 && self.open.iter().all(Option::is_none), "one after another");
        self.terms = terms;
        (self.base, self.durable, self.tell) = (0, 0, false);
        self.retried |= terms.again;
        self.told = Grades::default();
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

    fn on(&mut self, id: ItemId, input: Input) -> Option<ItemIn> {
        let slot = self.slot(id);
        slot.state = slot.state.on(input)?;
        Some(slot.state)
    }

    /// The item's slot, if `id` lies in the window.
    fn known(&mut self, kind: Kind, id: ItemId) -> Result<&mut Slot, SessionError> {
        let in_window = id.0 >= self.base && id.0 - self.base < WINDOW as u32;
        if !in_window || u64::from(id.0) >= self.terms.items {
            return Err(misbehaved(Misbehaviour::Item(kind, id)));
        }
        Ok(self.slot(id))
    }

    const fn carries(&self, lane: Lane) -> bool {
        (lane.0 == 0) == self.terms.small
    }

    pub(super) fn offer(
        &mut self,
        lane: Lane,
        id: ItemId,
        eager: bool,
        attempt: u8,
        item: &Item<'_>,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        let wrong = misbehaved(Misbehaviour::Item(Kind::Offer, id));
        let has_content = item.what.has_content();
        let on_right_lane = if eager { self.carries(lane) } else { lane == Lane::CONTROL };
        if !on_right_lane {
            return Err(misbehaved(Misbehaviour::WrongLane(Kind::Offer)));
        }
        // Late on a slow lane, of an attempt that failed, when the next one has made it already.
        if id.0 < self.base && self.retried {
            return Ok(());
        }
        let size = item.what.size();
        let eager_fits = !eager || (has_content && size.is_some_and(|size| size <= u64::from(EAGER_MAX)));
        let retried = self.retried;
        let slot = self.known(Kind::Offer, id)?;
        let before = slot.state;
        let expected = match before {
            ItemIn::Free => attempt == 0 || retried,
            ItemIn::Asked => slot.awaits_offer || attempt != slot.attempt,
            _ => slot.awaits_offer,
        };
        // Of an attempt that failed, still under way on a lane that was lost at the other end.
        if !expected && slot.again && lane != Lane::CONTROL {
            return Ok(());
        }
        let kept = before == ItemIn::Asked && slot.open != NOT_OPEN;
        let input = match (has_content, eager) {
            (false, _) => Input::OfferEmpty,
            (true, true) => Input::OfferEager,
            (true, false) if kept => Input::OfferKept,
            (true, false) => Input::Offer,
        };
        let first = if slot.offer_len == 0 { offer_len(item) } else { 0 };
        let offer_bytes = self.offer_bytes + u32::from(first);
        if !expected || !eager_fits || offer_bytes > OFFER_BYTES + FRAME_MAX as u32 {
            return Err(wrong);
        }
        let after = self.on(id, input).ok_or(wrong)?;
        self.offer_bytes = offer_bytes;
        self.slot(id).offer_len += first;
        let slot = self.slot(id);
        (slot.attempt, slot.awaits_offer) = (attempt, false);
        match (before, after) {
            (ItemIn::Free | ItemIn::Asked, ItemIn::Opening) => {
                self.open_place(id, item).ok_or(wrong)?;
                reports.command(Command::Open { id });
            }
            (ItemIn::Free | ItemIn::Asked, ItemIn::Receiving) => {
                let slot = self.slot(id);
                (slot.eager, slot.received) = (size.unwrap_or(0) as u32, 0);
                reports.command(Command::Open { id });
            }
            (ItemIn::Free | ItemIn::Asked, ItemIn::Finishing) => {
                self.whole += 1;
                reports.command(Command::Open { id });
            }
            (ItemIn::Opening, _) => reports.command(Command::Continue { id, attempt }),
            (ItemIn::Asked | ItemIn::Opened, ItemIn::Opened) => {
                self.answers(id);
                reports.command(Command::Continue { id, attempt });
            }
            (ItemIn::Finishing | ItemIn::Verified, _) if !eager && has_content => {
                self.slot(id).skip = true;
                self.skips += u32::from(after == ItemIn::Verified);
            }
            _ => {}
        }
        Ok(())
    }

    fn open_place(&mut self, id: ItemId, item: &Item<'_>) -> Option<()> {
        let at = self.open.iter().position(Option::is_none)?;
        self.open[at] = Some(Open {
            id,
            runs: Runs::default(),
            size: item.what.size().unwrap_or(u64::MAX),
            stream: item.what.size().is_none(),
            received: 0,
            told: 0,
            end: None,
        });
        self.slot(id).open = at as u8;
        Some(())
    }

    /// The driver's place for an item that is not eager stands.
    pub(super) fn opened(&mut self, id: ItemId) {
        self.on(id, Input::Opened).expect("opened answers Open of an item that is not eager");
        if !self.slot(id).awaits_offer {
            self.answers(id);
        }
    }

    /// As [`Incoming::opened`], of an item of which everything before `offset` is there.
    pub(super) fn kept(&mut self, id: ItemId, offset: u64) {
        let open = self.open_of(id).expect("what is kept of an item answers its Open");
        let on_grid = offset.is_multiple_of(RUN_LEN) || offset == open.size;
        assert!(offset > 0 && offset <= open.size && on_grid && !open.stream, "whole runs are kept, or all");
        open.runs = Runs::from(offset);
        (open.received, open.told) = (offset, offset);
        self.slot(id).kept = true;
        self.opened(id);
    }

    /// An item that is open, and offered on this connection, is to be answered.
    fn answers(&mut self, id: ItemId) {
        let kept = self.slot(id).kept;
        self.accepts += u32::from(!kept);
        self.tells += u32::from(kept);
    }

    /// The next item of which the provider must hear what is kept.
    pub(super) fn poll_kept(&mut self) -> Option<Command> {
        if self.tells == 0 {
            return None;
        }
        let id = self.find(|slot| slot.kept && slot.state == ItemIn::Opened && !slot.awaits_offer)?;
        self.tells -= 1;
        self.on(id, Input::Accept).expect("looked at above");
        let offset = self.open_of(id).map_or(0, |open| open.runs.frontier());
        Some(Command::TellKept { id, offset })
    }

    /// Checks that content frames of `attempt` fit the item; `Ok(false)`: drop them.
    fn takes(&mut self, kind: Kind, lane: Lane, id: ItemId, attempt: u8) -> Result<bool, SessionError> {
        // An item of which everything came before needs no data lane for its end.
        if !self.carries(lane) && kind != Kind::End {
            return Err(misbehaved(Misbehaviour::WrongLane(kind)));
        }
        if id.0 < self.base && self.retried {
            return Ok(false);
        }
        let slot = self.known(kind, id)?;
        match slot.state {
            ItemIn::Receiving if attempt == slot.attempt => {
                slot.kept = false;
                Ok(true)
            }
            ItemIn::Free => Err(misbehaved(Misbehaviour::Item(kind, id))),
            // An eager item that was there when it was offered again, or one of an earlier attempt.
            _ if slot.again => Ok(false),
            _ => Err(misbehaved(Misbehaviour::Item(kind, id))),
        }
    }

    fn take_bytes(&mut self, id: ItemId, offset: u64, len: u64) -> Result<(), SessionError> {
        let wrong = misbehaved(Misbehaviour::Offset(id, offset));
        if let Some(open) = self.open_of(id) {
            let end = offset.checked_add(len).filter(|&end| end <= open.size).ok_or(wrong)?;
            if !open.runs.take(offset, len, open.size) {
                return Err(wrong);
            }
            debug_assert!(end <= open.size, "checked above");
            open.received += len;
            let far = open.is_far();
            self.far |= far;
            return Ok(());
        }
        let slot = self.slot(id);
        let room = u64::from(slot.eager - slot.received);
        if offset != u64::from(slot.received) || len > room {
            return Err(wrong);
        }
        slot.received += len as u32;
        Ok(())
    }

    pub(super) fn data(
        &mut self,
        lane: Lane,
        id: ItemId,
        attempt: u8,
        offset: u64,
        len: u32,
        crc: Option<u32>,
    ) -> Result<(), SessionError> {
        if self.announced[lane.index()].is_some() {
            return Err(misbehaved(Misbehaviour::Unexpected(Kind::Data)));
        }
        let end = offset.checked_add(u64::from(len));
        if len == 0 || end.is_none_or(|end| end > self.terms.chunk.end_of(offset)) {
            return Err(misbehaved(Misbehaviour::Offset(id, offset)));
        }
        if crc.is_none() && self.terms.integrity != Integrity::None {
            return Err(misbehaved(Misbehaviour::Checksum(id)));
        }
        let receive = if self.takes(Kind::Data, lane, id, attempt)? {
            self.take_bytes(id, offset, u64::from(len))?;
            Receive::Place(Payload { id, offset, len })
        } else {
            Receive::Discard { len }
        };
        self.announced[lane.index()] = Some(Announced { receive, crc, attempt });
        Ok(())
    }

    /// A frame about an item of a task that is over: only one of an attempt that another one overtook
    /// can come so late.
    pub(super) fn late(&mut self, lane: Lane, frame: &Frame<'_>) -> Result<(), SessionError> {
        let out_of_turn = misbehaved(Misbehaviour::Unexpected(frame.kind()));
        match *frame {
            Frame::Recall { .. } => Ok(()),
            _ if !self.retried => Err(out_of_turn),
            Frame::Data { .. } if self.announced[lane.index()].is_some() => Err(out_of_turn),
            Frame::Data { len, crc, attempt, .. } => {
                self.announced[lane.index()] =
                    Some(Announced { receive: Receive::Discard { len }, crc, attempt });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn receive(&self, lane: Lane) -> Option<Receive> {
        self.announced[lane.index()].map(|announced| announced.receive)
    }

    /// The announced payload has come, with this checksum.
    pub(super) fn payload(
        &mut self,
        lane: Lane,
        len: u32,
        crc: Option<u32>,
        reports: &mut Reports,
    ) -> Result<Arrival, SessionError> {
        let Some(announced) = self.announced[lane.index()].take() else {
            panic!("a payload is handled after its header");
        };
        let Receive::Place(payload) = announced.receive else { return Ok(Arrival::Unwanted) };
        assert!(payload.len == len, "a payload is handled whole");
        if !self.comes(payload.id, announced.attempt) {
            return Ok(Arrival::Unwanted);
        }
        if announced.crc.is_some() && announced.crc != crc {
            self.fail(payload.id, Some(payload.offset), true, reports)?;
            return Ok(Arrival::Unwanted);
        }
        self.finish_if_all(payload.id, reports);
        Ok(Arrival::Wanted)
    }

    /// Whether content of `attempt` at the item is still wanted.
    fn comes(&self, id: ItemId, attempt: u8) -> bool {
        let slot = self.slot_ref(id);
        id.0 >= self.base && slot.state == ItemIn::Receiving && slot.attempt == attempt
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one frame")]
    pub(super) fn hole(
        &mut self,
        lane: Lane,
        id: ItemId,
        attempt: u8,
        offset: u64,
        len: u64,
        run_end: bool,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        if self.takes(Kind::Hole, lane, id, attempt)? {
            // What is small enough to travel with its offer travels whole.
            if self.slot(id).open == NOT_OPEN {
                return Err(misbehaved(Misbehaviour::Item(Kind::Hole, id)));
            }
            if offset / RUN_LEN != (offset + (len - 1)) / RUN_LEN {
                return Err(misbehaved(Misbehaviour::Offset(id, offset)));
            }
            self.take_bytes(id, offset, len)?;
            reports.command(Command::Hole { id, offset, len, run_end });
            self.finish_if_all(id, reports);
        }
        Ok(())
    }

    pub(super) fn end(
        &mut self,
        lane: Lane,
        id: ItemId,
        attempt: u8,
        end: End,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        if end.checksum.integrity() != self.terms.integrity {
            return Err(misbehaved(Misbehaviour::Checksum(id)));
        }
        if !self.takes(Kind::End, lane, id, attempt)? {
            return Ok(());
        }
        let wrong_size = misbehaved(Misbehaviour::Size(id));
        if let Some(open) = self.open_of(id) {
            if open.end.is_some() {
                return Err(misbehaved(Misbehaviour::Item(Kind::End, id)));
            }
            // A stream ends behind the last byte that has come: what is left out before it is missing.
            let fits = if open.stream { open.runs.reach() <= end.size } else { open.size == end.size };
            if !fits {
                return Err(wrong_size);
            }
            (open.size, open.end) = (end.size, Some(end));
            self.finish_if_all(id, reports);
            return Ok(());
        }
        // On one lane nothing of an item comes after its end.
        let slot = self.slot(id);
        if u64::from(slot.eager) != end.size || slot.received != slot.eager {
            return Err(wrong_size);
        }
        self.finish(id, end, reports);
        Ok(())
    }

    /// An open item is finished when its end and all its bytes have come, in whatever order.
    fn finish_if_all(&mut self, id: ItemId, reports: &mut Reports) {
        let Some(&mut Open { size, received, end: Some(end), .. }) = self.open_of(id) else { return };
        if size != received || self.slot(id).state != ItemIn::Receiving {
            return;
        }
        let announced = |a: &Announced| matches!(a.receive, Receive::Place(payload) if payload.id == id);
        if !self.announced.iter().flatten().any(announced) {
            self.finish(id, end, reports);
        }
    }

    fn finish(&mut self, id: ItemId, end: End, reports: &mut Reports) {
        self.on(id, Input::Whole).expect("only what is received comes whole");
        self.whole += 1;
        reports.command(Command::Finish { id, size: end.size, checksum: end.checksum });
    }

    /// The item was compared and completed, or does not match: then it fails.
    pub(super) fn finished(
        &mut self,
        id: ItemId,
        matched: bool,
        reports: &mut Reports,
    ) -> Result<bool, SessionError> {
        assert!(self.slot(id).state == ItemIn::Finishing, "finished answers Finish or Open");
        self.close_place(id);
        if !matched {
            return self.fail(id, None, true, reports).map(|()| false);
        }
        self.on(id, Input::Match).expect("looked at above");
        self.skips += u32::from(self.slot(id).skip);
        self.slide();
        Ok(true)
    }

    /// Frees the slots of verified items, up to the first that is not.
    fn slide(&mut self) {
        loop {
            let id = ItemId(self.base);
            let slot = self.slot(id);
            if slot.state != ItemIn::Verified {
                return;
            }
            self.skips -= u32::from(core::mem::take(&mut self.slot(id).skip));
            self.on(id, Input::Slide).expect("looked at above");
            self.offer_bytes -= u32::from(self.slot(id).offer_len);
            *self.slot(id) = FREE;
            self.whole -= 1;
            self.base += 1;
        }
    }

    fn close_place(&mut self, id: ItemId) {
        let at = usize::from(self.slot(id).open);
        if let Some(open) = self.open.get_mut(at) {
            *open = None;
        }
        self.slot(id).open = NOT_OPEN;
    }

    /// The item, or what came of it since the last good run, must come again. `bad`: the offset of a
    /// payload that is not what was sent. `content`: it counts among the retries.
    fn fail(
        &mut self,
        id: ItemId,
        bad: Option<u64>,
        content: bool,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        let was_whole = self.slot(id).state == ItemIn::Finishing;
        self.on(id, Input::Fail).expect("only what comes, or has come, fails");
        self.whole -= u32::from(was_whole);
        let max_retries = self.terms.max_retries;
        let slot = self.slot(id);
        (slot.again, slot.skip) = (true, false);
        slot.failures += u8::from(content);
        let failures = slot.failures;
        let is_offered_again = slot.awaits_offer;
        self.retried = true;
        if is_offered_again {
            self.on(id, Input::Ask).expect("what failed is asked for");
        } else {
            self.agains += 1;
        }
        if failures > max_retries {
            return Err(SessionError::ItemFailed { id, attempts: failures });
        }
        reports.event(Event::Retrying { id, failures });
        let rewound = self.rewind(id, bad);
        reports.command(rewound);
        Ok(())
    }

    /// Forgets what came of an item behind the last good run.
    fn rewind(&mut self, id: ItemId, bad: Option<u64>) -> Command {
        let announced = |announced: &Announced| match announced.receive {
            Receive::Place(payload) if payload.id == id => Some(payload.offset),
            _ => None,
        };
        // The header of a payload counts its bytes; they have not come.
        let missing = self.announced.iter().flatten().filter_map(announced).chain(bad).min();
        let Some(open) = self.open_of(id) else { return Command::Discard { id } };
        let frontier = open.runs.frontier();
        // Of an item that came whole but for its end everything stays, its short last run too.
        let to = missing.map_or(frontier, |missing| frontier.min(missing / RUN_LEN * RUN_LEN));
        // A stream is read in order, from its start.
        if open.stream || to == 0 {
            self.close_place(id);
            self.slot(id).kept = false;
            return Command::Discard { id };
        }
        open.runs.rewind(to);
        (open.received, open.told, open.end) = (to, to, None);
        Command::Rewind { id, to }
    }

    /// A lane that carried some of the item was lost: what is missing must come again.
    pub(super) fn recall(
        &mut self,
        id: ItemId,
        attempt: u8,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        if id.0 < self.base {
            return Ok(());
        }
        let slot = self.known(Kind::Recall, id)?;
        match slot.state {
            ItemIn::Receiving if slot.attempt == attempt => self.fail(id, None, false, reports),
            // Its offer was lost too.
            ItemIn::Free => {
                self.offer_lost(id, attempt);
                Ok(())
            }
            ItemIn::Asked if slot.attempt != attempt => {
                self.offer_lost(id, attempt);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// An offer travelled on a lane that was lost: the item is asked for (again).
    fn offer_lost(&mut self, id: ItemId, attempt: u8) {
        self.on(id, Input::Fail).expect("what was not offered can fail");
        let slot = self.slot(id);
        (slot.attempt, slot.again, slot.awaits_offer) = (attempt, true, false);
        self.retried = true;
        self.agains += 1;
    }

    /// A data lane was lost, and with it the payload that was announced on it.
    pub(super) fn lane_lost(&mut self, lane: Lane, reports: &mut Reports) -> Result<(), SessionError> {
        let Some(Announced { receive: Receive::Place(payload), attempt, .. }) =
            self.announced[lane.index()].take()
        else {
            return Ok(());
        };
        if self.comes(payload.id, attempt) {
            return self.fail(payload.id, Some(payload.offset), false, reports);
        }
        Ok(())
    }

    /// The connection was lost: everything that is not verified will be offered again.
    pub(super) fn lose(&mut self) {
        // What was announced has not come, and must not be counted among what stays.
        for Announced { receive, attempt, .. } in
            core::mem::replace(&mut self.announced, [None; LANES]).iter().flatten()
        {
            if let Receive::Place(payload) = *receive
                && self.comes(payload.id, *attempt)
                && let Some(open) = self.open_of(payload.id)
            {
                let to = open.runs.frontier().min(payload.offset / RUN_LEN * RUN_LEN);
                open.runs.rewind(to);
            }
        }
        (self.accepts, self.agains, self.skips, self.resets, self.tells) = (0, 0, 0, 0, 0);
        (self.retried, self.tell) = (true, true);
        for n in 0..WINDOW as u32 {
            let Some(id) = self.base.checked_add(n).map(ItemId) else { return };
            let before = self.slot(id).state;
            if before == ItemIn::Free {
                continue;
            }
            self.on(id, Input::Lose).expect("every item of the window can be lost");
            let slot = self.slot(id);
            (slot.again, slot.awaits_offer, slot.skip) = (true, true, false);
            slot.reset |= before == ItemIn::Receiving;
            self.resets += u32::from(self.slot(id).reset);
        }
    }

    /// The next item of which the driver must forget something, after the connection was lost.
    pub(super) fn poll_reset(&mut self) -> Option<Command> {
        if self.resets == 0 {
            return None;
        }
        let id = self.find(|slot| slot.reset)?;
        self.slot(id).reset = false;
        self.resets -= 1;
        Some(self.rewind(id, None))
    }

    /// Whether all items of the task are verified.
    pub(super) fn is_complete(&self) -> bool {
        u64::from(self.base) == self.terms.items
    }

    pub(super) fn all_durable(&mut self) {
        self.durable = self.base;
    }

    /// Everything before `before` is durable, as far as it is verified.
    pub(super) fn durable_before(&mut self, before: ItemId) {
        self.durable = self.durable.max(before.0.min(self.base));
    }

    pub(super) const fn grades(&self) -> Grades {
        Grades { received: self.base + self.whole, verified: self.base, durable: self.durable }
    }

    fn find(&self, which: impl Fn(&Slot) -> bool) -> Option<ItemId> {
        let ids = (0..WINDOW as u32).map_while(|n| self.base.checked_add(n).map(ItemId));
        ids.into_iter().find(|&id| which(self.slot_ref(id)))
    }

    /// The next frame for lane 0. Frames of items come only after those that Prepare needs.
    pub(super) fn poll_transmit(&mut self, out: &mut [u8]) -> Option<Transmit> {
        let grades = self.grades();
        let frame = if self.tell {
            self.tell = false;
            self.told = grades;
            Frame::Grades(grades)
        } else if self.accepts > 0 {
            let id = self.find(|slot| slot.state == ItemIn::Opened && !slot.awaits_offer && !slot.kept)?;
            self.accepts -= 1;
            self.on(id, Input::Accept).expect("looked at above");
            let offset = self.open_of(id).map_or(0, |open| open.runs.frontier());
            Frame::Accept { id, offset }
        } else if self.skips > 0 {
            let id = self.find(|slot| slot.skip && slot.state == ItemIn::Verified)?;
            self.skips -= 1;
            self.slot(id).skip = false;
            Frame::Skip { id, end: None }
        } else if self.agains > 0 {
            let id = self.find(|slot| slot.state == ItemIn::Failing)?;
            self.agains -= 1;
            self.on(id, Input::Ask).expect("looked at above");
            Frame::Again { id }
        } else if (grades.verified, grades.durable) != (self.told.verified, self.told.durable) {
            self.told = grades;
            Frame::Grades(grades)
        } else if self.far {
            let slots = &self.slots;
            let receiving = |id: ItemId| slots[id.0 as usize % WINDOW].state == ItemIn::Receiving;
            let mut far = self.open.iter_mut().flatten().filter(|open| receiving(open.id) && open.is_far());
            let Some(open) = far.next() else {
                self.far = false;
                return None;
            };
            open.told = open.runs.frontier();
            Frame::Accept { id: open.id, offset: open.told }
        } else {
            return None;
        };
        let len = frame.emit_of(self.terms.task, out).expect("the caller's buffer takes any frame");
        Some(Transmit { len, payload: None })
    }

    /// The inequalities of this window.
    pub(super) fn invariants(&self) {
        assert!(self.durable <= self.base);
        assert!(self.told.verified <= self.base && self.told.durable <= self.durable);
        assert!(u64::from(self.base) <= self.terms.items);
        for open in self.open.iter().flatten() {
            let slot = self.slot_ref(open.id);
            assert!(slot.open != NOT_OPEN && open.received <= open.size);
            assert!(open.told <= open.runs.frontier() || slot.reset, "what was told has come");
        }
    }

    /// As [`Incoming::invariants`], and those that cost a walk over the window.
    pub(super) fn thorough(&self) {
        self.invariants();
        let count =
            |which: &dyn Fn(&Slot) -> bool| self.slots.iter().filter(|slot| which(slot)).count() as u32;
        let whole = count(&|slot| matches!(slot.state, ItemIn::Finishing | ItemIn::Verified));
        let to_answer = |slot: &Slot| slot.state == ItemIn::Opened && !slot.awaits_offer;
        let accepts = count(&|slot| to_answer(slot) && !slot.kept);
        let tells = count(&|slot| to_answer(slot) && slot.kept);
        let agains = count(&|slot| slot.state == ItemIn::Failing);
        let skips = count(&|slot| slot.skip && slot.state == ItemIn::Verified);
        let resets = count(&|slot| slot.reset);
        assert_eq!(
            (self.whole, self.accepts, self.tells, self.agains, self.skips, self.resets),
            (whole, accepts, tells, agains, skips, resets),
            "counts are what is counted"
        );
        let offer_bytes: u32 = self.slots.iter().map(|slot| u32::from(slot.offer_len)).sum();
        assert_eq!(self.offer_bytes, offer_bytes, "bytes of offers are counted twice");
        let opened = count(&|slot| slot.open != NOT_OPEN) as usize;
        assert_eq!(self.open.iter().flatten().count(), opened, "open items have a slot each");
    }
}
