//! The walk thread: surveys, then walks, and reads small contents on the way.
//!
//! Batches are bounded in items and by their one buffer, and two of them at most are on their way:
//! the driver pays for each with a token.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, RunHasher, crc32c};
use longhaul_state::item::{Item, What};
use longhaul_state::pool::{Buffer, Share};
use longhaul_state::source::{Piece, Progress, Source, SourceError, SourceErrorKind, Walk};
use longhaul_state::transfer::Control;

use super::{Report, SharedRoot};
use crate::bytes::Bytes;
use crate::driver::{Message, Queue};
use crate::engine::Helpers;

/// Items in a batch at most.
const ITEMS: usize = 256;
/// Batches that may be on their way.
const BATCHES: usize = 2;

/// An item of the walk.
pub(crate) struct Walked {
    pub(super) item: Item,
    /// Its small content, read already.
    pub(super) ready: Option<Ready>,
    /// Its element is in the root.
    pub(super) summed: bool,
    /// The last of its batch: once it is offered the next batch may be walked.
    last_of_batch: bool,
}

/// A small content, read and closed.
pub(crate) struct Ready {
    buffer: Arc<Buffer>,
    pub(super) range: Range<usize>,
    pub(super) crc: Option<u32>,
    pub(super) checksum: Checksum,
}

impl Ready {
    /// The content: it may be sent more than once.
    pub(super) fn bytes(&self) -> Bytes {
        Bytes::Buffer(Arc::clone(&self.buffer), self.range.clone())
    }
}

/// What the walk must know of the task.
pub(super) struct Terms {
    pub(super) integrity: Integrity,
    /// Contents up to this many bytes are read on the way.
    pub(super) eager: u32,
    pub(super) root: SharedRoot,
}

enum Order {
    Survey,
    Go(Terms),
    Batch,
}

/// The driver's end of the walk thread.
pub(super) struct Walker(Sender<Order>);

impl Walker {
    pub(super) fn start(source: Arc<dyn Source>, helpers: &Helpers) -> Self {
        let (orders, receiver) = channel();
        let (queue, share) = (helpers.queue.clone(), helpers.share.clone());
        let control = Arc::clone(&helpers.control);
        helpers.threads.spawn("longhaul-walk".into(), move || {
            let thread = WalkThread { queue: queue.clone(), share, control };
            let walked = catch_unwind(AssertUnwindSafe(|| thread.run(&*source, &receiver)));
            match walked {
                Ok(Ok(())) => {}
                Ok(Err(error)) => queue.send(Message::FromSource(Report::Failed(error))),
                Err(_) => queue.send(Message::Panicked("the source's walk")),
            }
        });
        Self(orders)
    }

    fn order(&self, order: Order) {
        // A thread that has ended has reported why.
        let _ = self.0.send(order);
    }

    pub(super) fn survey(&self) {
        self.order(Order::Survey);
    }

    pub(super) fn go(&self, terms: Terms) {
        self.order(Order::Go(terms));
        for _ in 0..BATCHES {
            self.order(Order::Batch);
        }
    }

    pub(super) fn consumed(&self, walked: &Walked) {
        if walked.last_of_batch {
            self.order(Order::Batch);
        }
    }
}

struct WalkThread {
    queue: Queue,
    share: Share,
    control: Arc<Control>,
}

/// Tells the driver how far the survey is.
struct SurveyProgress<'a> {
    thread: &'a WalkThread,
    told: AtomicU64,
}

impl Progress for SurveyProgress<'_> {
    fn advance(&self, done: u64) -> bool {
        let before = self.told.swap(done, Ordering::Relaxed);
        self.thread.control.set_work(done);
        self.thread.queue.send(Message::Work(done.saturating_sub(before)));
        !self.thread.queue.is_stopped()
    }
}

impl WalkThread {
    fn run(&self, source: &dyn Source, orders: &Receiver<Order>) -> Result<(), SourceError> {
        let Ok(Order::Survey) = orders.recv() else { return Ok(()) };
        let survey = source.survey(&SurveyProgress { thread: self, told: AtomicU64::new(0) })?;
        self.queue.send(Message::FromSource(Report::Surveyed(survey)));
        let Ok(Order::Go(terms)) = orders.recv() else { return Ok(()) };
        let mut walk = source.walk()?;
        let mut next_id = 0_u32;
        let mut held = None;
        while let Ok(Order::Batch) = orders.recv() {
            let mut batch = Batch::default();
            let last = self.fill(source, &mut *walk, &terms, &mut next_id, &mut held, &mut batch)?;
            let Some(items) = batch.finish() else { return Ok(()) };
            self.queue.send(Message::FromSource(Report::Items { items, last }));
            if last {
                break;
            }
        }
        Ok(())
    }

    /// Walks until the batch is full (`false`) or the walk has ended (`true`).
    fn fill(
        &self,
        source: &dyn Source,
        walk: &mut dyn Walk,
        terms: &Terms,
        next_id: &mut u32,
        held: &mut Option<Item>,
        batch: &mut Batch,
    ) -> Result<bool, SourceError> {
        while batch.items.len() < ITEMS {
            let item = match held.take() {
                Some(item) => item,
                None => match walk.next()? {
                    Some(item) => item,
                    None => return Ok(true),
                },
            };
            let small = match item.what {
                What::File { size, sparse: false, .. } if size <= terms.eager.into() => Some(size as usize),
                _ => None,
            };
            if let Some(size) = small.filter(|&size| size > 0)
                && !batch.make_room(size, &self.share, &self.queue)
            {
                if self.queue.is_stopped() {
                    return Err(SourceError::whole(SourceErrorKind::Stopped));
                }
                *held = Some(item);
                return Ok(false);
            }
            let id = ItemId(*next_id);
            *next_id =
                next_id.checked_add(1).ok_or_else(|| SourceError::whole(SourceErrorKind::TooManyItems))?;
            batch.push(source, item, id, small, terms)?;
        }
        Ok(false)
    }
}

/// Items and the one buffer that their small contents share.
#[derive(Default)]
struct Batch {
    items: Vec<(Item, Option<Content>, bool)>,
    buffer: Option<Buffer>,
    used: usize,
}

struct Content {
    range: Range<usize>,
    crc: Option<u32>,
    checksum: Checksum,
}

impl Batch {
    /// Room for `size` bytes more in the buffer; `false` if there is none, or no buffer to be had.
    fn make_room(&mut self, size: usize, share: &Share, queue: &Queue) -> bool {
        if self.buffer.is_none() {
            self.buffer = share.take(&|| queue.is_stopped());
        }
        self.buffer.as_ref().is_some_and(|buffer| buffer.len() - self.used >= size)
    }

    fn push(
        &mut self,
        source: &dyn Source,
        item: Item,
        id: ItemId,
        small: Option<usize>,
        terms: &Terms,
    ) -> Result<(), SourceError> {
        let content = match (small, &mut self.buffer) {
            (Some(0), _) => {
                let empty = Checksum::empty(terms.integrity);
                terms.root.add(id, &item, 0, &empty)?;
                self.items.push((item, None, true));
                return Ok(());
            }
            (Some(size), Some(buffer)) => {
                let range = self.used..self.used + size;
                let content = read_small(source, &item, &mut buffer[range.clone()], range, terms.integrity)?;
                self.used += size;
                terms.root.add(id, &item, size as u64, &content.checksum)?;
                Some(content)
            }
            _ => None,
        };
        let mut summed = content.is_some();
        if matches!(item.what, What::Directory | What::SymbolicLink { .. }) {
            terms.root.add(id, &item, 0, &Checksum::None)?;
            summed = true;
        }
        self.items.push((item, content, summed));
        Ok(())
    }

    /// The batch, its buffer shared; `None` if the buffer is missing.
    fn finish(self) -> Option<Vec<Walked>> {
        let buffer = self.buffer.map(Arc::new);
        let len = self.items.len();
        let walked = self.items.into_iter().enumerate().map(|(n, (item, content, summed))| {
            let ready = match content {
                None => None,
                Some(content) => Some(Ready {
                    buffer: Arc::clone(buffer.as_ref()?),
                    range: content.range,
                    crc: content.crc,
                    checksum: content.checksum,
                }),
            };
            Some(Walked { item, ready, summed, last_of_batch: n + 1 == len })
        });
        walked.collect()
    }
}

/// Reads a small content whole and closes it: what was read is what was walked.
fn read_small(
    source: &dyn Source,
    item: &Item,
    into: &mut [u8],
    range: Range<usize>,
    integrity: Integrity,
) -> Result<Content, SourceError> {
    let content = source.open(item)?;
    let mut filled = 0;
    while filled < into.len() {
        match content.read_at(filled as u64, &mut into[filled..])? {
            Piece::Data(0) | Piece::Hole(0) => return Err(SourceError::user("a read moved nothing")),
            Piece::Data(read) if read > into.len() - filled => {
                return Err(SourceError::user("a read claims more than was asked for"));
            }
            Piece::Data(read) => filled += read,
            Piece::Hole(len) => {
                let end = into.len().min(filled + usize::try_from(len).unwrap_or(usize::MAX));
                into[filled..end].fill(0);
                filled = end;
            }
            Piece::End => {
                let changed = SourceErrorKind::Changed("it became shorter");
                return Err(SourceError {
                    kind: changed,
                    item: item.name.clone(),
                    offset: Some(filled as u64),
                });
            }
        }
    }
    content.close()?;
    let (crc, checksum) = match integrity {
        Integrity::None => (None, Checksum::None),
        Integrity::Crc32c => {
            let crc = crc32c(into);
            (Some(crc), Checksum::Crc32c(crc))
        }
        Integrity::Blake3 => {
            let crc = crc32c(into);
            let mut hasher = RunHasher::new(integrity, 0);
            hasher.update(into, crc);
            let mut fold = ItemFold::new(integrity);
            let folded = hasher.finish().is_some_and(|run| fold.push(run).is_ok());
            debug_assert!(folded, "a small content is one run");
            (Some(crc), fold.finish(into.len() as u64).unwrap_or_default())
        }
    };
    Ok(Content { range, crc, checksum })
}
