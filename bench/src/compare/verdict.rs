//! What became slower.

use std::fmt;

use crate::benches::Times;

/// The best of all rounds.
#[derive(Default)]
pub(crate) struct Best(Times);

impl Best {
    pub(crate) fn take(&mut self, times: Times) {
        for (name, time) in times {
            self.0.entry(name).and_modify(|best| *best = best.min(time)).or_insert(time);
        }
    }
}

/// Every path, and how it compares.
pub(crate) struct Verdict {
    rows: Vec<Row>,
    threshold: f64,
}

struct Row {
    name: String,
    /// Nanoseconds; none where it was not there.
    before: Option<f64>,
    now: Option<f64>,
}

/// `threshold`: by how many percent a path may be slower.
pub(crate) fn compare(before: &Best, now: &Best, threshold: f64) -> Verdict {
    let mut names: Vec<&String> = before.0.keys().chain(now.0.keys()).collect();
    names.sort();
    names.dedup();
    let row = |name: &String| Row {
        name: name.clone(),
        before: before.0.get(name).copied(),
        now: now.0.get(name).copied(),
    };
    Verdict { rows: names.into_iter().map(row).collect(), threshold }
}

impl Verdict {
    /// Whether nothing became slower.
    pub(crate) fn is_fine(&self) -> bool {
        !self.rows.iter().any(|row| self.is_slower(row))
    }

    fn is_slower(&self, row: &Row) -> bool {
        row.percent().is_some_and(|percent| percent > self.threshold)
    }
}

impl Row {
    /// What it takes longer.
    fn percent(&self) -> Option<f64> {
        let (before, now) = self.before.zip(self.now)?;
        Some((now / before - 1.0) * 100.0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<48} {:>12} {:>12}", "", "before ns", "now ns")?;
        for row in &self.rows {
            let time = |time: Option<f64>| time.map_or("-".into(), |time| format!("{time:.1}"));
            write!(f, "{:<48} {:>12} {:>12}", row.name, time(row.before), time(row.now))?;
            match row.percent() {
                Some(percent) => write!(f, " {percent:>+7.1} %")?,
                None => write!(f, "   {}", if row.now.is_some() { "is new" } else { "is gone" })?,
            }
            writeln!(f, "{}", if self.is_slower(row) { "  SLOWER" } else { "" })?;
        }
        let slower = self.rows.iter().filter(|row| self.is_slower(row)).count();
        write!(f, "{slower} of {} are slower by more than {} %", self.rows.len(), self.threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(rounds: &[&[(&str, f64)]]) -> Best {
        let mut best = Best::default();
        for round in rounds {
            best.take(round.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect());
        }
        best
    }

    #[test]
    fn what_is_slower_in_its_best_round_fails() {
        let before = best(&[&[("a", 100.0), ("b", 100.0)]]);
        let now = best(&[&[("a", 300.0), ("b", 112.0)], &[("a", 109.0), ("b", 111.0)]]);
        let verdict = compare(&before, &now, 10.0);
        assert!(!verdict.is_fine());
        let said = verdict.to_string();
        let slower: Vec<&str> = said.lines().filter(|line| line.ends_with("SLOWER")).collect();
        assert!(slower.len() == 1 && slower[0].starts_with("b ") && slower[0].contains("+11.0 %"), "{said}");
        assert!(compare(&before, &now, 12.0).is_fine());
    }

    #[test]
    fn what_is_new_or_gone_is_told_and_fails_nothing() {
        let verdict = compare(&best(&[&[("old", 1.0)]]), &best(&[&[("new", 9.0)]]), 10.0);
        let said = verdict.to_string();
        assert!(verdict.is_fine() && said.contains("is new") && said.contains("is gone"), "{said}");
    }
}
