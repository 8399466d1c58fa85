//! Deliveries, and transactions that are prepared: what the engine knows from its process's start on.

use std::collections::BTreeSet;
use std::sync::Arc;

use longhaul_core::message::Transaction;
use longhaul_core::transfer::LogPoint;

use super::captures::completions;
use super::subject::Subject;
use super::trial::{Outcome, Trial};

impl<S: Subject> Trial<S> {
    /// Looked at behind every batch; killed in between, it contains what it says, and goes on from there.
    pub(super) fn delivery_with_number(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let history = &bench.mixed;
        let mut host = self.provider(history, 0)?;
        while host.delivered < history.len() {
            let to = (host.delivered + self.draw.within(1, 12)).min(history.len());
            bench.deliver(&mut host, history, to, &mut self.draw)?;
            bench.expect(&host, history.seen(to), "delivered")?;
            if bench.subject.is_durable() && self.draw.one_in(3) {
                host = bench.reopen(host)?;
                let left = host.delivered;
                if left > to {
                    return Err(format!("killed behind message {to}, it says that it contains {left}"));
                }
                bench.expect(&host, history.seen(left), &format!("killed behind message {to}"))?;
            }
        }
        Ok(())
    }

    /// Asked before and behind its process's start, and where it has joined.
    pub(super) fn pending_from_start(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let history = &bench.mixed;
        let Some(delivered) = (1..=history.len()).filter(|at| !history.open(*at).is_empty()).nth(3) else {
            return Ok(());
        };
        let mut host = self.provider(history, delivered)?;
        self.pending_are(&host, "asked at once")?;
        if bench.subject.is_durable() {
            host = bench.reopen(host)?;
            if host.delivered == delivered {
                self.pending_are(&host, "asked when its process had begun anew")?;
            }
            bench.deliver(&mut host, history, delivered, &mut self.draw)?;
        }
        let mut joiner = self.joiner()?;
        self.stage_all(&host, &joiner)?;
        bench.commit(&mut joiner, delivered)?;
        self.pending_are(&joiner, "asked where it has joined")?;
        bench.deliver(&mut joiner, history, history.len(), &mut self.draw)?;
        self.pending_are(&joiner, "asked when many had ended")?;
        bench.expect(&joiner, history.seen(history.len()), "with those that were pending ended")
    }

    fn pending_are(&self, host: &super::trial::Host<S>, when: &str) -> Outcome {
        let pending = self.bench.pending(host)?;
        let told: BTreeSet<Transaction> =
            pending.prepares().iter().map(|prepare| prepare.transaction).collect();
        let open: BTreeSet<Transaction> = self.bench.mixed.open(host.delivered).iter().copied().collect();
        if told == open {
            return Ok(());
        }
        let numbers = |of: BTreeSet<Transaction>| of.iter().map(|of| of.number).collect::<Vec<_>>();
        let (told, open) = (numbers(told), numbers(open));
        Err(format!("{when}, the transactions of messages {open:?} are pending, and {told:?} were told"))
    }

    /// The first try at the cut-over was aborted: others are pending at the next one.
    pub(super) fn prepares_forgotten(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let history = &bench.mixed;
        let pending = (1..history.len() - 1).filter(|at| !history.open(*at).is_empty()).collect::<Vec<_>>();
        if pending.is_empty() {
            return Ok(());
        }
        let first = pending[self.draw.below(pending.len() as u64) as usize];
        let second = history.len();
        let mut provider = self.provider(history, first)?;
        let mut joiner = self.joiner()?;
        bench.start_log(&provider, LogPoint::default())?;
        self.stage_all(&provider, &joiner)?;
        bench.call("Stage::forget_prepares", || joiner.application.forget_prepares())?;
        bench.deliver(&mut provider, history, second, &mut self.draw)?;
        let log = bench.whole_log(&provider, LogPoint::default(), completions(history, first, second))?;
        bench.apply(&joiner, &log.records(), &mut self.draw)?;
        bench.prepare(&joiner, &bench.pending(&provider)?)?;
        bench.commit(&mut joiner, second)?;
        let when = format!("with prepares of message {first} forgotten, and those of message {second} added");
        bench.expect(&joiner, history.seen(second), &when)
    }
}
