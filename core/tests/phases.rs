//! Every kind of frame in every phase of a session, at the side that provides and at the side that
//! joins, against a checked-in table: which are taken, and which fail the session as broken protocol.
//!
//! `LONGHAUL_BLESS=1 cargo test -p longhaul-core --test phases` writes it anew.

mod sides;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use longhaul_core::digest::{Digest, Entry, SequenceNumber};
use longhaul_core::id::{ItemId, Lane, MemberId, Token, TransferId};
use longhaul_core::integrity::{Checksum, Integrity, Root};
use longhaul_core::item::{Item, What};
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{Command, ReadPiece, SessionError, State, Totals};
use longhaul_core::wire::{
    Alive, Attach, Complete, End, FRAME_MAX, Failed, Frame, Grades, Kind, Outcome, Query, Refused, Task,
    Verdict,
};
use sides::{Machine, T, at, config, drain, file, init, request, sent, task, welcome};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/phases.txt");
const ID: ItemId = ItemId(0);
const LEN: u32 = 1 << 10;
const SUM: Checksum = Checksum::Crc32c(7);
const CONTROL: Lane = Lane::CONTROL;
const DATA: Lane = Lane(1);

fn item() -> Item<'static> {
    file(LEN.into())
}

/// Not eager: of a stream nobody knows the length beforehand.
fn streamed() -> Item<'static> {
    Item { what: What::Stream, ..item() }
}

fn end() -> Frame<'static> {
    Frame::End { id: ID, attempt: 0, end: End { size: LEN.into(), checksum: SUM } }
}

fn data() -> Frame<'static> {
    Frame::Data { id: ID, attempt: 0, offset: 0, len: LEN, run_end: true, crc: Some(9) }
}

const fn complete() -> Complete {
    Complete { items: 1, bytes: LEN as u64, root: Root { integrity: Integrity::Crc32c, hash: [8; 32] } }
}

fn digest() -> Digest<1> {
    let mut digest = Digest::new();
    let number = SequenceNumber(5);
    digest.insert(Entry::new(MemberId([1; 16]), number, number).unwrap()).unwrap();
    digest
}

/// One of each kind, with its lane: content travels on the data lane once that stands.
fn frames(digest: &Digest<1>, data_lane: bool) -> Vec<(Lane, Frame<'_>)> {
    let failed = Failed {
        reason: Reason::Cancelled,
        phase: Phase::Stream,
        side: Side::Provider,
        offset: None,
        name: item().name,
        message: "enough",
        app_reply: b"",
    };
    let refused = Refused { reason: Reason::Refused, message: "no", app_reply: b"" };
    let outcome = Outcome { transfer: TransferId([3; 16]), verdict: Verdict::Installed, app_reply: b"" };
    let query =
        Query { member: MemberId([9; 16]), cluster: welcome().cluster, transfer: TransferId([3; 16]) };
    let grades = Grades { received: 1, verified: 1, durable: 0 };
    let frames = [
        Frame::Init(init(true)),
        Frame::Welcome(welcome()),
        Frame::Busy { retry_after_ms: 10 },
        Frame::Attach(Attach { token: Token([4; 16]), lane: DATA }),
        Frame::Prepare { requests: 1 },
        Frame::Request(request()),
        Frame::Task(task(1)),
        Frame::Refused(refused),
        Frame::Digest(digest.parts().next().expect("it has an entry")),
        Frame::Begin,
        Frame::Offer { id: ID, eager: false, attempt: 0, item: streamed() },
        Frame::Accept { id: ID, offset: 0 },
        Frame::Kept { id: ID, offset: 16 << 20, integrity: Integrity::Crc32c, sums: &[1, 2, 3, 4] },
        Frame::Skip { id: ID, end: None },
        data(),
        Frame::Hole { id: ID, attempt: 0, offset: 0, len: LEN.into(), run_end: true },
        end(),
        Frame::Recall { id: ID, attempt: 0 },
        Frame::Again { id: ID },
        Frame::Grades(grades),
        Frame::Complete(complete()),
        Frame::Agreed,
        Frame::Installed { app_reply: b"" },
        Frame::Failed(failed),
        Frame::Alive(Alive { done: 1 }),
        Frame::Query(query),
        Frame::Outcome(outcome),
    ];
    let content = |kind| matches!(kind, Kind::Data | Kind::Hole | Kind::End);
    let lane = |kind| if data_lane && content(kind) { DATA } else { CONTROL };
    frames.into_iter().map(|frame| (lane(frame.kind()), frame)).collect()
}

fn hear(machine: &mut Machine, lane: Lane, frame: &Frame<'_>) {
    machine.handle_frame(lane, T, frame, at(3));
    assert_eq!(machine.failure(), None, "{frame:?}");
}

/// One step of a session on its way to its end.
type Step = (&'static str, fn(&mut Machine));

/// A session that provides one streamed item, step by step: each begins the phase of its name.
const PROVIDING: &[Step] = &[
    ("greeted", |_| {}),
    ("prepared", |machine| hear(machine, CONTROL, &Frame::Prepare { requests: 1 })),
    ("requested", |machine| {
        hear(machine, CONTROL, &Frame::Request(request()));
        assert_eq!(drain(machine), [Command::Survey { task: T }]);
    }),
    ("announced", |machine| {
        let totals = Totals {
            shape: 0,
            items: 1,
            bytes: None,
            allocated: 0,
            longest_name: 0,
            snapshot: task(1).snapshot,
            digest_members: 1,
            app_meta: b"",
        };
        assert!(machine.handle_surveyed(T, &totals, at(3), &mut [0; FRAME_MAX]) > 0);
        assert_eq!(drain(machine), [Command::SendDigest { task: T }]);
    }),
    ("digest sent", |machine| {
        let digest = digest();
        let part = digest.parts().next().unwrap();
        assert!(machine.handle_digest(T, &part, &mut [0; FRAME_MAX]) > 0);
    }),
    ("begun", |machine| {
        hear(machine, CONTROL, &Frame::Begin);
        machine.handle_lane_up(DATA, at(3));
        drain(machine);
    }),
    ("offered", |machine| {
        assert!(machine.can_offer(&streamed()));
        let _ = machine.handle_item(&streamed(), at(3), &mut [0; FRAME_MAX]);
        machine.handle_items_end(at(3));
    }),
    ("accepted", |machine| {
        hear(machine, CONTROL, &Frame::Accept { id: ID, offset: 0 });
        assert_eq!(drain(machine).len(), 1);
    }),
    ("read", |machine| {
        assert!(machine.handle_read(DATA, ID, 0, ReadPiece::Data { len: LEN, crc: Some(9) }, at(3)));
        drain(machine);
        let _ = machine.handle_read(DATA, ID, LEN.into(), ReadPiece::End, at(3));
        assert_eq!(drain(machine), [Command::Close { id: ID }]);
    }),
    ("sent", |machine| {
        machine.handle_closed(ID, LEN.into(), SUM, at(3));
        assert_eq!(sent(machine, 1), ["Data", "End"]);
    }),
    ("verified", |machine| {
        hear(machine, CONTROL, &Frame::Grades(Grades { received: 1, verified: 1, durable: 0 }));
        drain(machine);
    }),
    ("completed", |machine| {
        let Complete { items, bytes, root } = complete();
        machine.handle_root(Side::Provider, T, (items, bytes, root), at(3));
        assert_eq!(sent(machine, 0).last().map(String::as_str), Some("Complete"));
    }),
    ("agreed", |machine| hear(machine, CONTROL, &Frame::Agreed)),
    ("installed", |machine| {
        hear(machine, CONTROL, &Frame::Installed { app_reply: b"" });
        assert_eq!(machine.state(), State::Done);
    }),
];

/// A session that joins for one streamed item, in the same way.
const JOINING: &[Step] = &[
    ("greeting", |machine| assert_eq!(sent(machine, 0), ["Init"])),
    ("requesting", |machine| {
        hear(machine, CONTROL, &Frame::Welcome(welcome()));
        assert_eq!(sent(machine, 0), ["Prepare"]);
        assert_eq!(drain(machine), [Command::Request { task: T }]);
        assert!(machine.handle_request(T, b"", b"", &mut [0; FRAME_MAX]) > 0);
    }),
    ("announced", |machine| {
        let announced = Task { bytes: None, digest_members: 1, ..task(1) };
        hear(machine, CONTROL, &Frame::Task(announced));
        assert_eq!(drain(machine), []);
    }),
    ("digest come", |machine| {
        hear(machine, CONTROL, &Frame::Digest(digest().parts().next().unwrap()));
        assert_eq!(drain(machine), [Command::Begin { task: T }]);
    }),
    ("begun", |machine| {
        machine.handle_begun(T, at(3));
        machine.handle_lane_up(DATA, at(3));
        assert_eq!(sent(machine, 0), ["Begin"]);
        drain(machine);
    }),
    ("offered", |machine| {
        hear(machine, CONTROL, &Frame::Offer { id: ID, eager: false, attempt: 0, item: streamed() });
        assert_eq!(drain(machine), [Command::Open { id: ID }]);
    }),
    ("opened", |machine| {
        machine.handle_opened(ID, at(3));
        assert_eq!(sent(machine, 0), ["Accept"]);
    }),
    ("payload announced", |machine| hear(machine, DATA, &data())),
    ("payload come", |machine| assert!(machine.handle_payload(DATA, LEN, Some(9)))),
    ("whole", |machine| {
        hear(machine, DATA, &end());
        assert_eq!(drain(machine).len(), 1);
    }),
    ("verified", |machine| {
        machine.handle_finished(ID, true, at(3));
        assert_eq!(sent(machine, 0), ["Grades"]);
    }),
    ("completed", |machine| {
        hear(machine, CONTROL, &Frame::Complete(complete()));
        assert_eq!(drain(machine), [Command::SumUp { side: Side::Joiner, task: T }]);
    }),
    ("agreed", |machine| {
        let Complete { items, bytes, root } = complete();
        machine.handle_root(Side::Joiner, T, (items, bytes, root), at(3));
        assert_eq!(sent(machine, 0), ["Agreed"]);
        assert_eq!(drain(machine), [Command::MakeDurable]);
    }),
    ("durable", |machine| machine.handle_durable(at(3))),
    ("installing", Machine::handle_installing),
    ("installed", |machine| {
        assert!(machine.handle_installed(b"", &mut [0; FRAME_MAX]) > 0);
        assert_eq!(machine.state(), State::Done);
    }),
];

fn at_phase(side: Side, steps: &[Step]) -> Machine {
    let mut machine = match side {
        Side::Provider => Machine::accept(config(side, 1), &init(true), at(0)).unwrap(),
        Side::Joiner => Machine::dial(config(side, 2), at(0)),
    };
    if side == Side::Provider {
        assert_eq!(sent(&mut machine, 0), ["Welcome"]);
    }
    for (_, step) in steps {
        step(&mut machine);
    }
    machine
}

/// What becomes of the session when `frame` comes.
fn outcome(mut machine: Machine, lane: Lane, frame: &Frame<'_>) -> Option<SessionError> {
    machine.handle_frame(lane, T, frame, at(4));
    machine.failure()
}

/// The table: of every phase the frames that are taken, or change nothing any more, and those that end
/// the session for another reason than broken protocol. All others end it as that.
fn table() -> String {
    let digest = digest();
    let mut text = String::new();
    let mut row = |side: Side, phase: &str, machine: &dyn Fn() -> Machine, data_lane: bool| {
        let (mut taken, mut others) = (Vec::new(), Vec::new());
        for (lane, frame) in frames(&digest, data_lane) {
            let kind = frame.kind().name();
            match outcome(machine(), lane, &frame) {
                None => taken.push(kind.to_owned()),
                Some(error) if error.reason() == Reason::Protocol => {}
                Some(error) => others.push(format!("({kind}: {})", error.reason())),
            }
        }
        taken.append(&mut others);
        writeln!(text, "{side}, {phase}: {}", taken.join(" ")).unwrap();
    };
    for (side, steps) in [(Side::Provider, PROVIDING), (Side::Joiner, JOINING)] {
        let begun = steps.iter().position(|step| step.0 == "begun").unwrap();
        for n in 0..steps.len() {
            row(side, steps[n].0, &|| at_phase(side, &steps[..=n]), n >= begun);
        }
        let lost = || {
            let mut machine = at_phase(side, &steps[..=begun]);
            machine.handle_lane_lost(CONTROL, at(3));
            machine
        };
        row(side, "connection lost", &lost, false);
    }
    text
}

// Catalogue: B8
#[test]
fn every_phase_takes_its_frames_and_refuses_all_others() {
    let table = table();
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        return fs::write(TABLE, table).unwrap();
    }
    let golden = fs::read_to_string(TABLE).unwrap();
    assert_eq!(table, golden, "if this is the new protocol: LONGHAUL_BLESS=1");
}

#[test]
fn there_is_a_frame_of_every_kind() {
    let digest = digest();
    let kinds: BTreeSet<u8> = frames(&digest, true).iter().map(|(_, frame)| frame.kind().code()).collect();
    assert_eq!(kinds.len(), Kind::ALL.len());
}
