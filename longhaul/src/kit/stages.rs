//! Hidden copies: nobody sees them until they are committed, in one step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use longhaul_core::transfer::LogPoint;

use super::captures::completions;
use super::subject::{Seen, Subject};
use super::trial::{Bench, Host, Outcome, Trial};

/// How far a hidden copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Come {
    Begun,
    HalfLanded,
    Landed,
    Applied,
    Prepared,
}

impl Come {
    const ALL: [Self; 5] = [Self::Begun, Self::HalfLanded, Self::Landed, Self::Applied, Self::Prepared];

    const fn words(self) -> &'static str {
        match self {
            Self::Begun => "once the hidden copy was begun",
            Self::HalfLanded => "with a part of the bulk there",
            Self::Landed => "with the bulk published",
            Self::Applied => "with records applied",
            Self::Prepared => "with prepares added",
        }
    }
}

/// Ends the bulk where it is.
const ENOUGH: &str = "enough";

impl<S: Subject> Trial<S> {
    /// Brings a hidden copy so far, of the state behind message `captured`; the log goes to `end`. It looks at each step.
    fn come(
        &mut self,
        joiner: &Host<S>,
        (captured, end): (u64, u64),
        come: Come,
        look: &dyn Fn(Come) -> Outcome,
    ) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let history = &bench.mixed;
        let mut provider = self.provider(history, captured)?;
        bench.start_log(&provider, LogPoint::default())?;
        let taken = bench.capture(&provider, LogPoint::default())?;
        if come == Come::Begun {
            drop(bench.call("Stage::stage", || joiner.application.stage(taken.id, false))?);
            return look(Come::Begun);
        }
        let mut pieces = 0;
        let stops_at = if come == Come::HalfLanded { self.draw.within(1, 4) } else { u64::MAX };
        let landed = bench.land(joiner, &taken, &mut self.draw, &mut || {
            pieces += 1;
            look(Come::HalfLanded)?;
            if pieces >= stops_at { Err(ENOUGH.into()) } else { Ok(()) }
        });
        match landed {
            Err(why) if why == ENOUGH => return Ok(()),
            other => other?,
        }
        look(Come::Landed)?;
        if come <= Come::Landed {
            return Ok(());
        }
        bench.deliver(&mut provider, history, end, &mut self.draw)?;
        let log = bench.whole_log(&provider, taken.from, completions(history, captured, end))?;
        bench.apply(joiner, &log.records(), &mut self.draw)?;
        look(Come::Applied)?;
        if come == Come::Prepared {
            bench.prepare(joiner, &bench.pending(&provider)?)?;
            look(Come::Prepared)?;
        }
        Ok(())
    }

    /// Where a transfer begins and ends; something is pending then, if anything ever is.
    fn places(&mut self) -> (u64, u64) {
        let history = &self.bench.mixed;
        let captured = self.draw.within(1, history.len() / 2);
        let ends: Vec<u64> =
            (captured + 1..=history.len()).filter(|end| !history.open(*end).is_empty()).collect();
        let drawn = self.draw.bits() as usize;
        (captured, ends.get(drawn % ends.len().max(1)).copied().unwrap_or(history.len()))
    }

    /// A whole transfer of the state behind message `end`, but for its commit.
    fn staged(&mut self, joiner: &Host<S>, places: (u64, u64)) -> Outcome {
        self.come(joiner, places, Come::Prepared, &|_| Ok(()))
    }

    /// Looked at behind every step.
    pub(super) fn stage_hidden(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let joiner = self.joiner()?;
        let before = bench.old.seen(joiner.delivered);
        let places = self.places();
        self.come(&joiner, places, Come::Prepared, &|come| bench.expect(&joiner, before, come.words()))
    }

    /// A transfer that was left half done does not show in the next one.
    pub(super) fn stage_empty(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        for come in Come::ALL {
            let mut joiner = self.joiner()?;
            let (captured, end) = self.places();
            // What an earlier transfer staged is of later messages: what is left of it would be seen.
            self.come(&joiner, (end, bench.mixed.len()), come, &|_| Ok(()))?;
            if self.draw.one_in(2) {
                bench.discard(&joiner)?;
            }
            self.staged(&joiner, (captured, end))?;
            bench.commit(&mut joiner, end)?;
            let when = format!("committed behind another hidden copy, left {}", come.words());
            bench.expect(&joiner, bench.mixed.seen(end), &when)?;
        }
        Ok(())
    }

    /// Discarded at every step, it goes on with its old messages, and joins later.
    pub(super) fn discard_leaves_old(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        for come in Come::ALL {
            let mut joiner = self.joiner()?;
            let places = self.places();
            self.come(&joiner, places, come, &|_| Ok(()))?;
            bench.discard(&joiner)?;
            let when = format!("discarded {}", come.words());
            bench.expect(&joiner, bench.old.seen(joiner.delivered), &when)?;
            bench.deliver(&mut joiner, &bench.old, bench.old.len(), &mut self.draw)?;
            let when = format!("{when}, and gone on");
            bench.expect(&joiner, bench.old.seen(bench.old.len()), &when)?;
        }
        Ok(())
    }

    /// Killed at every step.
    pub(super) fn stage_lost_at_reopening(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        for come in Come::ALL {
            let joiner = self.joiner()?;
            let before = bench.old.seen(joiner.delivered);
            let (captured, end) = self.places();
            self.come(&joiner, (captured, end), come, &|_| Ok(()))?;
            let mut joiner = bench.reopen(joiner)?;
            bench.expect(&joiner, before, &format!("killed {}", come.words()))?;
            self.staged(&joiner, (captured, end))?;
            bench.commit(&mut joiner, end)?;
            let when = format!("killed {}, and joined anew", come.words());
            bench.expect(&joiner, bench.mixed.seen(end), &when)?;
        }
        Ok(())
    }

    /// What is committed is all of it, and later messages follow on it.
    pub(super) fn commit_whole(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let mut joiner = self.joiner()?;
        let places = self.places();
        self.staged(&joiner, places)?;
        bench.commit(&mut joiner, places.1)?;
        bench.expect(&joiner, bench.mixed.seen(places.1), "committed")?;
        let taken = bench.capture(&joiner, LogPoint::default())?;
        drop(taken);
        bench.deliver(&mut joiner, &bench.mixed, bench.mixed.len(), &mut self.draw)?;
        bench.expect(
            &joiner,
            bench.mixed.seen(bench.mixed.len()),
            "committed, with all later messages delivered",
        )
    }

    /// Others look all the time.
    pub(super) fn commit_in_one_step(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let mut joiner = self.joiner()?;
        let places = self.places();
        self.staged(&joiner, places)?;
        let allowed = [bench.old.seen(joiner.delivered), bench.mixed.seen(places.1)];
        let is_over = AtomicBool::new(false);
        let engine = Arc::clone(&joiner.engine);
        thread::scope(|scope| {
            let looking = scope.spawn(|| {
                // Once more behind the end.
                let mut goes_on = true;
                while std::mem::replace(&mut goes_on, !is_over.load(Ordering::SeqCst)) {
                    look(&bench, &engine, allowed)?;
                }
                Ok(())
            });
            let committed = bench.commit(&mut joiner, places.1);
            is_over.store(true, Ordering::SeqCst);
            looking.join().unwrap_or_else(|_| Err("it panicked".into())).and(committed)
        })
    }

    /// Killed behind the commit.
    pub(super) fn commit_durable(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let mut joiner = self.joiner()?;
        let places = self.places();
        self.staged(&joiner, places)?;
        bench.commit(&mut joiner, places.1)?;
        let mut joiner = bench.reopen(joiner)?;
        bench.expect(&joiner, bench.mixed.seen(places.1), "committed, and killed")?;
        bench.deliver(&mut joiner, &bench.mixed, bench.mixed.len(), &mut self.draw)?;
        let all = bench.mixed.seen(bench.mixed.len());
        bench.expect(&joiner, all, "committed, killed, with all later messages delivered")
    }
}

fn look<S: Subject>(bench: &Bench<S>, engine: &Arc<S::Engine>, allowed: [&Seen; 2]) -> Outcome {
    let seen = bench.call("Subject::state", || bench.subject.state(engine))?;
    if allowed.contains(&&seen) {
        return Ok(());
    }
    Err(format!("while it was committed {seen} were seen: neither {} nor {}", allowed[0], allowed[1]))
}
