//! Whole sessions, and many operations, on rings that have a hard time.

mod killed;

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::integrity::Integrity;
use longhaul_core::reason::Reason;
use longhaul_core::wire::ChunkLen;
use longhaul_state::pool::{DEFAULT_MEMORY, Pool};
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions, DiscardSink};
use longhaul_state::source::{DirectoryOptions, DirectorySource, Progress, RepeatedSource};
use longhaul_state::transfer::{Control, DataPath, Options, Summary, TransferError};
use longhaul_state::{Content, Item, Piece, Sink, Source, SourceError, Survey, Walk};
use longhaul_transport::{Engine, Listener};
use nix::errno::Errno;

use crate::amiss::often::{Plan, plan};
use crate::op;
use crate::ring::{ENTRIES, Ring};

/// Sessions of one ring, and what they take buffers from.
struct Side {
    ring: Arc<Ring>,
    pool: Pool,
}

impl Side {
    fn new(sessions: usize) -> Self {
        let pool = Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, sessions, 2);
        let ring = Ring::start(&pool).unwrap();
        // Which it would do by itself when much has moved.
        println!("{} buffers are registered", ring.register());
        Self { ring: Arc::new(ring), pool }
    }

    /// How the ring's operations go from now on; what became of the last plan.
    fn plan(&self, next: Plan) -> Plan {
        let (answer, last) = mpsc::channel();
        assert!(self.ring.submit(move |_| answer.send(plan(next)).unwrap()));
        last.recv().unwrap()
    }

    fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.ring) as _
    }
}

/// What became of a transfer: at the joiner, and at the provider if it heard of it.
fn transfer(
    sides: [&Side; 2],
    source: Arc<dyn Source>,
    sink: Box<dyn Sink>,
    data_path: DataPath,
) -> Vec<Result<Summary, TransferError>> {
    let [joiner, provider] = sides;
    let options = |member| Options {
        member: MemberId([member; 16]),
        transfer: TransferId([9; 16]),
        lanes: provider.pool.lanes(),
        redial: false,
        data_path,
        integrity: if data_path.is_spliced() { Integrity::None } else { Integrity::Crc32c },
        ..Options::default()
    };
    let listener = Listener::bind("127.0.0.1:0", provider.engine()).unwrap();
    thread::scope(|scope| {
        let providing = scope.spawn(|| {
            // Nobody has called if the joiner could say nothing.
            let caller = listener.accept().unwrap()?;
            Some(caller.provide(source, &options(1), &provider.pool, &Arc::new(Control::new())))
        });
        let (control, engine) = (Arc::new(Control::new()), joiner.engine());
        let address = listener.local_addr();
        let result = longhaul_transport::join(address, sink, &options(2), &joiner.pool, &control, &engine);
        listener.stop();
        [result].into_iter().chain(providing.join().unwrap()).collect()
    })
}

/// Files of several sizes, some longer than a chunk, some that end odd.
const SIZES: [usize; 6] = [0, 100, 70_000, 300_001, 1 << 20, (3 << 20) + 123];

fn content(n: usize) -> Vec<u8> {
    (0..SIZES[n]).map(|at| ((at * 31) >> 4) as u8 ^ (at >> 12) as u8 ^ n as u8).collect()
}

fn make_state(at: &Path) -> Arc<dyn Source> {
    fs::create_dir(at).unwrap();
    for n in 0..SIZES.len() {
        fs::write(at.join(n.to_string()), content(n)).unwrap();
    }
    Arc::new(DirectorySource::new(at, DirectoryOptions::default()).unwrap())
}

fn sink(at: &Path) -> Box<dyn Sink> {
    let mut sink = DirectorySink::new(at, DirectorySinkOptions::default()).unwrap();
    sink.preflight().unwrap();
    Box::new(sink)
}

fn assert_whole(at: &Path) {
    for n in 0..SIZES.len() {
        assert!(fs::read(at.join(n.to_string())).unwrap() == content(n), "file {n}");
    }
}

fn seed() -> u64 {
    let given = std::env::var("LONGHAUL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("LONGHAUL_SEED={seed}");
    seed
}

// Catalogue: F27, F61
#[test]
fn operations_that_move_little_or_are_to_be_repeated_lose_nothing() {
    let (place, seed, sides) = (tempfile::tempdir_in(".").unwrap(), seed(), [Side::new(1), Side::new(1)]);
    let source = make_state(&place.path().join("state"));
    let data_paths = [DataPath::Auto, DataPath::Direct, DataPath::Buffered, DataPath::RingSplice];
    for (n, data_path) in data_paths.into_iter().enumerate() {
        for (side, which) in sides.iter().zip(0..) {
            let random = Some(seed.wrapping_mul(8).wrapping_add(2 * n as u64 + which));
            side.plan(Plan { random, passing: &[Errno::EINTR, Errno::EAGAIN], ..Plan::default() });
        }
        let copy = place.path().join(n.to_string());
        for ended in transfer([&sides[0], &sides[1]], Arc::clone(&source), sink(&copy), data_path) {
            ended.unwrap();
        }
        assert_whole(&copy);
        for side in &sides {
            let struck = side.plan(Plan::default()).struck;
            assert!(struck > 10, "{data_path:?}: {struck}");
        }
    }
}

// Catalogue: F61
#[test]
fn an_operation_that_is_cancelled_or_never_waited_for_fails_its_session_and_no_other() {
    let place = tempfile::tempdir_in(".").unwrap();
    let sides = [Side::new(1), Side::new(1)];
    let source = make_state(&place.path().join("state"));
    for (n, errno) in [Errno::ECANCELED, Errno::EAGAIN].into_iter().enumerate() {
        let copy = place.path().join(n.to_string());
        for side in &sides {
            side.plan(Plan { next: vec![errno; 1000], ..Plan::default() });
            let ended = transfer([&sides[0], &sides[1]], Arc::clone(&source), sink(&copy), DataPath::Auto);
            assert!(ended.iter().all(Result::is_err), "{ended:?}");
            assert!(!copy.exists());
            side.plan(Plan::default());
            assert_eq!([sides[0].pool.in_use(), sides[1].pool.in_use()], [0, 0], "every buffer is back");
        }
        for ended in transfer([&sides[0], &sides[1]], Arc::clone(&source), sink(&copy), DataPath::Auto) {
            ended.unwrap();
        }
        assert_whole(&copy);
    }
}

/// A source whose files change when the ring has each of them, and has read nothing of it.
struct Changing {
    source: Arc<dyn Source>,
    change: fn(&File),
}

struct ChangingContent {
    content: Box<dyn Content>,
    change: fn(&File),
}

impl Source for Changing {
    fn survey(&self, progress: &dyn Progress) -> Result<Survey, SourceError> {
        self.source.survey(progress)
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        self.source.walk()
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        let content = self.source.open(item)?;
        Ok(Box::new(ChangingContent { content, change: self.change }))
    }
}

impl Content for ChangingContent {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        self.content.read_at(offset, buffer)
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        self.content.close()
    }

    fn file(&self) -> Option<Arc<File>> {
        let file = self.content.file()?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        (self.change)(&File::options().write(true).open(path).unwrap());
        Some(file)
    }
}

// Catalogue: B59, B60
#[test]
fn a_file_that_changes_under_the_rings_reads_fails_as_changed() {
    const CHANGES: [fn(&File); 4] = [
        |file| file.set_len(2 << 20).unwrap(),
        |file| file.set_len((2 << 20) + 777).unwrap(),
        |file| file.set_len(0).unwrap(),
        |file| file.write_all_at(b"other", 1 << 20).unwrap(),
    ];
    let (place, sides) = (tempfile::tempdir_in(".").unwrap(), [Side::new(1), Side::new(1)]);
    let (state, copy) = (place.path().join("state"), place.path().join("copy"));
    for data_path in [DataPath::Direct, DataPath::Buffered, DataPath::RingSplice] {
        for change in CHANGES {
            fs::write(&state, content(5)).unwrap();
            let file = File::options().write(true).open(&state).unwrap();
            file.set_modified(file.metadata().unwrap().modified().unwrap() - Duration::from_hours(24))
                .unwrap();
            let source = Arc::new(DirectorySource::new(&state, DirectoryOptions::default()).unwrap());
            let source = Arc::new(Changing { source, change });
            let ended = transfer([&sides[0], &sides[1]], source, sink(&copy), data_path);
            for ended in ended {
                assert_eq!(ended.unwrap_err().reason, Reason::SourceChanged);
            }
            assert!(!copy.exists());
        }
    }
}

// Catalogue: F61
#[test]
fn more_operations_than_a_ring_has_entries_complete_each_once() {
    /// So many more than may be submitted, or told of, at once.
    const OPERATIONS: usize = 8 * ENTRIES as usize;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let socket = Arc::new(listener.accept().unwrap().0);
    let side = Side::new(1);
    let share = Pool::reserved(ChunkLen::MIN, OPERATIONS).share();
    let (answer, received) = mpsc::channel();
    side.ring.submit(move |_| {
        for _ in 0..OPERATIONS {
            let (socket, share, answer) = (Arc::clone(&socket), share.clone(), answer.clone());
            tokio_uring::spawn(async move {
                let buffer = share.take(&|| false).unwrap();
                let (result, buffer) = op::receive(&socket, buffer, 0..1, None).await;
                answer.send((result.unwrap(), buffer[0])).unwrap();
            });
        }
    });
    // While the ring's thread does nothing else, all of them complete.
    let (held, let_go) = mpsc::channel::<()>();
    let (holds, is_held) = mpsc::channel();
    side.ring.submit(move |_| {
        holds.send(()).unwrap();
        let _ = let_go.recv();
    });
    is_held.recv().unwrap();
    let sent: Vec<u8> = (0..OPERATIONS).map(|n| n as u8).collect();
    peer.write_all(&sent).unwrap();
    drop(held);
    let mut bytes: Vec<u8> = received
        .iter()
        .map(|(len, byte)| {
            assert_eq!(len, 1);
            byte
        })
        .collect();
    bytes.sort_unstable();
    let mut expected = sent;
    expected.sort_unstable();
    assert!(bytes == expected);
}

// Catalogue: F61
#[test]
fn sixty_four_sessions_share_a_ring_of_fewer_entries_than_they_have_operations() {
    const SESSIONS: usize = 64;
    let (provider, joiner) = (Side::new(SESSIONS), Side::new(SESSIONS));
    let bytes = 1 << 20;
    thread::scope(|scope| {
        for _ in 0..SESSIONS {
            scope.spawn(|| {
                let source = Arc::new(RepeatedSource::new(vec![7; 128 << 10].into(), bytes));
                let sink = Box::new(DiscardSink::new());
                for ended in transfer([&joiner, &provider], source, sink, DataPath::Auto) {
                    assert_eq!(ended.unwrap().bytes, bytes);
                }
            });
        }
    });
    assert_eq!([provider.pool.in_use(), joiner.pool.in_use()], [0, 0]);
}
