//! What nobody sees on its way from page cache to page cache: what may happen to it there.
#![cfg(all(target_os = "linux", not(longhaul_portable)))]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longhaul_core::id::ItemId;
use longhaul_core::integrity::Integrity;
use longhaul_core::reason::Reason;
use longhaul_state::item::Name;
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions, Place, Sink, SinkError};
use longhaul_state::source::{
    Content, DirectoryOptions, DirectorySource, Progress, SourceError, Survey, Walk,
};
use longhaul_state::transfer::DataPath;
use longhaul_state::{Item, Source};
use longhaul_tests::conformance::doubles::{MeddledSink, Taking};
use longhaul_tests::conformance::tree::{Scratch, noise, write};
use longhaul_tests::conformance::{ByEngine, Ends, Rig, Settings, Way};
use longhaul_transport_std::Blocking;

/// Four chunks, the last of which ends odd.
const LEN: usize = (4 << 19) - 777;
/// In the middle of a chunk.
const CUT_AT: u64 = (1 << 20) + 100;

const STD: ByEngine = ByEngine { name: "std", engine: |_| Arc::new(Blocking), data_path: DataPath::Splice };
const URING: ByEngine = ByEngine {
    name: "uring",
    engine: |pool| Arc::new(longhaul_transport_uring::Ring::start(pool).unwrap()),
    data_path: DataPath::RingSplice,
};

/// A state that is one file.
struct State {
    scratch: Scratch,
    file: PathBuf,
}

impl State {
    fn new(len: usize) -> Self {
        let scratch = Scratch::new();
        let file = scratch.source().join("file");
        write(&file, &noise(1, len));
        // Its next change shows in its times, however coarse the clock.
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
        Self { scratch, file }
    }

    fn source(&self) -> DirectorySource {
        DirectorySource::new(self.scratch.source(), DirectoryOptions::default()).unwrap()
    }

    fn sink(&self) -> DirectorySink {
        let options = DirectorySinkOptions { resume: false, ..DirectorySinkOptions::default() };
        DirectorySink::new(self.scratch.destination(), options).unwrap()
    }
}

fn run(subject: &ByEngine, source: impl Source + 'static, sink: Box<dyn Sink>) -> Ends {
    let settings = Settings::new(Integrity::None, 1);
    Rig { subject, way: Way::Fetch }.run(Arc::new(source), sink, &settings)
}

fn overwrite(file: &PathBuf) {
    File::options().write(true).open(file).unwrap().write_all_at(b"overwritten", 1 << 20).unwrap();
}

fn shorten(file: &PathBuf) {
    File::options().write(true).open(file).unwrap().set_len(CUT_AT).unwrap();
}

/// A source whose first file changes as soon as it is open: it was what was offered until then.
struct Changing {
    source: DirectorySource,
    change: Box<dyn Fn() + Send + Sync>,
    changed: AtomicBool,
}

impl Source for Changing {
    fn survey(&self, progress: &dyn Progress) -> Result<Survey, SourceError> {
        self.source.survey(progress)
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        self.source.walk()
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        let content = self.source.open(item)?;
        if !self.changed.swap(true, Ordering::SeqCst) {
            (self.change)();
        }
        Ok(content)
    }
}

// Catalogue: B59, B60
#[test]
fn a_source_that_is_cut_or_written_under_a_splice_is_an_error_on_both_sides() {
    for subject in [STD, URING] {
        for (change, cut_at) in [(shorten as fn(&PathBuf), Some(CUT_AT)), (overwrite, None)] {
            let state = State::new(LEN);
            let (source, file) = (state.source(), state.file.clone());
            let changing =
                Changing { source, change: Box::new(move || change(&file)), changed: AtomicBool::new(false) };
            let ends = run(&subject, changing, Box::new(state.sink()));
            for error in <[_; 2]>::from(ends.failed(Reason::SourceChanged)) {
                assert_eq!(error.item.as_ref().map(Name::as_bytes), Some(&b"file"[..]), "{error:?}");
                assert_eq!(error.offset, cut_at, "{}: {error:?}", subject.name);
            }
            assert_eq!(state.scratch.residue(), Vec::<String>::new());
        }
    }
}

/// The pages of the source are on their way until they are written at the joiner: whoever writes to them then changes what
/// was sent. Bytes that were copied are not changed.
// Catalogue: B60
#[test]
fn what_is_written_to_after_it_was_spliced_and_before_it_has_landed_is_an_error_on_both_sides() {
    let buffered = ByEngine { data_path: DataPath::Buffered, ..STD };
    for (subject, spliced) in [(STD, true), (URING, true), (buffered, false)] {
        let state = State::new(LEN);
        let file = state.file.clone();
        let sink = MeddledSink::new(state.sink(), move |now| {
            if now == Taking::Finish {
                overwrite(&file);
            }
            Ok(())
        });
        let ends = run(&subject, state.source(), Box::new(sink));
        if spliced {
            for error in <[_; 2]>::from(ends.failed(Reason::SourceChanged)) {
                assert_eq!(error.item.as_ref().map(Name::as_bytes), Some(&b"file"[..]), "{error:?}");
            }
        } else {
            ends.agreed();
            let landed = fs::read(state.scratch.destination().join("file")).unwrap();
            assert!(landed == noise(1, LEN), "what was copied");
        }
    }
}

/// Lands the item of this name in the file, and drops others.
struct Landing {
    name: &'static [u8],
    file: Arc<File>,
}

impl Sink for Landing {
    fn begin(&mut self, _: &Survey) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&mut self, _: ItemId, item: &Item) -> Result<Place, SinkError> {
        let wanted = item.name.as_bytes() == self.name;
        Ok(if wanted { Place::File(Arc::clone(&self.file)) } else { Place::Discard })
    }

    fn write(&mut self, _: ItemId, _: u64, _: &[u8]) -> Result<(), SinkError> {
        Err(SinkError::user("everything goes into the file"))
    }

    fn hole(&mut self, _: ItemId, _: u64, _: u64) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self, _: ItemId, _: u64) -> Result<(), SinkError> {
        Ok(())
    }

    fn discard(&mut self, _: ItemId) -> Result<(), SinkError> {
        Ok(())
    }

    fn sync(&mut self, _: &dyn Progress) -> Result<(), SinkError> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn abort(&mut self) {}
}

/// A file that is opened for appending takes nothing from a pipe.
#[test]
fn where_a_file_takes_nothing_from_a_pipe_bytes_are_copied() {
    for subject in [STD, URING] {
        let state = State::new(LEN);
        // One chunk: it is appended wherever it belongs.
        let chunk = noise(2, 500_000);
        write(&state.scratch.source().join("chunk"), &chunk);
        let landing = state.scratch.home().join("landing");
        let file = Arc::new(File::options().create_new(true).append(true).open(&landing).unwrap());
        run(&subject, state.source(), Box::new(Landing { name: b"chunk", file })).agreed();
        assert!(fs::read(&landing).unwrap() == chunk, "{}", subject.name);
    }
}
