//! Those who write: each at its own times, whatever became of the write before.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use longhaul::live::{Effect, Handle, Message, SequenceNumber, Verdict};
use longhaul::{live, states};

use crate::engine::{Engine, ORDER, RECORD, VALUE};

/// What writes count under, by when they were intended.
pub(crate) const BEFORE: usize = 0;
pub(crate) const DURING: usize = 1;
const PHASES: usize = 3;

/// Nobody waits longer than this for a write.
const PATIENCE: Duration = Duration::from_mins(10);

/// Nanoseconds that writes took.
pub(crate) type Latencies = Histogram<u64>;

/// What all writers share.
pub(crate) struct Pen {
    phase: AtomicUsize,
    is_over: AtomicBool,
    /// Between two writes of one writer.
    every: Duration,
    latencies: Mutex<Vec<Latencies>>,
}

impl Pen {
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            phase: AtomicUsize::new(BEFORE),
            is_over: AtomicBool::new(false),
            every,
            latencies: Mutex::new((0..PHASES).map(|_| histogram()).collect()),
        }
    }

    /// What is intended from now on counts under this.
    pub(crate) fn enter(&self, phase: usize) {
        self.phase.store(phase, Ordering::SeqCst);
    }

    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// What was measured in a phase, once the writers have ended.
    pub(crate) fn latencies(&self, phase: usize) -> Latencies {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)[phase].clone()
    }

    /// One writer, until it is to end.
    pub(crate) fn write(&self, seed: u64, group: &impl Group, engine: &Engine) {
        let mut mine: Vec<Latencies> = (0..PHASES).map(|_| histogram()).collect();
        let mut noise = seed;
        let mut intended = Instant::now();
        while !self.is_over.load(Ordering::SeqCst) {
            intended += self.every;
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            let phase = self.phase.load(Ordering::SeqCst);
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if carry_out(group, engine, noise >> 16).is_none() {
                break;
            }
            let took = u64::try_from(intended.elapsed().as_nanos()).unwrap_or(u64::MAX);
            mine[phase].saturating_record(took);
        }
        let mut all = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        for (all, mine) in all.iter_mut().zip(mine) {
            // Of the same bounds.
            let _ = all.add(mine);
        }
    }
}

/// One write, from its request on; `None` once the member is stopped.
fn carry_out(group: &impl Group, engine: &Engine, key: u64) -> Option<()> {
    let _request = group.request()?;
    let value = [key as u8; VALUE];
    loop {
        let reoffered = engine.reoffered();
        let mut turn = group.turn();
        // Who has the turn is next in the order.
        let number = engine.delivered() + 1;
        let (sequence, len) = (SequenceNumber(number), RECORD as u32);
        let message = Message { sender: ORDER, sequence, len, handle: Handle(number) };
        if turn.handle(&message)? == Verdict::Deliver {
            engine.write(number, key, &value);
            return Some(());
        }
        drop(turn);
        engine.wait(reoffered);
    }
}

/// A member of either kind, as far as writers know it.
pub(crate) trait Group: Sync {
    type Request;
    type Turn<'a>: Turn
    where
        Self: 'a;

    /// A request, once it is admitted; `None` once the member is stopped.
    fn request(&self) -> Option<Self::Request>;
    fn turn(&self) -> Self::Turn<'_>;
}

pub(crate) trait Turn {
    /// What becomes of a write.
    fn handle(&mut self, message: &Message) -> Option<Verdict>;
}

impl Group for live::Member {
    type Request = live::Request;
    type Turn<'a> = live::Turn<'a>;

    fn request(&self) -> Option<live::Request> {
        self.request(PATIENCE).ok()
    }

    fn turn(&self) -> live::Turn<'_> {
        self.turn()
    }
}

impl Turn for live::Turn<'_> {
    fn handle(&mut self, message: &Message) -> Option<Verdict> {
        self.handle_message(message, Effect::Write, RECORD).ok()
    }
}

impl Group for states::Member {
    type Request = states::Request;
    type Turn<'a> = states::Turn<'a>;

    fn request(&self) -> Option<states::Request> {
        self.request(PATIENCE).ok()
    }

    fn turn(&self) -> states::Turn<'_> {
        self.turn()
    }
}

impl Turn for states::Turn<'_> {
    fn handle(&mut self, message: &Message) -> Option<Verdict> {
        self.handle_message(message, Effect::Write, RECORD).ok()
    }
}

/// To three digits, as long as anybody waits.
pub(crate) fn histogram() -> Latencies {
    Histogram::new_with_bounds(1, PATIENCE.as_nanos() as u64, 3).expect("bounds in order")
}
