//! The wire: golden vectors of every frame, round trips, and a decoder that never panics.

use std::fmt::Write as _;

use longhaul_core::id::{ClusterId, Epoch, ItemId, Lane, MemberId, SnapshotId, TaskId, Token, TransferId};
use longhaul_core::integrity::{Checksum, Integrity, Root};
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::wire::{
    Alive, Attach, ChunkLen, Complete, DigestPart, End, FRAME_MAX, Failed, Frame, Grades, HEADER_LEN, Header,
    Init, Kind, Outcome, Query, Refused, Request, Roles, TASKS, Task, Verdict, Welcome, WireError,
};
use proptest::prelude::*;

fn id(first: u8) -> [u8; 16] {
    std::array::from_fn(|n| first.wrapping_add(n as u8))
}

fn name(bytes: &[u8]) -> ItemName<'_> {
    ItemName::parse(bytes).unwrap()
}

/// A digest's only part: one member, 3 delivered of 5 received.
const DIGEST: &[u8] = b"\0\0\x01\0\0\0\0\0\
    0123456789abcdef\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0";

/// One frame of every kind and shape, by name.
#[expect(clippy::too_many_lines, reason = "a table")]
fn frames() -> Vec<(&'static str, Frame<'static>)> {
    let file = Item {
        name: name(b"data/000001.sst"),
        mode: 0o640,
        mtime: Timestamp { seconds: -1, nanos: 999_999_999 },
        version: Version::new(b"v1").unwrap(),
        what: What::File { size: 1 << 33, linked: true, sparse: true },
    };
    let offer = |what, at: &'static [u8]| Frame::Offer {
        id: ItemId(7),
        eager: false,
        attempt: 0,
        item: Item { name: name(at), version: Version::default(), what, ..file },
    };
    vec![
        (
            "init",
            Frame::Init(Init {
                versions: (1, 1),
                roles: Roles { provides: false, joins: true },
                capabilities: 3,
                member: MemberId(id(1)),
                cluster: ClusterId(id(2)),
                transfer: TransferId(id(3)),
                epoch: Epoch(4),
            }),
        ),
        (
            "welcome",
            Frame::Welcome(Welcome {
                version: 1,
                roles: Roles { provides: true, joins: false },
                capabilities: 3,
                member: MemberId(id(1)),
                cluster: ClusterId(id(2)),
                epoch: Epoch(4),
                token: Token(id(5)),
            }),
        ),
        ("busy", Frame::Busy { retry_after_ms: 1500 }),
        ("attach", Frame::Attach(Attach { token: Token(id(5)), lane: Lane(2) })),
        ("prepare", Frame::Prepare { requests: 2 }),
        (
            "request",
            Frame::Request(Request {
                integrity: Integrity::Blake3,
                fresh: true,
                agreed: false,
                lanes: 2,
                chunk: ChunkLen::DEFAULT,
                state_id: b"main",
                selector: b"shard=3",
            }),
        ),
        (
            "task",
            Frame::Task(Task {
                integrity: Integrity::Crc32c,
                shape: 0,
                small: false,
                lanes: 2,
                chunk: ChunkLen::DEFAULT,
                items: 1_000_000,
                bytes: Some(1 << 40),
                allocated: 1 << 39,
                longest_name: 243,
                snapshot: SnapshotId(id(6)),
                digest_members: 1024,
                app_meta: b"{}",
            }),
        ),
        (
            "refused",
            Frame::Refused(Refused {
                reason: Reason::Refused,
                message: "not operational yet",
                app_reply: b"later",
            }),
        ),
        ("digest", Frame::Digest(DigestPart::parse(DIGEST).unwrap())),
        ("begin", Frame::Begin),
        ("offer-file", Frame::Offer { id: ItemId(7), eager: true, attempt: 3, item: file }),
        ("offer-directory", offer(What::Directory, b"")),
        ("offer-symbolic-link", offer(What::SymbolicLink { target: b"../x" }, b"l")),
        ("offer-hard-link", offer(What::HardLink { to: ItemId(3) }, b"h")),
        ("offer-stream", offer(What::Stream, b"")),
        ("accept", Frame::Accept { id: ItemId(7), offset: 64 << 20 }),
        (
            "kept",
            Frame::Kept {
                id: ItemId(7),
                offset: 32 << 20,
                integrity: Integrity::Crc32c,
                sums: &[0x78, 0x56, 0x34, 0x12],
            },
        ),
        (
            "skip",
            Frame::Skip {
                id: ItemId(7),
                end: Some(End { size: 9, checksum: Checksum::Crc32c(0xe306_9283) }),
            },
        ),
        ("skip-known", Frame::Skip { id: ItemId(7), end: None }),
        (
            "data",
            Frame::Data {
                id: ItemId(7),
                attempt: 1,
                offset: 1 << 30,
                len: 512 << 10,
                run_end: true,
                crc: Some(0x1234_5678),
            },
        ),
        (
            "data-unchecked",
            Frame::Data { id: ItemId(7), attempt: 0, offset: 0, len: 1, run_end: false, crc: None },
        ),
        ("hole", Frame::Hole { id: ItemId(7), attempt: 0, offset: 4096, len: 1 << 24, run_end: false }),
        (
            "end-crc32c",
            Frame::End {
                id: ItemId(7),
                attempt: 2,
                end: End { size: 9, checksum: Checksum::Crc32c(0xe306_9283) },
            },
        ),
        (
            "end-blake3",
            Frame::End {
                id: ItemId(7),
                attempt: 0,
                end: End { size: 9, checksum: Checksum::Blake3([0xab; 32]) },
            },
        ),
        ("recall", Frame::Recall { id: ItemId(7), attempt: 2 }),
        ("again", Frame::Again { id: ItemId(7) }),
        ("grades", Frame::Grades(Grades { received: 4100, verified: 4096, durable: 17 })),
        (
            "complete",
            Frame::Complete(Complete {
                items: 3,
                bytes: 12,
                root: Root { integrity: Integrity::Crc32c, hash: [0xcd; 32] },
            }),
        ),
        ("agreed", Frame::Agreed),
        ("installed", Frame::Installed { app_reply: b"ok" }),
        (
            "failed",
            Frame::Failed(Failed {
                reason: Reason::SourceChanged,
                phase: Phase::Stream,
                side: Side::Provider,
                offset: Some(512),
                name: name(b"data/000001.sst"),
                message: "it became shorter",
                app_reply: b"no",
            }),
        ),
        ("alive", Frame::Alive(Alive { done: 42 })),
        (
            "query",
            Frame::Query(Query {
                member: MemberId(id(1)),
                cluster: ClusterId(id(2)),
                transfer: TransferId(id(3)),
            }),
        ),
        (
            "outcome",
            Frame::Outcome(Outcome {
                transfer: TransferId(id(3)),
                verdict: Verdict::Installed,
                app_reply: b"ok",
            }),
        ),
    ]
}

/// As the third task's, if it is about one.
fn emit(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = vec![0; FRAME_MAX];
    let task = TaskId(if frame.kind().has_task() { 2 } else { 0 });
    let len = frame.emit_of(task, &mut out).unwrap();
    out.truncate(len);
    out
}

fn parse(bytes: &[u8]) -> Result<Frame<'_>, WireError> {
    let header = Header::parse(bytes.first_chunk::<HEADER_LEN>().expect("a header"))?;
    Frame::parse(&header, &bytes[HEADER_LEN..])
}

/// The vectors as text: a line a frame. A change of the protocol shows as a diff of this file.
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
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/frames.txt");
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(golden == text, "the wire has changed: LONGHAUL_BLESS=1 writes {path} anew\n{text}");
}

#[test]
fn the_golden_vectors_name_every_kind() {
    for kind in Kind::ALL {
        assert!(frames().iter().any(|(_, frame)| frame.kind() == *kind), "{kind}");
    }
}

#[test]
fn every_frame_reads_back_as_it_was() {
    for (name, frame) in frames() {
        let bytes = emit(&frame);
        assert_eq!(parse(&bytes), Ok(frame), "{name}");
    }
}

// Catalogue: B3
#[test]
fn a_flipped_bit_anywhere_in_a_frame_is_found() {
    for (name, frame) in frames() {
        let bytes = emit(&frame);
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&broken).is_err(), "{name}, bit {bit}");
        }
    }
}

// Catalogue: B6, B9
#[test]
fn a_body_cut_anywhere_is_found() {
    for (name, frame) in frames() {
        let bytes = emit(&frame);
        for cut in HEADER_LEN..bytes.len() {
            assert!(parse(&bytes[..cut]).is_err(), "{name}, cut at {cut}");
        }
    }
}

#[test]
fn strangers_and_later_versions_are_told_apart() {
    assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"), Err(WireError::Magic));
    let mut bytes = emit(&Frame::Begin);
    bytes[2] = 9;
    let crc = longhaul_core::integrity::crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(parse(&bytes), Err(WireError::Version { theirs: 9 }));
}

/// A header with a valid checksum and the given fields.
fn header(kind: u8, flags: u16, len: u32, offset: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes[..2].copy_from_slice(b"HL");
    bytes[2] = 1;
    bytes[3] = kind;
    bytes[4..6].copy_from_slice(&flags.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[16..24].copy_from_slice(&offset.to_le_bytes());
    bytes[24..28].copy_from_slice(&longhaul_core::integrity::crc32c(body).to_le_bytes());
    let crc = longhaul_core::integrity::crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

// Catalogue: B7
#[test]
fn the_reserved_trailer_and_unknown_kinds_are_refused() {
    assert!(matches!(parse(&header(14, 1 << 15, 1, 0, b"")), Err(WireError::Flags { kind: Kind::Data, .. })));
    for kind in [0, Kind::ALL.len() as u8 + 1, 255] {
        assert_eq!(parse(&header(kind, 0, 0, 0, b"")), Err(WireError::Kind { kind }));
    }
}

#[test]
fn a_task_stands_only_in_frames_about_one_and_only_up_to_their_number() {
    for (name, frame) in frames() {
        let mut out = vec![0; FRAME_MAX];
        let len = frame.emit_of(TaskId(TASKS as u16 - 1), &mut out).unwrap();
        assert_eq!(parse(&out[..len]).is_ok(), frame.kind().has_task(), "{name}");
        let len = frame.emit_of(TaskId(TASKS as u16), &mut out).unwrap();
        assert!(parse(&out[..len]).is_err(), "{name}");
    }
}

// Catalogue: B4, B5
#[test]
fn lengths_are_checked_before_anything_is_reserved() {
    for len in [1 << 31, u32::MAX, (4 << 20) + 1, 0] {
        assert!(matches!(
            parse(&header(14, 0, len, 0, b"")),
            Err(WireError::Length { kind: Kind::Data, .. })
        ));
    }
    let overflow = header(14, 0, 4096, u64::MAX - 10, b"");
    assert!(matches!(parse(&overflow), Err(WireError::Field { kind: Kind::Data, .. })));
}

// Catalogue: B23, B24, B25
#[test]
fn names_that_are_paths_never_leave_the_decoder() {
    let good = emit(&Frame::Offer {
        id: ItemId(0),
        eager: false,
        attempt: 0,
        item: Item {
            name: name(b"abcd"),
            mode: 0o644,
            mtime: Timestamp::default(),
            version: Version::default(),
            what: What::Directory,
        },
    });
    for evil in [&b"../x"[..], b"/abc", b"a//b", b"a/./", b"ab/\0", b"abc/"] {
        let mut body = good[HEADER_LEN..].to_vec();
        body[40..44].copy_from_slice(evil);
        let bytes = header(11, 0, body.len() as u32, 0, &body);
        assert!(matches!(parse(&bytes), Err(WireError::Name(_))), "{evil:?}");
    }
}

/// An encoded frame with another body or header, its checksums made to hold.
fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes[3] != Kind::Data.code() {
        let crc = longhaul_core::integrity::crc32c(&bytes[HEADER_LEN..]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = longhaul_core::integrity::crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Whether it is taken; if so, what was understood reads back as the same.
fn is_taken(name: &str, bytes: &[u8]) -> bool {
    let Ok(frame) = parse(bytes) else { return false };
    let task = TaskId(u16::from_le_bytes([bytes[6], bytes[7]]));
    let mut out = vec![0; FRAME_MAX];
    let len = frame.emit_of(task, &mut out).unwrap();
    assert_eq!(parse(&out[..len]), Ok(frame), "{name}");
    true
}

// Catalogue: B4, B5
#[test]
fn every_number_at_its_borders_is_taken_as_said_or_refused() {
    let borders = [
        0,
        1,
        254,
        255,
        256,
        4094,
        4095,
        4096,
        20 << 10,
        (20 << 10) + 1,
        (4 << 20) - 1,
        4 << 20,
        (4 << 20) + 1,
    ];
    let high = [
        (1 << 31) - 1,
        1 << 31,
        (1 << 32) - 2,
        (1 << 32) - 1,
        1 << 32,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX - 1,
        u64::MAX,
    ];
    let (mut taken, mut refused) = (0, 0);
    for (name, frame) in frames() {
        let bytes = emit(&frame);
        // The header's checksums are no numbers; all else may be one, of any width, anywhere.
        for at in (2..24).chain(HEADER_LEN..bytes.len()) {
            for (number, width) in
                borders.iter().chain(&high).flat_map(|n: &u64| [(n, 1), (n, 2), (n, 4), (n, 8)])
            {
                let end = if at < 24 { 24 } else { bytes.len() };
                if at + width > end {
                    continue;
                }
                let mut other = bytes.clone();
                other[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
                if is_taken(name, &mended(other)) { taken += 1 } else { refused += 1 }
            }
        }
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
}

// Catalogue: B6
#[test]
fn a_body_with_more_than_its_fields_is_refused() {
    for (name, frame) in frames() {
        let mut bytes = emit(&frame);
        // A later version's Init may be longer, a payload follows its header, and a reply at the end is as
        // long as its frame.
        let open = matches!(
            frame,
            Frame::Init(_) | Frame::Data { .. } | Frame::Installed { .. } | Frame::Outcome(_)
        );
        if open {
            continue;
        }
        bytes.push(0);
        let len = (bytes.len() - HEADER_LEN) as u32;
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        assert!(parse(&mended(bytes)).is_err(), "{name}");
    }
}

// Catalogue: B7
#[test]
fn every_flag_is_meant_or_refused() {
    for (name, frame) in frames() {
        for bit in 0..16 {
            let mut bytes = emit(&frame);
            bytes[4 + bit / 8] ^= 1 << (bit % 8);
            let bytes = mended(bytes);
            if let Ok(frame) = parse(&bytes) {
                let task = TaskId(u16::from_le_bytes([bytes[6], bytes[7]]));
                let mut out = vec![0; FRAME_MAX];
                frame.emit_of(task, &mut out).unwrap();
                assert_eq!(out[4..6], bytes[4..6], "{name}, bit {bit}");
            }
        }
    }
}

// Catalogue: B11
#[test]
fn words_that_are_no_utf_8_are_refused() {
    // Not at all, cut off, and half of a pair.
    for words in [&b"\xff\xfe"[..], b"a\xe2\x82", b"\xed\xa0\x80"] {
        let mut body = vec![0; 6];
        body[..2].copy_from_slice(&Reason::Refused.code().to_le_bytes());
        body[2..4].copy_from_slice(&(words.len() as u16).to_le_bytes());
        body.extend_from_slice(words);
        let kind = Kind::Refused;
        let bytes = header(kind.code(), 0, body.len() as u32, 0, &body);
        assert_eq!(parse(&bytes), Err(WireError::Field { kind, field: "message" }), "{words:?}");
    }
}

// Catalogue: B21
#[test]
fn a_chunk_of_no_allowed_length_is_refused() {
    for (name, at) in [("request", 4), ("task", 8)] {
        let (_, frame) = frames().into_iter().find(|(found, _)| *found == name).unwrap();
        let with = |len: u32| {
            let mut bytes = emit(&frame);
            bytes[HEADER_LEN + at..][..4].copy_from_slice(&len.to_le_bytes());
            mended(bytes)
        };
        for len in [0, 1, 2, 2 << 10, (4 << 10) + 1, 12_288, (512 << 10) - 1, 8 << 20, 1 << 31, u32::MAX] {
            assert!(matches!(parse(&with(len)), Err(WireError::Field { .. })), "{name}, {len}");
        }
        for len in [4 << 10, 512 << 10, 4 << 20] {
            assert!(parse(&with(len)).is_ok(), "{name}, {len}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_parse_or_fail_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), HEADER_LEN..600)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_body_behind_an_honest_header_parses_or_fails_without_a_panic(
        kind in 0_u8..30,
        flags in any::<u16>(),
        offset in any::<u64>(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(frame) = parse(&header(kind, flags, body.len() as u32, offset, &body)) {
            // What parses reads back as the same, if it carries no payload.
            if frame.kind() != Kind::Data {
                let again = emit(&frame);
                prop_assert_eq!(parse(&again), Ok(frame));
            }
        }
    }

    #[test]
    fn any_file_offered_arrives_as_it_was(
        path in proptest::collection::vec("[^/\0]{1,20}", 1..5),
        size in any::<u64>(),
        seconds in any::<i64>(),
        nanos in 0_u32..1_000_000_000,
        mode in 0_u16..0o1000,
        version in proptest::collection::vec(any::<u8>(), 0..=32),
    ) {
        prop_assume!(path.iter().all(|part| part != "." && part != ".." && part.len() <= 255));
        let path = path.join("/");
        let frame = Frame::Offer {
            id: ItemId(9),
            eager: true,
            attempt: 1,
            item: Item {
                name: name(path.as_bytes()),
                mode,
                mtime: Timestamp { seconds, nanos },
                version: Version::new(&version).unwrap(),
                what: What::File { size, linked: false, sparse: true },
            },
        };
        let bytes = emit(&frame);
        prop_assert_eq!(parse(&bytes), Ok(frame));
    }
}
