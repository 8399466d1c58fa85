//! Writers that are stopped, for as long as those who asked for it say so.

use core::time::Duration;

use super::output::Reply;
use super::{Event, Provider};
use crate::digest::SequenceNumber;
use crate::id::MemberId;
use crate::time::Instant;
use crate::transfer::Tag;

#[derive(Clone, Copy, Debug)]
pub(super) struct Suspension {
    pub(super) tag: Tag,
    pub(super) member: MemberId,
    pub(super) until: Instant,
    pub(super) is_acknowledged: bool,
}

impl<const MEMBERS: usize, const JOINERS: usize> Provider<MEMBERS, JOINERS> {
    /// SUSPEND is delivered here, or said again: it is answered once nothing is in flight.
    pub(super) fn suspend(&mut self, tag: Tag, member: MemberId, lease_ns: u64, now: Instant) {
        if member == self.config.member {
            return;
        }
        self.suspensions.retain(|one| one.member != member);
        let until = now.after(Duration::from_nanos(lease_ns));
        // Without room it is not answered, and so nobody takes this member for stopped.
        let _ = self.suspensions.push(Suspension { tag, member, until, is_acknowledged: false });
        self.held_since.get_or_insert(now);
    }

    /// RESUME is delivered here.
    pub(super) fn resume(&mut self, tag: Tag) {
        self.suspensions.retain(|one| one.tag.transfer != tag.transfer);
    }

    /// Who asked for it has not said it again in time: writers go on, and it is told.
    pub(super) fn expire_suspensions(&mut self, now: Instant) {
        while let Some(n) = self.suspensions.iter().position(|one| now >= one.until) {
            let Suspension { tag, member, .. } = self.suspensions.remove(n);
            self.answer(member, tag, Reply::Resumed);
            self.event(Event::Released { member, why: None });
        }
    }

    pub(super) fn acknowledge(&mut self) {
        let sent =
            self.delivered.entry(self.config.member).map_or(SequenceNumber::NONE, |own| own.delivered());
        for n in 0..self.suspensions.len() {
            let Suspension { tag, member, is_acknowledged, .. } = self.suspensions[n];
            if self.in_flight == 0 && !is_acknowledged {
                self.suspensions[n].is_acknowledged = true;
                self.answer(member, tag, Reply::Suspended(sent));
            }
        }
    }
}
