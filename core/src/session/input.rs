//! What happened: every `handle_*` of a session, and what it does to the state. Those of lanes and of time are in
//! `lanes`.

use core::time::Duration;

use super::incoming::Arrival;
use super::life::{GivingState, Life, TakingState};
use super::{
    Event, Incompatibility, LaneState, Misbehaviour, Offered, ReadPiece, Session, SessionError, Totals,
    capability,
};
use crate::id::{ItemId, Lane, TaskId};
use crate::integrity::{Checksum, Integrity, PREFIX_SUMS_MAX, Root};
use crate::item::Item;
use crate::reason::{Reason, Side};
use crate::time::Instant;
use crate::wire::{Alive, Complete, DigestPart, Failed, Frame, Kind, Refused, Welcome, WireError};

pub(super) const fn unexpected(kind: Kind) -> SessionError {
    SessionError::Misbehaved(Misbehaviour::Unexpected(kind))
}

impl<const LANES: usize, const WINDOW: usize> Session<LANES, WINDOW> {
    /// A frame about `task` came on `lane`. Of [`Frame::Data`] this is the header alone: then
    /// [`Session::poll_receive`] says where the payload goes, and [`Session::handle_payload`] must follow.
    pub fn handle_frame(&mut self, lane: Lane, task: TaskId, frame: &Frame<'_>, now: Instant) {
        if self.is_over() || self.lanes[lane.index()] != LaneState::Up && !self.is_answer(lane, frame) {
            return;
        }
        match self.frame(lane, task, frame, now) {
            Ok(()) if self.life == Life::Open => self.establish(),
            Ok(()) => {}
            Err(error) => self.fail_with(error),
        }
        // It may have been the turn of a task that needs lanes, after they were lost.
        self.need_lanes(Lane(1), now);
        self.settle();
        self.check();
    }

    /// Whether the frame is what a dialler waits for before lane 0 stands.
    fn is_answer(&self, lane: Lane, frame: &Frame<'_>) -> bool {
        let redials = self.life == Life::Reconnecting && self.redial.is_some();
        let waits = self.dialler && (self.life == Life::Greeting || redials);
        let answers =
            matches!(frame.kind(), Kind::Welcome | Kind::Busy | Kind::Failed) || self.life == Life::Greeting;
        waits && lane == Lane::CONTROL && answers
    }

    /// Bytes came on `lane` that are no frame, or broke its checksum: the lane's connection can't be
    /// trusted any more.
    pub fn handle_invalid(&mut self, lane: Lane, error: WireError, now: Instant) {
        if self.is_over() {
            return;
        }
        // A stranger, or another version, does not become another one by dialling again.
        let damaged = matches!(error, WireError::HeaderChecksum | WireError::BodyChecksum | WireError::Magic);
        if damaged && self.life == Life::Open && self.can_resume() {
            return self.handle_lane_lost(lane, now);
        }
        self.fail_with(SessionError::Invalid(error));
        self.check();
    }

    fn frame(
        &mut self,
        lane: Lane,
        task: TaskId,
        frame: &Frame<'_>,
        now: Instant,
    ) -> Result<(), SessionError> {
        let kind = frame.kind();
        if lane != Lane::CONTROL && !matches!(kind, Kind::Offer | Kind::Data | Kind::Hole | Kind::End) {
            return Err(SessionError::Misbehaved(Misbehaviour::WrongLane(kind)));
        }
        match *frame {
            Frame::Failed(failed) => self.peer_failed(&failed, now),
            Frame::Alive(Alive { done }) if self.life == Life::Open => {
                if done > self.peer_done {
                    self.peer_done = done;
                    self.progress(now);
                }
                Ok(())
            }
            Frame::Welcome(welcome) if self.dialler => self.welcomed(&welcome, now),
            Frame::Busy { retry_after_ms } if self.dialler => {
                self.busy(Duration::from_millis(retry_after_ms.into()), now)
            }
            _ if self.life != Life::Open => Err(unexpected(kind)),
            Frame::Prepare { .. }
            | Frame::Request(_)
            | Frame::Begin
            | Frame::Accept { .. }
            | Frame::Kept { .. }
            | Frame::Skip { .. }
            | Frame::Again { .. }
            | Frame::Grades(_)
            | Frame::Agreed
            | Frame::Installed { .. } => self.for_giving(task, frame, now),
            Frame::Task(_)
            | Frame::Refused(_)
            | Frame::Digest(_)
            | Frame::Offer { .. }
            | Frame::Data { .. }
            | Frame::Hole { .. }
            | Frame::End { .. }
            | Frame::Recall { .. }
            | Frame::Complete(_) => self.for_taking(lane, task, frame, now),
            _ => Err(unexpected(kind)),
        }
    }

    /// Frames that a joiner sends.
    fn for_giving(&mut self, task: TaskId, frame: &Frame<'_>, now: Instant) -> Result<(), SessionError> {
        let kind = frame.kind();
        let reports = &mut self.reports;
        let giving = &mut self.giving;
        let mut progressed = true;
        match *frame {
            // A refusal may have been lost with its connection: it is asked for again.
            _ if giving.is_over() && !matches!(kind, Kind::Prepare | Kind::Request) => {
                return Err(unexpected(kind));
            }
            Frame::Prepare { requests } => giving.prepare(requests, reports)?,
            Frame::Request(request) => giving.request(task, &request, reports)?,
            Frame::Begin => {
                giving.begin(task, reports)?;
                self.dial_lanes();
            }
            Frame::Agreed => giving.agree(task, reports)?,
            Frame::Installed { .. } => giving.installed(reports)?,
            _ if !giving.is_current(task) => return Err(unexpected(kind)),
            Frame::Accept { id, offset } => giving.window.accept(id, offset, reports)?,
            Frame::Kept { id, offset, integrity, .. } => {
                if giving.terms().is_none_or(|terms| terms.integrity != integrity) {
                    return Err(SessionError::Misbehaved(Misbehaviour::Checksum(id)));
                }
                giving.window.kept(id, offset, reports)?;
            }
            Frame::Skip { id, end } => giving.window.skip(id, end, reports)?,
            Frame::Again { id } => {
                giving.window.again(id, reports)?;
                progressed = false;
            }
            Frame::Grades(grades) => progressed = giving.window.grades(grades, reports)?,
            _ => return Err(unexpected(kind)),
        }
        if progressed {
            self.progress(now);
        }
        Ok(())
    }

    /// Frames that a provider sends.
    fn for_taking(
        &mut self,
        lane: Lane,
        task: TaskId,
        frame: &Frame<'_>,
        now: Instant,
    ) -> Result<(), SessionError> {
        let kind = frame.kind();
        let reports = &mut self.reports;
        let taking = &mut self.taking;
        let mut progressed = true;
        match *frame {
            // The connection was lost, or an item failed, and another attempt was quicker.
            Frame::Offer { .. }
            | Frame::Data { .. }
            | Frame::Hole { .. }
            | Frame::End { .. }
            | Frame::Recall { .. }
                if taking.is_agreed(task) =>
            {
                taking.window.late(lane, frame)?;
                progressed = false;
            }
            // A peer that speaks while this side installs changes nothing any more.
            _ if taking.state() == TakingState::Installing => return Ok(()),
            // After a re-dial what was refused is refused again, even if nothing is left to take by then.
            Frame::Refused(_) if taking.is_refused(task) => taking.refused(task, reports)?,
            _ if taking.is_over() => return Err(unexpected(kind)),
            Frame::Refused(_) => taking.refused(task, reports)?,
            Frame::Task(frame) => {
                taking.announced(task, &frame, reports)?;
                self.dial_begun();
            }
            Frame::Digest(part) => {
                taking.digest(task, &part, reports)?;
                self.dial_begun();
            }
            Frame::Complete(complete) => taking.complete(task, complete, reports)?,
            _ if !taking.is_current(task) => return Err(unexpected(kind)),
            Frame::Offer { id, eager, attempt, item } => {
                taking.window.offer(lane, id, eager, attempt, &item, reports)?;
            }
            Frame::Data { id, attempt, offset, len, crc, .. } => {
                taking.window.data(lane, id, attempt, offset, len, crc)?;
                self.received(u64::from(len), now);
                progressed = false;
            }
            Frame::Hole { id, attempt, offset, len, run_end } => {
                taking.window.hole(lane, id, attempt, offset, len, run_end, reports)?;
            }
            Frame::End { id, attempt, end } => {
                taking.window.end(lane, id, attempt, end, reports)?;
                progressed = false;
            }
            Frame::Recall { id, attempt } => {
                taking.window.recall(id, attempt, reports)?;
                progressed = false;
            }
            _ => return Err(unexpected(kind)),
        }
        if progressed {
            self.progress(now);
        }
        Ok(())
    }

    /// After a re-dial nobody waits for a preflight that has passed.
    fn dial_begun(&mut self) {
        if self.taking.is_begun() {
            self.dial_lanes();
        }
    }

    /// The payload announced on `lane` has come, `len` bytes whose CRC-32C is `crc` (`None` if it was
    /// not computed). `true`: they are what was sent, and belong where [`Session::poll_receive`] said.
    ///
    /// # Panics
    /// If no payload was announced on the lane, or it had another length.
    #[must_use]
    pub fn handle_payload(&mut self, lane: Lane, len: u32, crc: Option<u32>) -> bool {
        if self.is_over() || self.lanes[lane.index()] != LaneState::Up {
            return false;
        }
        let arrival = self.taking.window.payload(lane, len, crc, &mut self.reports);
        let wanted = match arrival {
            Ok(arrival) => arrival == Arrival::Wanted,
            Err(error) => {
                self.fail_with(error);
                false
            }
        };
        self.check();
        wanted
    }

    /// `bytes` bytes were taken by a lane's connection.
    pub fn handle_sent(&mut self, bytes: u64, now: Instant) {
        self.moved(bytes, now);
    }

    /// `bytes` bytes have come of a payload that is not whole yet.
    pub fn handle_coming(&mut self, bytes: u64, now: Instant) {
        self.received(bytes, now);
    }

    /// Slow work of this side (survey, writing, sync) has come so much further: it is no hang.
    pub fn handle_work(&mut self, more: u64, now: Instant) {
        if more > 0 {
            self.done += more;
            self.progress(now);
        }
    }

    /// Joiner: what a task is to be, as [`super::Command::Request`] asked. Encodes the request into `out` and
    /// returns the frame's length, to be sent on lane 0; 0 if the session is over.
    ///
    /// # Panics
    /// If `state_id` or `selector` are longer than [`crate::wire::STATE_ID_MAX`] and
    /// [`crate::wire::SELECTOR_MAX`], or `out` is shorter than [`crate::wire::FRAME_MAX`].
    #[must_use]
    pub fn handle_request(
        &mut self,
        task: TaskId,
        state_id: &[u8],
        selector: &[u8],
        out: &mut [u8],
    ) -> usize {
        assert!(state_id.len() <= crate::wire::STATE_ID_MAX && selector.len() <= crate::wire::SELECTOR_MAX);
        if self.is_over() { 0 } else { self.taking.request(task, state_id, selector, out) }
    }

    /// Provider: the survey of a task is done. Encodes the task into `out` and returns the frame's length, to be
    /// sent on lane 0; 0 if the session is over, or the connection that asked was replaced.
    ///
    /// # Panics
    /// If no survey was commanded, or `out` is shorter than [`crate::wire::FRAME_MAX`].
    #[must_use]
    pub fn handle_surveyed(
        &mut self,
        task: TaskId,
        totals: &Totals<'_>,
        now: Instant,
        out: &mut [u8],
    ) -> usize {
        if self.is_over() || self.life != Life::Open {
            return 0;
        }
        let len = self.giving.surveyed(task, totals, out, &mut self.reports);
        self.progress(now);
        let len = len.unwrap_or_else(|error| {
            self.fail_with(error);
            0
        });
        self.check();
        len
    }

    /// Provider: the task will not be sent. Encodes the refusal into `out` and returns the frame's length, to be
    /// sent on lane 0; 0 if the session is over, or the connection that asked was replaced.
    ///
    /// # Panics
    /// As [`Session::handle_surveyed`].
    #[must_use]
    pub fn handle_refused(
        &mut self,
        task: TaskId,
        refused: &Refused<'_>,
        now: Instant,
        out: &mut [u8],
    ) -> usize {
        if self.is_over() || self.life != Life::Open {
            return 0;
        }
        let len = self.giving.refused(task, refused, out, &mut self.reports);
        self.progress(now);
        self.settle();
        self.check();
        len
    }

    /// Provider: the next part of a task's digest, as [`super::Command::SendDigest`] asked. Encodes it into `out`
    /// and returns the frame's length, to be sent on lane 0; 0 if the session is over.
    ///
    /// # Panics
    /// If the part is not the next one of as many members as were announced.
    #[must_use]
    pub fn handle_digest(&mut self, task: TaskId, part: &DigestPart<'_>, out: &mut [u8]) -> usize {
        if self.is_over() || self.life != Life::Open {
            return 0;
        }
        let len = self.giving.digest(task, part, out, &mut self.reports);
        self.check();
        len
    }

    /// Provider: whether there is room to offer `item`, the source's next one of the task under way, now.
    #[must_use]
    pub fn can_offer(&self, item: &Item<'_>) -> bool {
        self.gives() && self.giving.window.can_offer(item)
    }

    fn gives(&self) -> bool {
        self.life == Life::Open && self.giving.state() == GivingState::Streaming
    }

    /// Provider: offers the source's next item. The offer is encoded into `out`; send it on the lane
    /// returned, after what was drained from that lane before.
    ///
    /// # Panics
    /// Unless [`Session::can_offer`] said so, and `out` takes [`crate::wire::FRAME_MAX`] bytes.
    pub fn handle_item(&mut self, item: &Item<'_>, now: Instant, out: &mut [u8]) -> Offered {
        assert!(self.can_offer(item), "can_offer is asked first");
        let offered = self.giving.window.offer(item, out, &mut self.reports);
        self.progress(now);
        self.check();
        offered
    }

    /// Provider: whether there is room to offer again an item that [`super::Command::Reoffer`] named.
    #[must_use]
    pub fn can_reoffer(&self, item: &Item<'_>) -> bool {
        self.gives() && self.giving.window.can_reoffer(item)
    }

    /// Provider: offers an item again, as [`Session::handle_item`].
    ///
    /// # Panics
    /// If [`super::Command::Reoffer`] did not name it, or there is no room.
    pub fn handle_reoffer(&mut self, id: ItemId, item: &Item<'_>, out: &mut [u8]) -> Offered {
        assert!(self.can_reoffer(item), "can_reoffer is asked first");
        let offered = self.giving.window.reoffer(id, item, out, &mut self.reports);
        self.check();
        offered
    }

    /// Provider: the source has no more items for the task under way.
    pub fn handle_items_end(&mut self, now: Instant) {
        self.giving.window.all_offered();
        self.progress(now);
    }

    /// Provider: a read that was commanded has come back. `false`: its bytes are not wanted any more.
    #[must_use]
    pub fn handle_read(
        &mut self,
        lane: Lane,
        id: ItemId,
        offset: u64,
        piece: ReadPiece,
        now: Instant,
    ) -> bool {
        if self.is_over() {
            return false;
        }
        let wanted = self.giving.window.read_done(lane, id, offset, piece, &mut self.reports);
        self.progress(now);
        self.check();
        wanted
    }

    /// Provider: an item that was read whole is closed and did not change.
    pub fn handle_closed(&mut self, id: ItemId, size: u64, checksum: Checksum, now: Instant) {
        if self.is_over() {
            return;
        }
        self.giving.window.closed(id, size, checksum, &mut self.reports);
        self.progress(now);
        self.check();
    }

    /// Joiner: preflight of a task has passed.
    pub fn handle_begun(&mut self, task: TaskId, now: Instant) {
        if self.is_over() {
            return;
        }
        self.taking.begun(task, &mut self.reports);
        self.dial_lanes();
        self.need_lanes(Lane(1), now);
        self.progress(now);
        self.check();
    }

    /// Joiner: an item that is not eager is open and can take its content.
    pub fn handle_opened(&mut self, id: ItemId, now: Instant) {
        if self.is_over() {
            return;
        }
        self.taking.window.opened(id);
        self.progress(now);
        self.check();
    }

    /// Joiner: as [`Session::handle_opened`], of an item of which an earlier run left all bytes before `offset`:
    /// whole runs of [`crate::integrity::RUN_LEN`], or all of it.
    /// [`super::Command::TellKept`] asks for their checksum in its turn.
    ///
    /// # Panics
    /// If `offset` is 0, off the grid or beyond the item's size, or [`super::Config::fresh`] was said.
    pub fn handle_kept(&mut self, id: ItemId, offset: u64, now: Instant) {
        assert!(!self.config.fresh, "who holds nothing from before has nothing to keep");
        if self.is_over() {
            return;
        }
        self.taking.window.kept(id, offset);
        self.progress(now);
        self.check();
    }

    /// Joiner: the checksum of what is kept of an item, as [`super::Command::TellKept`] asked: the sums of a
    /// [`crate::integrity::Prefix`], or of the whole item's [`Checksum`]. Encodes the frame into `out` and
    /// returns its length, to be sent on lane 0.
    ///
    /// # Panics
    /// If there are more than [`crate::integrity::PREFIX_SUMS_MAX`] bytes of sums, or `out` is shorter than
    /// [`crate::wire::FRAME_MAX`].
    #[must_use]
    pub fn handle_kept_sums(&self, id: ItemId, offset: u64, sums: &[u8], out: &mut [u8]) -> usize {
        assert!(sums.len() <= PREFIX_SUMS_MAX, "sums are those of a prefix or a checksum");
        self.taking.kept(id, offset, sums, out)
    }

    /// Joiner: an item was compared with its checksum: completed if it `matched`, else it must come again.
    pub fn handle_finished(&mut self, id: ItemId, matched: bool, now: Instant) {
        if self.is_over() {
            return;
        }
        match self.taking.window.finished(id, matched, &mut self.reports) {
            Ok(true) => self.progress(now),
            Ok(false) => {}
            Err(error) => self.fail_with(error),
        }
        self.check();
    }

    /// Joiner: items of the task under way before `before` are durable, as far as they are verified.
    pub fn handle_durable_before(&mut self, before: ItemId, now: Instant) {
        if !self.is_over() {
            self.taking.window.durable_before(before);
            self.progress(now);
            self.check();
        }
    }

    /// Joiner: everything that was verified, of all tasks, is durable.
    ///
    /// # Panics
    /// Unless [`super::Command::MakeDurable`] asked for it.
    pub fn handle_durable(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        self.taking.durable(&mut self.reports);
        self.progress(now);
        self.check();
    }

    /// Joiner: the plan installs now. From here on only [`Session::handle_installed`], or
    /// [`Session::fail`] because installing failed, ends what this side takes: it must not claim a
    /// failure when the state may be published.
    ///
    /// # Panics
    /// If the session had not become durable.
    pub fn handle_installing(&mut self) {
        self.taking.installing();
        self.check();
    }

    /// Joiner: the plan has installed. Encodes the word of it into `out`, to be sent on lane 0.
    ///
    /// # Panics
    /// Unless [`Session::handle_installing`] came first.
    #[must_use]
    pub fn handle_installed(&mut self, app_reply: &[u8], out: &mut [u8]) -> usize {
        self.taking.installed(&mut self.reports);
        self.settle();
        if let Some(error) = self.deferred.filter(|_| !self.is_over()) {
            self.give_up(error);
        }
        self.check();
        Frame::Installed { app_reply }.emit(out).expect("the caller's buffer takes any frame")
    }

    /// Count, bytes and root of this side, as [`super::Command::SumUp`] asked.
    pub fn handle_root(
        &mut self,
        side: Side,
        task: TaskId,
        (items, bytes, root): (u64, u64, Root),
        now: Instant,
    ) {
        if self.is_over() {
            return;
        }
        let ours = Complete { items, bytes, root };
        let compared = match side {
            Side::Provider => {
                self.giving.root(task, ours);
                Ok(())
            }
            Side::Joiner => self.taking.root(task, ours, &mut self.reports),
        };
        if let Err(error) = compared {
            self.fail_with(error);
        }
        self.progress(now);
        self.need_lanes(Lane(1), now);
        self.settle();
        self.check();
    }

    /// This side gives up: source or destination failed, or someone cancelled. Encodes the word of it
    /// into `out`, to be sent on lane 0, and returns its length (0 if the session was over already).
    #[must_use]
    pub fn fail(&mut self, failed: &Failed<'_>, out: &mut [u8]) -> usize {
        if self.is_over() {
            return 0;
        }
        self.give_up(SessionError::Local(failed.reason));
        self.pending.failed = false;
        self.check();
        Frame::Failed(*failed).emit(out).unwrap_or(0)
    }

    fn peer_failed(&mut self, failed: &Failed<'_>, now: Instant) -> Result<(), SessionError> {
        // A listener that was busy, or does not know the session yet, may be asked again.
        let again = matches!(failed.reason, Reason::Busy);
        if self.life == Life::Reconnecting && again {
            return self.busy(Duration::ZERO, now);
        }
        Err(SessionError::Peer { reason: failed.reason, side: failed.side })
    }

    fn busy(&mut self, retry_after: Duration, now: Instant) -> Result<(), SessionError> {
        match (self.life, &mut self.redial) {
            (Life::Greeting, _) => {
                self.reports.event(Event::Busy { retry_after });
                Err(SessionError::Busy { retry_after })
            }
            (Life::Reconnecting, Some(redial)) => {
                redial.plan(now, retry_after);
                self.reports.command(super::Command::CloseLane { lane: Lane::CONTROL });
                Ok(())
            }
            _ => Err(unexpected(Kind::Busy)),
        }
    }

    pub(super) fn demand_integrity(&self) -> Result<(), SessionError> {
        let (bit, name) = match self.config.integrity {
            Integrity::None => return Ok(()),
            Integrity::Crc32c => (capability::CRC32C, "crc32c"),
            Integrity::Blake3 => (capability::BLAKE3, "blake3"),
        };
        if self.capabilities & bit == 0 {
            return Err(SessionError::Incompatible(Incompatibility::Capability(name)));
        }
        Ok(())
    }

    fn welcomed(&mut self, welcome: &Welcome, now: Instant) -> Result<(), SessionError> {
        if welcome.epoch != self.config.epoch {
            return Err(unexpected(Kind::Welcome));
        }
        let versions = (welcome.version, welcome.version);
        match self.life {
            Life::Greeting => {
                self.greet(versions, welcome.cluster, welcome.member, welcome.roles, welcome.capabilities)?;
                self.config.token = welcome.token;
                self.open(now);
                Ok(())
            }
            Life::Reconnecting if self.peer == Some(welcome.member) => {
                self.config.token = welcome.token;
                self.resumed(now);
                Ok(())
            }
            // Another member answers there now: it knows nothing of this session.
            Life::Reconnecting => Err(SessionError::Gone),
            _ => Err(unexpected(Kind::Welcome)),
        }
    }
}
