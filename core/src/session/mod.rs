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
mod config;
mod error;
mod incoming;
mod input;
mod outgoing;
mod output;
mod runs;

use heapless::Deque;

pub use command::{Command, Event, Offered, Payload, ReadPiece, Receive, Transmit};
pub use config::{Config, Terms, Totals, capability};
pub use error::{Incompatibility, Misbehaviour, SessionError};
pub use output::refusal;

use self::incoming::Incoming;
use self::outgoing::Outgoing;
use crate::id::{Lane, MemberId};
use crate::integrity::Integrity;
use crate::reason::{Phase, Reason, Side};
use crate::time::Instant;
use crate::wire::{ChunkLen, Grades, Init};

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

    fn enter_preparing(&mut self, now: Instant) {
        self.state = State::Preparing;
        self.pending.request = self.config.side == Side::Joiner;
        self.event(Event::Established);
        self.progress(now);
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

/// Whether a reason is worth another try of the same transfer.
#[must_use]
pub const fn is_retryable(reason: Reason) -> bool {
    matches!(reason, Reason::Unreachable | Reason::Busy | Reason::Stalled)
}
