//! A process that cancels many transfers has, in the end, what it had before the first. Alone in its process: it counts
//! all descriptors and threads. `LONGHAUL_TRANSFERS` says how many of each engine, if not so many as there is time for.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use longhaul_core::reason::Reason;
use longhaul_state::Source;
#[cfg(not(longhaul_portable))]
use longhaul_state::pool::Pool;
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions};
use longhaul_state::source::{DirectoryOptions, DirectorySource};
use longhaul_state::transfer::DataPath;
use longhaul_tests::conformance::doubles::MeddledSink;
use longhaul_tests::conformance::tree::{Scratch, noise, write};
use longhaul_tests::conformance::{ByEngine, Rig, Settings, Way, eventually};
use longhaul_tests::sim::Random;
#[cfg(not(longhaul_portable))]
use longhaul_transport::Engine;
use longhaul_transport_std::Blocking;

/// Transfers of each engine, unless told otherwise.
const TRANSFERS: u64 = 80;

/// Calls that the state's items are to the sink, more or less: some transfers end before they are cancelled.
const CALLS: u64 = 40;

fn engines() -> Vec<ByEngine> {
    vec![
        ByEngine { name: "std", engine: |_| Arc::new(Blocking), data_path: DataPath::Auto },
        #[cfg(not(longhaul_portable))]
        ByEngine { name: "std, splice", engine: |_| Arc::new(Blocking), data_path: DataPath::Splice },
        #[cfg(not(longhaul_portable))]
        ByEngine { name: "uring", engine: ring, data_path: DataPath::Direct },
        #[cfg(not(longhaul_portable))]
        ByEngine { name: "uring, splice", engine: ring, data_path: DataPath::RingSplice },
    ]
}

#[cfg(not(longhaul_portable))]
fn ring(pool: &Pool) -> Arc<dyn Engine> {
    let ring = longhaul_transport_uring::Ring::start(pool).unwrap();
    // Which it would do by itself after some more transfers.
    println!("{} buffers are registered", ring.register());
    Arc::new(ring)
}

/// A number that the environment gives.
fn given(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|given| given.parse().ok()).unwrap_or(default)
}

/// Descriptors and threads of this process.
fn held() -> (usize, usize) {
    let count = |of: &str| std::fs::read_dir(format!("/proc/self/{of}")).unwrap().count();
    (count("fd"), count("task"))
}

/// One transfer, cancelled at a random call of its sink by a random side. `true` if it was cancelled before it was over.
fn cancelled(subject: &ByEngine, scratch: &Scratch, random: &mut Random) -> bool {
    let settings = Settings::default();
    let by = random.pick(&[&settings.provider, &settings.joiner]);
    let (control, at) = (Arc::clone(&by.control), random.within(0, CALLS) as usize);
    let calls = AtomicUsize::new(0);
    let options = DirectorySinkOptions { replace: true, resume: false, ..DirectorySinkOptions::default() };
    let sink = MeddledSink::new(DirectorySink::new(scratch.destination(), options).unwrap(), move |_| {
        if calls.fetch_add(1, Ordering::Relaxed) == at {
            control.cancel();
        }
        Ok(())
    });
    let source: Arc<dyn Source> =
        Arc::new(DirectorySource::new(scratch.source(), DirectoryOptions::default()).unwrap());
    let way = random.pick(&[Way::Fetch, Way::Push]);
    // All buffers come back: the rig sees to it.
    let ends = Rig { subject, way }.run(source, Box::new(sink), &settings);
    let failed = ends.joiner.as_ref().err();
    assert!(failed.is_none_or(|error| error.reason == Reason::Cancelled), "{}: {failed:?}", subject.name);
    failed.is_some()
}

// Catalogue: F75
#[test]
fn cancelled_transfers_leave_no_buffer_descriptor_or_thread() {
    let (seed, transfers) = (given("LONGHAUL_SEED", 1), given("LONGHAUL_TRANSFERS", TRANSFERS));
    println!("LONGHAUL_SEED={seed}");
    let mut random = Random::new(seed);
    let scratch = Scratch::new();
    for (n, len) in [100, 4096, 70_000, 70_000, 200_000, 1_500_000, 3_000_001].into_iter().enumerate() {
        for copy in 0..3 {
            write(&scratch.source().join(format!("{n}.{copy}")), &noise(n as u64, len));
        }
    }
    for subject in engines() {
        // What the process takes once, it keeps.
        cancelled(&subject, &scratch, &mut random);
        let before = held();
        let ended = (0..transfers).filter(|_| cancelled(&subject, &scratch, &mut random)).count() as u64;
        println!("{}: {ended} of {transfers} were cancelled before they were over", subject.name);
        assert!(ended > transfers / 4, "{}: {ended}", subject.name);
        let what = format!("{}: no more descriptors and threads than {before:?}", subject.name);
        eventually(&what, || {
            let (descriptors, threads) = held();
            descriptors <= before.0 && threads <= before.1
        });
    }
}
