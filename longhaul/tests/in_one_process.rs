//! The library as programs use it: both roles in one process, over loopback.

use std::fs;
use std::io::{self, Read};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longhaul::state::{SourceError, StreamSource};
use longhaul::{ErrorKind, Event, Push, Serve, Service, ServiceEvent, Side, Source, Stage, Transfer};

/// Gives bytes until it is let go.
struct Endless(Arc<Mutex<Receiver<()>>>, u32);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1 == 0 {
            let _ = self.0.lock().unwrap().recv();
            return Ok(0);
        }
        self.1 -= 1;
        buffer.fill(7);
        Ok(buffer.len())
    }
}

fn endless() -> (Service, Sender<()>) {
    let (sender, receiver) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let make = move || {
        let reader = Endless(Arc::clone(&receiver), 10);
        Ok::<Arc<dyn Source>, SourceError>(Arc::new(StreamSource::new(reader)))
    };
    (Serve::sources(make).listen("127.0.0.1:0").max_sessions(1).start().unwrap(), sender)
}

fn address(service: &Service) -> String {
    service.local_addr().to_string()
}

fn streaming<T>(transfer: &Transfer<T>) {
    assert!(transfer.events().any(|event| event == Event::Streaming));
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

// Catalogue: F89
#[test]
fn a_destination_inside_the_source_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let provider = longhaul::serve(scratch.path()).listen("127.0.0.1:0").start().unwrap();
    let inside = scratch.path().join("copy");
    let error =
        longhaul::fetch(address(&provider)).source_path(scratch.path()).into(&inside).wait().unwrap_err();
    assert_eq!((error.kind(), error.side()), (ErrorKind::Destination, Some(Side::Joiner)));
    assert!(!inside.exists());
}

#[test]
fn a_dropped_transfer_leaves_nothing_and_the_provider_goes_on() {
    let scratch = tempfile::tempdir().unwrap();
    let (provider, let_go) = endless();
    let transfer = longhaul::fetch(address(&provider)).into(scratch.path().join("copy"));
    streaming(&transfer);
    drop(transfer);
    assert!(is_empty(scratch.path()));
    drop(let_go);
    let (summary, bytes) = longhaul::fetch(address(&provider)).into_memory(64 << 20).wait().unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
}

#[test]
fn a_dropped_service_releases_its_address_and_its_sessions() {
    let scratch = tempfile::tempdir().unwrap();
    let (provider, let_go) = endless();
    let socket = provider.local_addr();
    let transfer = longhaul::fetch(address(&provider)).into(scratch.path().join("copy"));
    streaming(&transfer);
    let [session] = &provider.sessions()[..] else { panic!("one session") };
    let watch = session.watch().clone();
    // A read that never ends would hold its thread: a source is asked to come back.
    drop(let_go);
    drop(provider);
    assert_eq!(watch.stats().stage, Stage::Over);
    assert!(TcpStream::connect(socket).is_err());
    drop(transfer.wait());
}

#[test]
fn cancel_ends_with_its_own_kind() {
    let scratch = tempfile::tempdir().unwrap();
    let (provider, _let_go) = endless();
    let transfer = longhaul::fetch(address(&provider)).into(scratch.path().join("copy"));
    streaming(&transfer);
    transfer.cancel();
    let error = transfer.wait().unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Cancelled, 25));
    assert!(is_empty(scratch.path()));
}

// Catalogue: F18
#[test]
fn who_comes_beyond_max_sessions_waits_its_turn() {
    let (provider, let_go) = endless();
    let first = longhaul::fetch(address(&provider)).into_memory(64 << 20);
    streaming(&first);
    let impatient = longhaul::fetch(address(&provider)).busy_wait(Duration::ZERO).into_memory(1).wait();
    let error = impatient.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.retry_after().is_some());
    let second = longhaul::fetch(address(&provider)).into_memory(64 << 20);
    assert!(matches!(second.events().next(), Some(Event::Busy { .. })));
    drop(let_go);
    first.wait().unwrap();
    second.wait().unwrap();
}

// Catalogue: F18
#[test]
fn a_hundred_joiners_at_once_are_served_a_few_at_a_time() {
    let provider = Serve::memory(vec![7; 100_000]).listen("127.0.0.1:0").max_sessions(4).start().unwrap();
    let fetch = || longhaul::fetch(address(&provider)).busy_wait(Duration::from_mins(1)).into_memory(1 << 20);
    let joiners: Vec<_> = (0..100).map(|_| fetch()).collect();
    assert!(provider.sessions().len() <= 4);
    for joiner in joiners {
        let (_, bytes) = joiner.wait().unwrap();
        assert_eq!(bytes.len(), 100_000);
        assert!(provider.sessions().len() <= 4);
    }
}

#[test]
fn a_callback_that_fails_is_an_error_on_both_sides_and_no_end() {
    let provider = Serve::sources(|| {
        let source = StreamSource::from_writer(|out| {
            out.write_all(b"half of it")?;
            Err::<(), _>(io::Error::other("the engine is closed"))
        });
        Ok(Arc::new(source))
    });
    let provider = provider.listen("127.0.0.1:0").once(true).start().unwrap();
    let read = longhaul::fetch(address(&provider)).into_callback(|input| {
        let mut all = Vec::new();
        input.read_to_end(&mut all).map(|_| all)
    });
    assert_eq!(read.wait().unwrap_err().kind(), ErrorKind::Source);
    let error = provider.wait().unwrap_err();
    assert_eq!((error.kind(), error.side()), (ErrorKind::Source, Some(Side::Provider)));
    assert!(error.message().contains("the engine is closed"), "{error}");
}

#[test]
fn a_source_that_can_not_be_made_is_told_to_the_joiner() {
    let provider = Serve::sources(|| Err(SourceError::user("no checkpoint yet")));
    let provider = provider.listen("127.0.0.1:0").start().unwrap();
    let error = longhaul::fetch(address(&provider)).into_memory(1).wait().unwrap_err();
    assert_eq!((error.kind(), error.side()), (ErrorKind::Source, Some(Side::Provider)));
    assert!(error.message().contains("no checkpoint yet"), "{error}");
}

#[test]
fn a_push_goes_where_a_joiner_receives_and_a_writer_gets_it_in_order() {
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("received");
    let joiner = longhaul::receive(&state).listen("127.0.0.1:0").once(true).start().unwrap();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = Push::memory(content.clone()).to(address(&joiner)).wait().unwrap();
    let received = joiner.wait().unwrap();
    assert!(sent.confirmed);
    assert_eq!(received.last.unwrap().root, sent.root);
    assert_eq!(fs::read(&state).unwrap(), content);

    let provider = longhaul::serve(&state).listen("127.0.0.1:0").start().unwrap();
    let copy = scratch.path().join("written");
    let file = fs::File::create(&copy).unwrap();
    longhaul::fetch(address(&provider)).into_writer(file).wait().unwrap();
    assert_eq!(fs::read(&copy).unwrap(), content);
}

#[test]
fn events_tell_a_service_from_its_start() {
    let provider = Serve::memory(*b"state").listen("127.0.0.1:0").once(true).start().unwrap();
    longhaul::fetch(address(&provider)).into_memory(5).wait().unwrap();
    let events: Vec<_> = provider.events().collect();
    assert!(matches!(&events[0], ServiceEvent::Admitted(session) if session.id() == 1));
    assert!(matches!(&events[1], ServiceEvent::Ended { result: Ok(_), .. }));
    assert_eq!(events.len(), 2);
    assert_eq!(provider.wait().unwrap().succeeded, 1);
}

// Catalogue: F53
/// Memory that a peer's claim asks for and that is not to be had fails that transfer; the process goes on.
#[test]
fn a_state_that_no_memory_holds_fails_its_own_transfer_only() {
    let scratch = tempfile::tempdir().unwrap();
    let (huge, small) = (scratch.path().join("huge"), scratch.path().join("small"));
    fs::File::create(&huge).unwrap().set_len(8 << 40).unwrap();
    fs::write(&small, b"content").unwrap();
    let fetch = |path: &Path| {
        let provider = longhaul::serve(path).listen("127.0.0.1:0").start().unwrap();
        longhaul::fetch(address(&provider)).into_memory(u64::MAX).wait()
    };
    let error = fetch(&huge).unwrap_err();
    assert_eq!((error.kind(), error.side()), (ErrorKind::NoSpace, Some(Side::Joiner)), "{error}");
    assert_eq!(fetch(&small).unwrap().1, b"content");
}
