//! What applications say to each other through a transfer.
#![expect(clippy::missing_panics_doc, reason = "a case panics when what it states is not so")]

use std::sync::Arc;

use longhaul_core::id::ItemId;
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_state::Item;
use longhaul_state::sink::{MemorySink, Place, Published, Sink, SinkError};
use longhaul_state::source::{Content, MemorySource, Part, Progress, Source, SourceError, Survey, Walk};

use super::tree::noise;
use super::{Rig, Settings};

/// A state of two parts, by their ids, each with a selector of its own: all of it, or its first bytes.
struct Shelf;

fn book(id: &[u8]) -> Vec<u8> {
    noise(id.len() as u64, 3_000_000)
}

impl Source for Shelf {
    fn part(&self, state_id: &[u8], selector: &[u8]) -> Part {
        let first = std::str::from_utf8(selector).ok().and_then(|first| first.parse().ok());
        match (state_id, first) {
            (b"one" | b"two!", None) => Part::Source(Arc::new(Book::new(book(state_id)))),
            (b"one" | b"two!", Some(first)) => {
                Part::Source(Arc::new(Book::new(book(state_id)[..first].to_vec())))
            }
            _ => Part::None(b"no such book".to_vec()),
        }
    }

    fn survey(&self, _: &dyn Progress) -> Result<Survey, SourceError> {
        unreachable!("only its parts are read")
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        unreachable!("only its parts are read")
    }

    fn open(&self, _: &Item) -> Result<Box<dyn Content>, SourceError> {
        unreachable!("only its parts are read")
    }
}

/// Bytes with words about them.
struct Book(MemorySource, usize);

impl Book {
    fn new(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self(MemorySource::new(bytes.into()), len)
    }
}

impl Source for Book {
    fn app_meta(&self) -> Vec<u8> {
        format!("{} bytes", self.1).into_bytes()
    }

    fn survey(&self, progress: &dyn Progress) -> Result<Survey, SourceError> {
        self.0.survey(progress)
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        self.0.walk()
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        self.0.open(item)
    }
}

/// A sink with a word for the provider.
struct Thanking(MemorySink);

impl Sink for Thanking {
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

    fn finish(&mut self, id: ItemId, size: u64) -> Result<(), SinkError> {
        self.0.finish(id, size)
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.0.discard(id)
    }

    fn sync(&mut self, progress: &dyn Progress) -> Result<(), SinkError> {
        self.0.sync(progress)
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        self.0.publish()
    }

    fn abort(&mut self) {
        self.0.abort();
    }

    fn app_reply(&self) -> Vec<u8> {
        b"thank you".to_vec()
    }
}

fn sink() -> (Box<dyn Sink>, Published<Vec<u8>>) {
    let sink = MemorySink::new(1 << 30);
    let published = sink.published();
    (Box::new(Thanking(sink)), published)
}

/// About the state before it moves, and about the publishing after it.
pub fn what_applications_say_reaches_the_other_side(rig: &Rig<'_>) {
    for len in [10, 3_000_000] {
        let (sink, published) = sink();
        let ends = rig.run(Arc::new(Book::new(noise(1, len))), sink, &Settings::default());
        let (provider, joiner) = ends.agreed();
        assert_eq!(joiner.app_meta, format!("{len} bytes").into_bytes());
        assert_eq!(provider.app_reply, b"thank you");
        assert_eq!(published.take().map(|bytes| bytes.len()), Some(len));
    }
}

/// The joiner gets what it asked for, not what the provider has.
pub fn a_part_of_a_state_by_its_id_and_selector(rig: &Rig<'_>) {
    for (id, selector, len) in [(&b"one"[..], &b""[..], 3_000_000), (b"two!", b"1234", 1234)] {
        let (sink, published) = sink();
        let mut settings = Settings::default();
        settings.joiner.options.state_id = id.to_vec();
        settings.joiner.options.selector = selector.to_vec();
        rig.run(Arc::new(Shelf), sink, &settings).agreed();
        assert_eq!(published.take(), Some(book(id)[..len].to_vec()));
    }
}

/// In words and with the application's own reply, on both sides, and nothing is published.
pub fn what_is_refused_comes_with_a_reply(rig: &Rig<'_>) {
    let plain: Arc<dyn Source> = Arc::new(MemorySource::new(noise(1, 10).into()));
    for (source, reply) in [(Arc::new(Shelf) as Arc<dyn Source>, &b"no such book"[..]), (plain, b"")] {
        let (sink, published) = sink();
        let mut settings = Settings::default();
        settings.joiner.options.state_id = b"three".to_vec();
        let (_, joiner) = rig.run(source, sink, &settings).failed(Reason::Refused);
        assert_eq!((joiner.side, joiner.phase), (Side::Provider, Phase::Prepare));
        assert_eq!(joiner.app_reply, reply);
        assert!(published.take().is_none());
    }
}
