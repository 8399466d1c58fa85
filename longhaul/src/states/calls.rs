//! What the application is told, on a thread that holds nothing: it may take its time, and call the member.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::application::Application;
use crate::live::Snapshot;
use crate::live::shared::guarded;

/// A call of the application.
pub(super) enum Call {
    /// Says something to the group.
    Say(Vec<u8>),
    /// What was held may pass.
    Reoffer,
    /// The member is operational.
    Serve,
    /// A capture is released: that may take as long as it is large.
    Release(Arc<dyn Snapshot>),
}

/// Ends when nobody can call any more.
pub(super) fn run(application: &Arc<dyn Application>, calls: &Receiver<Call>) {
    for call in calls {
        let called = guarded(|| {
            match call {
                Call::Say(word) => return application.send(&word),
                Call::Reoffer => application.reoffer(),
                Call::Serve => application.serve(),
                Call::Release(snapshot) => drop(snapshot),
            }
            Ok(())
        });
        if let Err(error) = called {
            tracing::error!(%error, "a call of the application failed");
        }
    }
}
