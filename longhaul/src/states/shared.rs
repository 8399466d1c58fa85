//! What a member's threads share: both machines behind one lock, and whatever they command.
//!
//! ```text
//!  application's threads ──turn, request──▶ ┐         ┌──▶ writers of connections: frames; the log is read there
//!  readers of connections ──frames────────▶ │ State   ├──▶ stage thread: bulks, records, commit     (joiner)
//!  stage thread, sums ────reports─────────▶ │ (lock)  ├──▶ sums: the roots of captures              (provider)
//!  driver thread ─────────deadlines───────▶ ┘ drive() └──▶ call thread: words to the group, reoffer, serve
//! ```
//!
//! Whoever changes a machine carries out its commands before the lock is free again ([`Shared::drive`]): a
//! capture belongs to its place in the order of delivery. What may take long goes to a thread of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::time::Instant;
use longhaul_core::transfer::fetch::{CaptureNumber, Command, Config, Destination, Joiner, Provider};
use longhaul_core::transfer::wire::FRAME_MAX;
use longhaul_core::transfer::{Role, Tag};

use super::application::Application;
use super::calls::Call;
use super::event::Event;
use super::fetch::Fetched;
use super::join::Joining;
use super::peer::Peer;
use crate::live::event::Watchers;
use crate::live::fetch::Outcome;
use crate::live::{ApplicationError, Log, MEMBERS, Snapshot};
use crate::member::clock::Clock;
use crate::member::giving::Giving;
use crate::member::threads::Threads;
use crate::settings::Settings;
use crate::watch::Watch;

/// Joiners at once.
pub(super) const JOINERS: usize = 8;

pub(super) type ProviderMachine = Provider<MEMBERS, JOINERS>;
pub(super) type JoinerMachine = Joiner<MEMBERS>;

pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) session: Settings,
    pub(super) application: Arc<dyn Application>,
    pub(super) log: Option<Arc<dyn Log>>,
    clock: Clock,
    pub(super) watchers: Watchers<Event>,
    pub(super) threads: Threads,
    /// Connections to members so far: each has a number of its own.
    pub(super) links_so_far: AtomicU64,
    state: Mutex<State>,
    /// Wakes the driver thread.
    deadlines: Condvar,
    /// Wakes those who wait until requests are admitted, and those who wait before they dial again.
    admission: Condvar,
}

/// What the lock protects.
pub(super) struct State {
    /// There once the member is operational, or commits.
    pub(super) provider: Option<Box<ProviderMachine>>,
    /// States that this member has had.
    pub(super) states_so_far: u64,
    /// The role of a member that is operational.
    pub(super) wanted: Role,
    pub(super) joining: Option<Joining>,
    /// Of the transfer that was begun last.
    pub(super) last: Option<Arc<Outcome<Fetched>>>,
    /// Connections of joiners.
    pub(super) peers: BTreeMap<u32, Peer>,
    pub(super) peers_so_far: u32,
    /// Words for members that have not dialled yet.
    pub(super) unsaid: VecDeque<Unsaid>,
    pub(super) captures: BTreeMap<CaptureNumber, Arc<dyn Snapshot>>,
    /// A log is to be kept, and can't.
    pub(super) has_no_log: bool,
    pub(super) giving: Giving,
    /// A state that was not asked for is taken.
    pub(super) accepts: bool,
    /// Commands of a turn that has not ended.
    pub(super) deferred: VecDeque<Command>,
    /// `None` once stopped.
    pub(super) calls: Option<Sender<Call>>,
    pub(super) stopped: bool,
    /// Until when the driver thread sleeps; `None`: it is awake.
    sleeps_until: Option<Duration>,
    frame: Vec<u8>,
}

/// A word for a member that has not dialled yet.
pub(super) struct Unsaid {
    pub(super) to: MemberId,
    pub(super) frame: Vec<u8>,
    pub(super) since: Instant,
}

impl Shared {
    pub(super) fn new(
        config: Config,
        session: Settings,
        application: Arc<dyn Application>,
        log: Option<Arc<dyn Log>>,
        provider: Option<Box<ProviderMachine>>,
        calls: Sender<Call>,
    ) -> Self {
        let state = State {
            provider,
            states_so_far: 0,
            wanted: Role::Provider,
            joining: None,
            last: None,
            peers: BTreeMap::new(),
            peers_so_far: 0,
            unsaid: VecDeque::new(),
            captures: BTreeMap::new(),
            has_no_log: false,
            giving: Giving::default(),
            accepts: false,
            deferred: VecDeque::new(),
            calls: Some(calls),
            stopped: false,
            sleeps_until: None,
            frame: vec![0; FRAME_MAX],
        };
        Self {
            config,
            session,
            application,
            log,
            clock: Clock::start(),
            watchers: Watchers::default(),
            threads: Threads::default(),
            links_so_far: AtomicU64::new(0),
            state: Mutex::new(state),
            deadlines: Condvar::new(),
            admission: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session has come for a capture.
    pub(super) fn give_to(
        self: &Arc<Self>,
        transfer: TransferId,
        session: &Watch,
    ) -> Option<Arc<dyn Snapshot>> {
        let mut state = self.lock();
        let snapshot = state.giving.come(transfer, session)?;
        self.tell_limit(&state);
        self.drive(&mut state);
        Some(snapshot)
    }

    /// Leases here are promises of others: what happened while this machine slept counts.
    pub(super) fn now(&self) -> Instant {
        self.clock.joiner()
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
            } else {
                break;
            }
        }
        self.settle_joining(state);
        let wakes = state.sleeps_until.is_some_and(|until| self.sleep(state) < until);
        if wakes {
            state.sleeps_until = None;
            self.deadlines.notify_one();
        }
    }

    /// Sends the next frame of either machine, if there is one.
    fn transmit(self: &Arc<Self>, state: &mut State) -> bool {
        let mut frame = std::mem::take(&mut state.frame);
        let now = self.now();
        let sent = if let Some(sent) =
            state.provider.as_mut().and_then(|machine| machine.poll_transmit(&mut frame, now))
        {
            state.send_to_joiner(&sent, &frame, now);
            true
        } else if let Some(joining) = &mut state.joining
            && let Some(sent) = joining.machine.poll_transmit(&mut frame)
        {
            let (word, tag) = (frame[..sent.len].to_vec(), joining.machine.tag());
            match sent.to {
                Destination::Member(member) => self.say(joining, member, word),
                Destination::Group => {
                    self.reach_all(joining);
                    state.call(Call::Say(tag, word));
                }
            }
            true
        } else {
            false
        };
        state.frame = frame;
        sent
    }

    /// A word of this transfer and epoch could not be said; whether it should be, after a pause.
    pub(super) fn could_not_say(&self, tag: Tag, why: ApplicationError, pause: Duration) -> bool {
        let mut state = self.lock();
        let is_current = |joining: &&mut Joining| joining.machine.tag() == tag && !joining.is_over();
        let Some(joining) = state.joining.as_mut().filter(is_current) else { return false };
        joining.cause = Some(why);
        let end = std::time::Instant::now() + pause;
        while let left = end.saturating_duration_since(std::time::Instant::now())
            && !left.is_zero()
            && !state.stopped
        {
            state = self.wait_for_admission(state, left);
        }
        !state.stopped && state.joining.as_mut().is_some_and(|joining| is_current(&joining))
    }

    /// When the driver thread must look again, as time since the member's start.
    fn sleep(&self, state: &State) -> Duration {
        let now = self.now();
        let provider = state.provider.as_ref().and_then(|machine| machine.poll_timeout());
        let joiner = state.joining.as_ref().and_then(|joining| joining.machine.poll_timeout());
        let next = [
            provider.map(|deadline| deadline.since(now)),
            joiner.map(|deadline| deadline.since(now)),
            (!state.peers.is_empty()).then_some(crate::live::driver::TICK),
            state.giving.look_within(),
        ];
        let next = next.into_iter().flatten().min().unwrap_or(crate::live::driver::IDLE);
        now.since(Instant::ZERO) + next.max(crate::live::driver::SHORTEST)
    }

    /// Waits for the driver's next deadline, or until somebody wakes it.
    pub(super) fn wait_for_deadline<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let until = self.sleep(&state);
        state.sleeps_until = Some(until);
        let time = until.saturating_sub(self.now().since(Instant::ZERO));
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
        if let Some(mut joining) = state.joining.take() {
            joining.stop();
        }
        self.deadlines.notify_all();
        self.admission.notify_all();
    }
}

impl State {
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
