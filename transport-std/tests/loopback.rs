//! Two ends of a session over loopback.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::integrity::Integrity;
use longhaul_core::reason::Reason;
use longhaul_core::wire::ChunkLen;
use longhaul_state::pool::{DEFAULT_MEMORY, Pool};
use longhaul_state::sink::MemorySink;
use longhaul_state::source::MemorySource;
use longhaul_state::transfer::{Control, Options, Summary, TransferError};
use longhaul_state::{Sink, Source};
use longhaul_transport_std::join;

fn options(member: u8, integrity: Integrity) -> Options {
    Options { member: MemberId([member; 16]), transfer: TransferId([9; 16]), integrity, ..Options::default() }
}

fn pool() -> Pool {
    Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 1, 2)
}

type Ends = (Result<Summary, TransferError>, Result<Summary, TransferError>);

fn transfer(source: Arc<dyn Source>, sink: Box<dyn Sink>, integrity: Integrity) -> Ends {
    let listener = longhaul_transport_std::listen("127.0.0.1:0").unwrap();
    let address = listener.local_addr();
    let provider = thread::spawn(move || {
        let caller = listener.accept().unwrap().unwrap();
        caller.provide(source, &options(1, integrity), &pool(), &Arc::new(Control::new()))
    });
    let joined = join(address, sink, &options(2, integrity), &pool(), &Arc::new(Control::new()));
    (provider.join().unwrap(), joined)
}

fn bytes(len: usize) -> Arc<[u8]> {
    let mut x = 7_u32;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect()
}

#[test]
fn memory_arrives_as_it_is_for_every_size_and_integrity() {
    for len in [0, 1, 1024, 300 << 10, 1 << 20, (1 << 20) + 1, (512 << 10) * 5, 50_000_001] {
        for integrity in [Integrity::None, Integrity::Crc32c, Integrity::Blake3] {
            let state = bytes(len);
            let sink = MemorySink::new(1 << 30);
            let received = sink.published();
            let (provided, joined) =
                transfer(Arc::new(MemorySource::new(Arc::clone(&state))), Box::new(sink), integrity);
            let (provided, joined) = (provided.unwrap(), joined.unwrap());
            assert_eq!((provided.root, provided.bytes), (joined.root, joined.bytes));
            assert!(received.take().unwrap() == *state, "{len} bytes, {integrity}");
        }
    }
}

/// A small state travels on lane 0, whose buffers are its own: they hold the pool's chunks too.
#[test]
fn a_pool_of_long_chunks_moves_a_small_state() {
    let pool = Pool::new(64 << 20, ChunkLen::MAX, 1, 2);
    assert_eq!(pool.chunk(), ChunkLen::MAX);
    for len in [600 << 10, 1 << 20] {
        let state = bytes(len);
        let listener = longhaul_transport_std::listen("127.0.0.1:0").unwrap();
        let (address, source) = (listener.local_addr(), Arc::new(MemorySource::new(Arc::clone(&state))));
        let theirs = pool.clone();
        let provider = thread::spawn(move || {
            let caller = listener.accept().unwrap().unwrap();
            caller.provide(source, &options(1, Integrity::Crc32c), &theirs, &Arc::new(Control::new()))
        });
        let sink = MemorySink::new(1 << 30);
        let received = sink.published();
        let me = options(2, Integrity::Crc32c);
        join(address, Box::new(sink), &me, &pool, &Arc::new(Control::new())).unwrap();
        provider.join().unwrap().unwrap();
        assert!(received.take().unwrap() == *state, "{len} bytes");
    }
}

// Catalogue: F40
/// Why no further lane came, only the side that dials can say.
#[test]
fn a_session_whose_lanes_cannot_be_dialled_fails_with_the_cause() {
    let listener = longhaul_transport_std::listen("127.0.0.1:0").unwrap();
    let gate = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, behind) = (gate.local_addr().unwrap(), listener.local_addr());
    let passage = thread::spawn(move || {
        let (joiner, _) = gate.accept().unwrap();
        // Whoever comes later finds nobody.
        drop(gate);
        let provider = TcpStream::connect(behind).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| carry(&joiner, &provider));
            carry(&provider, &joiner);
        });
    });
    let source = Arc::new(MemorySource::new(bytes(8 << 20)));
    let provider = thread::spawn(move || {
        let caller = listener.accept().unwrap().unwrap();
        caller.provide(source, &options(1, Integrity::Crc32c), &pool(), &Arc::new(Control::new()))
    });
    let me = Options { redial: false, ..options(2, Integrity::Crc32c) };
    let sink = Box::new(MemorySink::new(1 << 30));
    let error = join(address, sink, &me, &pool(), &Arc::new(Control::new())).unwrap_err();
    assert_eq!(error.reason, Reason::Unreachable);
    let cause = error.cause.as_ref().and_then(|cause| cause.downcast_ref::<io::Error>()).expect("a cause");
    assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused);
    assert!(error.message.contains(&cause.to_string()), "{}", error.message);
    provider.join().unwrap().unwrap_err();
    passage.join().unwrap();
}

/// Carries what comes until one side ends.
fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    // Either end may be gone before the last bytes.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

// Catalogue: F2
#[test]
fn a_peer_that_answers_no_connection_is_given_up() {
    use socket2::{Domain, Socket, Type};
    // A full queue drops what comes: no answer, no refusal.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let timeout = std::time::Duration::from_millis(300);
    let queued: Vec<_> =
        std::iter::from_fn(|| TcpStream::connect_timeout(&address, timeout).ok()).take(16).collect();
    if queued.len() == 16 {
        println!("skipped: this system's queues never fill");
        return;
    }
    let options = Options { handshake_timeout: timeout, ..options(2, Integrity::Crc32c) };
    let sink = Box::new(MemorySink::new(1));
    let error = join(address, sink, &options, &pool(), &Arc::new(Control::new())).unwrap_err();
    assert_eq!(error.reason, Reason::Unreachable);
    assert!(error.is_retryable() && error.message.contains(&address.to_string()), "{error:?}");
}
