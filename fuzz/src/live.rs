//! One machine of a live transfer, its honest driver, and a peer that says anything.
//!
//! Bytes decide which of the two it is, and what happens next: a frame of any kind, a payload as it was announced or not,
//! a message of the group, an answer of the driver to what it was commanded, a connection that is lost, time. The
//! driver keeps to the contract: it carries out each command once, and says nothing of what it was not told to do.
//! Nothing that the peer says may panic; and after every step the invariants hold.

mod frames;
mod joiner;
mod provider;

use core::time::Duration;

use longhaul_core::digest::SequenceNumber;
use longhaul_core::id::{Epoch, MemberId, SnapshotId, TransferId};
use longhaul_core::message::{Effect, Handle, Message, Properties, Transaction};
use longhaul_core::transfer::live::{Config, Policy};
use longhaul_core::transfer::{Apply, Capture, Contract, Tag};

use crate::bytes::Choices;

const ME: MemberId = MemberId([1; 16]);
const MEMBERS: [MemberId; 4] = [ME, MemberId([2; 16]), MemberId([3; 16]), MemberId([4; 16])];
const SNAPSHOTS: [SnapshotId; 3] = [SnapshotId([7; 16]), SnapshotId([8; 16]), SnapshotId([9; 16])];
const TRANSFERS: [TransferId; 3] = [TransferId([5; 16]), TransferId([6; 16]), TransferId([7; 16])];

/// Which machine, then what happens to it.
///
/// # Panics
/// If the machine or its driver finds a property broken.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    if choices.yes() { provider::run(&mut choices) } else { joiner::run(&mut choices) }
}

fn config(choices: &mut Choices<'_>) -> Config {
    let pairs = [
        (Capture::Atomic, Apply::Once),
        (Capture::Atomic, Apply::Idempotent),
        (Capture::Fuzzy, Apply::Idempotent),
    ];
    let (capture, apply) = choices.pick(&pairs);
    let contract = Contract::new(capture, apply).expect("it is a pair that works");
    let mut config = Config::new(ME, Properties::FIFO.and(Properties::SEND_AGAIN), contract);
    config.policy = choices.pick(&[Policy::Throttle, Policy::Wait, Policy::Fail, Policy::LatchNow]);
    config.log_bytes = choices.pick(&[1 << 20, 1000]);
    config.batch_bytes = choices.pick(&[1 << 20, 200]);
    config.small_bytes = choices.pick(&[64 << 10, 100, 0]);
    config.comparable = choices.yes();
    config
}

fn tag(choices: &mut Choices<'_>) -> Tag {
    Tag {
        transfer: TRANSFERS[choices.pick(&[0, 0, 0, 1, 2])],
        epoch: Epoch(choices.pick(&[1, 1, 2, 3, 4, 0, u64::MAX])),
    }
}

fn time(choices: &mut Choices<'_>) -> Duration {
    Duration::from_millis(choices.pick(&[0, 1, 4, 12, 600, 1100, 20_000, 100_000]))
}

fn transaction(choices: &mut Choices<'_>) -> Transaction {
    Transaction { member: choices.pick(&MEMBERS), number: choices.pick(&[1, 2, 3]) }
}

fn effect(choices: &mut Choices<'_>) -> Effect {
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
fn message(choices: &mut Choices<'_>, sent: &mut [u64; 4]) -> Message {
    let n = choices.below(MEMBERS.len());
    let next = sent[n] + 1;
    let number = choices.pick(&[next, next, next, sent[n].max(1), next + 1]);
    sent[n] = sent[n].max(number);
    Message { sender: MEMBERS[n], sequence: SequenceNumber(number), len: 10, handle: Handle(0) }
}
