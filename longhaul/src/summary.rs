//! What a transfer that succeeded has done.

use std::time::Duration;

use longhaul_core::id::MemberId;
use longhaul_core::integrity::{Integrity, Root};
use longhaul_state::transfer;

use crate::destination::Recovered;
use crate::error::{Error, ErrorKind};
use crate::receipt::Receipt;
use crate::settings::Transport;

/// What a transfer that succeeded has moved, how, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Items.
    pub items: u64,
    /// Logical bytes of content, holes included.
    pub bytes: u64,
    /// Payload bytes on the wire, those sent again included.
    pub bytes_sent: u64,
    /// Logical bytes that an earlier run had left at the joiner, and that were not sent again.
    pub bytes_resumed: u64,
    /// Items sent again.
    pub retries: u64,
    /// The integrity that was kept.
    pub integrity: Integrity,
    /// The root: the checksum of the whole state.
    pub root: Root,
    /// The joiner has published, as far as this side knows. Always true at a joiner.
    pub confirmed: bool,
    /// Joiner: why durability is not proven, if it is not.
    pub caveat: Option<&'static str>,
    /// Joiner: the provider application's words about the state.
    pub app_meta: Vec<u8>,
    /// Provider: the joiner application's words about the publishing.
    pub app_reply: Vec<u8>,
    /// The peer.
    pub peer: MemberId,
    /// From the start to the end, waiting for a busy peer included.
    pub duration: Duration,
    /// The transport that moved it; the one that was asked for if an earlier run had moved all of it.
    pub transport: Transport,
}

impl Summary {
    pub(crate) fn new(summary: &transfer::Summary, duration: Duration, transport: Transport) -> Self {
        Self {
            items: summary.items,
            bytes: summary.bytes,
            bytes_sent: summary.bytes_sent,
            bytes_resumed: summary.bytes_resumed,
            retries: summary.retries,
            integrity: summary.integrity,
            root: summary.root,
            confirmed: summary.confirmed,
            caveat: summary.caveat,
            app_meta: summary.app_meta.clone(),
            app_reply: summary.app_reply.clone(),
            peer: summary.peer,
            duration,
            transport,
        }
    }

    /// Of a state that an earlier run had ready: nothing was moved.
    pub(crate) fn recovered(recovered: &Recovered, duration: Duration, transport: Transport) -> Self {
        let Recovered { agreed, caveat } = *recovered;
        Self {
            items: agreed.items,
            bytes: agreed.bytes,
            bytes_sent: 0,
            bytes_resumed: agreed.bytes,
            retries: 0,
            integrity: agreed.root.integrity,
            root: agreed.root,
            confirmed: true,
            caveat,
            app_meta: Vec::new(),
            app_reply: Vec::new(),
            peer: MemberId::default(),
            duration,
            transport,
        }
    }

    /// Logical bytes per second over the whole duration.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        if self.duration.is_zero() { 0.0 } else { self.bytes as f64 / self.duration.as_secs_f64() }
    }

    /// For a provider that must know: that the joiner has said that it has published.
    ///
    /// # Errors
    /// [`ErrorKind::Unconfirmed`]: the connection was lost with the joiner's last word.
    pub fn require_confirmed(&self) -> Result<(), Error> {
        if self.confirmed {
            return Ok(());
        }
        let message = "all was sent and the joiner has agreed to it; whether it has published is not known";
        let error = Error::new(ErrorKind::Unconfirmed, message);
        Err(error.with_hint("look at the destination, or push again: what the joiner has is kept"))
    }

    /// What can be kept to verify the state later.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        Receipt { root: self.root, items: self.items, bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use longhaul_state::sink::Agreed;

    use super::*;

    #[test]
    fn who_must_know_is_told_that_nobody_knows() {
        let root = Root { integrity: Integrity::None, hash: [0; 32] };
        let agreed = Agreed { items: 1, bytes: 1, root };
        let recovered = Recovered { agreed, caveat: None };
        let mut summary = Summary::recovered(&recovered, Duration::ZERO, Transport::Std);
        summary.require_confirmed().unwrap();
        summary.confirmed = false;
        assert_eq!(summary.require_confirmed().unwrap_err().exit_code(), 14);
    }
}
