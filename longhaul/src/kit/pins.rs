//! Retention: a source of messages keeps what it was asked to keep.

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::digest::SequenceNumber;
use longhaul_core::id::MemberId;

use super::subject::SENDER;
use super::trial::Outcome;
use crate::live::Pins;

/// Longer than any test.
const LEASE: Duration = Duration::from_mins(1);
const JOINERS: [MemberId; 2] = [MemberId([0xa1; 16]), MemberId([0xa2; 16])];

/// A source of messages that is put to the test: it has sent no message yet.
pub trait Retention {
    /// Who sends its messages.
    fn sender(&self) -> MemberId {
        SENDER
    }

    /// How joiners have it keep its messages.
    fn pins(&self) -> Arc<dyn Pins>;

    /// It sends a message, which all members deliver and say that they have; what nobody needs any more is dropped. The
    /// message's number.
    fn send(&self) -> SequenceNumber;

    /// Whether this message can still be sent again.
    fn is_kept(&self, message: SequenceNumber) -> bool;
}

/// Whether what is pinned is kept: how it is not.
///
/// # Errors
/// What [`Pins`] promises, and was not kept.
pub fn check_pins(subject: &dyn Retention) -> Result<(), String> {
    let pins = subject.pins();
    for _ in 0..5 {
        subject.send();
    }
    let [first, second] = JOINERS;
    let behind = pin(subject, first)?;
    let kept_since = behind.0 + 1;
    send_and_look(subject, kept_since, "pinned")?;
    let later = pin(subject, second)?;
    if later > behind {
        return Err(format!(
            "all behind message {behind} was pinned, and for another joiner only {later} is kept"
        ));
    }
    send_and_look(subject, kept_since, "pinned by two")?;
    let renewed = pin(subject, first)?;
    if renewed > behind {
        return Err(format!(
            "pinned anew, all behind message {renewed} is kept, and no longer behind {behind}"
        ));
    }
    pins.unpin(second);
    send_and_look(subject, kept_since, "pinned by one that is left")?;
    pins.unpin(first);
    Ok(())
}

/// What a source says: it keeps all behind this message.
fn pin(subject: &dyn Retention, joiner: MemberId) -> Outcome<SequenceNumber> {
    let sources = subject.pins().pin(joiner, LEASE).map_err(|error| format!("Pins::pin failed: {error}"))?;
    let source =
        sources.entry(subject.sender()).ok_or("Pins::pin does not name the source of the messages")?;
    Ok(source.delivered())
}

fn send_and_look(subject: &dyn Retention, since: u64, when: &str) -> Outcome {
    let last = (0..20).map(|_| subject.send()).last().unwrap_or_default();
    match (since..=last.0).find(|message| !subject.is_kept(SequenceNumber(*message))) {
        Some(gone) => Err(format!("{when} behind message {}, message {gone} is gone", since - 1)),
        None => Ok(()),
    }
}
