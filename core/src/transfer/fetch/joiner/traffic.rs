//! The group's messages while the state is on its way.

use super::{Failure, Input, Joiner, State, Want};
use crate::digest::DigestError;
use crate::message::{Message, Verdict, count, place};
use crate::time::Instant;
use crate::transfer::Tag;
use crate::transfer::wire::Frame;

impl<const MEMBERS: usize> Joiner<MEMBERS> {
    /// A message of the group has come; `control` is what it says to these machines, where it bears a transfer's
    /// frame.
    ///
    /// [`Verdict::Hold`]: it is queued. What is queued will be delivered once the state is there, so a prepare may be
    /// answered yes at once. [`Verdict::Drop`]: it came before, or will be part of the state. [`Verdict::Deliver`]:
    /// this member serves ([`super::Config::serves`]), and its provider's machine goes on with it.
    ///
    /// # Errors
    /// [`DigestError::Full`]: more incarnations than the machine has room for; the transfer has failed.
    pub fn handle_message(
        &mut self,
        message: &Message,
        control: Option<(Tag, &Frame<'_>)>,
        now: Instant,
    ) -> Result<Verdict, DigestError> {
        let verdict = place(&self.heard, message);
        if verdict != Verdict::Deliver {
            return Ok(verdict);
        }
        if let Err(full) = count(&mut self.heard, message) {
            self.fail(Failure::Full);
            return Err(full);
        }
        let before = if self.config.serves { Verdict::Deliver } else { Verdict::Drop };
        if self.is_over() {
            return Ok(before);
        }
        if let Some((tag, Frame::MakeCopy { .. })) = control
            && tag == self.tag
            && self.state == State::Ordering
        {
            self.ordered(now);
            return Ok(before);
        }
        if self.config.protocol.is_ordered() && self.copy.is_none() {
            return Ok(before);
        }
        // Words to these machines are few and short: a stop that is said again must not fill the queue.
        self.queued_bytes += if control.is_some() { 0 } else { u64::from(message.len) };
        if self.queued_bytes > self.config.queue_bytes && self.state != State::Committing {
            self.anew(Failure::QueueFull, now);
            return Ok(before);
        }
        Ok(Verdict::Hold)
    }

    /// The own delivery of `MAKE_COPY`: the state is that of this place, and queueing begins.
    fn ordered(&mut self, now: Instant) {
        self.copy = Some(self.tag.epoch);
        self.need = self.heard.clone();
        self.progress = now;
        if self.want == Want::Quorum {
            self.compares_since = now;
            self.advance(Input::Compare);
            self.ask_roots();
        } else {
            self.advance(Input::Ordered);
            self.ask(now);
        }
    }
}
