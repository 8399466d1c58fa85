//! The one source of messages, asked to keep what a joiner will need.

use std::time::Duration;

use longhaul::MemberId;
use longhaul::live::{Delivered, Entry, PinError, Pins};

use crate::member::{ask_to_pin, unpin};
use crate::store::PinRefused;

/// The primary's log, as a joiner pins it: dialled for every pin, so that a primary that was restarted is found again.
pub struct PrimaryPins {
    /// Where the primary listens; `None`: this is the primary, which joins nobody.
    pub primary: Option<String>,
}

impl Pins for PrimaryPins {
    fn pin(&self, joiner: MemberId, lease: Duration) -> Result<Delivered, PinError> {
        let primary = self.primary.as_ref().ok_or(PinError::Unreachable)?;
        let pinned = ask_to_pin(primary, joiner, lease).map_err(|_| PinError::Unreachable)?;
        let (behind, sent) = pinned.result.map_err(|refused| match refused {
            PinRefused::Gone { .. } => PinError::Refused { source: pinned.order },
            // There is room when a lease ends.
            PinRefused::Busy => PinError::Unreachable,
        })?;
        let mut sources = Delivered::new();
        let entry = Entry::new(pinned.order, behind, sent).map_err(|_| PinError::Unreachable)?;
        sources.insert(entry).map_err(|_| PinError::Unreachable)?;
        Ok(sources)
    }

    fn unpin(&self, joiner: MemberId) {
        if let Some(primary) = &self.primary {
            // Its lease ends by itself.
            let _ = unpin(primary, joiner);
        }
    }
}
