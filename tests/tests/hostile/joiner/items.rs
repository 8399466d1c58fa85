//! What a provider says of items, and what it sends of them.

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, crc32c};
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};
use longhaul_core::reason::{Reason, Side};
use longhaul_core::wire::{End, Flags, Frame, Kind, Task};
use longhaul_tests::hostile::small;

use super::{ends, file, gives, joiner_demanding, joiner_meets, joiner_refuses, named};

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
