//! What a joiner waits for, checks and never does.

use longhaul_core::digest::{Digest, Entry, SequenceNumber};
use longhaul_core::message::{Effect, Message, Transaction, Verdict};
use longhaul_core::time::Instant;
use longhaul_core::transfer::live::{Config, Failure, JoinerCommand, Record, State, Take};
use longhaul_core::transfer::wire::{FRAME_MAX, Frame};
use longhaul_core::transfer::{Decision, LogPoint};

use crate::{J, JOINER, PAYLOAD, PROVIDER, SNAPSHOT, TRANSFER, WRITER, config, message, ms, parse, tag};

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

#[test]
fn a_member_with_an_old_state_delivers_into_it_what_a_new_one_would_not_leave_out() {
    let old = |delivered| digest(delivered, delivered);
    let mut joiner = following();
    assert!(joiner.allows_delivery(&old(8), &message(9), Effect::Write), "while it follows");
    let mut joiner = at_ready();
    assert!(joiner.allows_delivery(&old(3), &message(4), Effect::Write), "the old one may have to stand");
    assert!(!joiner.allows_delivery(&old(4), &message(5), Effect::Write), "it comes behind the new one");
    assert!(joiner.allows_delivery(&old(5), &message(5), Effect::Write), "it is not delivered anyway");
    joiner.handle_frame(tag(1), &Frame::Commit, ms(5));
    assert!(!joiner.allows_delivery(&old(3), &message(4), Effect::Write), "while states are swapped");
    joiner.handle_committed(ms(6));
    assert!(joiner.allows_delivery(&old(4), &message(5), Effect::Write), "into the new one");
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
    assert_eq!(joiner.handle_record(&record(5, Effect::Write), ms(3)), Take::Stop);
    assert_eq!(joiner.failure(), Some(Failure::Protocol), "one more than was announced");

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
fn there_may_be_any_number_of_promises_whose_outcome_has_gone_by() {
    let mut joiner = following();
    let transaction = |number| Transaction { member: WRITER, number };
    // Of these two transactions the first stays open.
    let prepare = |joiner: &mut J, sequence| {
        joiner.handle_message(&message(sequence), Effect::Prepare(transaction(sequence)))
    };
    assert_eq!(prepare(&mut joiner, 4), Verdict::Drop);
    for sequence in (5..100).step_by(2) {
        assert_eq!(prepare(&mut joiner, sequence), Verdict::Drop);
        let outcome = Effect::Commit(transaction(sequence));
        assert_eq!(joiner.handle_message(&message(sequence + 1), outcome), Verdict::Drop);
    }
    assert_eq!(prepare(&mut joiner, 101), Verdict::Drop);
    // Two are open now: there is no room, until one of them ends.
    assert_eq!(prepare(&mut joiner, 102), Verdict::Hold);
    let other = Message { sender: PROVIDER, ..message(1) };
    assert_eq!(joiner.handle_message(&other, Effect::Rollback(transaction(101))), Verdict::Drop);
    assert_eq!(joined(&mut joiner), [JoinerCommand::Reoffer]);
    assert_eq!(prepare(&mut joiner, 102), Verdict::Drop);
    // The one that is open is looked for.
    log(&mut joiner, 4, 4, ms(3));
    let completed = Record { sequence: SequenceNumber(103), ..record(4, Effect::Write) };
    assert_eq!(joiner.handle_record(&completed, ms(3)), Take::Apply);
    joiner.handle_applied(point(4), ms(3));
    last(&mut joiner, 4, 103, 0, ms(4));
    let unaccounted = |n| Some(Failure::Unaccounted(transaction(n)));
    assert!([unaccounted(4), unaccounted(102)].contains(&joiner.failure()), "{:?}", joiner.failure());
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
