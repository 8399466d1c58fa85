//! The memory of a transfer does not grow with its catalogue. Alone in its program, because the allocator
//! that counts is the program's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::wire::ChunkLen;
use longhaul_state::item::{Item, Name, What};
use longhaul_state::pool::{MIN_MEMORY, Pool};
use longhaul_state::sink::DiscardSink;
use longhaul_state::source::{Content, Piece, Progress, Source, SourceError, Survey, Walk};
use longhaul_state::transfer::{Control, Options};
use longhaul_transport_std::join;

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

/// So many tiny files, all in one directory.
struct Tiny(u64);

impl Source for Tiny {
    fn survey(&self, _: &dyn Progress) -> Result<Survey, SourceError> {
        Ok(Survey { items: self.0, bytes: Some(self.0), ..Survey::default() })
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        Ok(Box::new(Walking { next: 0, end: self.0 }))
    }

    fn open(&self, _: &Item) -> Result<Box<dyn Content>, SourceError> {
        Ok(Box::new(Byte))
    }
}

/// The content of each.
struct Byte;

impl Content for Byte {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        if offset > 0 {
            return Ok(Piece::End);
        }
        buffer[0] = 7;
        Ok(Piece::Data(1))
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}

struct Walking {
    next: u64,
    end: u64,
}

impl Walk for Walking {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        if self.next == self.end {
            return Ok(None);
        }
        self.next += 1;
        let name = Name::new(format!("directory/{:07}", self.next).as_bytes()).expect("a name");
        let what = What::File { size: 1, linked: false, sparse: false };
        Ok(Some(Item { name, mode: 0o644, what, ..Item::stream() }))
    }
}

/// The most that both sides held at once while `items` items moved.
fn most_held(items: u64) -> usize {
    let options = |member| Options {
        member: MemberId([member; 16]),
        transfer: TransferId([9; 16]),
        ..Options::default()
    };
    // Little for buffers: how many of them were ever needed at once depends on the machine's mood.
    let pool = || Pool::new(MIN_MEMORY, ChunkLen::DEFAULT, 1, 2);
    MOST.store(HELD.load(Ordering::Relaxed), Ordering::Relaxed);
    let listener = longhaul_transport_std::listen("127.0.0.1:0").unwrap();
    let address = listener.local_addr();
    let (giving, memory) = (options(1), pool());
    let provider = thread::spawn(move || {
        let caller = listener.accept().unwrap().unwrap();
        caller.provide(Arc::new(Tiny(items)), &giving, &memory, &Arc::new(Control::new())).unwrap()
    });
    let sink = DiscardSink::new();
    let discarded = sink.discarded();
    join(address, Box::new(sink), &options(2), &pool(), &Arc::new(Control::new())).unwrap();
    provider.join().unwrap();
    assert_eq!((discarded.items(), discarded.bytes()), (items, items));
    MOST.load(Ordering::Relaxed)
}

// Catalogue: B36, B72
#[test]
fn a_million_files_in_one_directory_cost_what_a_quarter_of_them_cost() {
    let (few, many) = (most_held(250_000), most_held(1_000_000));
    println!("{few} bytes for 250 000 files, {many} for a million");
    // The names of those more would take 13 MB.
    assert!(many < few + (4 << 20), "{few} bytes for 250 000 files, {many} for a million");
}
