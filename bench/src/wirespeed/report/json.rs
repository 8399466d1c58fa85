//! The report for programs; several of them joined.

use serde_json::{Value, json};

use super::check::Check;
use super::{Report, Row, Table};
use crate::side::{Cost, Measured};

impl Report {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "tables": self.tables.iter().map(Table::to_json).collect::<Vec<_>>(), "notes": self.notes })
    }

    /// Adds what another run measured: to the rounds of the same rows.
    ///
    /// # Errors
    /// If these are not the figures of a run.
    pub(crate) fn join(&mut self, text: &[u8]) -> Result<(), String> {
        let report: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let tables = report["tables"].as_array().ok_or("there are no tables in it")?;
        for table in tables {
            let read = Table::from_json(table).ok_or_else(|| format!("this is no table: {table}"))?;
            match self.tables.iter_mut().find(|known| known.name == read.name) {
                Some(known) => known.join(read),
                None => self.tables.push(read),
            }
        }
        for note in report["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.note(note.to_owned());
        }
        Ok(())
    }
}

impl Table {
    fn join(&mut self, other: Self) {
        for row in other.rows {
            let known = self.row_mut(&row.name);
            known.rounds.extend(row.rounds);
            if !row.latency.is_empty() {
                known.latency = row.latency;
            }
        }
        for check in other.checks {
            if !self.checks.contains(&check) {
                self.checks.push(check);
            }
        }
    }

    fn to_json(&self) -> Value {
        let checks = self.checks.iter().map(|check| {
            let outcome = check.outcome(self);
            let (sentence, reached) =
                outcome.map_or((None, None), |outcome| (Some(outcome.sentence), outcome.reached));
            json!({ "check": check.to_json(), "outcome": sentence, "reached": reached })
        });
        json!({
            "name": self.name,
            "what": self.what,
            "rows": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
            "checks": checks.collect::<Vec<_>>(),
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let mut table = Self::new(value["name"].as_str()?, value["what"].as_str()?);
        table.rows = value["rows"].as_array()?.iter().map(Row::from_json).collect::<Option<_>>()?;
        table.checks = value["checks"]
            .as_array()?
            .iter()
            .map(|check| Check::from_json(&check["check"]))
            .collect::<Option<_>>()?;
        Some(table)
    }
}

impl Row {
    fn to_json(&self) -> Value {
        let seconds = self.seconds();
        let latency: Vec<Value> = self.latency.iter().map(|(name, seconds)| json!([name, seconds])).collect();
        json!({
            "name": self.name,
            "median_seconds": seconds.median,
            "gb_per_second": self.gb_per_second(),
            "rounds": self.rounds.iter().map(Measured::to_json).collect::<Vec<_>>(),
            "latency": latency,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let quantile = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_f64()?));
        Some(Self {
            name: value["name"].as_str()?.to_owned(),
            rounds: value["rounds"].as_array()?.iter().map(Measured::from_json).collect::<Option<_>>()?,
            latency: value["latency"].as_array()?.iter().map(quantile).collect::<Option<_>>()?,
        })
    }
}

impl Measured {
    fn to_json(&self) -> Value {
        let side = |cost: Option<Cost>| {
            cost.map(|cost| json!({ "cpu_seconds": cost.cpu_seconds, "peak_bytes": cost.peak_bytes }))
        };
        json!({
            "bytes": self.bytes,
            "seconds": self.seconds,
            "sender": side(self.sender),
            "receiver": side(self.receiver),
            "digest": self.digest,
            "fairness": self.fairness,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let side = |cost: &Value| {
            Some(Cost {
                cpu_seconds: cost["cpu_seconds"].as_f64()?,
                peak_bytes: cost["peak_bytes"].as_u64()?,
            })
        };
        Some(Self {
            bytes: value["bytes"].as_u64()?,
            seconds: value["seconds"].as_f64()?,
            sender: side(&value["sender"]),
            receiver: side(&value["receiver"]),
            digest: value["digest"].as_str()?.to_owned(),
            fairness: value["fairness"].as_f64(),
        })
    }
}

impl Check {
    fn to_json(&self) -> Value {
        match self {
            Self::Ratio { of, than, target } => json!({ "ratio": of, "than": than, "target": target }),
            Self::More { of, than, at_most } => json!({ "more": of, "than": than, "at_most": at_most }),
            Self::Fairness { of, target } => json!({ "fairness": of, "target": target }),
            Self::Cpu { of, sender, receiver } => {
                json!({ "cpu": of, "sender": sender, "receiver": receiver })
            }
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        let name = |key: &str| value[key].as_str().map(str::to_owned);
        let number = |key: &str| value[key].as_f64();
        if let Some(of) = name("ratio") {
            let than = value["than"].as_array()?.iter().map(|row| row.as_str().map(str::to_owned));
            return Some(Self::Ratio { of, than: than.collect::<Option<_>>()?, target: number("target")? });
        }
        if let Some(of) = name("more") {
            return Some(Self::More { of, than: name("than")?, at_most: number("at_most")? });
        }
        if let Some(of) = name("fairness") {
            return Some(Self::Fairness { of, target: number("target")? });
        }
        Some(Self::Cpu { of: name("cpu")?, sender: number("sender")?, receiver: number("receiver")? })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A run in which the row took so many seconds.
    fn run(seconds: f64) -> Report {
        let mut table = Table::new("W1", "one file");
        let cost = Some(Cost { cpu_seconds: 1.5, peak_bytes: 7 << 20 });
        let measured = Measured { bytes: 1 << 30, seconds, receiver: cost, ..Measured::default() };
        table.add("ours", Measured { fairness: Some(0.75), ..measured.clone() });
        table.add("theirs", Measured { seconds: 3.0, sender: cost, ..measured });
        table.rows[0].latency = vec![("p50".into(), 0.25)];
        table.ratio("ours".into(), &["theirs"], 0.9);
        table.more("ours".into(), "theirs", Duration::from_millis(2));
        table.fairness("ours".into(), 0.5);
        table.cpu("theirs".into(), 0.45, 0.25);
        let mut report = Report::default();
        report.note("somebody is left out".into());
        report.add(table);
        report
    }

    #[test]
    fn what_was_written_is_read_again() {
        let written = run(1.0).to_json();
        let mut read = Report::default();
        read.join(written.to_string().as_bytes()).unwrap();
        assert_eq!(read.to_json(), written);
    }

    #[test]
    fn rounds_of_several_runs_count_together() {
        let mut joined = Report::default();
        for seconds in [1.0, 2.0, 9.0] {
            joined.join(run(seconds).to_json().to_string().as_bytes()).unwrap();
        }
        let table = &joined.tables[0];
        assert_eq!(
            (joined.tables.len(), table.rows.len(), table.checks.len(), joined.notes.len()),
            (1, 2, 4, 1)
        );
        let seconds = table.rows[0].seconds();
        assert!((seconds.median - 2.0).abs() < 0.01 && (seconds.max - 9.0).abs() < 0.01);
        let ratio = table.checks[0].outcome(table).unwrap();
        assert_eq!(
            (ratio.sentence.as_str(), ratio.reached),
            ("ours is 1.50 x theirs (target 0.90)", Some(true))
        );
    }

    #[test]
    fn what_is_no_report_is_refused() {
        assert!(Report::default().join(b"{}").is_err());
        assert!(Report::default().join(br#"{"tables": [{"name": "W1"}]}"#).is_err());
    }
}
