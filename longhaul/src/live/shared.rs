//! What a member's threads share: both machines behind one lock, and whatever they command.
//!
//! ```text
//!  application's threads ──turn, request──▶ ┐         ┌──▶ writers of links: frames; log and prepares are read there
//!  readers of links ──────frames──────────▶ │ State   ├──▶ stage thread: bulk, records, commit      (joiner)
//!  stage thread, pin thread ──reports─────▶ │ (lock)  ├──▶ pin thread                               (joiner)
//!  driver thread ─────────deadlines───────▶ ┘ drive() └──▶ call thread: reoffer, throttle, serve
//! ```
//!
//! Whoever changes a machine carries out its commands before the lock is free again ([`Shared::drive`]): a
//! capture belongs to its place in the order of delivery. What may take long goes to a thread of its own.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul_core::id::SnapshotId;
use longhaul_core::time::Instant;
use longhaul_core::transfer::LogPoint;
use longhaul_core::transfer::live::{Command, Config, Joiner, Provider, Role};
use longhaul_core::transfer::wire::FRAME_MAX;

use super::application::{Application, MEMBERS, Pins, Snapshot};
use super::calls::Call;
use super::event::Watchers;
use super::join::Joining;
use super::peer::Peer;
use crate::member::clock::Clock;
use crate::member::giving::Giving;
use crate::member::threads::Threads;
use crate::settings::Settings;

/// Joiners at once.
pub(super) const JOINERS: usize = 8;

/// Transactions that a joiner may have answered the prepares of, and whose outcome has not gone by.
const OPEN: usize = 1024;

pub(super) type ProviderMachine = Provider<MEMBERS, JOINERS>;
pub(super) type JoinerMachine = Joiner<MEMBERS, OPEN>;

pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) session: Settings,
    pub(super) application: Arc<dyn Application>,
    pub(super) pins: Arc<dyn Pins>,
    pub(super) clock: Clock,
    pub(super) watchers: Watchers,
    pub(super) threads: Threads,
    state: Mutex<State>,
    /// Wakes the driver thread.
    deadlines: Condvar,
    /// Wakes those who wait until requests are admitted.
    admission: Condvar,
    /// Wakes those who send log no faster than they may.
    hurry: Condvar,
}

/// What the lock protects.
pub(super) struct State {
    /// There once the member is operational, or commits.
    pub(super) provider: Option<Box<ProviderMachine>>,
    /// The role of a member that is operational.
    pub(super) wanted: Role,
    pub(super) joining: Option<Joining>,
    /// Connections of joiners.
    pub(super) peers: BTreeMap<u32, Peer>,
    pub(super) peers_so_far: u32,
    pub(super) capture: Option<Captured>,
    pub(super) is_logging: bool,
    pub(super) giving: Giving,
    /// Bytes of log that were sent since it was looked at last, and how many a second may be in any case.
    pub(super) log_sent: u64,
    pub(super) log_least: Option<NonZeroU64>,
    /// Commands of a turn that has not ended.
    pub(super) deferred: VecDeque<Command>,
    /// A state that was not asked for is taken.
    pub(super) accepts: bool,
    /// `None` once stopped.
    pub(super) calls: Option<Sender<Call>>,
    pub(super) stopped: bool,
    /// Until when the driver thread sleeps; `None`: it is awake.
    pub(super) sleeps_until: Option<Duration>,
    frame: Vec<u8>,
}

/// The capture that joiners stream from.
pub(super) struct Captured {
    pub(super) id: SnapshotId,
    pub(super) snapshot: Arc<dyn Snapshot>,
    /// Where its log begins.
    pub(super) from: LogPoint,
}

impl Shared {
    pub(super) fn new(
        config: Config,
        session: Settings,
        application: Arc<dyn Application>,
        pins: Arc<dyn Pins>,
        provider: Option<Box<ProviderMachine>>,
        calls: Sender<Call>,
    ) -> Self {
        let state = State {
            provider,
            wanted: Role::Provider,
            joining: None,
            peers: BTreeMap::new(),
            peers_so_far: 0,
            capture: None,
            is_logging: false,
            giving: Giving::default(),
            log_sent: 0,
            log_least: None,
            deferred: VecDeque::new(),
            accepts: false,
            calls: Some(calls),
            stopped: false,
            sleeps_until: None,
            frame: vec![0; FRAME_MAX],
        };
        Self {
            config,
            session,
            application,
            pins,
            clock: Clock::start(),
            watchers: Watchers::default(),
            threads: Threads::default(),
            state: Mutex::new(state),
            deadlines: Condvar::new(),
            admission: Condvar::new(),
            hurry: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what the machines want, until they want nothing.
    pub(super) fn drive(self: &Arc<Self>, state: &mut State) {
        loop {
            if let Some(command) = state.next_command() {
                self.serve(state, command);
            } else if let Some(command) = state.joining.as_mut().and_then(Joining::poll_command) {
                self.take(state, command);
            } else if self.transmit(state) {
            } else if let Some(event) = state.provider.as_mut().and_then(|machine| machine.poll_event()) {
                self.tell(event);
            } else if !self.settle_joining(state) {
                break;
            }
        }
        if state.is_latched() {
            self.hurry.notify_all();
        }
        let wakes = state.sleeps_until.is_some_and(|until| self.sleep(state) < until);
        if wakes {
            state.sleeps_until = None;
            self.deadlines.notify_one();
        }
    }

    /// Sends the next frame of either machine, if there is one.
    fn transmit(&self, state: &mut State) -> bool {
        let mut frame = std::mem::take(&mut state.frame);
        let now = self.clock.provider();
        let sent = if let Some(sent) =
            state.provider.as_mut().and_then(|machine| machine.poll_transmit(&mut frame, now))
        {
            state.send_to_joiner(&sent, &frame);
            true
        } else if let Some(joining) = &mut state.joining
            && let Some(len) = joining.machine.poll_transmit(&mut frame)
        {
            joining.send(&frame[..len]);
            true
        } else {
            false
        };
        state.frame = frame;
        sent
    }

    /// When the driver thread must look again, as time since the member's start.
    pub(super) fn sleep(&self, state: &State) -> Duration {
        let since_start = self.clock.provider().since(Instant::ZERO);
        let provider = state.provider.as_ref().and_then(|machine| machine.poll_timeout());
        let joiner = state.joining.as_ref().and_then(|joining| joining.machine.poll_timeout());
        let next = [
            provider.map(|deadline| deadline.since(self.clock.provider())),
            joiner.map(|deadline| deadline.since(self.clock.joiner())),
            (!state.peers.is_empty()).then_some(super::driver::TICK),
            state.giving.look_within(),
        ];
        let next = next.into_iter().flatten().min().unwrap_or(super::driver::IDLE);
        since_start + next.max(super::driver::SHORTEST)
    }

    /// Waits for the driver's next deadline, or until somebody wakes it.
    pub(super) fn wait_for_deadline<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let until = self.sleep(&state);
        state.sleeps_until = Some(until);
        let time = until.saturating_sub(self.clock.provider().since(Instant::ZERO));
        let mut state = self.deadlines.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0;
        state.sleeps_until = None;
        state
    }

    /// Waits until requests may be admitted, it is stopped, or `patience` is over.
    pub(super) fn wait_for_admission<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        patience: Duration,
    ) -> MutexGuard<'a, State> {
        self.admission.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits for so long, but not once the latch is closed: writers wait for what is left of the log.
    pub(super) fn hold_back(&self, time: Duration) {
        let goes_on = |state: &mut State| !state.is_latched() && !state.stopped;
        drop(self.hurry.wait_timeout_while(self.lock(), time, goes_on));
    }

    /// Those who wait look again.
    pub(super) fn admit(&self) {
        self.admission.notify_all();
    }

    /// Ends what waits; what runs ends by itself.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.calls = None;
        for peer in state.peers.values() {
            peer.close();
        }
        state.giving.stop_all();
        // With it goes the way to the pin thread, which ends.
        if let Some(mut joining) = state.joining.take() {
            joining.stop();
        }
        self.deadlines.notify_all();
        self.admission.notify_all();
        self.hurry.notify_all();
    }
}

impl State {
    fn is_latched(&self) -> bool {
        self.provider.as_ref().is_some_and(|machine| machine.is_latched())
    }

    fn next_command(&mut self) -> Option<Command> {
        let deferred = self.deferred.pop_front();
        deferred.or_else(|| self.provider.as_mut().and_then(|machine| machine.poll_command()))
    }

    /// Has the application called, once nothing is held.
    pub(super) fn call(&self, call: Call) {
        if let Some(calls) = &self.calls {
            // Stopped: nobody is called any more.
            let _ = calls.send(call);
        }
    }
}

/// Calls the application: its panic is an error.
pub(crate) fn guarded<T>(
    call: impl FnOnce() -> Result<T, super::ApplicationError>,
) -> Result<T, super::ApplicationError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(ToString::to_string);
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(format!("the application panicked: {said}").into())
    })
}
