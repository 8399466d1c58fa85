//! A scenario line of either simulator: of members, or of a group (whose first clause says so).

use std::fmt;

use crate::{group, sim};

/// A case that a line writes down.
#[derive(Clone, Debug)]
pub enum Scenario {
    /// Members that transfer states.
    Members(Box<sim::Case>),
    /// A group whose members join while everybody writes.
    Group(Box<group::Case>),
}

impl Scenario {
    /// Reads a line.
    ///
    /// # Errors
    /// The clause that is wrong.
    pub fn parse(line: &str) -> Result<Self, String> {
        let first = line.split([':', ';']).nth(1).map(str::trim);
        if first == Some("group") {
            return group::parse_scenario(line).map(|case| Self::Group(Box::new(case)));
        }
        sim::parse_scenario(line).map(|case| Self::Members(Box::new(case)))
    }

    /// Runs it; `aloud` prints what happens as it happens. How it went, for a person.
    ///
    /// # Errors
    /// What broke, if something did.
    pub fn run(&self, aloud: bool) -> Result<String, String> {
        match self {
            Self::Members(case) => sim::run(case, aloud).map(|outcome| format!("{outcome:?}")),
            Self::Group(case) => group::run(case, aloud).map(|outcome| format!("{outcome:?}")),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members(case) => case.fmt(f),
            Self::Group(case) => case.fmt(f),
        }
    }
}
