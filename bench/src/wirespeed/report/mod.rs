//! What was measured: tables of rows of rounds, and what is to be said of them.

mod chart;
mod check;
mod json;
mod text;

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::latency::Latency;
use crate::side::{Cost, Measured};
use check::Check;

/// All that was measured.
#[derive(Default)]
pub(crate) struct Report {
    tables: Vec<Table>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn add(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// What the figures don't tell; told once.
    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// What was measured in turn, so that its rows can be compared.
pub(crate) struct Table {
    name: String,
    what: String,
    rows: Vec<Row>,
    checks: Vec<Check>,
}

impl Table {
    pub(crate) fn new(name: &str, what: &str) -> Self {
        Self { name: name.to_owned(), what: what.to_owned(), rows: Vec::new(), checks: Vec::new() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// One more round of a row.
    pub(crate) fn add(&mut self, row: &str, measured: Measured) {
        self.row_mut(row).rounds.push(measured);
    }

    /// How long chunks took in a run of their own.
    pub(crate) fn latency(&mut self, row: impl AsRef<str>, latency: &Latency) {
        self.row_mut(row.as_ref()).latency =
            latency.quantiles().map(|(name, seconds)| (name.to_owned(), seconds)).collect();
    }

    /// How much faster `of` is than the slowest of `than`; a target of 0 only reports.
    pub(crate) fn ratio(&mut self, of: String, than: &[&str], target: f64) {
        let than = than.iter().map(|row| (*row).to_owned()).collect();
        self.checks.push(Check::Ratio { of, than, target });
    }

    /// How much longer than another row `of` takes.
    pub(crate) fn more(&mut self, of: String, than: &str, at_most: Duration) {
        self.checks.push(Check::More { of, than: than.to_owned(), at_most: at_most.as_secs_f64() });
    }

    /// How fast the slowest of several receivers is beside the fastest.
    pub(crate) fn fairness(&mut self, of: String, target: f64) {
        self.checks.push(Check::Fairness { of, target });
    }

    /// CPU seconds for a GB that each side may take.
    pub(crate) fn cpu(&mut self, of: String, sender: f64, receiver: f64) {
        self.checks.push(Check::Cpu { of, sender, receiver });
    }

    fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    fn row_mut(&mut self, name: &str) -> &mut Row {
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name: name.to_owned(), ..Row::default() });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }
}

/// One thing that was measured, over and over.
#[derive(Default)]
struct Row {
    name: String,
    rounds: Vec<Measured>,
    /// Names of quantiles, and seconds.
    latency: Vec<(String, f64)>,
}

const DAY_MICROS: u64 = 86_400_000_000;

/// Seconds.
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

/// What one side used for a round: seconds for a GB, and the most memory.
struct Used {
    cpu_per_gb: f64,
    peak_bytes: u64,
}

impl Row {
    fn bytes(&self) -> u64 {
        self.rounds.first().map_or(0, |round| round.bytes)
    }

    fn seconds(&self) -> Spread {
        // Microseconds, three significant digits: more than rounds differ by.
        let mut histogram = Histogram::<u64>::new_with_max(DAY_MICROS, 3).expect("legal bounds");
        for round in &self.rounds {
            histogram.saturating_record((round.seconds * 1e6) as u64);
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        Spread { min: at(0.0), median: at(0.5), max: at(1.0) }
    }

    /// In the middle; `None` where so little is moved that it says nothing.
    fn gb_per_second(&self) -> Option<f64> {
        (self.bytes() >= 1 << 20).then(|| self.bytes() as f64 / 1e9 / self.seconds().median)
    }

    fn sender(&self) -> Option<Used> {
        self.used(|round| round.sender)
    }

    fn receiver(&self) -> Option<Used> {
        self.used(|round| round.receiver)
    }

    /// On average: what the system charges for is told in ticks.
    fn used(&self, side: fn(&Measured) -> Option<Cost>) -> Option<Used> {
        let costs: Vec<Cost> = self.rounds.iter().filter_map(side).collect();
        let peak_bytes = costs.iter().map(|cost| cost.peak_bytes).max()?;
        let cpu = costs.iter().map(|cost| cost.cpu_seconds).sum::<f64>() / costs.len() as f64;
        Some(Used { cpu_per_gb: cpu / (self.bytes() as f64 / 1e9), peak_bytes })
    }

    /// In the middle.
    fn fairness(&self) -> Option<f64> {
        let mut parts: Vec<f64> = self.rounds.iter().filter_map(|round| round.fairness).collect();
        parts.sort_by(f64::total_cmp);
        parts.get(parts.len() / 2).copied()
    }
}
