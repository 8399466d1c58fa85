//! The joiner's half of a session: items opened, received, compared, verified, and asked for again.
//!
//! ```text
//!          Offer              handle_opened (or at once, if eager)      all bytes + End
//!   Free ─────────▶ Opening ─────────────────────────────▶ Receiving ─────────────────▶ Finishing
//!    ▲   (no content: straight to Finishing)                 │  ▲                        │     │
//!    │                                     a checksum failed │  │ Offer, next attempt    │     │ matched
//!    │                                                       ▼  │                        ▼     ▼
//!    └──────────── watermark ◀── Verified          Failing (Again is sent) ◀─── mismatch    Verified
//! ```

use heapless::Deque;

use super::command::{Command, Payload, Receive, Transmit};
use super::error::{Misbehaviour, SessionError};
use super::runs::Runs;
use super::{COMMANDS, EAGER_MAX, OPEN_ITEMS};
use crate::id::{ItemId, Lane};
use crate::integrity::{Integrity, RUN_LEN};
use crate::item::Item;
use crate::wire::{ChunkLen, Complete, End, Frame, Grades, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    Free,
    Opening,
    Opened,
    Receiving,
    Finishing,
    Failing,
    Asked,
    Verified,
}

const NOT_OPEN: u8 = u8::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    attempt: u8,
    /// Its place in the table of open items; [`NOT_OPEN`] for eager ones and those without content.
    open: u8,
    stream: bool,
    size: u64,
    /// Bytes that have come.
    received: u64,
}

const FREE: Slot =
    Slot { state: State::Free, attempt: 0, open: NOT_OPEN, stream: false, size: 0, received: 0 };

/// An item whose content comes after its offer was accepted, perhaps on several lanes.
#[derive(Clone, Debug)]
struct Open {
    id: ItemId,
    runs: Runs,
    /// The provider was told that everything before this offset has come.
    told: u64,
    end: Option<End>,
}

/// How many bytes of runs may come before the provider is told.
const TELL_EVERY: u64 = 4 * RUN_LEN;

/// What the task of this half looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) integrity: Integrity,
    pub(super) chunk: ChunkLen,
    pub(super) small: bool,
    pub(super) max_retries: u8,
    pub(super) items: u64,
    pub(super) bytes: Option<u64>,
}

pub(super) struct Incoming<const LANES: usize, const WINDOW: usize> {
    terms: Terms,
    slots: [Slot; WINDOW],
    open: [Option<Open>; OPEN_ITEMS as usize],
    /// The first item that is not verified.
    base: u32,
    durable: u32,
    /// Items in state Opened, Failing: their answers wait for lane 0.
    accepts: u16,
    agains: u16,
    /// Some item has failed: frames of its old attempt may still come.
    retried: bool,
    told: Grades,
    /// A payload that was announced and has not come, a lane each, with its item's attempt.
    announced: [Option<Announced>; LANES],
    complete: Option<Complete>,
    pub(super) commands: Deque<Command, COMMANDS>,
}

/// What a payload turned out to be.
pub(super) enum Arrival {
    /// What was sent, and it belongs to its item.
    Wanted,
    /// Of an attempt that has failed.
    Stale,
    /// Not what was sent: its item failed.
    Broken { id: ItemId, attempt: u8 },
}

#[derive(Clone, Copy, Debug)]
struct Announced {
    receive: Receive,
    crc: Option<u32>,
    attempt: u8,
}

const fn misbehaved(how: Misbehaviour) -> SessionError {
    SessionError::Misbehaved(how)
}

impl<const LANES: usize, const WINDOW: usize> Incoming<LANES, WINDOW> {
    pub(super) const fn new(terms: Terms) -> Self {
        Self {
            terms,
            slots: [FREE; WINDOW],
            open: [const { None }; OPEN_ITEMS as usize],
            base: 0,
            durable: 0,
            accepts: 0,
            agains: 0,
            retried: false,
            told: Grades { verified: 0, durable: 0 },
            announced: [None; LANES],
            complete: None,
            commands: Deque::new(),
        }
    }

    fn command(&mut self, command: Command) {
        self.commands.push_back(command).expect("commands are drained after every call");
    }

    const fn slot(&mut self, id: ItemId) -> &mut Slot {
        &mut self.slots[id.0 as usize % WINDOW]
    }

    /// The item's slot, if `id` lies in the window.
    fn known(&mut self, kind: Kind, id: ItemId) -> Result<&mut Slot, SessionError> {
        if id.0 < self.base || id.0 - self.base >= WINDOW as u32 {
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
    ) -> Result<(), SessionError> {
        let has_content = item.what.has_content();
        let on_right_lane = if eager { self.carries(lane) } else { lane == Lane::CONTROL };
        if !on_right_lane {
            return Err(misbehaved(Misbehaviour::WrongLane(Kind::Offer)));
        }
        let too_many = u64::from(id.0) >= self.terms.items;
        let limit = u64::from(EAGER_MAX);
        let slot = self.known(Kind::Offer, id)?;
        let fits = match slot.state {
            State::Free => attempt == 0,
            State::Asked => attempt == slot.attempt,
            _ => false,
        };
        let eager_fits = !eager || (has_content && item.what.size().is_some_and(|size| size <= limit));
        if !fits || !eager_fits || too_many {
            return Err(misbehaved(Misbehaviour::Item(Kind::Offer, id)));
        }
        *slot = Slot {
            state: if !has_content {
                State::Finishing
            } else if eager {
                State::Receiving
            } else {
                State::Opening
            },
            attempt,
            open: NOT_OPEN,
            stream: item.what.size().is_none(),
            size: item.what.size().unwrap_or(u64::MAX),
            received: 0,
        };
        if has_content && !eager {
            let Some(at) = self.open.iter().position(Option::is_none) else {
                return Err(misbehaved(Misbehaviour::Item(Kind::Offer, id)));
            };
            self.open[at] = Some(Open { id, runs: Runs::default(), told: 0, end: None });
            self.slot(id).open = at as u8;
        }
        self.command(Command::Open { id });
        Ok(())
    }

    pub(super) fn opened(&mut self, id: ItemId) {
        let slot = self.slot(id);
        assert!(slot.state == State::Opening, "opened answers Open of an item that is not eager");
        slot.state = State::Opened;
        self.accepts += 1;
    }

    /// Checks that content frames of `attempt` fit the item; `Ok(false)`: drop them.
    fn takes(&mut self, kind: Kind, lane: Lane, id: ItemId, attempt: u8) -> Result<bool, SessionError> {
        if !self.carries(lane) {
            return Err(misbehaved(Misbehaviour::WrongLane(kind)));
        }
        // Late on a slow lane, of an attempt that failed, when the next one has made it already.
        if id.0 < self.base && self.retried {
            return Ok(false);
        }
        let slot = self.known(kind, id)?;
        match slot.state {
            State::Receiving if attempt == slot.attempt => Ok(true),
            State::Free => Err(misbehaved(Misbehaviour::Item(kind, id))),
            _ if attempt < slot.attempt => Ok(false),
            _ => Err(misbehaved(Misbehaviour::Item(kind, id))),
        }
    }

    fn take_bytes(&mut self, id: ItemId, offset: u64, len: u64) -> Result<(), SessionError> {
        let slot = *self.slot(id);
        let wrong = misbehaved(Misbehaviour::Offset(id, offset));
        let end = offset.checked_add(len).filter(|&end| end <= slot.size).ok_or(wrong)?;
        let belongs = match self.open.get_mut(usize::from(slot.open)).and_then(Option::as_mut) {
            Some(open) => open.runs.take(offset, len, slot.size),
            None => offset == slot.received && end <= slot.size,
        };
        if !belongs {
            return Err(wrong);
        }
        self.slot(id).received += len;
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
        let chunk = u64::from(self.terms.chunk.bytes());
        if len == 0 || u64::from(len) > chunk || offset / chunk != (offset + u64::from(len) - 1) / chunk {
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

    pub(super) fn receive(&self, lane: Lane) -> Option<Receive> {
        self.announced[lane.index()].map(|announced| announced.receive)
    }

    /// The announced payload has come, with this checksum.
    pub(super) fn payload(
        &mut self,
        lane: Lane,
        len: u32,
        crc: Option<u32>,
    ) -> Result<Arrival, SessionError> {
        let Some(announced) = self.announced[lane.index()].take() else {
            panic!("a payload is handled after its header");
        };
        let Receive::Place(payload) = announced.receive else { return Ok(Arrival::Stale) };
        assert!(payload.len == len, "a payload is handled whole");
        if announced.crc.is_some() && announced.crc != crc {
            if self.slot(payload.id).attempt != announced.attempt {
                return Ok(Arrival::Stale);
            }
            return self.fail_item(payload.id).map(|attempt| Arrival::Broken { id: payload.id, attempt });
        }
        let wanted = {
            let slot = self.slot(payload.id);
            slot.state == State::Receiving && slot.attempt == announced.attempt
        };
        if !wanted {
            return Ok(Arrival::Stale);
        }
        self.finish_if_all(payload.id);
        Ok(Arrival::Wanted)
    }

    pub(super) fn hole(
        &mut self,
        lane: Lane,
        id: ItemId,
        attempt: u8,
        offset: u64,
        len: u64,
        run_end: bool,
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
            self.command(Command::Hole { id, offset, len, run_end });
            self.finish_if_all(id);
        }
        Ok(())
    }

    pub(super) fn end(&mut self, lane: Lane, id: ItemId, attempt: u8, end: End) -> Result<(), SessionError> {
        if end.checksum.integrity() != self.terms.integrity {
            return Err(misbehaved(Misbehaviour::Checksum(id)));
        }
        if !self.takes(Kind::End, lane, id, attempt)? {
            return Ok(());
        }
        let slot = *self.slot(id);
        if slot.stream {
            self.slot(id).size = end.size;
        }
        if self.slot(id).size != end.size || slot.received > end.size {
            return Err(misbehaved(Misbehaviour::Size(id)));
        }
        match self.open.get_mut(usize::from(slot.open)).and_then(Option::as_mut) {
            Some(open) if open.end.is_some() => Err(misbehaved(Misbehaviour::Item(Kind::End, id))),
            Some(open) => {
                open.end = Some(end);
                self.finish_if_all(id);
                Ok(())
            }
            // On one lane nothing of an item comes after its end.
            None if slot.received != end.size => Err(misbehaved(Misbehaviour::Size(id))),
            None => {
                self.finish(id, end);
                Ok(())
            }
        }
    }

    /// An open item is finished when its end and all its bytes have come, in whatever order.
    fn finish_if_all(&mut self, id: ItemId) {
        let slot = *self.slot(id);
        if slot.state != State::Receiving || slot.received != slot.size {
            return;
        }
        let announced = |a: &Announced| matches!(a.receive, Receive::Place(payload) if payload.id == id);
        if self.announced.iter().flatten().any(announced) {
            return;
        }
        if let Some(Open { end: Some(end), .. }) =
            self.open.get(usize::from(slot.open)).and_then(Option::as_ref)
        {
            self.finish(id, *end);
        }
    }

    fn finish(&mut self, id: ItemId, end: End) {
        self.slot(id).state = State::Finishing;
        self.command(Command::Finish { id, size: end.size, checksum: end.checksum });
    }

    /// The item was compared and completed, or does not match; returns how often it has failed.
    pub(super) fn finished(&mut self, id: ItemId, matched: bool) -> Result<Option<u8>, SessionError> {
        assert!(self.slot(id).state == State::Finishing, "finished answers Finish or Open");
        if !matched {
            return self.fail_item(id).map(Some);
        }
        self.close(id);
        self.slot(id).state = State::Verified;
        while self.slot(ItemId(self.base)).state == State::Verified {
            *self.slot(ItemId(self.base)) = FREE;
            self.base += 1;
        }
        Ok(None)
    }

    fn close(&mut self, id: ItemId) {
        let at = usize::from(self.slot(id).open);
        if let Some(open) = self.open.get_mut(at) {
            *open = None;
        }
        self.slot(id).open = NOT_OPEN;
    }

    fn fail_item(&mut self, id: ItemId) -> Result<u8, SessionError> {
        self.close(id);
        let max_retries = self.terms.max_retries.min(14);
        let slot = self.slot(id);
        slot.attempt += 1;
        slot.state = State::Failing;
        let attempts = slot.attempt;
        if attempts > max_retries {
            return Err(SessionError::ItemFailed { id, attempts });
        }
        self.agains += 1;
        self.retried = true;
        self.command(Command::Discard { id });
        Ok(attempts)
    }

    /// Count, bytes and root that the provider has; all items must have come.
    pub(super) fn complete(&mut self, complete: Complete) -> Result<(), SessionError> {
        if self.complete.is_some()
            || complete.items != u64::from(self.base)
            || complete.items != self.terms.items
            || self.terms.bytes.is_some_and(|bytes| bytes != complete.bytes)
        {
            return Err(misbehaved(Misbehaviour::Count));
        }
        if complete.root.integrity != self.terms.integrity {
            return Err(misbehaved(Misbehaviour::Checksum(ItemId(self.base))));
        }
        self.complete = Some(complete);
        self.command(Command::SumUp);
        Ok(())
    }

    pub(super) const fn all_durable(&mut self) {
        self.durable = self.base;
    }

    pub(super) const fn grades(&self) -> Grades {
        Grades { verified: self.base, durable: self.durable }
    }

    fn first_in(&self, state: State) -> Option<ItemId> {
        (0..WINDOW as u32)
            .map(|n| ItemId(self.base.wrapping_add(n)))
            .find(|id| self.slots[id.0 as usize % WINDOW].state == state)
    }

    pub(super) fn poll_transmit(&mut self, out: &mut [u8]) -> Result<Option<Transmit>, SessionError> {
        let frame = if self.accepts > 0
            && let Some(id) = self.first_in(State::Opened)
        {
            self.accepts -= 1;
            self.slot(id).state = State::Receiving;
            Frame::Accept { id, offset: 0 }
        } else if self.agains > 0
            && let Some(id) = self.first_in(State::Failing)
        {
            self.agains -= 1;
            self.slot(id).state = State::Asked;
            Frame::Again { id }
        } else if self.grades() != self.told {
            self.told = self.grades();
            Frame::Grades(self.told)
        } else if let Some(open) =
            self.open.iter_mut().flatten().find(|open| open.runs.frontier() - open.told >= TELL_EVERY)
        {
            open.told = open.runs.frontier();
            Frame::Accept { id: open.id, offset: open.told }
        } else {
            return Ok(None);
        };
        let len = frame.emit(out).map_err(SessionError::Invalid)?;
        Ok(Some(Transmit { len, payload: None }))
    }

    /// The inequalities of this half.
    pub(super) fn invariants(&self) {
        assert!(self.durable <= self.base);
        assert!(self.told.verified <= self.base && self.told.durable <= self.durable);
        assert!(u64::from(self.base) <= self.terms.items);
        for open in self.open.iter().flatten() {
            let slot = &self.slots[open.id.0 as usize % WINDOW];
            assert!(slot.open != NOT_OPEN && slot.received <= slot.size && open.told <= open.runs.frontier());
        }
    }

    /// What the provider said at the end.
    pub(super) const fn expected(&self) -> Option<Complete> {
        self.complete
    }
}
