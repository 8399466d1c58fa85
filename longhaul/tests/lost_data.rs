//! What a joiner's disk loses is pushed once more, by those who can.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use longhaul::state::{DirectorySink, DirectorySinkOptions, SinkError, SinkErrorKind};
use longhaul::{
    ErrorKind, Event, Item, ItemId, Place, Progress, Push, Receive, Service, ServiceEvent, Side, Sink,
    Survey, Transfer,
};

/// A directory's sink whose disk may lose everything at the end.
struct Losing(DirectorySink, bool);

impl Sink for Losing {
    fn begin(&mut self, survey: &Survey) -> Result<(), SinkError> {
        self.0.begin(survey)
    }

    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError> {
        self.0.open(id, item)
    }

    fn write(&mut self, id: ItemId, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        self.0.write(id, offset, bytes)
    }

    fn hole(&mut self, id: ItemId, offset: u64, len: u64) -> Result<(), SinkError> {
        self.0.hole(id, offset, len)
    }

    fn finish(&mut self, id: ItemId, len: u64) -> Result<(), SinkError> {
        self.0.finish(id, len)
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.0.discard(id)
    }

    fn put(&mut self, id: ItemId, item: &Item, content: &[u8]) -> Result<(), SinkError> {
        self.0.put(id, item, content)
    }

    fn sync(&mut self, progress: &dyn Progress) -> Result<(), SinkError> {
        self.0.sync(progress)?;
        let lost = || SinkError::whole(SinkErrorKind::Durability(io::Error::other("the disk is ill")));
        if self.1 { Err(lost()) } else { Ok(()) }
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        self.0.publish()
    }

    fn abort(&mut self) {
        self.0.abort();
    }
}

/// A joiner at `destination` whose disk loses the state in the sessions of which `loses` says so.
fn joiner(destination: &Path, loses: &[bool], once: bool) -> Service {
    let destination = destination.to_path_buf();
    let loses = Mutex::new(VecDeque::from(loses.to_vec()));
    Receive::sinks(move || {
        let sink = DirectorySink::new(&destination, DirectorySinkOptions::default())?;
        let loses = loses.lock().unwrap().pop_front().expect("nobody comes again and again");
        Ok(Box::new(Losing(sink, loses)))
    })
    .listen("127.0.0.1:0")
    .once(once)
    .start()
    .unwrap()
}

fn address(joiner: &Service) -> String {
    joiner.local_addr().to_string()
}

/// How often it says that it pushes once more.
fn again(transfer: &Transfer) -> usize {
    let warned =
        |event: &Event| matches!(event, Event::Warning(what) if what.contains("is pushed once more"));
    transfer.events().filter(warned).count()
}

/// How the joiner's first two sessions ended.
fn ends(joiner: &Service) -> Vec<bool> {
    let ended = |event| match event {
        ServiceEvent::Ended { result, .. } => Some(result.is_ok()),
        _ => None,
    };
    joiner.events().filter_map(ended).take(2).collect()
}

// Catalogue: F22, F23
#[test]
fn what_the_joiners_disk_loses_once_is_pushed_once_more() {
    let scratch = tempfile::tempdir().unwrap();
    let (state, copy) = (scratch.path().join("state"), scratch.path().join("copy"));
    fs::write(&state, vec![7; 3 << 20]).unwrap();
    let content: Arc<[u8]> = fs::read(&state).unwrap().into();
    for push in [longhaul::push(&state), Push::memory(Arc::clone(&content))] {
        let joiner = joiner(&copy, &[true, false], false);
        let transfer = push.to(address(&joiner));
        assert_eq!(again(&transfer), 1);
        transfer.wait().unwrap();
        assert_eq!(ends(&joiner), [false, true]);
        assert!(fs::read(&copy).unwrap() == *content);
        fs::remove_file(&copy).unwrap();
    }
}

// Catalogue: F22, F23
#[test]
fn what_it_loses_again_fails_with_what_was_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let (state, copy) = (scratch.path().join("state"), scratch.path().join("copy"));
    fs::write(&state, vec![7; 3 << 20]).unwrap();
    let joiner = joiner(&copy, &[true, true], false);
    let transfer = longhaul::push(&state).to(address(&joiner));
    assert_eq!(again(&transfer), 1);
    let error = transfer.wait().unwrap_err();
    assert_eq!((error.kind(), error.side()), (ErrorKind::Destination, Some(Side::Joiner)), "{error}");
    assert!(error.message().contains("the disk is ill") && error.hint().unwrap().contains("disk"), "{error}");
    assert!(!copy.exists());
}

// Catalogue: F23
#[test]
fn a_stream_is_read_once_and_fails() {
    let scratch = tempfile::tempdir().unwrap();
    let copy = scratch.path().join("copy");
    let joiner = joiner(&copy, &[true], false);
    let transfer = Push::reader(io::repeat(7).take(3 << 20)).to(address(&joiner));
    assert_eq!(again(&transfer), 0);
    assert_eq!(transfer.wait().unwrap_err().kind(), ErrorKind::Destination);
    assert!(!copy.exists());
}

// Catalogue: F23
#[test]
fn a_joiner_that_receives_once_is_gone_and_the_loss_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let (state, copy) = (scratch.path().join("state"), scratch.path().join("copy"));
    fs::write(&state, vec![7; 3 << 20]).unwrap();
    let joiner = joiner(&copy, &[true], true);
    let error = longhaul::push(&state).to(address(&joiner)).wait().unwrap_err();
    assert_eq!(joiner.wait().unwrap_err().kind(), ErrorKind::Destination);
    assert_eq!((error.kind(), error.side()), (ErrorKind::Destination, Some(Side::Joiner)), "{error}");
}
