//! What is said where.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::rig::{Listening, Running, Scratch, fetch, longhaul, run};
use crate::tree::assert_same;

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn json_is_all_that_is_on_stdout_and_the_summary_comes_last() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    fs::write(state.join("file"), vec![1; 100_000]).unwrap();
    let provider = Listening::serve(&state, &["--once", "--json"]);
    let joiner = fetch(&provider.address, &copy, &["--json"]).expect(0);
    let provider = provider.wait().expect(0);
    for outcome in [&joiner, &provider] {
        let summary = outcome.summary();
        for key in [
            "result",
            "items",
            "bytes",
            "bytes_sent",
            "bytes_resumed",
            "seconds",
            "bytes_per_second",
            "retries",
            "integrity",
            "transport",
            "root",
        ] {
            assert!(keys(&summary).contains(&key), "{key} in {summary}");
        }
        assert_eq!((&summary["result"], &summary["bytes"]), (&"ok".into(), &100_000.into()));
        assert_eq!(summary["items"], 2);
    }
    assert_eq!(joiner.summary()["root"], provider.summary()["root"]);
    let events: Vec<_> =
        joiner.objects().iter().filter_map(|object| object["event"].as_str().map(str::to_owned)).collect();
    for event in ["established", "prepared", "agreed", "durable", "installed"] {
        assert!(events.iter().any(|seen| seen == event), "{event} in {events:?}");
    }
    let first = &provider.objects()[0];
    assert_eq!(first["event"], "listening");
}

#[test]
fn an_error_is_an_object_that_says_everything() {
    let scratch = Scratch::new();
    let full = scratch.dir("full");
    fs::write(full.join("old"), b"").unwrap();
    let outcome = fetch("127.0.0.1:1", &full, &["--json"]).expect(21);
    let summary = outcome.summary();
    assert_eq!(summary["result"], "error");
    let error = &summary["error"];
    let expected =
        ["code", "hint", "item", "kind", "message", "offset", "phase", "resumable", "retryable", "side"];
    assert_eq!(keys(error), expected);
    assert_eq!(
        (&error["code"], &error["kind"], &error["side"]),
        (&21.into(), &"destination".into(), &"joiner".into())
    );
    assert_eq!((&error["retryable"], &error["resumable"]), (&false.into(), &false.into()));
    assert!(error["hint"].as_str().unwrap().contains("--replace"));
}

#[test]
fn progress_as_json_comes_as_objects() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    let provider = Listening::serve(&state, &[]);
    let outcome = fetch(&provider.address, &copy, &["--progress", "json"]).expect(0);
    assert_eq!(outcome.summary()["result"], "ok");
}

// Catalogue: F99
#[test]
fn a_closed_stdout_does_not_touch_the_transfer() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    fs::write(state.join("file"), b"content").unwrap();
    let provider = Listening::serve(&state, &[]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = longhaul(["fetch", &provider.address]);
    command.arg(&copy).arg("--json").stdout(Stdio::from(writer)).stderr(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(0));
    assert_same(&state, &copy);
}

// Catalogue: F99
#[test]
fn a_full_disk_behind_what_is_printed_does_not_touch_the_transfer() {
    let Ok(full) = fs::File::options().write(true).open("/dev/full") else {
        println!("skipped: this system has no /dev/full");
        return;
    };
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    fs::write(state.join("file"), b"content").unwrap();
    let provider = Listening::serve(&state, &[]);
    let mut command = longhaul(["fetch", &provider.address]);
    command.arg(&copy).args(["--json", "-v"]).stdout(full.try_clone().unwrap()).stderr(full);
    assert_eq!(command.status().unwrap().code(), Some(0));
    assert_same(&state, &copy);
}

#[test]
fn a_person_reads_a_summary_and_if_quiet_nothing() {
    let scratch = Scratch::new();
    let state = scratch.dir("state");
    let provider = Listening::serve(&state, &[]);
    let said = fetch(&provider.address, &scratch.join("one"), &[]).expect(0);
    assert!(said.stdout.starts_with("fetched 1 items"), "{said:?}");
    assert!(said.stdout.contains("root crc32c:"), "{said:?}");
    let quiet = fetch(&provider.address, &scratch.join("two"), &["-q"]).expect(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn logs_go_to_stderr_when_asked_for() {
    let scratch = Scratch::new();
    let state = scratch.dir("state");
    let provider = Listening::serve(&state, &["--once", "-v", "--json"]);
    fetch(&provider.address, &scratch.join("copy"), &[]).expect(0);
    let outcome = provider.wait().expect(0).says("INFO");
    assert!(!outcome.objects().is_empty());
}

#[test]
fn the_environment_says_what_options_say() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    let provider = Listening::serve(&state, &[]);
    let mut command = longhaul(["fetch", &provider.address]);
    command
        .arg(&copy)
        .env("LONGHAUL_JSON", "1")
        .env("LONGHAUL_INTEGRITY", "blake3")
        .env("LONGHAUL_QUIET", "no");
    let summary = Running::start(command).wait().expect(0).summary();
    assert_eq!(summary["integrity"], "blake3");
}

#[test]
fn help_version_and_completions_are_there() {
    let help = run(["--help"]).expect(0).stdout;
    for code in ["143", "30 ", "24 "] {
        assert!(help.contains(code), "{help}");
    }
    assert!(run(["fetch", "--help"]).expect(0).stdout.contains("Exit codes"));
    assert!(run(["--version"]).expect(0).stdout.contains(env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(["completions", shell]).expect(0).stdout.contains("longhaul"));
    }
}
