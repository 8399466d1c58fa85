//! How a session's machine is built: beside other work, or before anybody waits for it.
//!
//! A machine is large, and memory that is touched for the first time costs more than to fill it: a caller with a small
//! state would wait longer for the two machines than for its state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use longhaul_core::id::{Token, TransferId};
use longhaul_core::session::Config;
use longhaul_core::time::Instant;
use longhaul_state::transfer::Priority;

use super::Machine;

/// Stack enough to build a machine on.
const STACK: usize = 1536 << 10;
const _: () = assert!(4 * size_of::<Machine>() < STACK);

/// A machine that is there, or is being built.
pub(crate) enum Building {
    Done(Box<Machine>),
    Started { make: Make, config: Config, thread: Option<JoinHandle<Box<Machine>>> },
}

type Make = fn(Config, Instant) -> Machine;

impl Building {
    /// For the side that dials.
    pub(super) fn dial(config: Config) -> Self {
        Self::start(Machine::dial, config)
    }

    /// It is built on the stack before it comes to lie where it stays, two or three times its size: on the stack of a
    /// thread that goes, or that of every session would keep these pages.
    fn start(make: Make, config: Config) -> Self {
        // Of another size than those of other threads: the system gives it again to the next machine, not to them.
        let thread = thread::Builder::new().name("longhaul-build".into()).stack_size(STACK);
        Self::Started { make, config, thread: thread.spawn(move || build(make, config)).ok() }
    }

    /// Waits until it is there.
    pub(super) fn finish(self) -> Box<Machine> {
        match self {
            Self::Done(machine) => machine,
            Self::Started { make, config, thread } => {
                // Without a thread to spare it costs what it costs.
                let built = thread.and_then(|thread| thread.join().ok());
                built.unwrap_or_else(|| build(make, config))
            }
        }
    }
}

/// Never part of a caller, whose stack would have the room for it.
#[inline(never)]
fn build(make: Make, config: Config) -> Box<Machine> {
    Box::new(make(config, Instant::ZERO))
}

/// The machine of the next caller, built when the one before has gone.
#[derive(Default)]
pub(crate) struct Spare(Mutex<Shelf>);

#[derive(Default)]
enum Shelf {
    #[default]
    Empty,
    /// A thread builds one.
    Ordered,
    Machine(Config, Box<Machine>),
}

impl Spare {
    /// A machine for a caller of a session with this configuration.
    pub(super) fn take(&self, config: &Config) -> Box<Machine> {
        let mut kept = self.lock();
        match std::mem::take(&mut *kept) {
            Shelf::Machine(made_for, machine) if made_for == alike(config) => return machine,
            Shelf::Ordered => *kept = Shelf::Ordered,
            Shelf::Machine(..) | Shelf::Empty => {}
        }
        drop(kept);
        Building::start(Machine::listen, alike(config)).finish()
    }

    /// Has one built for a caller like this one, if there is none, by a thread that gets in nobody's way.
    pub(super) fn refill(self: &Arc<Self>, config: &Config) {
        let mut kept = self.lock();
        if !matches!(*kept, Shelf::Empty) {
            return;
        }
        let (spare, config) = (Arc::clone(self), alike(config));
        let thread = thread::Builder::new().name("longhaul-build".into()).stack_size(STACK);
        let refill = move || {
            crate::priority::take(Priority::Idle);
            let machine = build(Machine::listen, config);
            *spare.lock() = Shelf::Machine(config, machine);
        };
        // Without a thread to spare the next caller waits for its machine.
        if thread.spawn(refill).is_ok() {
            *kept = Shelf::Ordered;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What sessions of one listener have in common: who calls brings the rest.
fn alike(config: &Config) -> Config {
    Config { transfer: TransferId::default(), token: Token::default(), seed: 0, ..*config }
}
