//! The group's messages and clients' requests on their way through the machine.

use super::Provider;
use crate::digest::DigestError;
use crate::id::MemberId;
use crate::message::{Effect, Message, Verdict, count, place};
use crate::time::Instant;
use crate::transfer::wire::Frame;
use crate::transfer::{Role, Tag};

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// A message of the group has come; `control` is what it says to this machine, where it bears a transfer's
    /// frame. On [`Verdict::Deliver`] it is counted as delivered at once: the driver carries it out, adds it to
    /// the log if one is kept and it changes anything, and then carries out the commands, before anything else.
    ///
    /// # Errors
    /// [`DigestError::Full`]: more incarnations than the machine has room for.
    pub fn handle_message(
        &mut self,
        message: &Message,
        effect: Effect,
        control: Option<(Tag, &Frame<'_>)>,
        now: Instant,
    ) -> Result<Verdict, DigestError> {
        let verdict = place(&self.delivered, message);
        if verdict != Verdict::Deliver {
            return Ok(verdict);
        }
        count(&mut self.delivered, message)?;
        if effect != Effect::Nothing {
            self.has_changed = true;
            self.end = self.end.behind(message.len.into());
        }
        if let Effect::Leave(gone) = effect {
            self.forget(|member| member == gone);
        }
        match control {
            Some((tag, Frame::MakeCopy { member, lease_ns, have })) => {
                self.make_copy(tag, *member, *lease_ns, *have, now);
            }
            Some((tag, Frame::Collect)) => self.collect_copies(tag),
            Some((tag, Frame::Suspend { member, lease_ns })) => self.suspend(tag, *member, *lease_ns, now),
            Some((tag, Frame::Resume)) => self.resume(tag),
            Some(_) | None => {}
        }
        self.settle(now);
        Ok(Verdict::Deliver)
    }

    /// These are the members now: what is kept for others is freed.
    pub fn handle_view(&mut self, members: &[MemberId], now: Instant) {
        self.forget(|member| !members.contains(&member));
        self.settle(now);
    }

    /// Members are gone.
    fn forget(&mut self, is_gone: impl Fn(MemberId) -> bool) {
        self.copies.retain(|copy| !is_gone(copy.member));
        self.suspensions.retain(|one| !is_gone(one.member));
        for n in 0..JOINERS {
            if self.slots[n].as_ref().is_some_and(|slot| is_gone(slot.member)) {
                self.release(n, None);
            }
        }
    }

    /// A client asks for something that will write. [`Verdict::Deliver`]: it is in flight until
    /// [`Provider::handle_request_done`]. [`Verdict::Hold`]: ask again after [`super::Command::Reoffer`].
    pub fn handle_request(&mut self) -> Verdict {
        if self.role == Role::Joining || self.is_suspended() {
            return Verdict::Hold;
        }
        self.in_flight += 1;
        Verdict::Deliver
    }

    /// A request that was in flight has ended: all that it sent is delivered here.
    ///
    /// # Panics
    /// If none was in flight.
    pub fn handle_request_done(&mut self, now: Instant) {
        self.in_flight = self.in_flight.checked_sub(1).expect("a request ends once");
        self.settle(now);
    }
}
