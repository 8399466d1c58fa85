//! The control frames of transfers: golden vectors of every frame, round trips, and a decoder that never panics.

use std::fmt::Write as _;

use longhaul_core::digest::{DigestPart, SequenceNumber};
use longhaul_core::id::{Epoch, MemberId, SnapshotId, StateId, TransferId};
use longhaul_core::transfer::wire::{
    FRAME_MAX, Frame, FrameError, HEADER_LEN, Have, Header, Kind, PAYLOAD_MAX, Payload, Refusal,
};
use longhaul_core::transfer::{Decision, LogPoint, Tag};
use proptest::prelude::*;

fn id(first: u8) -> [u8; 16] {
    std::array::from_fn(|n| first.wrapping_add(n as u8))
}

const TAG: Tag = Tag { transfer: TransferId([3; 16]), epoch: Epoch(4) };

/// A digest's only part: one member, 3 delivered of 5 received.
const DIGEST: &[u8] = b"\0\0\x01\0\0\0\0\0\
    0123456789abcdef\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0";

/// One frame of every kind and shape, by name.
fn frames() -> Vec<(&'static str, Frame<'static>)> {
    let (member, snapshot) = (MemberId(id(1)), SnapshotId(id(6)));
    let point = |records| LogPoint { records, bytes: records * 100 };
    let payload = Payload { len: 700, crc: 0x1234_5678 };
    let have = Have { snapshot, point: point(9) };
    vec![
        ("request", Frame::Request { member, have: None }),
        ("request-with-what-it-has", Frame::Request { member, have: Some(have) }),
        ("begin", Frame::Begin { provider: member, snapshot, from: point(2), goes_on: false, members: 1 }),
        (
            "begin-goes-on",
            Frame::Begin { provider: member, snapshot, from: point(9), goes_on: true, members: 0 },
        ),
        ("refused", Frame::Refused { why: Refusal::LogFull, retry_after_ms: 1500 }),
        ("digest", Frame::Digest(DigestPart::parse(DIGEST).unwrap())),
        ("staged", Frame::Staged),
        ("records", Frame::Records { from: point(2), to: point(9), payload }),
        ("applied", Frame::Applied { to: point(9) }),
        ("pending", Frame::Pending { count: 2, payload }),
        ("last", Frame::Last { end: point(12), lease_ns: 1_000_000_000, pending: 2, members: 1 }),
        ("ready", Frame::Ready { digest: [0xab; 32] }),
        ("commit", Frame::Commit),
        ("abort", Frame::Abort),
        ("ask", Frame::Ask),
        ("outcome", Frame::Outcome { decision: Decision::Commit }),
        ("pin", Frame::Pin { member, lease_ns: 30_000_000_000 }),
        ("pinned", Frame::Pinned { behind: SequenceNumber(7), sent: SequenceNumber(11) }),
        ("unpin", Frame::Unpin),
        ("cancel", Frame::Cancel),
        ("fetch", Frame::Fetch { state: StateId(id(11)), copy: None, members: 3 }),
        ("fetch-a-copy", Frame::Fetch { state: StateId::default(), copy: Some(Epoch(2)), members: 1 }),
        ("make-copy", Frame::MakeCopy { member, lease_ns: 5_000_000_000, have: None }),
        ("make-copy-with-what-it-has", Frame::MakeCopy { member, lease_ns: 1, have: Some(have) }),
        ("collect", Frame::Collect),
        ("ask-root", Frame::AskRoot { copy: Epoch(2) }),
        ("summing", Frame::Summing { bytes: 1 << 33 }),
        ("root", Frame::Root { root: [0xcd; 32] }),
        ("suspend", Frame::Suspend { member, lease_ns: 2_000_000_000 }),
        ("suspended", Frame::Suspended { sent: SequenceNumber(13) }),
        ("resume", Frame::Resume),
        ("hello", Frame::Hello { from: member, to: MemberId(id(21)) }),
        ("offer", Frame::Offer { member, port: 7400 }),
    ]
}

fn emit(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = vec![0; FRAME_MAX];
    let len = frame.emit(TAG, &mut out).unwrap();
    out.truncate(len);
    out
}

fn parse(bytes: &[u8]) -> Result<(Tag, Frame<'_>), FrameError> {
    let header = Header::parse(bytes[..HEADER_LEN].try_into().unwrap())?;
    Ok((header.tag, Frame::parse(&header, &bytes[HEADER_LEN..])?))
}

#[test]
fn every_frame_has_its_golden_bytes() {
    let mut text = String::new();
    for (name, frame) in frames() {
        write!(text, "{name} ").unwrap();
        for byte in emit(&frame) {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/transfer-frames.txt");
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(golden == text, "the frames have changed: LONGHAUL_BLESS=1 writes {path} anew\n{text}");
}

#[test]
fn the_golden_vectors_name_every_kind() {
    for kind in Kind::ALL {
        assert!(frames().iter().any(|(_, frame)| frame.kind() == *kind), "{kind:?}");
    }
}

#[test]
fn every_frame_reads_back_as_it_was() {
    for (name, frame) in frames() {
        assert_eq!(parse(&emit(&frame)), Ok((TAG, frame)), "{name}");
    }
    for why in Refusal::ALL {
        let frame = Frame::Refused { why: *why, retry_after_ms: 0 };
        assert_eq!(parse(&emit(&frame)), Ok((TAG, frame)));
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    for (name, frame) in frames() {
        let bytes = emit(&frame);
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&broken).is_err(), "{name}, bit {bit}");
        }
    }
}

#[test]
fn a_body_cut_or_lengthened_anywhere_is_found() {
    for (name, frame) in frames() {
        let bytes = emit(&frame);
        let header = Header::parse(bytes[..HEADER_LEN].try_into().unwrap()).unwrap();
        for len in (0..=bytes.len() - HEADER_LEN + 1).filter(|len| *len != bytes.len() - HEADER_LEN) {
            let mut body = bytes[HEADER_LEN..].to_vec();
            body.resize(len, 0);
            // As if it had been sent so.
            let header =
                Header { len: len as u32, body_crc: longhaul_core::integrity::crc32c(&body), ..header };
            let sent = Header::parse(&header.to_bytes());
            assert!(sent.and_then(|header| Frame::parse(&header, &body)).is_err(), "{name}, {len} bytes");
        }
    }
}

// Catalogue: B44
#[test]
fn numbers_that_cannot_follow_each_other_are_refused() {
    let field = |frame: Frame<'_>| match parse(&emit(&frame)) {
        Err(FrameError::Field { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let (low, high) = (LogPoint { records: 2, bytes: 20 }, LogPoint { records: 3, bytes: u64::MAX });
    let payload = Payload { len: 1, crc: 0 };
    let backwards = Frame::Records { from: high, to: low, payload };
    assert!(field(backwards).contains("ends before it begins"));
    assert!(field(Frame::Records { from: low, to: low, payload }).contains("ends before it begins"));
    let long = Payload { len: PAYLOAD_MAX + 1, crc: 0 };
    assert!(field(Frame::Records { from: low, to: high, payload: long }).contains("length"));
    let unsent = Frame::Pinned { behind: SequenceNumber(u64::MAX), sent: SequenceNumber(1) };
    assert!(field(unsent).contains("not sent"));
    assert!(parse(&emit(&Frame::Records { from: low, to: high, payload })).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_a_frame_or_an_error(kind in 0..Kind::ALL.len(), body in prop::collection::vec(any::<u8>(), 0..80)) {
        let (min, max) = Kind::ALL[kind].body_len();
        let len = (body.len() as u32).clamp(min, max.min(80).max(min));
        let mut body = body;
        body.resize(len as usize, 0);
        let body_crc = longhaul_core::integrity::crc32c(&body);
        let header = Header { kind: Kind::ALL[kind], len, tag: TAG, body_crc };
        if let Ok(frame) = Frame::parse(&header, &body) {
            prop_assert_eq!(&emit(&frame)[HEADER_LEN..], &body[..], "one meaning has one encoding");
        }
    }
}
