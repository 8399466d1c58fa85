//! The application: a map, what is prepared, what this member alone has, and the digest of all, changed in one step each.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use longhaul::live::{
    ApplicationError, Batch, Delivered, Effect, Entry, Latch, Log, LogPoint, LogRecord, MemoryLog,
    SequenceNumber, Snapshot, SnapshotId, Transaction,
};
use longhaul::state::{MemorySink, MemorySource, Published, SourceError};
use longhaul::states::{Channel, Provide, Stage};
use longhaul::{MemberId, Sink, Source};

use crate::bus::{Content, Line, Place};
use crate::gate::Gate;

pub(crate) type Pair = (u64, u64);

/// The id of the part of a state that has the even keys.
pub(crate) const EVEN: &[u8] = b"even";

#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) map: BTreeMap<u64, u64>,
    pub(crate) prepared: BTreeMap<(u64, u64), Pair>,
    /// How often each record was applied shows in this.
    pub(crate) applied: u64,
    /// What this member alone has.
    pub(crate) own: BTreeMap<u64, u64>,
    pub(crate) digest: Delivered,
}

impl Store {
    fn write(&mut self, (key, value): Pair) {
        self.map.insert(key, value);
        self.applied += 1;
    }

    fn carry_out(&mut self, effect: Effect, pair: Pair) -> Pair {
        match effect {
            Effect::Write => self.write(pair),
            Effect::Prepare(transaction) => {
                self.prepared.insert(number(transaction), pair);
            }
            Effect::Commit(transaction) => {
                let pair = self.prepared.remove(&number(transaction)).expect("it was prepared");
                self.write(pair);
                return pair;
            }
            Effect::Rollback(transaction) => {
                self.prepared.remove(&number(transaction));
            }
            Effect::Leave(_) | Effect::Nothing => {}
        }
        pair
    }

    /// Whether it contains all that this says was delivered.
    pub(crate) fn has(&self, delivered: &Delivered) -> bool {
        self.digest.covers(delivered)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut words = vec![self.applied, self.prepared.len() as u64, self.map.len() as u64];
        for ((member, number), (key, value)) in &self.prepared {
            words.extend([*member, *number, *key, *value]);
        }
        for (key, value) in self.map.iter().chain(&self.own) {
            words.extend([*key, *value]);
        }
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        let mut next = || words.next().unwrap();
        let (applied, prepared, shared) = (next(), next(), next());
        let mut store = Self { applied, ..Self::default() };
        for _ in 0..prepared {
            store.prepared.insert((next(), next()), (next(), next()));
        }
        for _ in 0..shared {
            store.map.insert(next(), next());
        }
        while let Some(key) = words.next() {
            store.own.insert(key, words.next().unwrap());
        }
        store
    }
}

fn number(transaction: Transaction) -> (u64, u64) {
    (u64::from(transaction.member.0[0]), transaction.number)
}

fn bytes_of((key, value): Pair) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&key.to_le_bytes());
    bytes[8..].copy_from_slice(&value.to_le_bytes());
    bytes
}

fn pair(bytes: &[u8]) -> Pair {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    (word(0), word(8))
}

/// A hidden copy: who gave it, the bulk as it came, and what was applied since.
struct Hidden {
    provider: MemberId,
    bulk: Published<Vec<u8>>,
    store: Option<Store>,
}

impl Hidden {
    fn store(&mut self) -> Result<&mut Store, ApplicationError> {
        if self.store.is_none() {
            self.store = Some(Store::from_bytes(&self.bulk.take().ok_or("the bulk is not there")?));
        }
        Ok(self.store.as_mut().unwrap())
    }
}

pub(crate) struct Map {
    pub(crate) line: Line,
    store: Mutex<Store>,
    pub(crate) log: Arc<MemoryLog>,
    hidden: Mutex<Vec<Hidden>>,
    pub(crate) stage: Gate,
    /// Reoffers so far; and something was delivered.
    pub(crate) bell: Mutex<u64>,
    pub(crate) rings: Condvar,
    /// Hidden copies that were begun.
    pub(crate) staged: Mutex<u32>,
    /// What members alone had whose states were all taken.
    pub(crate) of_others: Mutex<BTreeMap<MemberId, BTreeMap<u64, u64>>>,
    pub(crate) fails: Mutex<Option<&'static str>>,
    /// So many words can't be said.
    pub(crate) is_mute: Mutex<u32>,
}

impl Map {
    pub(crate) fn new(line: Line) -> Self {
        Self {
            line,
            store: Mutex::default(),
            log: Arc::default(),
            hidden: Mutex::default(),
            stage: Gate::default(),
            bell: Mutex::default(),
            rings: Condvar::new(),
            staged: Mutex::default(),
            of_others: Mutex::default(),
            fails: Mutex::default(),
            is_mute: Mutex::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    pub(crate) const LOG_BYTES: usize = 16;

    /// Carries out a message that is to be delivered, and logs it.
    pub(crate) fn deliver(&self, (sender, sequence): Place, content: &Content) {
        let mut store = self.lock();
        let written = store.carry_out(content.effect, (content.key, content.value));
        let sequence = SequenceNumber(sequence);
        store.digest.insert(Entry::new(sender, sequence, sequence).unwrap()).unwrap();
        self.log.append_change(sender, sequence, content.effect, &bytes_of(written));
        drop(store);
        self.ring(0);
    }

    pub(crate) fn ring(&self, reoffers: u64) {
        *self.bell.lock().unwrap() += reoffers;
        self.rings.notify_all();
    }
}

struct Captured(Store);

impl Snapshot for Captured {
    fn digest(&self) -> Delivered {
        self.0.digest.clone()
    }

    fn source(&self, state_id: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
        let mut store = self.0.clone();
        match state_id {
            b"" => {}
            EVEN => store.map.retain(|key, _| key % 2 == 0),
            _ => return Err(SourceError::user("there is no state of this name")),
        }
        Ok(Arc::new(MemorySource::new(store.to_bytes().into())))
    }
}

impl Provide for Map {
    fn capture(&self, _state_id: &[u8]) -> Result<Arc<dyn Snapshot>, ApplicationError> {
        match *self.fails.lock().unwrap() {
            Some(why) => Err(why.into()),
            None => Ok(Arc::new(Captured(self.lock().clone()))),
        }
    }
}

impl Stage for Map {
    fn stage(
        &self,
        provider: MemberId,
        _snapshot: SnapshotId,
        keep: bool,
    ) -> Result<Box<dyn Sink>, ApplicationError> {
        self.stage.pass();
        if let Some(why) = *self.fails.lock().unwrap() {
            return Err(why.into());
        }
        *self.staged.lock().unwrap() += 1;
        let sink = MemorySink::new(64 << 20);
        let mut hidden = self.hidden.lock().unwrap();
        if keep {
            hidden.clear();
        }
        hidden.push(Hidden { provider, bulk: sink.published(), store: None });
        Ok(Box::new(sink))
    }

    fn apply(&self, records: &[LogRecord<'_>]) -> Result<(), ApplicationError> {
        let mut hidden = self.hidden.lock().unwrap();
        let store = hidden.last_mut().ok_or("no hidden copy")?.store()?;
        for record in records {
            store.carry_out(record.record.effect, pair(record.bytes));
        }
        Ok(())
    }

    fn discard(&self) {
        self.hidden.lock().unwrap().clear();
    }

    fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
        let mut hidden = std::mem::take(&mut *self.hidden.lock().unwrap());
        let mut stores = Vec::new();
        for copy in &mut hidden {
            stores.push((copy.provider, std::mem::take(copy.store()?)));
        }
        let (_, mut store) = stores.first().cloned().ok_or("no hidden copy")?;
        (store.digest, store.own) = (digest.clone(), BTreeMap::new());
        *self.of_others.lock().unwrap() =
            stores.into_iter().map(|(provider, store)| (provider, store.own)).collect();
        *self.lock() = store;
        self.ring(0);
        Ok(())
    }
}

impl Channel for Map {
    fn join(&self) -> Result<Delivered, ApplicationError> {
        Ok(self.line.join())
    }

    fn send(&self, word: &[u8]) -> Result<(), ApplicationError> {
        let mut words = self.is_mute.lock().unwrap();
        if *words > 0 {
            *words -= 1;
            return Err("the channel is down".into());
        }
        self.line.say(word);
        Ok(())
    }
}

impl Latch for Map {
    fn reoffer(&self) {
        self.ring(1);
    }
}

/// The log alone: the map's own is kept while it is kept.
impl Log for Map {
    fn start(&self, from: LogPoint) -> Result<(), ApplicationError> {
        self.log.start(from)
    }

    fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        self.log.read(from, batch)
    }

    fn trim(&self, before: LogPoint) {
        self.log.trim(before);
    }

    fn stop(&self) {
        self.log.stop();
    }
}
