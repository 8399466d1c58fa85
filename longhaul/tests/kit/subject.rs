//! How the kit makes the engine, and has it carry out what it draws.

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::sync::Arc;

use longhaul::kit::{Check, Draw, Kind, SENDER, Seen, Step, Subject};
use longhaul::live::{
    Application, ApplicationError, Apply, Capture, Contract, Handle, Member, Message, SequenceNumber, Verdict,
};

use crate::engine::{Change, Engine, State, TABLES, Table, encode};

pub(crate) struct Shelves {
    pub(crate) capture: Capture,
    pub(crate) apply: Apply,
    pub(crate) broken: Option<Broken>,
}

#[derive(Clone, Copy)]
pub(crate) enum Broken {
    Promise(Check),
    NeverLetsGo,
}

impl Shelves {
    /// An engine that breaks this promise.
    pub(crate) fn breaking(check: Check) -> Self {
        // Who counts what it applies must not say that it may be applied twice.
        let apply = if check == Check::ApplyIdempotent { Apply::Idempotent } else { Apply::Once };
        Self { capture: Capture::Atomic, apply, broken: Some(Broken::Promise(check)) }
    }

    pub(crate) fn never_letting_go() -> Self {
        Self { capture: Capture::Atomic, apply: Apply::Once, broken: Some(Broken::NeverLetsGo) }
    }

    fn promise(&self) -> Option<Check> {
        match self.broken {
            Some(Broken::Promise(check)) => Some(check),
            _ => None,
        }
    }
}

impl Subject for Shelves {
    type Engine = Engine;
    type Operation = Change;

    fn contract(&self) -> Contract {
        Contract::new(self.capture, self.apply).unwrap()
    }

    fn open(&self, directory: &Path) -> Result<Engine, ApplicationError> {
        let counts = self.apply == Apply::Once || self.promise() == Some(Check::ApplyIdempotent);
        Ok(Engine::open(directory, self.promise(), self.capture == Capture::Fuzzy, counts))
    }

    fn application(&self, engine: &Arc<Engine>) -> Arc<dyn Application> {
        Arc::clone(engine) as _
    }

    fn draw(&self, kind: Kind, draw: &mut Draw) -> Option<Change> {
        let table = draw.below(u64::from(TABLES)) as u8;
        let put = Change::Put { table, key: draw.below(40) as u8, value: draw.bits() };
        Some(match kind {
            // Without one there would be nothing to write to.
            Kind::Write if draw.one_in(8) => Change::Make { table },
            Kind::Write | Kind::Prepare => put,
            Kind::Structure => match draw.below(3) {
                0 => Change::Make { table },
                1 => Change::Remove { table },
                _ => Change::Rename {
                    from: table,
                    to: draw.below(u64::from(TABLES)) as u8,
                    rows: Table::new(),
                },
            },
        })
    }

    fn deliver(&self, engine: &Arc<Engine>, steps: &[Step<Change>]) -> Result<(), ApplicationError> {
        let change = |step: &Step<Change>| {
            let change = step.operation.clone().unwrap_or(Change::Nothing);
            (step.sequence, step.effect, change)
        };
        engine.deliver(&steps.iter().map(change).collect::<Vec<_>>());
        Ok(())
    }

    fn state(&self, engine: &Arc<Engine>) -> Result<Seen, ApplicationError> {
        let state = engine.look();
        let delivered = SequenceNumber(state.delivered);
        let completed = if engine.counts { state.completed } else { 0 };
        let mut hasher = DefaultHasher::new();
        hasher.write(&encode(&State { completed, delivered: 0, ..state }));
        Ok(Seen { delivered, root: hasher.finish().to_be_bytes().to_vec() })
    }

    fn offer(
        &self,
        engine: &Arc<Engine>,
        member: &Arc<Member>,
        step: &Step<Change>,
    ) -> Result<(), ApplicationError> {
        let (sequence, handle) = (step.sequence, Handle(step.sequence.0));
        let message = Message { sender: SENDER, sequence, len: 8, handle };
        loop {
            let reoffers = *engine.reoffers.lock().unwrap();
            let mut turn = member.turn();
            let len = engine.record_len(step.effect, step.operation.as_ref());
            match turn.handle_message(&message, step.effect, len)? {
                Verdict::Deliver => return self.deliver(engine, std::slice::from_ref(step)),
                Verdict::Drop => return Ok(()),
                Verdict::SendAgain { from } => return Err(format!("message {from} is missing").into()),
                Verdict::Hold if engine.is_breaking(Check::LatchHolds) => {
                    return self.deliver(engine, std::slice::from_ref(step));
                }
                Verdict::Hold => drop(turn),
            }
            let rung = engine.reoffers.lock().unwrap();
            let waits = |now: &mut u64| *now == reoffers || matches!(self.broken, Some(Broken::NeverLetsGo));
            drop(engine.rings.wait_while(rung, waits).unwrap());
        }
    }
}
