//! ^C and SIGTERM: the first stops cleanly, the second at once. A limit on the size of files is an error like others.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// What the first signal does, and which it was.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// 0 before any.
    signal: AtomicI32,
    stops: Mutex<Vec<Box<dyn Fn() + Send>>>,
}

impl Interrupt {
    /// Listens for signals from now on.
    pub(crate) fn install() -> io::Result<Self> {
        let interrupt = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        // Whoever hears it is not killed by it, and the write fails with words of its own.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let heard = interrupt.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                heard.hear(signal);
            }
        })?;
        Ok(interrupt)
    }

    fn hear(&self, signal: i32) {
        let first = self.0.signal.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !first {
            std::process::exit(128 + signal);
        }
        for stop in self.0.stops.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            stop();
        }
    }

    /// Has the first signal call `stop`; at once if it came already.
    pub(crate) fn on_first(&self, stop: impl Fn() + Send + 'static) {
        let mut stops = self.0.stops.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_interrupted() {
            stop();
        }
        stops.push(Box::new(stop));
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.exit_code().is_some()
    }

    /// What a command exits with that a signal has stopped.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        match self.0.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(128 + signal as u8),
        }
    }
}
