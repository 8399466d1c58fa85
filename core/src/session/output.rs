//! What to do: every `poll_*` of a session, and the frames that it sends.

use core::fmt::Write;

use heapless::String;

use super::life::{Life, TakingState};
use super::{Command, Event, LaneState, Receive, Session, SessionError, Transmit};
use crate::id::Lane;
use crate::item::ItemName;
use crate::reason::{Phase, Side};
use crate::time::Instant;
use crate::wire::{Alive, Attach, Failed, Frame, Init, VERSION, Welcome};

impl<const LANES: usize, const WINDOW: usize> Session<LANES, WINDOW> {
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
        } else if self.life == Life::Failed {
            return None;
        } else if core::mem::take(&mut self.pending.init) {
            Frame::Init(self.init())
        } else if self.lanes[0] != LaneState::Up {
            return None;
        } else if core::mem::take(&mut self.pending.welcome) {
            Frame::Welcome(self.welcome())
        } else if core::mem::take(&mut self.pending.alive) {
            Frame::Alive(Alive { done: self.done })
        } else {
            let taken = self.taking.poll_transmit(out, &mut self.reports);
            return taken.or_else(|| self.giving.poll_transmit(lane, out));
        };
        let len = frame.emit(out).expect("the caller's buffer takes any frame");
        Some(Transmit { len, payload: None })
    }

    fn transmit_data(&mut self, lane: Lane, out: &mut [u8]) -> Option<Transmit> {
        if self.is_over() || self.lanes[lane.index()] != LaneState::Up {
            return None;
        }
        if core::mem::take(&mut self.attach[lane.index()]) {
            let frame = Frame::Attach(Attach { token: self.config.token, lane });
            let len = frame.emit(out).expect("the caller's buffer takes any frame");
            return Some(Transmit { len, payload: None });
        }
        self.giving.poll_transmit(lane, out)
    }

    /// Where the payload goes whose header was handled last on `lane`.
    #[must_use]
    pub fn poll_receive(&self, lane: Lane) -> Option<Receive> {
        if self.is_over() { None } else { self.taking.window.receive(lane) }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        if self.life == Life::Failed {
            return None;
        }
        self.reports
            .poll_command()
            .or_else(|| self.taking.window.poll_reset())
            .or_else(|| self.taking.window.poll_kept())
            .or_else(|| self.giving.poll_command())
    }

    /// The next thing that people should know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.reports.poll_event()
    }

    /// The one next deadline: call [`Session::handle_timeout`] then. `None` once the session is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.life {
            Life::Done | Life::Unconfirmed | Life::Failed => None,
            Life::Reconnecting => {
                let redial = self.redial.as_ref();
                let [at, answer_by] = redial.map_or([None; 2], |redial| [redial.at, redial.answer_by]);
                let last = if self.works_alone() {
                    (self.taking.state() != TakingState::Installing).then(|| self.deadline())
                } else {
                    redial.map(|_| self.give_up_at())
                };
                [at, answer_by, last].into_iter().flatten().min()
            }
            Life::Open if self.taking.state() == TakingState::Installing => Some(self.next_alive),
            Life::Greeting | Life::Open => Some(self.deadline().min(self.next_alive)),
        }
    }

    /// When the session fails if nothing moves until then.
    pub(super) fn deadline(&self) -> Instant {
        let (handshake, stall) = (self.config.handshake_timeout, self.config.stall_timeout);
        self.last_progress.after(if self.established { stall } else { handshake })
    }

    /// When a session without a connection is given up.
    pub(super) fn give_up_at(&self) -> Instant {
        let since = self.redial.as_ref().map_or(self.last_progress, |redial| redial.since);
        since.after(self.config.stall_timeout.saturating_mul(2))
    }

    fn transmit_failure(&mut self, out: &mut [u8]) -> Option<Transmit> {
        let error = self.failure?;
        let mut message: String<256> = String::new();
        // A message that does not fit is cut; the reason stands.
        let _ = write!(message, "{error}");
        let failed = Failed {
            reason: error.reason(),
            phase: self.failed_in,
            side: if self.config.roles.provides { Side::Provider } else { Side::Joiner },
            offset: None,
            name: ItemName::ROOT,
            message: &message,
            app_reply: b"",
        };
        let len = Frame::Failed(failed).emit(out).ok()?;
        Some(Transmit { len, payload: None })
    }

    const fn init(&self) -> Init {
        Init {
            versions: (VERSION, VERSION),
            roles: self.config.roles,
            capabilities: self.config.capabilities,
            member: self.config.member,
            cluster: self.config.cluster,
            transfer: self.config.transfer,
            epoch: self.config.epoch,
        }
    }

    const fn welcome(&self) -> Welcome {
        Welcome {
            version: VERSION,
            roles: self.config.roles,
            capabilities: self.capabilities,
            member: self.config.member,
            cluster: self.config.cluster,
            epoch: self.config.epoch,
            token: self.config.token,
        }
    }
}

/// The words for a peer that is turned away before there is a session: busy, or why not.
/// Returns the frame's length.
#[must_use]
pub fn refusal(error: &SessionError, side: Side, out: &mut [u8]) -> usize {
    let mut message: String<256> = String::new();
    // A message that does not fit is cut; the reason stands.
    let _ = write!(message, "{error}");
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
            app_reply: b"",
        }),
    };
    frame.emit(out).unwrap_or(0)
}
