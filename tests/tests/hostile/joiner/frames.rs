//! Frames at a time that is not theirs, that are none, or that do not come.

use std::net::TcpListener;
use std::thread;

use longhaul_core::id::{ItemId, Lane, TaskId, Token};
use longhaul_core::integrity::{Integrity, Root, crc32c};
use longhaul_core::item::ItemName;
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::wire::{
    Alive, Attach, Complete, Failed, Flags, Frame, Grades, HEADER_LEN, Header, Kind, Task, Welcome,
};
use longhaul_tests::conformance::tree::{Scratch, noise};
use longhaul_tests::hostile::{Peer, init, small, welcome};
use longhaul_transport_std::join;

use super::{Script, completes, ends, file, gives, joiner_meets, joiner_refuses, named};
use crate::{landing, party};

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
