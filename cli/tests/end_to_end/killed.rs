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
        fs::write(root.join(format!("large{n}")), bytes((50 << 20) + n, n as u32)).unwrap();
    }
    for n in 0..500 {
        fs::write(root.join(format!("many/{n}")), bytes(n * 40, n as u32)).unwrap();
    }
}

/// How often it is looked for what came to be durable, before more is let come.
const LOOKS: u32 = 100;

/// What a fetch that is stopped again and again does not do.
const EARLY: &str = "the fetch has ended before anything was durable";

/// Bytes that the next run need not ask for.
fn claimed(destination: &Path) -> u64 {
    let staging = Staging::of(destination).unwrap();
    staging.and_then(|staging| staging.journal.ok().flatten()).map_or(0, |(_, claimed)| claimed.bytes)
}

/// A fetch that runs until more than `before` is durable, while its provider gives no more. `None` if the fetch
/// came to its end instead.
fn until_durable(provider: &Listening, copy: &Path, before: u64) -> Option<Running> {
    let mut fetch = start_fetch(&provider.address, copy, &["--no-redial", "--json"]);
    loop {
        // What comes while it is let go becomes durable while it is stopped, or too little has come.
        provider.running.signal(Signal::SIGSTOP);
        let mut looks = 0;
        let durable = poll("a checkpoint", || {
            looks += 1;
            let durable = claimed(copy) > before;
            (durable || fetch.is_over() || looks > LOOKS).then_some(durable)
        });
        if fetch.is_over() {
            provider.running.signal(Signal::SIGCONT);
            return None;
        }
        if durable {
            return Some(fetch);
        }
        provider.running.signal(Signal::SIGCONT);
        let mut looks = 0;
        poll("some more", || {
            looks += 1;
            (looks > 3).then_some(())
        });
    }
}

#[test]
fn a_joiner_that_is_killed_again_and_again_goes_on_where_it_was() {
    let scratch = Scratch::new();
    let (source, copy) = (scratch.dir("source"), scratch.join("copy"));
    state(&source);
    let provider = Listening::serve(&source, &[]);
    let mut kept = 0;
    for round in 0..3 {
        let Some(running) = until_durable(&provider, &copy, kept) else {
            assert!(round > 0, "{EARLY}");
            break;
        };
        running.signal(Signal::SIGKILL);
        drop(running.wait());
        provider.running.signal(Signal::SIGCONT);
        let now = claimed(&copy);
        assert!(now >= kept, "what is durable stays so");
        kept = now;
    }
    provider.running.signal(Signal::SIGCONT);
    // It may have been killed when it had published, and was clearing up.
    if !copy.exists() || scratch.join(".copy.longhaul.journal").exists() {
        let summary = fetch(&provider.address, &copy, &["--json"]).expect(0).summary();
        assert!(summary["bytes_resumed"].as_u64().unwrap() >= kept, "{summary}, of {kept}");
    }
    assert_same(&copy, &source);
    assert_eq!(names(scratch.path()), ["copy", "source"]);
}

#[test]
fn a_joiner_whose_provider_is_killed_goes_on_with_the_next_one() {
    let scratch = Scratch::new();
    let (source, copy) = (scratch.dir("source"), scratch.join("copy"));
    state(&source);
    let provider = Listening::serve(&source, &[]);
    let first = until_durable(&provider, &copy, 0).expect(EARLY);
    provider.running.signal(Signal::SIGKILL);
    let failed = first.wait().expect(10).summary();
    assert_eq!(failed["error"]["resumable"], true, "{failed}");
    let kept = claimed(&copy);
    assert!(kept > 0);
    let provider = Listening::serve(&source, &[]);
    let summary = fetch(&provider.address, &copy, &["--json"]).expect(0).summary();
    assert!(summary["bytes_resumed"].as_u64().unwrap() >= kept, "{summary}, of {kept}");
    assert_same(&copy, &source);
    assert_eq!(names(scratch.path()), ["copy", "source"]);
}

// Catalogue: F51
#[test]
fn a_joiner_that_is_told_to_stop_keeps_what_is_durable() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let scratch = Scratch::new();
        let (source, copy) = (scratch.dir("source"), scratch.join("copy"));
        state(&source);
        let provider = Listening::serve(&source, &[]);
        let running = until_durable(&provider, &copy, 0).expect(EARLY);
        running.signal(signal);
        running.wait().expect(code);
        let kept = claimed(&copy);
        assert_eq!(names(scratch.path()), [".copy.longhaul", ".copy.longhaul.journal", "source"]);
        provider.running.signal(Signal::SIGCONT);
        let summary = fetch(&provider.address, &copy, &["--json"]).expect(0).summary();
        assert!(summary["bytes_resumed"].as_u64().unwrap() >= kept.max(1), "{summary}, of {kept}");
        assert_same(&copy, &source);
    }
}

#[test]
fn what_a_killed_joiner_left_is_shown_and_given_up() {
    let scratch = Scratch::new();
    let (source, copy) = (scratch.dir("source"), scratch.join("copy"));
    state(&source);
    let provider = Listening::serve(&source, &[]);
    let first = until_durable(&provider, &copy, 0).expect(EARLY);
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
