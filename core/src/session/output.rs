//! What to do: every `poll_*` of a session, and the frames that it sends.

use core::fmt::Write;

use heapless::String;

use super::{Command, Event, Half, Receive, Session, SessionError, State, Transmit, capability};
use crate::id::Lane;
use crate::item::ItemName;
use crate::reason::{Phase, Side};
use crate::time::Instant;
use crate::wire::{Alive, Attach, Failed, Frame, Init, Request, Roles, VERSION, Welcome};

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
    pub(super) fn deadline(&self) -> Instant {
        self.last_progress.after(match self.state {
            State::Greeting => self.config.handshake_timeout,
            _ => self.config.stall_timeout,
        })
    }

    fn transmit_failure(&mut self, out: &mut [u8]) -> Option<Transmit> {
        let error = self.failure?;
        let mut message: String<256> = String::new();
        // A message that does not fit is cut; the reason stands.
        let _ = write!(message, "{error}");
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
        }),
    };
    frame.emit(out).unwrap_or(0)
}
