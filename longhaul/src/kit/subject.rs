//! What the kit asks of an engine's author: how an engine is made, and what it is given to do.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use longhaul_core::digest::SequenceNumber;
use longhaul_core::id::MemberId;
use longhaul_core::message::Effect;
use longhaul_core::transfer::Contract;

use super::draw::Draw;
use crate::live::{Application, ApplicationError, Member};

/// Who sends the kit's messages, unless the [`Subject`] has another sender.
pub const SENDER: MemberId = MemberId([0x5e; 16]);

/// An engine that is put to the test: how it is made, and how it is told what to do.
///
/// All messages are of one sender, numbered 1, 2, 3, .. They come in this order, whatever else goes on.
pub trait Subject: Send + Sync + 'static {
    /// One member's engine, with all that its messages go through.
    type Engine: Send + Sync + 'static;

    /// What one message changes.
    type Operation: Debug + Send + Sync + 'static;

    /// Who sends all messages, and coordinates all transactions.
    fn sender(&self) -> MemberId {
        SENDER
    }

    /// How it captures, and how it applies a log.
    fn contract(&self) -> Contract;

    /// Opens the engine whose directory this is: an empty one if nothing lies there, which contains no message.
    ///
    /// # Errors
    /// If it can't be opened.
    fn open(&self, directory: &Path) -> Result<Self::Engine, ApplicationError>;

    /// The engine, as a member sees it.
    fn application(&self, engine: &Arc<Self::Engine>) -> Arc<dyn Application>;

    /// Draws a change of this kind; `None`: it knows none. Any change may come in any state: one that finds nothing
    /// (the table is not there) does what the engine does then, which is the same whenever it is repeated.
    fn draw(&self, kind: Kind, draw: &mut Draw) -> Option<Self::Operation>;

    /// Carries out messages that are to be delivered, which follow on each other, in one batch: their effects, their numbers
    /// and their records in the log, as the engine's own driver does.
    ///
    /// # Errors
    /// If it fails.
    fn deliver(
        &self,
        engine: &Arc<Self::Engine>,
        steps: &[Step<Self::Operation>],
    ) -> Result<(), ApplicationError>;

    /// What a client sees, in one step: the checksum of the whole state, with what is prepared, and the last message
    /// that it contains.
    ///
    /// # Errors
    /// If it can't be read.
    fn state(&self, engine: &Arc<Self::Engine>) -> Result<Seen, ApplicationError>;

    /// Brings a message to the engine through [`Member::turn`], as the engine's own driver does. It waits while the
    /// message is held, and returns once it was delivered or dropped.
    ///
    /// # Errors
    /// If it fails, or the message is to be sent again from an earlier one.
    fn offer(
        &self,
        engine: &Arc<Self::Engine>,
        member: &Arc<Member>,
        step: &Step<Self::Operation>,
    ) -> Result<(), ApplicationError>;

    /// Whether what it has delivered and committed is there when its directory is opened again. If not, nothing is opened again.
    fn is_durable(&self) -> bool {
        true
    }

    /// Its process is killed: nothing is shut down. Unless overridden it is dropped.
    fn kill(&self, engine: Self::Engine) {
        drop(engine);
    }
}

/// What kind of change is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Content: rows, keys, bytes of a file.
    Write,
    /// Structure: a table, index or file is made, renamed or dropped.
    Structure,
    /// The first phase of a transaction: content, kept aside.
    Prepare,
}

/// A message, as it is delivered.
#[derive(Clone, Debug)]
pub struct Step<O> {
    /// Its number among its sender's.
    pub sequence: SequenceNumber,
    /// What it does. A transaction has the number of the message that prepared it.
    pub effect: Effect,
    /// What it changes; `None` where a transaction ends.
    pub operation: Option<O>,
}

/// What a client sees.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    /// The last message that the state contains.
    pub delivered: SequenceNumber,
    /// The checksum of the whole state: equal for equal states, whatever came before.
    pub root: Vec<u8>,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "message {} and root ", self.delivered)?;
        self.root.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
