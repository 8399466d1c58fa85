//! Both real, the bytes between them cut or altered.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::{landing, party};
use longhaul_core::reason::Reason;
use longhaul_core::wire::{HEADER_LEN, Header, Kind};
use longhaul_state::sink::{DirectorySink, MemorySink};
use longhaul_state::source::{DirectoryOptions, DirectorySource, MemorySource};
use longhaul_state::transfer::{Summary, TransferError};
use longhaul_tests::between::Between;
use longhaul_tests::conformance::tree::{Scratch, Tree, look, noise, set, write};
use longhaul_tests::hostile::{Meddle, Meddling, Peer, Proxy, Toward};
use longhaul_transport_std::join;

fn small_state(path: &Path) {
    write(&path.join("a"), b"the first file");
    write(&path.join("d/b"), &noise(3, 200));
    write(&path.join("empty"), b"");
    set(&path.join("a"), 0o640, (1_000_000_000, 5));
}

/// One fetch of `source` through a proxy.
fn through(source: &Path, sink: Box<DirectorySink>, meddling: &[Meddling]) -> Through {
    let listener = longhaul_transport_std::listen("127.0.0.1:0").unwrap();
    let proxy = Proxy::new(listener.local_addr(), meddling);
    let (us, them) = (party(2), party(1));
    let (joiner, provider) = thread::scope(|scope| {
        let provider = scope.spawn(|| {
            let source = Arc::new(DirectorySource::new(source, DirectoryOptions::default()).unwrap());
            let caller = listener.accept().unwrap()?;
            Some(caller.provide(source, &them.options, &them.pool, &them.control))
        });
        let joiner = join(proxy.address(), sink, &us.options, &us.pool, &us.control);
        listener.stop();
        (joiner, provider.join().expect("a provider does not panic"))
    });
    Through { joiner, provider, recorded: proxy.recorded().swap_remove(0) }
}

struct Through {
    joiner: Result<Summary, TransferError>,
    provider: Option<Result<Summary, TransferError>>,
    recorded: [Vec<u8>; 2],
}

/// Runs `work` for every number below `count`, on a few threads: sessions mostly wait.
fn in_parallel(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}

/// Where the frames of a recorded stream begin.
fn frames(mut stream: &[u8]) -> Vec<(usize, Kind)> {
    let (all, mut found) = (stream.len(), Vec::new());
    while let Some(head) = stream.first_chunk::<HEADER_LEN>() {
        let header = Header::parse(head).unwrap();
        found.push((all - stream.len(), header.kind));
        stream = &stream[HEADER_LEN + header.len as usize..];
    }
    found
}

/// Says a recorded session's bytes to a fresh joiner, up to `cut`.
fn replay(golden: &[u8], complete: usize, cut: usize) -> Result<Summary, TransferError> {
    replay_in(golden, complete, cut, golden.len())
}

/// The same, no more than `piece` bytes a packet.
fn replay_in(golden: &[u8], complete: usize, cut: usize, piece: usize) -> Result<Summary, TransferError> {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut me = party(2);
    // Nobody answers a second time.
    me.options.redial = false;
    let joined = thread::scope(|scope| {
        scope.spawn(|| {
            let mut peer = Peer::new(listener.accept().unwrap().0);
            golden[..cut.min(complete)].chunks(piece).for_each(|piece| peer.bytes(piece));
            if cut > complete {
                // A provider completes when it has heard that all is verified.
                while peer.until(Kind::Grades).1[4..8] != 5_u32.to_le_bytes() {}
                golden[complete..cut].chunks(piece).for_each(|piece| peer.bytes(piece));
            }
            if cut < golden.len() {
                peer.finish();
            }
            peer.last_word();
        });
        join(address, landing(&scratch), &me.options, &me.pool, &me.control)
    });
    let expected: &[&str] = if joined.is_ok() { &["DEST"] } else { &[] };
    assert_eq!(scratch.residue(), expected, "cut at {cut}");
    joined
}

// Catalogue: B2, F4
#[test]
fn a_session_cut_at_any_byte_is_an_error_and_never_published() {
    let scratch = Scratch::new();
    small_state(&scratch.source());
    let session = through(&scratch.source(), landing(&scratch), &[]);
    assert_eq!(session.joiner.unwrap().items, 5);
    let [golden, _] = session.recorded;
    let frames = frames(&golden);
    let &(complete, Kind::Complete) = frames.last().unwrap() else { panic!("{frames:?}") };
    println!("{} bytes, {} frames", golden.len(), frames.len());
    replay(&golden, complete, golden.len()).expect("all of it is a whole session");
    in_parallel(golden.len(), |cut| {
        let error = replay(&golden, complete, cut).expect_err("cut off");
        assert_eq!(error.reason, Reason::Unreachable, "cut at {cut}: {error:?}");
    });
}

// Catalogue: F13
#[test]
fn a_session_that_comes_byte_by_byte_comes_to_the_same_end() {
    let scratch = Scratch::new();
    small_state(&scratch.source());
    let session = through(&scratch.source(), landing(&scratch), &[]);
    let whole = session.joiner.unwrap();
    let [golden, _] = session.recorded;
    let &(complete, Kind::Complete) = frames(&golden).last().unwrap() else { panic!("it completes") };
    let trickled = replay_in(&golden, complete, golden.len(), 1).expect("it is a whole session");
    assert_eq!((trickled.items, trickled.bytes, trickled.root), (whole.items, whole.bytes, whole.root));
}

// What is sent again is read anew, and the joiner holds each item until its end: with fewer buffers on
// lane 0 than items, each must end before the next one comes.
#[test]
fn a_small_state_of_long_files_goes_on_after_a_cut() {
    let scratch = Scratch::new();
    for n in 0..15 {
        write(&scratch.source().join(format!("file-{n:02}")), &noise(n, 66 << 10));
    }
    let expected = look(&scratch.source());
    in_parallel(9, |n| {
        let cut =
            Meddling { connection: 0, toward: Toward::Dialler, at: (n + 1) * 100_000, what: Meddle::Cut };
        let scratch_of_this = Scratch::new();
        let Through { joiner, provider, .. } = through(&scratch.source(), landing(&scratch_of_this), &[cut]);
        joiner.unwrap_or_else(|error| panic!("{cut:?}: {error:?}"));
        assert!(provider.expect("it was a session").is_ok(), "{cut:?}");
        assert_eq!(look(&scratch_of_this.destination()), expected, "{cut:?}");
    });
}

/// A push of 3 MB through `between`: how both ended.
fn pushed(between: impl FnOnce(SocketAddr) -> Between) -> [Result<Summary, TransferError>; 2] {
    let state = noise(4, 3_000_000);
    let listener = longhaul_transport_std::listen("127.0.0.1:0").unwrap();
    let between = between(listener.local_addr());
    let (us, them) = (party(2), party(1));
    let sink = MemorySink::new(1 << 30);
    let received = sink.published();
    let source = Arc::new(MemorySource::new(state.clone().into()));
    let ends = thread::scope(|scope| {
        let joiner = scope.spawn(|| {
            let caller = listener.accept().unwrap().expect("a provider calls");
            caller.join(Box::new(sink), &them.options, &them.pool, &them.control)
        });
        let provider =
            longhaul_transport_std::provide(between.address(), source, &us.options, &us.pool, &us.control);
        [joiner.join().expect("a joiner does not panic"), provider]
    });
    assert!(ends[0].is_err() || received.take().unwrap() == state);
    ends
}

// Catalogue: F15
#[test]
fn a_peer_that_comes_back_from_another_address_goes_on() {
    let cut = |connection| Meddling { connection, toward: Toward::Listener, at: 300_000, what: Meddle::Cut };
    // One data lane after the other is lost, and with the last one the connection.
    let cuts = [cut(1), cut(2)];
    let between = |to| Between::moving(to, &cuts, Arc::new(()), 3).unwrap();
    let [joiner, provider] = pushed(between);
    assert!(joiner.is_ok() && provider.is_ok(), "{joiner:?}, {provider:?}");
}

fn survives(source: &Path, expected: &Tree, flip: Meddling) -> bool {
    let scratch = Scratch::new();
    let Through { joiner, provider, .. } = through(source, landing(&scratch), &[flip]);
    if joiner.is_ok() {
        assert_eq!(&look(&scratch.destination()), expected, "{flip:?}: wrong bytes were published");
        assert_eq!(scratch.residue(), ["DEST"], "{flip:?}");
    } else {
        assert_eq!(scratch.residue(), Vec::<String>::new(), "{flip:?}: {joiner:?}");
        let confirmed = matches!(&provider, Some(Ok(summary)) if summary.confirmed);
        assert!(!confirmed, "{flip:?}: confirmed, and not published");
    }
    joiner.is_ok()
}

// Catalogue: B3, F10
#[test]
fn any_flipped_bit_is_mended_or_an_error_and_never_published() {
    let scratch = Scratch::new();
    small_state(&scratch.source());
    let expected = look(&scratch.source());
    let recorded = through(&scratch.source(), landing(&scratch), &[]).recorded;
    let mut flips = Vec::new();
    for (way, bytes) in [(Toward::Dialler, &recorded[0]), (Toward::Listener, &recorded[1])] {
        flips.extend((0..bytes.len() * 8).map(|bit| Meddling {
            connection: 0,
            toward: way,
            at: bit / 8,
            what: Meddle::Flip((bit % 8) as u8),
        }));
    }
    if std::env::var_os("LONGHAUL_ALL").is_none() {
        let seed = std::env::var("LONGHAUL_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        });
        println!("LONGHAUL_SEED={seed}; LONGHAUL_ALL=1 for all {} bits", flips.len());
        let numbers = noise(seed, 8 * 600);
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap()) as usize;
        flips = numbers.chunks(8).map(|bytes| flips[number(bytes) % flips.len()]).collect();
    }
    let mended = AtomicUsize::new(0);
    in_parallel(flips.len(), |number| {
        mended
            .fetch_add(usize::from(survives(&scratch.source(), &expected, flips[number])), Ordering::Relaxed);
    });
    let mended = mended.into_inner();
    println!("{mended} of {} were mended", flips.len());
    assert!(mended > 0, "a flipped bit of a payload is sent again");
}
