//! Everybody stops: who says so, until when, and that no message depends on it.

use longhaul_core::digest::SequenceNumber;
use longhaul_core::message::Verdict;
use longhaul_core::transfer::fetch::{Command, Event, Failure, JoinerCommand, Protocol, State, Want};
use longhaul_core::transfer::wire::{Frame, Refusal};

use crate::machines::*;

const BY: Protocol = Protocol::Flush;
const LEASE_NS: u64 = 2_000_000_000;
const SUSPEND: Frame<'static> = Frame::Suspend { member: JOINER, lease_ns: LEASE_NS };

#[test]
fn writers_stop_once_what_is_in_flight_has_ended_and_go_on_with_resume() {
    let mut provider = provider(PROVIDER, BY);
    assert_eq!(provider.handle_request(), Verdict::Deliver);
    assert_eq!(say(&mut provider, 1, tag(1), &SUSPEND, ms(1)), Verdict::Deliver);
    assert_eq!(provider.handle_request(), Verdict::Hold);
    assert_eq!(told(&mut provider, ms(1)).len(), 0, "a request is in flight");
    assert_eq!(write(&mut provider, 2), Verdict::Deliver, "what was sent is delivered");
    provider.handle_request_done(ms(2));
    let said = told(&mut provider, ms(2));
    assert_eq!(parse(&said[0]), (tag(1), Frame::Suspended { sent: SequenceNumber(0) }));
    assert_eq!(say(&mut provider, 3, tag(4), &Frame::Resume, ms(5)), Verdict::Deliver);
    assert_eq!(commands(&mut provider), [Command::Reoffer]);
    assert_eq!(provider.poll_event(), Some(Event::Resumed { held_ns: 4_000_000 }));
    assert_eq!(provider.handle_request(), Verdict::Deliver);
}

#[test]
fn a_stop_that_is_not_said_again_ends_and_is_told() {
    let mut provider = provider(PROVIDER, BY);
    assert_eq!(say(&mut provider, 1, tag(1), &SUSPEND, ms(1)), Verdict::Deliver);
    assert_eq!(say(&mut provider, 2, tag(1), &SUSPEND, ms(1001)), Verdict::Deliver);
    told(&mut provider, ms(1001));
    provider.handle_timeout(ms(2001));
    assert!(provider.is_suspended(), "it was said again");
    assert_eq!(provider.poll_timeout(), Some(ms(3001)));
    provider.handle_timeout(ms(3001));
    assert!(!provider.is_suspended());
    assert_eq!(parse(&told(&mut provider, ms(3001))[0]), (tag(1), Frame::Abort));

    let mut joiner = suspended();
    assert_eq!(joiner.state(), State::Asking);
    joiner.handle_frame(OTHER, tag(1), &Frame::Abort, ms(3));
    assert_eq!((joiner.state(), joiner.failure()), (State::Suspending, Some(Failure::Resumed)));
}

/// A joiner to whom two members have said that they have stopped.
fn suspended() -> J {
    let mut joiner = joiner(BY, Want::One, &[PROVIDER, OTHER]);
    assert_eq!(parse(&asked(&mut joiner)[0]), (tag(1), SUSPEND));
    assert_eq!(hear(&mut joiner, 1, None, ms(1)), Verdict::Hold);
    joiner.handle_frame(PROVIDER, tag(1), &Frame::Suspended { sent: SequenceNumber(0) }, ms(1));
    assert_eq!((joiner.state(), asked(&mut joiner).len()), (State::Suspending, 0), "not all have stopped");
    joiner.handle_frame(OTHER, tag(1), &Frame::Suspended { sent: SequenceNumber(7) }, ms(2));
    joiner
}

#[test]
fn the_capture_contains_all_that_was_sent_before_the_stop() {
    let mut joiner = suspended();
    let mut provider = provider(PROVIDER, BY);
    ask(&mut joiner, &mut provider, ms(3));
    assert_eq!(commands(&mut provider), [], "seven messages of another member are still on their way");
    answer(&mut provider, PROVIDER, &mut joiner, ms(3));
    assert_eq!(joiner.failure(), Some(Failure::Refused(Refusal::NotYet)));
}

#[test]
fn resume_goes_out_when_all_is_installed_and_not_before() {
    let mut joiner = joiner(BY, Want::One, &[PROVIDER]);
    let mut provider = provider(PROVIDER, BY);
    asked(&mut joiner);
    joiner.handle_frame(PROVIDER, tag(1), &Frame::Suspended { sent: SequenceNumber(0) }, ms(1));
    ask(&mut joiner, &mut provider, ms(1));
    capture(&mut provider, ms(1));
    answer(&mut provider, PROVIDER, &mut joiner, ms(2));
    joiner.handle_staged(SNAPSHOT, None, ms(3));
    assert_eq!(kinds(&asked(&mut joiner)), "Staged");
    assert!(wanted(&mut joiner).contains(&JoinerCommand::Commit));
    joiner.handle_timeout(joiner.poll_timeout().unwrap());
    assert_eq!(kinds(&asked(&mut joiner)), "Suspend", "it is said again until then");
    joiner.handle_committed();
    assert_eq!(kinds(&asked(&mut joiner)), "Resume");
    assert_eq!(joiner.poll_timeout(), None);
}

#[test]
fn who_is_gone_is_not_waited_for_and_whose_joiner_is_gone_goes_on() {
    let mut joiner = joiner(BY, Want::One, &[PROVIDER, OTHER]);
    asked(&mut joiner);
    joiner.handle_frame(PROVIDER, tag(1), &Frame::Suspended { sent: SequenceNumber(0) }, ms(1));
    joiner.handle_view(&[PROVIDER, JOINER], ms(2));
    assert_eq!((joiner.state(), joiner.provider()), (State::Asking, Some(PROVIDER)));
    let mut provider = provider(PROVIDER, BY);
    assert_eq!(say(&mut provider, 1, tag(1), &SUSPEND, ms(1)), Verdict::Deliver);
    provider.handle_view(&[PROVIDER, OTHER], ms(2));
    assert!(is_gone(&mut provider));
}
