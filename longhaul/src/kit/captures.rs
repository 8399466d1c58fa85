//! Captures: each is what its digest says, and stays so.

use std::sync::Arc;
use std::thread;

use longhaul_core::transfer::LogPoint;

use super::draw::Draw;
use super::history::History;
use super::logs::log_end;
use super::subject::Subject;
use super::trial::{Bench, Encoded, Host, Outcome, Taken, Trial};

impl<S: Subject> Trial<S> {
    /// Nothing is written while the capture is read.
    pub(super) fn capture_exact(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        for delivered in [0, self.draw.within(1, bench.mixed.len() - 1), bench.mixed.len()] {
            let provider = self.provider(&bench.mixed, delivered)?;
            let mut joiner = self.joiner()?;
            bench.start_log(&provider, LogPoint::default())?;
            let taken = bench.capture(&provider, LogPoint::default())?;
            let pending = bench.pending(&provider)?;
            bench.land(&joiner, &taken, &mut self.draw, &mut || Ok(()))?;
            bench.prepare(&joiner, &pending)?;
            bench.commit(&mut joiner, delivered)?;
            let when = format!("captured behind message {delivered}, with nothing written meanwhile");
            bench.expect(&joiner, bench.mixed.seen(delivered), &when)?;
        }
        Ok(())
    }

    /// A capture is read slowly: between any two pieces messages are delivered.
    pub(super) fn capture_while(&mut self, history: fn(&Bench<S>) -> &History<S::Operation>) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let history = history(&bench);
        let delivered = self.draw.within(history.len() / 4, history.len() / 2);
        let mut provider = self.provider(history, delivered)?;
        let joiner = self.joiner()?;
        bench.start_log(&provider, LogPoint::default())?;
        let taken = bench.capture(&provider, LogPoint::default())?;
        let pending = bench.pending(&provider)?;
        let most = self.draw.within(1, history.len() / 4);
        // Its source may look at the engine only when it is read.
        let (mut reading, mut writing) = (self.draw.clone(), self.draw.clone());
        self.draw.bits();
        bench.land(&joiner, &taken, &mut reading, &mut || {
            let to = (provider.delivered + writing.within(0, most)).min(history.len());
            bench.deliver_at_once(&mut provider, history, to)
        })?;
        bench.deliver(&mut provider, history, history.len(), &mut self.draw)?;
        self.complete(&provider, joiner, (&taken, &pending), history).map_err(|wrong| {
            let to = provider.delivered;
            format!(
                "captured behind message {delivered}, and read while all up to {to} were delivered: {wrong}"
            )
        })
    }

    /// What a capture and, if it is fuzzy, the log behind it lead to.
    fn complete(
        &mut self,
        provider: &Host<S>,
        mut joiner: Host<S>,
        (taken, pending): (&Taken, &Encoded),
        history: &History<S::Operation>,
    ) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let to = if self.is_fuzzy() { provider.delivered } else { taken.delivered };
        if self.is_fuzzy() {
            let log = bench.whole_log(provider, taken.from, completions(history, taken.delivered, to))?;
            bench.apply(&joiner, &log.records(), &mut self.draw)?;
            bench.prepare(&joiner, &bench.pending(provider)?)?;
        } else {
            bench.prepare(&joiner, pending)?;
        }
        bench.commit(&mut joiner, to)?;
        bench.expect(&joiner, history.seen(to), "at who has it")
    }

    /// Two captures are read on threads of their own while another one writes.
    pub(super) fn captures_apart(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let history = &bench.mixed;
        let first = self.draw.within(1, history.len() / 3);
        let second = self.draw.within(first + 1, history.len() * 2 / 3);
        let mut provider = self.provider(history, first)?;
        let joiners = [self.joiner()?, self.joiner()?];
        bench.start_log(&provider, LogPoint::default())?;
        let mut taken = Vec::new();
        for delivered in [first, second] {
            bench.deliver(&mut provider, history, delivered, &mut self.draw)?;
            let from = log_end(&bench, &provider, history, first)?;
            taken.push((bench.capture(&provider, from)?, bench.pending(&provider)?));
        }
        let ids = [taken[0].0.snapshot.id(), taken[1].0.snapshot.id()];
        if ids[0].is_some() && ids[0] == ids[1] && history.seen(first).root != history.seen(second).root {
            return Err(format!("captures of messages {first} and {second} have the same id"));
        }
        let mut draws = [(); 3].map(|()| Draw::new(self.draw.bits()));
        let [writing, reading @ ..] = &mut draws;
        let piece = || {
            thread::yield_now();
            Ok(())
        };
        thread::scope(|scope| {
            let mut readers = Vec::new();
            for ((taken, joiner), draw) in taken.iter().zip(&joiners).zip(reading) {
                let bench = &bench;
                readers.push(scope.spawn(move || bench.land(joiner, &taken.0, draw, &mut { piece })));
            }
            bench.deliver(&mut provider, history, history.len(), writing)?;
            readers
                .into_iter()
                .try_for_each(|reader| reader.join().unwrap_or_else(|_| Err("it panicked".into())))
        })?;
        for ((taken, pending), joiner) in taken.into_iter().zip(joiners) {
            let delivered = taken.delivered;
            self.complete(&provider, joiner, (&taken, &pending), history).map_err(|wrong| {
                format!(
                    "two captures were read while writes went on; of that of message {delivered}: {wrong}"
                )
            })?;
        }
        Ok(())
    }
}

/// Messages behind `from`, up to `to`, that complete something.
pub(super) fn completions<O>(history: &History<O>, from: u64, to: u64) -> usize {
    history.between(from, to).iter().filter(|step| step.effect.completes()).count()
}
