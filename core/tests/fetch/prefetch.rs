//! The bulk before joining, then the log: where it begins and ends, and what becomes of it.

use std::time::Duration;

use longhaul_core::digest::Digest;
use longhaul_core::id::MemberId;
use longhaul_core::message::Verdict;
use longhaul_core::transfer::LogPoint;
use longhaul_core::transfer::fetch::{Command, Config, Failure, JoinerCommand, Protocol, State, Want};
use longhaul_core::transfer::live::Take;
use longhaul_core::transfer::wire::{Frame, Have, Payload, Refusal};

use crate::machines::*;

const BY: Protocol = Protocol::Prefetch;
const PAYLOAD: Payload = Payload { len: 10, crc: 5 };

const fn point(records: u64) -> LogPoint {
    LogPoint { records, bytes: records * 100 }
}

/// A joiner that has prefetched what was there after two messages, and is on the channel now, behind message 4.
fn prefetched(providers: &[MemberId]) -> (P, J) {
    let (mut provider, mut joiner) = (provider(PROVIDER, BY), joiner(BY, Want::One, providers));
    (1..=2).for_each(|sequence| assert_eq!(write(&mut provider, sequence), Verdict::Deliver));
    ask(&mut joiner, &mut provider, ms(1));
    let first = provider.poll_command();
    assert_eq!(first, Some(Command::KeepLog), "the log begins before the capture");
    capture(&mut provider, ms(1));
    answer(&mut provider, PROVIDER, &mut joiner, ms(1));
    (3..=4).for_each(|sequence| assert_eq!(write(&mut provider, sequence), Verdict::Deliver));
    joiner.handle_staged(SNAPSHOT, None, ms(2));
    assert!(wanted(&mut joiner).contains(&JoinerCommand::Join));
    ask(&mut joiner, &mut provider, ms(2));
    commands(&mut provider);
    joiner.handle_joined(&digest(4), ms(3));
    let said = asked(&mut joiner);
    let (tag, frame) = parse(&said[0]);
    let have = Some(Have { snapshot: SNAPSHOT, point: point(2) });
    assert_eq!(frame, Frame::MakeCopy { member: JOINER, lease_ns: 2_000_000_000, have });
    assert_eq!(say(&mut provider, 5, tag, &frame, ms(3)), Verdict::Deliver);
    assert_eq!(commands(&mut provider), [], "nothing is copied where the log is kept");
    assert_eq!(hear(&mut joiner, 5, Some((tag, &frame)), ms(3)), Verdict::Drop);
    assert_eq!(write(&mut provider, 6), Verdict::Deliver);
    assert_eq!(hear(&mut joiner, 6, None, ms(3)), Verdict::Hold);
    (provider, joiner)
}

#[test]
fn only_the_log_up_to_its_place_moves_while_it_queues() {
    let (mut provider, mut joiner) = prefetched(&[PROVIDER]);
    ask(&mut joiner, &mut provider, ms(4));
    answer(&mut provider, PROVIDER, &mut joiner, ms(4));
    assert_eq!((joiner.state(), joiner.digest()), (State::Applying, &digest(5)));
    let max_bytes = 1 << 20;
    let read = Command::ReadLog { transfer: TRANSFER, from: point(2), end: point(4), max_bytes };
    assert_eq!(commands(&mut provider), [read]);
    provider.handle_log_read(TRANSFER, point(2), point(4), PAYLOAD, ms(5));
    answer(&mut provider, PROVIDER, &mut joiner, ms(5));
    assert!(joiner.handle_payload(PAYLOAD, ms(5)));
    assert_eq!(
        [2, 3, 3, 4].map(|number| joiner.handle_record(number, ms(5))),
        [Take::Skip, Take::Apply, Take::Skip, Take::Apply]
    );
    joiner.handle_applied(point(4), ms(6));
    assert_eq!(wanted(&mut joiner), [JoinerCommand::Commit]);
    joiner.handle_committed();
    let said = asked(&mut joiner);
    assert_eq!(kinds(&said), "Applied Collect");
    assert_eq!(say(&mut provider, 7, parse(&said[1]).0, &Frame::Collect, ms(7)), Verdict::Deliver);
    assert!(commands(&mut provider).contains(&Command::StopLog));
    assert!(provider.is_idle());
}

#[test]
fn a_log_with_a_gap_or_without_its_end_commits_nothing() {
    for records in [vec![3], vec![4], vec![]] {
        let (mut provider, mut joiner) = prefetched(&[PROVIDER]);
        ask(&mut joiner, &mut provider, ms(4));
        answer(&mut provider, PROVIDER, &mut joiner, ms(4));
        let tag = joiner.tag();
        let whole = Frame::Records { from: point(2), to: point(4), payload: PAYLOAD };
        joiner.handle_frame(PROVIDER, tag, &whole, ms(5));
        assert!(joiner.handle_payload(PAYLOAD, ms(5)));
        for number in &records {
            let _ = joiner.handle_record(*number, ms(5));
        }
        joiner.handle_applied(point(4), ms(6));
        let last = Frame::Last { end: point(4), lease_ns: 0, pending: 0, members: 0 };
        joiner.handle_frame(PROVIDER, tag, &last, ms(6));
        assert!(!wanted(&mut joiner).contains(&JoinerCommand::Commit), "{records:?}");
    }
    let (mut provider, mut joiner) = prefetched(&[PROVIDER]);
    ask(&mut joiner, &mut provider, ms(4));
    answer(&mut provider, PROVIDER, &mut joiner, ms(4));
    let last = Frame::Last { end: point(4), lease_ns: 0, pending: 0, members: 0 };
    joiner.handle_frame(PROVIDER, joiner.tag(), &last, ms(5));
    assert_eq!(joiner.failure(), Some(Failure::LogGap { after: 2, next: 5 }));
}

#[test]
fn when_the_one_with_the_log_dies_another_copy_of_that_place_is_taken_whole() {
    let (mut first, mut joiner) = prefetched(&[PROVIDER, OTHER]);
    ask(&mut joiner, &mut first, ms(4));
    assert_eq!(joiner.provider(), Some(PROVIDER), "the one with the log is asked first");
    joiner.handle_lost(PROVIDER, ms(5));
    let mut other = provider(OTHER, BY);
    (1..=4).for_each(|sequence| assert_eq!(write(&mut other, sequence), Verdict::Deliver));
    let have = Some(Have { snapshot: SNAPSHOT, point: point(2) });
    let make_copy = Frame::MakeCopy { member: JOINER, lease_ns: 2_000_000_000, have };
    let copy = longhaul_core::id::Epoch(3);
    assert_eq!(say(&mut other, 5, tag(copy.0), &make_copy, ms(3)), Verdict::Deliver);
    assert_eq!(capture(&mut other, ms(3)).len(), 1);
    joiner.handle_timeout(joiner.poll_timeout().unwrap());
    ask(&mut joiner, &mut other, ms(30));
    answer(&mut other, OTHER, &mut joiner, ms(30));
    assert_eq!((joiner.state(), joiner.digest()), (State::Staging, &digest(5)));
}

#[test]
fn a_log_at_its_bound_costs_the_joiner_its_place_and_never_has_a_hole() {
    let bound = Config { log_bytes: 250, ..config(PROVIDER, BY) };
    let mut provider = P::new(bound, longhaul_core::transfer::Role::Provider, Digest::new()).unwrap();
    let mut joiner = joiner(BY, Want::One, &[PROVIDER]);
    ask(&mut joiner, &mut provider, ms(1));
    capture(&mut provider, ms(1));
    answer(&mut provider, PROVIDER, &mut joiner, ms(1));
    (1..=3).for_each(|sequence| assert_eq!(write(&mut provider, sequence), Verdict::Deliver));
    answer(&mut provider, PROVIDER, &mut joiner, ms(2));
    assert_eq!(joiner.failure(), Some(Failure::Refused(Refusal::LogFull)));
    assert!(commands(&mut provider).contains(&Command::StopLog));
    assert!(provider.is_idle());
}

#[test]
fn a_log_without_a_word_of_its_joiner_is_kept_for_twice_a_stall_timeout() {
    let (mut provider, _joiner) = prefetched(&[PROVIDER]);
    let bound = config(PROVIDER, BY).stall_timeout * 2 + Duration::from_millis(10);
    for _ in 0..4 {
        let Some(next) = provider.poll_timeout() else { break };
        assert!(next <= ms(0).after(bound), "{next:?}");
        provider.handle_timeout(next);
    }
    assert!(is_gone(&mut provider));
}
