//! The list itself, as text.
//!
//! ```text
//! B1: what happens
//!   must: what longhaul must do then
//!   open: why no test proves it yet            (or `not applicable: why`)
//! ```
//!
//! A line that goes on is indented deeper; lines that begin with `#` are remarks.

use std::fmt;

/// A row's number: bad input, or a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Number {
    /// `B1`: input that no well-behaved peer or state sends.
    BadInput(u16),
    /// `F1`: something that breaks.
    Fault(u16),
}

impl Number {
    /// Reads `B1` or `F1`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let (kind, digits) = word.split_at_checked(1)?;
        let number = digits.parse().ok().filter(|number: &u16| number.to_string() == digits)?;
        match kind {
            "B" => Some(Self::BadInput(number)),
            "F" => Some(Self::Fault(number)),
            _ => None,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadInput(number) => write!(f, "B{number}"),
            Self::Fault(number) => write!(f, "F{number}"),
        }
    }
}

/// Why a row has no test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It should have one.
    Open(String),
    /// Nothing here can meet it as yet.
    NotApplicable(String),
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(why) => write!(f, "open: {why}"),
            Self::NotApplicable(why) => write!(f, "not applicable: {why}"),
        }
    }
}

/// One thing that can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number, for ever.
    pub number: Number,
    /// What happens.
    pub what: String,
    /// What longhaul must do then.
    pub must: String,
    /// Why it has no test, if it has none.
    pub standing: Option<Standing>,
}

/// The rows of a list.
pub(super) fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for block in blocks(text) {
        let row = row(&block)?;
        if rows.last().is_some_and(|last| last.number >= row.number) {
            return Err(format!("{}: numbers go up, and each stands once", row.number));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// The lines of each row: what goes on in the next line is one line here.
fn blocks(text: &str) -> Vec<Vec<String>> {
    let mut blocks: Vec<Vec<String>> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        match (blocks.last_mut(), line.len() - line.trim_start().len()) {
            (_, 0) | (None, _) => blocks.push(vec![line.trim().to_owned()]),
            (Some(block), 2) => block.push(line.trim().to_owned()),
            (Some(block), _) => {
                let last = block.last_mut().expect("a block has a line");
                last.push(' ');
                last.push_str(line.trim());
            }
        }
    }
    blocks
}

fn row(block: &[String]) -> Result<Row, String> {
    let (number, what) = block[0].split_once(": ").ok_or_else(|| format!("no row: {}", block[0]))?;
    let number = Number::parse(number).ok_or_else(|| format!("no number: {number}"))?;
    let (mut must, mut standing) = (None, None);
    for line in &block[1..] {
        let field = line.split_once(": ").map(|(name, value)| (name, value.to_owned()));
        match field {
            Some(("must", value)) if must.is_none() => must = Some(value),
            Some(("open", value)) if standing.is_none() => standing = Some(Standing::Open(value)),
            Some(("not applicable", value)) if standing.is_none() => {
                standing = Some(Standing::NotApplicable(value));
            }
            _ => return Err(format!("{number}: it can't hold `{line}`")),
        }
    }
    let must = must.ok_or_else(|| format!("{number}: it has no `must:`"))?;
    Ok(Row { number, what: what.to_owned(), must, standing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_with_lines_that_go_on() {
        let rows =
            parse("# remark\nB1: strangers\n    call\n  must: refuse\n  open: why\n\nF2: x\n  must: y\n");
        let standing = Some(Standing::Open("why".into()));
        let number = Number::BadInput(1);
        let first = Row { number, what: "strangers call".into(), must: "refuse".into(), standing };
        assert_eq!(rows.unwrap()[0], first);
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said() {
        for (text, why) in [
            ("B1 no colon\n", "no row: B1 no colon"),
            ("C1: x\n  must: y\n", "no number: C1"),
            ("B01: x\n  must: y\n", "no number: B01"),
            ("B1: x\n", "B1: it has no `must:`"),
            ("B1: x\n  must: y\n  done: z\n", "B1: it can't hold `done: z`"),
            ("B1: x\n  must: y\n  open: z\n  not applicable: z\n", "B1: it can't hold `not applicable: z`"),
            ("F1: x\n  must: y\nB1: x\n  must: y\n", "B1: numbers go up, and each stands once"),
            ("B1: x\n  must: y\nB1: x\n  must: y\n", "B1: numbers go up, and each stands once"),
        ] {
            assert_eq!(parse(text).unwrap_err(), why);
        }
    }
}
