//! Peers that lie, cut off, and speak something else: a typed error, nothing published, nothing lost.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use longhaul_core::id::{ItemId, Lane, TaskId, Token};
use longhaul_core::integrity::{Checksum, Integrity, Root, crc32c};
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::wire::{
    Alive, Attach, Complete, End, Failed, Flags, Frame, Grades, HEADER_LEN, Header, Init, Kind, Task, Welcome,
};
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions, MemorySink};
use longhaul_state::source::{DirectoryOptions, DirectorySource, MemorySource};
use longhaul_state::transfer::{Summary, TransferError};
use longhaul_tests::between::Between;
use longhaul_tests::conformance::Party;
use longhaul_tests::conformance::tree::{Scratch, Tree, look, noise, set, write};
use longhaul_tests::hostile::{Meddle, Meddling, Peer, Proxy, Toward, init, small, welcome};
use longhaul_transport::Listener;
use longhaul_transport_std::join;

fn party(member: u8) -> Party {
    let mut party = Party::new(member);
    party.options.stall_timeout = Duration::from_secs(2);
    party.options.handshake_timeout = Duration::from_secs(2);
    party
}

fn landing(scratch: &Scratch) -> Box<DirectorySink> {
    Box::new(DirectorySink::new(scratch.destination(), DirectorySinkOptions::default()).unwrap())
}

// ---- a joiner under test, a provider by hand -------------------------------------------------

type Script = fn(&mut Peer);

/// What became of a joiner whose provider followed a script, and what it told that provider.
fn joiner_meets(script: impl FnOnce(&mut Peer) + Send) -> (TransferError, Option<(Reason, Side)>) {
    joiner_demanding(Integrity::Crc32c, script)
}

/// The same of a joiner that demands this integrity.
fn joiner_demanding(
    integrity: Integrity,
    script: impl FnOnce(&mut Peer) + Send,
) -> (TransferError, Option<(Reason, Side)>) {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut me = party(2);
    me.options.integrity = integrity;
    let (error, told) = thread::scope(|scope| {
        let told = scope.spawn(|| {
            let mut peer = Peer::new(listener.accept().unwrap().0);
            script(&mut peer);
            peer.last_word()
        });
        let joined = join(address, landing(&scratch), &me.options, &me.pool, &me.control);
        (joined.expect_err("a liar is not believed"), told.join().unwrap())
    });
    assert_eq!(scratch.residue(), Vec::<String>::new(), "nothing is published, no staging is left");
    (error, told)
}

fn joiner_refuses(cases: &[(&str, Reason, Script)]) {
    for &(what, reason, script) in cases {
        let (error, told) = joiner_meets(script);
        assert_eq!(error.reason, reason, "{what}: {error:?}");
        assert_eq!(told.map(|told| told.0), Some(reason), "{what}: the provider is told");
        if reason == Reason::Protocol {
            assert_eq!(error.side, Side::Provider, "{what}: {error:?}");
        }
    }
}

fn named(name: &[u8], what: What<'static>) -> Vec<u8> {
    // A body by hand: the encoder's own names can't be wrong.
    let (kind, size, target): (u8, u64, &[u8]) = match what {
        What::File { size, .. } => (1, size, b""),
        What::SymbolicLink { target } => (3, 0, target),
        _ => (2, 0, b""),
    };
    let mut body = vec![0; 40];
    body[..8].copy_from_slice(&size.to_le_bytes());
    body[24..26].copy_from_slice(&(name.len() as u16).to_le_bytes());
    body[26..28].copy_from_slice(&(target.len() as u16).to_le_bytes());
    body[28..30].copy_from_slice(&0o755_u16.to_le_bytes());
    body[30] = kind;
    [&body, name, target].concat()
}

const fn file(size: u64) -> What<'static> {
    What::File { size, linked: false, sparse: false }
}

/// Offers a file by hand, eagerly, and sends its content.
fn gives(peer: &mut Peer, id: u32, name: &[u8], content: &[u8]) {
    peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), id, &named(name, file(content.len() as u64)));
    if !content.is_empty() {
        peer.data(id, 0, content);
    }
    ends(peer, id, content.len() as u64, crc32c(content));
}

fn ends(peer: &mut Peer, id: u32, size: u64, crc: u32) {
    let end = End { size, checksum: Checksum::Crc32c(crc) };
    peer.send(&Frame::End { id: ItemId(id), attempt: 0, end });
}

fn completes(peer: &mut Peer, items: u64, bytes: u64) {
    let root = Root { integrity: Integrity::Crc32c, hash: [3; 32] };
    peer.send(&Frame::Complete(Complete { items, bytes, root }));
}

// Catalogue: B11, B23, B24, B25, B26, B27
#[test]
fn names_that_are_no_names_are_refused() {
    for name in [
        &b"../x"[..],
        b"/x",
        b"a/../x",
        b"a\0b",
        b"a//b",
        b"a/",
        b".",
        b"..",
        &[b'n'; 256],
        &b"d/".repeat(2047),
        &b"d/d".repeat(1366),
        &b"d/".repeat(10_000),
    ] {
        let (error, told) = joiner_meets(|peer| {
            peer.provide(&small(2, 1));
            gives(peer, 0, name, b"x");
        });
        assert_eq!((error.reason, error.side), (Reason::Protocol, Side::Provider), "{name:?}: {error:?}");
        assert_eq!(told.map(|told| told.0), Some(Reason::Protocol), "{name:?}");
    }
}

// Catalogue: B33, B34
#[test]
fn names_that_collide_are_refused() {
    joiner_refuses(&[
        ("the same name twice", Reason::Protocol, |peer| {
            peer.provide(&small(3, 2));
            gives(peer, 0, b"x", b"1");
            gives(peer, 1, b"x", b"2");
        }),
        ("a file below a file", Reason::Protocol, |peer| {
            peer.provide(&small(3, 2));
            gives(peer, 0, b"x", b"1");
            gives(peer, 1, b"x/y", b"2");
        }),
        ("a file where a directory is", Reason::Protocol, |peer| {
            peer.provide(&small(3, 2));
            gives(peer, 0, b"x/y", b"1");
            gives(peer, 1, b"x", b"2");
        }),
        ("a file through a link", Reason::Protocol, |peer| {
            peer.provide(&small(3, 2));
            let link = named(b"l", What::SymbolicLink { target: b"d" });
            peer.raw(Kind::Offer, Flags::NONE, 0, &link);
            gives(peer, 1, b"l/y", b"2");
        }),
        ("a file named as the root of a directory", Reason::Protocol, |peer| {
            peer.provide(&small(2, 1));
            gives(peer, 0, b"", b"1");
        }),
        ("a hard link to nothing", Reason::Protocol, |peer| {
            peer.provide(&small(2, 0));
            let item = Item {
                name: ItemName::parse(b"x").unwrap(),
                mode: 0o600,
                mtime: Timestamp::default(),
                version: Version::default(),
                what: What::HardLink { to: ItemId(7) },
            };
            peer.send(&Frame::Offer { id: ItemId(0), eager: false, attempt: 0, item });
        }),
    ]);
}

// Catalogue: B46
#[test]
fn a_link_that_leads_out_is_refused_by_the_joiner_too() {
    let (error, told) = joiner_meets(|peer| {
        peer.provide(&small(2, 0));
        let link = named(b"l", What::SymbolicLink { target: b"/etc/passwd" });
        peer.raw(Kind::Offer, Flags::NONE, 0, &link);
    });
    assert_eq!(error.reason, Reason::Destination, "{error:?}");
    assert_eq!(told.map(|told| told.0), Some(Reason::Destination));
}

// Catalogue: B5, B13, B14, B19, B42, F11, F84
#[test]
fn content_that_is_not_what_was_said_is_refused() {
    joiner_refuses(&[
        ("more bytes than said", Reason::Protocol, |peer| {
            peer.provide(&small(2, 4));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), 0, &named(b"x", file(4)));
            peer.data(0, 0, b"12345");
        }),
        ("fewer bytes than said", Reason::Protocol, |peer| {
            peer.provide(&small(2, 4));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), 0, &named(b"x", file(4)));
            peer.data(0, 0, b"123");
            ends(peer, 0, 4, crc32c(b"123"));
        }),
        ("another end than said", Reason::Protocol, |peer| {
            peer.provide(&small(2, 4));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), 0, &named(b"x", file(4)));
            peer.data(0, 0, b"123");
            ends(peer, 0, 3, crc32c(b"123"));
        }),
        ("bytes that do not begin the item", Reason::Protocol, |peer| {
            peer.provide(&small(2, 4));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), 0, &named(b"x", file(4)));
            peer.data(0, 1, b"123");
        }),
        ("the same bytes twice", Reason::Protocol, |peer| {
            peer.provide(&small(2, 4));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), 0, &named(b"x", file(4)));
            peer.data(0, 0, b"12");
            peer.data(0, 0, b"12");
        }),
        ("bytes across the grid", Reason::Protocol, |peer| {
            peer.provide(&small(2, 600_000));
            peer.raw(Kind::Offer, Flags::NONE, 0, &named(b"x", file(600_000)));
            peer.until(Kind::Accept);
            peer.data(0, 0, &[1; 500_000]);
            peer.data(0, 500_000, &[1; 100_000]);
        }),
        ("bytes at the end of all offsets", Reason::Protocol, |peer| {
            peer.provide(&small(2, 4));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), 0, &named(b"x", file(4)));
            peer.data(0, u64::MAX, b"12");
        }),
        ("a hole longer than the item", Reason::Protocol, |peer| {
            peer.provide(&small(2, 4));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), 0, &named(b"x", file(4)));
            peer.send(&Frame::Hole { id: ItemId(0), attempt: 0, offset: 0, len: 1 << 60, run_end: true });
        }),
        ("content without a checksum", Reason::Protocol, |peer| {
            peer.provide(&small(2, 4));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), 0, &named(b"x", file(4)));
            peer.send(&Frame::Data {
                id: ItemId(0),
                attempt: 0,
                offset: 0,
                len: 4,
                run_end: true,
                crc: None,
            });
            peer.bytes(b"1234");
        }),
        ("content after its end", Reason::Protocol, |peer| {
            peer.provide(&small(3, 4));
            gives(peer, 0, b"x", b"1234");
            peer.data(0, 4, b"5");
        }),
        ("content of an item that was not offered", Reason::Protocol, |peer| {
            peer.provide(&small(2, 4));
            peer.data(0, 0, b"1234");
        }),
        ("an item out of the window", Reason::Protocol, |peer| {
            peer.provide(&small(2, 4));
            gives(peer, 4_000_000_000, b"x", b"1234");
        }),
        ("an item more than announced", Reason::Protocol, |peer| {
            peer.provide(&small(1, 4));
            gives(peer, 0, b"x", b"1234");
            gives(peer, 1, b"y", b"1234");
        }),
        ("an eager item that is too large", Reason::Protocol, |peer| {
            peer.provide(&small(2, 300_000));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), 0, &named(b"x", file(300_000)));
        }),
    ]);
}

// Catalogue: F10
#[test]
fn an_item_that_never_matches_its_checksum_is_given_up_after_its_retries() {
    let (error, told) = joiner_meets(|peer| {
        peer.provide(&small(2, 4));
        for attempt in 0..4 {
            let body = named(b"x", file(4));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, attempt), 0, &body);
            let crc = Some(if attempt % 2 == 0 { 0 } else { crc32c(b"1234") });
            peer.send(&Frame::Data { id: ItemId(0), attempt, offset: 0, len: 4, run_end: true, crc });
            peer.bytes(b"1234");
            if attempt % 2 == 1 {
                let end = End { size: 4, checksum: Checksum::Crc32c(1) };
                peer.send(&Frame::End { id: ItemId(0), attempt, end });
            }
            if attempt < 3 {
                peer.until(Kind::Again);
            }
        }
    });
    assert_eq!(error.reason, Reason::Integrity, "{error:?}");
    assert_eq!(told.map(|told| told.0), Some(Reason::Integrity));
}

// Catalogue: B15
#[test]
fn either_checksum_that_does_not_hold_is_asked_for_again_and_given_up() {
    let right = *blake3::hash(b"1234").as_bytes();
    for (crc, hash) in [(crc32c(b"1234"), [7; 32]), (!crc32c(b"1234"), right)] {
        let (error, told) = joiner_demanding(Integrity::Blake3, move |peer| {
            peer.provide(&Task { integrity: Integrity::Blake3, ..small(2, 4) });
            for attempt in 0..4 {
                peer.raw(Kind::Offer, Flags::new(Flags::EAGER, attempt), 0, &named(b"x", file(4)));
                let id = ItemId(0);
                peer.send(&Frame::Data { id, attempt, offset: 0, len: 4, run_end: true, crc: Some(crc) });
                peer.bytes(b"1234");
                let end = End { size: 4, checksum: Checksum::Blake3(hash) };
                peer.send(&Frame::End { id, attempt, end });
                if attempt < 3 {
                    peer.until(Kind::Again);
                }
            }
        });
        assert_eq!(error.reason, Reason::Integrity, "{error:?}");
        assert_eq!(told.map(|told| told.0), Some(Reason::Integrity));
    }
}

// Catalogue: B16, B17
#[test]
fn signs_of_life_without_end_are_no_progress_and_the_first_failure_counts() {
    let (error, _) = joiner_meets(|peer| {
        peer.provide(&small(1, 0));
        // Until the joiner hangs up.
        while peer.try_send(&Frame::Alive(Alive { done: 0 })) {
            thread::yield_now();
        }
    });
    assert_eq!(error.reason, Reason::Stalled, "{error:?}");
    let (error, told) = joiner_meets(|peer| {
        peer.provide(&small(1, 0));
        for reason in std::iter::once(Reason::SourceChanged).chain([Reason::Internal; 10_000]) {
            peer.send(&Frame::Failed(Failed {
                reason,
                phase: Phase::Stream,
                side: Side::Provider,
                offset: None,
                name: ItemName::ROOT,
                message: "again",
                app_reply: b"",
            }));
        }
    });
    assert_eq!((error.reason, told), (Reason::SourceChanged, None), "{error:?}");
}

// Catalogue: B40
#[test]
fn a_state_beyond_all_bounds_is_refused_before_its_bytes_move() {
    let endless = Task { small: false, lanes: 1, bytes: Some(u64::MAX), allocated: u64::MAX, ..small(3, 0) };
    let (error, told) = joiner_meets(|peer| peer.provide(&endless));
    assert_eq!((error.reason, error.side), (Reason::NoSpace, Side::Joiner), "{error:?}");
    assert_eq!(told.map(|told| told.0), Some(Reason::NoSpace));
}

// Catalogue: B13, B38, B43
#[test]
fn an_end_that_is_not_the_end_is_refused() {
    joiner_refuses(&[
        ("complete before all items", Reason::Protocol, |peer| {
            peer.provide(&small(2, 1));
            gives(peer, 0, b"x", b"1");
            peer.until(Kind::Grades);
            completes(peer, 2, 1);
        }),
        ("a wrong count", Reason::Protocol, |peer| {
            peer.provide(&small(1, 1));
            gives(peer, 0, b"x", b"1");
            peer.until(Kind::Grades);
            completes(peer, 2, 1);
        }),
    ]);
    // A root of zeros is as wrong as any.
    let (error, _) = joiner_meets(|peer| {
        peer.provide(&small(1, 1));
        gives(peer, 0, b"x", b"1");
        peer.until(Kind::Grades);
        let root = Root { integrity: Integrity::Crc32c, hash: [0; 32] };
        peer.send(&Frame::Complete(Complete { items: 1, bytes: 1, root }));
    });
    assert_eq!(error.reason, Reason::Integrity, "{error:?}");
    // Other bytes than the task said are the provider's fault; for a wrong root nobody can be blamed.
    for (bytes, reason) in [(0, Reason::Protocol), (1, Reason::Integrity)] {
        let (error, told) = joiner_meets(|peer| {
            peer.provide(&small(1, 1));
            gives(peer, 0, b"x", b"1");
            peer.until(Kind::Grades);
            completes(peer, 1, bytes);
        });
        assert_eq!(error.reason, reason, "{error:?}");
        assert_eq!(told.map(|told| told.0), Some(reason));
    }
}

// Catalogue: B8, B9, F11
#[test]
fn frames_out_of_turn_are_refused_in_every_phase() {
    fn grades() -> Frame<'static> {
        Frame::Grades(Grades::default())
    }
    joiner_refuses(&[
        ("a task for a greeting", Reason::Protocol, |peer| {
            peer.until(Kind::Init);
            peer.send(&Frame::Task(small(1, 0)));
        }),
        ("an Init for an answer", Reason::Protocol, |peer| {
            peer.until(Kind::Init);
            peer.send(&Frame::Init(init()));
        }),
        ("two welcomes", Reason::Protocol, |peer| {
            peer.until(Kind::Init);
            peer.send(&Frame::Welcome(welcome()));
            peer.send(&Frame::Welcome(welcome()));
        }),
        ("an offer before the task", Reason::Protocol, |peer| {
            peer.until(Kind::Init);
            peer.send(&Frame::Welcome(welcome()));
            gives(peer, 0, b"x", b"1");
        }),
        ("Complete before the task", Reason::Protocol, |peer| {
            peer.until(Kind::Init);
            peer.send(&Frame::Welcome(welcome()));
            completes(peer, 0, 0);
        }),
        ("two tasks", Reason::Protocol, |peer| {
            peer.provide(&small(1, 0));
            peer.send(&Frame::Task(small(1, 0)));
        }),
        ("a request from a provider", Reason::Protocol, |peer| {
            peer.provide(&small(1, 0));
            peer.send(&Frame::Begin);
        }),
        ("a joiner's grades", Reason::Protocol, |peer| {
            peer.provide(&small(1, 0));
            peer.send(&grades());
        }),
        ("a joiner's word of publishing", Reason::Protocol, |peer| {
            peer.provide(&small(1, 0));
            peer.send(&Frame::Installed { app_reply: b"" });
        }),
        ("an attach on lane 0", Reason::Protocol, |peer| {
            peer.provide(&small(1, 0));
            peer.send(&Frame::Attach(Attach { token: Token([5; 16]), lane: Lane(1) }));
        }),
        ("an item offered twice", Reason::Protocol, |peer| {
            peer.provide(&small(2, 1));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), 0, &named(b"x", file(1)));
            peer.raw(Kind::Offer, Flags::new(Flags::EAGER, 0), 0, &named(b"x", file(1)));
        }),
    ]);
}

// Catalogue: F67, F68
#[test]
fn another_version_cluster_or_integrity_is_refused() {
    joiner_refuses(&[
        ("a later version", Reason::Incompatible, |peer| {
            peer.until(Kind::Init);
            peer.send(&Frame::Welcome(Welcome { version: 2, ..welcome() }));
        }),
        ("another cluster", Reason::Incompatible, |peer| {
            peer.until(Kind::Init);
            let cluster = longhaul_core::id::ClusterId([8; 16]);
            peer.send(&Frame::Welcome(Welcome { cluster, ..welcome() }));
        }),
        ("no checksums at all", Reason::Incompatible, |peer| {
            peer.until(Kind::Init);
            peer.send(&Frame::Welcome(Welcome { capabilities: 0, ..welcome() }));
        }),
        ("less integrity than demanded", Reason::Protocol, |peer| {
            peer.provide(&Task { integrity: Integrity::None, ..small(1, 0) });
        }),
        ("more lanes than asked for", Reason::Protocol, |peer| {
            peer.provide(&Task { small: false, lanes: 8, ..small(1, 0) });
        }),
        ("a small state that is not small", Reason::Protocol, |peer| {
            peer.provide(&small(1, 1 << 40));
        }),
        ("a later version in a header", Reason::Incompatible, |peer| {
            peer.until(Kind::Init);
            let mut header = Header {
                task: TaskId(0),
                kind: Kind::Begin,
                flags: Flags::NONE,
                len: 0,
                item: ItemId(0),
                offset: 0,
                body_crc: 0,
            }
            .to_bytes();
            header[2] = 9;
            let crc = crc32c(&header[..HEADER_LEN - 4]);
            header[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
            peer.bytes(&header);
        }),
    ]);
}

// Catalogue: B1, B4
#[test]
fn bytes_that_are_no_frames_are_refused() {
    joiner_refuses(&[
        ("HTTP", Reason::Protocol, |peer| {
            peer.bytes(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }),
        ("SSH", Reason::Protocol, |peer| peer.bytes(b"SSH-2.0-OpenSSH_9.9 and a little more of it\r\n")),
        ("a TLS alert", Reason::Protocol, |peer| peer.bytes(&[0x15, 3, 3, 0, 2, 2, 70].repeat(6))),
        ("zeros", Reason::Protocol, |peer| peer.bytes(&[0; 100])),
        ("a length beyond all bounds", Reason::Protocol, |peer| {
            peer.provide(&small(1, 0));
            let header = Header {
                task: TaskId(0),
                kind: Kind::Offer,
                flags: Flags::NONE,
                len: u32::MAX,
                item: ItemId(0),
                offset: 0,
                body_crc: 0,
            };
            peer.bytes(&header.to_bytes());
        }),
        ("a body that breaks its checksum", Reason::Protocol, |peer| {
            peer.until(Kind::Init);
            let mut out = [0; 256];
            let len = Frame::Welcome(welcome()).emit(&mut out).unwrap();
            out[len - 1] ^= 1;
            peer.bytes(&out[..len]);
        }),
    ]);
}

// Catalogue: F5
#[test]
fn a_silent_provider_is_given_up_in_the_phase_where_it_fell_silent() {
    let silences: [(Script, Reason, Phase); 4] = [
        (|_| {}, Reason::Unreachable, Phase::Init),
        (
            |peer| {
                peer.until(Kind::Init);
                peer.send(&Frame::Welcome(welcome()));
            },
            Reason::Stalled,
            Phase::Prepare,
        ),
        (|peer| peer.provide(&small(1, 0)), Reason::Stalled, Phase::Stream),
        (
            // Being alive is no progress.
            |peer| {
                peer.provide(&small(1, 0));
                for _ in 0..100 {
                    peer.send(&Frame::Alive(Alive { done: 0 }));
                }
            },
            Reason::Stalled,
            Phase::Stream,
        ),
    ];
    thread::scope(|scope| {
        for (number, (script, reason, phase)) in silences.into_iter().enumerate() {
            scope.spawn(move || {
                let (error, told) = joiner_meets(script);
                assert_eq!((error.reason, error.phase), (reason, phase), "{number}: {error:?}");
                assert_eq!(told.map(|told| told.0), Some(reason), "{number}");
            });
        }
    });
}

#[test]
fn a_small_item_between_two_chunks_of_a_large_one_harms_neither() {
    const CHUNK: usize = 512 << 10;
    let large = noise(4, 2 * CHUNK);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (scratch, me) = (Scratch::new(), party(2));
    let answer = thread::scope(|scope| {
        let answer = scope.spawn(|| {
            let mut peer = Peer::new(listener.accept().unwrap().0);
            peer.provide(&Task { small: false, lanes: 1, ..small(3, 2 * CHUNK as u64 + 1) });
            let mut lane = Peer::new(listener.accept().unwrap().0);
            lane.until(Kind::Attach);
            peer.raw(Kind::Offer, Flags::NONE, 0, &named(b"large", file(large.len() as u64)));
            peer.until(Kind::Accept);
            let data = |lane: &mut Peer, offset: usize, run_end| {
                let bytes = &large[offset..offset + CHUNK];
                let (offset, len, crc) = (offset as u64, CHUNK as u32, Some(crc32c(bytes)));
                lane.send(&Frame::Data { id: ItemId(0), attempt: 0, offset, len, run_end, crc });
                lane.bytes(bytes);
            };
            data(&mut lane, 0, false);
            gives(&mut lane, 1, b"small", b"x");
            data(&mut lane, CHUNK, true);
            ends(&mut lane, 0, large.len() as u64, crc32c(&large));
            let answer = peer.read().expect("a word about the items").0.kind;
            peer.finish();
            answer
        });
        // It is never completed: what counts is the joiner's answer to the items.
        let joined = join(address, landing(&scratch), &me.options, &me.pool, &me.control);
        assert!(joined.is_err());
        answer.join().unwrap()
    });
    assert_eq!(answer, Kind::Grades, "what arrived as it was sent is not asked for again");
}

// ---- a provider under test, a joiner by hand -------------------------------------------------

struct Stopping<'a>(&'a Listener);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What a provider makes of a joiner that follows a script; the next good joiner must be served.
fn provider_meets(len: usize, script: impl FnOnce(&mut Peer)) -> Option<Result<Summary, TransferError>> {
    let state = noise(1, len);
    let listener = longhaul_transport_std::listen("127.0.0.1:0").unwrap();
    let address = listener.local_addr();
    thread::scope(|scope| {
        // A script that fails must not leave the provider waiting.
        let _stopping = Stopping(&listener);
        let provider = scope.spawn(|| {
            let mut ends = Vec::new();
            while let Some(caller) = listener.accept().unwrap() {
                let me = party(1);
                let source = Arc::new(MemorySource::new(state.clone().into()));
                ends.push(caller.provide(source, &me.options, &me.pool, &me.control));
            }
            ends
        });
        let mut peer = Peer::dial(address);
        script(&mut peer);
        drop(peer);
        let me = party(2);
        let sink = MemorySink::new(1 << 30);
        let received = sink.published();
        let good = join(address, Box::new(sink), &me.options, &me.pool, &me.control);
        assert!(good.is_ok() && received.take().unwrap() == state, "the next is served: {good:?}");
        listener.stop();
        let mut ends = provider.join().expect("a provider does not panic");
        assert!(ends.pop().expect("the good joiner").is_ok());
        ends.pop()
    })
}

/// A joiner by hand, and what the provider told it at the end.
type Liar = fn(&mut Peer) -> Option<Reason>;

fn told(peer: &mut Peer) -> Option<Reason> {
    peer.last_word().map(|word| word.0)
}

fn provider_refuses(what: &str, len: usize, reason: Reason, liar: Liar) {
    let mut told = None;
    let end = provider_meets(len, |peer| told = liar(peer));
    let error = end.expect("it was a session").expect_err(what);
    assert_eq!(error.reason, reason, "{what}: {error:?}");
    assert_eq!(told, Some(reason), "{what}: the joiner is told");
}

/// Takes frames until the item's end.
fn receives(peer: &mut Peer) {
    peer.join();
    peer.until(Kind::Task);
    peer.send(&Frame::Begin);
    peer.until(Kind::End);
}

// Catalogue: B8, B9, F85
#[test]
fn a_joiner_that_breaks_the_rules_is_refused_and_the_next_is_served() {
    let cases: [(&str, usize, Reason, Liar); 14] = [
        ("an Accept of nothing", 100, Reason::Protocol, |peer| {
            receives(peer);
            peer.send(&Frame::Accept { id: ItemId(7), offset: 0 });
            told(peer)
        }),
        ("an Accept of an eager item", 100, Reason::Protocol, |peer| {
            receives(peer);
            peer.send(&Frame::Accept { id: ItemId(0), offset: 1 << 40 });
            told(peer)
        }),
        ("an Again of nothing", 100, Reason::Protocol, |peer| {
            receives(peer);
            peer.send(&Frame::Again { id: ItemId(7) });
            told(peer)
        }),
        ("grades beyond what was offered", 100, Reason::Protocol, |peer| {
            receives(peer);
            peer.send(&Frame::Grades(Grades { received: 9, verified: 9, durable: 0 }));
            told(peer)
        }),
        ("durable beyond verified", 100, Reason::Protocol, |peer| {
            receives(peer);
            let body = [0_u32, 0, 1].map(u32::to_le_bytes).concat();
            peer.raw(Kind::Grades, Flags::NONE, 0, &body);
            told(peer)
        }),
        ("Installed before Complete", 100, Reason::Protocol, |peer| {
            receives(peer);
            peer.send(&Frame::Installed { app_reply: b"" });
            told(peer)
        }),
        ("two requests", 100, Reason::Protocol, |peer| {
            peer.join();
            peer.send(&Frame::Request(longhaul_tests::hostile::request()));
            told(peer)
        }),
        ("a task from a joiner", 100, Reason::Protocol, |peer| {
            peer.join();
            peer.send(&Frame::Task(small(1, 0)));
            told(peer)
        }),
        ("content from a joiner", 100, Reason::Protocol, |peer| {
            receives(peer);
            peer.data(0, 0, b"1234");
            told(peer)
        }),
        ("Again without end", 100, Reason::Integrity, |peer| {
            receives(peer);
            for _ in 0..3 {
                peer.send(&Frame::Again { id: ItemId(0) });
                peer.until(Kind::End);
            }
            peer.send(&Frame::Again { id: ItemId(0) });
            told(peer)
        }),
        ("Again twice at once", 100, Reason::Protocol, |peer| {
            receives(peer);
            peer.send(&Frame::Again { id: ItemId(0) });
            peer.send(&Frame::Again { id: ItemId(0) });
            peer.send(&Frame::Again { id: ItemId(9) });
            told(peer)
        }),
        ("grades of what was not sent", 5_000_000, Reason::Protocol, |peer| {
            let token = peer.join();
            peer.until(Kind::Task);
            peer.send(&Frame::Begin);
            let _lane = peer.lane(token, 1);
            peer.until(Kind::Offer);
            peer.send(&Frame::Grades(Grades { received: 1, verified: 1, durable: 0 }));
            // Its lane stays until the provider has said why it ends.
            told(peer)
        }),
        ("a lane that was not granted", 5_000_000, Reason::Protocol, |peer| {
            let token = peer.join();
            peer.until(Kind::Task);
            peer.send(&Frame::Begin);
            let _lane = peer.lane(token, 9);
            told(peer)
        }),
        ("a lane that is there already", 5_000_000, Reason::Protocol, |peer| {
            let token = peer.join();
            peer.until(Kind::Task);
            peer.send(&Frame::Begin);
            let _lanes = [peer.lane(token, 1), peer.lane(token, 1)];
            told(peer)
        }),
    ];
    for (what, len, reason, script) in cases {
        println!("{what}");
        provider_refuses(what, len, reason, script);
    }
}

// Catalogue: F67, F68
#[test]
fn another_version_or_cluster_of_a_joiner_is_refused() {
    let strangers = [
        Init { versions: (2, 9), ..init() },
        Init { cluster: longhaul_core::id::ClusterId([8; 16]), ..init() },
        Init { roles: longhaul_core::wire::Roles { provides: true, joins: false }, ..init() },
    ];
    for stranger in strangers {
        let mut told = None;
        let end = provider_meets(100, |peer| {
            peer.send(&Frame::Init(stranger));
            told = peer.last_word();
        });
        assert_eq!(end.expect("it was a caller").unwrap_err().reason, Reason::Incompatible);
        assert_eq!(told.map(|told| told.0), Some(Reason::Incompatible));
    }
}

// Catalogue: B1
#[test]
fn connections_that_are_no_sessions_are_ignored() {
    let mut half = [0; 256];
    let len = Frame::Init(init()).emit(&mut half).unwrap();
    let attach = Frame::Attach(Attach { token: Token([77; 16]), lane: Lane(1) });
    let mut stranger = [0; 256];
    let attach_len = attach.emit(&mut stranger).unwrap();
    let openings: [&[u8]; 8] = [
        // A TLS client's first record.
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03 and what it can do, in many bytes",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9 and a little more of it\r\n",
        b"",
        &half[..HEADER_LEN / 2],
        &half[..len - 1],
        &stranger[..attach_len],
        &[0; 64],
    ];
    for opening in openings {
        let end = provider_meets(100, |peer| peer.bytes(opening));
        assert!(end.is_none(), "{opening:?} is no session: {end:?}");
    }
}

// ---- both real, the bytes between them cut or altered ----------------------------------------

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
