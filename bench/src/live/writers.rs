//! Those who write: each at its own times, whatever became of the write before.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use longhaul::live::{Effect, Handle, Member, Message, SequenceNumber, Verdict};

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
    /// Writers wait while it is set.
    is_stopped: Mutex<bool>,
    goes_on: Condvar,
    /// Between two writes of one writer.
    every: Duration,
    latencies: Mutex<Vec<Latencies>>,
}

impl Pen {
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            phase: AtomicUsize::new(BEFORE),
            is_over: AtomicBool::new(false),
            is_stopped: Mutex::new(false),
            goes_on: Condvar::new(),
            every,
            latencies: Mutex::new((0..PHASES).map(|_| histogram()).collect()),
        }
    }

    /// What is intended from now on counts under this.
    pub(crate) fn enter(&self, phase: usize) {
        self.phase.store(phase, Ordering::SeqCst);
    }

    /// Nobody writes from now on, or all do again.
    pub(crate) fn stop_the_world(&self, stops: bool) {
        *self.is_stopped.lock().unwrap_or_else(PoisonError::into_inner) = stops;
        self.goes_on.notify_all();
    }

    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// What was measured in a phase, once the writers have ended.
    pub(crate) fn latencies(&self, phase: usize) -> Latencies {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)[phase].clone()
    }

    /// One writer, until it is to end.
    pub(crate) fn write(&self, seed: u64, member: &Member, engine: &Engine) {
        let mut mine: Vec<Latencies> = (0..PHASES).map(|_| histogram()).collect();
        let mut noise = seed;
        let mut intended = Instant::now();
        while !self.is_over.load(Ordering::SeqCst) {
            intended += self.every;
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            let phase = self.phase.load(Ordering::SeqCst);
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let stopped = self.is_stopped.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.goes_on.wait_while(stopped, |stopped| *stopped));
            if carry_out(member, engine, noise >> 16).is_none() {
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
fn carry_out(member: &Member, engine: &Engine, key: u64) -> Option<()> {
    let _request = member.request(PATIENCE).ok()?;
    let value = [key as u8; VALUE];
    loop {
        let reoffered = engine.reoffered();
        let mut turn = member.turn();
        // Who has the turn is next in the order.
        let number = engine.delivered() + 1;
        let (sequence, len) = (SequenceNumber(number), RECORD as u32);
        let message = Message { sender: ORDER, sequence, len, handle: Handle(number) };
        if turn.handle_message(&message, Effect::Write, RECORD).ok()? == Verdict::Deliver {
            engine.write(number, key, &value);
            return Some(());
        }
        drop(turn);
        engine.wait(reoffered);
    }
}

/// To three digits, as long as anybody waits.
pub(crate) fn histogram() -> Latencies {
    Histogram::new_with_bounds(1, PATIENCE.as_nanos() as u64, 3).expect("bounds in order")
}
