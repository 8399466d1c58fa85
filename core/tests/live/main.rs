//! What a live transfer refuses, remembers and never does: both machines side by side, step by step.

mod joiner;
mod provider;

use std::time::Duration;

use longhaul_core::digest::{Digest, SequenceNumber};
use longhaul_core::id::{Epoch, MemberId, SnapshotId, TransferId};
use longhaul_core::message::{Effect, Handle, Message, Properties, Verdict};
use longhaul_core::time::Instant;
use longhaul_core::transfer::live::{At, Command, Config, ConfigError, Joiner, Link, Provider, Role, Send};
use longhaul_core::transfer::wire::{FRAME_MAX, Frame, HEADER_LEN, Header, Payload};
use longhaul_core::transfer::{Apply, Capture, Contract, Tag, digest_sum};

type P = Provider<8, 2>;
type J = Joiner<8, 2>;

const PROVIDER: MemberId = MemberId([1; 16]);
const WRITER: MemberId = MemberId([2; 16]);
const JOINER: MemberId = MemberId([3; 16]);
const TRANSFER: TransferId = TransferId([7; 16]);
const SNAPSHOT: SnapshotId = SnapshotId([9; 16]);
const LINK: Link = Link(0);
const PAYLOAD: Payload = Payload { len: 10, crc: 5 };

fn ms(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn config(member: MemberId) -> Config {
    let contract = Contract::new(Capture::Atomic, Apply::Once).unwrap();
    let offers = Properties::FIFO.and(Properties::SEND_AGAIN);
    Config { small_bytes: 50, log_bytes: 10_000, ..Config::new(member, offers, contract) }
}

fn provider() -> P {
    P::new(config(PROVIDER), Role::Provider, Digest::new(), []).unwrap()
}

/// A frame as it comes out of a wire.
fn parse(bytes: &[u8]) -> (Tag, Frame<'_>) {
    let header = Header::parse(bytes[..HEADER_LEN].try_into().unwrap()).unwrap();
    (header.tag, Frame::parse(&header, &bytes[HEADER_LEN..]).unwrap())
}

const fn tag(epoch: u64) -> Tag {
    Tag { transfer: TRANSFER, epoch: Epoch(epoch) }
}

/// The writer's message of this number.
const fn message(sequence: u64) -> Message {
    Message { sender: WRITER, sequence: SequenceNumber(sequence), len: 100, handle: Handle(sequence) }
}

fn deliver(provider: &mut P, sequence: u64, effect: Effect, now: Instant) -> Verdict {
    provider.handle_message(&message(sequence), effect, 100, now).unwrap()
}

fn commands(provider: &mut P) -> Vec<Command> {
    std::iter::from_fn(|| provider.poll_command()).collect()
}

/// What the provider sends, as bytes.
fn sent(provider: &mut P, now: Instant) -> Vec<(Vec<u8>, Option<Send>)> {
    let mut out = [0; FRAME_MAX];
    std::iter::from_fn(|| {
        let sent = provider.poll_transmit(&mut out, now)?;
        Some((out[..sent.len].to_vec(), sent.payload))
    })
    .collect()
}

fn kinds(sent: &[(Vec<u8>, Option<Send>)]) -> String {
    let names: Vec<_> = sent.iter().map(|(bytes, _)| format!("{:?}", parse(bytes).1.kind())).collect();
    names.join(" ")
}

/// A joiner that has staged what was captured at the writer's first `messages` messages.
fn staged(provider: &mut P, messages: u64) {
    for sequence in 1..=messages {
        assert_eq!(deliver(provider, sequence, Effect::Write, ms(0)), Verdict::Deliver);
    }
    provider.handle_frame(LINK, tag(1), &Frame::Request { member: JOINER, have: None }, ms(1));
    assert_eq!(commands(provider), [Command::Capture]);
    let digest = provider.delivered().clone();
    provider.handle_captured(SNAPSHOT, &digest, ms(2));
    assert_eq!(commands(provider), [Command::Give { transfer: TRANSFER, snapshot: SNAPSHOT }]);
    assert_eq!(kinds(&sent(provider, ms(2))), "Digest Begin");
}

/// The same, at its latch with all sent: nothing was logged meanwhile.
fn latched(provider: &mut P) {
    staged(provider, 3);
    provider.handle_frame(LINK, tag(1), &Frame::Staged, ms(3));
    provider.handle_timeout(ms(3));
    assert_eq!(kinds(&sent(provider, ms(3))), "Digest Last");
    assert_eq!(provider.at(TRANSFER), Some(At::Deciding));
    commands(provider);
}

fn ready(provider: &P) -> Frame<'static> {
    Frame::Ready { digest: digest_sum(provider.delivered()) }
}

#[test]
fn what_is_needed_is_checked_when_a_machine_is_made() {
    let without = Config { offers: Properties::FIFO, ..config(PROVIDER) };
    let refused = P::new(without, Role::Provider, Digest::new(), []).err();
    assert!(
        matches!(refused, Some(ConfigError::Missing(missing)) if missing.to_string().contains("sent again"))
    );
    let short = Config { lease: Duration::from_millis(5), ..config(JOINER) };
    assert_eq!(J::new(short, TRANSFER, PROVIDER, ms(0)).err(), Some(ConfigError::Bounds));
}
