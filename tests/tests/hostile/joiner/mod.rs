//! A joiner under test, a provider by hand.

mod frames;
mod items;

use std::net::TcpListener;
use std::thread;

use crate::{landing, party};
use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Root, crc32c};
use longhaul_core::item::What;
use longhaul_core::reason::{Reason, Side};
use longhaul_core::wire::{Complete, End, Flags, Frame, Kind};
use longhaul_state::transfer::TransferError;
use longhaul_tests::conformance::tree::Scratch;
use longhaul_tests::hostile::Peer;
use longhaul_transport_std::join;

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
