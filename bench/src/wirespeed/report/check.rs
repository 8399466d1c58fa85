//! What is compared, and what is to be reached.

use super::Table;

/// One comparison within a table.
#[derive(Clone, PartialEq)]
pub(super) enum Check {
    /// How much faster a row is than the slowest of others; a target of 0 only reports.
    Ratio { of: String, than: Vec<String>, target: f64 },
    /// How many seconds longer than another row one takes.
    More { of: String, than: String, at_most: f64 },
    /// The slowest receiver's rate as a part of the fastest's.
    Fairness { of: String, target: f64 },
    /// CPU seconds for a GB, of each side.
    Cpu { of: String, sender: f64, receiver: f64 },
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) sentence: String,
    /// `None` where nothing was to be reached.
    pub(super) reached: Option<bool>,
}

impl Check {
    /// `None` if a row of it was not measured.
    pub(super) fn outcome(&self, table: &Table) -> Option<Outcome> {
        let median = |row: &String| table.row(row).map(|row| row.seconds().median);
        Some(match self {
            Self::Ratio { of, than, target } => {
                let slowest =
                    than.iter().map(median).try_fold(0.0, |most: f64, next| Some(most.max(next?)))?;
                let ratio = slowest / median(of)?;
                let what = if than.len() > 1 { "the slowest of " } else { "" };
                let (wanted, reached) = wanted(*target, ratio >= *target, "");
                let sentence = format!("{of} is {ratio:.2} x {what}{}{wanted}", than.join(", "));
                Outcome { sentence, reached }
            }
            Self::More { of, than, at_most } => {
                let more = median(of)? - median(than)?;
                let (wanted, reached) = wanted(at_most * 1e3, more <= *at_most, " ms at most");
                Outcome {
                    sentence: format!("{of} takes {:.2} ms more than {than}{wanted}", more * 1e3),
                    reached,
                }
            }
            Self::Fairness { of, target } => {
                let part = table.row(of)?.fairness()?;
                let (wanted, reached) = wanted(*target, part >= *target, "");
                Outcome {
                    sentence: format!("{of}: the slowest has {part:.2} of the fastest's rate{wanted}"),
                    reached,
                }
            }
            Self::Cpu { of, sender, receiver } => {
                let row = table.row(of)?;
                let (sends, receives) = (row.sender()?.cpu_per_gb, row.receiver()?.cpu_per_gb);
                let reached = sends <= *sender && receives <= *receiver;
                let sentence = format!(
                    "{of}: {sends:.2} CPU s/GB at the sender, {receives:.2} at the receiver (target {sender:.2}, \
                     {receiver:.2})"
                );
                Outcome { sentence, reached: Some(reached) }
            }
        })
    }
}

fn wanted(target: f64, reached: bool, unit: &str) -> (String, Option<bool>) {
    if target > 0.0 { (format!(" (target {target:.2}{unit})"), Some(reached)) } else { (String::new(), None) }
}
