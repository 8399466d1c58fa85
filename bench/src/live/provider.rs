//! The provider's process: an engine, its writers, and whoever gets its state.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use longhaul::live::{
    Apply, Capture, Config, Contract, Delivered, Event, Member, PinError, Pins, Properties,
};
use longhaul::{MemberId, Priority};
use serde_json::{Value, json};

use crate::engine::{Engine, ORDER};
use crate::run::tell;
use crate::writers::{BEFORE, DURING, Latencies, Pen};

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

pub(crate) fn config(number: u8) -> Result<Config, Box<dyn std::error::Error>> {
    let contract = Contract::new(Capture::Atomic, Apply::Once)?;
    let offers = Properties::TOTAL_ORDER.and(Properties::SEND_AGAIN);
    Ok(Config::new(MemberId([number; 16]), offers, contract))
}

impl Provide {
    /// Does what it is told, line by line, and tells at its end what was measured.
    pub(crate) fn run(&self) -> Result<(), Box<dyn std::error::Error>> {
        let engine = Arc::new(Engine::of(self.size));
        let builder = Member::builder(config(1)?, Arc::clone(&engine) as _, Arc::new(Everything));
        let builder =
            builder.listen("127.0.0.1:0").priority(self.priority.priority()).yields(!self.unlimited);
        let digest = engine.digest().map_err(|error| error.to_string())?;
        let member = builder.found(&digest, [])?;
        let mut events = member.events();
        let pen = Pen::new(Duration::from_secs(u64::from(WRITERS)) / self.rate);
        thread::scope(|scope| {
            for seed in 0..WRITERS {
                let (pen, member, engine) = (&pen, &member, &engine);
                scope.spawn(move || pen.write(u64::from(seed) + 1, member, engine));
            }
            let told = tell(&json!({ "address": member.local_addr().to_string() })).and_then(|()| obey(&pen));
            pen.stop_the_world(false);
            pen.end();
            told
        })?;
        let stops: Vec<Event> = std::iter::from_fn(|| events.next_within(Duration::ZERO).ok()).collect();
        Ok(tell(&told(&pen, &stops, engine.delivered()))?)
    }
}

/// What the parent says.
fn obey(pen: &Pen) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        match line?.as_str() {
            "during" => pen.enter(DURING),
            "after" => pen.enter(DURING + 1),
            "stop" => pen.stop_the_world(true),
            "go" => pen.stop_the_world(false),
            _ => break,
        }
        tell(&json!({}))?;
    }
    Ok(())
}

fn told(pen: &Pen, events: &[Event], writes: u64) -> Value {
    let longest = |of: fn(&Event) -> Option<Duration>| {
        events.iter().filter_map(of).max().unwrap_or_default().as_secs_f64()
    };
    json!({
        "before": counts(&pen.latencies(BEFORE)),
        "during": counts(&pen.latencies(DURING)),
        "writes": writes,
        "capture": longest(|event| match event {
            Event::Captured { held } => Some(*held),
            _ => None,
        }),
        "latch": longest(|event| match event {
            Event::LatchOpened { held, .. } => Some(*held),
            _ => None,
        }),
        "delayed": longest(|event| match event {
            Event::LatchOpened { delayed, .. } => Some(*delayed),
            _ => None,
        }),
    })
}

/// Each time that was taken, in nanoseconds, and how often.
fn counts(latencies: &Latencies) -> Value {
    latencies
        .iter_recorded()
        .map(|value| json!([value.value_iterated_to(), value.count_at_value()]))
        .collect()
}
