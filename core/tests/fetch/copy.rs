//! Copies of one place in the order: who makes them, who has them freed, and what most have.

use longhaul_core::digest::Digest;
use longhaul_core::id::{Epoch, MemberId, TransferId};
use longhaul_core::message::{Effect, Verdict};
use longhaul_core::transfer::fetch::{
    Command, Config, Failure, JoinerCommand, Protocol, ROOTS_MAX, Said, State, Want,
};
use longhaul_core::transfer::wire::{Frame, Refusal};
use longhaul_core::transfer::{LogPoint, Role, Tag};

use crate::machines::*;

const BY: Protocol = Protocol::Copy;
const LEASE_NS: u64 = 2_000_000_000;

const fn make_copy(member: MemberId) -> Frame<'static> {
    Frame::MakeCopy { member, lease_ns: LEASE_NS, have: None }
}

/// A provider and a joiner that have both delivered `MAKE_COPY` as message 3.
fn ordered(want: Want, providers: &[MemberId]) -> (P, J) {
    let (mut provider, mut joiner) = (provider(PROVIDER, BY), joiner(BY, want, providers));
    let said = asked(&mut joiner);
    assert_eq!(parse(&said[0]), (tag(1), make_copy(JOINER)));
    for sequence in 1..=2 {
        assert_eq!(write(&mut provider, sequence), Verdict::Deliver);
        assert_eq!(hear(&mut joiner, sequence, None, ms(1)), Verdict::Drop, "it is in the copies");
    }
    assert_eq!(say(&mut provider, 3, tag(1), &make_copy(JOINER), ms(1)), Verdict::Deliver);
    assert_eq!(joiner.state(), State::Ordering);
    assert_eq!(hear(&mut joiner, 3, Some((tag(1), &make_copy(JOINER))), ms(1)), Verdict::Drop);
    (provider, joiner)
}

#[test]
fn queueing_begins_at_ones_own_delivery_and_the_copy_is_of_that_place() {
    let (mut provider, mut joiner) = ordered(Want::One, &[PROVIDER]);
    assert_eq!(capture(&mut provider, ms(1)).len(), 1);
    assert_eq!(write(&mut provider, 4), Verdict::Deliver, "nobody stops");
    assert_eq!(hear(&mut joiner, 4, None, ms(2)), Verdict::Hold);
    ask(&mut joiner, &mut provider, ms(2));
    answer(&mut provider, PROVIDER, &mut joiner, ms(3));
    assert_eq!((joiner.state(), joiner.digest()), (State::Staging, &digest(3)));
    joiner.handle_staged(SNAPSHOT, None, ms(4));
    ask(&mut joiner, &mut provider, ms(4));
    assert!(!is_gone(&mut provider), "the copy stays until it is collected");
    joiner.handle_committed();
    let said = asked(&mut joiner);
    assert_eq!(kinds(&said), "Collect");
    assert_eq!(say(&mut provider, 5, parse(&said[0]).0, &Frame::Collect, ms(5)), Verdict::Deliver);
    assert!(is_gone(&mut provider));
}

#[test]
fn a_copy_of_another_place_is_found_out() {
    let (mut provider, mut joiner) = ordered(Want::One, &[PROVIDER]);
    capture(&mut provider, ms(1));
    asked(&mut joiner);
    for (wrong, next) in [(2, 4), (5, 6)] {
        let epoch = joiner.tag();
        let digest = digest(wrong);
        joiner.handle_frame(PROVIDER, epoch, &Frame::Digest(digest.parts().next().unwrap()), ms(2));
        let from = LogPoint::default();
        let begin = Frame::Begin { provider: PROVIDER, snapshot: SNAPSHOT, from, goes_on: false, members: 1 };
        joiner.handle_frame(PROVIDER, epoch, &begin, ms(2));
        assert_eq!((joiner.state(), joiner.failure()), (State::Asking, Some(Failure::Protocol)), "{wrong}");
        // The next round has its own place.
        joiner.handle_timeout(joiner.poll_timeout().unwrap());
        let said = asked(&mut joiner);
        let (tag, frame) = parse(said.last().unwrap());
        assert_eq!(frame, make_copy(JOINER));
        if next == 6 {
            assert_eq!(hear(&mut joiner, 5, None, ms(20)), Verdict::Drop);
        }
        assert_eq!(hear(&mut joiner, next, Some((tag, &frame)), ms(20)), Verdict::Drop);
        asked(&mut joiner);
    }
}

#[test]
fn a_copy_is_freed_by_its_lease_by_a_view_and_by_the_next_one_of_its_member() {
    let (mut provider, _) = ordered(Want::One, &[PROVIDER]);
    capture(&mut provider, ms(1));
    let until = provider.poll_timeout().unwrap();
    assert_eq!(until, ms(1 + LEASE_NS / 1_000_000));
    provider.handle_timeout(until);
    assert!(is_gone(&mut provider), "by its lease");

    let (mut provider, _) = ordered(Want::One, &[PROVIDER]);
    provider.handle_view(&[PROVIDER, OTHER, JOINER], ms(2));
    assert!(!is_gone(&mut provider));
    provider.handle_view(&[PROVIDER, OTHER], ms(2));
    assert!(is_gone(&mut provider), "by a view");

    let (mut provider, _) = ordered(Want::One, &[PROVIDER]);
    let verdict = provider.handle_message(&message(4), Effect::Leave(JOINER), None, ms(2)).unwrap();
    assert!(verdict == Verdict::Deliver && is_gone(&mut provider), "by a Leave");

    let (mut provider, _) = ordered(Want::One, &[PROVIDER]);
    let first = capture(&mut provider, ms(1));
    assert_eq!(write(&mut provider, 4), Verdict::Deliver);
    assert_eq!(say(&mut provider, 5, tag(2), &make_copy(JOINER), ms(2)), Verdict::Deliver);
    assert!(commands(&mut provider).contains(&Command::DropCapture { capture: first[0] }), "by the next one");
}

#[test]
fn copies_with_nothing_between_them_that_changed_the_state_are_one() {
    let (mut provider, _) = ordered(Want::One, &[PROVIDER]);
    let other = Tag { transfer: TransferId([5; 16]), epoch: Epoch(1) };
    assert_eq!(say(&mut provider, 4, other, &make_copy(OTHER), ms(1)), Verdict::Deliver);
    let captures = capture(&mut provider, ms(1));
    assert_eq!(captures.len(), 1);
    assert_eq!(say(&mut provider, 5, tag(1), &Frame::Collect, ms(2)), Verdict::Deliver);
    assert_eq!(commands(&mut provider), [], "the other one still needs it");
    assert_eq!(say(&mut provider, 6, other, &Frame::Collect, ms(2)), Verdict::Deliver);
    assert_eq!(commands(&mut provider), [Command::DropCapture { capture: captures[0] }]);
}

#[test]
fn a_request_that_overtakes_its_place_waits_and_one_without_a_copy_is_told_so() {
    let (_, mut joiner) = ordered(Want::One, &[PROVIDER]);
    let mut behind = provider(PROVIDER, BY);
    ask(&mut joiner, &mut behind, ms(2));
    answer(&mut behind, PROVIDER, &mut joiner, ms(2));
    assert_eq!(joiner.failure(), Some(Failure::Refused(Refusal::NotYet)));
    // It was there, and makes no copies.
    let mut idle = provider(PROVIDER, BY);
    idle.set_role(Role::NonParticipant, ms(0));
    (1..=2).for_each(|sequence| assert_eq!(write(&mut idle, sequence), Verdict::Deliver));
    assert_eq!(say(&mut idle, 3, tag(1), &make_copy(JOINER), ms(1)), Verdict::Deliver);
    assert_eq!(commands(&mut idle), []);
    joiner.handle_timeout(joiner.poll_timeout().unwrap());
    ask(&mut joiner, &mut idle, ms(20));
    answer(&mut idle, PROVIDER, &mut joiner, ms(20));
    assert_eq!(joiner.failure(), Some(Failure::Refused(Refusal::NonParticipant)));
    assert_eq!(joiner.answers()[0].said, Said::Null);
}

/// The answers of four members; what becomes of it.
fn compared(answers: [(MemberId, Option<u8>); 4]) -> J {
    let (_, mut joiner) = ordered(Want::Quorum, &answers.map(|(member, _)| member));
    assert_eq!(joiner.state(), State::Comparing);
    assert_eq!(kinds(&asked(&mut joiner)), "AskRoot AskRoot AskRoot AskRoot");
    for (member, root) in answers {
        let tag = joiner.tag();
        let null = Frame::Refused { why: Refusal::NonParticipant, retry_after_ms: 100 };
        let frame = root.map_or(null, |root| Frame::Root { root: [root; 32] });
        joiner.handle_frame(member, tag, &frame, ms(2));
    }
    joiner
}

#[test]
fn a_quorum_is_more_than_half_of_those_who_take_part() {
    const FOURTH: MemberId = MemberId([6; 16]);
    let joiner = compared([(PROVIDER, Some(1)), (OTHER, Some(2)), (THIRD, Some(2)), (FOURTH, None)]);
    assert_eq!((joiner.state(), joiner.provider()), (State::Asking, Some(OTHER)), "from the majority alone");
    let joiner = compared([(PROVIDER, Some(1)), (OTHER, Some(2)), (THIRD, Some(2)), (FOURTH, Some(1))]);
    assert_eq!((joiner.state(), joiner.failure()), (State::Failed, Some(Failure::NoMajority)));
    let said: Vec<_> = joiner.answers().iter().map(|answer| (answer.member, answer.said)).collect();
    let roots = [(PROVIDER, 1), (OTHER, 2), (THIRD, 2), (FOURTH, 1)];
    assert_eq!(said, roots.map(|(member, root)| (member, Said::Root([root; 32]))), "it lists who has what");
}

#[test]
fn what_came_with_another_root_than_most_have_is_not_installed() {
    let (mut provider, mut joiner) = ordered(Want::Quorum, &[PROVIDER, OTHER, THIRD]);
    let numbers = capture(&mut provider, ms(1));
    ask(&mut joiner, &mut provider, ms(2));
    assert_eq!(commands(&mut provider), [Command::Sum { capture: numbers[0] }], "its root is asked for once");
    provider.handle_summed(numbers[0], [1; 32], ms(2));
    answer(&mut provider, PROVIDER, &mut joiner, ms(3));
    assert_eq!(joiner.answers()[0].said, Said::Root([1; 32]));
    let tag = joiner.tag();
    joiner.handle_frame(OTHER, tag, &Frame::Root { root: [1; 32] }, ms(3));
    assert_eq!(joiner.state(), State::Asking);
    ask(&mut joiner, &mut provider, ms(3));
    answer(&mut provider, PROVIDER, &mut joiner, ms(4));
    assert_eq!(joiner.state(), State::Staging);
    joiner.handle_staged(SNAPSHOT, Some([9; 32]), ms(5));
    assert_eq!((joiner.state(), joiner.failure()), (State::Asking, Some(Failure::Root)));
    joiner.handle_timeout(joiner.poll_timeout().unwrap());
    assert_eq!(joiner.provider(), Some(OTHER));
}

#[test]
fn silence_and_death_count_against_a_quorum() {
    let (_, mut joiner) = ordered(Want::Quorum, &[PROVIDER, OTHER, THIRD]);
    let tag = joiner.tag();
    joiner.handle_frame(PROVIDER, tag, &Frame::Root { root: [1; 32] }, ms(2));
    joiner.handle_lost(OTHER, ms(2));
    asked(&mut joiner);
    joiner.handle_timeout(joiner.poll_timeout().unwrap());
    assert_eq!(kinds(&asked(&mut joiner)), "AskRoot AskRoot", "those who have not answered");
    joiner.handle_timeout(joiner.poll_timeout().unwrap());
    assert_eq!((joiner.state(), joiner.failure()), (State::Failed, Some(Failure::NoMajority)));
    let said: Vec<_> = joiner.answers().iter().map(|answer| answer.said).collect();
    assert_eq!(said, [Said::Root([1; 32]), Said::Gone, Said::Gone]);
}

#[test]
fn a_member_that_reads_on_to_find_its_root_is_not_silent_and_its_copy_stays() {
    let (mut provider, mut joiner) = ordered(Want::Quorum, &[PROVIDER, OTHER, THIRD]);
    let number = capture(&mut provider, ms(1))[0];
    ask(&mut joiner, &mut provider, ms(2));
    commands(&mut provider);
    let tag = joiner.tag();
    joiner.handle_frame(OTHER, tag, &Frame::Root { root: [1; 32] }, ms(2));
    let stall = 1000;
    for n in 1..20 {
        let now = ms(2 + n * stall / 2);
        provider.handle_timeout(now);
        provider.handle_summing(number, n << 20, now);
        answer(&mut provider, PROVIDER, &mut joiner, now);
        joiner.handle_timeout(now);
        assert_eq!(joiner.state(), State::Comparing, "half a stall timeout {n} times");
    }
    let now = ms(2 + 10 * stall);
    provider.handle_summed(number, [1; 32], now);
    answer(&mut provider, PROVIDER, &mut joiner, now);
    assert_eq!(joiner.state(), State::Asking, "most have one root");
}

#[test]
fn a_member_that_reads_nothing_more_or_for_ever_counts_as_silent() {
    for grows in [false, true] {
        let (_, mut joiner) = ordered(Want::Quorum, &[PROVIDER, OTHER, THIRD]);
        let tag = joiner.tag();
        asked(&mut joiner);
        let stall = 1000;
        let mut halves = 0;
        while joiner.state() == State::Comparing {
            halves += 1;
            let bytes = if grows { halves } else { 1 };
            let now = ms(1 + halves * stall / 2);
            joiner.handle_frame(PROVIDER, tag, &Frame::Summing { bytes }, now);
            joiner.handle_timeout(now);
        }
        assert_eq!(joiner.failure(), Some(Failure::NoMajority));
        let most = u64::from(ROOTS_MAX);
        let expected = if grows { 2 * most + 1 } else { 3 };
        assert_eq!(halves, expected, "{grows}");
    }
}

#[test]
fn all_states_are_had_each_with_its_provider() {
    let (_, mut joiner) = ordered(Want::All, &[PROVIDER, OTHER, THIRD]);
    let mut given = Vec::new();
    while joiner.state() == State::Asking {
        asked(&mut joiner);
        let (member, epoch) = (joiner.provider().unwrap(), joiner.tag());
        if member == OTHER {
            joiner.handle_frame(
                OTHER,
                epoch,
                &Frame::Refused { why: Refusal::NonParticipant, retry_after_ms: 0 },
                ms(2),
            );
            joiner.handle_timeout(joiner.poll_timeout().unwrap());
            continue;
        }
        let digest = digest(3);
        joiner.handle_frame(member, epoch, &Frame::Digest(digest.parts().next().unwrap()), ms(2));
        let from = LogPoint::default();
        let begin = Frame::Begin { provider: member, snapshot: SNAPSHOT, from, goes_on: false, members: 1 };
        joiner.handle_frame(member, epoch, &begin, ms(2));
        given.extend(wanted(&mut joiner).into_iter().filter_map(|command| match command {
            JoinerCommand::Stage { provider, .. } => Some(provider),
            _ => None,
        }));
        joiner.handle_staged(SNAPSHOT, None, ms(3));
    }
    assert_eq!(given, [PROVIDER, THIRD]);
    assert_eq!(joiner.state(), State::Committing);
    assert_eq!(wanted(&mut joiner), [JoinerCommand::Commit]);
    let said: Vec<_> = joiner.answers().iter().map(|answer| answer.said).collect();
    assert_eq!(said, [Said::Given, Said::Null, Said::Given]);
}

#[test]
fn a_member_that_serves_goes_on_until_its_own_place() {
    let config = Config { serves: true, ..config(JOINER, BY) };
    let mut joiner = J::new(config, TRANSFER, (WHOLE, Want::One), &[PROVIDER], Digest::new(), ms(0)).unwrap();
    assert_eq!(hear(&mut joiner, 1, None, ms(1)), Verdict::Deliver);
    assert_eq!(hear(&mut joiner, 2, Some((tag(1), &make_copy(JOINER))), ms(1)), Verdict::Deliver);
    assert_eq!(hear(&mut joiner, 3, None, ms(1)), Verdict::Hold);
    // Of its own copies it makes none.
    let mut own = provider(JOINER, BY);
    assert_eq!(write(&mut own, 1), Verdict::Deliver);
    assert_eq!(say(&mut own, 2, tag(1), &make_copy(JOINER), ms(1)), Verdict::Deliver);
    assert!(own.is_idle());
}
