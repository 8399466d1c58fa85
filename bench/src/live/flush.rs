//! The same state while all writers are stopped: `longhaul::states`, by its protocol `flush`.
//!
//! A joiner's words to the group go through the parent process, which hands them to the provider in their order.

use std::error::Error;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use longhaul::live::{
    ApplicationError, Apply, Capture, Contract, Delivered, Handle, Latch, Message, Properties,
    SequenceNumber, Snapshot, SnapshotId, Verdict,
};
use longhaul::state::DiscardSink;
use longhaul::states::{Channel, Config, Fetched, Member, Peer, Protocol, Provide, Stage};
use longhaul::{MemberId, Sink, Summary};
use serde_json::json;

use crate::engine::{Engine, JOINER};
use crate::joiner::TIMEOUT;
use crate::provider::PROVIDER;
use crate::run::tell;

/// A member's application.
struct Flushed {
    engine: Arc<Engine>,
    /// The joiner's own words, on their way to itself.
    said: Mutex<Option<Sender<Vec<u8>>>>,
}

fn config(member: MemberId) -> Result<Config, Box<dyn Error>> {
    let contract = Contract::new(Capture::Atomic, Apply::Once)?;
    let offers = Properties::TOTAL_ORDER.and(Properties::VIEWS);
    Ok(Config::new(member, Protocol::Flush, offers, contract))
}

/// A provider with this engine.
pub(crate) fn provide(engine: &Arc<Engine>) -> Result<Member, Box<dyn Error>> {
    let application = Flushed { engine: Arc::clone(engine), said: Mutex::default() };
    let builder = Member::builder(config(PROVIDER)?, Arc::new(application)).listen("127.0.0.1:0");
    let digest = engine.digest().map_err(|error| error.to_string())?;
    Ok(builder.found(&digest)?)
}

/// A joiner: what moved.
pub(crate) fn join(address: &str) -> Result<Summary, Box<dyn Error>> {
    let engine = Arc::new(Engine::default());
    let (said, words) = channel();
    let application = Flushed { engine: Arc::clone(&engine), said: Mutex::new(Some(said)) };
    let builder = Member::builder(config(JOINER)?, Arc::new(application)).listen("127.0.0.1:0");
    let member = Arc::new(builder.join()?);
    let follower = Arc::clone(&member);
    thread::spawn(move || {
        for (number, word) in (1..).zip(words) {
            bring(&follower, &engine, number, &word);
        }
    });
    let provider = Peer { member: PROVIDER, address: address.to_owned() };
    let Fetched::State(state) = member.fetch_state(&[provider], b"", TIMEOUT)?.wait()? else {
        return Err("there was no state to be had".into());
    };
    let given = state.given.into_iter().next().ok_or("nothing was moved")?;
    Ok(given.bulk)
}

/// A word that the joiner has said comes to a member.
pub(crate) fn bring(member: &Member, engine: &Engine, number: u64, word: &[u8]) {
    let (sequence, len) = (SequenceNumber(number), word.len() as u32);
    let message = Message { sender: JOINER, sequence, len, handle: Handle(number) };
    loop {
        let reoffered = engine.reoffered();
        let mut turn = member.turn();
        match turn.handle_word(&message, word) {
            Ok(Verdict::Hold) => {}
            Ok(Verdict::Deliver) => return engine.hear(number),
            _ => return,
        }
        drop(turn);
        engine.wait(reoffered);
    }
}

impl Provide for Flushed {
    fn capture(&self, _state_id: &[u8]) -> Result<Arc<dyn Snapshot>, ApplicationError> {
        Ok(self.engine.captured())
    }
}

impl Stage for Flushed {
    fn stage(&self, _: MemberId, _: SnapshotId, _keep: bool) -> Result<Box<dyn Sink>, ApplicationError> {
        Ok(Box::new(DiscardSink::default()))
    }

    fn discard(&self) {}

    fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
        self.engine.take(digest);
        Ok(())
    }
}

impl Channel for Flushed {
    /// Only the joiner's own words come to it: the rest is in the state.
    fn join(&self) -> Result<Delivered, ApplicationError> {
        Ok(Delivered::new())
    }

    fn send(&self, word: &[u8]) -> Result<(), ApplicationError> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.as_ref().ok_or("only joiners say words")?.send(word.to_vec())?;
        Ok(tell(&json!({ "word": word }))?)
    }
}

impl Latch for Flushed {
    fn reoffer(&self) {
        self.engine.reoffer();
    }
}
