//! The provider's machine: every operational member runs one from its start.
//!
//! # Driving it
//!
//! Each message of the group goes through [`Provider::handle_message`] before it is delivered, and each request
//! of a client through [`Provider::handle_request`]; a verdict of [`Verdict::Hold`] is asked again after
//! [`Command::Reoffer`]. After any `handle_*` the driver drains [`Provider::poll_command`], then
//! [`Provider::poll_transmit`], then [`Provider::poll_event`], and reads [`Provider::poll_timeout`]. Commands come
//! first, and **before the next message is handled**: a capture belongs to the place in the order of delivery
//! where it was commanded.

mod capture;
mod input;
mod latch;
mod output;
mod pace;
mod progress;
mod slot;
mod traffic;

pub use output::{Send, Transmit};

use heapless::{Deque, Vec};

use self::capture::Captured;
use self::latch::Latch;
use self::slot::Slot;
use super::life::{At, AtInput};
use super::{Config, ConfigError, Outcomes};
use crate::digest::Digest;
use crate::id::{MemberId, SnapshotId, TransferId};
#[cfg(doc)]
use crate::message::Verdict;
use crate::time::Instant;
use crate::transfer::wire::Refusal;
use crate::transfer::{Decision, LogPoint, Role, Tag};

/// A connection, as the driver numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u32);

/// What the driver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Keep a log of completions from here on, and capture the state: [`Provider::handle_captured`].
    Capture,
    /// Give the bulk of a capture to a joiner, in a session.
    Give {
        /// Which transfer.
        transfer: TransferId,
        /// Which capture.
        snapshot: SnapshotId,
    },
    /// Stop giving the bulk to a joiner.
    StopGiving {
        /// Which transfer.
        transfer: TransferId,
    },
    /// Read records of the log for a connection: [`Provider::handle_log_read`].
    ReadLog {
        /// For whom.
        link: Link,
        /// From which place.
        from: LogPoint,
        /// No more bytes than this, but one record at least.
        max_bytes: u32,
    },
    /// Read the pending prepares, with their changes: [`Provider::handle_pending_read`].
    ReadPending {
        /// For whom.
        link: Link,
    },
    /// Nobody streams from the capture any more: drop it.
    DropCapture {
        /// Which.
        snapshot: SnapshotId,
    },
    /// Nobody needs the log before this place.
    TrimLog {
        /// The place.
        before: LogPoint,
    },
    /// Nobody needs the log.
    StopLog,
    /// The latch is open: offer again what was held.
    Reoffer,
    /// Slow the writers down, or no longer.
    Throttle {
        /// Whether.
        on: bool,
    },
    /// Nothing more comes on this connection: close it once all is sent.
    Close {
        /// Which.
        link: Link,
    },
}

/// What people should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A joiner was admitted.
    Admitted {
        /// Who.
        member: MemberId,
    },
    /// A joiner has the bulk, and follows the log.
    Following {
        /// Who.
        member: MemberId,
    },
    /// The log does not shrink: its policy is applied.
    CannotConverge {
        /// Who can't follow.
        member: MemberId,
        /// Bytes that are logged a second.
        written_per_second: u64,
        /// Bytes that the joiner applies a second.
        applied_per_second: u64,
    },
    /// The latch has opened.
    LatchOpened {
        /// From its first sign to now, in nanoseconds.
        held_ns: u64,
        /// From the first message or request that was held to now, in nanoseconds; 0 if there was none.
        delayed_ns: u64,
    },
    /// The outcome of an epoch is recorded.
    Decided {
        /// Whose.
        member: MemberId,
        /// Which epoch.
        tag: Tag,
        /// How it ended.
        decision: Decision,
    },
    /// A joiner was refused, or given up.
    Released {
        /// Who.
        member: MemberId,
        /// Why; `None`: it gave up itself.
        why: Option<Refusal>,
    },
}

/// Commands and events of one mutation, at most.
const QUEUE: usize = 128;
/// Answers to those that have no place here.
const ANSWERS: usize = 16;

/// One member's machine: of a group of at most `MEMBERS` incarnations, for at most `JOINERS` joiners at once.
pub struct Provider<const MEMBERS: usize = 1024, const JOINERS: usize = 8> {
    config: Config,
    role: Role,
    /// What the state contains.
    delivered: Digest<MEMBERS>,
    /// How many prepares of each coordinator are pending.
    pending: Vec<(MemberId, u32), MEMBERS>,
    /// The end of the log, counted even while none is kept.
    end: LogPoint,
    /// Where the kept log begins; `None` while none is kept.
    kept: Option<LogPoint>,
    capture: Option<Captured<MEMBERS>>,
    latch: Latch,
    throttled: bool,
    slots: [Option<Slot>; JOINERS],
    outcomes: Outcomes,
    answers: Deque<output::Answer, ANSWERS>,
    commands: Deque<Command, QUEUE>,
    events: Deque<Event, QUEUE>,
}

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// The machine of a member that contains what `delivered` says, and has these prepares pending, each
    /// given by its coordinator.
    ///
    /// # Errors
    /// [`ConfigError`]: its needs are not met.
    pub fn new(
        config: Config,
        role: Role,
        delivered: Digest<MEMBERS>,
        pending: impl IntoIterator<Item = MemberId>,
    ) -> Result<Self, ConfigError> {
        const { assert!(JOINERS > 0 && JOINERS * 8 <= QUEUE, "a mutation's commands fit in the queue") };
        config.check()?;
        let mut provider = Self {
            config,
            role,
            delivered,
            pending: Vec::new(),
            end: LogPoint::default(),
            kept: None,
            capture: None,
            latch: Latch::new(),
            throttled: false,
            slots: [const { None }; JOINERS],
            outcomes: Outcomes::new(),
            answers: Deque::new(),
            commands: Deque::new(),
            events: Deque::new(),
        };
        for coordinator in pending {
            provider.prepare(coordinator);
        }
        Ok(provider)
    }

    /// What the state contains.
    #[must_use]
    pub const fn delivered(&self) -> &Digest<MEMBERS> {
        &self.delivered
    }

    /// Where the log of completions ends: counted even while none is kept.
    #[must_use]
    pub const fn log_end(&self) -> LogPoint {
        self.end
    }

    /// Whether it provides.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether messages and requests are held.
    #[must_use]
    pub const fn is_latched(&self) -> bool {
        !self.latch.is_open()
    }

    /// Whether anything is kept for a joiner: a place, a capture, a log, a latch.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none)
            && self.capture.is_none()
            && self.kept.is_none()
            && self.latch.is_open()
    }

    /// Where a transfer is.
    #[must_use]
    pub fn at(&self, transfer: TransferId) -> Option<At> {
        self.slots.iter().flatten().find(|slot| slot.tag.transfer == transfer).map(|slot| slot.at)
    }

    /// How an epoch ended, as far as is recorded.
    #[must_use]
    pub fn outcome(&self, tag: Tag) -> Option<Decision> {
        self.outcomes.recorded(tag)
    }

    /// Provides from now on, or no longer. Those under way are refused; as a [`Role::NonParticipant`] not at their
    /// latch. One that is [`Role::Joining`] gets another state ([`super::Joiner`]): it holds requests, has recorded the
    /// outcome of each epoch, and goes on delivering into what it has, which stands if none comes.
    pub fn set_role(&mut self, role: Role, now: Instant) {
        self.role = role;
        for n in 0..JOINERS {
            let Some(at) = self.slots[n].as_ref().map(|slot| slot.at) else { continue };
            match role {
                Role::Provider => {}
                Role::NonParticipant if at == At::Deciding => {}
                Role::NonParticipant => self.refuse(n, Refusal::NonParticipant, now),
                Role::Joining => self.refuse(n, Refusal::NotOperational, now),
            }
        }
        self.settle(now);
    }

    /// Another state has taken the place of this member's, in one step: it contains what `delivered` says, and these
    /// prepares are pending in it, each given by its coordinator. What is recorded stays, and so do requests in flight.
    ///
    /// # Panics
    /// Unless its role is [`Role::Joining`].
    pub fn replace(
        &mut self,
        delivered: Digest<MEMBERS>,
        pending: impl IntoIterator<Item = MemberId>,
        now: Instant,
    ) {
        assert_eq!(self.role, Role::Joining, "whoever provides keeps its state");
        self.delivered = delivered;
        self.pending.clear();
        for coordinator in pending {
            self.prepare(coordinator);
        }
        self.settle(now);
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Provider::handle_timeout`] must be called, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let slots = self.slots.iter().flatten().map(|slot| slot.deadline(&self.config));
        let waits = self.slots.iter().flatten().any(|slot| slot.wants_latch);
        slots.chain(self.latch.deadline(&self.config, waits)).min()
    }

    /// States the machine's inequalities; a broken one is a defect of this crate.
    ///
    /// # Panics
    /// If one is broken.
    pub fn invariants(&self) {
        let at = |at| self.slots.iter().flatten().filter(|slot| slot.at == at).count();
        let closing = at(At::Closing) + at(At::Deciding);
        assert_eq!(closing, usize::from(!self.latch.is_open()), "the latch is for one joiner, or open");
        let oldest = self.slots.iter().flatten().filter_map(|slot| self.needs(slot)).min();
        assert!(
            oldest.is_none_or(|oldest| self.kept.is_some_and(|kept| kept <= oldest)),
            "no hole in the log"
        );
        assert!(self.kept.is_none_or(|kept| kept <= self.end), "a log ends behind its beginning");
        let streams = at(At::Capturing) + at(At::Staging) > 0;
        assert!(!streams || self.capture.is_some(), "who streams has a capture to stream from");
    }

    fn command(&mut self, command: Command) {
        self.commands.push_back(command).expect("drained after every mutation");
    }

    fn event(&mut self, event: Event) {
        // A driver that takes no events loses them; nothing depends on them.
        let _ = self.events.push_back(event);
    }

    /// Moves a joiner on.
    fn advance(&mut self, n: usize, input: AtInput) {
        let slot = self.slots[n].as_mut().expect("a joiner that moves has a place");
        slot.at = slot.at.on(input).expect("only what the table has a place for");
        if slot.at == At::Over {
            self.slots[n] = None;
        }
    }
}
