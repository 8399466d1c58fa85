//! Asking a busy peer again.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_state::transfer::{Control, Event, TransferError};

use crate::error::Error;
use crate::settings::random;

/// When a busy peer does not say when to ask again.
const UNTOLD: Duration = Duration::from_secs(1);
/// Whatever a peer says, it is not asked more often, nor less often.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(30);

/// How long a busy peer is asked again, unless told.
pub(crate) const BUSY_WAIT: Duration = Duration::from_mins(1);

/// Dials again as long as the peer is busy, for up to `busy_wait` in all.
pub(crate) fn until_admitted<T>(
    side: Side,
    control: &Arc<Control>,
    busy_wait: Duration,
    mut dial: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let deadline = Instant::now().checked_add(busy_wait);
    loop {
        let error = match dial() {
            Err(error) if error.kind() == crate::ErrorKind::Busy => error,
            result => return result,
        };
        let left =
            deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(error);
        }
        let retry_after = jittered(error.retry_after().unwrap_or(UNTOLD))?.min(left);
        tracing::info!(?retry_after, "the peer is busy");
        control.emit(&Event::Busy { retry_after });
        if !pause(control, retry_after) {
            let message = "cancelled while the peer was busy";
            return Err(TransferError::new(Reason::Cancelled, side, Phase::Connect, message).into());
        }
    }
}

/// Between half of `asked` and one and a half of it, so that those who were sent away together do
/// not come back together.
fn jittered(asked: Duration) -> Result<Duration, Error> {
    let asked = asked.clamp(SHORTEST, LONGEST);
    let spread = f64::from(u32::from_le_bytes(random()?)) / f64::from(u32::MAX);
    Ok(asked.mul_f64(0.5 + spread))
}

/// Waits; false if cancelled meanwhile.
fn pause(control: &Arc<Control>, time: Duration) -> bool {
    let bell = Arc::new((Mutex::new(()), Condvar::new()));
    let ring = Arc::clone(&bell);
    control.on_cancel(move || {
        drop(ring.0.lock());
        ring.1.notify_all();
    });
    let guard = bell.0.lock().unwrap_or_else(PoisonError::into_inner);
    drop(bell.1.wait_timeout_while(guard, time, |()| !control.is_cancelled()));
    control.forget_wakers();
    !control.is_cancelled()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn busy() -> Error {
        let mut error = TransferError::new(Reason::Busy, Side::Provider, Phase::Init, "full");
        error.retry_after = Some(Duration::from_millis(1));
        error.into()
    }

    #[test]
    fn a_busy_peer_is_asked_again_until_it_admits() {
        let mut dials = 0;
        let control = Arc::new(Control::new());
        let events = control.events();
        let result = until_admitted(Side::Joiner, &control, BUSY_WAIT, || {
            dials += 1;
            if dials == 3 { Ok(dials) } else { Err(busy()) }
        });
        assert_eq!(result.unwrap(), 3);
        assert_eq!(events.try_iter().count(), 2);
    }

    #[test]
    fn patience_ends_and_other_errors_are_not_waited_for() {
        let control = Arc::new(Control::new());
        let never = until_admitted(Side::Joiner, &control, Duration::ZERO, || Err::<(), _>(busy()));
        assert_eq!(never.unwrap_err().kind(), ErrorKind::Busy);
        let other = Error::new(ErrorKind::Unreachable, "gone");
        let result = until_admitted(Side::Joiner, &control, BUSY_WAIT, || Err::<(), _>(other.clone()));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unreachable);
    }

    #[test]
    fn a_cancel_ends_the_pause() {
        let control = Arc::new(Control::new());
        let result = until_admitted(Side::Joiner, &control, BUSY_WAIT, || {
            control.cancel();
            Err::<(), _>(busy())
        });
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn jitter_stays_within_its_bounds() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(1)).unwrap();
            assert!(pause >= Duration::from_millis(500) && pause <= Duration::from_millis(1500), "{pause:?}");
        }
        assert!(jittered(Duration::ZERO).unwrap() > Duration::ZERO);
    }
}
