//! Compares a journal with what a member has.

use std::collections::HashMap;
use std::io;

use super::connection::Connection;
use super::journal::{Attempt, Outcome};

/// Keys that are asked for at once.
const AT_ONCE: usize = 64;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Checked {
    /// Attempts that were acknowledged, refused, and in doubt.
    pub acknowledged: u64,
    /// Nothing was changed by them.
    pub refused: u64,
    /// Nobody knew.
    pub in_doubt: u64,
    /// Keys that were compared.
    pub keys: u64,
    /// What is not as it must be, a sentence each; the first hundred.
    pub wrong: Vec<String>,
}

/// What a key may hold: the last number that was acknowledged, or one in doubt since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Allowed {
    certain: Option<u64>,
    in_doubt: Vec<u64>,
}

/// Asks a member for every key of the journal.
///
/// # Errors
/// If it can't be asked.
pub fn check(attempts: &[Attempt], member: &mut Connection) -> io::Result<Checked> {
    let allowed = allowed(attempts);
    let mut found = HashMap::new();
    let mut keys: Vec<_> = allowed.keys().copied().collect();
    keys.sort_unstable();
    for some in keys.chunks(AT_ONCE) {
        let lines: Vec<_> = some.iter().map(|key| format!("GET {key}\n")).collect();
        member.say(lines.concat().as_bytes())?;
        for key in some {
            found.insert(*key, number(&member.hear()?)?);
        }
    }
    Ok(compare(attempts, &allowed, &found))
}

/// The number that a value begins with, in an answer to GET.
fn number(answer: &[u8]) -> io::Result<Option<u64>> {
    let text = String::from_utf8_lossy(answer);
    let mut words = text.split(' ');
    match (words.next(), words.next().map(str::parse)) {
        (Some("NONE"), None) => Ok(None),
        (Some("VALUE"), Some(Ok(number))) => Ok(Some(number)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("no value of a load: {text:.80}"))),
    }
}

fn allowed(attempts: &[Attempt]) -> HashMap<&str, Allowed> {
    let mut allowed = HashMap::<&str, Allowed>::new();
    for attempt in attempts {
        for key in &attempt.keys {
            let allowed = allowed.entry(key).or_default();
            match attempt.outcome {
                Outcome::Acknowledged => {
                    *allowed = Allowed { certain: Some(attempt.number), in_doubt: Vec::new() };
                }
                Outcome::Refused => {}
                Outcome::InDoubt => allowed.in_doubt.push(attempt.number),
            }
        }
    }
    allowed
}

fn compare(
    attempts: &[Attempt],
    allowed: &HashMap<&str, Allowed>,
    found: &HashMap<&str, Option<u64>>,
) -> Checked {
    let count = |outcome| attempts.iter().filter(|attempt| attempt.outcome == outcome).count() as u64;
    let mut checked = Checked {
        acknowledged: count(Outcome::Acknowledged),
        refused: count(Outcome::Refused),
        in_doubt: count(Outcome::InDoubt),
        keys: allowed.len() as u64,
        wrong: Vec::new(),
    };
    for (key, Allowed { certain, in_doubt }) in allowed {
        let found = found.get(key).copied().flatten();
        if found != *certain && !found.is_some_and(|number| in_doubt.contains(&number)) {
            checked.wrong.push(format!("{key} holds {found:?}, and {certain:?} was acknowledged"));
        }
    }
    for Attempt { number, keys, .. } in attempts.iter().filter(|attempt| attempt.keys.len() > 1) {
        // Later ones may stand where it was; who finds it at one key and an earlier one at another finds half of it.
        let here = |key: &String| found.get(&**key).copied().flatten();
        let is_half = keys.iter().any(|key| here(key) == Some(*number))
            && keys.iter().any(|key| here(key).is_none_or(|found| found < *number));
        if is_half {
            checked.wrong.push(format!("half of transaction {number} is there: {}", keys.join(", ")));
        }
    }
    checked.wrong.sort();
    checked.wrong.truncate(100);
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u64, keys: &[&str], outcome: Outcome) -> Attempt {
        Attempt { number, keys: keys.iter().map(ToString::to_string).collect(), outcome }
    }

    fn wrong(attempts: &[Attempt], found: &[(&str, Option<u64>)]) -> Vec<String> {
        compare(attempts, &allowed(attempts), &found.iter().copied().collect()).wrong
    }

    #[test]
    fn a_lost_write_is_found_and_one_in_doubt_may_be_either() {
        use Outcome::{Acknowledged, InDoubt, Refused};
        let attempts = [
            attempt(1, &["a"], Acknowledged),
            attempt(2, &["a"], Refused),
            attempt(3, &["a"], Acknowledged),
            attempt(4, &["a"], InDoubt),
        ];
        for (found, is_right) in
            [(None, false), (Some(1), false), (Some(2), false), (Some(3), true), (Some(4), true)]
        {
            assert_eq!(wrong(&attempts, &[("a", found)]).is_empty(), is_right, "{found:?}");
        }
    }

    #[test]
    fn half_a_transaction_is_found() {
        let attempts =
            [attempt(1, &["a", "b"], Outcome::Acknowledged), attempt(2, &["a", "b"], Outcome::InDoubt)];
        assert!(wrong(&attempts, &[("a", Some(1)), ("b", Some(1))]).is_empty());
        assert!(wrong(&attempts, &[("a", Some(2)), ("b", Some(2))]).is_empty());
        let half = wrong(&attempts, &[("a", Some(2)), ("b", Some(1))]);
        assert_eq!(half, ["half of transaction 2 is there: a, b"]);
    }

    #[test]
    fn what_no_load_wrote_is_an_error() {
        assert_eq!(number(b"NONE").unwrap(), None);
        assert_eq!(number(b"VALUE 17 xxx").unwrap(), Some(17));
        assert!(number(b"VALUE x").is_err() && number(b"ERR no").is_err());
    }
}
