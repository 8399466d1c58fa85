//! The latch: the short stop of writes at the end of a live transfer.

use core::time::Duration;

use super::super::Config;
use super::super::life::{LatchInput, LatchState};
use crate::time::Instant;

#[derive(Clone, Debug)]
pub(super) struct Latch {
    state: LatchState,
    /// When it began to close.
    since: Instant,
    /// What was held first.
    delayed: Option<Instant>,
    /// Not closed again before then.
    not_before: Instant,
    /// How often in a row it opened because what was in flight did not end.
    undrained: u32,
    /// Requests of clients between their start and their end.
    pub(super) in_flight: u32,
}

impl Latch {
    pub(super) const fn new() -> Self {
        Self {
            state: LatchState::Open,
            since: Instant::ZERO,
            delayed: None,
            not_before: Instant::ZERO,
            undrained: 0,
            in_flight: 0,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, LatchState::Open)
    }

    pub(super) const fn is_draining(&self) -> bool {
        matches!(self.state, LatchState::Draining)
    }

    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.state, LatchState::Closed)
    }

    /// Something is held from now on.
    pub(super) fn delay(&mut self, now: Instant) {
        self.delayed.get_or_insert(now);
    }

    pub(super) fn may_close(&self, now: Instant) -> bool {
        self.is_open() && now >= self.not_before
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.state = self.state.on(LatchInput::Close).expect("it is open");
        (self.since, self.delayed) = (now, None);
    }

    pub(super) fn drained(&mut self) {
        self.state = self.state.on(LatchInput::Drained).expect("it drains");
        self.undrained = 0;
    }

    /// Opens it, and says how long it was closed, and how long something was held.
    pub(super) fn open(&mut self, now: Instant) -> (Duration, Duration) {
        self.state = self.state.on(LatchInput::Open).expect("it is closed");
        let delayed = self.delayed.take().map_or(Duration::ZERO, |first| now.since(first));
        (now.since(self.since), delayed)
    }

    /// Opens it because what is in flight does not end, and leaves it open for longer each time.
    pub(super) fn give_up(&mut self, config: &Config, now: Instant) -> (Duration, Duration) {
        self.undrained = (self.undrained + 1).min(8);
        self.not_before = now.after(config.latch_budget.saturating_mul(1 << self.undrained));
        self.open(now)
    }

    /// Draining has taken its half of the budget.
    pub(super) fn is_undrained(&self, config: &Config, now: Instant) -> bool {
        self.is_draining() && now.since(self.since) >= config.latch_budget / 2
    }

    /// Whether the lease is over: by this clock alone.
    pub(super) fn is_expired(&self, config: &Config, now: Instant) -> bool {
        self.is_closed() && now.since(self.since) >= config.lease
    }

    /// When something must be done about it.
    pub(super) fn deadline(&self, config: &Config, somebody_waits: bool) -> Option<Instant> {
        match self.state {
            LatchState::Open => somebody_waits.then_some(self.not_before),
            LatchState::Draining => Some(self.since.after(config.latch_budget / 2)),
            LatchState::Closed => Some(self.since.after(config.lease)),
        }
    }
}
