//! One session: this member's conversation with one peer, as a state machine.
//!
//! ```text
//!  dialler                                   listener
//!  Init  ───────────────────────────────────▶            who, which transfer, which epoch
//!        ◀─────────────────────────────────── Welcome    (or Busy, or Failed)
//!  (Prepare, or Alive) ─────────────────────▶            it listens: the session is established
//!  joiner                                    provider
//!  Prepare, Request.. ──────────────────────▶            each task is surveyed
//!          ◀──────────────────── Task, Digest..          (or Refused), preflight of each
//!  Begin ───────────────────────────────────▶            (a small task does not wait for it)
//!        ◀────────────────────────── Offer, Data, End
//!  Accept, Skip, Again, Grades ─────────────▶
//!        ◀───────────────────────────── Complete         count, bytes and root compared
//!  Agreed ──────────────────────────────────▶            the next task streams
//!  Installed ───────────────────────────────▶            all tasks durable, the plan has installed
//! ```
//!
//! Who dials and who provides are independent, and a session may go both ways at once: then each side
//! requests and gives, and the two directions know nothing of each other but the lanes that they share.
//!
//! # Machines
//!
//! Each is declared as a table of transitions ([`crate::transitions::TABLES`]); the tables and their
//! graphs are checked in under `core/tests/golden/transitions/`.
//!
//! | table | machine |
//! | --- | --- |
//! | [`LIFE`] | the session: greeting, open, reconnecting, over |
//! | [`GIVING`], [`TAKING`] | its two directions |
//! | [`TASK_OUT`], [`TASK_IN`] | a task, at its provider and at its joiner |
//! | [`ITEM_OUT`], [`ITEM_IN`] | an item, at its provider and at its joiner |
//!
//! # Driving it
//!
//! **One mutation, then drain**: after any `handle_*` (or [`Session::fail`]) the driver drains
//! [`Session::poll_receive`] of the lane, then [`Session::poll_command`], [`Session::poll_event`]
//! and each lane's [`Session::poll_transmit`] (only while that lane's writer has room), round and round
//! until nothing comes, then reads [`Session::poll_timeout`]. In this order, because a payload must be
//! placed before the command that finishes its item is carried out, and because commands carried out
//! at once may bring more to transmit. Nothing else wakes a driver up.
//!
//! # When connections are lost
//!
//! - **A data lane** dies alone: the provider recalls what it carried ([`Frame::Recall`]), the joiner
//!   asks again for what is missing, from the last whole run on, and the other lanes carry it.
//! - **Lane 0, or the last data lane**: the session is [`State::Reconnecting`]. The dialler dials again
//!   after growing pauses, and says [`Init`] with the next epoch; the listener finds the session by
//!   its transfer and calls [`Session::handle_resume`]. Prepare is said again, with the same answers;
//!   what is verified stays so; everything else of the window is offered again, and the joiner answers
//!   with the offset up to which it has the item, or skips it. Frames of an old epoch can't come: their
//!   connections are closed, and their token admits nobody.
//! - After twice the stall timeout it is over: failed, or, at a provider that has sent everything,
//!   [`State::Unconfirmed`]. The verdict may be asked for later ([`crate::wire::Query`], [`Outcomes`]).
//!
//! # When a process has ended
//!
//! A joiner that holds something of an earlier run says so ([`Config::fresh`]): then no content travels with its
//! offer, and each item is answered with what is kept of it ([`Session::handle_kept`], [`Frame::Kept`]): whole runs
//! from its start, or all of it, with their checksum. The provider sends the rest, or the end alone, and folds
//! the checksum that it was told into the item's. (An answer that may be lost with its connection must leave the
//! item open: so what is kept whole is not skipped, its end is asked for.)
//!
//! # Cassandra's Streaming 2.0, and its later messages
//!
//! | there | here |
//! | --- | --- |
//! | 1a, 1b: stream init, peer and session known | [`Frame::Init`], [`Frame::Welcome`]; [`Event::Established`] |
//! | 2a: Prepare with requests and summaries (`PREPARE_SYN`) | [`Frame::Prepare`], [`Frame::Request`] with state id and selector |
//! | 2b: the follower's summaries (`PREPARE_SYNACK`) | [`Frame::Task`] with totals, snapshot, digest, `app_meta`; [`Frame::Refused`] |
//! | 2c: `PREPARE_ACK`, sent only by those who receive | [`Frame::Begin`], after the joiner's preflight |
//! | 2: nothing to receive: straight to streaming | a direction without requests is over at once |
//! | 3a: File messages (`STREAM`) | [`Frame::Offer`], [`Frame::Data`], [`Frame::Hole`], [`Frame::End`] |
//! | 3b: Received, then the next one | [`Frame::Grades`]; a window instead of one file at a time |
//! | 3c: Retry after a failed checksum | [`Frame::Again`], up to `max_retries`; from a run's start, not from zero |
//! | 4a: Complete, then close | [`Frame::Complete`] per task, [`Frame::Agreed`], [`Frame::Installed`]; [`State::Done`] |
//! | `RECEIVED` before the data is installed | four grades; the last one is [`Frame::Installed`] |
//! | `SESSION_FAILED` without a reason | [`Frame::Failed`] with reason, phase, side, item, offset and words |
//! | `KEEP_ALIVE` on the control channel | [`Frame::Alive`]; progress counts, keepalives do not |
//! | `maybeCompleted` once, either order | [`GIVING`] and [`TAKING`] end apart; the session when both have |
//! | stream to itself | refused: [`Incompatibility::Oneself`] |
//! | stream plan, coordinator, result future | [`crate::plan::Plan`] over the reports of its sessions |
//! | resumable bootstrap | [`Session::handle_resume`] in the same run, [`Frame::Kept`] in another |

mod command;
mod config;
mod error;
mod giving;
mod incoming;
mod input;
mod lanes;
mod life;
mod outcomes;
mod outgoing;
mod output;
mod redial;
mod reports;
mod taking;

pub use command::{Command, Event, Offered, Payload, ReadPiece, Receive, Transmit};
pub use config::{Config, Terms, Totals, capability};
pub use error::{Incompatibility, Misbehaviour, SessionError};
pub use incoming::ITEM_IN;
pub use life::{GIVING, LIFE, TAKING, TASK_IN, TASK_OUT};
pub use outcomes::Outcomes;
pub use outgoing::ITEM_OUT;
pub use output::refusal;

use self::giving::{Giving, Limits};
use self::life::{GivingState, Life, LifeInput, TakingState};
use self::redial::Redial;
use self::reports::Reports;
use self::taking::{Demands, Taking};
use crate::id::{ClusterId, Epoch, Lane, MemberId, Token};
use crate::reason::{Phase, Reason, Side};
use crate::time::Instant;
#[cfg(doc)]
use crate::wire::Frame;
use crate::wire::{Grades, Init, Roles, VERSION};

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

/// Where a session is in its life, for people and for drivers. Of two directions, the one that is behind.
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
    /// The connection was lost, and another one is awaited.
    Reconnecting,
    /// Installed at the joiner, and this side knows it; or there was nothing to move.
    Done,
    /// Provider: all was sent, and the joiner's verdict is not known.
    Unconfirmed,
    /// It failed, and stays failed.
    Failed,
}

/// What waits to be sent on lane 0, one frame each.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    init: bool,
    welcome: bool,
    alive: bool,
    failed: bool,
}

/// Where a lane's connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneState {
    /// None, or not yet.
    Down,
    /// Being dialled.
    Dialled,
    Up,
    /// It was lost; its number is not used again until a re-dial.
    Lost,
}

/// One session of at most `LANES` lanes (lane 0 included), `WINDOW` items under way each way.
///
/// It lives where the caller puts it (a session of the default size is some 200 KiB); see the
/// module's page for how to drive it.
pub struct Session<const LANES: usize = 9, const WINDOW: usize = 4096> {
    config: Config,
    dialler: bool,
    life: Life,
    pending: Pending,
    peer: Option<MemberId>,
    /// The dialler has said something upon Welcome: it is no stranger that only repeats an Init.
    established: bool,
    /// What both can do.
    capabilities: u64,
    giving: Giving<LANES, WINDOW>,
    taking: Taking<LANES, WINDOW>,
    lanes: [LaneState; LANES],
    attach: [bool; LANES],
    redial: Option<Redial>,
    failure: Option<SessionError>,
    /// What would have failed the session if it were not installing.
    deferred: Option<SessionError>,
    failed_in: Phase,
    /// What slow work this side has done, and what the peer has told of its own.
    done: u64,
    peer_done: u64,
    /// Payload bytes since the last progress.
    moved: u64,
    last_progress: Instant,
    next_alive: Instant,
    reports: Reports,
}

const _: () = assert!(size_of::<Session<9, 4096>>() <= 320 << 10);

impl<const LANES: usize, const WINDOW: usize> Session<LANES, WINDOW> {
    /// The session of the member that dials.
    ///
    /// # Panics
    /// If `config` asks for no lane, more lanes than `LANES`, no reads, or too many requests.
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
        let mut session = Self::listen(config, now);
        session.admit(init, config.token, now)?;
        Ok(session)
    }

    /// A session for whoever calls next: made ahead, so that the caller need not wait for that. It takes nothing
    /// and is asked nothing before [`Session::admit`].
    ///
    /// # Panics
    /// As [`Session::dial`].
    #[must_use]
    pub fn listen(config: Config, now: Instant) -> Self {
        Self::new(config, false, now)
    }

    /// The caller has come and said `init`; the lanes that it dials bring `token`.
    ///
    /// # Errors
    /// If the two can't talk; the error should be sent with [`refusal`], and there will be no session.
    ///
    /// # Panics
    /// If this session has a peer already, or dials.
    pub fn admit(&mut self, init: &Init, token: Token, now: Instant) -> Result<(), SessionError> {
        assert!(!self.dialler && self.peer.is_none(), "a session that listens has one caller");
        (self.config.transfer, self.config.epoch, self.config.token) = (init.transfer, init.epoch, token);
        self.greet(init.versions, init.cluster, init.member, init.roles, init.capabilities)?;
        self.pending.welcome = true;
        self.open(now);
        self.check();
        Ok(())
    }

    fn new(config: Config, dialler: bool, now: Instant) -> Self {
        assert!(config.lanes > 0 && usize::from(config.lanes) < LANES, "1 to LANES - 1 data lanes");
        assert!(LANES <= 16, "lanes are counted in 16 bits");
        assert!(config.read_depth > 0 && config.read_depth <= 8, "1 to 8 reads a lane");
        assert!(config.max_retries <= 14, "at most 14 retries");
        Self {
            config,
            dialler,
            life: Life::Greeting,
            pending: Pending::default(),
            peer: None,
            established: false,
            capabilities: config.capabilities,
            giving: Giving::new(Limits {
                lanes: config.lanes,
                chunk: config.chunk,
                read_depth: config.read_depth,
                max_retries: config.max_retries,
            }),
            taking: Taking::new(
                config.requests,
                Demands {
                    integrity: config.integrity,
                    lanes: config.lanes,
                    chunk: config.chunk,
                    max_retries: config.max_retries,
                    fresh: config.fresh,
                },
            ),
            lanes: [LaneState::Down; LANES],
            attach: [false; LANES],
            redial: None,
            failure: None,
            deferred: None,
            failed_in: Phase::Connect,
            done: 0,
            peer_done: 0,
            moved: 0,
            last_progress: now,
            next_alive: now.after(config.stall_timeout / 4),
            reports: Reports::default(),
        }
    }

    /// Where the session is in its life.
    #[must_use]
    pub fn state(&self) -> State {
        match self.life {
            Life::Greeting => State::Greeting,
            Life::Done => State::Done,
            Life::Unconfirmed => State::Unconfirmed,
            Life::Failed => State::Failed,
            Life::Open | Life::Reconnecting if self.taking.state() == TakingState::Installing => {
                State::Installing
            }
            Life::Reconnecting => State::Reconnecting,
            Life::Open => self.open_state(),
        }
    }

    const fn open_state(&self) -> State {
        use GivingState as G;
        use TakingState as T;
        match (self.giving.state(), self.taking.state()) {
            (G::Preparing, T::Preparing | T::Over) | (G::Over, T::Preparing) => State::Preparing,
            (G::Preparing | G::Streaming, _) | (_, T::Preparing | T::Streaming) => State::Streaming,
            _ => State::Completing,
        }
    }

    /// The phase for errors: of a failed session the one that it failed in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state() {
            State::Greeting => Phase::Init,
            State::Preparing => Phase::Prepare,
            State::Streaming => Phase::Stream,
            State::Completing => Phase::Complete,
            State::Reconnecting => match self.open_state() {
                State::Preparing => Phase::Prepare,
                State::Streaming => Phase::Stream,
                _ => Phase::Complete,
            },
            State::Installing | State::Done => Phase::Install,
            State::Unconfirmed | State::Failed => self.failed_in,
        }
    }

    /// Whether nothing will change any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.life, Life::Done | Life::Unconfirmed | Life::Failed)
    }

    /// Why the session failed, or ended unconfirmed; the same each time.
    #[must_use]
    pub const fn failure(&self) -> Option<SessionError> {
        self.failure
    }

    /// The peer, once it is known.
    #[must_use]
    pub const fn peer(&self) -> Option<MemberId> {
        self.peer
    }

    /// Which dial of the transfer this is.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.config.epoch
    }

    /// What both sides can do: bits of [`capability`].
    #[must_use]
    pub const fn capabilities(&self) -> u64 {
        self.capabilities
    }

    /// What is agreed of the task under way in which this side does `side`, once it is announced.
    #[must_use]
    pub const fn terms(&self, side: Side) -> Option<Terms> {
        match side {
            Side::Provider => self.giving.terms(),
            Side::Joiner => self.taking.terms(),
        }
    }

    /// How far the items of the task under way have come at its joiner, as this side knows.
    #[must_use]
    pub const fn grades(&self, side: Side) -> Grades {
        match side {
            Side::Provider => self.giving.window.grades_known(),
            Side::Joiner => self.taking.window.grades(),
        }
    }

    /// States the machine's inequalities; a broken one is a defect of this crate.
    ///
    /// # Panics
    /// If one is broken.
    pub fn invariants(&self) {
        let over = matches!(self.life, Life::Unconfirmed | Life::Failed);
        assert_eq!(over, self.failure.is_some(), "what failed knows why");
        let waits = self.life == Life::Reconnecting && (self.taking.needs_peer() || !self.giving.is_over());
        assert!(!waits || self.redial.is_some(), "who needs the peer dials it again, or is dialled");
        assert!(self.redial.is_none() || self.life == Life::Reconnecting, "what stands is not dialled");
        let finished = self.giving.is_over() && self.taking.is_over();
        assert!(self.life != Life::Done || finished, "done is when both directions are over");
        self.giving.invariants();
        self.taking.invariants();
    }

    /// As [`Session::invariants`], and those that cost a walk over the windows: for simulations.
    ///
    /// # Panics
    /// If one is broken.
    pub fn thorough_invariants(&self) {
        self.invariants();
        self.giving.window.thorough();
        self.taking.window.thorough();
    }

    fn check(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
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

    /// What has come is this side's to tell: the peer may have sent it long ago, into the buffers of its system.
    fn received(&mut self, bytes: u64, now: Instant) {
        self.moved += bytes;
        if self.moved >= PROGRESS_BYTES {
            self.done += 1;
            self.progress(now);
        }
    }

    /// Moves the life on, where the table has a place for it.
    fn advance(&mut self, input: LifeInput) -> bool {
        let next = self.life.on(input);
        self.life = next.unwrap_or(self.life);
        next.is_some()
    }

    /// Whether a lost connection may be replaced.
    const fn can_resume(&self) -> bool {
        self.capabilities & capability::RESUME != 0
    }

    /// Fails, or while this side installs: remembers why the rest of the session would have failed.
    fn fail_with(&mut self, error: SessionError) {
        if self.is_over() {
            return;
        }
        if self.taking.state() == TakingState::Installing {
            self.deferred.get_or_insert(error);
            return;
        }
        if self.has_all() && self.is_loss(&error) {
            return self.go_on_alone();
        }
        self.give_up(error);
    }

    /// Whether all has come that is to come, and this side gives nothing: what is left to do it does alone.
    fn has_all(&self) -> bool {
        self.giving.is_over() && matches!(self.taking.state(), TakingState::Agreed | TakingState::Durable)
    }

    /// Without a connection: what has all come is made durable and installed whether or not anybody is there to hear
    /// it, for as long as that makes progress.
    fn works_alone(&self) -> bool {
        !self.taking.needs_peer() && !self.taking.is_over()
    }

    /// Whether the peer is gone, rather than a rule broken or this side's own disk hanging.
    fn is_loss(&self, error: &SessionError) -> bool {
        match error {
            SessionError::LaneLost(_) | SessionError::Gone => true,
            SessionError::Peer { .. } => self.life == Life::Reconnecting,
            _ => false,
        }
    }

    /// There is nobody to hear the rest: lanes are closed, and none is dialled again.
    fn go_on_alone(&mut self) {
        if self.life == Life::Open {
            self.disconnect();
        } else {
            self.reports.command(Command::CloseLane { lane: Lane::CONTROL });
        }
        self.redial = None;
    }

    fn give_up(&mut self, error: SessionError) {
        self.failed_in = self.phase();
        let lost = matches!(
            error,
            SessionError::LaneLost(_) | SessionError::Stalled { .. } | SessionError::NotResumed { .. }
        );
        let doubt = lost && self.taking.is_over() && self.giving.is_in_doubt();
        // A peer that has failed, or is gone, need not be told.
        let gone = matches!(
            error,
            SessionError::Peer { .. }
                | SessionError::LaneLost(Lane::CONTROL)
                | SessionError::NotResumed { .. }
                | SessionError::Busy { .. }
        );
        self.pending.failed = !gone && !doubt;
        self.redial = None;
        if self.advance(if doubt { LifeInput::Doubt } else { LifeInput::Fail }) {
            self.failure = Some(error);
            self.reports.event(if doubt { Event::Unconfirmed } else { Event::Failed });
        }
    }

    /// Over, if both directions are.
    fn settle(&mut self) {
        if self.life != Life::Greeting && self.giving.is_over() && self.taking.is_over() && !self.is_over() {
            self.redial = None;
            self.advance(LifeInput::Finish);
        }
    }

    /// Both sides know each other.
    fn greet(
        &mut self,
        versions: (u8, u8),
        cluster: ClusterId,
        member: MemberId,
        roles: Roles,
        capabilities: u64,
    ) -> Result<(), SessionError> {
        let incompatible = |what| Err(SessionError::Incompatible(what));
        if VERSION < versions.0 || VERSION > versions.1 {
            return incompatible(Incompatibility::Version { ours: (VERSION, VERSION), theirs: versions });
        }
        if cluster != self.config.cluster {
            return incompatible(Incompatibility::Cluster);
        }
        if member == self.config.member {
            return incompatible(Incompatibility::Oneself);
        }
        if !self.config.roles.fits(roles) {
            return incompatible(Incompatibility::Roles);
        }
        self.capabilities = self.config.capabilities & capabilities;
        let (gives, takes) =
            (self.config.roles.provides && roles.joins, self.config.roles.joins && roles.provides);
        if takes {
            self.demand_integrity()?;
        }
        if !gives {
            self.giving.close();
        }
        if !takes {
            self.taking.close();
        }
        self.peer = Some(member);
        Ok(())
    }

    /// The first connection stands.
    fn open(&mut self, now: Instant) {
        self.advance(LifeInput::Greet);
        self.lanes[0] = LaneState::Up;
        self.giving.window.lane_up(Lane::CONTROL);
        if self.dialler {
            self.establish();
            // Who asks for something says so at once; who gives alone would be silent until it is asked.
            self.pending.alive = self.taking.is_over();
        }
        self.taking.begin(&mut self.reports);
        self.progress(now);
        self.settle();
    }

    /// Both sides know each other, and that the other one listens.
    fn establish(&mut self) {
        if !core::mem::replace(&mut self.established, true) {
            self.reports.event(Event::Established);
        }
    }

    /// Data lanes that announced tasks were granted, either way.
    fn granted(&self) -> u16 {
        self.giving.lanes().max(self.taking.lanes())
    }

    /// The dialler dials data lanes once a task that needs them begins.
    fn dial_lanes(&mut self) {
        if !self.dialler || self.life != Life::Open {
            return;
        }
        for lane in 1..=self.granted() {
            if self.lanes[usize::from(lane)] == LaneState::Down {
                self.lanes[usize::from(lane)] = LaneState::Dialled;
                self.reports.command(Command::Dial { lane: Lane(lane) });
            }
        }
    }

    /// The connection is gone: all lanes are down, both directions wait.
    fn lose(&mut self, error: SessionError, now: Instant) {
        // Nothing is kept for a caller that only said who it is.
        if self.life != Life::Open || !self.can_resume() || !self.established {
            return self.fail_with(error);
        }
        self.disconnect();
        let mut redial = Redial::new(now, self.config.seed ^ self.config.epoch.0);
        if self.dialler {
            redial.plan(now, core::time::Duration::ZERO);
        }
        self.redial = Some(redial);
        self.reports.event(Event::Reconnecting);
    }

    /// What there is of the connection ends here.
    fn disconnect(&mut self) {
        self.advance(LifeInput::Lose);
        for lane in 0..LANES as u16 {
            if self.lanes[usize::from(lane)] != LaneState::Down {
                self.reports.command(Command::CloseLane { lane: Lane(lane) });
            }
        }
        self.lanes = [LaneState::Down; LANES];
        self.attach = [false; LANES];
        self.pending = Pending::default();
        self.giving.lose();
        self.taking.lose(&mut self.reports);
    }

    /// A later epoch stands: Prepare is said again.
    fn resumed(&mut self, now: Instant) {
        self.advance(LifeInput::Resume);
        self.redial = None;
        self.lanes[0] = LaneState::Up;
        self.giving.window.lane_up(Lane::CONTROL);
        self.reports.event(Event::Resumed);
        self.taking.begin(&mut self.reports);
        self.next_alive = now.after(self.config.stall_timeout / 4);
        self.progress(now);
    }
}

/// Whether a reason is worth another try of the same transfer.
#[must_use]
pub const fn is_retryable(reason: Reason) -> bool {
    matches!(reason, Reason::Unreachable | Reason::Busy | Reason::Stalled | Reason::Gone)
}
