//! Both machines of a fetch side by side, and what they say as it comes out of a wire.

use std::time::Duration;

use longhaul_core::digest::{Digest, Entry, SequenceNumber};
use longhaul_core::id::{Epoch, MemberId, SnapshotId, StateId, TransferId};
use longhaul_core::message::{Effect, Handle, Message, Verdict};
use longhaul_core::time::Instant;
use longhaul_core::transfer::fetch::{
    CaptureNumber, Command, Config, Joiner, JoinerCommand, Protocol, Provider, Want,
};
use longhaul_core::transfer::wire::{FRAME_MAX, Frame, HEADER_LEN, Header};
use longhaul_core::transfer::{Apply, Capture, Contract, Role, Tag};

pub(crate) type P = Provider<8, 3>;
pub(crate) type J = Joiner<8>;

pub(crate) const PROVIDER: MemberId = MemberId([1; 16]);
pub(crate) const OTHER: MemberId = MemberId([2; 16]);
pub(crate) const THIRD: MemberId = MemberId([4; 16]);
pub(crate) const JOINER: MemberId = MemberId([3; 16]);
/// Whoever writes; under total order whoever numbers.
pub(crate) const WRITER: MemberId = MemberId([9; 16]);
pub(crate) const TRANSFER: TransferId = TransferId([7; 16]);
pub(crate) const SNAPSHOT: SnapshotId = SnapshotId([8; 16]);
pub(crate) const WHOLE: StateId = StateId([0; 16]);

pub(crate) const fn ms(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

pub(crate) fn config(member: MemberId, protocol: Protocol) -> Config {
    let contract = Contract::new(Capture::Atomic, Apply::Once).unwrap();
    let (stall_timeout, lease) = (Duration::from_secs(1), Duration::from_secs(2));
    Config { stall_timeout, lease, ..Config::new(member, protocol, protocol.needs(), contract) }
}

pub(crate) fn provider(member: MemberId, protocol: Protocol) -> P {
    P::new(config(member, protocol), Role::Provider, Digest::new()).unwrap()
}

pub(crate) fn joiner(protocol: Protocol, want: Want, providers: &[MemberId]) -> J {
    let config = config(JOINER, protocol);
    J::new(config, TRANSFER, (WHOLE, want), providers, Digest::new(), ms(0)).unwrap()
}

/// What the writer has sent up to a number.
pub(crate) fn digest(sequence: u64) -> Digest<8> {
    let mut digest = Digest::new();
    let sequence = SequenceNumber(sequence);
    digest.insert(Entry::new(WRITER, sequence, sequence).unwrap()).unwrap();
    digest
}

pub(crate) const fn tag(epoch: u64) -> Tag {
    Tag { transfer: TRANSFER, epoch: Epoch(epoch) }
}

pub(crate) const fn message(sequence: u64) -> Message {
    Message { sender: WRITER, sequence: SequenceNumber(sequence), len: 100, handle: Handle(sequence) }
}

/// The writer's message of this number is delivered.
pub(crate) fn write(provider: &mut P, sequence: u64) -> Verdict {
    provider.handle_message(&message(sequence), Effect::Write, None, ms(0)).unwrap()
}

/// A message of this number that says something to the machines.
pub(crate) fn say(provider: &mut P, sequence: u64, tag: Tag, frame: &Frame<'_>, now: Instant) -> Verdict {
    let verdict = provider.handle_message(&message(sequence), Effect::Nothing, Some((tag, frame)), now);
    verdict.unwrap()
}

/// The same, at the joiner.
pub(crate) fn hear(
    joiner: &mut J,
    sequence: u64,
    control: Option<(Tag, &Frame<'_>)>,
    now: Instant,
) -> Verdict {
    joiner.handle_message(&message(sequence), control, now).unwrap()
}

pub(crate) fn commands(provider: &mut P) -> Vec<Command> {
    std::iter::from_fn(|| provider.poll_command()).collect()
}

pub(crate) fn wanted(joiner: &mut J) -> Vec<JoinerCommand> {
    std::iter::from_fn(|| joiner.poll_command()).collect()
}

pub(crate) fn parse(bytes: &[u8]) -> (Tag, Frame<'_>) {
    let header = Header::parse(bytes[..HEADER_LEN].try_into().unwrap()).unwrap();
    (header.tag, Frame::parse(&header, &bytes[HEADER_LEN..]).unwrap())
}

/// What the provider says, as bytes.
pub(crate) fn told(provider: &mut P, now: Instant) -> Vec<Vec<u8>> {
    let mut out = [0; FRAME_MAX];
    std::iter::from_fn(|| {
        let len = provider.poll_transmit(&mut out, now)?.len;
        Some(out[..len].to_vec())
    })
    .collect()
}

/// What the joiner says, as bytes.
pub(crate) fn asked(joiner: &mut J) -> Vec<Vec<u8>> {
    let mut out = [0; FRAME_MAX];
    std::iter::from_fn(|| {
        let len = joiner.poll_transmit(&mut out)?.len;
        Some(out[..len].to_vec())
    })
    .collect()
}

pub(crate) fn kinds(sent: &[Vec<u8>]) -> String {
    let names: Vec<_> = sent.iter().map(|bytes| format!("{:?}", parse(bytes).1.kind())).collect();
    names.join(" ")
}

/// All that the joiner says goes to the provider.
pub(crate) fn ask(joiner: &mut J, provider: &mut P, now: Instant) {
    for bytes in asked(joiner) {
        let (tag, frame) = parse(&bytes);
        provider.handle_frame(JOINER, tag, &frame, now);
    }
}

/// All that the provider says goes to the joiner.
pub(crate) fn answer(provider: &mut P, from: MemberId, joiner: &mut J, now: Instant) {
    for bytes in told(provider, now) {
        let (tag, frame) = parse(&bytes);
        joiner.handle_frame(from, tag, &frame, now);
    }
}

/// The provider's captures are taken where they are commanded.
pub(crate) fn capture(provider: &mut P, now: Instant) -> Vec<CaptureNumber> {
    let digest = provider.delivered().clone();
    let numbers: Vec<_> = commands(provider)
        .into_iter()
        .filter_map(|command| match command {
            Command::Capture { capture, .. } => Some(capture),
            _ => None,
        })
        .collect();
    for capture in &numbers {
        provider.handle_captured(*capture, SNAPSHOT, &digest, now);
    }
    numbers
}

pub(crate) fn is_gone(provider: &mut P) -> bool {
    commands(provider);
    provider.is_idle()
}
