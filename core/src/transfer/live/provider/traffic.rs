//! The group's messages and clients' requests on their way through the machine.

use super::{Provider, Role};
use crate::digest::DigestError;
use crate::id::MemberId;
use crate::message::{Effect, Message, Verdict, count, place};
use crate::time::Instant;

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// A message of the group has come. On [`Verdict::Deliver`] it is counted as delivered at once: the driver
    /// carries it out, and adds it to the log if it completes something and a log is kept, before anything else.
    ///
    /// `log_bytes`: how long its record would be; of a commit, with what was kept aside.
    ///
    /// # Errors
    /// [`DigestError::Full`]: more incarnations than the machine has room for.
    pub fn handle_message(
        &mut self,
        message: &Message,
        effect: Effect,
        log_bytes: u32,
        now: Instant,
    ) -> Result<Verdict, DigestError> {
        let verdict = place(&self.delivered, message);
        if verdict != Verdict::Deliver {
            return Ok(verdict);
        }
        if self.latch.is_closed() {
            self.latch.delay(now);
            return Ok(Verdict::Hold);
        }
        count(&mut self.delivered, message)?;
        match effect {
            Effect::Prepare(transaction) => self.prepare(transaction.member),
            Effect::Commit(transaction) | Effect::Rollback(transaction) => self.decide(transaction.member),
            Effect::Leave(gone) => self.pending.retain(|(coordinator, _)| *coordinator != gone),
            Effect::Write | Effect::Nothing => {}
        }
        if effect.completes() {
            self.end = self.end.behind(log_bytes.into());
        }
        self.settle(now);
        Ok(Verdict::Deliver)
    }

    /// A client asks for something that will write. [`Verdict::Deliver`]: it is in flight until
    /// [`Provider::handle_request_done`]. [`Verdict::Hold`]: ask again after [`super::Command::Reoffer`].
    pub fn handle_request(&mut self, now: Instant) -> Verdict {
        if self.role == Role::Joining {
            return Verdict::Hold;
        }
        if !self.latch.is_open() {
            self.latch.delay(now);
            return Verdict::Hold;
        }
        self.latch.in_flight += 1;
        Verdict::Deliver
    }

    /// A request that was in flight has ended; or it waits for a lock that a prepared transaction holds, and is
    /// parked: it travels with the pending prepares, and nobody waits for it at the latch.
    ///
    /// # Panics
    /// If none was in flight.
    pub fn handle_request_done(&mut self, now: Instant) {
        self.latch.in_flight = self.latch.in_flight.checked_sub(1).expect("a request ends once");
        self.settle(now);
    }

    /// How many prepares are pending.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.pending.iter().map(|(_, count)| count).sum()
    }

    pub(super) fn prepare(&mut self, coordinator: MemberId) {
        if let Some((_, count)) = self.pending.iter_mut().find(|(member, _)| *member == coordinator) {
            *count += 1;
        } else {
            // There is an entry of the digest for each sender, and so room here.
            let _ = self.pending.push((coordinator, 1));
        }
    }

    fn decide(&mut self, coordinator: MemberId) {
        if let Some((_, count)) = self.pending.iter_mut().find(|(member, _)| *member == coordinator) {
            *count = count.saturating_sub(1);
        }
        self.pending.retain(|(_, count)| *count > 0);
    }
}
