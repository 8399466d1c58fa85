//! What the live demo says: to a person, and as objects.

use std::time::Duration;

use indicatif::BinaryBytes;
use longhaul::live::{Decision, Event, Pace, Phase};
use serde_json::{Value, json};

use super::writers::{Latencies, When};
use crate::output::Output;

/// What the latch and the capture cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stops {
    /// How long nothing was delivered, for the capture.
    pub(super) capture: Duration,
    /// How long the latch was held, and how long something was held by it.
    pub(super) latch: Duration,
    pub(super) delayed: Duration,
}

impl Stops {
    /// Says what happened.
    pub(super) fn tell(&mut self, event: &Event, output: &Output) {
        let (words, object) = match event {
            Event::Captured { held } => {
                self.capture = *held;
                let words = format!("captured: nothing was delivered for {}", short(*held));
                (words, json!({ "event": "captured", "held_seconds": held.as_secs_f64() }))
            }
            Event::Pace(pace) => (pace_words(pace), pace_object(pace)),
            Event::Following { .. } => {
                ("the bulk is there, verified: the log is followed".into(), json!({ "event": "following" }))
            }
            Event::CannotConverge { written_per_second, applied_per_second, .. } => {
                let words = format!(
                    "it can't catch up: {}/s are written, {}/s applied; the writers are slowed down",
                    BinaryBytes(*written_per_second),
                    BinaryBytes(*applied_per_second),
                );
                let object = json!({
                    "event": "cannot-converge",
                    "written_per_second": written_per_second,
                    "applied_per_second": applied_per_second,
                });
                (words, object)
            }
            Event::LatchOpened { held, delayed } => {
                self.latch = self.latch.max(*held);
                self.delayed = self.delayed.max(*delayed);
                let words = format!(
                    "latch: held for {}, something waited for {} of it",
                    short(*held),
                    short(*delayed)
                );
                let object = json!({
                    "event": "latch-opened",
                    "held_seconds": held.as_secs_f64(),
                    "delayed_seconds": delayed.as_secs_f64(),
                });
                (words, object)
            }
            Event::Decided { decision, .. } => {
                let committed = *decision == Decision::Commit;
                let word = if committed { "committed" } else { "aborted: it tries again" };
                (word.into(), json!({ "event": "decided", "committed": committed }))
            }
            Event::Phase(phase) => {
                (phase_words(*phase).into(), json!({ "event": "phase", "phase": phase_name(*phase) }))
            }
            Event::Again { why } => {
                (format!("another try: {why}"), json!({ "event": "again", "why": why.to_string() }))
            }
            _ => return,
        };
        output.result(&format!("  {words}"));
        output.object(&object);
    }
}

fn phase_name(phase: Phase) -> String {
    format!("{phase:?}").to_lowercase()
}

const fn phase_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Dialling => "member 4 dials",
        Phase::Requesting => "member 4 asks for the state",
        Phase::Staging => "the bulk moves",
        Phase::Following => "member 4 applies what was written meanwhile",
        Phase::Closing => "the provider is latched: the last of the log",
        Phase::Ready => "member 4 is ready",
        Phase::Doubting => "member 4 asks how it ended",
        Phase::Committing => "the hidden copy becomes the state",
        Phase::CatchingUp => "member 4 catches up",
        Phase::Serving => "member 4 serves",
        Phase::Failed => "member 4 has given up",
    }
}

fn rate(per_second: f64) -> String {
    format!("{}/s", BinaryBytes(per_second.max(0.0) as u64))
}

fn pace_words(pace: &Pace) -> String {
    let written = format!("{} written", rate(pace.written_per_second));
    let near = |what: &str| {
        pace.cut_over.map_or_else(|| "none in sight".into(), |time| format!("{what} in {}", short(time)))
    };
    match pace.bulk_total {
        Some(total) => format!(
            "bulk: {} of {}, {}{}, {written}, {}",
            BinaryBytes(pace.bulk_bytes),
            BinaryBytes(total),
            rate(pace.bulk_per_second),
            pace.limit_per_second
                .map_or_else(String::new, |limit| format!(" (limit {}/s)", BinaryBytes(limit))),
            near("over"),
        ),
        None => format!(
            "log: {} left, {written}, {} applied, {}",
            BinaryBytes(pace.rest_bytes),
            rate(pace.applied_per_second),
            near("cut-over"),
        ),
    }
}

fn pace_object(pace: &Pace) -> Value {
    json!({
        "event": "pace",
        "bulk_bytes": pace.bulk_bytes,
        "bulk_bytes_total": pace.bulk_total,
        "bulk_per_second": pace.bulk_per_second,
        "written_per_second": pace.written_per_second,
        "applied_per_second": pace.applied_per_second,
        "limit_per_second": pace.limit_per_second,
        "rest_bytes": pace.rest_bytes,
        "cut_over_seconds": pace.cut_over.map(|time| time.as_secs_f64()),
    })
}

/// A time as a person reads it.
pub(super) fn short(time: Duration) -> String {
    match time {
        _ if time >= Duration::from_secs(1) => format!("{:.2} s", time.as_secs_f64()),
        _ if time >= Duration::from_millis(1) => format!("{:.2} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.0} us", time.as_secs_f64() * 1e6),
    }
}

/// The writers' latency, a line each for before, during and after.
pub(super) fn latencies(latencies: &Latencies, output: &Output) -> Value {
    let mut object = json!({});
    output.result("writers' latency, from when each write was intended:");
    for (when, histogram) in When::ALL.iter().zip(latencies) {
        let at = |quantile: f64| Duration::from_nanos(histogram.value_at_quantile(quantile));
        let (median, p99, p999) = (at(0.5), at(0.99), at(0.999));
        let most = Duration::from_nanos(histogram.max());
        output.result(&format!(
            "  {:6} {:8} writes, median {}, p99 {}, p99.9 {}, longest {}",
            when.name(),
            histogram.len(),
            short(median),
            short(p99),
            short(p999),
            short(most),
        ));
        object[when.name()] = json!({
            "writes": histogram.len(),
            "median_seconds": median.as_secs_f64(),
            "p99_seconds": p99.as_secs_f64(),
            "p999_seconds": p999.as_secs_f64(),
            "max_seconds": most.as_secs_f64(),
        });
    }
    object
}
