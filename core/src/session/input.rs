//! What happened: every `handle_*` of a session, and what it does to the state.

use core::time::Duration;

use super::incoming::{self, Arrival, Incoming};
use super::outgoing::{self, Outgoing};
use super::{
    Asked, Command, Event, Half, Incompatibility, Misbehaviour, Offered, ReadPiece, SMALL_BYTES, SMALL_ITEMS,
    Session, SessionError, State, Terms, Totals, capability,
};
use crate::id::{ClusterId, ItemId, Lane, MemberId};
use crate::integrity::{Checksum, Integrity, Root};
use crate::item::Item;
use crate::reason::Side;
use crate::time::Instant;
use crate::wire::{Alive, Complete, Failed, Frame, Kind, Request, Task, VERSION, Welcome, WireError};

impl<const LANES: usize, const WINDOW: usize> Session<LANES, WINDOW> {
    /// A frame came on `lane`. Of [`Frame::Data`] this is the header alone: then [`Session::poll_receive`]
    /// says where the payload goes, and [`Session::handle_payload`] must follow.
    pub fn handle_frame(&mut self, lane: Lane, frame: &Frame<'_>, now: Instant) {
        // A peer that speaks while this side installs changes nothing any more.
        if self.is_over() || self.state == State::Installing {
            return;
        }
        if let Err(error) = self.frame(lane, frame, now) {
            self.fail_with(error);
        }
        self.check();
    }

    /// Bytes came on `lane` that are no frame, or broke its checksum.
    pub fn handle_invalid(&mut self, error: WireError) {
        self.fail_by_peer(SessionError::Invalid(error));
    }

    fn frame(&mut self, lane: Lane, frame: &Frame<'_>, now: Instant) -> Result<(), SessionError> {
        let kind = frame.kind();
        let unexpected = SessionError::Misbehaved(Misbehaviour::Unexpected(kind));
        if lane != Lane::CONTROL && !matches!(kind, Kind::Offer | Kind::Data | Kind::Hole | Kind::End) {
            return Err(SessionError::Misbehaved(Misbehaviour::WrongLane(kind)));
        }
        let small = self.is_small();
        match (*frame, self.state, &mut self.half) {
            (Frame::Failed(failed), ..) => {
                Err(SessionError::Peer { reason: failed.reason, side: failed.side })
            }
            (Frame::Alive(Alive { done }), ..) => {
                if done > self.peer_done {
                    self.peer_done = done;
                    self.progress(now);
                }
                Ok(())
            }
            (Frame::Welcome(welcome), State::Greeting, _) if self.dialler => self.welcomed(&welcome, now),
            (Frame::Busy { retry_after_ms }, State::Greeting, _) if self.dialler => {
                let retry_after = Duration::from_millis(retry_after_ms.into());
                self.event(Event::Busy { retry_after });
                Err(SessionError::Busy { retry_after })
            }
            (Frame::Request(request), State::Preparing, Half::Unprepared)
                if self.config.side == Side::Provider && self.request.is_none() =>
            {
                self.requested(&request, now)
            }
            (Frame::Task(task), State::Preparing, Half::Unprepared) if self.config.side == Side::Joiner => {
                self.prepared(&task, now)
            }
            (Frame::Begin, State::Preparing, Half::Out(_)) => {
                self.enter_streaming(now);
                self.dial_lanes();
                Ok(())
            }
            // A small task streams without waiting for it.
            (Frame::Begin, State::Streaming | State::Completing, Half::Out(_))
                if self.terms.is_some_and(|terms| terms.lanes == 0) =>
            {
                Ok(())
            }
            (Frame::Accept { id, offset }, State::Streaming, Half::Out(out)) => {
                out.accept(id, offset)?;
                self.progress(now);
                Ok(())
            }
            (Frame::Again { id }, State::Streaming, Half::Out(out)) => {
                let attempt = out.again(id)?;
                self.event(Event::Retrying { id, attempt });
                Ok(())
            }
            (Frame::Grades(grades), State::Streaming | State::Completing, Half::Out(out)) => {
                if out.grades(grades.verified, grades.durable)? {
                    self.progress(now);
                }
                self.event(Event::Graded(grades));
                Ok(())
            }
            (Frame::Installed { .. }, State::Completing, Half::Out(out)) if out.is_complete_sent() => {
                self.state = State::Done;
                self.event(Event::Installed);
                Ok(())
            }
            // A small task's provider does not wait for Begin: its items may come during preflight.
            (
                Frame::Offer { .. } | Frame::Data { .. } | Frame::Hole { .. } | Frame::End { .. },
                state,
                Half::In(_),
            ) if state == State::Streaming || state == State::Preparing && small => {
                self.content(lane, frame, now)
            }
            (Frame::Complete(complete), State::Streaming, Half::In(incoming)) => {
                incoming.complete(complete)?;
                self.state = State::Completing;
                self.progress(now);
                Ok(())
            }
            _ => Err(unexpected),
        }
    }

    fn is_small(&self) -> bool {
        self.terms.is_some_and(|terms| terms.lanes == 0)
    }

    fn content(&mut self, lane: Lane, frame: &Frame<'_>, now: Instant) -> Result<(), SessionError> {
        let Half::In(incoming) = &mut self.half else { unreachable!("the caller looked") };
        match *frame {
            Frame::Offer { id, eager, attempt, item } => {
                incoming.offer(lane, id, eager, attempt, &item)?;
                self.progress(now);
                Ok(())
            }
            Frame::Data { id, attempt, offset, len, crc, .. } => {
                incoming.data(lane, id, attempt, offset, len, crc)?;
                self.moved(u64::from(len), now);
                Ok(())
            }
            Frame::Hole { id, attempt, offset, len, run_end } => {
                incoming.hole(lane, id, attempt, offset, len, run_end)?;
                self.progress(now);
                Ok(())
            }
            Frame::End { id, attempt, end } => incoming.end(lane, id, attempt, end),
            _ => unreachable!("the caller looked"),
        }
    }

    /// The payload announced on `lane` has come, `len` bytes whose CRC-32C is `crc` (`None` if it was
    /// not computed). `true`: they are what was sent, and belong where [`Session::poll_receive`] said.
    ///
    /// # Panics
    /// If no payload was announced on the lane, or it had another length.
    #[must_use]
    pub fn handle_payload(&mut self, lane: Lane, len: u32, crc: Option<u32>, _now: Instant) -> bool {
        if self.is_over() {
            return false;
        }
        let Half::In(incoming) = &mut self.half else { return false };
        let wanted = match incoming.payload(lane, len, crc) {
            Ok(Arrival::Wanted) => true,
            Ok(Arrival::Stale) => false,
            Ok(Arrival::Broken { id, attempt }) => {
                self.event(Event::Retrying { id, attempt });
                false
            }
            Err(error) => {
                self.fail_with(error);
                false
            }
        };
        self.check();
        wanted
    }

    /// A lane was attached: dialled as commanded, or come in with this session's token.
    pub fn handle_lane_up(&mut self, lane: Lane, now: Instant) {
        if self.is_over() {
            return;
        }
        let granted = self.terms.map_or(0, |terms| terms.lanes);
        if lane.0 == 0 || lane.0 > granted || self.lanes_up[lane.index()] {
            return self.fail_by_peer(SessionError::Misbehaved(Misbehaviour::WrongLane(Kind::Attach)));
        }
        self.lanes_up[lane.index()] = true;
        self.attach[lane.index()] = self.dialler;
        if let Half::Out(out) = &mut self.half {
            out.lane_up(lane);
        }
        self.progress(now);
        self.check();
    }

    /// A lane's connection was lost, or ended before the session did.
    pub fn handle_lane_lost(&mut self, lane: Lane) {
        self.fail_by_peer(SessionError::LaneLost(lane));
    }

    /// Time has come to [`Session::poll_timeout`], or any other.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        if now >= self.deadline() && self.state != State::Installing {
            let after = now.since(self.last_progress);
            return self.fail_with(match self.state {
                State::Greeting => SessionError::NoAnswer { after },
                _ => SessionError::Stalled { after },
            });
        }
        if now >= self.next_alive {
            self.next_alive = now.after(self.config.stall_timeout / 4);
            self.pending.alive = self.state != State::Greeting;
        }
        self.check();
    }

    /// `bytes` payload bytes were taken by a lane's connection.
    pub fn handle_sent(&mut self, bytes: u64, now: Instant) {
        self.moved(bytes, now);
    }

    /// Slow work of this side (survey, writing, sync) has come so much further: it is no hang.
    pub fn handle_work(&mut self, more: u64, now: Instant) {
        if more > 0 {
            self.done += more;
            self.progress(now);
        }
    }

    /// Provider: the survey is done. Encodes the task into `out` and returns the frame's length, to be
    /// sent on lane 0.
    ///
    /// # Panics
    /// If no survey was commanded, or `out` is shorter than [`crate::wire::FRAME_MAX`].
    #[must_use]
    pub fn handle_surveyed(&mut self, totals: &Totals<'_>, now: Instant, out: &mut [u8]) -> usize {
        if self.is_over() {
            return 0;
        }
        let asked = self.request.expect("a survey answers a request");
        let small = totals.items <= SMALL_ITEMS && totals.bytes.is_some_and(|bytes| bytes <= SMALL_BYTES);
        let lanes = if small { 0 } else { asked.lanes.min(self.config.lanes) };
        let chunk = asked.chunk.min(self.config.chunk);
        let task = Task {
            integrity: asked.integrity,
            shape: totals.shape,
            small,
            lanes,
            chunk,
            items: totals.items,
            bytes: totals.bytes,
            allocated: totals.allocated,
            snapshot: totals.snapshot,
            app_meta: totals.app_meta,
        };
        let len = Frame::Task(task).emit(out).expect("the caller's buffer takes any frame");
        self.terms = Some(Terms::from(&task));
        let mut outgoing = Outgoing::new(outgoing::Terms {
            chunk,
            small,
            fresh: asked.fresh,
            read_depth: self.config.read_depth,
            max_retries: self.config.max_retries,
            checked: asked.integrity != Integrity::None,
        });
        outgoing.lane_up(Lane::CONTROL);
        self.half = Half::Out(outgoing);
        self.event(Event::Prepared);
        if small {
            self.enter_streaming(now);
        }
        self.progress(now);
        self.check();
        len
    }

    /// Provider: whether there is room to offer `item`, the source's next one, now.
    #[must_use]
    pub fn can_offer(&self, item: &Item<'_>) -> bool {
        match &self.half {
            Half::Out(out) if self.state == State::Streaming => out.can_offer(item),
            _ => false,
        }
    }

    /// Provider: offers the source's next item. The offer is encoded into `out`; send it on the lane
    /// returned, after what was drained from that lane before.
    ///
    /// # Panics
    /// Unless [`Session::can_offer`] said so, and `out` takes [`crate::wire::FRAME_MAX`] bytes.
    pub fn handle_item(&mut self, item: &Item<'_>, now: Instant, out: &mut [u8]) -> Offered {
        assert!(self.can_offer(item), "can_offer is asked first");
        let Half::Out(outgoing) = &mut self.half else { unreachable!("can_offer looked") };
        let offered = outgoing.offer(item, out).expect("the caller's buffer takes any frame");
        self.progress(now);
        self.check();
        offered
    }

    /// Provider: whether there is room to offer again an item that [`Command::Reoffer`] named.
    #[must_use]
    pub fn can_reoffer(&self, item: &Item<'_>) -> bool {
        matches!(&self.half, Half::Out(out) if self.state == State::Streaming && out.can_reoffer(item))
    }

    /// Provider: offers an item again, as [`Session::handle_item`].
    ///
    /// # Panics
    /// If [`Command::Reoffer`] did not name it, or there is no room.
    pub fn handle_reoffer(&mut self, id: ItemId, item: &Item<'_>, out: &mut [u8]) -> Offered {
        assert!(self.can_reoffer(item), "can_reoffer is asked first");
        let Half::Out(outgoing) = &mut self.half else { unreachable!("can_reoffer looked") };
        let offered = outgoing.reoffer(id, item, out).expect("the caller's buffer takes any frame");
        self.check();
        offered
    }

    /// Provider: the source has no more items.
    pub fn handle_items_end(&mut self, now: Instant) {
        if let Half::Out(out) = &mut self.half {
            out.all_offered();
        }
        self.progress(now);
    }

    /// Provider: a read that was commanded has come back.
    pub fn handle_read(&mut self, lane: Lane, id: ItemId, offset: u64, piece: ReadPiece, now: Instant) {
        if self.is_over() {
            return;
        }
        if let Half::Out(out) = &mut self.half {
            out.read_done(lane, id, offset, piece);
        }
        self.progress(now);
        self.check();
    }

    /// Provider: an item that was read whole is closed and did not change.
    pub fn handle_closed(&mut self, id: ItemId, size: u64, checksum: Checksum, now: Instant) {
        if self.is_over() {
            return;
        }
        if let Half::Out(out) = &mut self.half {
            out.closed(id, size, checksum);
        }
        self.progress(now);
        self.check();
    }

    /// Joiner: preflight has passed.
    pub fn handle_begun(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        self.pending.begin = true;
        self.enter_streaming(now);
        self.dial_lanes();
        self.check();
    }

    /// Joiner: an item that is not eager is open and can take its content.
    pub fn handle_opened(&mut self, id: ItemId, now: Instant) {
        if self.is_over() {
            return;
        }
        if let Half::In(incoming) = &mut self.half {
            incoming.opened(id);
        }
        self.progress(now);
        self.check();
    }

    /// Joiner: an item was compared with its checksum: completed if it `matched`, else it must come again.
    pub fn handle_finished(&mut self, id: ItemId, matched: bool, now: Instant) {
        if self.is_over() {
            return;
        }
        let Half::In(incoming) = &mut self.half else { return };
        match incoming.finished(id, matched) {
            Ok(None) => self.progress(now),
            Ok(Some(attempt)) => self.event(Event::Retrying { id, attempt }),
            Err(error) => self.fail_with(error),
        }
        self.check();
    }

    /// Joiner: everything verified is durable.
    pub fn handle_durable(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        if let Half::In(incoming) = &mut self.half {
            incoming.all_durable();
        }
        self.progress(now);
        self.event(Event::Durable);
        self.check();
    }

    /// Joiner: the plan installs now. From here on only [`Session::handle_installed`], or
    /// [`Session::fail`] because installing failed, ends the session: it must not claim a failure
    /// when the state may be published.
    ///
    /// # Panics
    /// If the session had not become durable.
    pub fn handle_installing(&mut self) {
        assert!(self.state == State::Completing, "only what is durable is installed");
        self.state = State::Installing;
    }

    /// Joiner: the plan has installed. Encodes the word of it into `out`, to be sent on lane 0.
    ///
    /// # Panics
    /// Unless [`Session::handle_installing`] came first.
    #[must_use]
    pub fn handle_installed(&mut self, app_reply: &[u8], out: &mut [u8]) -> usize {
        assert!(self.state == State::Installing, "installing comes first");
        self.state = State::Done;
        self.event(Event::Installed);
        Frame::Installed { app_reply }.emit(out).expect("the caller's buffer takes any frame")
    }

    /// Count, bytes and root of this side, as [`Command::SumUp`] asked.
    pub fn handle_root(&mut self, items: u64, bytes: u64, root: Root, now: Instant) {
        if self.is_over() {
            return;
        }
        let ours = Complete { items, bytes, root };
        match &mut self.half {
            Half::Out(out) => {
                out.complete(ours);
                self.state = State::Completing;
                self.event(Event::Agreed);
            }
            Half::In(incoming) if incoming.expected() == Some(ours) => {
                self.event(Event::Agreed);
                self.command(Command::MakeDurable);
            }
            _ => self.fail_with(SessionError::RootMismatch),
        }
        self.progress(now);
        self.check();
    }

    /// This side gives up: source or destination failed, or someone cancelled. Encodes the word of it
    /// into `out`, to be sent on lane 0, and returns its length (0 if the session was over already).
    #[must_use]
    pub fn fail(&mut self, failed: &Failed<'_>, out: &mut [u8]) -> usize {
        if self.is_over() {
            return 0;
        }
        self.fail_with(SessionError::Local(failed.reason));
        self.pending.failed = false;
        Frame::Failed(*failed).emit(out).unwrap_or(0)
    }

    pub(super) fn check_peer(
        &self,
        theirs: (u8, u8),
        cluster: ClusterId,
        member: MemberId,
    ) -> Result<(), SessionError> {
        let incompatible = |what| Err(SessionError::Incompatible(what));
        if VERSION < theirs.0 || VERSION > theirs.1 {
            return incompatible(Incompatibility::Version { ours: (VERSION, VERSION), theirs });
        }
        if cluster != self.config.cluster {
            return incompatible(Incompatibility::Cluster);
        }
        if member == self.config.member {
            return incompatible(Incompatibility::Oneself);
        }
        Ok(())
    }

    pub(super) fn check_capabilities(&self, theirs: u64) -> Result<(), SessionError> {
        let (bit, name) = match self.config.integrity {
            Integrity::None => return Ok(()),
            Integrity::Crc32c => (capability::CRC32C, "crc32c"),
            Integrity::Blake3 => (capability::BLAKE3, "blake3"),
        };
        if self.config.side == Side::Joiner && theirs & bit == 0 {
            return Err(SessionError::Incompatible(Incompatibility::Capability(name)));
        }
        Ok(())
    }

    fn welcomed(&mut self, welcome: &Welcome, now: Instant) -> Result<(), SessionError> {
        self.check_peer((welcome.version, welcome.version), welcome.cluster, welcome.member)?;
        self.check_capabilities(welcome.capabilities)?;
        if welcome.epoch != self.config.epoch {
            return Err(SessionError::Misbehaved(Misbehaviour::Unexpected(Kind::Welcome)));
        }
        self.config.token = welcome.token;
        self.peer = Some(welcome.member);
        self.enter_preparing(now);
        Ok(())
    }

    fn requested(&mut self, request: &Request<'_>, now: Instant) -> Result<(), SessionError> {
        if !request.state_id.is_empty() || !request.selector.is_empty() {
            return Err(SessionError::Incompatible(Incompatibility::Capability("partial state")));
        }
        self.request = Some(Asked {
            integrity: request.integrity,
            fresh: request.fresh,
            lanes: request.lanes,
            chunk: request.chunk,
        });
        self.command(Command::Survey);
        self.progress(now);
        Ok(())
    }

    fn prepared(&mut self, task: &Task<'_>, now: Instant) -> Result<(), SessionError> {
        let too_much = task.lanes > self.config.lanes
            || task.chunk > self.config.chunk
            || task.items > u64::from(u32::MAX)
            || (task.small
                && (task.items > SMALL_ITEMS || task.bytes.is_none_or(|bytes| bytes > SMALL_BYTES)));
        if task.integrity != self.config.integrity || too_much {
            return Err(SessionError::Misbehaved(Misbehaviour::Task));
        }
        self.terms = Some(Terms::from(task));
        self.half = Half::In(Incoming::new(incoming::Terms {
            integrity: task.integrity,
            chunk: task.chunk,
            small: task.small,
            max_retries: self.config.max_retries,
            items: task.items,
            bytes: task.bytes,
        }));
        self.event(Event::Prepared);
        self.command(Command::Begin);
        self.progress(now);
        Ok(())
    }
}
