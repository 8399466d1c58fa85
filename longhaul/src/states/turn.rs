//! The group's messages and clients' requests, on their way through a member.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use longhaul_core::message::{Effect, Message, Verdict};
use longhaul_core::transfer::wire::{Frame, HEADER_LEN, Header};
use longhaul_core::transfer::{LogPoint, Tag};

use super::shared::{Shared, State};
use crate::error::{Error, ErrorKind};
use crate::live::Delivered;
use crate::live::batch::{RECORD_HEAD, RECORD_MAX};

/// A place in the order of delivery: while it is held nothing else is delivered, and nothing is captured.
///
/// What is told to be delivered must be carried out, and logged, before it is dropped. Several messages may share one,
/// so that an engine commits them in one batch; a word ([`Turn::handle_word`]) is the last of its turn.
#[must_use = "what was told is carried out while it is held"]
pub struct Turn<'a> {
    shared: &'a Arc<Shared>,
    /// When it was asked for.
    since: Instant,
    state: MutexGuard<'a, State>,
    /// A word was handled: what it commands belongs behind it.
    is_over: bool,
}

impl<'a> Turn<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Self {
        Self { since: Instant::now(), state: shared.lock(), shared, is_over: false }
    }

    /// A message of the group has come, this member's own among them. `log_bytes`: how long the bytes of its record
    /// would be.
    ///
    /// On [`Verdict::Deliver`] it counts as delivered: the application carries it out, notes its number in the
    /// same step, and appends its record to the log if it changes anything and one is kept. On [`Verdict::Hold`] it keeps it, in its
    /// order, and a prepare may be answered yes; on [`Verdict::Drop`] it is contained, or will be, and whoever waits for an answer is
    /// answered yes; on [`Verdict::SendAgain`] it is dropped, and its sender asked to begin again from there.
    ///
    /// # Errors
    /// A record that is too long to travel, more members than a digest has room for, or a word was before it.
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
        let logged = Message { len: (RECORD_HEAD + log_bytes) as u32, ..*message };
        self.handle(message, &logged, effect, None)
    }

    /// A word has come that a member has said to all ([`super::Channel::send`]). The verdict means what it means for a message: on
    /// [`Verdict::Deliver`] its number is noted, on [`Verdict::Hold`] it is kept and offered again as a word.
    ///
    /// # Errors
    /// As [`Turn::handle_message`]; what is no word of a transfer counts as a message that changes nothing.
    pub fn handle_word(&mut self, message: &Message, word: &[u8]) -> Result<Verdict, Error> {
        let parsed = parse(word);
        if parsed.is_none() {
            tracing::warn!(sender = %message.sender, "a word on the group's channel is no frame of a transfer");
        }
        let control = parsed.as_ref().map(|(tag, frame)| (*tag, frame));
        let verdict = self.handle(message, message, Effect::Nothing, control);
        self.is_over = true;
        verdict
    }

    fn handle(
        &mut self,
        message: &Message,
        logged: &Message,
        effect: Effect,
        control: Option<(Tag, &Frame<'_>)>,
    ) -> Result<Verdict, Error> {
        if self.is_over {
            return Err(Error::new(ErrorKind::Usage, "a word is the last message of its turn"));
        }
        let full = |error: longhaul_core::digest::DigestError| {
            Error::new(ErrorKind::Other, error.to_string()).with_cause(error)
        };
        let now = self.shared.now();
        let State { provider, joining, deferred, .. } = &mut *self.state;
        let joining = joining.as_mut().filter(|joining| joining.is_on_channel && !joining.is_over());
        let before = match joining {
            Some(joining) => joining.machine.handle_message(message, control, now).map_err(full)?,
            None => Verdict::Deliver,
        };
        let Some(machine) = provider.as_mut().filter(|_| before == Verdict::Deliver) else {
            return Ok(if before == Verdict::Deliver { Verdict::Drop } else { before });
        };
        let verdict = machine.handle_message(logged, effect, control, now).map_err(full)?;
        deferred.extend(std::iter::from_fn(|| machine.poll_command()));
        Ok(verdict)
    }

    /// What the state contains; `None` while this member has none.
    #[must_use]
    pub fn delivered(&self) -> Option<&Delivered> {
        self.state.provider.as_ref().map(|machine| machine.delivered())
    }

    /// Where the log ends: behind the record of the message that was handled last.
    #[must_use]
    pub fn log_end(&self) -> LogPoint {
        self.state.provider.as_ref().map_or(LogPoint::default(), |machine| machine.log_end())
    }
}

/// A frame in the bytes of a word.
fn parse(word: &[u8]) -> Option<(Tag, Frame<'_>)> {
    let (head, body) = word.split_first_chunk::<HEADER_LEN>()?;
    let header = Header::parse(head).ok()?;
    Some((header.tag, Frame::parse(&header, body).ok()?))
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.state.giving.note_turn(self.since.elapsed());
        self.shared.drive(&mut self.state);
    }
}

/// A client's request that was admitted: in flight until it is dropped. Who writes drops it once all that it has sent is
/// delivered here.
#[must_use = "a request is in flight until it is dropped"]
pub struct Request {
    shared: Arc<Shared>,
    /// When it was asked for.
    since: Instant,
    /// Of which state: of one that was replaced nobody counts requests.
    state: u64,
}

impl Request {
    /// Waits until it is admitted: for as long as writers are stopped, or the member has no state.
    pub(super) fn admit(shared: &Arc<Shared>, patience: Duration) -> Result<Self, Error> {
        let since = Instant::now();
        let deadline = since.checked_add(patience);
        let mut state = shared.lock();
        loop {
            if state.stopped {
                return Err(Error::new(ErrorKind::Cancelled, "the member was stopped"));
            }
            let verdict = state.provider.as_mut().map(|machine| machine.handle_request());
            if verdict == Some(Verdict::Deliver) {
                return Ok(Self { shared: Arc::clone(shared), since, state: state.states_so_far });
            }
            let left =
                deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Error::new(ErrorKind::Stalled, "the request was not admitted in time"));
            }
            state = shared.wait_for_admission(state, left.min(crate::live::driver::IDLE));
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.giving.note_write(self.since.elapsed());
        let now = self.shared.now();
        let is_current = state.states_so_far == self.state;
        if let Some(machine) = state.provider.as_mut().filter(|_| is_current) {
            machine.handle_request_done(now);
        }
        self.shared.drive(&mut state);
    }
}
