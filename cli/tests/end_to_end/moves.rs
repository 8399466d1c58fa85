//! What a state holds arrives, whoever dials.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::rig::{Listening, Scratch, fetch, names, push, run, start_fetch};
use crate::tree::{allocated, assert_same, bytes, everything};

#[test]
fn a_fetch_brings_everything() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    everything(&state);
    let provider = Listening::serve(&state, &["--once"]);
    fetch(&provider.address, &copy, &[]).expect(0);
    provider.wait().expect(0);
    assert_same(&state, &copy);
    assert!(allocated(&copy.join("sparse")) < 1 << 20, "holes are not allocated");
    run(["verify".as_ref(), state.as_os_str(), copy.as_os_str()]).expect(0);
    assert_eq!(names(scratch.path()), ["copy", "state"]);
}

#[test]
fn a_push_brings_everything() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    everything(&state);
    let joiner = Listening::receive(&copy, &["--once"]);
    push(&state, &joiner.address, &[]).expect(0);
    joiner.wait().expect(0);
    assert_same(&state, &copy);
    assert_eq!(names(scratch.path()), ["copy", "state"]);
}

#[test]
fn every_integrity_and_number_of_lanes_brings_everything() {
    let scratch = Scratch::new();
    let state = scratch.dir("state");
    everything(&state);
    let provider = Listening::serve(&state, &["--lanes", "8"]);
    for (integrity, lanes) in [("blake3", "1"), ("none", "3"), ("crc32c", "8")] {
        let copy = scratch.join(integrity);
        let options = ["--integrity", integrity, "--lanes", lanes, "--json"];
        let summary = fetch(&provider.address, &copy, &options).expect(0).summary();
        assert_eq!(summary["integrity"], integrity);
        assert_same(&state, &copy);
        if integrity == "none" {
            assert_eq!(summary["root"], "none");
        } else {
            let verified =
                run(["verify".as_ref(), copy.as_os_str(), "--integrity".as_ref(), integrity.as_ref()]);
            assert_eq!(summary["root"].as_str(), Some(verified.expect(0).stdout.trim()));
        }
    }
}

#[test]
fn a_state_may_be_one_file_or_nothing_at_all() {
    let scratch = Scratch::new();
    let cases = [("file", Some(bytes(3_000_000, 7))), ("empty", Some(Vec::new())), ("directory", None)];
    for (name, content) in cases {
        let (state, copy) = (scratch.join(name), scratch.join(&format!("{name}-copy")));
        match &content {
            Some(content) => fs::write(&state, content).unwrap(),
            None => fs::create_dir(&state).unwrap(),
        }
        let provider = Listening::serve(&state, &["--once"]);
        fetch(&provider.address, &copy, &[]).expect(0);
        provider.wait().expect(0);
        assert_same(&state, &copy);
    }
}

#[test]
fn an_old_state_is_replaced_if_that_was_said_and_an_empty_directory_always() {
    let scratch = Scratch::new();
    let (state, copy, empty) = (scratch.dir("state"), scratch.dir("copy"), scratch.dir("empty"));
    fs::write(state.join("new"), b"new").unwrap();
    fs::write(copy.join("old"), b"old").unwrap();
    let provider = Listening::serve(&state, &[]);
    fetch(&provider.address, &copy, &["--replace"]).expect(0);
    assert_same(&state, &copy);
    fetch(&provider.address, &empty, &[]).expect(0);
    assert_same(&state, &empty);
    assert_eq!(names(scratch.path()), ["copy", "empty", "state"]);
}

#[test]
fn links_special_files_and_names_are_handled_as_told() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    symlink("/etc/hostname", state.join("leaves")).unwrap();
    mkfifo(&state.join("fifo"), Mode::S_IRWXU).unwrap();
    fs::write(state.join("one"), b"content").unwrap();
    fs::hard_link(state.join("one"), state.join("two")).unwrap();
    let provider =
        Listening::serve(&state, &["--links", "keep", "--special", "skip", "--hard-links", "copy"]);
    fetch(&provider.address, &copy, &["--links", "keep"]).expect(0);
    assert_eq!(names(&copy), ["leaves", "one", "two"]);
    assert_eq!(fs::read_link(copy.join("leaves")).unwrap().to_str(), Some("/etc/hostname"));
    assert_eq!(fs::metadata(copy.join("one")).unwrap().nlink(), 1);
    let paths = [state.as_os_str(), copy.as_os_str()];
    run(["verify".as_ref(), paths[0], paths[1], "--hard-links".as_ref(), "copy".as_ref()]).expect(0);
    run(["verify".as_ref(), paths[0], paths[1]]).expect(23);
}

#[test]
fn several_joiners_are_served_at_once() {
    let scratch = Scratch::new();
    let state = scratch.dir("state");
    everything(&state);
    let provider = Listening::serve(&state, &[]);
    let joiners: Vec<_> = (0..4)
        .map(|n| {
            let copy = scratch.join(&format!("copy-{n}"));
            (start_fetch(&provider.address, &copy, &[]), copy)
        })
        .collect();
    for (joiner, copy) in joiners {
        joiner.wait().expect(0);
        assert_same(&state, &copy);
    }
    provider.running.signal(Signal::SIGTERM);
    provider.wait().expect(143);
}

#[test]
fn a_dry_run_tells_the_totals_and_leaves_nothing() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    fs::write(state.join("file"), b"12345").unwrap();
    let provider = Listening::serve(&state, &[]);
    let summary = fetch(&provider.address, &copy, &["-n", "--json"]).expect(0).summary();
    assert_eq!(
        (&summary["result"], &summary["items"], &summary["bytes"]),
        (&"ok".into(), &2.into(), &5.into())
    );
    assert_eq!(names(scratch.path()), ["state"]);
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("old"), b"old").unwrap();
    fetch(&provider.address, &copy, &["--dry-run"]).expect(21);
}

#[test]
fn a_demo_ends_well_and_leaves_nothing() {
    let scratch = Scratch::new();
    let dir = scratch.path().as_os_str();
    let demo = run(["demo".as_ref(), "--size".as_ref(), "8MiB".as_ref(), "--dir".as_ref(), dir]).expect(0);
    assert!(demo.stdout.contains("the same: root crc32c:"), "{demo:?}");
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn a_live_demo_ends_with_four_members_that_are_the_same() {
    let options = ["--size", "8MiB", "--rate", "300", "--measure", "300ms"];
    let summary = run(["demo", "--live", "--json"].into_iter().chain(options)).expect(0).summary();
    assert_eq!((summary["result"].as_str(), summary["members"].as_u64()), (Some("ok"), Some(4)));
    assert_eq!((summary["identical"].as_bool(), summary["keys"].as_u64()), (Some(true), Some(8192)));
    assert!(summary["bytes"].as_u64() >= Some(8 << 20), "{summary}");
    for when in ["before", "after"] {
        assert!(summary["latency"][when]["writes"].as_u64() > Some(0), "{summary}");
    }
    let told = run(["demo", "--live"].into_iter().chain(options)).expect(0).stdout;
    for word in ["captured", "the bulk moves", "latch: held for", "member 4 serves", "are identical"] {
        assert!(told.contains(word), "no {word:?} in {told}");
    }
}
