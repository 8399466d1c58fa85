//! Lanes that come and go, connections that are replaced, and time that passes without either.

use core::time::Duration;

use super::input::unexpected;
use super::life::{Life, TakingState};
use super::{Event, LaneState, Misbehaviour, Session, SessionError};
use crate::id::{Lane, Token};
use crate::time::Instant;
use crate::wire::{Init, Kind};

impl<const LANES: usize, const WINDOW: usize> Session<LANES, WINDOW> {
    /// A lane stands: dialled as commanded, or come in with this session's token. Of lane 0 the dialler
    /// says so after a re-dial. `false`: it is none of the session's lanes now, and its connection is to be
    /// closed.
    pub fn handle_lane_up(&mut self, lane: Lane, now: Instant) -> bool {
        if self.is_over() {
            return false;
        }
        if lane == Lane::CONTROL {
            let awaited = self.dialled_again(now);
            self.check();
            return awaited;
        }
        // A lane that comes after the connection was lost belongs to an epoch that is over.
        if self.life == Life::Reconnecting {
            return false;
        }
        // Its connection may be quicker than the announcement on lane 0 that grants it.
        let wanted = lane.0 <= self.granted().max(self.taking.demanded_lanes());
        let at = lane.index().min(LANES - 1);
        if !wanted || !matches!(self.lanes[at], LaneState::Down | LaneState::Dialled) {
            self.fail_with(SessionError::Misbehaved(Misbehaviour::WrongLane(Kind::Attach)));
            return false;
        }
        self.lanes[at] = LaneState::Up;
        self.attach[at] = self.dialler;
        self.giving.window.lane_up(lane);
        self.progress(now);
        self.check();
        true
    }

    /// Dialler: lane 0 stands again, if that was wanted; Init goes out with the next epoch.
    fn dialled_again(&mut self, now: Instant) -> bool {
        let handshake = self.config.handshake_timeout;
        let dials = self.dialler;
        let Some(redial) = self.redial.as_mut().filter(|redial| dials && redial.answer_by.is_some()) else {
            return false;
        };
        (redial.at, redial.answer_by) = (None, Some(now.after(handshake)));
        self.config.epoch.0 += 1;
        self.pending.init = true;
        true
    }

    /// A lane that was to be dialled could not be.
    pub fn handle_dial_failed(&mut self, lane: Lane, now: Instant) {
        if lane == Lane::CONTROL {
            if let Some(redial) = &mut self.redial {
                redial.plan(now, Duration::ZERO);
            }
            return;
        }
        self.handle_lane_lost(lane, now);
    }

    /// A lane's connection was lost, or ended before the session did. Nothing that still comes of it may be handled.
    pub fn handle_lane_lost(&mut self, lane: Lane, now: Instant) {
        if self.is_over() {
            return;
        }
        match self.life {
            Life::Open if lane == Lane::CONTROL => self.lose(SessionError::LaneLost(lane), now),
            Life::Open => self.data_lane_lost(lane, now),
            Life::Reconnecting if lane == Lane::CONTROL && self.dialler => {
                if let Some(redial) = &mut self.redial {
                    redial.plan(now, Duration::ZERO);
                }
                self.pending.init = false;
            }
            Life::Reconnecting => {}
            _ => self.fail_with(SessionError::LaneLost(lane)),
        }
        self.settle();
        self.check();
    }

    fn data_lane_lost(&mut self, lane: Lane, now: Instant) {
        let at = lane.index();
        if at >= LANES || !matches!(self.lanes[at], LaneState::Up | LaneState::Dialled) {
            return;
        }
        let was_up = self.lanes[at] == LaneState::Up;
        self.lanes[at] = LaneState::Lost;
        self.attach[at] = false;
        self.reports.event(Event::LaneLost(lane));
        if was_up {
            self.reports.command(super::Command::CloseLane { lane });
            self.giving.window.lane_lost(lane);
            if let Err(error) = self.taking.window.lane_lost(lane, &mut self.reports) {
                return self.fail_with(error);
            }
        }
        self.need_lanes(lane, now);
    }

    /// Without a data lane left the connection is lost, once a task is under way that needs one.
    pub(super) fn need_lanes(&mut self, lost: Lane, now: Instant) {
        if !self.lanes.contains(&LaneState::Lost) {
            return;
        }
        let granted = usize::from(self.granted());
        // At a listener a lane that has not come may yet come.
        let left = granted == 0 || self.lanes[1..=granted].iter().any(|lane| *lane != LaneState::Lost);
        if self.life == Life::Open && !left && (self.giving.needs_lanes() || self.taking.needs_lanes()) {
            self.lose(SessionError::LaneLost(lost), now);
        }
    }

    /// Listener: the dialler of this session is here again, with a later epoch; `token` admits its
    /// further lanes. Close the lanes as commanded before the new connection becomes lane 0.
    ///
    /// # Errors
    /// If it is another member, or no later epoch; the session itself goes on as it was.
    pub fn handle_resume(&mut self, init: &Init, token: Token, now: Instant) -> Result<(), SessionError> {
        let known = self.peer == Some(init.member) && self.config.transfer == init.transfer;
        if !known || self.dialler || self.is_over() || !self.can_resume() {
            return Err(SessionError::Gone);
        }
        if init.epoch <= self.config.epoch {
            return Err(unexpected(Kind::Init));
        }
        // The dialler knows of the loss before this side does.
        if self.life == Life::Open {
            self.lose(SessionError::LaneLost(Lane::CONTROL), now);
        }
        (self.config.epoch, self.config.token) = (init.epoch, token);
        self.pending.welcome = true;
        self.resumed(now);
        self.check();
        Ok(())
    }

    /// Time has come to [`Session::poll_timeout`], or any other.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        match self.life {
            Life::Reconnecting => self.reconnecting(now),
            _ if now >= self.deadline() && self.taking.state() != TakingState::Installing => {
                let after = now.since(self.last_progress);
                let answered = self.established;
                self.fail_with(if answered {
                    SessionError::Stalled { after }
                } else {
                    SessionError::NoAnswer { after }
                });
            }
            _ if now >= self.next_alive => {
                self.next_alive = now.after(self.config.stall_timeout / 4);
                self.pending.alive = self.life == Life::Open;
            }
            _ => {}
        }
        self.check();
    }

    fn reconnecting(&mut self, now: Instant) {
        let alone = self.works_alone();
        if alone && now >= self.deadline() && self.taking.state() != TakingState::Installing {
            let after = now.since(self.last_progress);
            return self.give_up(SessionError::Stalled { after });
        }
        let give_up_at = self.give_up_at();
        let Some(redial) = &mut self.redial else { return };
        if now >= give_up_at && !alone {
            let after = now.since(redial.since);
            return self.give_up(SessionError::NotResumed { after });
        }
        if redial.at.take_if(|at| *at <= now).is_some() {
            redial.answer_by = Some(now.after(self.config.handshake_timeout));
            return self.reports.command(super::Command::Dial { lane: Lane::CONTROL });
        }
        if redial.answer_by.take_if(|by| *by <= now).is_some() {
            redial.plan(now, Duration::ZERO);
            self.pending.init = false;
            self.reports.command(super::Command::CloseLane { lane: Lane::CONTROL });
        }
    }
}
