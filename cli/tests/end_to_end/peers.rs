//! Peers that are absent, strangers, silent, busy, gone; and signals.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use longhaul::state::{SourceError, StreamSource};
use longhaul::{Serve, Service, ServiceEvent, Source};
use nix::sys::signal::Signal;

use crate::rig::{Listening, Running, Scratch, fetch, longhaul, names, poll, push, start_fetch};

/// Gives bytes until it is let go, and then nothing: a session that lasts as long as the test.
struct Endless {
    let_go: Arc<Mutex<Receiver<()>>>,
    given: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given < 4 << 20 {
            buffer.fill(7);
            self.given += buffer.len();
            return Ok(buffer.len());
        }
        let _ = self.let_go.lock().unwrap().recv();
        Ok(0)
    }
}

/// A provider in this process whose sessions last until the sender is dropped.
fn endless() -> (Service, Sender<()>) {
    let (sender, receiver) = channel();
    let let_go = Arc::new(Mutex::new(receiver));
    let provider = Serve::sources(move || {
        let reader = Endless { let_go: Arc::clone(&let_go), given: 0 };
        Ok::<Arc<dyn Source>, SourceError>(Arc::new(StreamSource::new(reader)))
    });
    (provider.listen("127.0.0.1:0").max_sessions(1).start().unwrap(), sender)
}

/// A fetch from `provider` that has begun to receive.
fn receiving(provider: &Service, scratch: &Scratch) -> Running {
    let fetch = start_fetch(&provider.local_addr().to_string(), &scratch.join("copy"), &[]);
    let admitted = provider.events().find(|event| matches!(event, ServiceEvent::Admitted(_)));
    assert!(admitted.is_some());
    poll("the staging directory", || (!names(scratch.path()).is_empty()).then_some(()));
    fetch
}

// Catalogue: F1
#[test]
fn an_absent_peer_is_unreachable() {
    let scratch = Scratch::new();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let outcome = fetch(&address, &scratch.join("copy"), &["--json"]).expect(10).says(&address);
    assert_eq!(outcome.summary()["error"]["kind"], "unreachable");
    assert_eq!(outcome.summary()["error"]["retryable"], true);
    push(scratch.path(), &address, &[]).expect(10).says("hint: ");
    fetch("no-such-host.invalid:7400", &scratch.join("copy"), &[]).expect(10);
    assert!(names(scratch.path()).is_empty());
}

/// A server that reads something, answers `answer`, and closes when the test ends.
fn stranger(answer: &'static [u8]) -> (String, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, end) = channel::<()>();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        if !answer.is_empty() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(answer);
        }
        let _ = end.recv();
    });
    (address, sender)
}

// Catalogue: B1
#[test]
fn a_peer_that_speaks_http_speaks_another_protocol() {
    let scratch = Scratch::new();
    let (address, _end) =
        stranger(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    fetch(&address, &scratch.join("copy"), &[]).expect(12).says("provider");
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn a_peer_that_says_nothing_is_given_up() {
    let scratch = Scratch::new();
    let (address, _end) = stranger(b"");
    fetch(&address, &scratch.join("copy"), &["--stall-timeout", "300ms"]).expect(10);
    let (address, _end) = stranger(b"");
    push(scratch.path(), &address, &["--stall-timeout", "300ms"]).expect(10);
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn a_busy_provider_is_asked_again_for_as_long_as_told() {
    let scratch = Scratch::new();
    let (provider, let_go) = endless();
    let first = receiving(&provider, &scratch);
    let address = provider.local_addr().to_string();
    let second = Scratch::new();
    fetch(&address, &second.join("copy"), &["--busy-wait", "200ms"]).expect(13).says("--busy-wait");
    let patient = start_fetch(&address, &second.join("copy"), &["--busy-wait", "60s", "--json"]);
    drop(let_go);
    first.wait().expect(0);
    let patient = patient.wait().expect(0);
    assert_eq!(patient.summary()["result"], "ok");
    assert_eq!(fs::metadata(second.join("copy")).unwrap().len(), patient.summary()["bytes"]);
}

// Catalogue: F75
#[test]
fn a_signal_stops_cleanly_and_leaves_nothing() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let scratch = Scratch::new();
        let (provider, _let_go) = endless();
        let fetch = receiving(&provider, &scratch);
        fetch.signal(signal);
        fetch.wait().expect(code);
        assert!(names(scratch.path()).is_empty());
    }
}

// Catalogue: F93
#[test]
fn staging_is_its_owners_alone_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let (provider, let_go) = endless();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", r#"umask 000; exec "$0" "$@""#]).arg(longhaul([""; 0]).get_program());
    command.args(["fetch", &provider.local_addr().to_string()]).arg(scratch.join("copy"));
    let fetch = Running::start(command);
    let open = poll("a staged file", || {
        let mut open = Vec::new();
        let mut pending: Vec<_> =
            fs::read_dir(scratch.path()).ok()?.flatten().map(|entry| entry.path()).collect();
        while let Some(path) = pending.pop() {
            let metadata = fs::symlink_metadata(&path).ok()?;
            open.push((metadata.permissions().mode() & 0o777, metadata.is_dir()));
            if metadata.is_dir() {
                pending.extend(fs::read_dir(&path).ok()?.flatten().map(|entry| entry.path()));
            }
        }
        open.iter().any(|(_, is_dir)| *is_dir).then_some(open).filter(|open| open.len() > 2)
    });
    assert!(open.iter().all(|(mode, _)| mode.trailing_zeros() >= 6), "{open:?}");
    drop(let_go);
    fetch.wait().expect(0);
}

// Catalogue: F27
#[test]
fn processes_that_are_stopped_and_go_on_again_and_again_lose_nothing() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.join("state"), scratch.join("copy"));
    let content = crate::tree::bytes(96 << 20, 3);
    fs::write(&state, &content).unwrap();
    let provider = Listening::serve(&state, &["--once"]);
    let mut fetch = start_fetch(&provider.address, &copy, &["--integrity", "blake3"]);
    // Every call that waits is interrupted wherever it stands.
    let mut stops = 0;
    while !fetch.is_over() && stops < 200 {
        for running in [&provider.running, &fetch] {
            running.signal(Signal::SIGSTOP);
            running.signal(Signal::SIGCONT);
        }
        stops += 1;
        thread::yield_now();
    }
    fetch.wait().expect(0);
    provider.wait().expect(0);
    assert!(fs::read(&copy).unwrap() == content, "after {stops} stops");
}

// Catalogue: B20, F86
#[test]
fn words_of_a_peer_are_shown_and_not_obeyed() {
    let scratch = Scratch::new();
    let words = format!("\u{1b}[31mred\r\n\u{202e}{}", "x".repeat(64 << 10));
    let provider = Serve::sources(move || Err(SourceError::user(words.clone())));
    let provider = provider.listen("127.0.0.1:0").start().unwrap();
    let address = provider.local_addr().to_string();
    let outcome = fetch(&address, &scratch.join("copy"), &["--json"]).expect(20).says("red");
    assert!(outcome.stderr.len() + outcome.stdout.len() < 16 << 10, "it is cut");
    let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!outcome.stderr.contains(obeyed), "{:?}", outcome.stderr);
    assert!(outcome.stderr.contains(r"\x1b[31mred\r\n\xe2\x80\xae"), "{:?}", outcome.stderr);
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn a_signal_stops_a_joiner_that_waits_for_a_busy_provider() {
    let scratch = Scratch::new();
    let (provider, _let_go) = endless();
    let _first = receiving(&provider, &scratch);
    let second = Scratch::new();
    let mut events = provider.events();
    let fetch = start_fetch(&provider.local_addr().to_string(), &second.join("copy"), &[]);
    assert!(events.any(|event| matches!(event, ServiceEvent::TurnedAway { .. })));
    fetch.signal(Signal::SIGINT);
    fetch.wait().expect(130);
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing() {
    let scratch = Scratch::new();
    let mut command = longhaul(["demo", "--size", "4GiB", "--dir"]);
    command.arg(scratch.path());
    let demo = Running::start(command);
    poll("the demo's directory", || (!names(scratch.path()).is_empty()).then_some(()));
    demo.signal(Signal::SIGINT);
    demo.wait().expect(130);
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn a_provider_that_is_stopped_ends_its_sessions_and_the_joiner_keeps_nothing() {
    let scratch = Scratch::new();
    let (provider, _let_go) = endless();
    let fetch = receiving(&provider, &scratch);
    provider.stop();
    let outcome = fetch.wait();
    assert!(matches!(outcome.code, Some(10 | 25)), "{outcome:?}");
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn a_provider_that_is_killed_is_lost() {
    let scratch = Scratch::new();
    let state = scratch.join("state");
    // Large enough that the kill comes before the end: nearly all of it is a hole that costs nothing
    // on the disk, but its data is what the joiner waits for.
    fs::File::create(&state).unwrap().set_len(1 << 20).unwrap();
    let provider = Listening::serve(&state, &[]);
    provider.running.signal(Signal::SIGSTOP);
    let fetch = start_fetch(&provider.address, &scratch.join("copy"), &[]);
    provider.running.signal(Signal::SIGKILL);
    fetch.wait().expect(10);
    assert_eq!(names(scratch.path()), ["state"]);
}

// Catalogue: B1
#[test]
fn strangers_do_not_disturb_a_provider() {
    let scratch = Scratch::new();
    let (state, copy) = (scratch.dir("state"), scratch.join("copy"));
    fs::write(state.join("file"), b"content").unwrap();
    let provider = Listening::serve(&state, &["--once"]);
    for words in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\0", &[0xff; 4096]] {
        let mut stream = std::net::TcpStream::connect(&provider.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(words).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // Whatever it says, it ends; it may cut off what it does not want to read.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    fetch(&provider.address, &copy, &[]).expect(0);
    provider.wait().expect(0);
}
