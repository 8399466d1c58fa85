//! What was measured, for people and as JSON.

use std::fmt;
use std::io;

use serde_json::{Value, json};

use crate::writers::{Latencies, histogram};

/// All tables.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) writers: Vec<Row>,
    pub(crate) latch: Vec<Row>,
    pub(crate) cut_over: Vec<Row>,
}

/// A case: all of its rounds.
pub(crate) struct Row {
    pub(crate) name: String,
    size: u64,
    rate: u32,
    /// Of all rounds together.
    pub(crate) latencies: Latencies,
    pub(crate) samples: Vec<Sample>,
}

/// One transfer.
pub(crate) struct Sample {
    /// Of writes before it, and during it.
    pub(crate) before: Latencies,
    pub(crate) latencies: Latencies,
    /// Until the joiner served.
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
    pub(crate) root: String,
    /// How long nothing was delivered, for the capture; for the latch; and how long something waited for it.
    pub(crate) capture: f64,
    pub(crate) latch: f64,
    pub(crate) delayed: f64,
}

/// Those that are told, and their names.
pub(crate) const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

impl Row {
    pub(crate) fn new(name: String, size: u64, rate: u32) -> Self {
        Self { name, size, rate, latencies: histogram(), samples: Vec::new() }
    }

    pub(crate) fn add(&mut self, sample: Sample) -> io::Result<()> {
        self.latencies.add(&sample.latencies).map_err(io::Error::other)?;
        self.samples.push(sample);
        Ok(())
    }

    /// Milliseconds.
    pub(crate) fn quantiles(&self) -> [f64; QUANTILES.len()] {
        QUANTILES.map(|(_, quantile)| self.latencies.value_at_quantile(quantile) as f64 / 1e6)
    }

    /// The middle one of all rounds; `None` if nothing moved.
    pub(crate) fn median(&self, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let mut all: Vec<f64> = self.samples.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }

    pub(crate) fn most(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        self.samples.iter().map(of).fold(0.0, f64::max)
    }

    fn to_json(&self) -> Value {
        let mut object = json!({
            "name": self.name,
            "size": self.size,
            "writes_per_second": self.rate,
            "writes": self.latencies.len(),
            "rounds": self.samples.iter().map(Sample::to_json).collect::<Vec<_>>(),
        });
        for ((name, _), millis) in QUANTILES.iter().zip(self.quantiles()) {
            object[format!("{name}_ms")] = json!(millis);
        }
        object
    }
}

impl Sample {
    fn per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }

    /// The 99.9th percentile of writes during it, as so many times that of those before.
    fn times_idle(&self) -> f64 {
        let long = |latencies: &Latencies| latencies.value_at_quantile(0.999).max(1) as f64;
        long(&self.latencies) / long(&self.before)
    }

    fn to_json(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "bytes": self.bytes,
            "bytes_per_second": self.per_second(),
            "writes": self.latencies.len(),
            "p99.9_ms": self.latencies.value_at_quantile(0.999) as f64 / 1e6,
            "p99.9_before_ms": self.before.value_at_quantile(0.999) as f64 / 1e6,
            "p99.9_times_idle": self.times_idle(),
            "root": self.root,
            "capture_ms": self.capture * 1e3,
            "latch_ms": self.latch * 1e3,
            "delayed_ms": self.delayed * 1e3,
        })
    }
}

impl Report {
    /// Its tables, and their names.
    pub(crate) fn tables(&self) -> [(&'static str, &[Row]); 3] {
        [("writers", &self.writers), ("latch", &self.latch), ("cut-over", &self.cut_over)]
    }

    pub(crate) fn to_json(&self) -> Value {
        let rows = |rows: &[Row]| rows.iter().map(Row::to_json).collect::<Vec<_>>();
        self.tables().into_iter().map(|(name, table)| (name.to_owned(), json!(rows(table)))).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, rows) in self.tables() {
            if rows.is_empty() {
                continue;
            }
            write!(f, "{name:<22} {:>8}", "writes")?;
            QUANTILES.iter().try_for_each(|(name, _)| write!(f, " {name:>8}"))?;
            writeln!(
                f,
                "  {:>8} {:>8} {:>10} {:>10} {:>10} {:>10} {:>8}",
                "MB/s", "serves s", "capture ms", "latch ms", "at most", "x idle", "at most"
            )?;
            rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
            writeln!(f)?;
        }
        f.write_str(
            "latencies in ms, of all rounds together; the rest are medians of rounds, and the longest latch; \"x idle\": the\n\
             99.9th percentile of a round's writes during its transfer, as so many times that of those before it",
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:<20} {:>8}", self.name, self.latencies.len())?;
        self.quantiles().iter().try_for_each(|millis| write!(f, " {millis:>8.3}"))?;
        let Some(rate) = self.median(Sample::per_second) else { return Ok(()) };
        let millis = |of: fn(&Sample) -> f64| self.median(of).unwrap_or(0.0) * 1e3;
        write!(
            f,
            "  {:>8.0} {:>8.2} {:>10.3} {:>10.3} {:>10.3} {:>10.2} {:>8.2}",
            rate / 1e6,
            self.median(|sample| sample.seconds).unwrap_or(0.0),
            millis(|sample| sample.capture),
            millis(|sample| sample.latch),
            self.most(|sample| sample.latch) * 1e3,
            self.median(Sample::times_idle).unwrap_or(0.0),
            self.most(Sample::times_idle),
        )
    }
}
