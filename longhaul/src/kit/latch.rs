//! The latch: two real members, one of which joins while the other one's messages are held.

use std::ops::Range;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use longhaul_core::digest::{Entry, SequenceNumber};
use longhaul_core::id::{MemberId, SnapshotId};
use longhaul_core::message::Properties;
use longhaul_core::transfer::LogPoint;
use longhaul_core::transfer::live::{Config, Policy};

use super::subject::Subject;
use super::trial::{Bench, Host, Outcome, Trial};
use crate::live::{
    Application, ApplicationError, Batch, Delivered, Event, Fetched, Latch, Log, LogRecord, Member,
    MemberBuilder, PinError, Pins, Prepare, Provide, Snapshot, Stage, StateTransfer,
};
use crate::{Error, Sink};

/// A session that makes no progress for so long is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that the latch is closed.
const LEASE: Duration = Duration::from_secs(5);
/// How long messages have to slip through a latch that is closed.
const SLIPS: Duration = Duration::from_millis(20);

/// Joins until a message comes to a latch that is closed, at most.
const TRIES: u32 = 5;

impl<S: Subject> Trial<S> {
    /// A member joins another one while messages come there, which have to wait. In an engine where nothing is ever prepared
    /// it is left to chance whether they do.
    pub(super) fn latch_holds(&mut self) -> Outcome {
        for _ in 0..TRIES {
            if self.join_while_messages_come()? {
                break;
            }
        }
        Ok(())
    }

    /// Both have all messages at its end. Whether one was held.
    fn join_while_messages_come(&mut self) -> Outcome<bool> {
        let bench = Arc::clone(&self.bench);
        let history = &bench.mixed;
        let begun = self.draw.within(1, history.len() / 3);
        let (provider, joiner) = (self.provider(history, begun)?, self.joiner()?);
        let told = Arc::new(Told::default());
        let (engine, inner) = (Arc::clone(&provider.engine), Arc::clone(&provider.application));
        let watched = Watched { bench: Arc::clone(&bench), engine, inner, told: Arc::clone(&told) };
        let pending = history.open(begun).iter().map(|transaction| transaction.member);
        let providing = bench.member(1, Arc::new(watched)).found(&bench.digest(begun), pending);
        let joining = bench.member(2, Arc::clone(&joiner.application)).join();
        let failed = |error: Error| format!("a member could not begin: {error}");
        let (providing, joining) = (Arc::new(providing.map_err(failed)?), Arc::new(joining.map_err(failed)?));
        let events = providing.events();
        // What comes behind waits until the latch is closed, which is seen where something is pending.
        let is_seen = |at: &u64| !history.open(*at).is_empty();
        let freely = (begun.midpoint(history.len())..history.len()).find(is_seen).unwrap_or(history.len());
        let writer = Offering::start(&bench, &provider, &providing, begun..freely, &told);
        let transfer =
            joining.fetch_state(&[providing.local_addr().to_string()], b"", STALL_TIMEOUT).map_err(failed)?;
        told.await_end(&transfer);
        let fetched = transfer.wait();
        told.set(|now| now.is_joined = true);
        if let Some(slipped) = told.lock().slipped.take() {
            return Err(slipped);
        }
        writer.wait(&bench, "the latch has opened")?;
        let at = match fetched {
            Ok(Fetched::State(state)) => {
                state.digest.entry(bench.subject.sender()).map_or(0, |entry| entry.delivered().0)
            }
            Ok(Fetched::NoState) => return Err("the joiner was told that there is no state".into()),
            Err(error) => return Err(format!("the joiner could not join: {error}")),
        };
        bench.expect(&joiner, history.seen(at), "joined")?;
        let follower = Offering::start(&bench, &joiner, &joining, at..history.len(), &told);
        follower.wait(&bench, "it has joined")?;
        bench.has_all(&provider, &providing, "at the provider")?;
        bench.has_all(&joiner, &joining, "at the joiner")?;
        Ok(events
            .0
            .try_iter()
            .any(|event| matches!(event, Event::LatchOpened { delayed, .. } if !delayed.is_zero())))
    }
}

impl<S: Subject> Bench<S> {
    fn member(&self, id: u8, application: Arc<dyn Application>) -> MemberBuilder {
        let offers = Properties::TOTAL_ORDER.and(Properties::SEND_AGAIN);
        let config = Config {
            lease: LEASE,
            policy: Policy::LatchNow,
            ..Config::new(MemberId([id; 16]), offers, self.subject.contract())
        };
        let kept = Kept { sender: self.subject.sender(), sent: SequenceNumber(self.mixed.len()) };
        let builder = Member::builder(config, application, Arc::new(kept));
        builder.listen("127.0.0.1:0").buffer_memory(1 << 20)
    }

    /// Whether all messages were delivered, by the member's count and the engine's.
    fn has_all(&self, host: &Host<S>, member: &Member, at: &str) -> Outcome {
        let counted = member.turn().delivered().and_then(|digest| digest.entry(self.subject.sender()));
        let (counted, all) = (counted.map_or(0, |entry| entry.delivered().0), self.mixed.len());
        if counted != all {
            return Err(format!("{at}, {counted} messages were to be delivered, and {all} passed"));
        }
        self.expect(host, self.mixed.seen(all), &format!("{at}, with the latch open again"))
    }
}

/// A thread that brings messages to a member.
struct Offering {
    done: Receiver<Outcome>,
    told: Arc<Told>,
}

impl Offering {
    /// Those behind the first number, up to the other one; and the rest once the latch is closed, or all is over.
    fn start<S: Subject>(
        bench: &Arc<Bench<S>>,
        host: &Host<S>,
        member: &Arc<Member>,
        freely: Range<u64>,
        told: &Arc<Told>,
    ) -> Self {
        let (says, done) = channel();
        let offering = Self { done, told: Arc::clone(told) };
        let (bench, engine, member, told) =
            (Arc::clone(bench), Arc::clone(&host.engine), Arc::clone(member), Arc::clone(told));
        // It is not waited for: an engine that never lets go holds it for ever.
        thread::spawn(move || {
            let all = bench.mixed.between(freely.start, bench.mixed.len()).iter().try_for_each(|step| {
                if step.sequence.0 > freely.end {
                    told.wait(|now| now.is_latched || now.is_joined);
                }
                told.set(|now| now.offered = step.sequence.0);
                bench.call("Subject::offer", || bench.subject.offer(&engine, &member, step))
            });
            drop((engine, member));
            // Nobody waits for it any more.
            let _ = says.send(all);
        });
        offering
    }

    fn wait<S: Subject>(&self, bench: &Bench<S>, when: &str) -> Outcome {
        self.done.recv_timeout(bench.patience).unwrap_or_else(|_| {
            let offered = self.told.lock().offered;
            Err(format!("{when}, and message {offered} waits still"))
        })
    }
}

/// What those who take part tell each other.
#[derive(Default)]
struct Told(Mutex<Now>, Condvar);

#[derive(Default)]
struct Now {
    is_latched: bool,
    is_joined: bool,
    /// The last message that was brought to an engine.
    offered: u64,
    slipped: Option<String>,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.lock());
        self.1.notify_all();
    }

    fn wait(&self, is_time: impl Fn(&Now) -> bool) {
        drop(self.1.wait_while(self.lock(), |now| !is_time(now)).unwrap_or_else(PoisonError::into_inner));
    }

    /// Until the joiner has come to an end, or nothing else can be found out.
    fn await_end(&self, transfer: &StateTransfer) {
        while !transfer.is_over() {
            let waited = self.1.wait_timeout(self.lock(), SLIPS).unwrap_or_else(PoisonError::into_inner);
            if waited.0.slipped.is_some() {
                return transfer.cancel();
            }
        }
    }
}

/// The group's messages: all are kept for ever.
struct Kept {
    sender: MemberId,
    sent: SequenceNumber,
}

impl Pins for Kept {
    fn pin(&self, _joiner: MemberId, _lease: Duration) -> Result<Delivered, PinError> {
        let mut sources = Delivered::new();
        let entry = Entry::new(self.sender, SequenceNumber::NONE, self.sent);
        let inserted = entry.and_then(|entry| sources.insert(entry));
        inserted.map(|()| sources).map_err(|_| PinError::Unreachable)
    }

    fn unpin(&self, _joiner: MemberId) {}
}

/// The provider's application, looked at while its latch is closed.
struct Watched<S: Subject> {
    bench: Arc<Bench<S>>,
    engine: Arc<S::Engine>,
    inner: Arc<dyn Application>,
    told: Arc<Told>,
}

impl<S: Subject> Watched<S> {
    /// Messages come, and nothing may change.
    fn look(&self) -> Result<(), ApplicationError> {
        let before = self.bench.subject.state(&self.engine)?;
        self.told.set(|now| now.is_latched = true);
        let comes = |now: &mut Now| now.offered <= before.delivered.0;
        drop(self.told.1.wait_timeout_while(self.told.lock(), LEASE / 5, comes));
        drop(self.told.1.wait_timeout_while(self.told.lock(), SLIPS, |now| now.slipped.is_none()));
        let after = self.bench.subject.state(&self.engine)?;
        if before != after {
            let slipped = format!("while the latch was closed {before} became {after}");
            self.told.set(|now| now.slipped = Some(slipped));
        }
        Ok(())
    }
}

impl<S: Subject> Provide for Watched<S> {
    fn capture(&self) -> Result<Arc<dyn Snapshot>, ApplicationError> {
        self.inner.capture()
    }

    /// It is asked for at the latch.
    fn pending(&self, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        self.look()?;
        self.inner.pending(batch)
    }
}

impl<S: Subject> Log for Watched<S> {
    fn start(&self, from: LogPoint) -> Result<(), ApplicationError> {
        self.inner.start(from)
    }

    fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        self.inner.read(from, batch)
    }

    fn trim(&self, before: LogPoint) {
        self.inner.trim(before);
    }

    fn stop(&self) {
        self.inner.stop();
    }
}

impl<S: Subject> Stage for Watched<S> {
    fn stage(&self, snapshot: SnapshotId, keep: bool) -> Result<Box<dyn Sink>, ApplicationError> {
        self.inner.stage(snapshot, keep)
    }

    fn apply(&self, records: &[LogRecord<'_>]) -> Result<(), ApplicationError> {
        self.inner.apply(records)
    }

    fn prepare(&self, prepares: &[Prepare<'_>]) -> Result<(), ApplicationError> {
        self.inner.prepare(prepares)
    }

    fn forget_prepares(&self) -> Result<(), ApplicationError> {
        self.inner.forget_prepares()
    }

    fn discard(&self) {
        self.inner.discard();
    }

    fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
        self.inner.commit(digest)
    }
}

impl<S: Subject> Latch for Watched<S> {
    fn reoffer(&self) {
        self.inner.reoffer();
    }

    fn throttle(&self, on: bool) {
        self.inner.throttle(on);
    }

    fn serve(&self) {
        self.inner.serve();
    }
}
