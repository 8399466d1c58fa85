//! The table: medians, spreads, ratios, CPU seconds and peak memory.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::side::Measured;

/// All that was measured.
pub(crate) struct Report {
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
    notes: Vec<String>,
}

struct Row {
    table: &'static str,
    name: &'static str,
    rounds: Vec<Measured>,
}

struct Ratio {
    table: &'static str,
    of: &'static str,
    to: &'static str,
    target: f64,
}

impl Report {
    pub(crate) const fn new() -> Self {
        Self { rows: Vec::new(), ratios: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn add(&mut self, table: &'static str, name: &'static str, measured: Measured) {
        match self.rows.iter_mut().find(|row| row.table == table && row.name == name) {
            Some(row) => row.rounds.push(measured),
            None => self.rows.push(Row { table, name, rounds: vec![measured] }),
        }
    }

    /// How much faster `of` is than `to`; a target of 0 only reports.
    pub(crate) fn ratio(&mut self, table: &'static str, of: &'static str, to: &'static str, target: f64) {
        self.ratios.push(Ratio { table, of, to, target });
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn row(&self, table: &str, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.table == table && row.name == name)
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<4} {:<26} {:>8} {:>15} {:>7} {:>15} {:>15}",
            "", "", "median s", "spread s", "GB/s", "sender", "receiver"
        );
        for row in &self.rows {
            let seconds = row.seconds();
            let side = |pick: fn(&Measured) -> Option<crate::side::Cost>| {
                let costs: Vec<_> = row.rounds.iter().filter_map(pick).collect();
                let Some(last) = costs.last() else { return String::from("-") };
                let cpu = costs.iter().map(|cost| cost.cpu_seconds).sum::<f64>() / costs.len() as f64;
                let peak = costs.iter().map(|cost| cost.peak_bytes).max().unwrap_or(last.peak_bytes);
                format!("{cpu:.2} s {:>4} MiB", peak >> 20)
            };
            println!(
                "{:<4} {:<26} {:>8.3} {:>7.3}-{:<7.3} {:>7.2} {:>15} {:>15}",
                row.table,
                row.name,
                seconds.median,
                seconds.min,
                seconds.max,
                row.bytes() as f64 / seconds.median / 1e9,
                side(|measured| measured.sender),
                side(|measured| measured.receiver),
            );
        }
        for ratio in &self.ratios {
            if let Some(value) = self.value(ratio) {
                let target =
                    if ratio.target > 0.0 { format!(" (target {:.2})", ratio.target) } else { String::new() };
                println!("{}: {} is {value:.2} x {}{target}", ratio.table, ratio.of, ratio.to);
            }
        }
        for note in &self.notes {
            println!("note: {note}");
        }
    }

    /// The ratio of the medians: above 1 if `of` is faster.
    fn value(&self, ratio: &Ratio) -> Option<f64> {
        let (of, to) = (self.row(ratio.table, ratio.of)?, self.row(ratio.table, ratio.to)?);
        Some(to.seconds().median / of.seconds().median)
    }

    pub(crate) fn to_json(&self) -> String {
        let mut tables: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
        for row in &self.rows {
            let rounds: Vec<Value> = row
                .rounds
                .iter()
                .map(|round| {
                    let side = |cost: Option<crate::side::Cost>| {
                        cost.map(
                            |cost| json!({ "cpu_seconds": cost.cpu_seconds, "peak_bytes": cost.peak_bytes }),
                        )
                    };
                    json!({
                        "seconds": round.seconds,
                        "sender": side(round.sender),
                        "receiver": side(round.receiver),
                        "digest": round.digest,
                    })
                })
                .collect();
            let entry =
                json!({ "bytes": row.bytes(), "median_seconds": row.seconds().median, "rounds": rounds });
            tables.entry(row.table).or_default().insert(row.name, entry);
        }
        let ratios: Vec<Value> = self
            .ratios
            .iter()
            .map(|ratio| {
                json!({ "table": ratio.table, "of": ratio.of, "to": ratio.to, "ratio": self.value(ratio), "target": ratio.target })
            })
            .collect();
        json!({ "tables": tables, "ratios": ratios, "notes": self.notes }).to_string()
    }
}

const DAY_MICROS: u64 = 86_400_000_000;

struct Spread {
    min: f64,
    median: f64,
    max: f64,
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
}
