//! A joiner that stops reading costs its provider no more memory than the pool. Alone in its program,
//! because the allocator that counts is the program's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use longhaul_core::id::ItemId;
use longhaul_core::reason::Reason;
use longhaul_core::wire::{ChunkLen, Frame, Kind};
use longhaul_state::item::Item;
use longhaul_state::pool::Pool;
use longhaul_state::source::{Content, Piece, Progress, RepeatedSource, Source, SourceError, Survey, Walk};
use longhaul_tests::conformance::Party;
use longhaul_tests::hostile::Peer;

/// The system's allocator, and how much of it is held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's own contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's own contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Far more than the pool, and than what sockets hold.
const STATE: u64 = 1 << 30;
const MEMORY: usize = 8 << 20;
/// A session, its reserved buffers for control frames, its threads' tables; and what lies before the first huge page of
/// the pool's memory, which nobody touches.
const BESIDE: usize = 4 << 20;

/// Bytes that were read of the source.
static READ: AtomicUsize = AtomicUsize::new(0);

/// A source that lends no memory: what is read of it goes through the pool, as a file does.
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
        READ.fetch_add(buffer.len(), Ordering::Relaxed);
        self.0.read_at(offset, buffer)
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        self.0.close()
    }
}

// Catalogue: F8, F85
#[test]
fn a_joiner_that_stops_reading_costs_the_pool_and_is_given_up() {
    let mut me = Party::new(1);
    me.options.stall_timeout = Duration::from_secs(2);
    me.pool = Pool::new(MEMORY, ChunkLen::DEFAULT, 1, me.options.lanes);
    let source = Arc::new(Unlent(RepeatedSource::new(vec![7; 1 << 16].into(), STATE)));
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let listener = longhaul_transport_std::listen("127.0.0.1:0").unwrap();
    let address = listener.local_addr();
    let provider = thread::spawn(move || {
        let caller = listener.accept().unwrap().unwrap();
        caller.provide(source, &me.options, &me.pool, &me.control)
    });
    let mut peer = Peer::dial(address);
    let token = peer.join();
    peer.until(Kind::Task);
    peer.send(&Frame::Begin);
    let _lane = peer.lane(token, 1);
    peer.until(Kind::Offer);
    peer.send(&Frame::Accept { id: ItemId(0), offset: 0 });
    // Its lane is full from here on, and stays so; lane 0 is read to its end.
    let told = peer.last_word();
    drop(peer);
    let error = provider.join().expect("a provider does not panic").expect_err("nobody reads");
    let most = MOST.load(Ordering::Relaxed) - before;
    println!("{most} bytes held at most, {MEMORY} of them for buffers");
    assert_eq!((error.reason, told.map(|told| told.0)), (Reason::Stalled, Some(Reason::Stalled)));
    let read = READ.load(Ordering::Relaxed);
    assert!(read > MEMORY / 2, "{read} bytes were read: the buffers were not even used");
    assert!(most < MEMORY + BESIDE, "{most} bytes held, the pool has {MEMORY}");
}
