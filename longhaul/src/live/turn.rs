//! The group's messages and clients' requests, on their way through a member.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use longhaul_core::message::{Effect, Message, Verdict};
use longhaul_core::transfer::LogPoint;

use super::application::Delivered;
use super::batch::{RECORD_HEAD, RECORD_MAX};
use super::shared::{Shared, State};
use crate::error::{Error, ErrorKind};

/// A place in the order of delivery: while it is held nothing else is delivered, and nothing is captured.
///
/// What is told to be delivered must be carried out, and logged, before it is dropped. Several messages may share one,
/// so that an engine commits them in one batch.
#[must_use = "what was told is carried out while it is held"]
pub struct Turn<'a> {
    shared: &'a Arc<Shared>,
    /// When it was asked for.
    since: Instant,
    state: MutexGuard<'a, State>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Self {
        Self { since: Instant::now(), state: shared.lock(), shared }
    }

    /// A message of the group has come, this member's own among them. `log_bytes`: how long the bytes of its record
    /// would be; of a commit, with what was prepared.
    ///
    /// On [`Verdict::Deliver`] it counts as delivered: the application carries it out, notes its number in the
    /// same step, and appends its record if it completes something. On [`Verdict::Hold`] it keeps it, in its
    /// order, and answers nobody; on [`Verdict::Drop`] it is contained, and whoever waits for an answer is answered
    /// yes; on [`Verdict::SendAgain`] it is dropped, and its sender asked to begin again from there.
    ///
    /// # Errors
    /// A record that is too long to travel, or more members than a digest has room for.
    pub fn handle_message(
        &mut self,
        message: &Message,
        effect: Effect,
        log_bytes: usize,
    ) -> Result<Verdict, Error> {
        if log_bytes > RECORD_MAX {
            let what = format!("a record has at most {RECORD_MAX} bytes, not {log_bytes}");
            return Err(Error::new(ErrorKind::Usage, what));
        }
        let now = self.shared.clock.provider();
        let State { provider, joining, deferred, .. } = &mut *self.state;
        let Some(machine) = provider else {
            return Ok(joining
                .as_mut()
                .map_or(Verdict::Drop, |joining| joining.machine.handle_message(message, effect)));
        };
        // One that gets another state goes on with the old one, until that is about to be replaced.
        if let Some(joining) = joining
            && !joining.machine.allows_delivery(machine.delivered(), message, effect)
        {
            return Ok(Verdict::Hold);
        }
        let verdict = machine
            .handle_message(message, effect, (RECORD_HEAD + log_bytes) as u32, now)
            .map_err(|error| Error::new(ErrorKind::Other, error.to_string()).with_cause(error))?;
        deferred.extend(std::iter::from_fn(|| machine.poll_command()));
        Ok(verdict)
    }

    /// What the state contains; `None` while this member has none.
    #[must_use]
    pub fn delivered(&self) -> Option<&Delivered> {
        self.state.provider.as_ref().map(|machine| machine.delivered())
    }

    /// Where the log of completions ends: behind the record of the message that was handled last.
    #[must_use]
    pub fn log_end(&self) -> LogPoint {
        self.state.provider.as_ref().map_or(LogPoint::default(), |machine| machine.log_end())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let State { provider, joining, giving, .. } = &mut *self.state;
        giving.note_turn(self.since.elapsed());
        if let (Some(machine), Some(joining)) = (provider, joining) {
            joining.machine.handle_delivered(machine.delivered());
        }
        self.shared.drive(&mut self.state);
    }
}

/// A client's request that was admitted: in flight until it is dropped. Parked, if it waits for a lock that a
/// prepared transaction holds, it is dropped as well: the latch does not wait for it.
#[must_use = "a request is in flight until it is dropped"]
pub struct Request {
    shared: Arc<Shared>,
    /// When it was asked for.
    since: Instant,
}

impl Request {
    /// Waits until it is admitted: for as long as the latch is closed, or the member has no state.
    pub(super) fn admit(shared: &Arc<Shared>, patience: Duration) -> Result<Self, Error> {
        let since = Instant::now();
        let deadline = since.checked_add(patience);
        let mut state = shared.lock();
        loop {
            if state.stopped {
                return Err(Error::new(ErrorKind::Cancelled, "the member was stopped"));
            }
            if ask(shared, &mut state) == Verdict::Deliver {
                return Ok(Self { shared: Arc::clone(shared), since });
            }
            let left =
                deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Error::new(ErrorKind::Stalled, "the request was not admitted in time"));
            }
            state = shared.wait_for_admission(state, left.min(super::driver::IDLE));
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        done(&self.shared, Some(self.since.elapsed()));
    }
}

/// Whether a request is admitted.
pub(super) fn ask(shared: &Arc<Shared>, state: &mut State) -> Verdict {
    let now = shared.clock.provider();
    state.provider.as_mut().map_or(Verdict::Hold, |machine| machine.handle_request(now))
}

/// A request has ended, or is parked; and how long it took, if that is known.
pub(super) fn done(shared: &Arc<Shared>, took: Option<Duration>) {
    let mut state = shared.lock();
    if let Some(took) = took {
        state.giving.note_write(took);
    }
    let now = shared.clock.provider();
    if let Some(machine) = &mut state.provider {
        machine.handle_request_done(now);
    }
    shared.drive(&mut state);
}
