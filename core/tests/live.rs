//! What a live transfer refuses, remembers and never does: both machines side by side, step by step.

use std::time::Duration;

use longhaul_core::digest::{Digest, Entry, SequenceNumber};
use longhaul_core::id::{Epoch, MemberId, SnapshotId, TransferId};
use longhaul_core::message::{Effect, Handle, Message, Properties, Transaction, Verdict};
use longhaul_core::time::Instant;
use longhaul_core::transfer::live::{
    At, Command, Config, ConfigError, Event, Failure, Joiner, JoinerCommand, Link, Policy, Provider, Record,
    Role, Send, State, Take,
};
use longhaul_core::transfer::wire::{FRAME_MAX, Frame, HEADER_LEN, Header, Payload, Refusal};
use longhaul_core::transfer::{Apply, Capture, Contract, Decision, LogPoint, Tag, digest_sum};

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

#[test]
fn while_an_epoch_is_undecided_nothing_is_delivered_or_admitted() {
    let mut provider = provider();
    latched(&mut provider);
    assert_eq!(deliver(&mut provider, 4, Effect::Write, ms(4)), Verdict::Hold);
    assert_eq!(provider.handle_request(ms(4)), Verdict::Hold);
    provider.handle_frame(LINK, tag(1), &ready(&provider), ms(9));
    assert_eq!(provider.outcome(tag(1)), Some(Decision::Commit));
    assert_eq!(kinds(&sent(&mut provider, ms(9))), "Commit");
    assert!(commands(&mut provider).contains(&Command::Reoffer));
    assert_eq!(deliver(&mut provider, 4, Effect::Write, ms(9)), Verdict::Deliver);
    let opened = std::iter::from_fn(|| provider.poll_event()).find_map(|event| match event {
        Event::LatchOpened { held_ns, delayed_ns } => Some((held_ns, delayed_ns)),
        _ => None,
    });
    assert_eq!(opened, Some((6_000_000, 5_000_000)), "from its first sign, and from the first that was held");
    assert!(provider.is_idle());
}

// Catalogue: F72, F52
#[test]
fn a_ready_that_comes_when_the_lease_is_over_commits_nothing_even_if_no_timer_has_run() {
    let mut provider = provider();
    latched(&mut provider);
    let ready = ready(&provider);
    provider.handle_frame(LINK, tag(1), &ready, ms(3 + 1000));
    assert_eq!(provider.outcome(tag(1)), Some(Decision::Abort));
    assert_eq!(kinds(&sent(&mut provider, ms(1003))), "Abort");
    assert!(!provider.is_latched());
}

#[test]
fn a_latch_opens_with_its_lease_whatever_becomes_of_the_joiner() {
    let mut provider = provider();
    latched(&mut provider);
    provider.handle_link_lost(LINK, ms(4));
    assert!(provider.is_latched(), "its word may come by another connection");
    assert_eq!(provider.poll_timeout(), Some(ms(1003)));
    provider.handle_timeout(ms(1003));
    assert!(!provider.is_latched());
    assert_eq!(provider.outcome(tag(1)), Some(Decision::Abort));
    let ready = ready(&provider);
    provider.handle_frame(LINK, tag(1), &ready, ms(1004));
    assert_eq!(provider.outcome(tag(1)), Some(Decision::Abort), "an epoch has one outcome");
}

// Catalogue: F70
#[test]
fn a_ready_of_an_old_epoch_commits_nothing() {
    let mut provider = provider();
    latched(&mut provider);
    let (old, have) = (ready(&provider), None);
    let later = Link(1);
    provider.handle_frame(later, tag(2), &Frame::Request { member: JOINER, have }, ms(10));
    assert_eq!(provider.outcome(tag(1)), Some(Decision::Abort), "the later epoch ends the one before");
    commands(&mut provider);
    let digest = provider.delivered().clone();
    provider.handle_captured(SNAPSHOT, &digest, ms(11));
    sent(&mut provider, ms(11));
    provider.handle_frame(later, tag(2), &Frame::Staged, ms(12));
    sent(&mut provider, ms(12));
    assert_eq!(provider.at(TRANSFER), Some(At::Deciding));
    // The same words, of the epoch before: over its own connection, and over the later one.
    provider.handle_frame(LINK, tag(1), &old, ms(13));
    provider.handle_frame(later, tag(1), &old, ms(13));
    assert_eq!((provider.outcome(tag(1)), provider.outcome(tag(2))), (Some(Decision::Abort), None));
    provider.handle_frame(later, tag(2), &old, ms(14));
    assert_eq!(provider.outcome(tag(2)), Some(Decision::Commit));
}

#[test]
fn a_ready_at_another_digest_commits_nothing() {
    let mut provider = provider();
    latched(&mut provider);
    provider.handle_frame(LINK, tag(1), &Frame::Ready { digest: [0; 32] }, ms(4));
    assert_eq!(provider.outcome(tag(1)), Some(Decision::Abort));
}

// Catalogue: F73
#[test]
fn who_asks_is_told_what_was_recorded_and_an_epoch_that_nobody_knows_is_aborted() {
    let mut provider = provider();
    latched(&mut provider);
    let ready = ready(&provider);
    provider.handle_frame(LINK, tag(1), &ready, ms(4));
    sent(&mut provider, ms(4));
    for (link, epoch, decision) in [(5, 1, Decision::Commit), (6, 8, Decision::Abort)] {
        provider.handle_frame(Link(link), tag(epoch), &Frame::Ask, ms(5));
        let told = sent(&mut provider, ms(5));
        assert_eq!(parse(&told[0].0), (tag(epoch), Frame::Outcome { decision }));
    }
    // Asked while it could still be decided: whoever asks has not been heard, and is answered at once.
    let mut provider = self::provider();
    latched(&mut provider);
    provider.handle_frame(Link(5), tag(1), &Frame::Ask, ms(5));
    assert_eq!(provider.outcome(tag(1)), Some(Decision::Abort));
    assert!(!provider.is_latched());
}

// Catalogue: F74
#[test]
fn what_is_in_flight_is_drained_for_half_the_budget_and_then_the_latch_opens_for_a_while() {
    let mut provider = provider();
    assert_eq!(provider.handle_request(ms(0)), Verdict::Deliver);
    staged(&mut provider, 3);
    provider.handle_frame(LINK, tag(1), &Frame::Staged, ms(3));
    assert_eq!(provider.at(TRANSFER), Some(At::Closing));
    assert_eq!(provider.handle_request(ms(4)), Verdict::Hold, "nothing new is admitted");
    assert_eq!(deliver(&mut provider, 4, Effect::Write, ms(4)), Verdict::Deliver, "what is in flight ends");
    assert_eq!(provider.poll_timeout(), Some(ms(8)));
    provider.handle_timeout(ms(8));
    assert!(!provider.is_latched());
    assert_eq!(provider.handle_request(ms(8)), Verdict::Deliver);
    // Both have ended when it is tried again.
    provider.handle_request_done(ms(9));
    provider.handle_request_done(ms(9));
    assert_eq!(provider.at(TRANSFER), Some(At::Following));
    let again = provider.poll_timeout().unwrap();
    assert!(again > ms(9));
    provider.handle_timeout(again);
    assert_eq!(provider.at(TRANSFER), Some(At::Deciding));
}

// Catalogue: F34, F46
#[test]
fn a_log_at_its_bound_costs_the_joiner_its_place_and_never_has_a_hole() {
    let mut provider = provider();
    staged(&mut provider, 3);
    for sequence in 4..=104 {
        assert_eq!(deliver(&mut provider, sequence, Effect::Write, ms(4)), Verdict::Deliver);
    }
    let told = sent(&mut provider, ms(4));
    let refused = Frame::Refused { why: Refusal::LogFull, retry_after_ms: 100 };
    assert_eq!(parse(&told[0].0), (tag(1), refused));
    let done = commands(&mut provider);
    let dropped = Command::DropCapture { snapshot: SNAPSHOT };
    assert!(done.contains(&dropped) && done.contains(&Command::StopLog), "{done:?}");
    assert!(provider.is_idle());
}

// Catalogue: F47
#[test]
fn writes_that_are_quicker_than_the_joiner_are_told_and_the_policy_decides() {
    for (policy, told) in [
        (Policy::Throttle, Some(Command::Throttle { on: true })),
        (Policy::Wait, None),
        (Policy::Fail, Some(Command::StopLog)),
        (Policy::LatchNow, None),
    ] {
        let config = Config { policy, patience: 1, log_bytes: 1 << 30, ..config(PROVIDER) };
        let mut provider = P::new(config, Role::Provider, Digest::new(), []).unwrap();
        staged(&mut provider, 3);
        for sequence in 4..=13 {
            let _ = deliver(&mut provider, sequence, Effect::Write, ms(4));
        }
        provider.handle_frame(LINK, tag(1), &Frame::Staged, ms(5));
        let from = LogPoint { records: 3, bytes: 300 };
        let to = LogPoint { records: 13, bytes: 1300 };
        provider.handle_log_read(LINK, from, to, PAYLOAD, ms(6));
        sent(&mut provider, ms(6));
        for sequence in 14..=30 {
            let _ = deliver(&mut provider, sequence, Effect::Write, ms(7));
        }
        commands(&mut provider);
        // A second for what ten records are.
        provider.handle_frame(LINK, tag(1), &Frame::Applied { to }, ms(1005));
        let rates = std::iter::from_fn(|| provider.poll_event()).find_map(|event| match event {
            Event::CannotConverge { written_per_second, applied_per_second, .. } => {
                Some((written_per_second, applied_per_second))
            }
            _ => None,
        });
        assert_eq!(rates, Some((1700, 1000)), "{policy:?}");
        let done = commands(&mut provider);
        assert!(told.is_none_or(|told| done.contains(&told)), "{policy:?}: {done:?}");
        let at = provider.at(TRANSFER);
        match policy {
            Policy::Fail => assert_eq!(at, None),
            Policy::LatchNow => assert_eq!(at, Some(At::Deciding)),
            Policy::Throttle | Policy::Wait => assert_eq!(at, Some(At::Following)),
        }
    }
}

// Catalogue: B44
#[test]
fn a_place_in_the_log_that_has_more_bytes_than_there_are_ends_the_epoch_alone() {
    let mut provider = provider();
    staged(&mut provider, 3);
    assert_eq!(deliver(&mut provider, 4, Effect::Write, ms(3)), Verdict::Deliver);
    assert_eq!(deliver(&mut provider, 5, Effect::Write, ms(3)), Verdict::Deliver);
    provider.handle_frame(LINK, tag(1), &Frame::Staged, ms(4));
    let read = commands(&mut provider).into_iter().find_map(|command| match command {
        Command::ReadLog { link: LINK, from, .. } => Some(from),
        _ => None,
    });
    let from = read.expect("there is something to read");
    let to = from.behind(100).behind(100);
    provider.handle_log_read(LINK, from, to, PAYLOAD, ms(5));
    assert_eq!(kinds(&sent(&mut provider, ms(5))), "Records");
    let made_up = LogPoint { records: from.records + 1, bytes: u64::MAX };
    provider.handle_frame(LINK, tag(1), &Frame::Applied { to: made_up }, ms(6));
    assert_eq!(provider.at(TRANSFER), Some(At::Parted));
}

#[test]
fn a_capture_that_is_not_of_its_place_in_the_order_is_refused() {
    for ahead in [true, false] {
        let mut provider = provider();
        let _ = deliver(&mut provider, 1, Effect::Write, ms(0));
        let before = Digest::new();
        provider.handle_frame(LINK, tag(1), &Frame::Request { member: JOINER, have: None }, ms(1));
        let _ = deliver(&mut provider, 2, Effect::Write, ms(1));
        let digest = if ahead { provider.delivered().clone() } else { before };
        provider.handle_captured(SNAPSHOT, &digest, ms(2));
        let told = sent(&mut provider, ms(2));
        let refused = Frame::Refused { why: Refusal::Capture, retry_after_ms: 100 };
        assert_eq!(parse(&told[0].0).1, refused, "ahead {ahead}");
        assert!(provider.is_idle());
    }
}

// Catalogue: F71
#[test]
fn one_member_has_one_transfer_at_a_provider() {
    let mut provider = provider();
    staged(&mut provider, 1);
    let request = Frame::Request { member: JOINER, have: None };
    let other = Tag { transfer: TransferId([8; 16]), epoch: Epoch(1) };
    provider.handle_frame(Link(1), other, &request, ms(3));
    let stranger = Frame::Request { member: WRITER, have: None };
    provider.handle_frame(Link(2), tag(2), &stranger, ms(3));
    let itself = Frame::Request { member: PROVIDER, have: None };
    provider.handle_frame(Link(3), other, &itself, ms(3));
    let told: Vec<_> = sent(&mut provider, ms(3))
        .iter()
        .map(|(bytes, _)| parse(bytes).1)
        .map(|frame| match frame {
            Frame::Refused { why, .. } => why,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [Refusal::Busy, Refusal::Busy, Refusal::Oneself]);
    assert_eq!(provider.at(TRANSFER), Some(At::Staging));
}

#[test]
fn who_is_not_operational_or_no_participant_gives_nothing_and_a_latch_still_gets_its_outcome() {
    let mut provider = P::new(config(PROVIDER), Role::Joining, Digest::new(), []).unwrap();
    let why = |provider: &mut P| match parse(&sent(provider, ms(1))[0].0).1 {
        Frame::Refused { why, .. } => why,
        other => panic!("{other:?}"),
    };
    let request = Frame::Request { member: JOINER, have: None };
    provider.handle_frame(LINK, tag(1), &request, ms(1));
    assert_eq!(why(&mut provider), Refusal::NotOperational);
    provider.set_role(Role::Provider, ms(1));
    staged(&mut provider, 1);
    provider.set_role(Role::NonParticipant, ms(2));
    assert_eq!(why(&mut provider), Refusal::NonParticipant);
    let mut provider = self::provider();
    latched(&mut provider);
    provider.set_role(Role::NonParticipant, ms(4));
    let ready = ready(&provider);
    provider.handle_frame(LINK, tag(1), &ready, ms(5));
    assert_eq!(provider.outcome(tag(1)), Some(Decision::Commit));
}

#[test]
fn joiners_share_a_capture_and_take_the_latch_one_after_the_other() {
    let mut provider = provider();
    staged(&mut provider, 2);
    let (other, second) = (Tag { transfer: TransferId([8; 16]), epoch: Epoch(1) }, Link(1));
    let request = Frame::Request { member: WRITER, have: None };
    provider.handle_frame(second, other, &request, ms(3));
    let give = Command::Give { transfer: other.transfer, snapshot: SNAPSHOT };
    assert_eq!(commands(&mut provider), [give], "no second capture");
    sent(&mut provider, ms(3));
    provider.handle_frame(LINK, tag(1), &Frame::Staged, ms(4));
    provider.handle_frame(second, other, &Frame::Staged, ms(4));
    assert!(commands(&mut provider).contains(&Command::DropCapture { snapshot: SNAPSHOT }));
    assert_eq!(
        (provider.at(TRANSFER), provider.at(other.transfer)),
        (Some(At::Deciding), Some(At::Following))
    );
    sent(&mut provider, ms(4));
    let ready = ready(&provider);
    provider.handle_frame(LINK, tag(1), &ready, ms(5));
    assert_eq!(provider.at(other.transfer), Some(At::Deciding));
}

/// A joiner that has asked, and has all sources pinned.
fn joiner_with(config: Config) -> J {
    let mut joiner = J::new(config, TRANSFER, PROVIDER, ms(0)).unwrap();
    assert_eq!(
        joined(&mut joiner),
        [JoinerCommand::Pin { round: 1 }, JoinerCommand::Dial { provider: PROVIDER }]
    );
    joiner.handle_pinned(1, &digest(0, 0), ms(0));
    joiner.handle_link_up(ms(0));
    assert_eq!(said(&mut joiner), "Request");
    joiner
}

fn joined(joiner: &mut J) -> Vec<JoinerCommand> {
    std::iter::from_fn(|| joiner.poll_command()).collect()
}

fn said(joiner: &mut J) -> String {
    let mut out = [0; FRAME_MAX];
    let frames = std::iter::from_fn(|| {
        let len = joiner.poll_transmit(&mut out)?;
        Some(format!("{:?}", parse(&out[..len]).1.kind()))
    });
    frames.collect::<Vec<_>>().join(" ")
}

/// Of the writer's messages so many are delivered, or gone; and so many were sent.
fn digest(delivered: u64, received: u64) -> Digest<8> {
    let mut digest = Digest::new();
    let (delivered, received) = (SequenceNumber(delivered), SequenceNumber(received));
    digest.insert(Entry::new(WRITER, delivered, received).unwrap()).unwrap();
    digest
}

fn give_digest(joiner: &mut J, delivered: u64, now: Instant) {
    let digest = digest(delivered, delivered);
    for part in digest.parts() {
        joiner.handle_frame(joiner.tag(), &Frame::Digest(part), now);
    }
}

const fn point(records: u64) -> LogPoint {
    LogPoint { records, bytes: records * 100 }
}

/// It follows the log, from what was captured at the writer's third message.
fn following() -> J {
    following_with(config(JOINER))
}

fn following_with(config: Config) -> J {
    let keep = config.comparable;
    let mut joiner = joiner_with(config);
    give_digest(&mut joiner, 3, ms(1));
    let begin =
        Frame::Begin { provider: PROVIDER, snapshot: SNAPSHOT, from: point(3), goes_on: false, members: 1 };
    joiner.handle_frame(tag(1), &begin, ms(1));
    assert_eq!(joined(&mut joiner), [JoinerCommand::Stage { snapshot: SNAPSHOT, keep }]);
    joiner.handle_staged(SNAPSHOT, ms(2));
    assert_eq!(said(&mut joiner), "Staged");
    joiner
}

const fn record(number: u64, effect: Effect) -> Record {
    Record { number, sender: WRITER, sequence: SequenceNumber(number), effect }
}

/// Records of these numbers come.
fn log(joiner: &mut J, from: u64, to: u64, now: Instant) {
    let frame = Frame::Records { from: point(from - 1), to: point(to), payload: PAYLOAD };
    joiner.handle_frame(joiner.tag(), &frame, now);
    assert!(joiner.handle_payload(PAYLOAD, now));
}

fn last(joiner: &mut J, end: u64, delivered: u64, pending: u32, now: Instant) {
    give_digest(joiner, delivered, now);
    let frame = Frame::Last { end: point(end), lease_ns: 1_000_000_000, pending, members: 1 };
    joiner.handle_frame(joiner.tag(), &frame, now);
}

/// It is ready at the writer's fourth message.
fn at_ready() -> J {
    let mut joiner = following();
    log(&mut joiner, 4, 4, ms(3));
    assert_eq!(joiner.handle_record(&record(4, Effect::Write), ms(3)), Take::Apply);
    last(&mut joiner, 4, 4, 0, ms(3));
    assert_eq!(joiner.state(), State::Closing, "not before it is durable");
    joiner.handle_applied(point(4), ms(4));
    assert_eq!((joiner.state(), said(&mut joiner).as_str()), (State::Ready, "Applied Ready"));
    joiner
}

#[test]
fn a_joiner_serves_only_after_commit() {
    let mut joiner = at_ready();
    // Neither time nor messages make it serve.
    joiner.handle_timeout(ms(500));
    assert_eq!(joiner.handle_message(&message(5), Effect::Write), Verdict::Hold);
    assert_eq!(joiner.handle_message(&message(4), Effect::Write), Verdict::Drop);
    assert_eq!(joined(&mut joiner), []);
    joiner.handle_frame(tag(1), &Frame::Commit, ms(600));
    assert_eq!(joined(&mut joiner), [JoinerCommand::Close, JoinerCommand::Commit]);
    joiner.handle_committed(ms(601));
    assert_eq!(joined(&mut joiner), [JoinerCommand::Reoffer, JoinerCommand::Unpin, JoinerCommand::Serve]);
    assert_eq!(joiner.state(), State::Serving);
}

// Catalogue: F72, F73
#[test]
fn without_a_word_it_asks_and_never_decides() {
    let mut joiner = at_ready();
    assert_eq!(joiner.poll_timeout(), Some(ms(2004)));
    joiner.handle_timeout(ms(2004));
    assert_eq!(joiner.state(), State::Doubting);
    joiner.handle_timeout(ms(2004));
    let done = joined(&mut joiner);
    assert!(done.contains(&JoinerCommand::Dial { provider: PROVIDER }), "{done:?}");
    joiner.handle_link_up(ms(2010));
    assert_eq!(said(&mut joiner), "Ask");
    joiner.handle_frame(tag(1), &Frame::Outcome { decision: Decision::Abort }, ms(2020));
    assert_eq!((joiner.state(), joiner.failure()), (State::Dialling, Some(Failure::Aborted)));
    assert!(!joined(&mut joiner).contains(&JoinerCommand::Commit));
}

// Catalogue: F52
#[test]
fn a_commit_that_is_read_late_is_asked_for_again_and_what_was_missed_comes_first() {
    let mut joiner = at_ready();
    joiner.handle_frame(tag(1), &Frame::Commit, ms(5000));
    assert_eq!(joiner.state(), State::Doubting);
    joiner.handle_timeout(ms(5000));
    joined(&mut joiner);
    joiner.handle_link_up(ms(5001));
    joiner.handle_frame(tag(1), &Frame::Outcome { decision: Decision::Commit }, ms(5002));
    assert_eq!(joiner.state(), State::Doubting, "first it must be sure that all that follows is kept");
    joiner.handle_pinned(1, &digest(0, 4), ms(5002));
    assert_eq!(joiner.state(), State::Doubting, "not by an answer from before");
    joiner.handle_pinned(2, &digest(4, 9), ms(5003));
    assert_eq!(joiner.state(), State::Committing);
    joiner.handle_committed(ms(5003));
    assert_eq!(joiner.state(), State::CatchingUp);
    joiner.handle_delivered(&digest(8, 8));
    assert_eq!(joiner.state(), State::CatchingUp);
    joiner.handle_delivered(&digest(9, 9));
    assert_eq!(joiner.state(), State::Serving);
}

#[test]
fn a_late_commit_whose_messages_are_gone_is_given_up() {
    let mut joiner = at_ready();
    joiner.handle_frame(tag(1), &Frame::Commit, ms(5000));
    joiner.handle_timeout(ms(5000));
    joiner.handle_link_up(ms(5001));
    joiner.handle_frame(tag(1), &Frame::Outcome { decision: Decision::Commit }, ms(5002));
    joiner.handle_pinned(2, &digest(5, 9), ms(5003));
    assert_eq!(joiner.failure(), Some(Failure::PinLost { source: WRITER }));
    assert!(!joined(&mut joiner).contains(&JoinerCommand::Commit));
}

// Catalogue: F46, F77, B44
#[test]
fn a_gap_in_the_log_ends_the_epoch_and_a_record_that_comes_twice_is_left_out() {
    let mut joiner = following();
    log(&mut joiner, 4, 6, ms(3));
    assert_eq!(joiner.handle_record(&record(4, Effect::Write), ms(3)), Take::Apply);
    assert_eq!(joiner.handle_record(&record(4, Effect::Write), ms(3)), Take::Skip);
    assert_eq!(joiner.handle_record(&record(6, Effect::Write), ms(3)), Take::Stop);
    assert_eq!(joiner.failure(), Some(Failure::LogGap { after: 4, next: 6 }));
    assert!(joined(&mut joiner).contains(&JoinerCommand::Rewind { to: None }), "a new round");

    let mut joiner = following();
    let frame = Frame::Records { from: point(4), to: point(5), payload: PAYLOAD };
    joiner.handle_frame(tag(1), &frame, ms(3));
    assert_eq!(joiner.failure(), Some(Failure::LogGap { after: 3, next: 5 }));

    let mut joiner = following();
    log(&mut joiner, 4, 4, ms(3));
    assert_eq!(joiner.handle_record(&record(4, Effect::Write), ms(3)), Take::Apply);
    last(&mut joiner, 5, 5, 0, ms(3));
    assert_eq!(joiner.failure(), Some(Failure::LogGap { after: 4, next: 5 }), "a log that is one short");
}

// Catalogue: F77, B44
#[test]
fn a_senders_messages_complete_in_their_order_and_none_is_above_the_digest() {
    let mut joiner = following();
    log(&mut joiner, 4, 5, ms(3));
    let back = Record { sequence: SequenceNumber(3), ..record(4, Effect::Write) };
    assert_eq!(joiner.handle_record(&back, ms(3)), Take::Stop);
    assert_eq!(joiner.failure(), Some(Failure::LogOrder { sender: WRITER }));

    let mut joiner = following();
    log(&mut joiner, 4, 4, ms(3));
    let future = Record { sequence: SequenceNumber(u64::MAX), ..record(4, Effect::Write) };
    assert_eq!(joiner.handle_record(&future, ms(3)), Take::Apply);
    last(&mut joiner, 4, 4, 0, ms(3));
    assert_eq!(joiner.failure(), Some(Failure::LogOrder { sender: WRITER }));
}

#[test]
fn what_was_answered_must_be_found_in_the_log_or_among_the_pending() {
    let transaction = |number| Transaction { member: WRITER, number };
    let prepare = |joiner: &mut J, sequence, number| {
        joiner.handle_message(&message(sequence), Effect::Prepare(transaction(number)))
    };
    // 4: prepare of 1, 5: prepare of 2, 6: commit of 1.
    for (found, pending) in [(true, true), (true, false), (false, true)] {
        let mut joiner = following();
        assert_eq!(prepare(&mut joiner, 4, 1), Verdict::Drop);
        assert_eq!(prepare(&mut joiner, 5, 2), Verdict::Drop);
        log(&mut joiner, 4, 4, ms(3));
        let effect = if found { Effect::Commit(transaction(1)) } else { Effect::Write };
        let completed = Record { sequence: SequenceNumber(6), ..record(4, effect) };
        assert_eq!(joiner.handle_record(&completed, ms(3)), Take::Apply);
        if pending {
            joiner.handle_frame(tag(1), &Frame::Pending { count: 1, payload: PAYLOAD }, ms(3));
            assert!(joiner.handle_payload(PAYLOAD, ms(3)));
            assert_eq!(joiner.handle_prepare(transaction(2), ms(3)), Take::Apply);
        }
        last(&mut joiner, 4, 6, u32::from(pending), ms(3));
        joiner.handle_applied(point(4), ms(4));
        match (found, pending) {
            (true, true) => assert_eq!(joiner.state(), State::Ready),
            (true, false) => assert_eq!(joiner.failure(), Some(Failure::Unaccounted(transaction(2)))),
            _ => assert_eq!(joiner.failure(), Some(Failure::Unaccounted(transaction(1)))),
        }
    }
}

#[test]
fn a_prepare_that_comes_when_its_transaction_is_complete_is_looked_for_no_more() {
    let mut joiner = following();
    let transaction = Transaction { member: WRITER, number: 1 };
    log(&mut joiner, 4, 4, ms(3));
    let completed = Record { sequence: SequenceNumber(6), ..record(4, Effect::Commit(transaction)) };
    assert_eq!(joiner.handle_record(&completed, ms(3)), Take::Apply);
    assert_eq!(joiner.handle_message(&message(5), Effect::Prepare(transaction)), Verdict::Drop);
    joiner.handle_applied(point(4), ms(3));
    // Nor while there is no connection.
    joiner.handle_link_lost(ms(4));
    assert_eq!(joiner.handle_message(&message(4), Effect::Prepare(transaction)), Verdict::Drop);
    joiner.handle_link_up(ms(6));
    let goes_on =
        Frame::Begin { provider: PROVIDER, snapshot: SNAPSHOT, from: point(4), goes_on: true, members: 0 };
    joiner.handle_frame(tag(2), &goes_on, ms(7));
    last(&mut joiner, 4, 6, 0, ms(8));
    assert_eq!(joiner.state(), State::Ready);
}

#[test]
fn a_prepare_that_comes_behind_the_pending_ones_waits_until_it_is_known_whether_it_is_among_them() {
    let mut joiner = following();
    let transaction = Transaction { member: WRITER, number: 1 };
    joiner.handle_frame(tag(1), &Frame::Pending { count: 1, payload: PAYLOAD }, ms(3));
    assert!(joiner.handle_payload(PAYLOAD, ms(3)));
    assert_eq!(joiner.handle_prepare(transaction, ms(3)), Take::Apply);
    assert_eq!(joiner.handle_message(&message(5), Effect::Prepare(transaction)), Verdict::Hold);
    last(&mut joiner, 3, 5, 1, ms(3));
    assert_eq!(joiner.state(), State::Ready);
    assert_eq!(joiner.handle_message(&message(5), Effect::Prepare(transaction)), Verdict::Drop);
}

#[test]
fn a_promise_is_given_only_when_it_can_be_remembered() {
    let mut joiner = following();
    let transaction = |number| Transaction { member: WRITER, number };
    let prepare = |joiner: &mut J, sequence| {
        joiner.handle_message(&message(sequence), Effect::Prepare(transaction(sequence)))
    };
    assert_eq!(
        [4, 5, 6].map(|sequence| prepare(&mut joiner, sequence)),
        [Verdict::Drop, Verdict::Drop, Verdict::Hold]
    );
    assert_eq!(prepare(&mut joiner, 5), Verdict::Drop, "it was given before");
    log(&mut joiner, 4, 4, ms(3));
    let completed = Record { sequence: SequenceNumber(7), ..record(4, Effect::Commit(transaction(4))) };
    assert_eq!(joiner.handle_record(&completed, ms(3)), Take::Apply);
    assert_eq!(joined(&mut joiner), [JoinerCommand::Reoffer]);
    assert_eq!(prepare(&mut joiner, 6), Verdict::Drop);
}

#[test]
fn what_is_durable_is_gone_on_with_after_a_lost_connection() {
    let mut joiner = following();
    log(&mut joiner, 4, 5, ms(3));
    assert_eq!(joiner.handle_record(&record(4, Effect::Write), ms(3)), Take::Apply);
    assert_eq!(joiner.handle_record(&record(5, Effect::Write), ms(3)), Take::Apply);
    joiner.handle_applied(point(5), ms(4));
    joiner.handle_link_lost(ms(5));
    assert!(joined(&mut joiner).contains(&JoinerCommand::Rewind { to: Some(point(5)) }));
    joiner.handle_link_up(ms(6));
    let mut out = [0; FRAME_MAX];
    let len = joiner.poll_transmit(&mut out).unwrap();
    let (second, request) = parse(&out[..len]);
    assert_eq!(second, tag(2));
    let Frame::Request { have: Some(have), .. } = request else { panic!("{request:?}") };
    assert_eq!((have.snapshot, have.point), (SNAPSHOT, point(5)));
    let begin =
        Frame::Begin { provider: PROVIDER, snapshot: SNAPSHOT, from: point(5), goes_on: true, members: 0 };
    joiner.handle_frame(second, &begin, ms(7));
    assert_eq!(joiner.state(), State::Following);
}

// Catalogue: F69
#[test]
fn another_provider_goes_on_only_where_versions_are_comparable() {
    for comparable in [false, true] {
        let config = Config { comparable, ..config(JOINER) };
        let mut joiner = following_with(config);
        joiner.switch(WRITER, ms(8));
        assert!(joined(&mut joiner).contains(&JoinerCommand::Rewind { to: None }), "no log is another's");
        joiner.handle_link_up(ms(9));
        give_digest(&mut joiner, 3, ms(9));
        let begin =
            Frame::Begin { provider: WRITER, snapshot: SNAPSHOT, from: point(8), goes_on: false, members: 1 };
        joiner.handle_frame(tag(2), &begin, ms(9));
        assert_eq!(joined(&mut joiner), [JoinerCommand::Stage { snapshot: SNAPSHOT, keep: comparable }]);
    }
}

#[test]
fn epochs_without_progress_are_bounded() {
    let mut joiner = J::new(config(JOINER), TRANSFER, PROVIDER, ms(0)).unwrap();
    let mut now = ms(0);
    for _ in 0..100 {
        joined(&mut joiner);
        joiner.handle_link_lost(now);
        let Some(next) = joiner.poll_timeout() else { break };
        now = now.max(next);
        joiner.handle_timeout(now);
    }
    assert_eq!((joiner.state(), joiner.failure()), (State::Failed, Some(Failure::Lost)));
    assert!(joined(&mut joiner).contains(&JoinerCommand::Unpin));
}
