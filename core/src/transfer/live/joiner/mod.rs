//! The joiner's machine: one for each transfer.
//!
//! # Driving it
//!
//! Until the machine is [`State::Committing`], each message of the group goes through
//! [`Joiner::handle_message`], and nothing is delivered; from then on the member's [`super::Provider`] has them. A member
//! that has a state already, and joins again, delivers into that as long as [`Joiner::allows_delivery`] says so.
//! A record of the log and a pending prepare go through [`Joiner::handle_record`] and
//! [`Joiner::handle_prepare`] before they are applied to the hidden copy. After any `handle_*` the driver drains
//! [`Joiner::poll_command`], then [`Joiner::poll_transmit`], and reads [`Joiner::poll_timeout`].

mod failure;
mod input;
mod log;
mod promises;
mod traffic;

pub use failure::Failure;
pub use log::{Record, Take};

use heapless::Deque;

use self::promises::Promises;
use super::life::{Input, State};
use super::{Config, ConfigError};
use crate::digest::{Assembly, Digest};
use crate::id::{Epoch, MemberId, SnapshotId, TransferId};
use crate::time::Instant;
use crate::transfer::wire::{Frame, Have, Payload};
use crate::transfer::{LogPoint, Tag, digest_sum};

/// What the driver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinerCommand {
    /// Dial this provider: [`Joiner::handle_link_up`], or [`Joiner::handle_link_lost`].
    Dial {
        /// Whom.
        provider: MemberId,
    },
    /// Close the connection.
    Close,
    /// Pin the messages of all sources for [`Config::stall_timeout`], anew if they are pinned already:
    /// [`Joiner::handle_pinned`] once all have answered, [`Joiner::handle_pin_refused`] if one refuses.
    Pin {
        /// Counts the commands: answers to an earlier one come too late.
        round: u64,
    },
    /// Nothing need be pinned any more.
    Unpin,
    /// Take the bulk of this capture, in a session, into a hidden copy that is empty: [`Joiner::handle_staged`].
    Stage {
        /// Which capture.
        snapshot: SnapshotId,
        /// Pieces of an earlier copy whose versions are equal may be kept.
        keep: bool,
    },
    /// The hidden copy is as it was at this place of the log, and holds no pending prepares; `None`: there is none.
    Rewind {
        /// The place.
        to: Option<LogPoint>,
    },
    /// Offer again what was held.
    Reoffer,
    /// Swap the hidden copy in: state, digest and pending prepares in one step. [`Joiner::handle_committed`].
    Commit,
    /// Serve.
    Serve,
}

/// What is to be sent, one frame each.
#[derive(Clone, Copy, Debug, Default)]
struct Outbox {
    request: bool,
    staged: bool,
    applied: bool,
    ready: bool,
    ask: bool,
    cancel: bool,
}

/// What Last said.
#[derive(Clone, Copy, Debug)]
struct Last {
    end: LogPoint,
    pending: u32,
}

/// A doubt about an epoch's outcome.
#[derive(Clone, Copy, Debug, Default)]
struct Doubt {
    /// When it was asked, on a connection that stands.
    asked: Option<Instant>,
    /// The answer was Commit.
    committed: bool,
    /// All sources were pinned anew since the doubt began.
    pinned: bool,
}

/// Commands of one mutation, at most.
const QUEUE: usize = 16;

/// One transfer: of a group of at most `MEMBERS` incarnations, with at most `PROMISES` transactions that are prepared
/// and open at the same time. `PROMISES` is a power of two.
pub struct Joiner<const MEMBERS: usize = 1024, const PROMISES: usize = 256> {
    config: Config,
    state: State,
    provider: MemberId,
    tag: Tag,
    outbox: Outbox,
    /// Parts of the digest of the Begin or Last that follows.
    assembly: Assembly<MEMBERS>,
    /// What is durable in the hidden copy.
    have: Option<Have>,
    /// Records that were handed on, and those of them whose order was checked.
    received: LogPoint,
    checked: u64,
    /// Where the last records end that were announced, and the payload that must come next.
    announced: LogPoint,
    payload: Option<Payload>,
    /// Per sender, what completed last.
    seen: Digest<MEMBERS>,
    last: Option<Last>,
    /// The digest of Last.
    digest: Digest<MEMBERS>,
    prepares: u32,
    promises: Promises<PROMISES>,
    /// A prepare is held until a promise is kept.
    withholds: bool,
    /// Behind what all sources keep their messages, and what they had sent then.
    pins: Option<Digest<MEMBERS>>,
    pin_round: u64,
    pinned_at: Instant,
    next_pin: Instant,
    ready_at: Instant,
    doubt: Doubt,
    late: bool,
    progress: Instant,
    redial_at: Option<Instant>,
    /// Epochs since something became durable; and epochs that kept nothing, or came to an Abort.
    tries: u8,
    rounds: u8,
    failure: Option<Failure>,
    commands: Deque<JoinerCommand, QUEUE>,
}

impl<const MEMBERS: usize, const PROMISES: usize> Joiner<MEMBERS, PROMISES> {
    /// A transfer from `provider`, which is dialled at once.
    ///
    /// # Errors
    /// [`ConfigError`]: its needs are not met.
    pub fn new(
        config: Config,
        transfer: TransferId,
        provider: MemberId,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut joiner = Self {
            config,
            state: State::Dialling,
            provider,
            tag: Tag { transfer, epoch: Epoch(1) },
            outbox: Outbox::default(),
            assembly: Assembly::new(),
            have: None,
            received: LogPoint::default(),
            checked: 0,
            announced: LogPoint::default(),
            payload: None,
            seen: Digest::new(),
            last: None,
            digest: Digest::new(),
            prepares: 0,
            promises: Promises::new(),
            withholds: false,
            pins: None,
            pin_round: 0,
            pinned_at: now,
            next_pin: now,
            ready_at: now,
            doubt: Doubt::default(),
            late: false,
            progress: now,
            redial_at: Some(now),
            tries: 0,
            rounds: 0,
            failure: None,
            commands: Deque::new(),
        };
        joiner.handle_timeout(now);
        Ok(joiner)
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The transfer, and the epoch under way.
    #[must_use]
    pub const fn tag(&self) -> Tag {
        self.tag
    }

    /// From whom.
    #[must_use]
    pub const fn provider(&self) -> MemberId {
        self.provider
    }

    /// What the hidden copy contains once all is applied: what is committed with it.
    #[must_use]
    pub const fn digest(&self) -> &Digest<MEMBERS> {
        &self.digest
    }

    /// Up to where records of the log were handed on: all of a payload once its last one was.
    #[must_use]
    pub const fn received(&self) -> LogPoint {
        self.received
    }

    /// Why it has given up, or why the last epoch ended.
    #[must_use]
    pub const fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Takes the state from another provider from now on. What is staged is kept if versions are comparable.
    /// Nothing changes once the outcome is known.
    pub fn switch(&mut self, provider: MemberId, now: Instant) {
        if self.is_over() {
            return;
        }
        self.provider = provider;
        self.again(Failure::Switched, false, now);
    }

    /// Gives up: the old state stands. Nothing changes once the outcome is known.
    pub fn cancel(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        self.fail(Failure::Cancelled, now);
        (self.outbox, self.redial_at) = (Outbox { cancel: true, ..Outbox::default() }, None);
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<JoinerCommand> {
        self.commands.pop_front()
    }

    /// The next frame to send on the connection, written to the front of `out`:
    /// [`crate::transfer::wire::FRAME_MAX`] bytes suffice.
    ///
    /// # Panics
    /// If `out` is shorter than that and the frame does not fit.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Option<usize> {
        let outbox = &mut self.outbox;
        let frame = if core::mem::take(&mut outbox.cancel) {
            Frame::Cancel
        } else if core::mem::take(&mut outbox.ask) {
            Frame::Ask
        } else if core::mem::take(&mut outbox.request) {
            Frame::Request { member: self.config.member, have: self.have }
        } else if core::mem::take(&mut outbox.staged) {
            Frame::Staged
        } else if core::mem::take(&mut outbox.applied) {
            Frame::Applied { to: self.have.expect("what is applied is durable").point }
        } else if core::mem::take(&mut outbox.ready) {
            Frame::Ready { digest: digest_sum(&self.digest) }
        } else {
            return None;
        };
        Some(frame.emit(self.tag, out).expect("the caller's buffer takes any frame"))
    }

    /// When [`Joiner::handle_timeout`] must be called, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.state, State::Serving | State::Failed | State::Committing) {
            return None;
        }
        let patience = match self.state {
            State::CatchingUp => None,
            State::Ready => Some(self.ready_at.after(self.config.lease * 2)),
            State::Dialling => self.redial_at,
            _ => Some(self.progress.after(self.config.stall_timeout)),
        };
        patience.into_iter().chain([self.next_pin]).min()
    }

    /// States the machine's inequalities; a broken one is a defect of this crate.
    ///
    /// # Panics
    /// If one is broken.
    pub fn invariants(&self) {
        let at = self.have.map(|have| have.point);
        assert!(at.is_none_or(|at| at <= self.received), "nothing is durable that has not come");
        assert!(self.received <= self.announced, "nothing comes unannounced");
        let applied = self.last.is_some_and(|last| at == Some(last.end) && self.prepares == last.pending);
        let is_ready = matches!(self.state, State::Ready | State::Doubting | State::Committing);
        assert!(!is_ready || applied, "ready only with all of it");
        assert!(!self.late || self.doubt.pinned || !self.is_over(), "late only with pins that hold");
    }

    /// Its outcome is known, or it has given up.
    fn is_over(&self) -> bool {
        use State::{CatchingUp, Committing, Failed, Serving};
        matches!(self.state, Committing | CatchingUp | Serving | Failed)
    }

    fn command(&mut self, command: JoinerCommand) {
        self.commands.push_back(command).expect("drained after every mutation");
    }

    /// Moves on, where the table has a place for it.
    fn advance(&mut self, input: Input) -> bool {
        let next = self.state.on(input);
        self.state = next.unwrap_or(self.state);
        next.is_some()
    }
}
