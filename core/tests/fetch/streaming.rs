//! A digest, then the stream: what the capture covers, what is queued, and what is delivered once.

use longhaul_core::digest::Digest;
use longhaul_core::id::{SnapshotId, StateId, TransferId};
use longhaul_core::message::{Properties, Verdict};
use longhaul_core::transfer::fetch::{
    Command, Config, ConfigError, Event, Failure, Joiner, JoinerCommand, Protocol, Provider, State, Want,
};
use longhaul_core::transfer::wire::{Frame, Refusal};
use longhaul_core::transfer::{Apply, Capture, Contract, LogPoint, Role};

use crate::machines::*;

const BY: Protocol = Protocol::Streaming;

#[test]
fn what_is_needed_is_checked_when_a_machine_is_made() {
    for (protocol, offers, lacks) in [
        (Protocol::Copy, Properties::FIFO, "same order at every member"),
        (Protocol::Prefetch, Properties::TOTAL_ORDER, "log"),
        (Protocol::Flush, Properties::FIFO, "views"),
        (Protocol::Streaming, Properties::VIEWS, "each sender's messages"),
    ] {
        let config = Config { offers, ..config(PROVIDER, protocol) };
        let refused = P::new(config, Role::Provider, Digest::new()).err();
        let Some(ConfigError::Missing(missing)) = refused else { panic!("{protocol:?}: {refused:?}") };
        assert!(missing.to_string().contains(lacks), "{protocol:?}: {missing}");
        let refused = J::new(config, TRANSFER, (WHOLE, Want::One), &[PROVIDER], Digest::new(), ms(0)).err();
        assert_eq!(refused, Some(ConfigError::Missing(missing)));
    }
    let contract = Contract::new(Capture::Fuzzy, Apply::Idempotent).unwrap();
    let scans = Config { contract, ..config(PROVIDER, BY) };
    assert_eq!(P::new(scans, Role::Provider, Digest::new()).err(), Some(ConfigError::Fuzzy));
    let many = J::new(config(JOINER, BY), TRANSFER, (WHOLE, Want::All), &[PROVIDER], Digest::new(), ms(0));
    assert_eq!(many.err(), Some(ConfigError::OneAlone));
}

#[test]
fn in_a_group_of_one_there_is_no_state_at_once() {
    let mut joiner = joiner(BY, Want::One, &[JOINER]);
    assert_eq!((joiner.state(), asked(&mut joiner).len(), joiner.poll_timeout()), (State::Alone, 0, None));
    let mut provider = provider(PROVIDER, BY);
    provider.handle_frame(PROVIDER, tag(1), &Frame::Fetch { state: WHOLE, copy: None, members: 0 }, ms(0));
    let refused = Frame::Refused { why: Refusal::Oneself, retry_after_ms: 100 };
    assert_eq!(parse(&told(&mut provider, ms(0))[0]).1, refused);
}

/// A joiner whose channel begins behind the writer's first `heard` messages, and has brought more.
fn staging(provider: &mut P, heard: u64, brings: u64) -> J {
    let providers = [PROVIDER, OTHER];
    let mut joiner =
        J::new(config(JOINER, BY), TRANSFER, (WHOLE, Want::One), &providers, digest(heard), ms(0)).unwrap();
    for sequence in heard + 1..=heard + brings {
        assert_eq!(hear(&mut joiner, sequence, None, ms(0)), Verdict::Hold);
    }
    ask(&mut joiner, provider, ms(1));
    joiner
}

#[test]
fn what_arrives_meanwhile_is_queued_and_delivered_once_by_the_digest() {
    let mut provider = provider(PROVIDER, BY);
    (1..=5).for_each(|sequence| assert_eq!(write(&mut provider, sequence), Verdict::Deliver));
    let mut joiner = staging(&mut provider, 3, 4);
    assert_eq!(hear(&mut joiner, 6, None, ms(1)), Verdict::Drop, "it came before");
    capture(&mut provider, ms(2));
    answer(&mut provider, PROVIDER, &mut joiner, ms(3));
    assert_eq!(joiner.state(), State::Staging);
    joiner.handle_staged(SNAPSHOT, None, ms(4));
    assert!(wanted(&mut joiner).contains(&JoinerCommand::Commit));
    joiner.handle_committed();
    assert_eq!(wanted(&mut joiner), [JoinerCommand::Reoffer, JoinerCommand::Serve]);
    // The queue, at the member's provider's machine.
    let mut serving =
        Provider::<8, 3>::new(config(JOINER, BY), Role::Joining, joiner.digest().clone()).unwrap();
    let verdicts: Vec<_> = (4..=7).map(|sequence| write(&mut serving, sequence)).collect();
    assert_eq!(verdicts, [Verdict::Drop, Verdict::Drop, Verdict::Deliver, Verdict::Deliver]);
    ask(&mut joiner, &mut provider, ms(5));
    assert!(is_gone(&mut provider));
}

#[test]
fn nothing_is_captured_before_all_is_delivered_that_the_channel_will_not_bring() {
    let mut provider = provider(PROVIDER, BY);
    assert_eq!(write(&mut provider, 1), Verdict::Deliver);
    let mut joiner = staging(&mut provider, 3, 0);
    assert_eq!(capture(&mut provider, ms(1)), [], "message 2 and 3 would be in neither state nor queue");
    answer(&mut provider, PROVIDER, &mut joiner, ms(1));
    assert_eq!(joiner.failure(), Some(Failure::Refused(Refusal::NotYet)));
    (2..=3).for_each(|sequence| assert_eq!(write(&mut provider, sequence), Verdict::Deliver));
    joiner.handle_timeout(joiner.poll_timeout().unwrap());
    ask(&mut joiner, &mut provider, ms(20));
    assert_eq!(capture(&mut provider, ms(20)).len(), 1, "the same provider is asked again");
    answer(&mut provider, PROVIDER, &mut joiner, ms(21));
    assert_eq!(joiner.state(), State::Staging);
}

#[test]
fn a_begin_that_does_not_cover_what_is_needed_ends_the_epoch() {
    let mut joiner = staging(&mut provider(PROVIDER, BY), 3, 0);
    let behind = digest(2);
    joiner.handle_frame(PROVIDER, tag(1), &Frame::Digest(behind.parts().next().unwrap()), ms(2));
    let begin = |provider| Frame::Begin {
        provider,
        snapshot: SNAPSHOT,
        from: LogPoint::default(),
        goes_on: false,
        members: 1,
    };
    // Of another member, and of another epoch, it has no effect.
    joiner.handle_frame(OTHER, tag(1), &begin(OTHER), ms(2));
    joiner.handle_frame(PROVIDER, tag(0), &begin(PROVIDER), ms(2));
    assert_eq!((joiner.state(), joiner.failure()), (State::Asking, None));
    joiner.handle_frame(PROVIDER, tag(1), &begin(PROVIDER), ms(2));
    assert_eq!((joiner.state(), joiner.failure()), (State::Asking, Some(Failure::Protocol)));
}

#[test]
fn a_capture_that_is_not_of_its_place_in_the_order_is_refused() {
    for ahead in [true, false] {
        let mut provider = provider(PROVIDER, BY);
        assert_eq!(write(&mut provider, 1), Verdict::Deliver);
        let mut joiner = staging(&mut provider, 0, 0);
        let Some(Command::Capture { capture, .. }) = provider.poll_command() else { panic!("a capture") };
        assert_eq!(write(&mut provider, 2), Verdict::Deliver);
        let digest = if ahead { provider.delivered().clone() } else { Digest::new() };
        provider.handle_captured(capture, SNAPSHOT, &digest, ms(2));
        answer(&mut provider, PROVIDER, &mut joiner, ms(2));
        assert_eq!(joiner.failure(), Some(Failure::Refused(Refusal::Capture)), "ahead {ahead}");
        assert!(is_gone(&mut provider));
    }
}

// Catalogue: F45
#[test]
fn a_capture_stays_while_anybody_streams_from_it_and_a_lost_one_begins_anew() {
    let mut provider = provider(PROVIDER, BY);
    let mut joiner = staging(&mut provider, 0, 0);
    let numbers = capture(&mut provider, ms(1));
    answer(&mut provider, PROVIDER, &mut joiner, ms(1));
    for sequence in 1..=50 {
        assert_eq!(write(&mut provider, sequence), Verdict::Deliver);
    }
    let dropped = |commands: &[Command]| commands.contains(&Command::DropCapture { capture: numbers[0] });
    assert!(!dropped(&commands(&mut provider)), "it is pinned");
    // Its connection is lost: it may come back to the same one.
    provider.handle_lost(JOINER, ms(2));
    assert!(!dropped(&commands(&mut provider)), "it may come back");
    provider.handle_capture_lost(numbers[0], ms(3));
    assert!(dropped(&commands(&mut provider)));
    answer(&mut provider, PROVIDER, &mut joiner, ms(3));
    assert_eq!(joiner.failure(), Some(Failure::Refused(Refusal::Capture)));
    assert!(is_gone(&mut provider));
}

// Catalogue: F44
#[test]
fn a_source_that_finds_its_state_rotted_fails_both_sides_and_nothing_is_installed() {
    let mut provider = provider(PROVIDER, BY);
    let mut joiner = staging(&mut provider, 0, 0);
    let numbers = capture(&mut provider, ms(1));
    answer(&mut provider, PROVIDER, &mut joiner, ms(1));
    assert_eq!(joiner.state(), State::Staging);
    wanted(&mut joiner);
    // The engine's own checksum does not hold where it reads for the session.
    provider.handle_capture_lost(numbers[0], ms(2));
    let told = std::iter::from_fn(|| provider.poll_event()).last();
    assert_eq!(told, Some(Event::Released { member: JOINER, why: Some(Refusal::Capture) }));
    answer(&mut provider, PROVIDER, &mut joiner, ms(2));
    joiner.handle_staged(SNAPSHOT, None, ms(3));
    assert_eq!((joiner.state(), joiner.failure()), (State::Asking, Some(Failure::Refused(Refusal::Capture))));
    assert_eq!(wanted(&mut joiner), [JoinerCommand::StopStaging]);
    assert!(is_gone(&mut provider));
}

#[test]
fn a_joiner_that_is_silent_is_given_up_and_nothing_is_kept_for_it() {
    let mut provider = provider(PROVIDER, BY);
    let _joiner = staging(&mut provider, 0, 0);
    capture(&mut provider, ms(1));
    provider.handle_lost(JOINER, ms(2));
    told(&mut provider, ms(2));
    assert!(!is_gone(&mut provider));
    let until = provider.poll_timeout().unwrap();
    assert!(until <= ms(1 + 2000), "within twice the stall timeout: {until:?}");
    provider.handle_timeout(until);
    assert!(is_gone(&mut provider));
}

#[test]
fn joiners_share_a_capture_that_covers_what_each_needs() {
    let mut provider = provider(PROVIDER, BY);
    (1..=3).for_each(|sequence| assert_eq!(write(&mut provider, sequence), Verdict::Deliver));
    let _first = staging(&mut provider, 2, 0);
    assert_eq!(capture(&mut provider, ms(1)).len(), 1);
    assert_eq!(write(&mut provider, 4), Verdict::Deliver);
    for (member, heard, captures) in [(OTHER, 3, 0), (THIRD, 4, 1)] {
        let transfer = TransferId(member.0);
        let mut joiner =
            J::new(config(member, BY), transfer, (WHOLE, Want::One), &[PROVIDER], digest(heard), ms(1))
                .unwrap();
        for bytes in asked(&mut joiner) {
            let (tag, frame) = parse(&bytes);
            provider.handle_frame(member, tag, &frame, ms(2));
        }
        assert_eq!(capture(&mut provider, ms(2)).len(), captures, "{heard} must be covered");
    }
}

#[test]
fn each_part_of_a_state_is_captured_with_a_digest_of_its_own() {
    let mut provider = provider(PROVIDER, BY);
    let parts = [StateId([1; 16]), StateId([2; 16])];
    let mut digests = Vec::new();
    for (sequence, part) in (1..).zip(parts) {
        assert_eq!(write(&mut provider, sequence), Verdict::Deliver);
        let transfer = TransferId(part.0);
        let mut joiner: J =
            Joiner::new(config(JOINER, BY), transfer, (part, Want::One), &[PROVIDER], Digest::new(), ms(0))
                .unwrap();
        ask(&mut joiner, &mut provider, ms(1));
        let Some(Command::Capture { capture, state }) = provider.poll_command() else { panic!("a capture") };
        assert_eq!(state, part);
        let digest = provider.delivered().clone();
        provider.handle_captured(capture, SnapshotId(part.0), &digest, ms(1));
        answer(&mut provider, PROVIDER, &mut joiner, ms(2));
        assert_eq!(joiner.state(), State::Staging);
        digests.push(joiner.digest().clone());
        commands(&mut provider);
    }
    assert_eq!(digests, [digest(1), digest(2)]);
}

#[test]
fn a_queue_at_its_bound_begins_anew_with_a_place_that_contains_what_was_queued() {
    let mut provider = provider(PROVIDER, BY);
    let config = Config { queue_bytes: 250, ..config(JOINER, BY) };
    let mut joiner = J::new(config, TRANSFER, (WHOLE, Want::One), &[PROVIDER], Digest::new(), ms(0)).unwrap();
    ask(&mut joiner, &mut provider, ms(0));
    capture(&mut provider, ms(0));
    answer(&mut provider, PROVIDER, &mut joiner, ms(0));
    for (sequence, verdict) in [(1, Verdict::Hold), (2, Verdict::Hold), (3, Verdict::Drop)] {
        assert_eq!(hear(&mut joiner, sequence, None, ms(1)), verdict);
    }
    assert_eq!(joiner.failure(), Some(Failure::QueueFull));
    assert!(wanted(&mut joiner).contains(&JoinerCommand::Reoffer));
    assert_eq!(hear(&mut joiner, 1, None, ms(1)), Verdict::Drop, "it was heard, and will be in the state");
    ask(&mut joiner, &mut provider, ms(2));
    answer(&mut provider, PROVIDER, &mut joiner, ms(2));
    assert_eq!(joiner.failure(), Some(Failure::Refused(Refusal::NotYet)), "the third message must be in it");
}

#[test]
fn a_provider_that_dies_is_left_for_another_and_tries_are_bounded() {
    let mut joiner = staging(&mut provider(PROVIDER, BY), 0, 0);
    joiner.handle_lost(PROVIDER, ms(1));
    let mut now = joiner.poll_timeout().unwrap();
    joiner.handle_timeout(now);
    assert_eq!(joiner.provider(), Some(OTHER));
    for _ in 0..1000 {
        let Some(next) = joiner.poll_timeout() else { break };
        now = now.max(next);
        joiner.handle_timeout(now);
        asked(&mut joiner);
        wanted(&mut joiner);
    }
    assert_eq!((joiner.state(), joiner.failure()), (State::Failed, Some(Failure::Stalled)));
}
