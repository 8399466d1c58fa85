//! A member's machine for the group's messages and its clients' requests, of whichever protocol.

use longhaul_core::digest::{Digest, DigestError};
use longhaul_core::message::{Effect, Message, Verdict};
use longhaul_core::time::Instant;
use longhaul_core::transfer::wire::Frame;
use longhaul_core::transfer::{Role, Tag, fetch, live};

use super::store::MEMBERS;

pub(super) type LiveProvider = live::Provider<MEMBERS, 3>;
pub(super) type FetchProvider = fetch::Provider<MEMBERS, 7>;

pub(super) enum Giver {
    Live(Box<LiveProvider>),
    Fetch(Box<FetchProvider>),
}

impl Giver {
    pub(super) fn live(&mut self) -> &mut LiveProvider {
        match self {
            Self::Live(machine) => machine,
            Self::Fetch(_) => panic!("a case has one protocol"),
        }
    }

    pub(super) fn fetch(&mut self) -> &mut FetchProvider {
        match self {
            Self::Fetch(machine) => machine,
            Self::Live(_) => panic!("a case has one protocol"),
        }
    }

    pub(super) fn delivered(&self) -> &Digest<MEMBERS> {
        match self {
            Self::Live(machine) => machine.delivered(),
            Self::Fetch(machine) => machine.delivered(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Live(machine) => machine.is_idle(),
            Self::Fetch(machine) => machine.is_idle(),
        }
    }

    /// Whether messages are held.
    pub(super) fn is_latched(&self) -> bool {
        match self {
            Self::Live(machine) => machine.is_latched(),
            Self::Fetch(_) => false,
        }
    }

    pub(super) fn set_role(&mut self, role: Role, now: Instant) {
        match self {
            Self::Live(machine) => machine.set_role(role, now),
            Self::Fetch(machine) => machine.set_role(role, now),
        }
    }

    pub(super) fn handle_message(
        &mut self,
        message: &Message,
        effect: Effect,
        control: Option<(Tag, &Frame<'_>)>,
        now: Instant,
    ) -> Result<Verdict, DigestError> {
        match self {
            Self::Live(machine) => machine.handle_message(message, effect, message.len, now),
            Self::Fetch(machine) => machine.handle_message(message, effect, control, now),
        }
    }

    pub(super) fn handle_request(&mut self, now: Instant) -> Verdict {
        match self {
            Self::Live(machine) => machine.handle_request(now),
            Self::Fetch(machine) => machine.handle_request(),
        }
    }

    pub(super) fn handle_request_done(&mut self, now: Instant) {
        match self {
            Self::Live(machine) => machine.handle_request_done(now),
            Self::Fetch(machine) => machine.handle_request_done(now),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Live(machine) => machine.handle_timeout(now),
            Self::Fetch(machine) => machine.handle_timeout(now),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Live(machine) => machine.poll_timeout(),
            Self::Fetch(machine) => machine.poll_timeout(),
        }
    }
}
