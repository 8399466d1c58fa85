//! Another try where the joiner's disk lost what was written.

use longhaul_core::reason::Phase;
use longhaul_state::transfer::Event;

use crate::error::{Error, ErrorKind};
use crate::watch::Watch;

/// Makes an attempt; where the joiner's disk loses what was written, a second one, into new files, and no third. What is
/// still claimed at the joiner is kept. `how` says what moves the state: "fetched", "pushed".
pub(crate) fn once_more<T>(
    watch: &Watch,
    how: &str,
    mut attempt: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let lost = match attempt() {
        Err(error) if error.lost_data() && !watch.is_cancelled() => error,
        ended => return ended,
    };
    let what = format!("{lost}: what may be lost is {how} once more, into new files");
    watch.control().emit(&Event::Warning(what));
    watch.control().restart();
    match attempt() {
        // A peer that has one session is gone by then: why, only the first attempt knows.
        Err(error) if is_gone(&error) => Err(lost),
        ended => ended,
    }
}

/// Whether there was nobody to talk to.
fn is_gone(error: &Error) -> bool {
    error.kind() == ErrorKind::Unreachable && matches!(error.phase(), Some(Phase::Connect | Phase::Init))
}

#[cfg(test)]
mod tests {
    use super::*;
    use longhaul_core::reason::{Reason, Side};
    use longhaul_state::transfer::TransferError;

    /// How attempts that fail so end, and how many of them were made; the third would succeed.
    fn attempts(watch: &Watch, failures: [(Reason, Phase); 2]) -> (Result<(), String>, usize) {
        let mut made = 0;
        let result = once_more(watch, "pushed", || {
            made += 1;
            let failed = |(reason, phase): &(_, _)| {
                TransferError::new(*reason, Side::Joiner, *phase, format!("attempt {made}")).into()
            };
            failures.get(made - 1).map_or(Ok(()), |failure| Err(failed(failure)))
        });
        (result.map_err(|error| error.message().to_owned()), made)
    }

    // Catalogue: F22, F23
    #[test]
    fn lost_data_is_moved_once_more_and_the_second_error_is_the_last() {
        for reason in [Reason::LostData, Reason::Rotten] {
            let watch = Watch::new();
            let events = watch.control().events();
            assert_eq!(attempts(&watch, [(reason, Phase::Complete); 2]), (Err("attempt 2".into()), 2));
            let warned =
                |event| matches!(event, Event::Warning(what) if what.contains("is pushed once more"));
            assert_eq!(events.try_iter().filter(|event| warned(event.clone())).count(), 1);
        }
    }

    #[test]
    fn other_errors_and_what_was_cancelled_are_not_tried_again() {
        let watch = Watch::new();
        for reason in [Reason::Destination, Reason::NoSpace, Reason::Integrity, Reason::Unreachable] {
            assert_eq!(
                attempts(&watch, [(reason, Phase::Stream); 2]),
                (Err("attempt 1".into()), 1),
                "{reason}"
            );
        }
        watch.cancel();
        assert_eq!(attempts(&watch, [(Reason::LostData, Phase::Complete); 2]), (Err("attempt 1".into()), 1));
    }

    #[test]
    fn of_a_joiner_that_is_gone_the_first_error_is_told() {
        let lost = (Reason::LostData, Phase::Complete);
        for (phase, told) in [(Phase::Connect, 1), (Phase::Init, 1), (Phase::Stream, 2)] {
            let ended = attempts(&Watch::new(), [lost, (Reason::Unreachable, phase)]);
            assert_eq!(ended, (Err(format!("attempt {told}")), 2), "{phase}");
        }
    }
}
