//! The provider's process: an engine, its writers, and whoever gets its state.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use longhaul::live::{
    Apply, Capture, Config, Contract, Delivered, Event, Member, PinError, Pins, Properties,
};
use longhaul::{Events, MemberId, Priority, states};
use serde_json::{Value, json};

use crate::engine::{Engine, ORDER};
use crate::flush;
use crate::run::tell;
use crate::writers::{BEFORE, DURING, Group, Latencies, Pen};

pub(crate) const PROVIDER: MemberId = MemberId([1; 16]);

/// Writers at once.
const WRITERS: u32 = 2;

/// How the threads of a transfer compete for processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum At {
    Normal,
    Low,
    Idle,
}

impl At {
    pub(crate) const fn priority(self) -> Priority {
        match self {
            Self::Normal => Priority::Normal,
            Self::Low => Priority::Low,
            Self::Idle => Priority::Idle,
        }
    }

    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

#[derive(Args)]
pub(crate) struct Provide {
    /// Bytes of the state.
    size: u64,
    /// Writes a second.
    rate: u32,
    /// How its threads compete for processors.
    priority: At,
    /// As fast as can be, whatever it costs the writers.
    #[arg(long)]
    unlimited: bool,
    /// Writers are stopped for all of it.
    #[arg(long)]
    flush: bool,
}

/// Messages are never dropped, and nobody follows a joiner that was measured.
pub(crate) struct Everything;

impl Pins for Everything {
    fn pin(&self, _joiner: MemberId, _lease: Duration) -> Result<Delivered, PinError> {
        let mut sources = Delivered::new();
        let entry = longhaul::live::Entry::fresh(ORDER);
        sources.insert(entry).map_err(|_| PinError::Refused { source: ORDER })?;
        Ok(sources)
    }

    fn unpin(&self, _joiner: MemberId) {}
}

pub(crate) fn config(member: MemberId) -> Result<Config, Box<dyn std::error::Error>> {
    let contract = Contract::new(Capture::Atomic, Apply::Once)?;
    let offers = Properties::TOTAL_ORDER.and(Properties::SEND_AGAIN);
    Ok(Config::new(member, offers, contract))
}

impl Provide {
    /// Does what it is told, line by line, and tells at its end what was measured.
    pub(crate) fn run(&self) -> Result<(), Box<dyn std::error::Error>> {
        let engine = Arc::new(Engine::of(self.size));
        let told = if self.flush { self.flush(&engine)? } else { self.follow(&engine)? };
        Ok(tell(&told)?)
    }

    /// While writes go on.
    fn follow(&self, engine: &Arc<Engine>) -> Result<Value, Box<dyn std::error::Error>> {
        let builder = Member::builder(config(PROVIDER)?, Arc::clone(engine) as _, Arc::new(Everything));
        let builder =
            builder.listen("127.0.0.1:0").priority(self.priority.priority()).yields(!self.unlimited);
        let digest = engine.digest().map_err(|error| error.to_string())?;
        let member = builder.found(&digest, [])?;
        let mut events = member.events();
        let address = member.local_addr().to_string();
        let pen = self.watch(&member, engine, &address, |_, _| {})?;
        let mut stops = Stops::default();
        for event in passed(&mut events) {
            match event {
                Event::Captured { held } => stops.capture = stops.capture.max(held),
                Event::LatchOpened { held, delayed } => {
                    stops.latch = stops.latch.max(held);
                    stops.delayed = stops.delayed.max(delayed);
                }
                _ => {}
            }
        }
        Ok(told(&pen, &stops))
    }

    /// While nobody writes.
    fn flush(&self, engine: &Arc<Engine>) -> Result<Value, Box<dyn std::error::Error>> {
        let member = flush::provide(engine)?;
        let mut events = member.events();
        let address = member.local_addr().to_string();
        let pen = self.watch(&member, engine, &address, |number, word| {
            flush::bring(&member, engine, number, word);
        })?;
        let mut stops = Stops::default();
        for event in passed(&mut events) {
            match event {
                states::Event::Captured { held } => stops.capture = stops.capture.max(held),
                states::Event::Resumed { held } => stops.latch = stops.latch.max(held),
                _ => {}
            }
        }
        stops.delayed = stops.latch;
        Ok(told(&pen, &stops))
    }

    /// Writes, and does what it is told.
    fn watch(
        &self,
        group: &impl Group,
        engine: &Engine,
        address: &str,
        bring: impl FnMut(u64, &[u8]),
    ) -> io::Result<Pen> {
        let pen = Pen::new(Duration::from_secs(u64::from(WRITERS)) / self.rate);
        let obeyed = thread::scope(|scope| {
            for seed in 0..WRITERS {
                let pen = &pen;
                scope.spawn(move || pen.write(u64::from(seed) + 1, group, engine));
            }
            let obeyed = tell(&json!({ "address": address })).and_then(|()| obey(&pen, bring));
            pen.end();
            obeyed
        });
        obeyed.map(|()| pen)
    }
}

/// How long nothing was delivered at most, and how long something waited for it.
#[derive(Default)]
struct Stops {
    capture: Duration,
    latch: Duration,
    delayed: Duration,
}

/// What has happened by now.
fn passed<E: Clone>(events: &mut Events<E>) -> Vec<E> {
    std::iter::from_fn(|| events.next_within(Duration::ZERO).ok()).collect()
}

/// What the parent says.
fn obey(pen: &Pen, mut bring: impl FnMut(u64, &[u8])) -> io::Result<()> {
    let mut words = 0;
    for line in io::stdin().lock().lines() {
        let line = line?;
        if let Some(word) = line.strip_prefix("word ") {
            let word: Vec<u8> = serde_json::from_str(word).map_err(io::Error::other)?;
            words += 1;
            bring(words, &word);
            continue;
        }
        match line.as_str() {
            "during" => pen.enter(DURING),
            "after" => pen.enter(DURING + 1),
            _ => break,
        }
        tell(&json!({}))?;
    }
    Ok(())
}

fn told(pen: &Pen, stops: &Stops) -> Value {
    json!({
        "before": counts(&pen.latencies(BEFORE)),
        "during": counts(&pen.latencies(DURING)),
        "capture": stops.capture.as_secs_f64(),
        "latch": stops.latch.as_secs_f64(),
        "delayed": stops.delayed.as_secs_f64(),
    })
}

/// Each time that was taken, in nanoseconds, and how often.
fn counts(latencies: &Latencies) -> Value {
    latencies
        .iter_recorded()
        .map(|value| json!([value.value_iterated_to(), value.count_at_value()]))
        .collect()
}
