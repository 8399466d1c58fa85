//! What became slower.
//!
//! What counts of a path is the median of its rounds' ratios: a round's two times come from the same seconds, so that what
//! disturbs the machine is in both, or in few rounds. Of one commit beside itself, with seven rounds on two cores of a virtual
//! machine that others share, no path's was above 4.5 %, in any seven of nine rounds, while the ratio of the best times was
//! up to 7.2 %.

use std::collections::BTreeMap;
use std::fmt;

use crate::benches::Times;

/// The times of all rounds, in nanoseconds, by path.
#[derive(Default)]
pub(crate) struct Rounds(BTreeMap<String, Vec<f64>>);

impl Rounds {
    pub(crate) fn take(&mut self, times: Times) {
        for (name, time) in times {
            self.0.entry(name).or_default().push(time);
        }
    }

    fn of(&self, name: &str) -> &[f64] {
        self.0.get(name).map_or(&[], Vec::as_slice)
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
    /// What it takes longer.
    percent: Option<f64>,
}

/// `threshold`: by how many percent a path may be slower.
pub(crate) fn compare(before: &Rounds, now: &Rounds, threshold: f64) -> Verdict {
    let mut names: Vec<&String> = before.0.keys().chain(now.0.keys()).collect();
    names.sort();
    names.dedup();
    let row = |name: &String| {
        let (before, now) = (before.of(name), now.of(name));
        let ratios = before.iter().zip(now).map(|(before, now)| now / before);
        Row {
            name: name.clone(),
            before: median(before.iter().copied()),
            now: median(now.iter().copied()),
            percent: median(ratios).map(|ratio| (ratio - 1.0) * 100.0),
        }
    };
    Verdict { rows: names.into_iter().map(row).collect(), threshold }
}

/// The middle one, or the mean of the two in the middle; none of none.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    Some(f64::midpoint(values[(values.len() - 1) / 2], *upper))
}

impl Verdict {
    /// Whether nothing became slower.
    pub(crate) fn is_fine(&self) -> bool {
        !self.rows.iter().any(|row| self.is_slower(row))
    }

    fn is_slower(&self, row: &Row) -> bool {
        row.percent.is_some_and(|percent| percent > self.threshold)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<48} {:>12} {:>12}", "", "before ns", "now ns")?;
        for row in &self.rows {
            let time = |time: Option<f64>| time.map_or("-".into(), |time| format!("{time:.1}"));
            write!(f, "{:<48} {:>12} {:>12}", row.name, time(row.before), time(row.now))?;
            match row.percent {
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

    fn rounds(times: &[&[(&str, f64)]]) -> Rounds {
        let mut rounds = Rounds::default();
        for round in times {
            rounds.take(round.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect());
        }
        rounds
    }

    #[test]
    fn what_is_slower_in_most_rounds_fails() {
        let before = rounds(&[
            &[("a", 100.0), ("b", 100.0)],
            &[("a", 200.0), ("b", 300.0)],
            &[("a", 100.0), ("b", 90.0)],
        ]);
        let now = rounds(&[
            &[("a", 300.0), ("b", 112.0)],
            &[("a", 216.0), ("b", 333.0)],
            &[("a", 90.0), ("b", 99.0)],
        ]);
        let verdict = compare(&before, &now, 10.0);
        assert!(!verdict.is_fine());
        let said = verdict.to_string();
        let slower: Vec<&str> = said.lines().filter(|line| line.ends_with("SLOWER")).collect();
        assert!(slower.len() == 1 && slower[0].starts_with("b ") && slower[0].contains("+11.0 %"), "{said}");
        assert!(compare(&before, &now, 12.0).is_fine());
    }

    #[test]
    fn what_is_new_or_gone_is_told_and_fails_nothing() {
        let verdict = compare(&rounds(&[&[("old", 1.0)]]), &rounds(&[&[("new", 9.0)]]), 10.0);
        let said = verdict.to_string();
        assert!(verdict.is_fine() && said.contains("is new") && said.contains("is gone"), "{said}");
    }
}
