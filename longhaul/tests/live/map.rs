//! The application: a map, what is prepared, and the digest of both, changed in one step each.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use longhaul::live::{
    ApplicationError, Batch, Delivered, Effect, Entry, Latch, Log, LogPoint, LogRecord, Prepare, Provide,
    SequenceNumber, Snapshot, SnapshotId, SpilledLog, Stage, Transaction,
};
use longhaul::state::{MemorySink, MemorySource, Published, SourceError};
use longhaul::{MemberId, Sink, Source};

use crate::bus::{Content, Place};
use crate::gate::Gate;

pub(crate) type Pair = (u64, u64);

#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) map: BTreeMap<u64, u64>,
    pub(crate) prepared: BTreeMap<(u64, u64), Pair>,
    /// How often each record was applied shows in this.
    pub(crate) applied: u64,
    pub(crate) digest: Delivered,
}

impl Store {
    fn write(&mut self, (key, value): Pair) {
        self.map.insert(key, value);
        self.applied += 1;
    }

    pub(crate) fn contains(&self, place: Place) -> bool {
        self.digest.contains(place.sender, place.sequence)
    }
}

/// Where something waits until a test lets it go.
#[derive(Default)]
pub(crate) struct Gates {
    pub(crate) stage: Gate,
    pub(crate) apply: Gate,
    pub(crate) prepare: Gate,
    pub(crate) release: Gate,
}

pub(crate) struct Map {
    pub(crate) store: Mutex<Store>,
    /// Most of it lies on disk, there.
    pub(crate) log: SpilledLog,
    pub(crate) disk: tempfile::TempDir,
    hidden: Mutex<Option<Hidden>>,
    pub(crate) gates: Gates,
    /// Reoffers so far; and something was delivered.
    pub(crate) bell: Mutex<u64>,
    pub(crate) rings: Condvar,
    pub(crate) throttled: Mutex<Vec<bool>>,
    /// Whose messages were delivered, in that order.
    pub(crate) senders: Mutex<Vec<MemberId>>,
    /// Hidden copies that were begun.
    pub(crate) staged: Mutex<u32>,
    pub(crate) fails: Mutex<Option<&'static str>>,
}

struct Hidden {
    bulk: Published<Vec<u8>>,
    store: Option<Store>,
}

impl Hidden {
    /// What came as bulk, and what was applied since.
    fn store(&mut self) -> Result<&mut Store, ApplicationError> {
        if self.store.is_none() {
            let bytes = self.bulk.take().ok_or("the bulk is not there")?;
            let mut words = bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
            let mut store = Store { applied: words.next().unwrap_or(0), ..Store::default() };
            while let (Some(key), Some(value)) = (words.next(), words.next()) {
                store.map.insert(key, value);
            }
            self.store = Some(store);
        }
        Ok(self.store.as_mut().unwrap())
    }
}

fn number(transaction: Transaction) -> (u64, u64) {
    (u64::from(transaction.member.0[0]), transaction.number)
}

pub(crate) fn pair(bytes: &[u8]) -> Pair {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    (word(0), word(8))
}

fn bytes_of((key, value): Pair) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&key.to_le_bytes());
    bytes[8..].copy_from_slice(&value.to_le_bytes());
    bytes
}

impl Default for Map {
    fn default() -> Self {
        let disk = tempfile::tempdir().unwrap();
        Self {
            store: Mutex::default(),
            log: SpilledLog::patient(disk.path(), 500, 64 << 20, Duration::from_mins(1)).unwrap(),
            disk,
            hidden: Mutex::default(),
            gates: Gates::default(),
            bell: Mutex::default(),
            rings: Condvar::new(),
            throttled: Mutex::default(),
            senders: Mutex::default(),
            staged: Mutex::default(),
            fails: Mutex::default(),
        }
    }
}

impl Map {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    pub(crate) const LOG_BYTES: usize = 16;

    /// Carries out a message that is to be delivered, and logs it.
    pub(crate) fn deliver(&self, Place { sender, sequence }: Place, content: &Content) {
        let mut store = self.lock();
        let before = store.digest.entry(sender).map_or(SequenceNumber::NONE, |entry| entry.delivered());
        assert_eq!(before.next(), Some(sequence), "each message of a sender, in his order, once");
        let mut written = (content.key, content.value);
        match content.effect {
            Effect::Write => store.write(written),
            Effect::Prepare(transaction) => {
                store.prepared.insert(number(transaction), written);
            }
            Effect::Commit(transaction) => {
                written = store.prepared.remove(&number(transaction)).expect("it was prepared");
                store.write(written);
            }
            Effect::Rollback(transaction) => {
                store.prepared.remove(&number(transaction));
            }
            Effect::Leave(_) | Effect::Nothing => {}
        }
        store.digest.insert(Entry::new(sender, sequence, sequence).unwrap()).unwrap();
        self.log.append(sender, sequence, content.effect, &bytes_of(written));
        drop(store);
        self.senders.lock().unwrap().push(sender);
        self.ring(0);
    }

    pub(crate) fn ring(&self, reoffers: u64) {
        *self.bell.lock().unwrap() += reoffers;
        self.rings.notify_all();
    }
}

struct Captured {
    bytes: Arc<[u8]>,
    digest: Delivered,
    release: Gate,
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.release.pass();
    }
}

impl Snapshot for Captured {
    fn digest(&self) -> Delivered {
        self.digest.clone()
    }

    fn source(&self, state_id: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
        if !state_id.is_empty() {
            return Err(SourceError::user("there is only one state"));
        }
        Ok(Arc::new(MemorySource::new(Arc::clone(&self.bytes))))
    }
}

impl Provide for Map {
    fn capture(&self) -> Result<Arc<dyn Snapshot>, ApplicationError> {
        if let Some(why) = *self.fails.lock().unwrap() {
            return Err(why.into());
        }
        let store = self.lock();
        let mut bytes = store.applied.to_le_bytes().to_vec();
        for (key, value) in &store.map {
            bytes.extend_from_slice(&bytes_of((*key, *value)));
        }
        let digest = store.digest.clone();
        Ok(Arc::new(Captured { bytes: bytes.into(), digest, release: self.gates.release.clone() }))
    }

    fn pending(&self, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        for (&(member, number), written) in &self.lock().prepared {
            let member = MemberId([member as u8; 16]);
            let transaction = Transaction { member, number };
            assert!(batch.prepare(transaction, &bytes_of(*written)));
        }
        Ok(())
    }
}

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

impl Stage for Map {
    fn stage(&self, _snapshot: SnapshotId, _keep: bool) -> Result<Box<dyn Sink>, ApplicationError> {
        self.gates.stage.pass();
        *self.staged.lock().unwrap() += 1;
        let sink = MemorySink::new(64 << 20);
        *self.hidden.lock().unwrap() = Some(Hidden { bulk: sink.published(), store: None });
        Ok(Box::new(sink))
    }

    fn apply(&self, records: &[LogRecord<'_>]) -> Result<(), ApplicationError> {
        self.gates.apply.pass();
        if let Some(why) = *self.fails.lock().unwrap() {
            return Err(why.into());
        }
        let mut hidden = self.hidden.lock().unwrap();
        let store = hidden.as_mut().ok_or("no hidden copy")?.store()?;
        for record in records {
            if !matches!(record.record.effect, Effect::Rollback(_) | Effect::Leave(_)) {
                store.write(pair(record.bytes));
            }
        }
        Ok(())
    }

    fn prepare(&self, prepares: &[Prepare<'_>]) -> Result<(), ApplicationError> {
        self.gates.prepare.pass();
        let mut hidden = self.hidden.lock().unwrap();
        let store = hidden.as_mut().ok_or("no hidden copy")?.store()?;
        for prepare in prepares {
            store.prepared.insert(number(prepare.transaction), pair(prepare.bytes));
        }
        Ok(())
    }

    fn forget_prepares(&self) -> Result<(), ApplicationError> {
        let mut hidden = self.hidden.lock().unwrap();
        hidden.as_mut().ok_or("no hidden copy")?.store()?.prepared.clear();
        Ok(())
    }

    fn discard(&self) {
        *self.hidden.lock().unwrap() = None;
    }

    fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
        let mut hidden = self.hidden.lock().unwrap();
        let mut store = std::mem::take(hidden.as_mut().ok_or("no hidden copy")?.store()?);
        store.digest = digest.clone();
        *self.lock() = store;
        *hidden = None;
        // What somebody waits for may be contained.
        self.ring(0);
        Ok(())
    }
}

impl Latch for Map {
    fn reoffer(&self) {
        self.ring(1);
    }

    fn throttle(&self, on: bool) {
        self.throttled.lock().unwrap().push(on);
    }
}
