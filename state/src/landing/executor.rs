//! Who carries out what the landing machine asks for.

use super::{FileOp, Landing, OpError, OpReply};
use crate::sink::SinkError;

/// Carries operations out. It knows no order of its own.
pub trait Executor {
    /// Carries out `op`; `payload` is the content of [`FileOp::PutFile`], empty for all others.
    ///
    /// # Errors
    /// If it was not carried out.
    fn execute(&mut self, op: &FileOp, payload: &[u8]) -> Result<OpReply, OpError>;

    /// Whether so many small files would each wait for somebody: then [`Executor::put_ahead`] lands them together.
    fn waits(&mut self, files: usize) -> bool {
        let _ = files;
        false
    }

    /// Carries out what will be asked for next, in this order and with these payloads: each a [`FileOp::PutFile`]. How many
    /// of them, from the first on; the others come in their turn. What came of each is told when it is asked for. One that
    /// is never asked for has left nothing that counts: nothing claims it, and it goes with staging.
    fn put_ahead(&mut self, ops: &[(FileOp, &[u8])]) -> usize {
        let _ = ops;
        0
    }
}

/// Carries out, one by one, all that `landing` asks for, and says what came of it.
///
/// `progress` hears of each operation that is done; when it answers false, nothing more is begun.
///
/// # Errors
/// What the machine makes of the first operation that failed.
pub fn run(
    landing: &mut Landing,
    executor: &mut dyn Executor,
    payload: &[u8],
    progress: &mut dyn FnMut() -> bool,
) -> Result<(), SinkError> {
    while let Some((id, op)) = landing.poll_op() {
        let result = executor.execute(op, payload);
        landing.done(id, result);
        if !progress() {
            landing.stop();
        }
    }
    landing.outcome()
}
