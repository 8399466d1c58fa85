//! What happens around a group's machines: members, messages, time, and what a peer may say.

pub(crate) mod frames;

use core::time::Duration;

use longhaul_core::digest::SequenceNumber;
use longhaul_core::id::{Epoch, MemberId, SnapshotId, TransferId};
use longhaul_core::message::{Effect, Handle, Message, Transaction};
use longhaul_core::transfer::{Apply, Capture, Contract, Tag};

use crate::bytes::Choices;

pub(crate) const ME: MemberId = MemberId([1; 16]);
pub(crate) const MEMBERS: [MemberId; 4] = [ME, MemberId([2; 16]), MemberId([3; 16]), MemberId([4; 16])];
pub(crate) const SNAPSHOTS: [SnapshotId; 3] = [SnapshotId([7; 16]), SnapshotId([8; 16]), SnapshotId([9; 16])];
pub(crate) const TRANSFERS: [TransferId; 3] = [TransferId([5; 16]), TransferId([6; 16]), TransferId([7; 16])];

/// A pair that works.
pub(crate) fn contract(choices: &mut Choices<'_>) -> Contract {
    let pairs = [
        (Capture::Atomic, Apply::Once),
        (Capture::Atomic, Apply::Idempotent),
        (Capture::Fuzzy, Apply::Idempotent),
    ];
    let (capture, apply) = choices.pick(&pairs);
    Contract::new(capture, apply).expect("it is a pair that works")
}

pub(crate) fn tag(choices: &mut Choices<'_>) -> Tag {
    Tag {
        transfer: TRANSFERS[choices.pick(&[0, 0, 0, 1, 2])],
        epoch: Epoch(choices.pick(&[1, 1, 2, 3, 4, 0, u64::MAX])),
    }
}

pub(crate) fn time(choices: &mut Choices<'_>) -> Duration {
    Duration::from_millis(choices.pick(&[0, 1, 4, 12, 600, 1100, 20_000, 100_000]))
}

pub(crate) fn transaction(choices: &mut Choices<'_>) -> Transaction {
    Transaction { member: choices.pick(&MEMBERS), number: choices.pick(&[1, 2, 3]) }
}

pub(crate) fn effect(choices: &mut Choices<'_>) -> Effect {
    match choices.below(8) {
        0 | 1 => Effect::Write,
        2 | 3 => Effect::Prepare(transaction(choices)),
        4 => Effect::Commit(transaction(choices)),
        5 => Effect::Rollback(transaction(choices)),
        6 => Effect::Nothing,
        _ => Effect::Leave(choices.pick(&MEMBERS)),
    }
}

/// The sender's next message as the channel counts, or another one.
pub(crate) fn message(choices: &mut Choices<'_>, sent: &mut [u64; 4]) -> Message {
    let n = choices.below(MEMBERS.len());
    let next = sent[n] + 1;
    let number = choices.pick(&[next, next, next, sent[n].max(1), next + 1]);
    sent[n] = sent[n].max(number);
    Message { sender: MEMBERS[n], sequence: SequenceNumber(number), len: 10, handle: Handle(0) }
}
