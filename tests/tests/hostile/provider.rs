//! A provider under test, a joiner by hand.

use std::sync::Arc;
use std::thread;

use crate::party;
use longhaul_core::id::{ItemId, Lane, Token};
use longhaul_core::reason::Reason;
use longhaul_core::wire::{Attach, Flags, Frame, Grades, HEADER_LEN, Init, Kind};
use longhaul_state::sink::MemorySink;
use longhaul_state::source::MemorySource;
use longhaul_state::transfer::{Summary, TransferError};
use longhaul_tests::conformance::tree::noise;
use longhaul_tests::hostile::{Peer, init, small};
use longhaul_transport::Listener;
use longhaul_transport_std::join;

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
