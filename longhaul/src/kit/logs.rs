//! Logs: no hole, the order of delivery, and enough to come to the state.

use std::sync::Arc;
use std::thread;

use longhaul_core::message::Effect;
use longhaul_core::transfer::LogPoint;

use super::captures::completions;
use super::draw::Draw;
use super::history::History;
use super::subject::Subject;
use super::trial::{Bench, Host, Outcome, Trial, points};
use crate::live::batch::{Batch, records};
use crate::live::{Application, LogRecord};

/// Where logs begin: what earlier ones held is counted on.
const FROM: LogPoint = LogPoint { records: 70, bytes: 7000 };

impl<S: Subject> Trial<S> {
    /// While a thread delivers, another one follows the log; then it is read again from any point.
    pub(super) fn log_whole(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let history = &bench.mixed;
        let begun = self.draw.within(0, history.len() / 2);
        let mut provider = self.provider(history, begun)?;
        bench.start_log(&provider, FROM)?;
        let expected = completions(history, begun, history.len());
        // It is read only where a record is there.
        let first = (begun..=history.len()).find(|at| completions(history, begun, *at) > 0);
        bench.deliver(&mut provider, history, first.unwrap_or(begun), &mut self.draw)?;
        let application = Arc::clone(&provider.application);
        let mut writing = Draw::new(self.draw.bits());
        thread::scope(|scope| {
            let writer = scope.spawn(|| bench.deliver(&mut provider, history, history.len(), &mut writing));
            while expected > 0 && !writer.is_finished() {
                bench.read_while_written(&*application, (history, begun))?;
                thread::yield_now();
            }
            writer.join().unwrap_or_else(|_| Err("it panicked".into()))
        })?;
        let log = bench.whole_log(&provider, FROM, expected)?;
        bench.is_that(&log.records(), FROM, history, completions(history, 0, begun))?;
        let points = points(FROM, &log.records());
        for _ in 0..expected {
            let skipped = self.draw.below(expected as u64) as usize;
            let most = self.draw.within(1, 2000) as usize;
            let part = bench.read_log(&provider, points[skipped], most)?;
            let (part, all) = (part.records(), log.records());
            if part.is_empty() || part[..] != all[skipped..][..part.len()] {
                let number = points[skipped].records;
                return Err(format!("read from record {number} on, the log has other records than before"));
            }
        }
        Ok(())
    }

    /// From time to time it is trimmed.
    pub(super) fn log_trimmed(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let history = &bench.mixed;
        let mut provider = self.provider(history, 0)?;
        bench.start_log(&provider, FROM)?;
        let (mut at, mut read) = (FROM, 0);
        while provider.delivered < history.len() {
            let to = (provider.delivered + self.draw.within(4, 12)).min(history.len());
            bench.deliver(&mut provider, history, to, &mut self.draw)?;
            let there = completions(history, 0, to) - read;
            let rest = bench.whole_log(&provider, at, there).map_err(|wrong| after_trim(at, &wrong))?;
            let rest = rest.records();
            bench.is_that(&rest, at, history, read).map_err(|wrong| after_trim(at, &wrong))?;
            let trimmed = self.draw.within(0, rest.len() as u64) as usize;
            (at, read) = (points(at, &rest)[trimmed], read + trimmed);
            bench.call("Log::trim", || {
                provider.application.trim(at);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Stopped and begun again, behind another point.
    pub(super) fn log_begun_anew(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let history = &bench.mixed;
        let (half, later) = (history.len() / 2, history.len() * 2 / 3);
        let mut provider = self.provider(history, 0)?;
        bench.start_log(&provider, FROM)?;
        bench.deliver(&mut provider, history, half, &mut self.draw)?;
        bench.call("Log::stop", || {
            provider.application.stop();
            Ok(())
        })?;
        bench.deliver(&mut provider, history, later, &mut self.draw)?;
        let from = LogPoint { records: 700, bytes: 70_000 };
        bench.start_log(&provider, from)?;
        bench.deliver(&mut provider, history, history.len(), &mut self.draw)?;
        let log = bench.whole_log(&provider, from, completions(history, later, history.len()))?;
        bench.is_that(&log.records(), from, history, completions(history, 0, later))
    }

    /// A capture at a drawn place of a log that is kept already, all of the log behind it, and what is pending at its end.
    pub(super) fn log_suffices(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let history = &bench.mixed;
        let begun = self.draw.within(0, history.len() / 2);
        let captured = self.draw.within(begun, history.len() * 2 / 3);
        let end = self.draw.within(captured.midpoint(history.len()), history.len());
        let mut provider = self.provider(history, begun)?;
        let mut joiner = self.joiner()?;
        bench.start_log(&provider, LogPoint::default())?;
        bench.deliver(&mut provider, history, captured, &mut self.draw)?;
        let from = log_end(&bench, &provider, history, begun)?;
        let taken = bench.capture(&provider, from)?;
        bench.deliver(&mut provider, history, end, &mut self.draw)?;
        bench.land(&joiner, &taken, &mut self.draw, &mut || Ok(()))?;
        let log = bench.whole_log(&provider, from, completions(history, captured, end))?;
        bench.apply(&joiner, &log.records(), &mut self.draw)?;
        bench.prepare(&joiner, &bench.pending(&provider)?)?;
        bench.commit(&mut joiner, end)?;
        let when = format!("captured behind message {captured}, with the log up to message {end}");
        bench.expect(&joiner, history.seen(end), &when)
    }

    /// The log is applied in part, and again from an earlier record on.
    pub(super) fn apply_idempotent(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let history = &bench.mixed;
        let begun = self.draw.within(0, history.len() / 2);
        let mut provider = self.provider(history, begun)?;
        let mut joiner = self.joiner()?;
        bench.start_log(&provider, LogPoint::default())?;
        let taken = bench.capture(&provider, LogPoint::default())?;
        bench.land(&joiner, &taken, &mut self.draw, &mut || Ok(()))?;
        bench.deliver(&mut provider, history, history.len(), &mut self.draw)?;
        let expected = completions(history, begun, history.len());
        let log = bench.whole_log(&provider, LogPoint::default(), expected)?;
        let records = log.records();
        let until = self.draw.within(0, expected as u64) as usize;
        let again = self.draw.within(0, until as u64) as usize;
        bench.apply(&joiner, &records[..until], &mut self.draw)?;
        bench.apply(&joiner, &records[again..], &mut self.draw)?;
        bench.prepare(&joiner, &bench.pending(&provider)?)?;
        bench.commit(&mut joiner, history.len())?;
        let when = format!("with the first {until} records applied, and all behind the first {again} again");
        bench.expect(&joiner, history.seen(history.len()), &when)
    }
}

impl<S: Subject> Bench<S> {
    /// What is there of the log is right, however much that is.
    fn read_while_written(
        &self,
        application: &dyn Application,
        (history, begun): (&History<S::Operation>, u64),
    ) -> Outcome {
        let mut out = Vec::new();
        let mut batch = Batch::new(&mut out, FROM, 1 << 20);
        self.call("Log::read", || application.read(FROM, &mut batch))?;
        let records: Vec<_> = records(&out).flatten().collect();
        self.is_that(&records, FROM, history, completions(history, 0, begun))
    }

    /// Whether these are the records behind so many completions.
    fn is_that(
        &self,
        records: &[LogRecord<'_>],
        from: LogPoint,
        history: &History<S::Operation>,
        completed: usize,
    ) -> Outcome {
        let steps = history.steps.iter().filter(|step| step.effect.completes()).skip(completed);
        for (at, (found, step)) in records.iter().zip(steps).enumerate() {
            let (found, number) = (found.record, from.records + 1 + at as u64);
            if (found.number, found.sender, found.sequence, found.effect)
                != (number, self.subject.sender(), step.sequence, step.effect)
            {
                return Err(format!(
                    "record {number} should be of message {} ({}), and is of {} of {} ({})",
                    step.sequence,
                    shown(step.effect),
                    found.sequence,
                    found.sender,
                    shown(found.effect)
                ));
            }
        }
        Ok(())
    }
}

/// Where a log ends that began behind message `begun`, at no record.
pub(super) fn log_end<S: Subject>(
    bench: &Bench<S>,
    provider: &Host<S>,
    history: &History<S::Operation>,
    begun: u64,
) -> Outcome<LogPoint> {
    let there = completions(history, begun, provider.delivered);
    let log = bench.whole_log(provider, LogPoint::default(), there)?;
    Ok(*points(LogPoint::default(), &log.records()).last().expect("where it begins is there"))
}

fn shown(effect: Effect) -> String {
    match effect {
        Effect::Commit(of) => format!("the commit of {}", of.number),
        Effect::Rollback(of) => format!("the rollback of {}", of.number),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn after_trim(at: LogPoint, wrong: &str) -> String {
    format!("trimmed up to record {}: {wrong}", at.records)
}
