//! The provider's engine: values in memory, in pieces that a capture shares and the next write copies.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use longhaul::live::{
    ApplicationError, Batch, Delivered, Effect, Entry, Latch, Log, LogPoint, LogRecord, MemoryLog, Prepare,
    Provide, SequenceNumber, Snapshot, SnapshotId, Stage,
};
use longhaul::state::{DiscardSink, SourceError};
use longhaul::{
    Content, Item, MemberId, Name, Piece as Read, Progress, Shape, Sink, Source, Survey, Timestamp, Version,
    Walk, What,
};

/// Bytes of a value.
pub(crate) const VALUE: usize = 1024;
/// Values of a piece: what a write copies at most is so many pointers.
const PIECE: usize = 256;
/// Bytes of a write's record.
pub(crate) const RECORD: usize = 8 + VALUE;

/// The one sender of writes; and who says words to the group.
pub(crate) const ORDER: MemberId = MemberId([0xff; 16]);
pub(crate) const JOINER: MemberId = MemberId([2; 16]);

type Value = Arc<[u8; VALUE]>;
type Values = Vec<Arc<Vec<Value>>>;

/// One member's engine: a provider's with values, a joiner's that drops what it is given.
#[derive(Default)]
pub(crate) struct Engine {
    state: Mutex<State>,
    log: MemoryLog,
    /// Reoffers so far.
    reoffered: Mutex<u64>,
    reoffers: Condvar,
}

#[derive(Default)]
struct State {
    values: Values,
    delivered: u64,
    /// Words that the joiner has said to the group.
    heard: u64,
}

impl Engine {
    /// So many bytes, no two values alike.
    pub(crate) fn of(bytes: u64) -> Self {
        let values = (bytes / VALUE as u64).max(1);
        let pieces = (0..values).step_by(PIECE).map(|first| {
            let piece = first..values.min(first + PIECE as u64);
            Arc::new(piece.map(value).collect())
        });
        let state = State { values: pieces.collect(), ..State::default() };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.lock().delivered
    }

    pub(crate) fn digest(&self) -> Result<Delivered, ApplicationError> {
        digest(self.delivered(), 0)
    }

    /// What it has, as it is now.
    pub(crate) fn captured(&self) -> Arc<dyn Snapshot> {
        let state = self.lock();
        Arc::new(Captured { values: state.values.clone(), delivered: state.delivered, heard: state.heard })
    }

    /// A word that was said to the group.
    pub(crate) fn hear(&self, number: u64) {
        self.lock().heard = number;
    }

    /// A joiner's state is only what it contains.
    pub(crate) fn take(&self, digest: &Delivered) {
        self.lock().delivered = digest.entry(ORDER).map_or(0, |entry| entry.delivered().0);
    }

    /// Carries out a message, and logs it.
    pub(crate) fn write(&self, number: u64, key: u64, value: &[u8; VALUE]) {
        let mut state = self.lock();
        let at = (key % (state.values.len() * PIECE) as u64) as usize;
        let piece = Arc::make_mut(&mut state.values[at / PIECE]);
        let within = at % PIECE % piece.len();
        piece[within] = Arc::new(*value);
        state.delivered = number;
        drop(state);
        let record = [&key.to_le_bytes()[..], value].concat();
        self.log.append(ORDER, SequenceNumber(number), Effect::Write, &record);
    }

    /// How often what was held might pass.
    pub(crate) fn reoffered(&self) -> u64 {
        *self.reoffered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it may pass once more than `before`.
    pub(crate) fn wait(&self, before: u64) {
        let reoffered = self.reoffered.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.reoffers.wait_while(reoffered, |reoffered| *reoffered == before));
    }
}

/// What a key has in the beginning.
fn value(key: u64) -> Value {
    let mut value = [0; VALUE];
    for (n, word) in value.chunks_mut(8).enumerate() {
        let noise = key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(n as u32);
        word.copy_from_slice(&noise.to_le_bytes());
    }
    Arc::new(value)
}

fn digest(delivered: u64, heard: u64) -> Result<Delivered, ApplicationError> {
    let mut digest = Delivered::new();
    for (sender, last) in [(ORDER, delivered), (JOINER, heard)] {
        let last = SequenceNumber(last);
        digest.insert(Entry::new(sender, last, last)?)?;
    }
    Ok(digest)
}

/// A capture: the values as they were, as one file.
struct Captured {
    values: Values,
    delivered: u64,
    heard: u64,
}

impl Snapshot for Captured {
    fn digest(&self) -> Delivered {
        digest(self.delivered, self.heard).unwrap_or_default()
    }

    fn source(&self, _state_id: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
        Ok(Arc::new(Captured { values: self.values.clone(), ..*self }))
    }
}

impl Captured {
    fn item(&self) -> Item {
        let bytes = self.values.iter().map(|piece| (piece.len() * VALUE) as u64).sum();
        let what = What::File { size: bytes, linked: false, sparse: false };
        let (mtime, version) = (Timestamp::default(), Version::default());
        Item { name: Name::root(), mode: 0o600, mtime, version, what }
    }
}

impl Source for Captured {
    fn survey(&self, _progress: &dyn Progress) -> Result<Survey, SourceError> {
        let What::File { size, .. } = self.item().what else { return Err(SourceError::user("it is a file")) };
        let bytes = Some(size);
        Ok(Survey { shape: Shape::File, items: 1, bytes, allocated: size, ..Survey::default() })
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        Ok(Box::new(One(Some(self.item()))))
    }

    fn open(&self, _item: &Item) -> Result<Box<dyn Content>, SourceError> {
        Ok(Box::new(Whole(self.values.clone())))
    }
}

struct One(Option<Item>);

impl Walk for One {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        Ok(self.0.take())
    }
}

struct Whole(Values);

impl Content for Whole {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Read, SourceError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset as usize + filled;
            let (number, within) = (at / VALUE, at % VALUE);
            let value = self.0.get(number / PIECE).and_then(|piece| piece.get(number % PIECE));
            let Some(value) = value else { break };
            let len = (VALUE - within).min(buffer.len() - filled);
            buffer[filled..filled + len].copy_from_slice(&value[within..within + len]);
            filled += len;
        }
        Ok(if filled == 0 { Read::End } else { Read::Data(filled) })
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}

impl Provide for Engine {
    fn capture(&self) -> Result<Arc<dyn Snapshot>, ApplicationError> {
        Ok(self.captured())
    }

    fn pending(&self, _batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        Ok(())
    }
}

impl Log for Engine {
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

/// A joiner's hidden copy is a count: its memory would be the provider's neighbour.
impl Stage for Engine {
    fn stage(&self, _snapshot: SnapshotId, _keep: bool) -> Result<Box<dyn Sink>, ApplicationError> {
        Ok(Box::new(DiscardSink::default()))
    }

    fn apply(&self, _records: &[LogRecord<'_>]) -> Result<(), ApplicationError> {
        Ok(())
    }

    fn prepare(&self, _prepares: &[Prepare<'_>]) -> Result<(), ApplicationError> {
        Ok(())
    }

    fn forget_prepares(&self) -> Result<(), ApplicationError> {
        Ok(())
    }

    fn discard(&self) {}

    fn commit(&self, digest: &Delivered) -> Result<(), ApplicationError> {
        self.take(digest);
        Ok(())
    }
}

impl Latch for Engine {
    fn reoffer(&self) {
        *self.reoffered.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.reoffers.notify_all();
    }
}
