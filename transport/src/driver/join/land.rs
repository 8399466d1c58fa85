//! The sink thread: the only one that calls the sink, in the order of the driver's commands.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Prefix};
use longhaul_core::wire::APP_REPLY_MAX;
use longhaul_state::item::{Item, What};
use longhaul_state::pool::Share;
use longhaul_state::root::{LINK_SET_BYTES, RootBuilder, RootError};
use longhaul_state::sink::{Agreed, Checkpoint, Kept, Sink, SinkError, SinkErrorKind};
use longhaul_state::source::{Progress, Survey};
use longhaul_state::transfer::Control;

use super::Report;
use crate::channel::{Receiver, Sender, channel};
use crate::chunk::Chunk;
use crate::driver::{Message, Queue};
use crate::engine::Helpers;

/// Completed items that are reported at once: the provider's window waits for them.
const LANDED: usize = 64;

/// Small files that the sink is told of before they come: a session that ends waits for them.
const UPCOMING: usize = 64;

/// One call to the sink.
pub(super) enum SinkOp {
    Begin {
        survey: Survey,
        integrity: Integrity,
    },
    Open {
        id: ItemId,
        item: Item,
    },
    Write {
        id: ItemId,
        offset: u64,
        chunk: Chunk,
    },
    Hole {
        id: ItemId,
        offset: u64,
        len: u64,
    },
    Finish {
        id: ItemId,
        item: Item,
        size: u64,
        checksum: Checksum,
    },
    Put {
        id: ItemId,
        item: Item,
        pieces: Vec<Chunk>,
        size: u64,
        checksum: Checksum,
    },
    Discard {
        id: ItemId,
    },
    /// A chunk could not be written: the sink hears of it, and the transfer fails.
    WriteFailed {
        id: ItemId,
        error: SinkError,
    },
    Checkpoint {
        parts: Vec<(ItemId, Prefix)>,
    },
    SumUp,
    Sync,
    Publish,
}

impl SinkOp {
    /// The file that is put, and what it holds, if it is one in one piece.
    fn small_file(&self) -> Option<(&Item, &[u8])> {
        match self {
            Self::Put { item, pieces, .. } if matches!(item.what, What::File { .. }) => match &pieces[..] {
                [] => Some((item, b"")),
                [whole] if whole.in_pipes() == 0 => Some((item, whole.bytes())),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The driver's end of the sink thread.
pub(super) struct Lander {
    ops: Option<Sender<SinkOp>>,
    failed: Arc<AtomicBool>,
}

impl Lander {
    pub(super) fn start(sink: Box<dyn Sink>, holds: bool, helpers: &Helpers) -> Self {
        let (ops, receiver) = channel();
        let failed = Arc::new(AtomicBool::new(false));
        let mut thread = SinkThread {
            sink,
            holds,
            integrity: Integrity::None,
            root: RootBuilder::new(Integrity::None),
            queue: helpers.queue.clone(),
            share: helpers.share.clone(),
            control: Arc::clone(&helpers.control),
            published: false,
        };
        let gave_up = Arc::clone(&failed);
        helpers.threads.spawn("longhaul-sink".into(), move || thread.run(&receiver, &gave_up));
        Self { ops: Some(ops), failed }
    }

    /// Hands a batch over, and leaves it empty.
    pub(super) fn send(&self, batch: &mut Vec<SinkOp>) {
        if let Some(ops) = &self.ops {
            // A thread that has ended has reported why.
            ops.send_all(batch);
        }
    }

    /// No more comes; what was not published is given up.
    pub(super) fn end(&mut self, failed: bool) {
        self.failed.store(failed, Ordering::SeqCst);
        self.ops = None;
    }
}

struct SinkThread {
    sink: Box<dyn Sink>,
    /// An earlier run has left something.
    holds: bool,
    integrity: Integrity,
    root: RootBuilder,
    queue: Queue,
    share: Share,
    control: Arc<Control>,
    published: bool,
}

/// Tells the driver how far a sync is.
struct SyncProgress<'a> {
    thread: (&'a Queue, &'a Control),
    told: AtomicU64,
}

impl Progress for SyncProgress<'_> {
    fn advance(&self, done: u64) -> bool {
        let before = self.told.swap(done, Ordering::Relaxed);
        let (queue, control) = self.thread;
        control.set_work(done);
        queue.send(Message::Work(done.saturating_sub(before)));
        !queue.is_stopped()
    }
}

impl SinkThread {
    fn run(&mut self, ops: &Receiver<SinkOp>, failed: &AtomicBool) {
        let (mut batch, mut landed, mut told) = (VecDeque::new(), Vec::new(), 0_usize);
        while ops.recv_all(&mut batch) {
            while !batch.is_empty() {
                // Nothing of a failed session is carried out any more, least of all publishing.
                if failed.load(Ordering::SeqCst) || self.queue.is_stopped() {
                    batch.clear();
                    break;
                }
                if landed.len() == LANDED {
                    self.report(&mut landed);
                }
                let carried_out = catch_unwind(AssertUnwindSafe(|| {
                    if told == 0 {
                        told = self.tell_upcoming(&batch);
                    }
                    told = told.saturating_sub(1);
                    batch.pop_front().map_or(Ok(()), |op| self.carry_out(op, &mut landed))
                }));
                match carried_out {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return self.fail(error),
                    Err(_) => {
                        self.queue.send(Message::FromSink(Report::Panicked));
                        return self.give_up();
                    }
                }
            }
            self.report(&mut landed);
        }
        self.give_up();
    }

    /// Tells the sink which small files come next. Of how many it need not hear again.
    fn tell_upcoming(&mut self, batch: &VecDeque<SinkOp>) -> usize {
        let files: Vec<_> = batch.iter().take(UPCOMING).map_while(SinkOp::small_file).collect();
        // Of one it hears soon enough.
        if files.len() > 1 { self.sink.upcoming(&files) } else { files.len() }
    }

    /// Gives up, and tells why. What the disk has lost may come again as soon as it is told: the destination is free for it
    /// by then. Other failures are told at once, however long it takes to give up.
    fn fail(&mut self, error: SinkError) {
        if error.lost_data() {
            self.give_up();
            self.queue.send(Message::FromSink(Report::Failed(error)));
        } else {
            self.queue.send(Message::FromSink(Report::Failed(error)));
            self.give_up();
        }
    }

    /// Aborts unless the state was published: a user's abort may panic too.
    fn give_up(&mut self) {
        if !self.published && catch_unwind(AssertUnwindSafe(|| self.sink.abort())).is_err() {
            tracing::error!("the sink panicked while it was told to give up");
        }
    }

    fn report(&self, landed: &mut Vec<ItemId>) {
        if !landed.is_empty() {
            self.queue.send(Message::FromSink(Report::Landed(std::mem::take(landed))));
        }
    }

    fn carry_out(&mut self, op: SinkOp, landed: &mut Vec<ItemId>) -> Result<(), SinkError> {
        let report = match op {
            SinkOp::Begin { survey, integrity } => {
                self.root = RootBuilder::new(integrity);
                self.integrity = integrity;
                self.sink.begin(&survey)?;
                Report::Begun
            }
            SinkOp::Open { id, item } => match self.reopen(id, &item)? {
                Some(Kept { place, content }) => Report::Opened { id, place, kept: Some(content) },
                None => Report::Opened { id, place: self.sink.open(id, &item)?, kept: None },
            },
            SinkOp::Checkpoint { parts } => {
                let sink = self.sink.resuming();
                Report::Checkpoint(sink.map_or(Ok(Checkpoint::None), |sink| sink.checkpoint(&parts))?)
            }
            SinkOp::Write { id, offset, mut chunk } => {
                load(&mut chunk)?;
                return self.sink.write(id, offset, chunk.bytes());
            }
            SinkOp::Hole { id, offset, len } => return self.sink.hole(id, offset, len),
            SinkOp::Finish { id, item, size, checksum } => {
                self.sink.finish(id, size)?;
                self.vouch(&item, size, &checksum)?;
                self.sum(id, &item, size, &checksum)?;
                landed.push(id);
                return Ok(());
            }
            SinkOp::Put { id, item, mut pieces, size, checksum } => {
                pieces.iter_mut().try_for_each(load)?;
                self.put(id, &item, &pieces)?;
                self.vouch(&item, size, &checksum)?;
                self.sum(id, &item, size, &checksum)?;
                landed.push(id);
                return Ok(());
            }
            SinkOp::Discard { id } => return self.sink.discard(id),
            SinkOp::WriteFailed { id, error } => {
                // A full disk is not to be mistrusted.
                if !matches!(error.kind, SinkErrorKind::NoSpace { .. } | SinkErrorKind::Quota)
                    && let Some(sink) = self.sink.resuming()
                {
                    sink.doubt(id)?;
                }
                return Err(error);
            }
            SinkOp::SumUp => {
                let (items, bytes) = self.root.totals();
                Report::Summed { items, bytes, root: self.root.finish() }
            }
            SinkOp::Sync => {
                let progress = SyncProgress { thread: (&self.queue, &self.control), told: AtomicU64::new(0) };
                self.sink.sync(&progress)?;
                let ((items, bytes), root) = (self.root.totals(), self.root.finish());
                if let Some(sink) = self.sink.resuming() {
                    sink.agreed(Agreed { items, bytes, root });
                }
                Report::Synced { caveat: self.sink.caveat() }
            }
            SinkOp::Publish => {
                self.sink.publish()?;
                self.published = true;
                let mut app_reply = self.sink.app_reply();
                app_reply.truncate(APP_REPLY_MAX);
                Report::Published { app_reply }
            }
        };
        self.report(landed);
        self.queue.send(Message::FromSink(report));
        Ok(())
    }

    /// What an earlier run left of an item.
    fn reopen(&mut self, id: ItemId, item: &Item) -> Result<Option<Kept>, SinkError> {
        let integrity = self.integrity;
        match self.sink.resuming() {
            Some(sink) if self.holds => sink.reopen(id, item, integrity),
            _ => Ok(None),
        }
    }

    fn vouch(&mut self, item: &Item, size: u64, checksum: &Checksum) -> Result<(), SinkError> {
        self.sink.resuming().map_or(Ok(()), |sink| sink.vouch(item, size, checksum))
    }

    fn put(&mut self, id: ItemId, item: &Item, pieces: &[Chunk]) -> Result<(), SinkError> {
        match pieces {
            [] => self.sink.put(id, item, b""),
            [whole] => self.sink.put(id, item, whole.bytes()),
            pieces => self.sink.put(
                id,
                item,
                &pieces.iter().flat_map(|piece| piece.bytes().iter().copied()).collect::<Vec<u8>>(),
            ),
        }
    }

    fn sum(&mut self, id: ItemId, item: &Item, size: u64, checksum: &Checksum) -> Result<(), SinkError> {
        let sets = self.root.link_sets();
        let added = self.root.add(id, item, size, checksum);
        self.share.charge((self.root.link_sets() - sets) * LINK_SET_BYTES);
        added.map_err(|error| {
            let kind = match error {
                RootError::TooManyLinks => SinkErrorKind::TooManyLinks,
                RootError::NoSuchLink => SinkErrorKind::NoSuchLink,
            };
            SinkError::item(item.name.clone(), kind)
        })
    }
}

/// A sink is given memory.
fn load(chunk: &mut Chunk) -> Result<(), SinkError> {
    chunk.load().map_err(|error| SinkError::whole(SinkErrorKind::Io { action: "read a pipe", error }))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;
    use std::time::Duration;

    use longhaul_core::wire::ChunkLen;
    use longhaul_state::pool::Pool;
    use longhaul_state::sink::Place;

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    /// Can't sync, and gives up when it is let go.
    struct Failing {
        error: fn() -> SinkErrorKind,
        giving_up: mpsc::Sender<()>,
        go: mpsc::Receiver<()>,
    }

    impl Sink for Failing {
        fn begin(&mut self, _survey: &Survey) -> Result<(), SinkError> {
            Ok(())
        }

        fn open(&mut self, _id: ItemId, _item: &Item) -> Result<Place, SinkError> {
            Ok(Place::Discard)
        }

        fn write(&mut self, _id: ItemId, _offset: u64, _bytes: &[u8]) -> Result<(), SinkError> {
            Ok(())
        }

        fn hole(&mut self, _id: ItemId, _offset: u64, _len: u64) -> Result<(), SinkError> {
            Ok(())
        }

        fn finish(&mut self, _id: ItemId, _len: u64) -> Result<(), SinkError> {
            Ok(())
        }

        fn discard(&mut self, _id: ItemId) -> Result<(), SinkError> {
            Ok(())
        }

        fn sync(&mut self, _progress: &dyn Progress) -> Result<(), SinkError> {
            Err(SinkError::whole((self.error)()))
        }

        fn publish(&mut self) -> Result<(), SinkError> {
            Ok(())
        }

        fn abort(&mut self) {
            self.giving_up.send(()).unwrap();
            self.go.recv().unwrap();
        }
    }

    /// Whether the failure is told before the sink has given up; it is told afterwards at the latest.
    fn is_told_at_once(error: fn() -> SinkErrorKind) -> bool {
        let ((giving_up, gives_up), (go, let_go)) = (mpsc::channel(), mpsc::channel());
        let (queue, messages) = crate::driver::queue();
        let mut thread = SinkThread {
            sink: Box::new(Failing { error, giving_up, go: let_go }),
            holds: false,
            integrity: Integrity::None,
            root: RootBuilder::new(Integrity::None),
            queue,
            share: Pool::reserved(ChunkLen::DEFAULT, 1).share(),
            control: Arc::default(),
            published: false,
        };
        let (ops, receiver) = channel();
        ops.send(SinkOp::Sync);
        let thread = std::thread::spawn(move || thread.run(&receiver, &AtomicBool::new(false)));
        gives_up.recv_timeout(PATIENCE).unwrap();
        let told = messages.try_recv();
        go.send(()).unwrap();
        let at_once = told.is_some();
        let told = told.or_else(|| messages.recv_within(PATIENCE));
        assert!(matches!(told, Some(Message::FromSink(Report::Failed(_)))));
        thread.join().unwrap();
        at_once
    }

    // Catalogue: F23
    #[test]
    fn lost_data_is_told_when_the_destination_is_free_again_other_failures_at_once() {
        assert!(!is_told_at_once(|| SinkErrorKind::Durability(io::ErrorKind::Other.into())));
        assert!(!is_told_at_once(|| SinkErrorKind::Rotten));
        assert!(is_told_at_once(|| SinkErrorKind::Quota));
    }
}
