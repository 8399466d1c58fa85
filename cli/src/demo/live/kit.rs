//! The demo's engine under the kit: what live transfers are promised, it keeps.

use std::path::Path;
use std::sync::Arc;

use longhaul::MemberId;
use longhaul::kit::{Draw, Kind, Kit, Seen, Step, Subject};
use longhaul::live::{
    Application, ApplicationError, Apply, Capture, Contract, Handle, Member, Message, SequenceNumber, Verdict,
};

use super::channel::{ORDER, Write};
use super::map::{Map, PIECE_KEYS, State, VALUE_LEN, put};

const PIECES: u64 = 3;

struct Maps;

impl Maps {
    fn write(step: &Step<Write>) -> Result<(u64, &Write), ApplicationError> {
        Ok((step.sequence.0, step.operation.as_ref().ok_or("each message is a write")?))
    }
}

impl Subject for Maps {
    type Engine = Map;
    type Operation = Write;

    fn sender(&self) -> MemberId {
        ORDER
    }

    fn contract(&self) -> Contract {
        Contract::new(Capture::Atomic, Apply::Once).expect("a pair that goes together")
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn open(&self, _directory: &Path) -> Result<Map, ApplicationError> {
        let mut state = State::default();
        // Its keys are there from the start: some in each piece.
        (0..PIECES).for_each(|n| put(&mut state.pieces, n * PIECE_KEYS, [0; VALUE_LEN].into()));
        Ok(Map::new(state))
    }

    fn application(&self, engine: &Arc<Map>) -> Arc<dyn Application> {
        Arc::clone(engine) as _
    }

    fn draw(&self, kind: Kind, draw: &mut Draw) -> Option<Write> {
        let key = draw.below(PIECES * PIECE_KEYS);
        (kind == Kind::Write).then(|| Write { key, value: draw.bytes(VALUE_LEN).into() })
    }

    fn deliver(&self, engine: &Arc<Map>, steps: &[Step<Write>]) -> Result<(), ApplicationError> {
        let writes = steps.iter().map(Self::write).collect::<Result<Vec<_>, _>>()?;
        engine.deliver(&writes)
    }

    fn state(&self, engine: &Arc<Map>) -> Result<Seen, ApplicationError> {
        let state = engine.lock().clone();
        let delivered = SequenceNumber(state.delivered());
        Ok(Seen { delivered, root: state.checksum().to_be_bytes().to_vec() })
    }

    fn offer(
        &self,
        engine: &Arc<Map>,
        member: &Arc<Member>,
        step: &Step<Write>,
    ) -> Result<(), ApplicationError> {
        let write = Self::write(step)?;
        let (sequence, len) = (step.sequence, write.1.value.len() as u32);
        let message = Message { sender: ORDER, sequence, len, handle: Handle(sequence.0) };
        loop {
            let rung = engine.rung();
            let mut turn = member.turn();
            match turn.handle_message(&message, step.effect, Map::LOG_BYTES)? {
                Verdict::Deliver => return engine.deliver(&[write]),
                Verdict::Drop => return Ok(()),
                Verdict::SendAgain { from } => return Err(format!("message {from} is missing").into()),
                Verdict::Hold => drop(turn),
            }
            engine.wait_until(|now| now != rung);
        }
    }
}

#[test]
fn the_map_keeps_what_live_transfers_are_promised() {
    Kit::new(Maps).messages(32).rounds(2).run().expect_kept();
}
