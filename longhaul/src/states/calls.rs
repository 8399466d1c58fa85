//! What the application is told, on a thread that holds nothing: it may take its time, and call the member.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};
use std::time::Duration;

use longhaul_core::transfer::Tag;

use super::application::Application;
use super::shared::Shared;
use crate::live::shared::guarded;

/// The pause before a word that could not be said is said again.
const PAUSE: Duration = Duration::from_millis(50);

/// A call of the application.
pub(super) enum Call {
    /// Says something to the group, of this transfer and epoch.
    Say(Tag, Vec<u8>),
    /// What was held may pass.
    Reoffer,
    /// The member is operational.
    Serve,
}

/// Ends when nobody can call any more.
pub(super) fn run(shared: &Weak<Shared>, application: &Arc<dyn Application>, calls: &Receiver<Call>) {
    for call in calls {
        let called = guarded(|| {
            match call {
                Call::Say(tag, word) => say(shared, application, tag, &word),
                Call::Reoffer => application.reoffer(),
                Call::Serve => application.serve(),
            }
            Ok(())
        });
        if let Err(error) = called {
            tracing::error!(%error, "a call of the application failed");
        }
    }
}

/// Says a word until it is said, or of no use any more.
fn say(shared: &Weak<Shared>, application: &Arc<dyn Application>, tag: Tag, word: &[u8]) {
    while let Err(error) = guarded(|| application.send(word)) {
        tracing::warn!(%error, "a word to the group could not be said");
        let goes_on = shared.upgrade().is_some_and(|shared| shared.could_not_say(tag, error, PAUSE));
        if !goes_on {
            return;
        }
    }
}
