//! The direction in which this side joins: requests, preflight, and tasks that come one after another.

use super::command::{Command, Event, Transmit};
use super::config::Terms;
use super::error::{Misbehaviour, SessionError};
use super::incoming::{self, Incoming};
use super::life::{TakingInput, TakingState, TaskIn, TaskInInput as Input};
use super::reports::Reports;
use super::{SMALL_BYTES, SMALL_ITEMS};
use crate::id::{ItemId, TaskId};
use crate::integrity::Integrity;
use crate::reason::Side;
use crate::wire::{ChunkLen, Complete, DigestPart, Frame, Kind, Request, TASKS, Task};

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: TaskIn,
    terms: Option<Terms>,
    /// It was announced or refused on this connection.
    answered: bool,
    /// Members of its digest that have come on this connection.
    digest_come: u16,
    /// Begin must be said on this connection.
    begin: bool,
}

impl Entry {
    /// Whether the announcement is whole, on this connection.
    fn is_announced(&self) -> bool {
        self.answered && self.terms.is_some_and(|terms| terms.digest_members == self.digest_come)
    }
}

const REQUESTED: Entry =
    Entry { state: TaskIn::Requested, terms: None, answered: false, digest_come: 0, begin: false };

/// What a joiner demands and takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demands {
    pub(super) integrity: Integrity,
    pub(super) lanes: u16,
    pub(super) chunk: ChunkLen,
    pub(super) max_retries: u8,
    /// Nothing of an earlier run is there.
    pub(super) fresh: bool,
}

pub(super) struct Taking<const LANES: usize, const WINDOW: usize> {
    state: TakingState,
    demands: Demands,
    requests: u16,
    tasks: [Entry; TASKS],
    /// The task under way.
    current: TaskId,
    /// Prepare must be said on this connection.
    prepare: bool,
    /// The current task's items come into the window.
    started: bool,
    /// What the provider said of the current task at its end.
    complete: Option<Complete>,
    /// A task of which the provider must hear that this side has the same.
    agree: Option<TaskId>,
    /// The connection was lost before.
    lost: bool,
    pub(super) window: Incoming<LANES, WINDOW>,
}

impl<const LANES: usize, const WINDOW: usize> Taking<LANES, WINDOW> {
    /// A direction that requests `requests` tasks.
    ///
    /// # Panics
    /// If these are more than [`TASKS`].
    pub(super) fn new(requests: u16, demands: Demands) -> Self {
        assert!(usize::from(requests) <= TASKS, "at most TASKS requests");
        Self {
            state: TakingState::Preparing,
            demands,
            requests,
            tasks: [REQUESTED; TASKS],
            current: TaskId(0),
            prepare: false,
            started: false,
            complete: None,
            agree: None,
            lost: false,
            window: Incoming::idle(),
        }
    }

    pub(super) const fn state(&self) -> TakingState {
        self.state
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, TakingState::Over)
    }

    /// Nothing will be taken.
    pub(super) const fn close(&mut self) {
        self.state = TakingState::Over;
    }

    /// Whether the peer must still send something.
    pub(super) const fn needs_peer(&self) -> bool {
        matches!(self.state, TakingState::Preparing | TakingState::Streaming)
    }

    fn tasks(&self) -> &[Entry] {
        &self.tasks[..usize::from(self.requests)]
    }

    /// What is agreed of the task under way.
    pub(super) const fn terms(&self) -> Option<Terms> {
        self.tasks[self.current.index()].terms
    }

    /// Data lanes that announced tasks were granted.
    pub(super) fn lanes(&self) -> u16 {
        self.tasks().iter().filter_map(|entry| entry.terms).map(|terms| terms.lanes).max().unwrap_or(0)
    }

    /// Data lanes that a task may be granted yet.
    pub(super) fn demanded_lanes(&self) -> u16 {
        let awaited = self.needs_peer() && self.tasks().iter().any(|entry| !entry.answered);
        if awaited { self.demands.lanes } else { 0 }
    }

    /// Whether a task's preflight has passed, and the provider has announced it on this connection.
    pub(super) fn is_begun(&self) -> bool {
        let begun = |entry: &Entry| entry.state == TaskIn::Begun && entry.is_announced();
        self.tasks().iter().any(begun)
    }

    /// Whether a task is under way that needs data lanes.
    pub(super) fn needs_lanes(&self) -> bool {
        let moving = self.tasks[self.current.index()].state == TaskIn::Begun;
        self.needs_peer() && moving && self.terms().is_some_and(|terms| !terms.small)
    }

    fn on(&mut self, task: TaskId, input: Input) -> Option<TaskIn> {
        let entry = &mut self.tasks[task.index()];
        entry.state = entry.state.on(input)?;
        Some(entry.state)
    }

    fn advance(&mut self, input: TakingInput) {
        self.state = self.state.on(input).expect("directions go one way");
    }

    /// The connection stands: Prepare is said.
    pub(super) fn begin(&mut self, reports: &mut Reports) {
        if self.is_over() {
            return;
        }
        self.prepare = true;
        self.settle(reports);
    }

    /// Encodes the request of a task. Prepare goes before the first of them.
    pub(super) fn request(&self, task: TaskId, state_id: &[u8], selector: &[u8], out: &mut [u8]) -> usize {
        let request = Request {
            integrity: self.demands.integrity,
            fresh: self.demands.fresh,
            agreed: self.tasks[task.index()].state == TaskIn::Agreed,
            lanes: self.demands.lanes,
            chunk: self.demands.chunk,
            state_id,
            selector,
        };
        Frame::Request(request).emit_of(task, out).expect("the caller's buffer takes any frame")
    }

    pub(super) fn announced(
        &mut self,
        task: TaskId,
        frame: &Task<'_>,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        let wrong = SessionError::Misbehaved(Misbehaviour::Task);
        let too_much = frame.lanes > self.demands.lanes
            || frame.chunk > self.demands.chunk
            || frame.items > u64::from(u32::MAX)
            || (frame.small
                && (frame.items > SMALL_ITEMS || frame.bytes.is_none_or(|bytes| bytes > SMALL_BYTES)));
        if task.0 >= self.requests || frame.integrity != self.demands.integrity || too_much {
            return Err(wrong);
        }
        let terms = Terms::from(frame);
        let entry = &mut self.tasks[task.index()];
        if core::mem::replace(&mut entry.answered, true) {
            return Err(unexpected(Kind::Task));
        }
        let first = entry.terms.is_none();
        if entry.terms.is_some_and(|before| before != terms) {
            return Err(SessionError::Changed);
        }
        entry.terms = Some(terms);
        self.on(task, Input::Announce).ok_or(unexpected(Kind::Task))?;
        if first {
            reports.event(Event::Prepared { side: Side::Joiner, task });
        }
        self.digested(task, reports);
        Ok(())
    }

    pub(super) fn digest(
        &mut self,
        task: TaskId,
        part: &DigestPart<'_>,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        let entry = &mut self.tasks[task.index()];
        let members = entry.terms.map_or(0, |terms| terms.digest_members);
        let in_turn = part.total() == members && part.first() == entry.digest_come;
        if !entry.answered || part.entries().len() == 0 || !in_turn {
            return Err(unexpected(Kind::Digest));
        }
        entry.digest_come += part.entries().len() as u16;
        self.digested(task, reports);
        Ok(())
    }

    /// Preflight begins when the announcement is whole; after a re-dial it goes on, or has passed.
    fn digested(&mut self, task: TaskId, reports: &mut Reports) {
        let entry = &self.tasks[task.index()];
        if !entry.is_announced() {
            return;
        }
        let before = entry.state;
        match self.on(task, Input::Digested).expect("only what is announced has a digest") {
            TaskIn::Preflight if before == TaskIn::Announced => reports.command(Command::Begin { task }),
            TaskIn::Begun | TaskIn::Comparing => self.tasks[task.index()].begin = true,
            _ => {}
        }
        self.settle(reports);
    }

    pub(super) fn refused(&mut self, task: TaskId, reports: &mut Reports) -> Result<(), SessionError> {
        let entry = &mut self.tasks[task.index()];
        let first = entry.state != TaskIn::Refused;
        let answered = core::mem::replace(&mut entry.answered, true);
        if answered || task.0 >= self.requests || self.on(task, Input::Refuse).is_none() {
            return Err(unexpected(Kind::Refused));
        }
        if first {
            reports.event(Event::Refused { side: Side::Joiner, task });
        }
        self.settle(reports);
        Ok(())
    }

    /// Preflight has passed.
    pub(super) fn begun(&mut self, task: TaskId, reports: &mut Reports) {
        self.on(task, Input::Begin).expect("begun answers Begin");
        // After a re-dial it is said once the task was announced again.
        self.tasks[task.index()].begin = self.tasks[task.index()].is_announced();
        self.settle(reports);
        if self.is_current(task) && self.complete.is_some() {
            self.compare(task, reports);
        }
    }

    /// Begins the next task if its turn has come, and sees whether all are settled.
    fn settle(&mut self, reports: &mut Reports) {
        while self.current.0 < self.requests {
            let task = self.current;
            let entry = self.tasks[task.index()];
            match (entry.state, entry.terms) {
                (TaskIn::Agreed | TaskIn::Refused, _) if task.0 + 1 < self.requests => {
                    self.current.0 += 1;
                    self.started = false;
                }
                (TaskIn::Agreed | TaskIn::Refused, _) => return self.settled(reports),
                (TaskIn::Begun, Some(terms)) => return self.start(task, terms, reports),
                // A small task's items come without waiting for preflight.
                (TaskIn::Preflight, Some(terms)) if terms.small => return self.start(task, terms, reports),
                _ => return,
            }
        }
        self.settled(reports);
    }

    fn start(&mut self, task: TaskId, terms: Terms, reports: &mut Reports) {
        if core::mem::replace(&mut self.started, true) {
            return;
        }
        if self.state == TakingState::Preparing {
            self.advance(TakingInput::Stream);
        }
        self.complete = None;
        self.window.start(incoming::Terms {
            task,
            integrity: terms.integrity,
            chunk: terms.chunk,
            small: terms.small,
            max_retries: self.demands.max_retries,
            items: terms.items,
            again: self.lost,
        });
        reports.event(Event::Streaming { side: Side::Joiner, task });
    }

    fn settled(&mut self, reports: &mut Reports) {
        // What this side agrees to is said before it says that it has installed it.
        if !self.needs_peer() || self.agree.is_some() {
            return;
        }
        if self.tasks().iter().any(|entry| entry.state == TaskIn::Agreed) {
            self.advance(TakingInput::AllAgreed);
            reports.command(Command::MakeDurable);
        } else {
            self.advance(TakingInput::Nothing);
        }
    }

    /// Frames about items are about the task under way, once it may stream.
    pub(super) fn is_current(&self, task: TaskId) -> bool {
        task == self.current && self.started && self.state == TakingState::Streaming
    }

    /// Whether all of the task has come, and is what the provider has.
    pub(super) fn is_agreed(&self, task: TaskId) -> bool {
        self.tasks().get(task.index()).is_some_and(|entry| entry.state == TaskIn::Agreed)
    }

    /// Whether the task was refused, on whatever connection.
    pub(super) fn is_refused(&self, task: TaskId) -> bool {
        self.tasks().get(task.index()).is_some_and(|entry| entry.state == TaskIn::Refused)
    }

    /// Count, bytes and root that the provider has; all items must have come.
    pub(super) fn complete(
        &mut self,
        task: TaskId,
        complete: Complete,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        let count = SessionError::Misbehaved(Misbehaviour::Count);
        // Said again on a new connection.
        let state = self.tasks[task.index()].state;
        if self.complete == Some(complete) && matches!(state, TaskIn::Comparing | TaskIn::Preflight) {
            return Ok(());
        }
        if !self.is_current(task) || self.complete.is_some() {
            return Err(unexpected(Kind::Complete));
        }
        let Some(terms) = self.terms() else { return Err(unexpected(Kind::Complete)) };
        if !self.window.is_complete()
            || complete.items != terms.items
            || terms.bytes.is_some_and(|bytes| bytes != complete.bytes)
        {
            return Err(count);
        }
        if complete.root.integrity != terms.integrity {
            return Err(SessionError::Misbehaved(Misbehaviour::Checksum(ItemId(0))));
        }
        self.complete = Some(complete);
        // A small task may be over before its preflight is.
        if state != TaskIn::Preflight {
            self.compare(task, reports);
        }
        Ok(())
    }

    /// All has come: count, bytes and root are compared.
    fn compare(&mut self, task: TaskId, reports: &mut Reports) {
        self.on(task, Input::Complete).expect("what is under way has begun");
        reports.command(Command::SumUp { side: Side::Joiner, task });
    }

    /// This side's count, bytes and root.
    pub(super) fn root(
        &mut self,
        task: TaskId,
        ours: Complete,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        if self.complete != Some(ours) {
            return Err(SessionError::RootMismatch);
        }
        self.on(task, Input::Agree).expect("a root answers SumUp");
        self.agree = Some(task);
        reports.event(Event::Agreed { side: Side::Joiner, task });
        self.settle(reports);
        Ok(())
    }

    pub(super) fn durable(&mut self, reports: &mut Reports) {
        self.advance(TakingInput::Durable);
        self.window.all_durable();
        reports.event(Event::Durable);
    }

    pub(super) fn installing(&mut self) {
        self.state = self.state.on(TakingInput::Install).expect("only what is durable is installed");
    }

    pub(super) fn installed(&mut self, reports: &mut Reports) {
        self.state = self.state.on(TakingInput::Installed).expect("installing comes first");
        reports.event(Event::Installed { side: Side::Joiner });
    }

    /// The connection was lost: Prepare begins again on the next one.
    pub(super) fn lose(&mut self, reports: &mut Reports) {
        self.prepare = false;
        // What this side agreed to is said with its request.
        if self.agree.take().is_some() {
            self.settle(reports);
        }
        self.lost = true;
        for entry in &mut self.tasks {
            (entry.answered, entry.digest_come, entry.begin) = (false, 0, false);
        }
        if self.started {
            self.window.lose();
        }
    }

    /// The next frame for lane 0.
    /// Encodes what is kept of an item.
    pub(super) fn kept(&self, id: ItemId, offset: u64, sums: &[u8], out: &mut [u8]) -> usize {
        let frame = Frame::Kept { id, offset, integrity: self.demands.integrity, sums };
        frame.emit_of(self.current, out).expect("the caller's buffer takes any frame")
    }

    pub(super) fn poll_transmit(&mut self, out: &mut [u8], reports: &mut Reports) -> Option<Transmit> {
        let (task, frame) = if core::mem::take(&mut self.prepare) {
            for task in 0..self.requests {
                reports.command(Command::Request { task: TaskId(task) });
            }
            (TaskId(0), Frame::Prepare { requests: self.requests })
        } else if let Some(at) = self.tasks().iter().position(|entry| entry.begin) {
            self.tasks[at].begin = false;
            (TaskId(at as u16), Frame::Begin)
        } else if let Some(task) = self.agree.take() {
            self.settle(reports);
            (task, Frame::Agreed)
        } else if self.started
            && self.state == TakingState::Streaming
            && self.tasks[self.current.index()].is_announced()
        {
            return self.window.poll_transmit(out);
        } else {
            return None;
        };
        let len = frame.emit_of(task, out).expect("the caller's buffer takes any frame");
        Some(Transmit { len, payload: None })
    }

    /// The inequalities of this direction.
    pub(super) fn invariants(&self) {
        assert!(self.current.0 < self.requests || self.requests == 0);
        assert!(self.agree.is_none_or(|task| self.tasks[task.index()].state == TaskIn::Agreed));
        self.window.invariants();
    }
}

const fn unexpected(kind: Kind) -> SessionError {
    SessionError::Misbehaved(Misbehaviour::Unexpected(kind))
}
