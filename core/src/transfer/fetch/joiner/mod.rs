//! The joiner's machine: one transfer of one (partial) state, to a member that need not be new.
//!
//! Each message of the group goes through [`Joiner::handle_message`], this member's own ones too, from when the
//! machine is made until it serves; then they are the provider's machine's, the queued ones first. After any
//! `handle_*` the driver drains [`Joiner::poll_command`], then [`Joiner::poll_transmit`], and reads
//! [`Joiner::poll_timeout`].

mod answers;
mod failure;
mod input;
mod log;
mod traffic;
mod tries;

pub use answers::{Answer, Said};
pub use failure::Failure;

use core::time::Duration;

use heapless::{Deque, Vec};

use super::life::{Input, State};
use super::{Config, ConfigError, Protocol};
use crate::digest::{Assembly, Digest};
use crate::id::{Epoch, MemberId, SnapshotId, StateId, TransferId};
use crate::time::Instant;
use crate::transfer::wire::{Frame, Have, Payload};
use crate::transfer::{LogPoint, Tag, next_part};

/// From whom a state is wanted (Ban 1998, 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// From one member; from another if that one fails.
    One,
    /// From one of those whose copies have the root that more than half have ([`Protocol::Copy`] alone).
    Quorum,
    /// From every member, for states that differ ([`Protocol::Copy`] alone).
    All,
}

/// What the driver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinerCommand {
    /// Join the group's channel: [`Joiner::handle_joined`].
    Join,
    /// Take a capture in a session, into a hidden copy that is empty: [`Joiner::handle_staged`].
    Stage {
        /// Of whom.
        provider: MemberId,
        /// What its session calls it.
        snapshot: SnapshotId,
        /// Pieces of an earlier copy whose versions are equal may be kept.
        keep: bool,
    },
    /// Leave what is being staged.
    StopStaging,
    /// The hidden copy is as it was at this place of the log; `None`: there is none.
    Rewind {
        /// The place.
        to: Option<LogPoint>,
    },
    /// Offer again what was held, to this machine; once it serves or has failed, to the provider's.
    Reoffer,
    /// Swap the hidden copy in: state and digest in one step. [`Joiner::handle_committed`].
    Commit,
    /// Serve.
    Serve,
}

/// To whom a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To all, this member too, as a message of the group in its order.
    Group,
    /// To one member, on the connection to it.
    Member(MemberId),
}

/// A frame to send: the first `len` bytes of the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct JoinerTransmit {
    /// To whom.
    pub to: Destination,
    /// Bytes written into the caller's buffer.
    pub len: usize,
}

/// A frame that waits to be sent, and the digest parts behind it that were.
#[derive(Clone, Copy, Debug)]
struct Outgoing {
    to: Destination,
    tag: Tag,
    frame: Frame<'static>,
    parts: usize,
}

/// The shortest pause before somebody is asked again.
const PAUSE: Duration = Duration::from_millis(10);
/// Commands and frames of one mutation, at most.
const QUEUE: usize = 64;
/// Members that a state can be asked of, at most.
pub(super) const PROVIDERS: usize = 32;

/// So many stall timeouts are roots waited for in all, however much is read for them.
pub const ROOTS_MAX: u32 = 64;

/// One transfer, in a group of at most `MEMBERS` incarnations.
pub struct Joiner<const MEMBERS: usize = 1024> {
    config: Config,
    state_id: StateId,
    want: Want,
    state: State,
    tag: Tag,
    answers: Vec<Answer, PROVIDERS>,
    provider: Option<MemberId>,
    asked_at: Instant,
    /// When it was asked for roots first.
    compares_since: Instant,
    /// Who has given what is prefetched, and keeps its log.
    source: Option<MemberId>,
    /// The root that most copies have.
    root: Option<[u8; 32]>,
    /// What the channel has brought, in order; before this member was on it, what it need not bring.
    heard: Digest<MEMBERS>,
    /// What a capture must cover.
    need: Digest<MEMBERS>,
    is_joined: bool,
    /// The epoch of the copies, from its own delivery on.
    copy: Option<Epoch>,
    queued_bytes: u64,
    assembly: Assembly<MEMBERS>,
    digest: Digest<MEMBERS>,
    /// What is durable in the hidden copy, or will be.
    have: Option<Have>,
    is_prefetched: bool,
    /// Of the log: what was handed on, what was announced, its payload, and its end.
    received: LogPoint,
    announced: LogPoint,
    payload: Option<Payload>,
    end: Option<LogPoint>,
    progress: Instant,
    retry_at: Option<Instant>,
    renew_at: Option<Instant>,
    tries: u8,
    failure: Option<Failure>,
    outgoing: Deque<Outgoing, QUEUE>,
    commands: Deque<JoinerCommand, QUEUE>,
}

impl<const MEMBERS: usize> Joiner<MEMBERS> {
    /// A transfer of `state` from those of `providers`: the members of the view, of which this one is left out.
    /// `heard`: what the channel has brought to this member, or will not bring because it was sent before; every
    /// message behind that comes.
    ///
    /// # Errors
    /// [`ConfigError`]: its needs are not met.
    pub fn new(
        config: Config,
        transfer: TransferId,
        (state, want): (StateId, Want),
        providers: &[MemberId],
        heard: Digest<MEMBERS>,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        if want != Want::One && config.protocol != Protocol::Copy {
            return Err(ConfigError::OneAlone);
        }
        let mut joiner = Self {
            config,
            state_id: state,
            want,
            state: State::Asking,
            tag: Tag { transfer, epoch: Epoch(0) },
            answers: Vec::new(),
            provider: None,
            asked_at: now,
            compares_since: now,
            source: None,
            root: None,
            need: heard.clone(),
            heard,
            is_joined: config.protocol != Protocol::Prefetch,
            copy: None,
            queued_bytes: 0,
            assembly: Assembly::new(),
            digest: Digest::new(),
            have: None,
            is_prefetched: false,
            received: LogPoint::default(),
            announced: LogPoint::default(),
            payload: None,
            end: None,
            progress: now,
            retry_at: None,
            renew_at: None,
            tries: 0,
            failure: None,
            outgoing: Deque::new(),
            commands: Deque::new(),
        };
        joiner.learn(providers);
        if joiner.answers.is_empty() {
            joiner.advance(Input::Leave);
        } else {
            joiner.begin_round(now);
        }
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

    /// Whom it asks, or has asked last.
    #[must_use]
    pub const fn provider(&self) -> Option<MemberId> {
        self.provider
    }

    /// Who was asked, and who said what.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// What the hidden copy contains: what is committed with it.
    #[must_use]
    pub const fn digest(&self) -> &Digest<MEMBERS> {
        &self.digest
    }

    /// What the channel has brought: where the next transfer of this member begins to listen.
    #[must_use]
    pub const fn heard(&self) -> &Digest<MEMBERS> {
        &self.heard
    }

    /// Up to where records of the log were handed on.
    #[must_use]
    pub const fn received(&self) -> LogPoint {
        self.received
    }

    /// Why it has given up, or why the last epoch ended.
    #[must_use]
    pub const fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<JoinerCommand> {
        self.commands.pop_front()
    }

    /// The next frame to send, written to the front of `out`: [`crate::transfer::wire::FRAME_MAX`] bytes suffice.
    ///
    /// # Panics
    /// If `out` is shorter than that and the frame does not fit.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Option<JoinerTransmit> {
        let next = self.outgoing.front_mut()?;
        let (to, tag) = (next.to, next.tag);
        let asks = matches!(next.frame, Frame::Fetch { members, .. } if members > 0);
        let frame = if next.parts == 0 {
            next.parts = 1;
            Some(next.frame)
        } else {
            let mut parts = next.parts - 1;
            let part = next_part(&self.need, &mut parts);
            next.parts = parts + 1;
            part.map(Frame::Digest)
        };
        let Some(frame) = frame else {
            self.outgoing.pop_front();
            return self.poll_transmit(out);
        };
        let len = frame.emit(tag, out).expect("the caller's buffer takes any frame");
        if !asks {
            self.outgoing.pop_front();
        }
        Some(JoinerTransmit { to, len })
    }

    /// When [`Joiner::handle_timeout`] must be called, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over() || self.state == State::Committing {
            return self.renew_at;
        }
        let stall = self.progress.after(self.config.stall_timeout);
        self.retry_at.into_iter().chain(self.renew_at).chain([stall]).min()
    }

    /// Gives up: the old state stands. Nothing changes once all is there.
    pub fn cancel(&mut self) {
        if !self.is_over() && self.state != State::Committing {
            self.fail(Failure::Cancelled);
        }
    }

    /// States the machine's inequalities; a broken one is a defect of this crate.
    ///
    /// # Panics
    /// If one is broken.
    pub fn invariants(&self) {
        assert!(self.received <= self.announced, "nothing comes unannounced");
        let streams = matches!(self.state, State::Staging | State::Applying);
        assert!(!streams || self.have.is_some() && self.provider.is_some(), "a stream has a provider");
        assert!(self.state != State::Applying || self.is_prefetched, "a log follows what was prefetched");
    }

    /// It serves, has failed, or is alone.
    const fn is_over(&self) -> bool {
        matches!(self.state, State::Serving | State::Failed | State::Alone)
    }

    fn command(&mut self, command: JoinerCommand) {
        self.commands.push_back(command).expect("drained after every mutation");
    }

    fn send(&mut self, to: Destination, frame: Frame<'static>) {
        let outgoing = Outgoing { to, tag: self.tag, frame, parts: 0 };
        assert!(self.outgoing.push_back(outgoing).is_ok(), "drained after every mutation");
    }

    /// Moves on, where the table has a place for it.
    fn advance(&mut self, input: Input) -> bool {
        let next = self.state.on(input);
        self.state = next.unwrap_or(self.state);
        next.is_some()
    }
}
