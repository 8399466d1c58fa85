//! What moves the bytes, and what when that is not to be had.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::rig::{Listening, Outcome, Running, Scratch, fetch, run, unprivileged, within};
use crate::tree::assert_same;

/// What the log says when there is no ring.
const NO_RING: &str = "io_uring is not used, but blocking calls: ";

/// Both ends of a transfer of some files by this transport.
fn transfer(transport: &str) -> [Outcome; 2] {
    transfer_by(&["--transport", transport])
}

fn transfer_by(told: &[&str]) -> [Outcome; 2] {
    transfer_between(told, told)
}

/// The provider is told this, and the joiner that.
fn transfer_between(provider: &[&str], joiner: &[&str]) -> [Outcome; 2] {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    for (name, bytes) in [("small", 100), ("large", 3 << 20), ("odd", (2 << 20) + 777)] {
        fs::write(state.join(name), vec![7; bytes]).unwrap();
    }
    // Large enough for a ring where nobody says, and all of it a hole.
    File::create(state.join("sparse")).unwrap().set_len(32 << 20).unwrap();
    let said = ["--json", "-v"];
    let provider = Listening::serve(&state, &[&["--once"], &said[..], provider].concat());
    let joiner = fetch(&provider.address, &copy, &[&said[..], joiner].concat()).expect(0);
    let provider = provider.wait().expect(0);
    assert_same(&state, &copy);
    [joiner, provider]
}

/// From now on this thread, and what it starts, gets this answer when it asks for a ring.
fn refuse_rings(answer: Errno) {
    let calls = BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]);
    let refuse = SeccompAction::Errno(answer as u32);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, refuse, architecture).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

#[test]
fn any_data_path_can_be_chosen_by_name_on_each_side() {
    for path in ["auto", "direct", "buffered"] {
        for transport in ["std", "uring"] {
            let _ = transfer_by(&["--transport", transport, "--data-path", path]);
        }
    }
}

#[test]
fn bytes_that_nobody_sees_move_without_checksums_alone() {
    for (transport, path) in [("std", "splice"), ("uring", "ring-splice"), ("uring", "splice")] {
        let provider = ["--transport", transport, "--data-path", path];
        let joiner = [&provider[..], &["--integrity", "none"]].concat();
        for outcome in transfer_between(&provider, &joiner) {
            let summary = outcome.summary();
            assert_eq!((&summary["integrity"], &summary["root"]), (&"none".into(), &"none".into()));
            let copied = outcome.stderr.contains("bytes are copied, not spliced");
            assert!(!copied, "{outcome:?}");
        }
        // Either side alone, too.
        let _ = transfer_between(&provider, &["--integrity", "none"]);
        let _ = transfer_between(&[], &joiner);
    }
}

#[test]
fn whoever_wants_checksums_of_bytes_that_nobody_sees_is_told_what_to_choose() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    fs::write(state.join("file"), [7; 100]).unwrap();
    let provider = Listening::serve(&state, &["--data-path", "splice"]);
    let fetched = |options: &[&str]| fetch(&provider.address, &copy, options);
    let _ = fetched(&["--data-path", "splice"]).expect(2).says("--integrity none");
    let _ = fetched(&["--data-path", "ring-splice", "--integrity", "none", "--transport", "std"])
        .expect(2)
        .says("needs a ring");
    // What the provider can't do, the joiner hears.
    let _ = fetched(&[]).expect(13).says("--integrity none");
    assert!(!copy.exists());
}

#[test]
fn the_summary_says_what_moved_the_bytes() {
    for transport in ["std", "uring", "auto"] {
        for outcome in transfer(transport) {
            // Where this test runs there may be no rings.
            let ring = transport != "std" && !outcome.stderr.contains(NO_RING);
            assert_eq!(outcome.summary()["transport"], if ring { "uring" } else { "std" }, "{outcome:?}");
        }
    }
}

#[test]
fn where_nobody_says_what_is_small_is_moved_by_blocking_calls_and_no_ring_is_asked_for() {
    let small = || {
        let scratch = Scratch::new();
        let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
        fs::write(state.join("file"), vec![7; 3 << 20]).unwrap();
        let provider = Listening::serve(&state, &["--once", "--json", "-v"]);
        let joiner = fetch(&provider.address, &copy, &["--json", "-v"]).expect(0);
        for outcome in [joiner, provider.wait().expect(0)] {
            assert_eq!(outcome.summary()["transport"], "std", "{outcome:?}");
            assert!(!outcome.stderr.contains(NO_RING), "{outcome:?}");
        }
        assert_same(&state, &copy);
    };
    small();
    // Nor is there anything to say where there is none.
    let filtered = move || {
        refuse_rings(Errno::EPERM);
        small();
    };
    std::thread::spawn(filtered).join().unwrap();
}

#[test]
fn a_service_has_as_many_rings_as_it_is_told_and_the_log_says_so() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    fs::write(state.join("large"), vec![7; 3 << 20]).unwrap();
    let told = ["--transport", "uring", "--ring-threads", "2", "-v"];
    // One session needs no more than one.
    for (n, (sessions, rings)) in [("8", true), ("1", false)].into_iter().enumerate() {
        let provider = Listening::serve(&state, &[&told[..], &["--max-sessions", sessions]].concat());
        fetch(&provider.address, &copy.with_extension(n.to_string()), &[]).expect(0);
        provider.running.signal(Signal::SIGTERM);
        let said = provider.wait().stderr;
        let spread = said.contains("the sessions are spread over 2 rings");
        assert!(spread == rings || said.contains(NO_RING), "{said}");
    }
    let probed = run(["probe", "--ring-threads", "2", "--json"]).expect(0).summary();
    let rings = &probed["io_uring"]["rings"];
    assert!(*rings == 2 || probed["io_uring"]["available"] == false, "{probed}");
    let _ = run(["serve", state.to_str().unwrap(), "--ring-threads", "0"]).expect(2).says("ring threads");
}

// Catalogue: F60
#[test]
fn without_a_ring_blocking_calls_move_the_bytes_and_the_log_says_why() {
    for (answer, why) in [
        (Errno::EPERM, "seccomp filter, as containers have"),
        (Errno::ENOSYS, "the kernel has none, or a seccomp filter hides it"),
        (Errno::ENOMEM, "no memory may be locked for it"),
        (Errno::EMFILE, "it can't be made"),
    ] {
        // A filter is for ever: this thread's.
        let filtered = move || {
            refuse_rings(answer);
            for transport in ["uring", "auto"] {
                for outcome in transfer(transport) {
                    assert_eq!(outcome.summary()["transport"], "std");
                    let said = outcome.stderr.lines().filter(|line| line.contains("WARN"));
                    assert_eq!(said.count(), 1, "{outcome:?}");
                    // Whoever asked for one by name hears of it without a log.
                    let warned = outcome.objects().iter().any(|object| object["event"] == "warning");
                    assert_eq!(warned, transport == "uring", "{outcome:?}");
                    let _ = outcome.says(NO_RING).says(why);
                }
            }
        };
        std::thread::spawn(filtered).join().unwrap();
    }
}

// Catalogue: F60
#[test]
fn where_little_memory_may_be_locked_a_ring_moves_the_bytes_and_the_log_says_so() {
    let (scratch, home) = (Scratch::new(), Scratch::new());
    let (state, copy) = (scratch.dir("state"), home.dir("own").join("copy"));
    // More than all buffers hold: then they are registered.
    fs::write(state.join("large"), vec![7; (20 << 20) + 777]).unwrap();
    let provider = Listening::serve(&state, &["--once"]);
    let options = ["--transport", "uring", "--json", "-v"];
    let args = [&["fetch", &provider.address, copy.to_str().unwrap()], &options[..]].concat();
    let Some(fetch) = unprivileged(&home, args) else {
        println!("skipped: root may lock all memory, and there is no other user here");
        return;
    };
    fs::set_permissions(home.join("own"), fs::Permissions::from_mode(0o777)).unwrap();
    // 64 KiB, and no more is to be had.
    let outcome = Running::start(within(&fetch, "ulimit -l 64")).wait().expect(0);
    provider.wait().expect(0);
    assert_same(&state, &copy);
    if !outcome.stderr.contains(NO_RING) {
        assert_eq!(outcome.summary()["transport"], "uring");
        let _ =
            outcome.says("buffers are registered with the ring: the limit on locked memory is 65536 bytes");
    }
}

#[test]
fn a_probe_says_what_is_there_and_why_it_would_be_chosen() {
    let scratch = Scratch::new();
    let here = scratch.path().to_str().unwrap();
    let said = run(["probe", here, "--json"]).expect(0).summary();
    let ring = said["io_uring"]["available"].as_bool().unwrap();
    assert_eq!(said["transport"], if ring { "uring" } else { "std" }, "{said}");
    assert!(said["place"]["file_system"].is_string() && said["kernel"].is_string(), "{said}");
    assert_eq!(said["splice"]["available"], true, "{said}");
    assert!(said["place"]["splice"].is_boolean(), "{said}");
    let direct = said["place"]["direct"] == true && said["place"]["in_memory"] == false;
    assert_eq!(said["place"]["data_path"] == "direct", direct, "{said}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left there");
    let text = run(["probe"]).expect(0).stdout;
    assert!(text.contains("would be chosen"), "{text}");
    let missing = scratch.join("missing");
    let _ = run(["probe", missing.to_str().unwrap()]).says("can't be looked at");
    let refused = || {
        refuse_rings(Errno::EPERM);
        let said = run(["probe", "--json"]).expect(0).summary();
        assert_eq!((&said["io_uring"]["available"], &said["transport"]), (&false.into(), &"std".into()));
        assert!(said["why"].as_str().unwrap().contains("seccomp"), "{said}");
    };
    std::thread::spawn(refused).join().unwrap();
}
