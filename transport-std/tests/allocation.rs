//! No allocation in the data path: what a transfer allocates does not grow with its chunks. Alone in its
//! program, because the allocator that counts is the program's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::wire::ChunkLen;
use longhaul_state::item::Item;
use longhaul_state::pool::{DEFAULT_MEMORY, Pool};
use longhaul_state::sink::DiscardSink;
use longhaul_state::source::{Content, Piece, Progress, RepeatedSource, Source, SourceError, Survey, Walk};
use longhaul_state::transfer::{Control, Options};
use longhaul_transport_std::join;

/// The system's allocator, counted.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's own contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's own contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's own contract.
        unsafe { System.realloc(memory, layout, new_size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's own contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn options(member: u8) -> Options {
    Options { member: MemberId([member; 16]), transfer: TransferId([9; 16]), ..Options::default() }
}

fn pool() -> Pool {
    Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 1, 2)
}

/// A source that lends no memory: what is read of it goes through the pool's buffers, as a file does.
struct Unlent(RepeatedSource);

impl Source for Unlent {
    fn survey(&self, progress: &dyn Progress) -> Result<Survey, SourceError> {
        self.0.survey(progress)
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        self.0.walk()
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        Ok(Box::new(UnlentContent(self.0.open(item)?)))
    }
}

struct UnlentContent(Box<dyn Content>);

impl Content for UnlentContent {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        self.0.read_at(offset, buffer)
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        self.0.close()
    }
}

/// Allocations of both sides of a transfer of `bytes` bytes that lands nowhere, from its handshake to its end.
fn allocations(bytes: u64, source: Arc<dyn Source>) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let listener = longhaul_transport_std::listen("127.0.0.1:0").unwrap();
    let address = listener.local_addr();
    let provider = thread::spawn(move || {
        let caller = listener.accept().unwrap().unwrap();
        caller.provide(source, &options(1), &pool(), &Arc::new(Control::new())).unwrap()
    });
    let sink = DiscardSink::new();
    let discarded = sink.discarded();
    join(address, Box::new(sink), &options(2), &pool(), &Arc::new(Control::new())).unwrap();
    provider.join().unwrap();
    assert_eq!(discarded.bytes(), bytes);
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// What depends on how threads met: how far queues grew, who slept when. It is the same for any length,
/// and less than one allocation a run of 16 MiB would be.
const LEFT: u64 = 40;

#[test]
fn chunks_cost_no_allocation() {
    let block: Arc<[u8]> = vec![0x5a; 1 << 20].into();
    for lent in [true, false] {
        let [short, long] = [256_u64 << 20, 1 << 30].map(|bytes| {
            let repeated = RepeatedSource::new(Arc::clone(&block), bytes);
            let source: Arc<dyn Source> = if lent { Arc::new(repeated) } else { Arc::new(Unlent(repeated)) };
            allocations(bytes, source)
        });
        let chunks = ((1024 - 256) << 20) / u64::from(ChunkLen::DEFAULT.bytes());
        let more = long.saturating_sub(short);
        println!(
            "lent {lent}: {short} allocations for 256 MiB, {long} for a GiB: {more} for {chunks} chunks more"
        );
        assert!(more <= LEFT, "{more} allocations for {chunks} chunks more, source's memory lent: {lent}");
    }
}
