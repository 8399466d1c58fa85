//! The provider's machine: every operational member runs one from its start.
//!
//! # Driving it
//!
//! Each message of the group goes through [`Provider::handle_message`] before it is delivered, this member's
//! own ones too, and each request of a client through [`Provider::handle_request`]. After any `handle_*` the
//! driver drains [`Provider::poll_command`], then [`Provider::poll_transmit`], then [`Provider::poll_event`], and
//! reads [`Provider::poll_timeout`]. Commands come first, and **before the next message is handled**: a capture
//! belongs to the place in the order of delivery where it was commanded.

mod captures;
mod copies;
mod input;
mod output;
mod slot;
mod suspension;
mod traffic;

pub use captures::CaptureNumber;
pub use output::Transmit;

use heapless::{Deque, Vec};

use self::captures::Captured;
use self::copies::Copy;
use self::output::Answer;
use self::slot::Slot;
use self::suspension::Suspension;
use super::life::{At, AtInput};
use super::{Config, ConfigError};
use crate::digest::Digest;
use crate::id::{MemberId, SnapshotId, StateId, TransferId};
use crate::time::Instant;
use crate::transfer::wire::Refusal;
use crate::transfer::{LogPoint, Role};

/// What the driver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Capture a state as it is at this place in the order: [`Provider::handle_captured`], or
    /// [`Provider::handle_capture_failed`].
    Capture {
        /// Names it from now on.
        capture: CaptureNumber,
        /// Which (partial) state.
        state: StateId,
    },
    /// Keep a log of all messages that change the state, from here on.
    KeepLog,
    /// Find the root of a captured state: [`Provider::handle_summing`] for as long as it takes, then [`Provider::handle_summed`].
    Sum {
        /// Of which.
        capture: CaptureNumber,
    },
    /// Give a captured state to a joiner, in a session.
    Give {
        /// Which transfer.
        transfer: TransferId,
        /// Which capture.
        capture: CaptureNumber,
        /// What its session calls it.
        snapshot: SnapshotId,
    },
    /// That session is over, or not wanted any more.
    StopGiving {
        /// Which transfer.
        transfer: TransferId,
    },
    /// Nobody needs the capture any more: drop it, or stop taking it.
    DropCapture {
        /// Which.
        capture: CaptureNumber,
    },
    /// Read records of the log: [`Provider::handle_log_read`].
    ReadLog {
        /// For which transfer.
        transfer: TransferId,
        /// From which place.
        from: LogPoint,
        /// Not beyond this one.
        end: LogPoint,
        /// No more bytes than this, but one record at least.
        max_bytes: u32,
    },
    /// Nobody needs the log before this place.
    TrimLog {
        /// The place.
        before: LogPoint,
    },
    /// Nobody needs the log.
    StopLog,
    /// Writers go on: offer again the requests that were held.
    Reoffer,
}

/// What people should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A joiner was admitted.
    Admitted {
        /// Who.
        member: MemberId,
    },
    /// A joiner has all that it wanted of this provider.
    Gave {
        /// Who.
        member: MemberId,
    },
    /// A joiner was refused, or given up.
    Released {
        /// Who.
        member: MemberId,
        /// Why; `None`: it gave up itself, or is gone.
        why: Option<Refusal>,
    },
    /// Writers go on.
    Resumed {
        /// For how long they were stopped, in nanoseconds.
        held_ns: u64,
    },
}

/// Commands and events of one mutation, at most.
const QUEUE: usize = 128;
/// Answers that were not sent yet.
const ANSWERS: usize = 32;

/// One member's machine: of a group of at most `MEMBERS` incarnations, for at most `JOINERS` joiners at once.
pub struct Provider<const MEMBERS: usize = 1024, const JOINERS: usize = 8> {
    pub(super) config: Config,
    role: Role,
    /// What the state contains.
    delivered: Digest<MEMBERS>,
    captures: [Option<Captured<MEMBERS>>; JOINERS],
    /// The number of the last capture, and whether the state has changed since.
    last_capture: u64,
    has_changed: bool,
    copies: Vec<Copy, JOINERS>,
    slots: [Option<Slot>; JOINERS],
    suspensions: Vec<Suspension, JOINERS>,
    held_since: Option<Instant>,
    /// Requests of clients between their start and their end.
    in_flight: u32,
    /// The end of the log, counted even while none is kept; and where the kept one begins.
    end: LogPoint,
    kept: Option<LogPoint>,
    answers: Deque<Answer, ANSWERS>,
    commands: Deque<Command, QUEUE>,
    events: Deque<Event, QUEUE>,
}

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// The machine of a member that contains what `delivered` says.
    ///
    /// # Errors
    /// [`ConfigError`]: its needs are not met.
    pub fn new(config: Config, role: Role, delivered: Digest<MEMBERS>) -> Result<Self, ConfigError> {
        const { assert!(JOINERS > 0 && JOINERS * 8 <= QUEUE, "a mutation's commands fit in the queue") };
        config.check()?;
        Ok(Self {
            config,
            role,
            delivered,
            captures: [const { None }; JOINERS],
            last_capture: 0,
            has_changed: false,
            copies: Vec::new(),
            slots: [const { None }; JOINERS],
            suspensions: Vec::new(),
            held_since: None,
            in_flight: 0,
            end: LogPoint::default(),
            kept: None,
            answers: Deque::new(),
            commands: Deque::new(),
            events: Deque::new(),
        })
    }

    /// What the state contains.
    #[must_use]
    pub const fn delivered(&self) -> &Digest<MEMBERS> {
        &self.delivered
    }

    /// The end of the log, counted from this process's beginning even while none is kept.
    #[must_use]
    pub const fn log_end(&self) -> LogPoint {
        self.end
    }

    /// Whether it provides.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether nothing is kept for anybody: no capture, copy, log or suspension.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none)
            && self.captures.iter().all(Option::is_none)
            && self.copies.is_empty()
            && self.suspensions.is_empty()
            && self.kept.is_none()
    }

    /// Whether writers are stopped.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        !self.suspensions.is_empty()
    }

    /// Where a transfer is.
    #[must_use]
    pub fn at(&self, transfer: TransferId) -> Option<At> {
        self.slots.iter().flatten().find(|slot| slot.tag.transfer == transfer).map(|slot| slot.at)
    }

    /// Provides from now on, or no longer: those under way are refused, and copies freed.
    pub fn set_role(&mut self, role: Role, now: Instant) {
        self.role = role;
        if role != Role::Provider {
            self.copies.clear();
            for n in 0..JOINERS {
                if self.slots[n].is_some() {
                    self.refuse(n, Refusal::NonParticipant);
                }
            }
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
        let copies = self.copies.iter().map(|copy| copy.until);
        let suspensions = self.suspensions.iter().map(|suspension| suspension.until);
        slots.chain(copies).chain(suspensions).min()
    }

    /// A deadline may have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        for n in 0..JOINERS {
            if self.slots[n].as_ref().is_some_and(|slot| now >= slot.deadline(&self.config)) {
                self.refuse(n, Refusal::Stalled);
            }
        }
        self.copies.retain(|copy| now < copy.until);
        self.expire_suspensions(now);
        self.settle(now);
    }

    /// States the machine's inequalities; a broken one is a defect of this crate.
    ///
    /// # Panics
    /// If one is broken.
    pub fn invariants(&self) {
        let slots = || self.slots.iter().flatten();
        let streams = slots().filter(|slot| matches!(slot.at, At::Capturing | At::Staging | At::Reading));
        for slot in streams {
            let capture = slot.capture.and_then(|n| self.captures[n].as_ref());
            assert!(capture.is_some(), "who streams has a capture to stream from");
        }
        let oldest = self.oldest();
        assert!(
            oldest.is_none_or(|oldest| self.kept.is_some_and(|kept| kept <= oldest)),
            "no hole in the log"
        );
        assert!(self.kept.is_none_or(|kept| kept <= self.end), "a log ends behind its beginning");
        for copy in self.copies.iter().filter_map(|copy| copy.capture) {
            assert!(self.captures[copy].is_some(), "a copy is of a capture");
        }
        assert!(self.held_since.is_none() || self.is_suspended(), "nothing is held for nobody");
    }

    fn command(&mut self, command: Command) {
        self.commands.push_back(command).expect("drained after every mutation");
    }

    fn event(&mut self, event: Event) {
        // A driver that takes no events loses them; nothing depends on them.
        let _ = self.events.push_back(event);
    }

    /// Whatever can be done now is done. Called after every mutation.
    fn settle(&mut self, now: Instant) {
        self.acknowledge();
        self.feed();
        self.collect();
        if self.suspensions.is_empty()
            && let Some(since) = self.held_since.take()
        {
            self.command(Command::Reoffer);
            self.event(Event::Resumed { held_ns: now.since(since).as_nanos() as u64 });
        }
        if cfg!(debug_assertions) {
            self.invariants();
        }
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
