//! What the application is told, on a thread that holds nothing: it may take its time, and call the member.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::application::Application;
use super::shared::guarded;

/// A call of the application.
pub(super) enum Call {
    /// What was held may pass.
    Reoffer,
    /// Writers are slowed down, or no longer.
    Throttle(bool),
    /// The member is operational.
    Serve,
}

/// Ends when nobody can call any more.
pub(super) fn run(application: &Arc<dyn Application>, calls: &Receiver<Call>) {
    for call in calls {
        let called = guarded(|| {
            match call {
                Call::Reoffer => application.reoffer(),
                Call::Throttle(on) => application.throttle(on),
                Call::Serve => application.serve(),
            }
            Ok(())
        });
        if let Err(error) = called {
            tracing::error!(%error, "a call of the application failed");
        }
    }
}
