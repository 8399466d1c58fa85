//! What both simulators do with their cases: run them seed by seed on some cores, read them line by line, and take a
//! panic for what broke.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// One seed in so many runs twice: its two traces must be equal.
const TWICE: u64 = 16;

/// Runs the seeds from `from` on, until `time` is over, `most` seeds have run, or one broke something; `add` hears of each.
/// How long it took.
pub(crate) fn sweep<O: PartialEq>(
    from: u64,
    most: u64,
    time: Duration,
    cores: usize,
    run: impl Fn(u64) -> Result<O, String> + Sync,
    add: impl FnMut(u64, Result<O, String>) + Send,
) -> Duration {
    let start = Instant::now();
    let (next, stop, add) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(add));
    thread::scope(|scope| {
        for _ in 0..cores.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && start.elapsed() < time {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= most {
                        break;
                    }
                    let seed = from.wrapping_add(n);
                    let result = repeats(seed, &run);
                    stop.fetch_or(result.is_err(), Ordering::Relaxed);
                    let mut add = add.lock().unwrap_or_else(PoisonError::into_inner);
                    (*add)(seed, result);
                }
            });
        }
    });
    start.elapsed()
}

/// Runs a seed, now and then twice.
fn repeats<O: PartialEq>(seed: u64, run: impl Fn(u64) -> Result<O, String>) -> Result<O, String> {
    let outcome = run(seed)?;
    if seed.is_multiple_of(TWICE) && run(seed)? != outcome {
        return Err("two runs of it went differently".into());
    }
    Ok(outcome)
}

/// The cases of a file, each with the number of its line.
///
/// # Errors
/// The first line that is no case, and why.
pub(crate) fn parse_all<C>(
    text: &str,
    parse: impl Fn(&str) -> Result<C, String>,
) -> Result<Vec<(usize, C)>, String> {
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(n, line)| parse(line).map(|case| (n, case)).map_err(|why| format!("line {n}: {why}")))
        .collect()
}

/// Runs a world; what it panics with is what broke.
pub(crate) fn caught<O>(run: impl FnOnce() -> O) -> Result<O, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}
