//! The kit itself: an engine that keeps its promises passes, and each way to break one is found and named.

mod engine;
mod pieces;
mod subject;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longhaul::MemberId;
use longhaul::kit::{Check, Kit, Retention, SENDER, Verdict, check_pins};
use longhaul::live::{Apply, Capture, Delivered, Entry, PinError, Pins, SequenceNumber};

use crate::subject::Shelves;

fn kit(shelves: Shelves) -> Kit<Shelves> {
    Kit::new(shelves).messages(48).rounds(12)
}

// Catalogue: F78
#[test]
fn an_engine_that_keeps_its_promises_passes() {
    for (capture, apply) in [
        (Capture::Atomic, Apply::Once),
        (Capture::Atomic, Apply::Idempotent),
        (Capture::Fuzzy, Apply::Idempotent),
    ] {
        let report = kit(Shelves { capture, apply, broken: None }).rounds(4).run();
        report.expect_kept();
        let not_asked = report.verdicts.iter().filter(|(_, verdict)| matches!(verdict, Verdict::NotAsked(_)));
        assert_eq!(not_asked.count(), usize::from(apply == Apply::Once), "{report}");
    }
}

// Catalogue: F78
#[test]
fn each_promise_that_is_broken_is_named_with_the_seed_that_repeats_it() {
    for broken in Check::ALL {
        let found =
            kit(Shelves::breaking(broken)).only(broken).patience(Duration::from_secs(20)).seed(7).run();
        let told: Vec<_> = found.broken().map(|(check, _)| check).collect();
        assert_eq!(told, [broken], "{found}");
        let said = found.to_string();
        assert!(said.contains(broken.promise()) && said.ends_with("LONGHAUL_SEED=7 repeats it"), "{said}");
    }
}

// Catalogue: F78
#[test]
fn a_table_that_is_dropped_under_a_capture_is_found_where_structure_changes_and_nowhere_else() {
    let broken = || Shelves::breaking(Check::CaptureUnderStructure);
    for seed in 0..5 {
        kit(broken()).only(Check::CaptureExact).seed(seed).run().expect_kept();
        kit(broken()).only(Check::CaptureUnderWrites).seed(seed).run().expect_kept();
    }
    let found = (0..5).filter(|seed| {
        let report = kit(broken()).only(Check::CaptureUnderStructure).seed(*seed).run();
        report.broken().next().is_some()
    });
    assert_eq!(found.count(), 5);
}

#[test]
fn who_is_never_let_go_is_found_out() {
    let shelves = Shelves::never_letting_go();
    let found = kit(shelves).only(Check::LatchHolds).patience(Duration::from_secs(1)).run();
    let (check, how) = found.broken().next().expect("nobody passes");
    assert_eq!(check, Check::LatchHolds);
    assert!(how.contains("waits still"), "{how}");
}

/// A channel that keeps what is pinned; or forgets it, in one way or another.
struct Channel {
    state: Arc<Mutex<Messages>>,
}

#[derive(Default)]
struct Messages {
    dropped: u64,
    sent: u64,
    pins: BTreeMap<MemberId, u64>,
    forgets: Option<Forgets>,
}

#[derive(Clone, Copy, Debug)]
enum Forgets {
    Pins,
    SecondPins,
    OthersPins,
    RenewedPins,
}

struct Keeper(Arc<Mutex<Messages>>);

impl Pins for Keeper {
    fn pin(&self, joiner: MemberId, _lease: Duration) -> Result<Delivered, PinError> {
        let mut state = self.0.lock().unwrap();
        let kept = state.dropped;
        let behind = match state.forgets {
            Some(Forgets::Pins) => u64::MAX,
            Some(Forgets::RenewedPins) if state.pins.contains_key(&joiner) => state.sent,
            Some(Forgets::SecondPins) if !state.pins.is_empty() => {
                state.pins.clear();
                state.sent
            }
            _ => *state.pins.get(&joiner).unwrap_or(&kept),
        };
        state.pins.insert(joiner, behind);
        let mut sources = Delivered::new();
        let behind = SequenceNumber(behind.min(state.sent));
        sources.insert(Entry::new(SENDER, behind, SequenceNumber(state.sent)).unwrap()).unwrap();
        Ok(sources)
    }

    fn unpin(&self, joiner: MemberId) {
        let mut state = self.0.lock().unwrap();
        state.pins.remove(&joiner);
        if matches!(state.forgets, Some(Forgets::OthersPins)) {
            state.pins.clear();
        }
    }
}

impl Retention for Channel {
    fn pins(&self) -> Arc<dyn Pins> {
        Arc::new(Keeper(Arc::clone(&self.state)))
    }

    fn send(&self) -> SequenceNumber {
        let mut state = self.state.lock().unwrap();
        state.sent += 1;
        state.dropped =
            state.pins.values().copied().min().unwrap_or(state.sent).min(state.sent).max(state.dropped);
        SequenceNumber(state.sent)
    }

    fn is_kept(&self, message: SequenceNumber) -> bool {
        message.0 > self.state.lock().unwrap().dropped
    }
}

#[test]
fn a_channel_that_forgets_what_is_pinned_is_found_out() {
    let channel = |forgets| {
        let state = Messages { forgets, ..Messages::default() };
        check_pins(&Channel { state: Arc::new(Mutex::new(state)) })
    };
    channel(None).unwrap();
    for forgets in [Forgets::Pins, Forgets::SecondPins, Forgets::OthersPins, Forgets::RenewedPins] {
        assert!(channel(Some(forgets)).is_err(), "{forgets:?}");
    }
}
