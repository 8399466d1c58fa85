//! Writers at a fixed rate, which write down what they were told.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::connection::{Connection, Reply};
use super::journal::{Journal, Outcome};
use super::random::Random;

/// What a load is.
#[derive(Clone, Debug)]
pub struct Load {
    /// The members that are written to; a writer goes on at the next one when its connection is lost.
    pub members: Vec<String>,
    /// Writers at once.
    pub writers: u64,
    /// Writes a second, of all writers together.
    pub rate: f64,
    /// For how long.
    pub time: Duration,
    /// Bytes of a value, at least.
    pub value_bytes: usize,
    /// Keys of each writer.
    pub keys: u64,
    /// One operation in so many is a transaction in two phases; 0: none.
    pub two_phase_one_in: u64,
    /// What is drawn from.
    pub seed: u64,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Written {
    /// Attempts that were acknowledged.
    pub acknowledged: u64,
    /// That were refused, or rolled back.
    pub refused: u64,
    /// That are in doubt.
    pub in_doubt: u64,
    /// Microseconds from when each write was due until it was acknowledged.
    pub latency: Histogram<u64>,
}

/// Keys that a writer draws until it finds one that is not in doubt.
const DRAWS: u32 = 1000;
/// How long to wait before a member that can't be reached is dialled again.
const REDIAL: Duration = Duration::from_millis(50);
/// Operations between the phases of a transaction, at most.
const BETWEEN_PHASES: u64 = 20;

/// Writes until the time is over or `stop` is set.
///
/// # Errors
/// If the journal can't be written.
///
/// # Panics
/// If a writer does.
pub fn write(load: &Load, journal: &Journal, stop: &AtomicBool) -> io::Result<Written> {
    let numbers = AtomicU64::new(1);
    let start = Instant::now();
    let parts: io::Result<Vec<_>> = thread::scope(|scope| {
        let start_writer = |index| {
            let mut writer = Writer::new(index, load, journal, &numbers);
            scope.spawn(move || writer.run(start, stop).map(|()| writer.written))
        };
        let writers: Vec<_> = (0..load.writers).map(start_writer).collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer does not panic")).collect()
    });
    let mut all = Written::nothing();
    for part in parts? {
        all.acknowledged += part.acknowledged;
        all.refused += part.refused;
        all.in_doubt += part.in_doubt;
        all.latency.add(&part.latency).expect("equal bounds");
    }
    Ok(all)
}

impl Written {
    fn nothing() -> Self {
        let latency = Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds that are in order");
        Self { acknowledged: 0, refused: 0, in_doubt: 0, latency }
    }
}

struct Writer<'a> {
    index: u64,
    load: &'a Load,
    journal: &'a Journal,
    numbers: &'a AtomicU64,
    random: Random,
    /// Which member is next, and the connection to the one before.
    member: usize,
    connection: Option<Connection>,
    /// Keys that are never written again.
    in_doubt: HashSet<String>,
    /// A transaction between its phases.
    prepared: Option<Prepared>,
    written: Written,
}

struct Prepared {
    number: u64,
    keys: Vec<String>,
    /// The member's name of it.
    transaction: String,
    /// Operations until its second phase.
    wait: u64,
}

impl<'a> Writer<'a> {
    fn new(index: u64, load: &'a Load, journal: &'a Journal, numbers: &'a AtomicU64) -> Self {
        Self {
            index,
            load,
            journal,
            numbers,
            random: Random(load.seed ^ (index + 1).wrapping_mul(0x5851_f42d_4c95_7f2d)),
            member: index as usize,
            connection: None,
            in_doubt: HashSet::new(),
            prepared: None,
            written: Written::nothing(),
        }
    }

    fn run(&mut self, start: Instant, stop: &AtomicBool) -> io::Result<()> {
        let interval = Duration::from_secs_f64(self.load.writers as f64 / self.load.rate);
        let end = start + self.load.time;
        let mut due = start + interval.mul_f64(self.index as f64 / self.load.writers as f64);
        while due < end && !stop.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.connect() {
                self.operation(due)?;
                due += interval;
            } else {
                // A write that nobody can be told is not one that waits.
                thread::sleep(REDIAL);
                due = due.max(Instant::now());
            }
        }
        match self.prepared.take() {
            Some(prepared) if self.connect() => self.second_phase(&prepared, end),
            Some(Prepared { number, keys, .. }) => self.ended(number, keys, Outcome::InDoubt, end),
            None => Ok(()),
        }
    }

    /// Whether there is a connection.
    fn connect(&mut self) -> bool {
        if self.connection.is_none() {
            let members = &self.load.members;
            self.connection = Connection::open(&members[self.member % members.len()]).ok();
            self.member += 1;
        }
        self.connection.is_some()
    }

    fn operation(&mut self, due: Instant) -> io::Result<()> {
        if let Some(mut prepared) = self.prepared.take() {
            if prepared.wait == 0 {
                // From another member than the first phase.
                self.connection = None;
                if self.connect() {
                    return self.second_phase(&prepared, due);
                }
                self.prepared = Some(prepared);
                return Ok(());
            }
            prepared.wait -= 1;
            self.prepared = Some(prepared);
        } else if self.random.one_in(self.load.two_phase_one_in) {
            return self.first_phase(due);
        }
        let Some(key) = self.key() else { return Ok(()) };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let keys = vec![key];
        self.journal.tries(number, &keys)?;
        let line = format!("PUT {} {}", keys[0], self.value(number));
        let outcome = outcome(&self.ask(&line));
        self.ended(number, keys, outcome, due)
    }

    fn first_phase(&mut self, due: Instant) -> io::Result<()> {
        let (Some(first), Some(second)) = (self.key(), self.key()) else { return Ok(()) };
        if first == second {
            return Ok(());
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let keys = vec![first, second];
        self.journal.tries(number, &keys)?;
        let value = self.value(number);
        for line in
            ["BEGIN".to_owned(), format!("PUT {} {value}", keys[0]), format!("PUT {} {value}", keys[1])]
        {
            if !matches!(self.ask(&line), Reply::Done(_)) {
                // The connection is gone, and what it had gathered with it.
                self.connection = None;
                return self.ended(number, keys, Outcome::Refused, due);
            }
        }
        match self.ask("PREPARE") {
            Reply::Done(transaction) => {
                let wait = self.random.below(BETWEEN_PHASES);
                self.prepared = Some(Prepared { number, keys, transaction, wait });
                Ok(())
            }
            Reply::Refused(_) => {
                self.connection = None;
                self.ended(number, keys, Outcome::Refused, due)
            }
            Reply::InDoubt => self.ended(number, keys, Outcome::InDoubt, due),
        }
    }

    fn second_phase(&mut self, prepared: &Prepared, due: Instant) -> io::Result<()> {
        let Prepared { number, keys, transaction, .. } = prepared;
        let commits = !self.random.one_in(8);
        let word = if commits { "COMMIT" } else { "ROLLBACK" };
        let outcome = match self.ask(&format!("{word} {transaction}")) {
            Reply::Done(_) if commits => Outcome::Acknowledged,
            Reply::Done(_) => Outcome::Refused,
            // It stays prepared, and may be ended by somebody else.
            Reply::Refused(_) | Reply::InDoubt => Outcome::InDoubt,
        };
        self.ended(*number, keys.clone(), outcome, due)
    }

    fn ended(&mut self, number: u64, keys: Vec<String>, outcome: Outcome, due: Instant) -> io::Result<()> {
        self.journal.ended(number, &keys, outcome)?;
        match outcome {
            Outcome::Acknowledged => {
                self.written.acknowledged += 1;
                let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.written.latency.saturating_record(micros.max(1));
            }
            Outcome::Refused => self.written.refused += 1,
            Outcome::InDoubt => {
                self.written.in_doubt += 1;
                self.in_doubt.extend(keys);
            }
        }
        Ok(())
    }

    /// Says a line; a connection that is lost leaves it in doubt.
    fn ask(&mut self, line: &str) -> Reply {
        let reply = self.connection.as_mut().and_then(|connection| connection.ask(line).ok());
        if reply.is_none() {
            self.connection = None;
        }
        reply.unwrap_or(Reply::InDoubt)
    }

    /// A key whose content is known, and that no transaction of this writer holds.
    fn key(&mut self) -> Option<String> {
        for _ in 0..DRAWS {
            let key = format!("load/{}/{}", self.index, self.random.below(self.load.keys));
            let is_held = self.prepared.as_ref().is_some_and(|prepared| prepared.keys.contains(&key));
            if !is_held && !self.in_doubt.contains(&key) {
                return Some(key);
            }
        }
        None
    }

    fn value(&mut self, number: u64) -> String {
        format!("{number} {}", self.random.letters(self.load.value_bytes))
    }
}

fn outcome(reply: &Reply) -> Outcome {
    match reply {
        Reply::Done(_) => Outcome::Acknowledged,
        Reply::Refused(_) => Outcome::Refused,
        Reply::InDoubt => Outcome::InDoubt,
    }
}
