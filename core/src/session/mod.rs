//! One session: this member's conversation with one peer, as a state machine.
//!
//! ```text
//!  dialler                                   listener
//!  Init  ───────────────────────────────────▶            Greeting: who, which transfer
//!        ◀─────────────────────────────────── Welcome    (or Busy, or Failed)
//!  joiner                                    provider
//!  Request ─────────────────────────────────▶            Preparing: survey
//!          ◀───────────────────────────────── Task       preflight
//!  Begin ───────────────────────────────────▶            Streaming (a small task does not wait for it)
//!        ◀────────────────────────── Offer, Data, End
//!  Accept, Again, Grades ───────────────────▶
//!        ◀───────────────────────────── Complete         Completing: count, bytes and root compared,
//!  Installed ───────────────────────────────▶            everything durable, the plan installs: Done
//! ```
//!
//! # States
//!
//! | state | input | next |
//! | --- | --- | --- |
//! | Greeting | Welcome | Preparing |
//! | Greeting | Busy | Failed |
//! | Preparing | provider: `handle_surveyed`, small | Streaming |
//! | Preparing | provider: Begin | Streaming |
//! | Preparing | joiner: `handle_begun` | Streaming |
//! | Streaming | provider: `handle_root` | Completing |
//! | Streaming | joiner: Complete | Completing |
//! | Completing | provider: Installed | Done |
//! | Completing | joiner: `handle_installing` | Installing |
//! | Installing | joiner: `handle_installed` | Done |
//! | Installing | anything of the peer, a lost lane, a deadline | Installing |
//! | any but Done | Failed, a broken rule, a deadline, `fail` | Failed |
//!
//! # Driving it
//!
//! **One mutation, then drain**: after any `handle_*` (or [`Session::fail`]) the driver drains
//! [`Session::poll_receive`] of the lane, then [`Session::poll_command`], [`Session::poll_event`]
//! and each lane's [`Session::poll_transmit`] (only while that lane's writer has room), then reads
//! [`Session::poll_timeout`]. In this order, because a payload must be placed before the command
//! that finishes its item is carried out, and because commands carried out at once may bring more
//! to transmit. Nothing else wakes a driver up.
//!
//! What Cassandra's Streaming 2.0 calls 1a-4a is here: `Init`/`Welcome` (1), `Request`/`Task` (2),
//! `Offer`/`Data`/`End` with `Grades` for its Received and `Again` for its Retry (3), `Complete`
//! and `Installed` (4); `SESSION_FAILED` is `Failed` with its reason, `KEEP_ALIVE` is `Alive`.

mod command;
mod error;
mod incoming;
mod outgoing;
mod runs;

use core::time::Duration;

use heapless::{Deque, String};

pub use command::{Command, Event, Offered, Payload, ReadPiece, Receive, Transmit};
pub use error::{Incompatibility, Misbehaviour, SessionError};

use self::incoming::{Arrival, Incoming};
use self::outgoing::Outgoing;
use crate::id::{ClusterId, Epoch, ItemId, Lane, MemberId, SnapshotId, Token, TransferId};
use crate::integrity::{Checksum, Integrity, Root};
use crate::item::{Item, ItemName};
use crate::reason::{Phase, Reason, Side};
use crate::time::Instant;
use crate::wire::{
    Alive, Attach, ChunkLen, Complete, Failed, Frame, Grades, Init, Kind, Request, Roles, Task, VERSION,
    Welcome,
};

/// Runs of one item that may be open or finished ahead of its first unfinished one.
pub const RUNS_AHEAD: usize = 24;
/// Items with content that were offered on lane 0 and are not verified: each may be an open file.
pub const OPEN_ITEMS: u16 = 64;
/// Content of at most this many bytes may travel with its offer.
pub const EAGER_MAX: u32 = 256 << 10;
/// A state of at most this many bytes, in at most [`SMALL_ITEMS`] items, travels whole on lane 0.
pub const SMALL_BYTES: u64 = 1 << 20;
/// See [`SMALL_BYTES`].
pub const SMALL_ITEMS: u64 = 256;
/// Bytes of offers that may wait for their items to be verified.
pub const OFFER_BYTES: u32 = 1 << 20;
/// Payload bytes that count as progress.
pub const PROGRESS_BYTES: u64 = 64 << 10;
/// Commands that one call can bring.
const COMMANDS: usize = 16;

/// Capability bits, exchanged in `Init` and `Welcome`.
pub mod capability {
    /// Checksums of items by CRC-32C.
    pub const CRC32C: u64 = 1 << 0;
    /// Checksums of items by BLAKE3.
    pub const BLAKE3: u64 = 1 << 1;
    /// All that this version knows.
    pub const ALL: u64 = CRC32C | BLAKE3;
}

/// Who this side is and what it wants.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What this side does.
    pub side: Side,
    /// Who it is.
    pub member: MemberId,
    /// Which cluster it belongs to; peers of another are refused.
    pub cluster: ClusterId,
    /// Which transfer.
    pub transfer: TransferId,
    /// The how-manieth dial of it.
    pub epoch: Epoch,
    /// Listener: 128 fresh random bits that admit further lanes.
    pub token: Token,
    /// Joiner: the integrity that is demanded.
    pub integrity: Integrity,
    /// Joiner: data lanes that are asked for; provider: the most that it grants. At least 1, less than `LANES`.
    pub lanes: u16,
    /// The longest chunk.
    pub chunk: ChunkLen,
    /// Provider: reads under way a lane, at least 1.
    pub read_depth: u8,
    /// How often an item is sent again, at most 14.
    pub max_retries: u8,
    /// A session without progress for this long fails.
    pub stall_timeout: Duration,
    /// A peer that does not answer `Init` for this long is given up.
    pub handshake_timeout: Duration,
}

/// What the provider's survey found, for [`Session::handle_surveyed`].
#[derive(Clone, Copy, Debug)]
pub struct Totals<'a> {
    /// What the state is as a whole: 0 directory, 1 file, 2 stream.
    pub shape: u8,
    /// Items.
    pub items: u64,
    /// Logical bytes; `None`: only the end will tell.
    pub bytes: Option<u64>,
    /// Bytes that are stored, holes left out.
    pub allocated: u64,
    /// Names the content.
    pub snapshot: SnapshotId,
    /// The application's own words, at most [`crate::wire::APP_META_MAX`] bytes.
    pub app_meta: &'a [u8],
}

/// What both sides know of the task once Prepare is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Which checksums.
    pub integrity: Integrity,
    /// Data lanes; 0 for a small task.
    pub lanes: u16,
    /// The length of chunks.
    pub chunk: ChunkLen,
    /// Items.
    pub items: u64,
    /// Logical bytes, if known.
    pub bytes: Option<u64>,
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Who is who.
    Greeting,
    /// What will move.
    Preparing,
    /// Items move.
    Streaming,
    /// All has moved: compared, made durable.
    Completing,
    /// Joiner: the plan installs. Whatever becomes of the peer now, its outcome decides.
    Installing,
    /// Installed at the joiner, and this side knows it.
    Done,
    /// It failed, and stays failed.
    Failed,
}

/// What waits to be sent on lane 0, one frame each.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    init: bool,
    welcome: bool,
    request: bool,
    begin: bool,
    alive: bool,
    failed: bool,
}

enum Half<const LANES: usize, const WINDOW: usize> {
    Unprepared,
    Out(Outgoing<LANES, WINDOW>),
    In(Incoming<LANES, WINDOW>),
}

/// One session of at most `LANES` lanes (lane 0 included), `WINDOW` items under way.
///
/// It lives where the caller puts it (a session of the default size is some 200 KiB); see the
/// module's page for how to drive it.
pub struct Session<const LANES: usize = 9, const WINDOW: usize = 4096> {
    config: Config,
    dialler: bool,
    state: State,
    pending: Pending,
    peer: Option<MemberId>,
    request: Option<Asked>,
    terms: Option<Terms>,
    half: Half<LANES, WINDOW>,
    lanes_up: [bool; LANES],
    attach: [bool; LANES],
    failure: Option<SessionError>,
    failed_in: Phase,
    /// What slow work this side has done, and what the peer has told of its own.
    done: u64,
    peer_done: u64,
    /// Payload bytes since the last progress.
    moved: u64,
    last_progress: Instant,
    next_alive: Instant,
    events: Deque<Event, COMMANDS>,
    commands: Deque<Command, COMMANDS>,
}

/// What a joiner asked for, kept by the provider until its survey is done.
#[derive(Clone, Copy, Debug)]
struct Asked {
    integrity: Integrity,
    fresh: bool,
    lanes: u16,
    chunk: ChunkLen,
}

const _: () = assert!(size_of::<Session<9, 4096>>() <= 320 << 10);

impl<const LANES: usize, const WINDOW: usize> Session<LANES, WINDOW> {
    /// The session of the member that dials.
    ///
    /// # Panics
    /// If `config` asks for no lane, more lanes than `LANES`, or no reads.
    #[must_use]
    pub fn dial(config: Config, now: Instant) -> Self {
        let mut session = Self::new(config, true, now);
        session.pending.init = true;
        session
    }

    /// The session of the member that listened, for a peer that said `init`.
    ///
    /// # Errors
    /// If the two can't talk; the error should be sent with [`refusal`].
    ///
    /// # Panics
    /// As [`Session::dial`].
    pub fn accept(config: Config, init: &Init, now: Instant) -> Result<Self, SessionError> {
        let config = Config { transfer: init.transfer, epoch: init.epoch, ..config };
        let mut session = Self::new(config, false, now);
        session.check_peer(init.versions, init.cluster, init.member)?;
        let theirs = init.roles;
        let fits = match config.side {
            Side::Provider => theirs.joins,
            Side::Joiner => theirs.provides,
        };
        if !fits {
            return Err(SessionError::Incompatible(Incompatibility::Roles));
        }
        session.check_capabilities(init.capabilities)?;
        session.peer = Some(init.member);
        session.pending.welcome = true;
        session.enter_preparing(now);
        Ok(session)
    }

    fn new(config: Config, dialler: bool, now: Instant) -> Self {
        assert!(config.lanes > 0 && usize::from(config.lanes) < LANES, "1 to LANES - 1 data lanes");
        assert!(config.read_depth > 0 && config.read_depth <= 8, "1 to 8 reads a lane");
        assert!(config.max_retries <= 14, "at most 14 retries");
        let mut lanes_up = [false; LANES];
        lanes_up[0] = true;
        Self {
            config,
            dialler,
            state: State::Greeting,
            pending: Pending::default(),
            peer: None,
            request: None,
            terms: None,
            half: Half::Unprepared,
            lanes_up,
            attach: [false; LANES],
            failure: None,
            failed_in: Phase::Connect,
            done: 0,
            peer_done: 0,
            moved: 0,
            last_progress: now,
            next_alive: now.after(config.stall_timeout / 4),
            events: Deque::new(),
            commands: Deque::new(),
        }
    }

    // ---- what happened ------------------------------------------------------------------------

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
    pub fn handle_invalid(&mut self, error: crate::wire::WireError) {
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
            return self.fail_with(SessionError::Misbehaved(Misbehaviour::WrongLane(Kind::Attach)));
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

    // ---- provider -----------------------------------------------------------------------------

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
        self.terms = Some(terms_of(&task));
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

    // ---- joiner -------------------------------------------------------------------------------

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

    // ---- both ---------------------------------------------------------------------------------

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

    // ---- what to do ---------------------------------------------------------------------------

    /// The next frame for `lane`, written to the front of `out`, which takes at least
    /// [`crate::wire::FRAME_MAX`] bytes. Poll only while the lane's writer has room.
    ///
    /// # Panics
    /// If `out` is shorter than that.
    pub fn poll_transmit(&mut self, lane: Lane, out: &mut [u8]) -> Option<Transmit> {
        if lane != Lane::CONTROL {
            return self.transmit_data(lane, out);
        }
        let frame = if core::mem::take(&mut self.pending.failed) {
            return self.transmit_failure(out);
        } else if self.state == State::Failed {
            return None;
        } else if core::mem::take(&mut self.pending.init) {
            Frame::Init(self.init())
        } else if core::mem::take(&mut self.pending.welcome) {
            Frame::Welcome(Welcome {
                version: VERSION,
                capabilities: capability::ALL,
                member: self.config.member,
                cluster: self.config.cluster,
                epoch: self.config.epoch,
                token: self.config.token,
            })
        } else if core::mem::take(&mut self.pending.request) {
            Frame::Request(Request {
                integrity: self.config.integrity,
                fresh: true,
                lanes: self.config.lanes,
                chunk: self.config.chunk,
                state_id: b"",
                selector: b"",
            })
        } else if core::mem::take(&mut self.pending.begin) {
            Frame::Begin
        } else if core::mem::take(&mut self.pending.alive) {
            Frame::Alive(Alive { done: self.done })
        } else {
            let sent = match &mut self.half {
                Half::Unprepared => Ok(None),
                Half::Out(half) => half.poll_transmit(lane, out),
                Half::In(half) => half.poll_transmit(out),
            };
            return sent.expect("the caller's buffer takes any frame");
        };
        let len = frame.emit(out).expect("the caller's buffer takes any frame");
        Some(Transmit { len, payload: None })
    }

    fn transmit_data(&mut self, lane: Lane, out: &mut [u8]) -> Option<Transmit> {
        if self.state == State::Failed {
            return None;
        }
        if core::mem::take(&mut self.attach[lane.index()]) {
            let frame = Frame::Attach(Attach { token: self.config.token, lane });
            let len = frame.emit(out).expect("the caller's buffer takes any frame");
            return Some(Transmit { len, payload: None });
        }
        match &mut self.half {
            Half::Out(half) => half.poll_transmit(lane, out).expect("the caller's buffer takes any frame"),
            _ => None,
        }
    }

    /// Where the payload goes whose header was handled last on `lane`.
    #[must_use]
    pub fn poll_receive(&self, lane: Lane) -> Option<Receive> {
        match &self.half {
            Half::In(incoming) if !self.is_over() => incoming.receive(lane),
            _ => None,
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        if self.state == State::Failed {
            return None;
        }
        if let Some(command) = self.commands.pop_front() {
            return Some(command);
        }
        match &mut self.half {
            Half::Unprepared => None,
            Half::Out(out) => out.commands.pop_front().or_else(|| match self.state {
                State::Streaming => out.poll_read().or_else(|| out.poll_sum_up()),
                _ => None,
            }),
            Half::In(incoming) => incoming.commands.pop_front(),
        }
    }

    /// The next thing that people should know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The one next deadline: call [`Session::handle_timeout`] then. `None` once the session is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Done | State::Failed => None,
            State::Installing => Some(self.next_alive),
            _ => Some(self.deadline().min(self.next_alive)),
        }
    }

    /// When the session fails if nothing moves until then.
    fn deadline(&self) -> Instant {
        self.last_progress.after(match self.state {
            State::Greeting => self.config.handshake_timeout,
            _ => self.config.stall_timeout,
        })
    }

    // ---- what is --------------------------------------------------------------------------------

    /// Where the session is in its life.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The phase for errors: of a failed session the one that it failed in.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self.state {
            State::Greeting => Phase::Init,
            State::Preparing => Phase::Prepare,
            State::Streaming => Phase::Stream,
            State::Completing => Phase::Complete,
            State::Installing | State::Done => Phase::Install,
            State::Failed => self.failed_in,
        }
    }

    /// Whether nothing will change any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Failed)
    }

    /// Why the session failed; the same each time.
    #[must_use]
    pub const fn failure(&self) -> Option<SessionError> {
        self.failure
    }

    /// The peer, once it is known.
    #[must_use]
    pub const fn peer(&self) -> Option<MemberId> {
        self.peer
    }

    /// What Prepare settled, once it has.
    #[must_use]
    pub const fn terms(&self) -> Option<Terms> {
        self.terms
    }

    /// How far the items have come at the joiner, as this side knows.
    #[must_use]
    pub fn grades(&self) -> Grades {
        match &self.half {
            Half::Unprepared => Grades::default(),
            Half::Out(out) => out.grades_known(),
            Half::In(incoming) => incoming.grades(),
        }
    }

    /// States the machine's inequalities; a broken one is a defect of this crate.
    ///
    /// # Panics
    /// If one is broken.
    pub fn invariants(&self) {
        assert_eq!(self.state == State::Failed, self.failure.is_some(), "failed sessions know why");
        match &self.half {
            Half::Unprepared => assert!(self.terms.is_none(), "terms come with their half"),
            Half::Out(out) => out.invariants(),
            Half::In(incoming) => incoming.invariants(),
        }
    }

    fn check(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    // ---- inside ---------------------------------------------------------------------------------

    fn event(&mut self, event: Event) {
        // People may miss a grade when nobody drains events; the session may not fail for it.
        let _ = self.events.push_back(event);
    }

    fn command(&mut self, command: Command) {
        self.commands.push_back(command).expect("commands are drained after every call");
    }

    fn progress(&mut self, now: Instant) {
        self.last_progress = now;
        self.moved = 0;
    }

    fn moved(&mut self, bytes: u64, now: Instant) {
        self.moved += bytes;
        if self.moved >= PROGRESS_BYTES {
            self.progress(now);
        }
    }

    /// Fails for what the peer or the connection did, which is nobody's concern while this side installs.
    fn fail_by_peer(&mut self, error: SessionError) {
        if self.state != State::Installing {
            self.fail_with(error);
        }
    }

    fn fail_with(&mut self, error: SessionError) {
        if self.is_over() {
            return;
        }
        self.failed_in = self.phase();
        // A peer that has failed, or is gone, need not be told.
        self.pending.failed = !matches!(
            error,
            SessionError::Peer { .. } | SessionError::LaneLost(Lane::CONTROL) | SessionError::Busy { .. }
        );
        self.state = State::Failed;
        self.failure = Some(error);
        self.event(Event::Failed);
    }

    fn transmit_failure(&mut self, out: &mut [u8]) -> Option<Transmit> {
        let error = self.failure?;
        let mut message: String<256> = String::new();
        // A message that does not fit is cut; the reason stands.
        let _ = core::fmt::Write::write_fmt(&mut message, format_args!("{error}"));
        let failed = Failed {
            reason: error.reason(),
            phase: self.failed_in,
            side: self.config.side,
            offset: None,
            name: ItemName::ROOT,
            message: &message,
        };
        let len = Frame::Failed(failed).emit(out).ok()?;
        Some(Transmit { len, payload: None })
    }

    const fn init(&self) -> Init {
        Init {
            versions: (VERSION, VERSION),
            roles: Roles {
                provides: matches!(self.config.side, Side::Provider),
                joins: matches!(self.config.side, Side::Joiner),
            },
            capabilities: capability::ALL,
            member: self.config.member,
            cluster: self.config.cluster,
            transfer: self.config.transfer,
            epoch: self.config.epoch,
        }
    }

    fn check_peer(&self, theirs: (u8, u8), cluster: ClusterId, member: MemberId) -> Result<(), SessionError> {
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

    fn check_capabilities(&self, theirs: u64) -> Result<(), SessionError> {
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

    fn enter_preparing(&mut self, now: Instant) {
        self.state = State::Preparing;
        self.pending.request = self.config.side == Side::Joiner;
        self.event(Event::Established);
        self.progress(now);
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
        self.terms = Some(terms_of(task));
        self.half = Half::In(Incoming::new(incoming::Terms {
            integrity: task.integrity,
            chunk: task.chunk,
            small: task.small,
            max_retries: self.config.max_retries,
            items: task.items,
        }));
        self.event(Event::Prepared);
        self.command(Command::Begin);
        self.progress(now);
        Ok(())
    }

    fn enter_streaming(&mut self, now: Instant) {
        self.state = State::Streaming;
        self.event(Event::Streaming);
        self.progress(now);
    }

    /// The dialler dials the data lanes once both sides are ready.
    fn dial_lanes(&mut self) {
        if self.dialler {
            for lane in 1..=self.terms.map_or(0, |terms| terms.lanes) {
                self.command(Command::Dial { lane: Lane(lane) });
            }
        }
    }
}

const fn terms_of(task: &Task<'_>) -> Terms {
    Terms {
        integrity: task.integrity,
        lanes: task.lanes,
        chunk: task.chunk,
        items: task.items,
        bytes: task.bytes,
    }
}

/// The words for a peer that is turned away before there is a session: busy, or why not.
/// Returns the frame's length.
#[must_use]
pub fn refusal(error: &SessionError, side: Side, out: &mut [u8]) -> usize {
    let mut message: String<256> = String::new();
    // A message that does not fit is cut; the reason stands.
    let _ = core::fmt::Write::write_fmt(&mut message, format_args!("{error}"));
    let frame = match error {
        SessionError::Busy { retry_after } => {
            Frame::Busy { retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX) }
        }
        _ => Frame::Failed(Failed {
            reason: error.reason(),
            phase: Phase::Init,
            side,
            offset: None,
            name: ItemName::ROOT,
            message: &message,
        }),
    };
    frame.emit(out).unwrap_or(0)
}

/// Whether a reason is worth another try of the same transfer.
#[must_use]
pub const fn is_retryable(reason: Reason) -> bool {
    matches!(reason, Reason::Unreachable | Reason::Busy | Reason::Stalled)
}
