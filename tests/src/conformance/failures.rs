//! What fails on one side is a typed error on both, and nothing is published.
#![expect(clippy::missing_panics_doc, reason = "a case panics when what it states is not so")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use longhaul_core::id::ClusterId;
use longhaul_core::integrity::Integrity;
use longhaul_core::reason::{Reason, Side};
use longhaul_state::item::Name;
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions, MemorySink, Sink, SinkError, StreamSink};
use longhaul_state::source::{
    DirectoryOptions, DirectorySource, MemorySource, Source, SourceError, SourceErrorKind, StreamSource,
};

use super::doubles::{Giving, Meddled, MeddledSink, Taking};
use super::tree::{Scratch, look, noise, set, write};
use super::{Ends, Rig, Settings};

/// Sizes that travel whole with the control lane, with their offer, and over data lanes.
const SIZES: [usize; 3] = [1000, 1_100_000, 5_000_000];

fn directory(path: &Path) -> DirectorySource {
    DirectorySource::new(path, DirectoryOptions::default()).unwrap()
}

fn landing(scratch: &Scratch) -> DirectorySink {
    DirectorySink::new(scratch.destination(), DirectorySinkOptions::default()).unwrap()
}

fn memory(len: usize) -> MemorySource {
    MemorySource::new(noise(1, len).into())
}

/// Streams what `write_state` writes to a callback, and returns what that callback saw at the end.
fn streamed(
    rig: &Rig<'_>,
    write_state: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> (Ends, Option<io::ErrorKind>) {
    let seen = Arc::new(Mutex::new(None));
    let saw = Arc::clone(&seen);
    let (sink, published) = StreamSink::from_reader(move |input| {
        let mut all = Vec::new();
        let read = input.read_to_end(&mut all);
        *saw.lock().unwrap() = Some(read.as_ref().err().map(io::Error::kind));
        read
    });
    let source = StreamSource::from_writer(write_state);
    let ends = rig.run(Arc::new(source), Box::new(sink), &Settings::default());
    assert!(published.take().is_none(), "nothing is published");
    super::eventually("the callback is over", || seen.lock().unwrap().is_some());
    let seen = seen.lock().unwrap().expect("it is over");
    (ends, seen)
}

/// `getState` fails half way: the joiner's callback reads an error, not an end.
pub fn an_error_of_the_writing_callback_is_no_end(rig: &Rig<'_>) {
    for len in SIZES {
        let (ends, seen) = streamed(rig, move |out| {
            out.write_all(&noise(1, len))?;
            Err(io::Error::other("the table is gone"))
        });
        let (provider, joiner) = ends.failed(Reason::Source);
        assert_eq!((provider.side, joiner.side), (Side::Provider, Side::Provider));
        assert!(joiner.message.contains("the table is gone"), "{joiner:?}");
        assert_eq!(seen, Some(io::ErrorKind::ConnectionAborted), "{len} bytes");
    }
}

/// `getState` panics half way.
pub fn a_panic_of_the_writing_callback_is_no_end(rig: &Rig<'_>) {
    let (ends, seen) = streamed(rig, |out| {
        out.write_all(&noise(1, 2_000_000))?;
        panic!("on purpose")
    });
    let (_, joiner) = ends.failed(Reason::Source);
    assert!(joiner.message.contains("on purpose"), "{joiner:?}");
    assert_eq!(seen, Some(io::ErrorKind::ConnectionAborted));
}

fn read_by(rig: &Rig<'_>, read_state: fn(&mut dyn Read) -> io::Result<()>) -> Ends {
    let (sink, published) = StreamSink::from_reader(read_state);
    let ends = rig.run(Arc::new(memory(3_000_000)), Box::new(sink), &Settings::new(Integrity::Crc32c, 1));
    assert!(published.take().is_none(), "nothing is published");
    ends
}

/// `setState` fails: early, and after it has read everything.
pub fn an_error_of_the_reading_callback_fails_both(rig: &Rig<'_>) {
    let early: fn(&mut dyn Read) -> _ = |_| Err(io::Error::other("no such table"));
    let late: fn(&mut dyn Read) -> _ = |input| {
        input.read_to_end(&mut Vec::new())?;
        Err(io::Error::other("no such table"))
    };
    for read_state in [early, late] {
        let (provider, joiner) = read_by(rig, read_state).failed(Reason::Destination);
        assert_eq!((provider.side, joiner.side), (Side::Joiner, Side::Joiner));
        assert!(provider.message.contains("no such table"), "{provider:?}");
    }
}

/// `setState` panics.
pub fn a_panic_of_the_reading_callback_fails_both(rig: &Rig<'_>) {
    let (provider, _) = read_by(rig, |_| panic!("on purpose")).failed(Reason::Destination);
    assert!(provider.message.contains("on purpose"), "{provider:?}");
}

/// A file whose next change shows in its times, however coarse the file system's clock.
fn write_long_ago(path: &Path, len: usize) {
    write(path, &noise(1, len));
    set(path, 0o644, (1_000_000_000, 0));
}

/// Runs a transfer whose source is changed once, at a step; it must fail and name `item`.
fn changed(rig: &Rig<'_>, at: Giving, len: usize, item: &str, change: fn(&Path)) {
    let scratch = Scratch::new();
    let source = scratch.source();
    write(&source.join("another"), b"x");
    write_long_ago(&source.join("dir/file"), len);
    let (once, path) = (AtomicBool::new(false), source.clone());
    let meddled = Meddled::new(directory(&source), move |now| {
        if now == at && !once.swap(true, Ordering::SeqCst) {
            change(&path);
        }
        Ok(())
    });
    let ends = rig.run(Arc::new(meddled), Box::new(landing(&scratch)), &Settings::default());
    let (provider, joiner) = ends.failed(Reason::SourceChanged);
    for error in [&provider, &joiner] {
        assert_eq!(error.side, Side::Provider);
        let named = error.item.as_ref().map_or(&b""[..], Name::as_bytes);
        // Of what is no longer there the directory may be all that tells.
        let told = named == item.as_bytes() || named == b"dir" && error.message.contains("a name in it");
        assert!(told, "{at:?}, {len} bytes: {error:?}");
    }
    assert_eq!(scratch.residue(), Vec::<String>::new());
}

const CHANGES: [fn(&Path); 4] = [
    // It grows.
    |source| {
        let mut file = File::options().append(true).open(source.join("dir/file")).unwrap();
        file.write_all(b"more").unwrap();
    },
    // It shrinks.
    |source| File::options().write(true).open(source.join("dir/file")).unwrap().set_len(1).unwrap(),
    // It is replaced by one that looks the same.
    |source| {
        let (old, new) = (source.join("dir/file"), source.with_file_name("new"));
        fs::copy(&old, &new).unwrap();
        fs::rename(&new, &old).unwrap();
    },
    // A byte in its middle changes.
    |source| {
        let file = File::options().write(true).open(source.join("dir/file")).unwrap();
        file.write_all_at(&[0], file.metadata().unwrap().len() / 2).unwrap();
    },
];

// Catalogue: B58, B59, B60, B61, F43
/// Between survey and read a file grows, shrinks, is replaced, is written to, or is removed.
pub fn a_file_that_changes_before_it_is_read_is_named(rig: &Rig<'_>) {
    for len in SIZES {
        for change in CHANGES {
            changed(rig, Giving::Open, len, "dir/file", change);
        }
        changed(rig, Giving::Open, len, "dir/file", |source| {
            fs::remove_file(source.join("dir/file")).unwrap();
        });
    }
}

// Catalogue: B55, B58, B59, B60, B61, F43
/// The same while it is read: what was read is not what was offered.
pub fn a_file_that_changes_while_it_is_read_is_named(rig: &Rig<'_>) {
    for len in SIZES {
        for change in CHANGES {
            let scratch = Scratch::new();
            write_long_ago(&scratch.source().join("dir/file"), len);
            let (once, path) = (AtomicBool::new(false), scratch.source());
            let meddled = Meddled::new(directory(&scratch.source()), move |now| {
                if now == Giving::Read && !once.swap(true, Ordering::SeqCst) {
                    change(&path);
                }
                Ok(())
            });
            let ends = rig.run(Arc::new(meddled), Box::new(landing(&scratch)), &Settings::default());
            for error in <[_; 2]>::from(ends.failed(Reason::SourceChanged)) {
                let named = error.item.as_ref().map(|name| name.as_bytes().to_vec());
                assert_eq!(named.as_deref(), Some(&b"dir/file"[..]), "{error:?}");
            }
            assert_eq!(scratch.residue(), Vec::<String>::new());
        }
    }
}

// Catalogue: B45, B62
/// Between survey and walk a name comes, or goes.
pub fn a_name_that_comes_or_goes_is_named(rig: &Rig<'_>) {
    changed(rig, Giving::Walk, 1000, "dir/new", |source| write(&source.join("dir/new"), b"new"));
    changed(rig, Giving::Walk, 1000, "dir/sub", |source| fs::create_dir(source.join("dir/sub")).unwrap());
    changed(rig, Giving::Walk, 1000, "dir/file", |source| fs::remove_file(source.join("dir/file")).unwrap());
}

/// Every sink that meets the step `at` in a transfer of `len` bytes does `what` there.
fn sinks(rig: &Rig<'_>, reason: Reason, what: fn() -> Result<(), SinkError>) {
    let small = [Taking::Begin, Taking::Put, Taking::Sync, Taking::Publish];
    let large = [Taking::Begin, Taking::Open, Taking::Write, Taking::Finish, Taking::Sync, Taking::Publish];
    let cases = small.iter().map(|&at| (1000, at)).chain(large.iter().map(|&at| (3_000_000, at)));
    for (len, at) in cases {
        let meet = move |now| if now == at { what() } else { Ok(()) };
        let sink = MemorySink::new(1 << 30);
        let received = sink.published();
        let meddled = Box::new(MeddledSink::new(sink, meet));
        fails_alike(rig.run(Arc::new(memory(len)), meddled, &Settings::default()), reason, at);
        assert!(received.take().is_none(), "{at:?}");
        if at == Taking::Write {
            continue; // A directory's files are written at their places.
        }
        let scratch = Scratch::new();
        write(&scratch.source().join("file"), &noise(1, len));
        let meddled: Box<dyn Sink> = Box::new(MeddledSink::new(landing(&scratch), meet));
        fails_alike(
            rig.run(Arc::new(directory(&scratch.source())), meddled, &Settings::default()),
            reason,
            at,
        );
        assert_eq!(scratch.residue(), Vec::<String>::new(), "{at:?}");
    }
}

fn fails_alike(ends: Ends, reason: Reason, at: Taking) {
    let (provider, joiner) = ends.failed(reason);
    assert_eq!((provider.side, joiner.side), (Side::Joiner, Side::Joiner), "{at:?}");
    assert_eq!(provider.phase, joiner.phase, "{at:?}");
}

// Catalogue: F54
/// Begin, open, write, finish, put, sync, publish: wherever a sink fails, both sides say so.
pub fn a_sink_that_fails_anywhere_publishes_nothing(rig: &Rig<'_>) {
    sinks(rig, Reason::Destination, || Err(SinkError::user("no more ink")));
}

// Catalogue: F54, F59
/// The same where it panics: the process lives.
pub fn a_sink_that_panics_anywhere_publishes_nothing(rig: &Rig<'_>) {
    sinks(rig, Reason::Internal, || panic!("on purpose"));
}

fn sources(rig: &Rig<'_>, reason: Reason, what: fn() -> Result<(), SourceError>) {
    for len in SIZES {
        for at in Giving::ALL {
            let scratch = Scratch::new();
            write(&scratch.source().join("file"), &noise(1, len));
            let meet = move |now| if now == at { what() } else { Ok(()) };
            let source: Arc<dyn Source> = Arc::new(Meddled::new(directory(&scratch.source()), meet));
            let ends = rig.run(source, Box::new(landing(&scratch)), &Settings::default());
            let (provider, joiner) = ends.failed(reason);
            assert_eq!((provider.side, joiner.side), (Side::Provider, Side::Provider), "{at:?}, {len} bytes");
            assert_eq!(scratch.residue(), Vec::<String>::new(), "{at:?}, {len} bytes");
        }
    }
}

// Catalogue: F54
/// Survey, walk, next, open, read, close: wherever a source fails, both sides say so.
pub fn a_source_that_fails_anywhere_is_an_error_on_both_sides(rig: &Rig<'_>) {
    sources(rig, Reason::Source, || Err(SourceError::user("no more pages")));
}

/// A read that fails names the file and the place, and nothing is sent instead; the next is served.
// Catalogue: F42
pub fn a_read_that_fails_names_item_and_offset(rig: &Rig<'_>) {
    for len in SIZES {
        let scratch = Scratch::new();
        write(&scratch.source().join("dir/file"), &noise(1, len));
        let broken = Meddled::new(directory(&scratch.source()), |now| match now {
            Giving::Read => Err(SourceError {
                kind: SourceErrorKind::Io { action: "read", error: io::Error::from_raw_os_error(5) },
                item: Name::new(*b"dir/file").expect("a name"),
                offset: Some(512),
            }),
            _ => Ok(()),
        });
        let settings = Settings::default();
        let ends = rig.run(Arc::new(broken), Box::new(landing(&scratch)), &settings);
        for error in <[_; 2]>::from(ends.failed(Reason::Source)) {
            assert_eq!(error.side, Side::Provider);
            assert_eq!(error.item.as_ref().map(Name::as_bytes), Some(&b"dir/file"[..]), "{error:?}");
            assert_eq!(error.offset, Some(512), "{error:?}");
        }
        assert_eq!(settings.provider.control.stats().bytes_sent, 0, "{len} bytes");
        assert_eq!(scratch.residue(), Vec::<String>::new());
    }
}

// Catalogue: F54, F59
/// The same where it panics: the process lives.
pub fn a_source_that_panics_anywhere_is_an_error_on_both_sides(rig: &Rig<'_>) {
    sources(rig, Reason::Internal, || panic!("on purpose"));
}

/// What stands there is left alone, and no item was sent.
pub fn a_destination_that_is_not_empty_is_refused_before_the_first_byte(rig: &Rig<'_>) {
    for old in ["DEST", "DEST/old"] {
        let scratch = Scratch::new();
        write(&scratch.source().join("file"), &noise(1, 2_000_000));
        write(&scratch.home().join(old), b"old");
        let before = look(&scratch.home());
        let settings = Settings::default();
        let source = Arc::new(directory(&scratch.source()));
        let (_, joiner) = rig.run(source, Box::new(landing(&scratch)), &settings).failed(Reason::Destination);
        assert_eq!(joiner.side, Side::Joiner);
        assert_eq!(settings.provider.control.stats().bytes_sent, 0);
        assert_eq!(look(&scratch.home()), before);
    }
}

/// A state that vanished before its survey.
pub fn a_missing_source_is_an_error_on_both_sides(rig: &Rig<'_>) {
    let scratch = Scratch::new();
    fs::create_dir(scratch.source()).unwrap();
    let source = Arc::new(directory(&scratch.source()));
    fs::remove_dir(scratch.source()).unwrap();
    let ends = rig.run(source, Box::new(landing(&scratch)), &Settings::default());
    let (Err(provider), Err(joiner)) = (ends.provider, ends.joiner) else { panic!("both should fail") };
    assert_eq!((provider.reason, provider.side), (joiner.reason, Side::Provider));
    assert!(matches!(joiner.reason, Reason::Source | Reason::SourceChanged), "{joiner:?}");
    assert_eq!(scratch.residue(), Vec::<String>::new());
}

// Catalogue: F68
/// The cluster's id keeps strangers apart.
pub fn members_of_different_clusters_refuse_each_other(rig: &Rig<'_>) {
    let mut settings = Settings::default();
    settings.joiner.options.cluster = ClusterId([7; 16]);
    refused(rig, &settings);
}

/// Provider and joiner are one member: neither a copy nor a hang.
pub fn there_is_no_state_to_have_from_oneself(rig: &Rig<'_>) {
    let mut settings = Settings::default();
    settings.joiner.options.member = settings.provider.options.member;
    refused(rig, &settings);
}

fn refused(rig: &Rig<'_>, settings: &Settings) {
    let sink = MemorySink::new(1 << 20);
    let received = sink.published();
    let listener = rig.subject.listen();
    let ends = rig.run_at(&*listener, Arc::new(memory(10)), Box::new(sink), settings);
    ends.failed(Reason::Incompatible);
    assert!(received.take().is_none());
}
