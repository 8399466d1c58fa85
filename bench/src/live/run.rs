//! What is measured, one provider's process after another.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::provider::At;
use crate::report::{Row, Sample};
use crate::writers::{Latencies, histogram};

/// How long writers are watched where it is not they that are measured.
const WATCHED_MIN: Duration = Duration::from_millis(500);

pub(crate) struct Plan {
    pub(crate) size: u64,
    pub(crate) rate: u32,
    /// How long writers are watched before a transfer.
    pub(crate) watched: Duration,
    pub(crate) rounds: usize,
}

/// How a state is transferred.
#[derive(Clone, Copy)]
struct Way {
    at: At,
    /// To the writers.
    yields: bool,
    /// Nobody writes meanwhile.
    flushes: bool,
}

impl Way {
    const UNLIMITED: Self = Self { at: At::Normal, yields: false, flushes: false };
    const LOW: Self = Self { at: At::Low, yields: true, flushes: false };
}

/// Tells the parent something: one line of JSON.
pub(crate) fn tell(value: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

impl Plan {
    /// Before a transfer, during one as fast as can be and at two priorities, and while nobody may write for all of
    /// it. Rounds are interleaved.
    pub(crate) fn writers(&self) -> io::Result<Vec<Row>> {
        let ways = [
            ("live, unlimited", Way::UNLIMITED),
            ("live, low priority", Way::LOW),
            ("live, idle priority", Way { at: At::Idle, ..Way::LOW }),
            ("flush", Way { flushes: true, ..Way::UNLIMITED }),
        ];
        let row = |name: &str| Row::new(name.into(), self.size, self.rate);
        let mut rows = vec![row("nothing moves")];
        rows.extend(ways.iter().map(|(name, _)| row(name)));
        for _ in 0..self.rounds {
            for (n, (_, way)) in ways.iter().enumerate() {
                let sample = self.transfer(*way)?;
                rows[0].latencies.add(&sample.before).map_err(io::Error::other)?;
                rows[n + 1].add(sample)?;
            }
        }
        Ok(rows)
    }

    /// States of these sizes, as fast as can be.
    pub(crate) fn by_size(&self, sizes: &[u64]) -> io::Result<Vec<Row>> {
        let rows = sizes.iter().map(|&size| {
            (
                Row::new(bytesize::ByteSize(size).display().iec().to_string(), size, self.rate),
                Self { size, watched: WATCHED_MIN.min(self.watched), ..*self },
            )
        });
        self.each(Way::UNLIMITED, rows.collect())
    }

    /// The same state at low priority, while so many writes a second are made.
    pub(crate) fn by_rate(&self, rates: &[u32]) -> io::Result<Vec<Row>> {
        let rows = rates
            .iter()
            .map(|&rate| (Row::new(format!("{rate} writes/s"), self.size, rate), Self { rate, ..*self }));
        self.each(Way::LOW, rows.collect())
    }

    fn each(&self, way: Way, mut rows: Vec<(Row, Self)>) -> io::Result<Vec<Row>> {
        for _ in 0..self.rounds {
            for (row, plan) in &mut rows {
                row.add(plan.transfer(way)?)?;
            }
        }
        Ok(rows.into_iter().map(|(row, _)| row).collect())
    }

    /// One transfer: what writes took before it, and what it cost.
    fn transfer(&self, way: Way) -> io::Result<Sample> {
        let Way { at, yields, flushes } = way;
        let priority = at.name();
        let flush = || flushes.then(|| "--flush".to_owned());
        let mut arguments =
            vec!["provide".into(), self.size.to_string(), self.rate.to_string(), priority.clone()];
        arguments.extend((!yields).then(|| "--unlimited".to_owned()));
        arguments.extend(flush());
        let mut provider = Side::start(&arguments)?;
        let address = provider.hear()?["address"].as_str().unwrap_or_default().to_owned();
        thread::sleep(self.watched);
        provider.say("during")?;
        let mut joiner =
            Side::start(&["join".into(), address, priority].into_iter().chain(flush()).collect::<Vec<_>>())?;
        let served = loop {
            let told = joiner.hear()?;
            let Some(word) = told.get("word") else { break told };
            // To the group.
            writeln!(provider.words, "word {word}")?;
        };
        provider.say("after")?;
        writeln!(provider.words, "end")?;
        let told = provider.hear()?;
        let number = |value: &Value| value.as_f64().ok_or_else(|| io::Error::other("a side told no number"));
        Ok(Sample {
            before: latencies(&told["before"])?,
            latencies: latencies(&told["during"])?,
            seconds: number(&served["seconds"])?,
            bytes: served["bytes"].as_u64().unwrap_or(0),
            root: served["root"].as_str().unwrap_or_default().to_owned(),
            capture: number(&told["capture"])?,
            latch: number(&told["latch"])?,
            delayed: number(&told["delayed"])?,
        })
    }
}

fn latencies(counts: &Value) -> io::Result<Latencies> {
    let mut latencies = histogram();
    for count in counts.as_array().into_iter().flatten() {
        let (Some(nanos), Some(times)) = (count[0].as_u64(), count[1].as_u64()) else { continue };
        latencies.record_n(nanos, times).map_err(io::Error::other)?;
    }
    Ok(latencies)
}

/// A child process, which says and is told lines. It ends with this.
struct Side {
    child: Child,
    words: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Side {
    fn start<A: AsRef<OsStr>>(arguments: &[A]) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(words), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the child has no pipes"));
        };
        Ok(Self { child, words, lines: BufReader::new(out) })
    }

    /// Tells it something, and waits until it is done.
    fn say(&mut self, word: &str) -> io::Result<()> {
        writeln!(self.words, "{word}")?;
        self.hear().map(|_| ())
    }

    fn hear(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a side of the transfer ended without a word"));
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It has ended already, unless something failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
