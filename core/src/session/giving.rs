//! The direction in which this side provides: requests, announcements, and tasks that stream one after another.

use super::command::{Command, Event, Transmit};
use super::config::{Terms, Totals};
use super::error::{Misbehaviour, SessionError};
use super::life::{GivingInput, GivingState, TaskOut, TaskOutInput as Input};
use super::outgoing::{self, Outgoing};
use super::reports::Reports;
use super::{SMALL_BYTES, SMALL_ITEMS};
use crate::id::{Lane, TaskId};
use crate::integrity::Integrity;
use crate::reason::Side;
use crate::wire::{ChunkLen, Complete, DigestPart, Frame, Kind, Refused, Request, TASKS, Task};

/// What a joiner asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    integrity: Integrity,
    fresh: bool,
    lanes: u16,
    chunk: ChunkLen,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: TaskOut,
    asked: Option<Asked>,
    terms: Option<Terms>,
    /// It was announced or refused on this connection.
    answered: bool,
    /// Members of its digest that are sent, on this connection.
    digest_sent: u16,
    /// The joiner said Begin on this connection.
    begun: bool,
}

const AWAITED: Entry = Entry {
    state: TaskOut::Awaited,
    asked: None,
    terms: None,
    answered: false,
    digest_sent: 0,
    begun: false,
};

/// What a provider may grant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) lanes: u16,
    pub(super) chunk: ChunkLen,
    pub(super) read_depth: u8,
    pub(super) max_retries: u8,
}

pub(super) struct Giving<const LANES: usize, const WINDOW: usize> {
    state: GivingState,
    limits: Limits,
    /// How many requests the joiner has; the same on every connection.
    count: Option<u16>,
    /// The joiner said so on this connection.
    requests: Option<u16>,
    /// Requests that came on this connection.
    requested: u16,
    tasks: [Entry; TASKS],
    /// The task under way.
    current: TaskId,
    complete: Option<Complete>,
    complete_sent: bool,
    pub(super) window: Outgoing<LANES, WINDOW>,
}

impl<const LANES: usize, const WINDOW: usize> Giving<LANES, WINDOW> {
    /// A direction that waits for requests.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            state: GivingState::Preparing,
            limits,
            count: None,
            requests: None,
            requested: 0,
            tasks: [AWAITED; TASKS],
            current: TaskId(0),
            complete: None,
            complete_sent: false,
            window: Outgoing::idle(),
        }
    }

    pub(super) const fn state(&self) -> GivingState {
        self.state
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, GivingState::Over)
    }

    /// Nothing will be given.
    pub(super) const fn close(&mut self) {
        self.state = GivingState::Over;
    }

    /// Whether everything was sent, so that the joiner may have installed it.
    pub(super) fn is_in_doubt(&self) -> bool {
        let settled = |entry: &Entry| {
            let sent = entry.state == TaskOut::Completed && self.complete_sent;
            sent || matches!(entry.state, TaskOut::Agreed | TaskOut::Refused)
        };
        match self.state {
            GivingState::Completed => true,
            GivingState::Streaming => self.tasks().iter().all(settled),
            _ => false,
        }
    }

    fn tasks(&self) -> &[Entry] {
        &self.tasks[..usize::from(self.count.unwrap_or(0))]
    }

    /// What is agreed of the task under way.
    pub(super) const fn terms(&self) -> Option<Terms> {
        self.tasks[self.current.index()].terms
    }

    /// Data lanes that announced tasks were granted.
    pub(super) fn lanes(&self) -> u16 {
        self.tasks.iter().filter_map(|entry| entry.terms).map(|terms| terms.lanes).max().unwrap_or(0)
    }

    /// Whether a task is under way that needs data lanes.
    pub(super) fn needs_lanes(&self) -> bool {
        let moving = matches!(self.tasks[self.current.index()].state, TaskOut::Begun | TaskOut::Streaming);
        moving && self.terms().is_some_and(|terms| !terms.small)
    }

    fn on(&mut self, task: TaskId, input: Input) -> Option<TaskOut> {
        let entry = &mut self.tasks[task.index()];
        entry.state = entry.state.on(input)?;
        Some(entry.state)
    }

    fn advance(&mut self, input: GivingInput) {
        self.state = self.state.on(input).expect("tasks settle once");
    }

    /// The joiner says how many requests will follow.
    pub(super) fn prepare(&mut self, requests: u16, reports: &mut Reports) -> Result<(), SessionError> {
        // What was closed from the start has no count.
        let same = self.count.map_or(!self.is_over(), |count| count == requests);
        if !same || self.requests.replace(requests).is_some() {
            return Err(unexpected(Kind::Prepare));
        }
        self.count = Some(requests);
        self.settle(reports);
        Ok(())
    }

    pub(super) fn request(
        &mut self,
        task: TaskId,
        request: &Request<'_>,
        reports: &mut Reports,
    ) -> Result<(), SessionError> {
        if self.requests.is_none_or(|requests| task.0 >= requests) || task.0 != self.requested {
            return Err(unexpected(Kind::Request));
        }
        self.requested += 1;
        let input = if request.agreed { Input::Known } else { Input::Request };
        let before = self.tasks[task.index()].state;
        let after = self.on(task, input).ok_or(unexpected(Kind::Request))?;
        let entry = &mut self.tasks[task.index()];
        let asked = Asked {
            integrity: request.integrity,
            fresh: request.fresh,
            lanes: request.lanes,
            chunk: request.chunk,
        };
        if entry.terms.is_some_and(|terms| terms.integrity != request.integrity) {
            return Err(SessionError::Misbehaved(Misbehaviour::Task));
        }
        entry.asked = Some(asked);
        match after {
            TaskOut::Agreed if before != TaskOut::Agreed => self.agreed(task, reports),
            TaskOut::Agreed => {}
            _ => reports.command(Command::Survey { task }),
        }
        self.settle(reports);
        Ok(())
    }

    /// Whether the joiner asked for the task on this connection, and was not answered. After a re-dial
    /// the answer to what the last connection asked may come first, or second.
    fn awaits_answer(&self, task: TaskId) -> bool {
        task.0 < self.requested && !self.tasks[task.index()].answered
    }

    /// Encodes the announcement of a task, new or (after a re-dial) the same as before; 0 if nobody waits for it.
    pub(super) fn surveyed(
        &mut self,
        task: TaskId,
        totals: &Totals<'_>,
        out: &mut [u8],
        reports: &mut Reports,
    ) -> Result<usize, SessionError> {
        if !self.awaits_answer(task) {
            return Ok(0);
        }
        let again = self.on(task, Input::Announce).expect("a survey answers a request") != TaskOut::Announced
            || self.tasks[task.index()].terms.is_some();
        let asked = self.tasks[task.index()].asked.expect("a survey answers a request");
        let small = totals.items <= SMALL_ITEMS && totals.bytes.is_some_and(|bytes| bytes <= SMALL_BYTES);
        let frame = Task {
            integrity: asked.integrity,
            shape: totals.shape,
            small,
            lanes: if small { 0 } else { asked.lanes.min(self.limits.lanes) },
            chunk: asked.chunk.min(self.limits.chunk),
            items: totals.items,
            bytes: totals.bytes,
            allocated: totals.allocated,
            longest_name: totals.longest_name,
            snapshot: totals.snapshot,
            digest_members: totals.digest_members,
            app_meta: totals.app_meta,
        };
        let terms = Terms::from(&frame);
        if again && self.tasks[task.index()].terms != Some(terms) {
            return Err(SessionError::Misbehaved(Misbehaviour::Task));
        }
        let entry = &mut self.tasks[task.index()];
        (entry.terms, entry.answered) = (Some(terms), true);
        let len = Frame::Task(frame).emit_of(task, out).expect("the caller's buffer takes any frame");
        reports.event(Event::Prepared { side: Side::Provider, task });
        if terms.digest_members > 0 {
            reports.command(Command::SendDigest { task });
        }
        self.settle(reports);
        Ok(len)
    }

    pub(super) fn refused(
        &mut self,
        task: TaskId,
        refused: &Refused<'_>,
        out: &mut [u8],
        reports: &mut Reports,
    ) -> usize {
        if !self.awaits_answer(task) {
            return 0;
        }
        self.on(task, Input::Refuse).expect("a refusal answers a request");
        self.tasks[task.index()].answered = true;
        let len = Frame::Refused(*refused).emit_of(task, out).expect("the caller's buffer takes any frame");
        reports.event(Event::Refused { side: Side::Provider, task });
        self.settle(reports);
        len
    }

    /// Encodes the next part of a task's digest.
    pub(super) fn digest(
        &mut self,
        task: TaskId,
        part: &DigestPart<'_>,
        out: &mut [u8],
        reports: &mut Reports,
    ) -> usize {
        let entry = &mut self.tasks[task.index()];
        let members = entry.terms.map_or(0, |terms| terms.digest_members);
        let in_turn = part.first() == entry.digest_sent && part.total() == members;
        assert!(in_turn, "a digest is sent in parts, in order, as long as was announced");
        entry.digest_sent += part.entries().len() as u16;
        let len = Frame::Digest(*part).emit_of(task, out).expect("the caller's buffer takes any frame");
        self.settle(reports);
        len
    }

    pub(super) fn begin(&mut self, task: TaskId, reports: &mut Reports) -> Result<(), SessionError> {
        let entry = &mut self.tasks[task.index()];
        let twice = core::mem::replace(&mut entry.begun, true);
        if twice || !self.is_announced(task) {
            return Err(unexpected(Kind::Begin));
        }
        self.on(task, Input::Begin).ok_or(unexpected(Kind::Begin))?;
        if task == self.current && self.state == GivingState::Streaming && self.window.is_paused() {
            self.go_on();
        }
        self.settle(reports);
        Ok(())
    }

    /// Everything of the announcement is sent, on this connection.
    fn is_announced(&self, task: TaskId) -> bool {
        let entry = &self.tasks[task.index()];
        entry.answered && entry.terms.is_some_and(|terms| terms.digest_members == entry.digest_sent)
    }

    /// The connection stands again, and the joiner is ready for the task that was under way.
    const fn go_on(&mut self) {
        self.window.go_on();
        self.complete_sent = false;
    }

    /// Begins the next task if its turn has come, and sees whether all are settled.
    fn settle(&mut self, reports: &mut Reports) {
        let Some(requests) = self.requests.filter(|&requests| requests == self.requested) else { return };
        while self.current.0 < requests {
            let task = self.current;
            let entry = self.tasks[task.index()];
            let small = entry.terms.is_some_and(|terms| terms.small);
            match entry.state {
                TaskOut::Agreed | TaskOut::Refused if task.0 + 1 < requests => self.current.0 += 1,
                TaskOut::Agreed | TaskOut::Refused => return self.settled(),
                TaskOut::Begun => return self.walk(task, reports),
                // A small task does not wait for the joiner's preflight.
                TaskOut::Announced if small && self.is_announced(task) => return self.walk(task, reports),
                TaskOut::Streaming | TaskOut::Summing | TaskOut::Completed
                    if small && self.window.is_paused() && self.is_announced(task) =>
                {
                    return self.go_on();
                }
                _ => return,
            }
        }
        self.settled();
    }

    fn settled(&mut self) {
        if matches!(self.state, GivingState::Preparing | GivingState::Streaming) {
            let sent = self.tasks().iter().any(|entry| entry.state == TaskOut::Agreed);
            self.advance(if sent { GivingInput::AllAgreed } else { GivingInput::Nothing });
        }
    }

    fn walk(&mut self, task: TaskId, reports: &mut Reports) {
        self.on(task, Input::Walk).expect("looked at by the caller");
        if self.state == GivingState::Preparing {
            self.advance(GivingInput::Stream);
        }
        let entry = self.tasks[task.index()];
        let (Some(asked), Some(terms)) = (entry.asked, entry.terms) else {
            unreachable!("what begins was requested and announced");
        };
        self.window.start(outgoing::Terms {
            task,
            chunk: terms.chunk,
            small: terms.small,
            fresh: asked.fresh,
            read_depth: self.limits.read_depth,
            max_retries: self.limits.max_retries,
            checked: terms.integrity != Integrity::None,
        });
        (self.complete, self.complete_sent) = (None, false);
        reports.command(Command::Walk { task });
        reports.event(Event::Streaming { side: Side::Provider, task });
    }

    /// Frames about items are about the task under way.
    pub(super) fn is_current(&self, task: TaskId) -> bool {
        task == self.current && self.state == GivingState::Streaming
    }

    /// The next thing to do for the task under way.
    pub(super) fn poll_command(&mut self) -> Option<Command> {
        if self.is_over() {
            return None;
        }
        self.window.poll_reoffer().or_else(|| self.window.poll_read()).or_else(|| self.poll_sum_up())
    }

    /// Everything of the task is verified: sum up.
    fn poll_sum_up(&mut self) -> Option<Command> {
        if !self.window.poll_all_verified() {
            return None;
        }
        let task = self.current;
        self.on(task, Input::SumUp).expect("only what streams is verified");
        Some(Command::SumUp { side: Side::Provider, task })
    }

    pub(super) fn root(&mut self, task: TaskId, complete: Complete) {
        self.on(task, Input::Complete).expect("a root answers SumUp");
        self.complete = Some(complete);
    }

    /// The joiner has the same as this side.
    pub(super) fn agree(&mut self, task: TaskId, reports: &mut Reports) -> Result<(), SessionError> {
        if !self.is_current(task) || !self.complete_sent || self.on(task, Input::Agree).is_none() {
            return Err(unexpected(Kind::Agreed));
        }
        self.agreed(task, reports);
        self.settle(reports);
        Ok(())
    }

    fn agreed(&mut self, task: TaskId, reports: &mut Reports) {
        self.complete_sent = true;
        reports.event(Event::Agreed { side: Side::Provider, task });
    }

    /// The joiner has installed everything.
    pub(super) fn installed(&mut self, reports: &mut Reports) -> Result<(), SessionError> {
        self.state = self.state.on(GivingInput::Installed).ok_or(unexpected(Kind::Installed))?;
        reports.event(Event::Installed { side: Side::Provider });
        Ok(())
    }

    /// The connection was lost: Prepare begins again on the next one.
    pub(super) fn lose(&mut self) {
        (self.requests, self.requested) = (None, 0);
        for entry in &mut self.tasks {
            (entry.answered, entry.digest_sent, entry.begun) = (false, 0, false);
        }
        self.window.lose();
    }

    pub(super) fn poll_transmit(&mut self, lane: Lane, out: &mut [u8]) -> Option<Transmit> {
        if self.is_over() {
            return None;
        }
        if let Some(transmit) = self.window.poll_transmit(lane, out) {
            return Some(transmit);
        }
        if lane != Lane::CONTROL || self.complete_sent || self.window.is_paused() {
            return None;
        }
        let frame = Frame::Complete(self.complete?);
        self.complete_sent = true;
        let len = frame.emit_of(self.current, out).expect("the caller's buffer takes any frame");
        Some(Transmit { len, payload: None })
    }

    /// The inequalities of this direction.
    pub(super) fn invariants(&self) {
        assert!(self.requests.is_none_or(|requests| self.requested <= requests));
        assert!(!self.complete_sent || self.complete.is_some(), "what is sent is known");
        self.window.invariants();
    }
}

const fn unexpected(kind: Kind) -> SessionError {
    SessionError::Misbehaved(Misbehaviour::Unexpected(kind))
}
