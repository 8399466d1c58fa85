//! Every bound of the wire from both sides: the longest and the largest go through, one more is refused.

use longhaul_core::id::{ClusterId, Epoch, ItemId, Lane, MemberId, SnapshotId, TaskId, Token, TransferId};
use longhaul_core::integrity::{FoldError, Integrity, PREFIX_SUMS_MAX, crc32c};
use longhaul_core::item::{Escaped, Item, ItemName, MODE_MASK, PATH_MAX, Timestamp, Version, What};
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::wire::{
    APP_META_MAX, APP_REPLY_MAX, Attach, CONTROL_MAX, ChunkLen, FRAME_MAX, Failed, Flags, Frame, Grades,
    HEADER_LEN, Header, Init, Kind, Outcome, Refused, Request, Roles, SELECTOR_MAX, STATE_ID_MAX, TASKS,
    Task, Verdict, WireError,
};

/// A frame's bytes with `change` made to its body, and checksums that hold.
fn changed(frame: &Frame<'_>, change: impl FnOnce(&mut Vec<u8>)) -> (Header, Vec<u8>) {
    let mut out = vec![0; 2 * FRAME_MAX];
    let len = frame.emit(&mut out).unwrap();
    let header = Header::parse(out.first_chunk().unwrap()).unwrap();
    let mut body = out[HEADER_LEN..len].to_vec();
    change(&mut body);
    (Header { len: body.len() as u32, body_crc: crc32c(&body), ..header }, body)
}

/// Whether the frame, so changed, is one.
fn stands(frame: &Frame<'_>, change: impl FnOnce(&mut Vec<u8>)) -> bool {
    let (header, body) = changed(frame, change);
    Frame::parse(&header, &body).is_ok()
}

fn reads_back(frame: &Frame<'_>) -> bool {
    let (header, body) = changed(frame, |_| {});
    Frame::parse(&header, &body) == Ok(*frame)
}

/// Behind a header that a peer may send.
fn parse_header(header: &Header) -> Result<Header, WireError> {
    Header::parse(&header.to_bytes())
}

const INIT: Frame<'_> = Frame::Init(Init {
    versions: (1, 1),
    roles: Roles::JOINER,
    capabilities: 0,
    member: MemberId([1; 16]),
    cluster: ClusterId([0; 16]),
    transfer: TransferId([3; 16]),
    epoch: Epoch(0),
});
const REQUEST: Request<'_> = Request {
    integrity: Integrity::Crc32c,
    fresh: false,
    agreed: false,
    lanes: 1,
    chunk: ChunkLen::DEFAULT,
    state_id: b"",
    selector: b"",
};
const TASK: Task<'_> = Task {
    integrity: Integrity::Crc32c,
    shape: 0,
    small: false,
    lanes: 1,
    chunk: ChunkLen::DEFAULT,
    items: 1,
    bytes: None,
    allocated: 0,
    longest_name: 0,
    snapshot: SnapshotId([0; 16]),
    digest_members: 0,
    app_meta: b"",
};
const ATTACH: Frame<'_> = Frame::Attach(Attach { token: Token([0; 16]), lane: Lane(1) });

fn item(what: What<'_>) -> Item<'_> {
    Item {
        name: ItemName::parse(b"name").unwrap(),
        mode: 0,
        mtime: Timestamp::default(),
        version: Version::default(),
        what,
    }
}

fn offer(item: Item<'_>) -> Frame<'_> {
    Frame::Offer { id: ItemId(0), eager: false, attempt: 0, item }
}

#[test]
fn the_bounds_are_those_of_the_design() {
    assert_eq!((CONTROL_MAX, FRAME_MAX), (20 * 1024, 20 * 1024 + 32));
    assert_eq!((APP_META_MAX, APP_REPLY_MAX, PATH_MAX), (16 * 1024, 1024, 4095));
    assert_eq!((SELECTOR_MAX, STATE_ID_MAX, TASKS), (1024, 255, 16));
    let chunks = [ChunkLen::MIN, ChunkLen::DEFAULT, ChunkLen::MAX].map(ChunkLen::bytes);
    assert_eq!(chunks, [4 * 1024, 512 * 1024, 4 * 1024 * 1024]);
    let flags = [Flags::EAGER, Flags::RUN_END, Flags::UNCHECKED, Flags::ATTEMPT, Flags::TRAILER];
    assert_eq!(flags, [1, 2, 4, 0x0f00, 0x8000]);
    assert_eq!(MODE_MASK, 0o777);
}

#[test]
fn chunks_are_powers_of_two_within_their_bounds() {
    for power in 0..32 {
        let bytes = 1 << power;
        assert_eq!(ChunkLen::new(bytes).map(ChunkLen::bytes), (12..=22).contains(&power).then_some(bytes));
        assert_eq!(ChunkLen::new(bytes + 1 + bytes / 2), None);
    }
}

#[test]
fn a_chunk_ends_at_the_next_point_of_its_grid() {
    for chunk in [ChunkLen::MIN, ChunkLen::DEFAULT, ChunkLen::MAX] {
        let len = u64::from(chunk.bytes());
        for start in [0, len, 7 * len] {
            let ends = [start, start + 1, start + len - 1].map(|offset| chunk.end_of(offset));
            assert_eq!(ends, [start + len; 3], "{start} of {len}");
        }
        assert_eq!(chunk.end_of(u64::MAX), u64::MAX);
    }
}

#[test]
fn a_header_takes_its_kind_s_lengths_and_no_other() {
    for &kind in Kind::ALL {
        let header = |len| Header {
            kind,
            flags: Flags::NONE,
            task: TaskId(0),
            len,
            item: ItemId(0),
            offset: 0,
            body_crc: 0,
        };
        let (min, max) = kind.body_len();
        for len in [min, max] {
            assert_eq!(parse_header(&header(len)), Ok(header(len)), "{kind}");
        }
        for len in [min.checked_sub(1), Some(max + 1)].into_iter().flatten() {
            assert_eq!(parse_header(&header(len)), Err(WireError::Length { kind, len }));
        }
    }
}

#[test]
fn a_kind_has_its_flags_and_no_other() {
    for &kind in Kind::ALL {
        let known = match kind {
            Kind::Offer => Flags::EAGER | Flags::ATTEMPT,
            Kind::Data => Flags::RUN_END | Flags::UNCHECKED | Flags::ATTEMPT,
            Kind::Hole => Flags::RUN_END | Flags::ATTEMPT,
            Kind::End | Kind::Recall => Flags::ATTEMPT,
            _ => 0,
        };
        for bit in (0..16).map(|bit| 1_u16 << bit) {
            let flags = Flags::new(bit, (bit >> 8) as u8);
            let header = Header {
                kind,
                flags,
                task: TaskId(0),
                len: kind.body_len().0,
                item: ItemId(0),
                offset: 0,
                body_crc: 0,
            };
            let parsed = parse_header(&header);
            if known & bit == bit {
                assert_eq!(parsed, Ok(header), "{kind} {bit:#x}");
            } else {
                assert_eq!(parsed, Err(WireError::Flags { kind, flags: bit }));
            }
        }
    }
}

#[test]
fn nothing_may_follow_a_body_but_what_later_versions_append_to_init() {
    assert!(stands(&INIT, |body| body.push(0)));
    let item = item(What::Directory);
    let frames = [
        ATTACH,
        Frame::Busy { retry_after_ms: 1 },
        Frame::Prepare { requests: 1 },
        Frame::Request(REQUEST),
        Frame::Task(TASK),
        Frame::Refused(Refused { reason: Reason::Refused, message: "", app_reply: b"" }),
        offer(item),
        Frame::Hole { id: ItemId(0), attempt: 0, offset: 0, len: 1, run_end: true },
        Frame::Grades(Grades { received: 1, verified: 1, durable: 1 }),
    ];
    for frame in &frames {
        assert!(reads_back(frame), "{frame:?}");
        assert!(!stands(frame, |body| body.push(0)), "{frame:?}");
    }
}

#[test]
fn a_body_is_as_long_as_its_header_says() {
    let (header, body) = changed(&ATTACH, |_| {});
    let shorter = Header { len: header.len - 1, ..header };
    assert_eq!(
        Frame::parse(&shorter, &body),
        Err(WireError::Length { kind: Kind::Attach, len: shorter.len })
    );
}

#[test]
fn a_request_s_ids_and_bits() {
    let (id, selector) = ([1; STATE_ID_MAX + 1], [2; SELECTOR_MAX + 1]);
    for (state_id, part, whole) in [
        (STATE_ID_MAX, SELECTOR_MAX, true),
        (STATE_ID_MAX + 1, SELECTOR_MAX, false),
        (STATE_ID_MAX, SELECTOR_MAX + 1, false),
    ] {
        let request = Request { state_id: &id[..state_id], selector: &selector[..part], ..REQUEST };
        assert_eq!(reads_back(&Frame::Request(request)), whole, "{state_id} {part}");
    }
    for (fresh, agreed) in [(false, false), (true, false), (false, true), (true, true)] {
        assert!(reads_back(&Frame::Request(Request { fresh, agreed, ..REQUEST })));
    }
    assert!(!stands(&Frame::Request(REQUEST), |body| body[1] = 4), "an unknown bit");
    assert!(!reads_back(&Frame::Request(Request { lanes: 0, ..REQUEST })));
}

#[test]
fn a_task_s_metadata_shape_and_lanes() {
    let meta = [1; APP_META_MAX + 1];
    for (len, whole) in [(APP_META_MAX, true), (APP_META_MAX + 1, false)] {
        assert_eq!(reads_back(&Frame::Task(Task { app_meta: &meta[..len], ..TASK })), whole, "{len}");
    }
    for (shape, known) in [(0, true), (1, true), (2, true), (3, false), (4, false)] {
        assert_eq!(reads_back(&Frame::Task(Task { shape, ..TASK })), known, "shape {shape}");
    }
    for (small, lanes, right) in [(true, 0, true), (false, 1, true), (true, 1, false), (false, 0, false)] {
        assert_eq!(reads_back(&Frame::Task(Task { small, lanes, ..TASK })), right, "{small} {lanes}");
    }
    for byte in [2, 3] {
        assert!(!stands(&Frame::Task(TASK), |body| body[byte] = 2), "a flag is 0 or 1");
    }
}

#[test]
fn words_and_replies_are_bounded() {
    let (words, reply) = ("x".repeat(APP_REPLY_MAX), [1; APP_REPLY_MAX + 1]);
    for (len, whole) in [(APP_REPLY_MAX, true), (APP_REPLY_MAX + 1, false)] {
        let app_reply = &reply[..len];
        let refused = Refused { reason: Reason::Refused, message: &words, app_reply };
        assert_eq!(reads_back(&Frame::Refused(refused)), whole);
    }
    let app_reply = &reply[..APP_REPLY_MAX];
    let outcome = Outcome { transfer: TransferId([0; 16]), verdict: Verdict::Unknown, app_reply };
    assert!(reads_back(&Frame::Outcome(outcome)));
    let message = |more: u8| {
        stands(
            &Frame::Refused(Refused { reason: Reason::Refused, message: &words, app_reply: b"" }),
            |body| {
                body[2..4].copy_from_slice(&(1024 + u16::from(more)).to_le_bytes());
                body.extend(vec![b'x'; more.into()]);
            },
        )
    };
    assert!(message(0) && !message(1));
    // A longer message is cut at the end of a character.
    let long = "é".repeat(APP_REPLY_MAX);
    let (header, body) =
        changed(&Frame::Refused(Refused { reason: Reason::Refused, message: &long, app_reply: b"" }), |_| {});
    let Ok(Frame::Refused(refused)) = Frame::parse(&header, &body) else { panic!("a refusal") };
    assert_eq!(refused.message, &long[..APP_REPLY_MAX]);
}

#[test]
fn as_many_tasks_as_there_are_may_be_requested() {
    for (requests, right) in [(0, true), (TASKS as u16, true), (TASKS as u16 + 1, false)] {
        assert_eq!(reads_back(&Frame::Prepare { requests }), right, "{requests}");
    }
}

#[test]
fn grades_stand_in_order() {
    for (received, verified, durable, right) in
        [(2, 2, 2, true), (3, 2, 1, true), (2, 2, 3, false), (2, 3, 2, false), (3, 1, 2, false)]
    {
        assert_eq!(reads_back(&Frame::Grades(Grades { received, verified, durable })), right);
    }
}

// Catalogue: B6, B13
#[test]
fn what_is_kept_has_the_sums_of_its_checksum() {
    let sums = [7; PREFIX_SUMS_MAX];
    for integrity in [Integrity::None, Integrity::Crc32c, Integrity::Blake3] {
        for len in 0..=sums.len() {
            let fits = match integrity {
                Integrity::None => len == 0,
                Integrity::Crc32c => len == 4,
                Integrity::Blake3 => len > 0 && len % 32 == 0,
            };
            let frame = Frame::Kept { id: ItemId(3), offset: 9, integrity, sums: &sums[..len] };
            let (header, body) = changed(&frame, |_| {});
            let parsed = parse_header(&header).and_then(|header| Frame::parse(&header, &body));
            assert_eq!(parsed == Ok(frame), fits, "{integrity} of {len} bytes");
            assert_eq!(parsed.is_ok(), fits, "{integrity} of {len} bytes");
        }
    }
    let frame = Frame::Kept { id: ItemId(3), offset: 9, integrity: Integrity::None, sums: b"" };
    assert!(!stands(&frame, |body| body[0] = 3), "no such checksum");
}

#[test]
fn a_hole_has_a_length_and_ends_before_the_last_offset() {
    let hole = |offset, len| Frame::Hole { id: ItemId(0), attempt: 0, offset, len, run_end: false };
    assert!(reads_back(&hole(0, u64::MAX)) && reads_back(&hole(u64::MAX - 1, 1)));
    assert!(!reads_back(&hole(0, 0)) && !reads_back(&hole(u64::MAX, 1)));
}

#[test]
fn data_lanes_count_from_one() {
    assert!(reads_back(&ATTACH));
    assert!(!stands(&ATTACH, |body| body[16] = 0));
}

#[test]
fn init_names_a_range_and_a_role() {
    for (min, max, right) in [(1, 1, true), (1, 9, true), (2, 1, false)] {
        assert_eq!(stands(&INIT, |body| body[..2].copy_from_slice(&[min, max])), right, "{min} to {max}");
    }
    // Roles that are not known yet are ignored; none that is known is no role.
    for (code, right) in [(0, false), (1, true), (2, true), (3, true), (4, false), (5, true)] {
        assert_eq!(stands(&INIT, |body| body[2] = code), right, "{code}");
    }
}

#[test]
fn two_sides_fit_when_one_gives_what_the_other_takes() {
    let (gives, takes, both) = (Roles::PROVIDER, Roles::JOINER, Roles::BOTH);
    for (one, other, fits) in [
        (gives, takes, true),
        (gives, both, true),
        (takes, both, true),
        (both, both, true),
        (gives, gives, false),
        (takes, takes, false),
    ] {
        assert_eq!((one.fits(other), other.fits(one)), (fits, fits), "{one:?} {other:?}");
    }
}

/// Where the fields of an offer's body stand.
const NANOS: usize = 16;
const MODE: usize = 28;
const BITS: usize = 31;

#[test]
fn an_offer_s_mode_time_and_bits() {
    let file = offer(item(What::File { size: 1, linked: false, sparse: false }));
    let directory = offer(item(What::Directory));
    for (mode, right) in [(0o777, true), (0o1000, false), (0o4755, false), (u16::MAX, false)] {
        let change = |body: &mut Vec<u8>| body[MODE..MODE + 2].copy_from_slice(&mode.to_le_bytes());
        assert_eq!(stands(&file, change), right, "{mode:o}");
    }
    for (nanos, right) in [(999_999_999_u32, true), (1_000_000_000, false)] {
        let change = |body: &mut Vec<u8>| body[NANOS..NANOS + 4].copy_from_slice(&nanos.to_le_bytes());
        assert_eq!(stands(&file, change), right, "{nanos}");
    }
    for bits in 0..=4 {
        assert_eq!(stands(&file, |body| body[BITS] = bits), bits < 4, "a file's bits {bits}");
        assert_eq!(stands(&directory, |body| body[BITS] = bits), bits == 0, "a directory's bits {bits}");
    }
    for (linked, sparse) in [(false, false), (true, false), (false, true), (true, true)] {
        assert!(reads_back(&offer(item(What::File { size: 1, linked, sparse }))));
    }
}

#[test]
fn a_link_has_a_name_and_a_target_and_nothing_else_has_one() {
    let longest = [b'x'; PATH_MAX + 1];
    for (target, right) in
        [(&b"x"[..], true), (&longest[..PATH_MAX], true), (&longest, false), (b"", false), (b"a\0b", false)]
    {
        assert_eq!(reads_back(&offer(item(What::SymbolicLink { target }))), right, "{}", target.len());
    }
    for what in [What::Directory, What::Stream, What::HardLink { to: ItemId(1) }] {
        let target = |body: &mut Vec<u8>| {
            body[26] = 1;
            body.push(b'x');
        };
        assert!(!stands(&offer(item(what)), target), "{what:?}");
    }
    for (what, right) in [
        (What::Directory, true),
        (What::Stream, true),
        (What::File { size: 0, linked: false, sparse: false }, true),
        (What::SymbolicLink { target: b"x" }, false),
        (What::HardLink { to: ItemId(1) }, false),
    ] {
        assert_eq!(reads_back(&offer(Item { name: ItemName::ROOT, ..item(what) })), right, "{what:?}");
    }
}

#[test]
fn data_says_its_run_its_checksum_and_its_attempt() {
    for attempt in 0..16 {
        for (run_end, crc) in [(false, None), (true, None), (false, Some(7)), (true, Some(7))] {
            let frame = Frame::Data { id: ItemId(1), attempt, offset: 4096, len: 1, run_end, crc };
            let mut out = [0; HEADER_LEN];
            assert_eq!(frame.emit(&mut out), Ok(HEADER_LEN));
            assert_eq!(Frame::parse(&Header::parse(&out).unwrap(), b""), Ok(frame));
        }
    }
}

#[test]
fn a_failure_carries_where_it_arose() {
    for offset in [None, Some(0), Some(u64::MAX)] {
        let failed = Failed {
            reason: Reason::Source,
            phase: Phase::Stream,
            side: Side::Provider,
            offset,
            name: ItemName::ROOT,
            message: "gone",
            app_reply: b"",
        };
        assert!(reads_back(&Frame::Failed(failed)), "{offset:?}");
    }
}

#[test]
fn errors_are_sentences_with_their_numbers() {
    let kind = Kind::Offer;
    for (error, words) in [
        (WireError::Magic, "the bytes are not longhaul's protocol"),
        (WireError::Version { theirs: 9 }, "a frame of protocol version 9; this side speaks version 1"),
        (WireError::Flags { kind, flags: 0x8000 }, "a Offer frame with unknown flags 0x8000"),
        (WireError::Length { kind, len: 7 }, "a Offer frame with an impossible length of 7 bytes"),
        (WireError::BufferTooSmall, "the buffer is too small for the frame"),
    ] {
        assert_eq!(error.to_string(), words);
    }
}

#[test]
fn what_people_read_has_words() {
    let names = [Integrity::None, Integrity::Crc32c, Integrity::Blake3].map(Integrity::name);
    assert_eq!(names, ["none", "crc32c", "blake3"]);
    assert_eq!(Integrity::Blake3.to_string(), "blake3");
    assert_eq!(Escaped(b"a\tb\n\r\\\x00\xff").to_string(), r"a\tb\n\r\\\x00\xff");
    assert_eq!(FoldError::Gap.to_string(), "a run of the item is missing");
}
