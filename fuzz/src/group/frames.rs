//! What a peer may say.

use longhaul_core::digest::{DigestPart, SequenceNumber};
use longhaul_core::id::{Epoch, SnapshotId, StateId};
use longhaul_core::transfer::wire::{FRAME_MAX, Frame, HEADER_LEN, Have, Header, Kind, Payload, Refusal};
use longhaul_core::transfer::{Decision, LogPoint, Tag};

use super::{MEMBERS, SNAPSHOTS};
use crate::bytes::Choices;

/// Whole digests, and the two halves of one of two members.
const DIGESTS: [&[u8]; 4] = [
    b"\0\0\x01\0\0\0\0\0\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0",
    b"\0\0\x01\0\0\0\0\0\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x09\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0",
    b"\0\0\x02\0\0\0\0\0\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0",
    b"\x01\0\x02\0\0\0\0\0\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0",
];
const REFUSALS: [Refusal; 10] = [
    Refusal::NotOperational,
    Refusal::NonParticipant,
    Refusal::Busy,
    Refusal::Oneself,
    Refusal::LogFull,
    Refusal::CannotCatchUp,
    Refusal::Capture,
    Refusal::Stalled,
    Refusal::NotYet,
    Refusal::Gone,
];

/// A place in a log of records that have ten bytes each; or one that can't be.
pub(crate) fn point(choices: &mut Choices<'_>) -> LogPoint {
    let records = choices.pick(&[0, 1, 2, 3, 4, 6, 10, u64::MAX]);
    let bytes = records.saturating_mul(choices.pick(&[10, 10, 10, 0, u64::MAX]));
    LogPoint { records, bytes }
}

pub(crate) fn payload(choices: &mut Choices<'_>) -> Payload {
    Payload { len: choices.pick(&[10, 10, 0, 700]), crc: choices.pick(&[5, 5, 6]) }
}

fn have(choices: &mut Choices<'_>) -> Option<Have> {
    choices.yes().then(|| Have { snapshot: snapshot(choices), point: point(choices) })
}

fn snapshot(choices: &mut Choices<'_>) -> SnapshotId {
    choices.pick(&SNAPSHOTS)
}

/// A frame of any kind that travels; roots and sums of digests are `sum`, or another one.
pub(crate) fn any(choices: &mut Choices<'_>, sum: [u8; 32]) -> Option<Frame<'static>> {
    let frame = built(choices, sum);
    let mut out = [0; FRAME_MAX];
    let len = frame.emit(Tag::default(), &mut out).expect("it takes any frame");
    let (head, body) = out[..len].split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
    let header = Header::parse(head).expect("what is emitted is a header");
    Frame::parse(&header, body).is_ok().then_some(frame)
}

fn built(choices: &mut Choices<'_>, sum: [u8; 32]) -> Frame<'static> {
    let member = choices.pick(&MEMBERS);
    let members = choices.pick(&[0, 1, 1, 2, u16::MAX]);
    let lease_ns = choices.pick(&[1_000_000_000, 0, u64::MAX]);
    // Who dials whom is said to drivers, and no machine hears it; who looks for a root only puts a deadline off.
    let unsaid = &[Kind::Hello, Kind::Offer, Kind::Summing];
    let said = Kind::ALL.strip_suffix(unsaid).expect("they are the last kinds");
    match choices.pick(said) {
        Kind::Request => Frame::Request { member, have: have(choices) },
        Kind::Begin => {
            let (snapshot, from) = (snapshot(choices), point(choices));
            Frame::Begin { provider: member, snapshot, from, goes_on: choices.yes(), members }
        }
        Kind::Refused => Frame::Refused { why: choices.pick(&REFUSALS), retry_after_ms: 100 },
        Kind::Digest => {
            let part = DigestPart::parse(choices.pick(&DIGESTS));
            Frame::Digest(part.expect("the parts are well made"))
        }
        Kind::Staged => Frame::Staged,
        Kind::Records => {
            let (from, to) = (point(choices), point(choices));
            Frame::Records { from, to, payload: payload(choices) }
        }
        Kind::Applied => Frame::Applied { to: point(choices) },
        Kind::Pending => Frame::Pending { count: choices.pick(&[1, 2, 3, 0]), payload: payload(choices) },
        Kind::Last => {
            let pending = choices.pick(&[0, 0, 1, 2, u32::MAX]);
            Frame::Last { end: point(choices), lease_ns, pending, members }
        }
        Kind::Ready => Frame::Ready { digest: if choices.below(4) == 3 { [1; 32] } else { sum } },
        Kind::Commit => Frame::Commit,
        Kind::Abort => Frame::Abort,
        Kind::Ask => Frame::Ask,
        Kind::Outcome => Frame::Outcome { decision: choices.pick(&[Decision::Commit, Decision::Abort]) },
        Kind::Pin => Frame::Pin { member, lease_ns },
        Kind::Pinned => Frame::Pinned { behind: SequenceNumber(1), sent: SequenceNumber(3) },
        Kind::Unpin => Frame::Unpin,
        Kind::Cancel => Frame::Cancel,
        Kind::Fetch => {
            let copy = choices.yes().then(|| Epoch(choices.pick(&[1, 2, 3])));
            Frame::Fetch { state: StateId([choices.pick(&[0, 1]); 16]), copy, members }
        }
        Kind::MakeCopy => Frame::MakeCopy { member, lease_ns, have: have(choices) },
        Kind::Collect => Frame::Collect,
        Kind::AskRoot => Frame::AskRoot { copy: Epoch(choices.pick(&[1, 2])) },
        Kind::Summing => Frame::Summing { bytes: choices.pick(&[0, 1, u64::MAX]) },
        Kind::Root => Frame::Root { root: if choices.below(4) == 3 { [1; 32] } else { sum } },
        Kind::Suspend => Frame::Suspend { member, lease_ns },
        Kind::Suspended => Frame::Suspended { sent: SequenceNumber(choices.pick(&[0, 1, 3])) },
        Kind::Resume => Frame::Resume,
        Kind::Hello => Frame::Hello { from: member, to: choices.pick(&MEMBERS) },
        Kind::Offer => Frame::Offer { member, port: choices.pick(&[0, 7400]) },
    }
}
