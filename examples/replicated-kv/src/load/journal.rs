//! What a load's writers tried, and what they were told.
//!
//! ```text
//! try   NUMBER KEY [KEY]     before it is said to a member
//! ok    NUMBER KEY [KEY]     acknowledged
//! no    NUMBER KEY [KEY]     refused, or rolled back: nothing was changed
//! ```
//!
//! A try without an outcome is in doubt. Numbers never come twice, and are what the values begin with.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// How an attempt ended, as its writer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged.
    Acknowledged,
    /// Nothing was changed.
    Refused,
    /// Nobody knows.
    InDoubt,
}

/// One attempt to write a number to one key, or to two in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What is written.
    pub number: u64,
    /// Where.
    pub keys: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

/// A journal that is being written; each line is handed to the system at once.
pub struct Journal(Mutex<File>);

impl Journal {
    /// A new one at `path`, in the place of any that was there.
    ///
    /// # Errors
    /// If it can't be written there.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(File::create(path)?)))
    }

    /// Before an attempt.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn tries(&self, number: u64, keys: &[String]) -> io::Result<()> {
        self.line("try", number, keys)
    }

    /// After it.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn ended(&self, number: u64, keys: &[String], outcome: Outcome) -> io::Result<()> {
        match outcome {
            Outcome::Acknowledged => self.line("ok", number, keys),
            Outcome::Refused => self.line("no", number, keys),
            Outcome::InDoubt => Ok(()),
        }
    }

    fn line(&self, word: &str, number: u64, keys: &[String]) -> io::Result<()> {
        let line = format!("{word} {number} {}\n", keys.join(" "));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())
    }

    /// All attempts of the journal at `path`, in the order in which they began.
    ///
    /// # Errors
    /// If it can't be read, or is none.
    pub fn read(path: &Path) -> io::Result<Vec<Attempt>> {
        let mut attempts = Vec::<Attempt>::new();
        let mut begun = std::collections::HashMap::new();
        for line in BufReader::new(File::open(path)?).lines() {
            let line = line?;
            let mut words = line.split(' ');
            let wrong =
                || io::Error::new(io::ErrorKind::InvalidData, format!("no line of a journal: {line}"));
            let (word, number) = (words.next().unwrap_or_default(), words.next());
            let number = number.and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
            let outcome = match word {
                "try" => {
                    begun.insert(number, attempts.len());
                    let keys = words.map(str::to_owned).collect();
                    attempts.push(Attempt { number, keys, outcome: Outcome::InDoubt });
                    continue;
                }
                "ok" => Outcome::Acknowledged,
                "no" => Outcome::Refused,
                _ => return Err(wrong()),
            };
            let index = *begun.get(&number).ok_or_else(wrong)?;
            attempts[index].outcome = outcome;
        }
        Ok(attempts)
    }
}
