//! Progress: a bar, a line now and then, or objects; from the same numbers.

use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use longhaul::{Event, Stage, Stats};

use crate::json;
use crate::output::Output;

/// How often the numbers are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);
const OBJECT_EVERY: Duration = Duration::from_secs(1);
/// Steps of the bar. The last one is for what is installed.
const STEPS: u64 = 1000;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Bar,
    Line,
    Json,
    None,
}

/// The bars of all sessions of this process.
#[derive(Clone)]
pub(crate) struct Bars(MultiProgress);

impl Bars {
    pub(crate) fn new() -> Self {
        Self(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
    }
}

/// Shows one transfer or session.
pub(crate) struct Reporter {
    output: Output,
    bars: Bars,
    bar: Option<ProgressBar>,
    session: Option<u64>,
    meter: Meter,
    shown: Instant,
    installed: bool,
}

impl Reporter {
    /// A reporter for the only transfer, or for one session of many.
    pub(crate) fn new(output: &Output, bars: &Bars, session: Option<u64>) -> Self {
        let bar = (output.mode() == Mode::Bar).then(|| {
            let style = ProgressStyle::with_template("{prefix}[{bar:24}] {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ");
            let bar = bars.0.add(ProgressBar::new(STEPS).with_style(style));
            if let Some(session) = session {
                bar.set_prefix(format!("#{session} "));
            }
            bar
        });
        Self {
            output: output.clone(),
            bars: bars.clone(),
            bar,
            session,
            meter: Meter::new(),
            shown: Instant::now(),
            installed: false,
        }
    }

    /// Something happened.
    pub(crate) fn event(&mut self, event: &Event) {
        self.output.object(&json::event(event, self.session));
        match event {
            Event::Busy { retry_after } => {
                self.note(&format!("the peer is busy: asked again in {:.1} s", retry_after.as_secs_f64()));
            }
            Event::Retrying { item, attempt } => {
                let why = if *attempt == 0 { "was lost with a lane" } else { "arrived broken" };
                self.note(&format!("item #{item} {why}: sent again"));
            }
            Event::Reconnecting => self.note("the connection was lost: it is replaced"),
            Event::Resumed => self.note("the connection stands again: the transfer goes on"),
            Event::Warning(message) => self.note(&format!("warning: {message}")),
            Event::Installed => self.installed = true,
            _ => {}
        }
    }

    /// Looks at the numbers.
    pub(crate) fn tick(&mut self, stats: &Stats) {
        self.meter.measure(stats);
        match self.output.mode() {
            Mode::Bar => {
                if let Some(bar) = &self.bar {
                    bar.set_position(steps(stats, self.installed));
                    bar.set_message(describe(stats, &self.meter, self.installed));
                }
            }
            Mode::Line if self.shown.elapsed() >= LINE_EVERY => {
                self.shown = Instant::now();
                self.note(&describe(stats, &self.meter, self.installed));
            }
            Mode::Json if self.shown.elapsed() >= OBJECT_EVERY => {
                self.shown = Instant::now();
                self.output.object(&json::progress(stats, self.meter.rate, self.session));
            }
            Mode::Line | Mode::Json | Mode::None => {}
        }
    }

    fn note(&self, text: &str) {
        let text = match self.session {
            Some(session) => format!("#{session}: {text}"),
            None => text.to_owned(),
        };
        self.bars.0.suspend(|| self.output.note(&text));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            self.bars.0.remove(bar);
        }
    }
}

/// How fast bytes move: smoothed, from one look to the next.
struct Meter {
    at: Instant,
    bytes: u64,
    /// Bytes per second.
    rate: f64,
    /// Since when nothing moved.
    still_since: Instant,
}

impl Meter {
    fn new() -> Self {
        let now = Instant::now();
        Self { at: now, bytes: 0, rate: 0.0, still_since: now }
    }

    fn measure(&mut self, stats: &Stats) {
        let elapsed = self.at.elapsed();
        if stats.bytes != self.bytes {
            self.still_since = Instant::now();
        }
        // A look right after another says nothing about the rate.
        if elapsed < TICK / 2 {
            return;
        }
        let moved = stats.bytes.saturating_sub(self.bytes) as f64 / elapsed.as_secs_f64();
        let weight = (elapsed.as_secs_f64() / 3.0).min(1.0);
        self.rate = if self.rate == 0.0 { moved } else { self.rate + (moved - self.rate) * weight };
        (self.at, self.bytes) = (Instant::now(), stats.bytes);
    }
}

/// The bar's position: full only once the state is installed.
fn steps(stats: &Stats, installed: bool) -> u64 {
    if installed {
        return STEPS;
    }
    let share = |done: u64, total: u64| {
        (u128::from(done) * u128::from(STEPS) / u128::from(total.max(1))).min(u128::from(STEPS)) as u64
    };
    let done = match (stats.bytes_total, stats.items_total) {
        (Some(bytes), _) if bytes > 0 => share(stats.bytes, bytes),
        (_, Some(items)) => share(stats.items, items),
        _ => 0,
    };
    done.min(STEPS - STEPS / 100)
}

/// One line: how far, how fast, how long still, and what it waits for.
fn describe(stats: &Stats, meter: &Meter, installed: bool) -> String {
    let bytes = BinaryBytes(stats.bytes);
    let items = match stats.items_total {
        Some(total) => format!("{} of {total} items", stats.items),
        None => format!("{} items", stats.items),
    };
    let percent = steps(stats, installed) * 100 / STEPS;
    match stats.stage {
        Stage::Connecting => "waiting for the peer".into(),
        Stage::Surveying => format!("waiting for the survey: {} items so far", stats.work),
        Stage::Streaming => {
            let total =
                stats.bytes_total.map_or(String::new(), |total| format!(" of {}", BinaryBytes(total)));
            let rate = BinaryBytes(meter.rate as u64);
            let mut text = format!("{percent}% {bytes}{total}, {rate}/s, {items}");
            if meter.still_since.elapsed() > Duration::from_secs(2) {
                text.push_str(", waiting for data to move");
            } else if let Some(eta) = eta(stats, meter.rate) {
                text.push_str(", ETA ");
                text.push_str(&HumanDuration(eta).to_string());
            }
            text
        }
        Stage::Syncing => format!("{percent}% {bytes}, {items}, waiting for the disk to make it durable"),
        Stage::Installing => format!("{percent}% {bytes}, {items}, waiting for it to be published"),
        Stage::Over => format!("{percent}% {bytes}, {items}"),
    }
}

fn eta(stats: &Stats, rate: f64) -> Option<Duration> {
    let left = stats.bytes_total?.saturating_sub(stats.bytes);
    if rate < 1.0 { None } else { Duration::try_from_secs_f64(left as f64 / rate).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(stage: Stage, bytes: u64) -> Stats {
        Stats {
            stage,
            items_total: Some(2),
            bytes_total: Some(1000),
            items: 2,
            bytes,
            bytes_sent: bytes,
            bytes_resumed: 0,
            retries: 0,
            work: 0,
        }
    }

    #[test]
    fn full_is_said_only_of_what_is_installed() {
        for stage in [Stage::Streaming, Stage::Syncing, Stage::Installing, Stage::Over] {
            assert_eq!(steps(&stats(stage, 1000), false), 990);
            let line = describe(&stats(stage, 1000), &Meter::new(), false);
            assert!(!line.contains("100%"), "{line}");
        }
        assert_eq!(steps(&stats(Stage::Over, 1000), true), STEPS);
        assert!(describe(&stats(Stage::Over, 1000), &Meter::new(), true).contains("100%"));
    }

    #[test]
    fn a_state_without_bytes_goes_by_items() {
        let empty = Stats { bytes_total: Some(0), items: 1, ..stats(Stage::Streaming, 0) };
        assert_eq!(steps(&empty, false), 500);
    }
}
