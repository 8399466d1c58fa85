//! The catalogue of faults and bad input: what can go wrong, what longhaul must do then, and the tests
//! that prove it.
//!
//! ```text
//! tests/catalogue/faults.txt    what can happen ───────┐
//! // Catalogue: B1, F3          above the tests ───────┼──▶ Catalogue ──▶ report
//! # Catalogue: F63              above scenario lines ──┘        └──▶ run ──▶ target/catalogue.txt
//! ```
//!
//! Nobody keeps the list of tests by hand: a mark stands above each, and the sources are read for marks.
//! A row that has neither a test nor a reason, or both, is an error, and so is a mark that no test follows.

mod marks;
mod results;
mod rows;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

pub use marks::{Home, Marked};
pub use results::{Results, Verdict, run};
pub use rows::{Number, Row, Standing};

/// All rows, and the marked tests of each.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// What can happen, in order.
    pub rows: Vec<Row>,
    /// The tests that prove a row, by its number.
    pub tests: BTreeMap<Number, Vec<Marked>>,
}

impl Catalogue {
    /// Reads the list and the marks of the workspace at `root`.
    ///
    /// # Errors
    /// Everything that is wrong with rows and marks, a line each.
    pub fn read(root: &Path) -> Result<Self, String> {
        let path = root.join("tests/catalogue/faults.txt");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let rows = rows::parse(&text)?;
        let mut tests = BTreeMap::<Number, Vec<Marked>>::new();
        let mut wrong = Vec::new();
        for marked in marks::collect(root)? {
            for &number in &marked.numbers {
                if rows.iter().all(|row| row.number != number) {
                    wrong.push(format!("{}: the catalogue has no row {number}", marked.at));
                }
                tests.entry(number).or_default().push(marked.clone());
            }
        }
        for row in &rows {
            match (&row.standing, tests.contains_key(&row.number)) {
                (None, false) => wrong.push(format!("{}: neither a test nor a reason", row.number)),
                (Some(standing), true) => {
                    wrong.push(format!("{}: it has a test, and is {standing}", row.number));
                }
                _ => {}
            }
        }
        if wrong.is_empty() { Ok(Self { rows, tests }) } else { Err(wrong.join("\n")) }
    }

    /// Every marked test once.
    #[must_use]
    pub fn marked(&self) -> Vec<&Marked> {
        let mut all: Vec<&Marked> = self.tests.values().flatten().collect();
        all.sort();
        all.dedup();
        all
    }

    /// The rows with their tests and the last result of each, and a line that counts them.
    #[must_use]
    pub fn report(&self, results: &Results) -> String {
        let mut out = String::new();
        let mut counts = [0; 3];
        for row in &self.rows {
            let mut say = |line: &str| writeln!(out, "{line}").expect("a string takes all");
            say(&format!("{}: {}", row.number, row.what));
            say(&format!("    must: {}", row.must));
            if let Some(standing) = &row.standing {
                counts[if matches!(standing, Standing::Open(_)) { 1 } else { 2 }] += 1;
                say(&format!("    {standing}"));
                continue;
            }
            counts[0] += 1;
            for name in self.tests.get(&row.number).into_iter().flatten().flat_map(Marked::names) {
                match results.of(&name) {
                    Some(verdict) => say(&format!("    {name}: {verdict}")),
                    None => say(&format!("    {name}: never run")),
                }
            }
        }
        let [tested, open, not_applicable] = counts;
        let all = self.rows.len();
        writeln!(out, "{all} rows: {tested} tested, {open} open, {not_applicable} not applicable")
            .expect("a string takes all");
        out
    }
}
