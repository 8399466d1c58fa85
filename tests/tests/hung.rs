//! Files that never answer: their sessions end, and others go on by the same ring.
#![cfg(all(target_os = "linux", not(longhaul_portable)))]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request,
};
use longhaul_core::reason::Reason;
use longhaul_core::wire::ChunkLen;
use longhaul_state::pool::{DEFAULT_MEMORY, Pool};
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions};
use longhaul_state::source::{DirectoryOptions, DirectorySource};
use longhaul_state::transfer::DataPath;
use longhaul_tests::conformance::tree::{Scratch, noise, write};
use longhaul_tests::conformance::{End, Party, eventually};
use longhaul_tests::disk::prepare;
use longhaul_transport::{Engine, Listener};
use longhaul_transport_uring::Ring;

const LEN: u64 = 16 << 20;
/// What does not happen by then never will.
const PATIENCE: Duration = Duration::from_secs(20);
/// When a session that hangs is given up.
const SOON: Duration = Duration::from_millis(500);

/// What is not answered of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calls {
    /// That it is opened again: past the page cache.
    Opens,
    /// That it is read.
    Reads,
}

/// What calls wait at.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_open: bool,
    /// So many have come to it.
    struck: usize,
    /// So many were waited for.
    seen: usize,
}

impl Gate {
    fn open(&self) {
        self.state.lock().unwrap().is_open = true;
        self.changed.notify_all();
    }

    /// Carries this out when the gate is open.
    fn pass(self: Arc<Self>, call: impl FnOnce() + Send + 'static) {
        self.state.lock().unwrap().struck += 1;
        self.changed.notify_all();
        thread::spawn(move || {
            let state = self.state.lock().unwrap();
            drop(self.changed.wait_while(state, |state| !state.is_open).unwrap());
            call();
        });
    }

    /// Waits for one that was not waited for yet.
    fn wait_until_struck(&self) {
        let state = self.state.lock().unwrap();
        let waits = self.changed.wait_timeout_while(state, PATIENCE, |state| state.struck == state.seen);
        let (mut state, waited) = waits.unwrap();
        assert!(!waited.timed_out(), "nothing hangs");
        state.seen = state.struck;
    }
}

/// A file system of one file that hangs.
struct Hanging {
    hang: Calls,
    gate: Arc<Gate>,
    place: PathBuf,
    _mounted: BackgroundSession,
}

impl Hanging {
    fn mount(scratch: &Scratch, hang: Calls) -> Self {
        let (place, gate) = (scratch.home().join(format!("{hang:?}")), Arc::new(Gate::default()));
        fs::create_dir(&place).unwrap();
        let served = Served { hang, gate: Arc::clone(&gate), opened: AtomicUsize::new(0) };
        let mounted = fuser::spawn_mount(served, &place, &Config::default()).unwrap();
        Self { hang, gate, place, _mounted: mounted }
    }

    fn file(&self) -> PathBuf {
        self.place.join("file")
    }
}

impl Drop for Hanging {
    /// Nobody may wait for an answer when this process ends, or it never does.
    fn drop(&mut self) {
        self.gate.open();
    }
}

/// What the kernel hears of it.
struct Served {
    hang: Calls,
    gate: Arc<Gate>,
    opened: AtomicUsize,
}

const FILE: INodeNo = INodeNo(2);
const LONG: Duration = Duration::from_hours(1);

fn attributes(node: INodeNo) -> FileAttr {
    let is_file = node == FILE;
    let time = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: node,
        size: if is_file { LEN } else { 0 },
        // None of it is a hole.
        blocks: LEN / 512,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: if is_file { FileType::RegularFile } else { FileType::Directory },
        perm: if is_file { 0o600 } else { 0o700 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.entry(&LONG, &attributes(FILE), Generation(0));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&LONG, &attributes(node));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = || reply.opened(FileHandle(0), FopenFlags::empty());
        if self.opened.fetch_add(1, Ordering::SeqCst) > 0 && self.hang == Calls::Opens {
            Arc::clone(&self.gate).pass(opened);
        } else {
            opened();
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        Arc::clone(&self.gate).pass(move || reply.data(&vec![7; size as usize]));
    }
}

/// One transfer of a file by this ring, from one disk to another, and how it ended at both sides.
fn transfer(
    ring: &Arc<dyn Engine>,
    pool: &Pool,
    [from, to]: [&Path; 2],
    stall_timeout: Duration,
) -> [End; 2] {
    let party = |member| {
        let mut party = Party::new(member);
        party.options.stall_timeout = stall_timeout;
        party.options.redial = false;
        party.options.data_path = DataPath::Direct;
        party
    };
    let (provider, joiner) = (party(1), party(2));
    let listener = Listener::bind("127.0.0.1:0", Arc::clone(ring)).unwrap();
    let source = Arc::new(DirectorySource::new(from, DirectoryOptions::default()).unwrap());
    let sink = Box::new(DirectorySink::new(to, DirectorySinkOptions::default()).unwrap());
    thread::scope(|scope| {
        let providing = scope.spawn(|| {
            let caller = listener.accept().unwrap().unwrap();
            caller.provide(source, &provider.options, pool, &provider.control)
        });
        let (address, Party { options, control, .. }) = (listener.local_addr(), &joiner);
        let received = longhaul_transport::join(address, sink, options, pool, control, ring);
        [providing.join().unwrap(), received]
    })
}

fn is_open(below: &Path) -> bool {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|path| path.starts_with(below))
}

// Catalogue: F29
#[test]
fn files_that_never_answer_stall_their_sessions_and_no_other_of_the_same_ring() {
    if let Err(why) = prepare() {
        println!("skipped: {why}");
        return;
    }
    let scratch = Scratch::new();
    let [opens, reads] = [Calls::Opens, Calls::Reads].map(|hang| Hanging::mount(&scratch, hang));
    let well = scratch.source().join("well");
    write(&well, &noise(1, 8 << 20));
    let pool = Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 8, 2);
    let ring: Arc<dyn Engine> = Arc::new(Ring::start(&pool).unwrap());
    let go_on = |name: &str| {
        let to = scratch.home().join(name);
        for end in transfer(&ring, &pool, [&well, &to], PATIENCE) {
            end.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    };
    thread::scope(|scope| {
        let hang = |at: &Hanging| {
            let [from, to] = [at.file(), scratch.home().join(format!("from {:?}", at.hang))];
            let (ring, pool) = (&ring, &pool);
            let hung = scope.spawn(move || transfer(ring, pool, [&from, &to], SOON));
            at.gate.wait_until_struck();
            hung
        };
        let sessions = [hang(&opens), hang(&reads)];
        go_on("while they hang");
        for ends in sessions {
            for end in ends.join().unwrap() {
                assert_eq!(end.unwrap_err().reason, Reason::Stalled);
            }
        }
        go_on("when they have failed");
    });
    for at in [&opens, &reads] {
        at.gate.open();
        eventually("nobody has the file open", || !is_open(&at.place));
    }
    eventually("all buffers are back", || pool.in_use() == 0);
}
