//! Watching and stopping what runs.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longhaul_state::transfer::{Control, Event, Stage, Stats};

/// Watches one transfer, and may stop it. Any number of watches may look at one transfer; none of
/// them keeps it alive, and none can slow it.
#[derive(Clone, Debug)]
pub struct Watch {
    control: Arc<Control>,
    /// Subscribed before the start, so that the first to ask misses nothing.
    first: Arc<Mutex<Option<Receiver<Event>>>>,
    over: Arc<AtomicBool>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        let control = Arc::new(Control::new());
        let first = Arc::new(Mutex::new(Some(control.events())));
        Self { control, first, over: Arc::default() }
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// What happens. The first to ask hears everything from the start, later ones from now on. Who
    /// falls far behind loses events.
    #[must_use]
    pub fn events(&self) -> Events {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Events(first.unwrap_or_else(|| {
            let events = self.control.events();
            if self.over.load(Ordering::SeqCst) {
                // It may have ended before we asked: nobody else would end these events.
                self.control.close_events();
            }
            events
        }))
    }

    /// It is over: whoever follows its events sees their end.
    pub(crate) fn end(&self) {
        self.control.enter(Stage::Over);
        self.over.store(true, Ordering::SeqCst);
        self.control.close_events();
    }

    /// How far it is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.control.stats()
    }

    /// Stops it cleanly; nothing is published after it. It ends with [`crate::ErrorKind::Cancelled`],
    /// unless it was over by then.
    pub fn cancel(&self) {
        self.control.cancel();
    }

    /// A provider sends so many bytes a second at most, from now on; `None`: as many as can be.
    pub(crate) fn limit_rate(&self, bytes_per_second: Option<NonZeroU64>) {
        self.control.limit_rate(bytes_per_second);
    }

    pub(crate) fn give_way(&self) {
        self.control.give_way();
    }

    pub(crate) fn gives_way(&self) -> bool {
        self.control.gives_way()
    }

    pub(crate) fn is_established(&self) -> bool {
        self.control.is_established()
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.control.is_cancelled()
    }
}

/// Events as they happen; the end comes with the end of what is watched.
#[derive(Debug)]
pub struct Events<E = Event>(pub(crate) Receiver<E>);

impl<E> Events<E> {
    /// Waits for the next event, but no longer than `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] if nothing happened, [`RecvTimeoutError::Disconnected`] after
    /// the end.
    pub fn next_within(&mut self, timeout: Duration) -> Result<E, RecvTimeoutError> {
        self.0.recv_timeout(timeout)
    }
}

impl<E> Iterator for Events<E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        self.0.recv().ok()
    }
}
