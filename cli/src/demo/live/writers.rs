//! Those who write: at a stated rate, each write at its own time. What it takes is measured from then on, not from when the
//! writer came to it, so that a writer who is held up does not hide it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use longhaul::live::Member;

use super::channel::{Channel, Write};
use super::map::{Map, VALUE_LEN};

/// What the writes are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Before,
    During,
    After,
}

impl When {
    pub(super) const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        }
    }
}

/// How long writes took, in nanoseconds, by when they were intended.
pub(super) type Latencies = [Histogram<u64>; 3];

/// What all writers share.
pub(super) struct Pen {
    when: AtomicU8,
    is_over: AtomicBool,
    /// Between two writes of one writer.
    every: Duration,
    keys: u64,
    latencies: Mutex<Vec<Latencies>>,
}

/// Nobody waits longer than this for a write.
const PATIENCE: Duration = Duration::from_mins(1);
/// Writers that are slowed down write this much less.
const THROTTLED: u32 = 4;

impl Pen {
    pub(super) fn new(every: Duration, keys: u64) -> Self {
        let (when, is_over) = (AtomicU8::new(When::Before as u8), AtomicBool::new(false));
        Self { when, is_over, every, keys, latencies: Mutex::default() }
    }

    /// What is intended from now on counts under this.
    pub(super) fn now_is(&self, when: When) {
        self.when.store(when as u8, Ordering::Relaxed);
    }

    pub(super) fn stop(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// What all writers have measured, once they have ended.
    pub(super) fn latencies(&self) -> Option<Latencies> {
        let mut all = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = all.pop()?;
        for other in all.drain(..) {
            for (sum, other) in sum.iter_mut().zip(&other) {
                sum.add(other).ok()?;
            }
        }
        Some(sum)
    }

    /// One writer: until it is stopped, or the member is.
    pub(super) fn write(&self, seed: u64, member: &Member, map: &Map, channel: &Channel) {
        let Some(mut latencies) = histograms() else { return };
        let mut noise = seed;
        let mut intended = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            let pause = if map.is_throttled() { self.every * THROTTLED } else { self.every };
            intended += pause;
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            let when = self.when.load(Ordering::Relaxed);
            let Ok(request) = member.request(PATIENCE) else { break };
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value: Arc<[u8]> = [noise as u8; VALUE_LEN].into();
            let number = channel.send(Write { key: (noise >> 16) % self.keys, value });
            while map.lock().delivered() < number && !self.is_over.load(Ordering::Relaxed) {
                map.wait_until(|_| map.lock().delivered() >= number);
            }
            drop(request);
            let took = u64::try_from(intended.elapsed().as_nanos()).unwrap_or(u64::MAX);
            latencies[usize::from(when)].saturating_record(took);
        }
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(latencies);
    }
}

/// To three digits, up to twice as long as anybody waits.
fn histograms() -> Option<Latencies> {
    let one = || Histogram::<u64>::new_with_bounds(1, 2 * PATIENCE.as_nanos() as u64, 3).ok();
    Some([one()?, one()?, one()?])
}
