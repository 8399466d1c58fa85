//! What a provider refuses, remembers and decides.

use longhaul_core::digest::{Digest, Entry, SequenceNumber};
use longhaul_core::id::{Epoch, TransferId};
use longhaul_core::message::{Effect, Verdict};
use longhaul_core::transfer::live::{At, Command, Config, Event, Link, Policy, Role};
use longhaul_core::transfer::wire::{Frame, Have, Refusal};
use longhaul_core::transfer::{Decision, LogPoint, Tag};

use crate::{
    JOINER, LINK, P, PAYLOAD, PROVIDER, SNAPSHOT, TRANSFER, WRITER, commands, config, deliver, kinds,
    latched, ms, parse, provider, ready, sent, staged, tag,
};

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

// Catalogue: F70, F73
#[test]
fn an_epoch_that_was_asked_for_under_way_is_aborted_and_goes_on_no_more() {
    let mut provider = provider();
    staged(&mut provider, 3);
    provider.handle_frame(Link(5), tag(1), &Frame::Ask, ms(5));
    assert_eq!(provider.outcome(tag(1)), Some(Decision::Abort));
    for frame in [Frame::Applied { to: provider.log_end() }, Frame::Request { member: JOINER, have: None }] {
        provider.handle_frame(LINK, tag(1), &frame, ms(6));
        assert_eq!(provider.at(TRANSFER), Some(At::Parted), "{frame:?}");
    }
    // Given up, nobody remembers it; its outcome stands.
    provider.handle_timeout(ms(200_000));
    commands(&mut provider);
    provider.handle_frame(LINK, tag(1), &Frame::Request { member: JOINER, have: None }, ms(200_001));
    assert_eq!((provider.at(TRANSFER), provider.outcome(tag(1))), (None, Some(Decision::Abort)));
    for (epoch, takes_the_place) in [(0, false), (1, false), (2, true)] {
        let request = Frame::Request { member: JOINER, have: None };
        provider.handle_frame(Link(epoch as u32), tag(epoch), &request, ms(200_002));
        assert_eq!(provider.at(TRANSFER), Some(At::Capturing));
        let closed = commands(&mut provider).contains(&Command::Close { link: Link(0) });
        assert_eq!(closed, takes_the_place, "epoch {epoch}");
    }
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

#[test]
fn a_log_that_nears_its_bound_slows_the_writers_or_is_latched_if_that_is_the_policy() {
    for policy in [Policy::Throttle, Policy::LatchNow, Policy::Wait, Policy::Fail] {
        let config = Config { policy, ..config(PROVIDER) };
        let mut provider = P::new(config, Role::Provider, Digest::new(), []).unwrap();
        staged(&mut provider, 3);
        let _ = deliver(&mut provider, 4, Effect::Write, ms(4));
        provider.handle_frame(LINK, tag(1), &Frame::Staged, ms(4));
        let mut write = |sequence| {
            let _ = deliver(&mut provider, sequence, Effect::Write, ms(4));
            let throttles = commands(&mut provider).contains(&Command::Throttle { on: true });
            (throttles, provider.at(TRANSFER).unwrap() == At::Deciding)
        };
        for sequence in 5..=78 {
            assert_eq!(write(sequence), (false, false), "{policy:?}: 7500 bytes of 10000 are none too many");
        }
        assert_eq!(write(79), (policy == Policy::Throttle, policy == Policy::LatchNow), "{policy:?}");
        assert!(!write(80).0, "once");
    }
}

#[test]
fn a_log_that_is_lost_costs_all_who_need_it_their_place_and_the_next_one_is_a_new_one() {
    let mut provider = provider();
    staged(&mut provider, 3);
    provider.handle_log_failed(ms(4));
    let told = sent(&mut provider, ms(4));
    let refused = Frame::Refused { why: Refusal::LogLost, retry_after_ms: 100 };
    assert_eq!(parse(&told[0].0), (tag(1), refused));
    let done = commands(&mut provider);
    assert!(done.contains(&Command::StopLog), "{done:?}");
    assert!(provider.is_idle());
    let request = Frame::Request { member: JOINER, have: None };
    provider.handle_frame(LINK, tag(2), &request, ms(5));
    assert_eq!(commands(&mut provider), [Command::Capture]);
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

// Catalogue: B44
#[test]
fn a_made_up_place_to_go_on_from_ends_the_epoch_when_the_log_is_read_from_there() {
    for wrong in [-1, 1] {
        let mut provider = provider();
        staged(&mut provider, 3);
        let begin = provider.log_end();
        for number in 4..=7 {
            assert_eq!(deliver(&mut provider, number, Effect::Write, ms(3)), Verdict::Deliver);
        }
        provider.handle_frame(LINK, tag(1), &Frame::Staged, ms(4));
        let end = provider.log_end();
        let record_bytes = (end.bytes - begin.bytes) / 4;
        let bytes = (begin.bytes + record_bytes).checked_add_signed(wrong).unwrap();
        let point = LogPoint { records: begin.records + 1, bytes };
        let request = Frame::Request { member: JOINER, have: Some(Have { snapshot: SNAPSHOT, point }) };
        provider.handle_frame(LINK, tag(2), &request, ms(5));
        assert_eq!(kinds(&sent(&mut provider, ms(5))), "Begin");
        let to = LogPoint { records: end.records, bytes: bytes + 3 * record_bytes };
        provider.handle_log_read(LINK, point, to, PAYLOAD, ms(6));
        assert_eq!(provider.at(TRANSFER), Some(At::Parted), "{point:?}");
    }
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
fn who_gets_another_state_aborts_what_it_gives_and_goes_on_with_the_old_one_until_it_is_replaced() {
    let mut provider = provider();
    assert_eq!(provider.handle_request(ms(0)), Verdict::Deliver);
    provider.handle_request_done(ms(0));
    latched(&mut provider);
    provider.set_role(Role::Joining, ms(4));
    assert_eq!(provider.outcome(tag(1)), Some(Decision::Abort), "also at the latch");
    assert!(provider.is_idle() && !provider.is_latched());
    assert_eq!(provider.handle_request(ms(4)), Verdict::Hold);
    assert_eq!(deliver(&mut provider, 4, Effect::Write, ms(4)), Verdict::Deliver);
    let mut other = Digest::new();
    other.insert(Entry::new(WRITER, SequenceNumber(2), SequenceNumber(2)).unwrap()).unwrap();
    provider.replace(other, [WRITER], ms(5));
    assert_eq!(provider.pending(), 1);
    assert_eq!(
        deliver(&mut provider, 4, Effect::Write, ms(5)),
        Verdict::SendAgain { from: SequenceNumber(3) }
    );
    assert_eq!(deliver(&mut provider, 3, Effect::Write, ms(5)), Verdict::Deliver);
    assert_eq!(provider.outcome(tag(1)), Some(Decision::Abort), "what is recorded stays");
    provider.set_role(Role::Provider, ms(6));
    assert_eq!(provider.handle_request(ms(6)), Verdict::Deliver);
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
