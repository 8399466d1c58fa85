//! Processes that are killed, and the same command again.

use std::fs;
use std::path::Path;

use longhaul::state::Staging;
use nix::sys::signal::Signal;

use crate::rig::{Listening, Running, Scratch, fetch, names, poll, run, start_fetch};
use crate::tree::{assert_same, bytes};

/// Enough for several checkpoints.
fn state(root: &Path) {
    fs::create_dir_all(root.join("many")).unwrap();
    for n in 0..3 {
        fs::write(root.join(format!("large{n}")), bytes((90 << 20) + n, n as u32)).unwrap();
    }
    for n in 0..500 {
        fs::write(root.join(format!("many/{n}")), bytes(n * 40, n as u32)).unwrap();
    }
}

/// Bytes that the next run need not ask for.
fn claimed(destination: &Path) -> u64 {
    let staging = Staging::of(destination).unwrap();
    staging.and_then(|staging| staging.journal.ok().flatten()).map_or(0, |journal| journal.bytes)
}

/// A fetch that runs until more than `before` is durable: `None` if it came to its end instead.
fn until_durable(address: &str, copy: &Path, before: u64) -> Option<Running> {
    let mut fetch = start_fetch(address, copy, &["--no-redial"]);
    poll("a checkpoint", || (claimed(copy) > before || fetch.is_over()).then_some(()));
    (!fetch.is_over()).then_some(fetch)
}

// Catalogue: F48
#[test]
fn a_joiner_that_is_killed_again_and_again_goes_on_where_it_was() {
    let scratch = Scratch::new();
    let (source, copy) = (scratch.dir("source"), scratch.join("copy"));
    state(&source);
    let provider = Listening::serve(&source, &[]);
    let mut kept = 0;
    for _ in 0..3 {
        let Some(running) = until_durable(&provider.address, &copy, kept) else { break };
        running.signal(Signal::SIGKILL);
        drop(running.wait());
        let now = claimed(&copy);
        assert!(now >= kept, "what is durable stays so");
        kept = now;
    }
    if !copy.exists() {
        let summary = fetch(&provider.address, &copy, &["--json"]).expect(0).summary();
        assert!(summary["bytes_resumed"].as_u64().unwrap() >= kept, "{summary}, of {kept}");
    }
    assert_same(&copy, &source);
    assert_eq!(names(scratch.path()), ["copy", "source"]);
}

// Catalogue: F49
#[test]
fn a_joiner_whose_provider_is_killed_goes_on_with_the_next_one() {
    let scratch = Scratch::new();
    let (source, copy) = (scratch.dir("source"), scratch.join("copy"));
    state(&source);
    let provider = Listening::serve(&source, &[]);
    let Some(first) = until_durable(&provider.address, &copy, 0) else { return };
    provider.running.signal(Signal::SIGKILL);
    first.wait().expect(10);
    let kept = claimed(&copy);
    assert!(kept > 0);
    let provider = Listening::serve(&source, &[]);
    let summary = fetch(&provider.address, &copy, &["--json"]).expect(0).summary();
    assert!(summary["bytes_resumed"].as_u64().unwrap() >= kept, "{summary}, of {kept}");
    assert_same(&copy, &source);
    assert_eq!(names(scratch.path()), ["copy", "source"]);
}

#[test]
fn what_a_killed_joiner_left_is_shown_and_given_up() {
    let scratch = Scratch::new();
    let (source, copy) = (scratch.dir("source"), scratch.join("copy"));
    state(&source);
    let provider = Listening::serve(&source, &[]);
    let Some(first) = until_durable(&provider.address, &copy, 0) else { return };
    let shown = run(["staging", "show", copy.to_str().unwrap()]).expect(0);
    assert!(shown.stdout.contains("held by process"), "{shown:?}");
    run(["staging", "discard", copy.to_str().unwrap()]).expect(13).says("held by process");
    fetch(&provider.address, &copy, &[]).expect(13).says("held by process");
    first.signal(Signal::SIGKILL);
    drop(first.wait());
    let listed = run(["staging", "list", scratch.path().to_str().unwrap(), "--json"]).expect(0).summary();
    assert!(listed["staging"][0]["journal"]["bytes"].as_u64().unwrap() > 0, "{listed}");
    run(["staging", "discard", copy.to_str().unwrap()]).expect(0);
    assert_eq!(names(scratch.path()), ["source"]);
    run(["staging", "show", copy.to_str().unwrap()]).expect(2).says("nothing is staged");
}
