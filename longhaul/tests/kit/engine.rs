//! Tables in memory, which are written to a file as a whole whenever they change. Each promise can be broken.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use longhaul::Sink;
use longhaul::kit::{Check, SENDER};
use longhaul::live::{
    ApplicationError, Batch, Delivered, Effect, Latch, Log, LogPoint, LogRecord, MemoryLog, Prepare, Provide,
    SequenceNumber, Snapshot, SnapshotId, Stage, Transaction,
};

use crate::pieces::{Captured, Landing};

/// Tables that there may be.
pub(crate) const TABLES: u8 = 6;

pub(crate) type Table = BTreeMap<u8, u64>;

/// What one message changes, or is found to change: nothing where there is no such table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    Put { table: u8, key: u8, value: u64 },
    Make { table: u8 },
    Remove { table: u8 },
    Rename { from: u8, to: u8, rows: Table },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) tables: BTreeMap<u8, Table>,
    pub(crate) prepared: BTreeMap<u64, Change>,
    pub(crate) delivered: u64,
    /// Completions: a record that is applied twice shows.
    pub(crate) completed: u64,
}

impl State {
    /// That of a new engine: most tables are there.
    fn founded() -> Self {
        Self { tables: (0..TABLES - 2).map(|table| (table, Table::new())).collect(), ..Self::default() }
    }

    /// What a change does here.
    pub(crate) fn found(&self, change: &Change) -> Change {
        match change {
            Change::Put { table, .. } | Change::Remove { table } if !self.tables.contains_key(table) => {
                Change::Nothing
            }
            Change::Make { table } if self.tables.contains_key(table) => Change::Nothing,
            Change::Rename { from, to, .. } => match self.tables.get(from) {
                Some(rows) if from != to => Change::Rename { from: *from, to: *to, rows: rows.clone() },
                _ => Change::Nothing,
            },
            other => other.clone(),
        }
    }

    /// Makes a change that was found to be one.
    pub(crate) fn make(&mut self, change: &Change) {
        self.completed += 1;
        match change {
            Change::Nothing => {}
            Change::Put { table, key, value } => {
                if let Some(rows) = self.tables.get_mut(table) {
                    rows.insert(*key, *value);
                }
            }
            Change::Make { table } => {
                self.tables.insert(*table, Table::new());
            }
            Change::Remove { table } => {
                self.tables.remove(table);
            }
            Change::Rename { from, to, rows } => {
                self.tables.remove(from);
                self.tables.insert(*to, rows.clone());
            }
        }
    }
}

pub(crate) struct Engine {
    file: PathBuf,
    pub(crate) broken: Option<Check>,
    pub(crate) is_fuzzy: bool,
    pub(crate) counts: bool,
    pub(crate) state: Arc<Mutex<State>>,
    /// Behind the batch before.
    before: Mutex<State>,
    log: MemoryLog,
    log_begun: Mutex<Option<LogPoint>>,
    hidden: Arc<Mutex<State>>,
    /// What the last capture took.
    shared: Arc<Mutex<State>>,
    looks: Mutex<u64>,
    looked: Condvar,
    pub(crate) reoffers: Mutex<u64>,
    pub(crate) rings: Condvar,
}

impl Engine {
    pub(crate) fn open(directory: &Path, broken: Option<Check>, is_fuzzy: bool, counts: bool) -> Self {
        let file = directory.join("tables");
        let mut state = fs::read(&file).map_or_else(|_| State::founded(), |bytes| decode(&bytes));
        if broken == Some(Check::PendingFromStart) {
            state.prepared.clear();
        }
        Self {
            file,
            broken,
            is_fuzzy,
            counts,
            state: Arc::new(Mutex::new(state)),
            before: Mutex::default(),
            log: MemoryLog::new(),
            log_begun: Mutex::default(),
            hidden: Arc::default(),
            shared: Arc::default(),
            looks: Mutex::default(),
            looked: Condvar::new(),
            reoffers: Mutex::default(),
            rings: Condvar::new(),
        }
    }

    pub(crate) fn is_breaking(&self, check: Check) -> bool {
        self.broken == Some(check)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn save(&self, state: &State) {
        let partial = self.file.with_extension("partial");
        fs::write(&partial, encode(state)).unwrap();
        fs::rename(&partial, &self.file).unwrap();
    }

    /// What a client sees.
    pub(crate) fn look(&self) -> State {
        let state = self.lock();
        *self.looks.lock().unwrap() += 1;
        self.looked.notify_all();
        state.clone()
    }

    /// Carries out a batch.
    pub(crate) fn deliver(&self, batch: &[(SequenceNumber, Effect, Change)]) {
        let mut state = self.lock();
        *self.before.lock().unwrap() = state.clone();
        let mut records = Vec::new();
        for (sequence, effect, change) in batch {
            let mut done = Change::Nothing;
            match effect {
                Effect::Prepare(transaction) => {
                    state.prepared.insert(transaction.number, change.clone());
                }
                Effect::Rollback(transaction) => {
                    state.prepared.remove(&transaction.number);
                }
                Effect::Commit(transaction) => {
                    let prepared = state.prepared.remove(&transaction.number).unwrap();
                    done = state.found(&prepared);
                    state.make(&done);
                }
                _ => {
                    done = state.found(change);
                    state.make(&done);
                }
            }
            if self.is_breaking(Check::LogSuffices) && matches!(effect, Effect::Commit(_)) {
                done = Change::Nothing;
            }
            state.delivered = sequence.0;
            records.push((*sequence, *effect, done));
        }
        if self.is_breaking(Check::DeliveryWithNumber) {
            let early = State { delivered: state.delivered, ..self.before.lock().unwrap().clone() };
            self.save(&early);
        } else {
            self.save(&state);
        }
        if self.is_breaking(Check::LogWhole) {
            records.reverse();
        }
        for (sequence, effect, done) in records {
            self.log.append(SENDER, sequence, effect, &change_bytes(&done));
        }
    }

    /// Bytes of the record that a message will have.
    pub(crate) fn record_len(&self, effect: Effect, change: Option<&Change>) -> usize {
        let state = self.lock();
        let change = match effect {
            Effect::Commit(transaction) => state.prepared.get(&transaction.number),
            Effect::Write => change,
            _ => None,
        };
        change_bytes(&change.map_or(Change::Nothing, |change| state.found(change))).len()
    }
}

impl Provide for Engine {
    fn capture(&self) -> Result<Arc<dyn Snapshot>, ApplicationError> {
        let state = self.lock();
        let mut taken = state.clone();
        if self.is_breaking(Check::CaptureExact) {
            taken.tables = self.before.lock().unwrap().tables.clone();
        }
        let mut shared = Arc::clone(&self.shared);
        if self.is_breaking(Check::CapturesApart) {
            *shared.lock().unwrap() = taken;
        } else {
            shared = Arc::new(Mutex::new(taken));
        }
        Ok(Arc::new(Captured::new(self, shared, state.delivered)))
    }

    fn pending(&self, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        for (&number, change) in &self.lock().prepared {
            let transaction = Transaction { member: SENDER, number };
            assert!(batch.prepare(transaction, &change_bytes(change)));
        }
        Ok(())
    }
}

impl Log for Engine {
    fn start(&self, from: LogPoint) -> Result<(), ApplicationError> {
        let mut begun = self.log_begun.lock().unwrap();
        let from = if self.is_breaking(Check::LogBegunAnew) { *begun.get_or_insert(from) } else { from };
        self.log.start(from)
    }

    fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        self.log.read(from, batch)
    }

    fn trim(&self, before: LogPoint) {
        let more = u64::from(self.is_breaking(Check::LogTrimmed));
        self.log.trim(LogPoint { records: before.records + more, ..before });
    }

    fn stop(&self) {
        self.log.stop();
    }
}

impl Stage for Engine {
    fn stage(&self, _snapshot: SnapshotId, _keep: bool) -> Result<Box<dyn Sink>, ApplicationError> {
        if !self.is_breaking(Check::StageEmpty) {
            *self.hidden.lock().unwrap() = State::default();
        }
        let visible = self.is_breaking(Check::StageHidden).then(|| Arc::clone(&self.state));
        Ok(Box::new(Landing::new(Arc::clone(&self.hidden), visible)))
    }

    fn apply(&self, records: &[LogRecord<'_>]) -> Result<(), ApplicationError> {
        let mut hidden = self.hidden.lock().unwrap();
        for record in records {
            if !matches!(record.record.effect, Effect::Rollback(_)) {
                hidden.make(&change_of(record.bytes));
            }
        }
        if self.is_breaking(Check::StageLostAtReopening) {
            self.save(&hidden);
        }
        Ok(())
    }

    fn prepare(&self, prepares: &[Prepare<'_>]) -> Result<(), ApplicationError> {
        let all = prepares.iter().map(|prepare| (prepare.transaction.number, change_of(prepare.bytes)));
        self.hidden.lock().unwrap().prepared.extend(all);
        Ok(())
    }

    fn forget_prepares(&self) -> Result<(), ApplicationError> {
        if !self.is_breaking(Check::PreparesForgotten) {
            self.hidden.lock().unwrap().prepared.clear();
        }
        Ok(())
    }

    fn discard(&self) {
        *self.hidden.lock().unwrap() = State::default();
        if self.is_breaking(Check::DiscardLeavesOld) {
            self.lock().tables.clear();
        }
    }

    fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
        let mut new = std::mem::take(&mut *self.hidden.lock().unwrap());
        new.delivered = digest.entry(SENDER).ok_or("nobody sent anything")?.delivered().0;
        if !self.is_breaking(Check::CommitDurable) {
            self.save(&new);
        }
        let mut state = self.lock();
        if self.is_breaking(Check::CommitWhole) {
            new.tables.append(&mut state.tables);
        }
        if self.is_breaking(Check::CommitInOneStep) {
            state.tables = std::mem::take(&mut new.tables);
            let until = *self.looks.lock().unwrap() + 1;
            drop(state);
            // So that somebody looks meanwhile.
            let looks = self.looks.lock().unwrap();
            drop(self.looked.wait_while(looks, |looks| *looks < until).unwrap());
            new.tables = self.lock().tables.clone();
            state = self.lock();
        }
        *state = new;
        Ok(())
    }
}

impl Latch for Engine {
    fn reoffer(&self) {
        *self.reoffers.lock().unwrap() += 1;
        self.rings.notify_all();
    }
}

pub(crate) fn table_bytes(rows: &Table) -> Vec<u8> {
    rows.iter().flat_map(|(key, value)| std::iter::once(*key).chain(value.to_le_bytes())).collect()
}

pub(crate) fn table_of(bytes: &[u8]) -> Table {
    bytes.chunks_exact(9).map(|row| (row[0], u64::from_le_bytes(row[1..].try_into().unwrap()))).collect()
}

fn change_bytes(change: &Change) -> Vec<u8> {
    match change {
        Change::Nothing => vec![0],
        Change::Put { table, key, value } => [&[1, *table, *key][..], &value.to_le_bytes()].concat(),
        Change::Make { table } => vec![2, *table],
        Change::Remove { table } => vec![3, *table],
        Change::Rename { from, to, rows } => [&[4, *from, *to][..], &table_bytes(rows)].concat(),
    }
}

fn change_of(bytes: &[u8]) -> Change {
    match *bytes {
        [1, table, key, ref value @ ..] => {
            Change::Put { table, key, value: u64::from_le_bytes(value.try_into().unwrap()) }
        }
        [2, table] => Change::Make { table },
        [3, table] => Change::Remove { table },
        [4, from, to, ref rows @ ..] => Change::Rename { from, to, rows: table_of(rows) },
        _ => Change::Nothing,
    }
}

/// All of a state, in lines: its kind, its number, its bytes.
pub(crate) fn encode(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    let mut part = |kind: u8, number: u64, bytes: &[u8]| {
        out.push(kind);
        out.extend(number.to_le_bytes());
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend(bytes);
    };
    part(0, state.delivered, &state.completed.to_le_bytes());
    state.tables.iter().for_each(|(table, rows)| part(1, u64::from(*table), &table_bytes(rows)));
    state.prepared.iter().for_each(|(number, change)| part(2, *number, &change_bytes(change)));
    out
}

fn decode(mut bytes: &[u8]) -> State {
    let mut state = State::default();
    while let Some((head, rest)) = bytes.split_first_chunk::<13>() {
        let number = u64::from_le_bytes(head[1..9].try_into().unwrap());
        let len = u32::from_le_bytes(head[9..].try_into().unwrap()) as usize;
        let (part, rest) = rest.split_at(len);
        match head[0] {
            0 => {
                state.delivered = number;
                state.completed = u64::from_le_bytes(part.try_into().unwrap());
            }
            1 => drop(state.tables.insert(number as u8, table_of(part))),
            _ => drop(state.prepared.insert(number, change_of(part))),
        }
        bytes = rest;
    }
    state
}
