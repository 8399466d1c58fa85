//! Headers and offers, to bytes and back.

use std::hint::black_box;

use longhaul_core::id::ItemId;
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};
use longhaul_core::wire::{FRAME_MAX, Frame, HEADER_LEN, Header};

use super::Path;

pub(super) fn header_parsed() -> Path {
    let bytes = data_header().to_bytes();
    Path::new("wire/header parsed", move || {
        let header = Header::parse(black_box(&bytes)).expect("it was just emitted");
        header.offset
    })
}

pub(super) fn header_emitted() -> Path {
    let header = data_header();
    Path::new("wire/header emitted", move || u64::from(black_box(&header).to_bytes()[HEADER_LEN - 1]))
}

pub(super) fn offer_parsed() -> Path {
    let mut frame = vec![0; FRAME_MAX];
    let len = offer().emit(&mut frame).expect("any frame fits");
    frame.truncate(len);
    Path::new("wire/offer parsed", move || {
        let (head, body) = black_box(&frame).split_first_chunk().expect("a header is before the body");
        let header = Header::parse(head).expect("it was just emitted");
        let Ok(Frame::Offer { id, item, .. }) = Frame::parse(&header, body) else {
            unreachable!("it was just emitted")
        };
        u64::from(id.0) + item.name.as_bytes().len() as u64
    })
}

pub(super) fn offer_emitted() -> Path {
    let mut out = vec![0; FRAME_MAX];
    let frame = offer();
    Path::new("wire/offer emitted", move || {
        black_box(&frame).emit(&mut out).expect("any frame fits") as u64 + u64::from(out[HEADER_LEN - 1])
    })
}

fn data_header() -> Header {
    let frame = Frame::Data {
        id: ItemId(7),
        attempt: 0,
        offset: 5 << 19,
        len: 512 << 10,
        run_end: false,
        crc: Some(1),
    };
    let mut bytes = [0; HEADER_LEN];
    frame.emit(&mut bytes).expect("a header fits");
    Header::parse(&bytes).expect("it was just emitted")
}

fn offer() -> Frame<'static> {
    let item = Item {
        name: ItemName::parse(b"data/2026/11/segment-000017.log").expect("it is a name"),
        mode: 0o644,
        mtime: Timestamp { seconds: 1_795_000_000, nanos: 5 },
        version: Version::new(&[7; 16]).expect("it is short enough"),
        what: What::File { size: 4096, linked: false, sparse: false },
    };
    Frame::Offer { id: ItemId(17), eager: true, attempt: 0, item }
}
