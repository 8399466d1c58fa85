//! The report for people.

use std::fmt;

use super::{Report, Row, Table, Used};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            writeln!(f, "{table}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<50} {:>9} {:>19} {:>6} {:>16} {:>16}",
            format!("{}: {}", self.name, self.what),
            "median s",
            "spread s",
            "GB/s",
            "sender s/GB, MiB",
            "receiver",
        )?;
        self.rows.iter().try_for_each(|row| writeln!(f, "  {row}"))?;
        for outcome in self.checks.iter().filter_map(|check| check.outcome(self)) {
            let mark = outcome.reached.map_or("", |reached| if reached { ": reached" } else { ": MISSED" });
            writeln!(f, "  {}{mark}", outcome.sentence)?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds();
        let speed = self.gb_per_second();
        let used = |used: Option<Used>| match used {
            Some(Used { cpu_per_gb, peak_bytes }) if speed.is_some() => {
                format!("{cpu_per_gb:.2} {:>5}", peak_bytes >> 20)
            }
            _ => "-".into(),
        };
        write!(
            f,
            "{:<48} {:>9.4} {:>9.4}-{:<9.4} {:>6} {:>16} {:>16}",
            self.name,
            seconds.median,
            seconds.min,
            seconds.max,
            speed.map_or("-".into(), |speed| format!("{speed:.2}")),
            used(self.sender()),
            used(self.receiver()),
        )?;
        if self.latency.is_empty() {
            return Ok(());
        }
        write!(f, "\n    a chunk from its read submitted to durable:")?;
        self.latency.iter().try_for_each(|(name, seconds)| write!(f, " {name} {:.0} ms", seconds * 1e3))
    }
}
