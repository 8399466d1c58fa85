//! A directory goes through source and sink and comes out the same, or not at all.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use longhaul_core::id::ItemId;
use longhaul_state::item::Name;
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions, SinkErrorKind};
use longhaul_state::source::{
    DirectoryOptions, DirectorySource, HardLinks, Shape, SourceErrorKind, SpecialFiles, Survey,
};
use longhaul_state::{Content, Item, LinksPolicy, Piece, Place, Sink, SinkError, Source, SourceError, What};

const PORTABLE: bool = cfg!(longhaul_portable);

struct Scratch {
    _directory: tempfile::TempDir,
    from: PathBuf,
    to: PathBuf,
}

fn scratch() -> Scratch {
    let directory = tempfile::tempdir().unwrap();
    let from = directory.path().join("from");
    let to = directory.path().join("to");
    fs::create_dir(&from).unwrap();
    Scratch { _directory: directory, from, to }
}

impl Scratch {
    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.from.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn source(&self) -> DirectorySource {
        DirectorySource::new(&self.from, DirectoryOptions::default()).unwrap()
    }

    fn sink(&self, replace: bool) -> DirectorySink {
        let options = DirectorySinkOptions { replace, ..DirectorySinkOptions::default() };
        DirectorySink::new(&self.to, options).unwrap()
    }

    fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.from.parent().unwrap()).unwrap();
        let hidden = |path: &PathBuf| path.file_name().unwrap().as_bytes().starts_with(b".");
        entries.map(|entry| entry.unwrap().path()).filter(hidden).collect()
    }
}

/// Reads an item as a transport does: in pieces of an odd size.
fn pour(
    content: Box<dyn Content>,
    mut take: impl FnMut(u64, Result<&[u8], u64>),
) -> Result<u64, SourceError> {
    let (mut offset, mut buffer) = (0, vec![0; 100_000]);
    loop {
        match content.read_at(offset, &mut buffer)? {
            Piece::Data(len) => {
                take(offset, Ok(&buffer[..len]));
                offset += len as u64;
            }
            Piece::Hole(len) => {
                take(offset, Err(len));
                offset += len;
            }
            Piece::End => break,
        }
    }
    content.close()?;
    Ok(offset)
}

fn stage(source: &dyn Source, sink: &mut dyn Sink) -> Result<(), SinkError> {
    sink.begin(&source.survey(&()).unwrap())?;
    let mut walk = source.walk().unwrap();
    let mut ids = (0..).map(ItemId);
    while let Some(item) = walk.next().unwrap() {
        let id = ids.next().unwrap();
        match item.what {
            // Small ones at once, larger ones at their places: both ways are used.
            What::File { size, .. } if size > 1000 => {
                let Place::File(file) = sink.open(id, &item)? else { panic!("a directory gives files") };
                let len = pour(source.open(&item).unwrap(), |offset, piece| match piece {
                    Ok(bytes) => file.write_all_at(bytes, offset).unwrap(),
                    Err(len) => sink.hole(id, offset, len).unwrap(),
                });
                sink.finish(id, len.unwrap())?;
            }
            What::File { .. } => {
                let mut all = Vec::new();
                pour(source.open(&item).unwrap(), |_, piece| all.extend_from_slice(piece.unwrap())).unwrap();
                sink.put(id, &item, &all)?;
            }
            _ => sink.put(id, &item, b"")?,
        }
    }
    Ok(())
}

fn transfer(source: &dyn Source, sink: &mut dyn Sink) -> Result<(), SinkError> {
    stage(source, sink)?;
    sink.sync(&())?;
    sink.publish()
}

/// All that is kept of a tree, one line an entry; names that are one file share a number.
fn picture(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inodes = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(name) = pending.pop() {
        let path = root.join(&name);
        let found = fs::symlink_metadata(&path).unwrap();
        let mut line = format!("{:?} ", name.as_os_str().as_bytes().escape_ascii().to_string());
        if found.is_symlink() {
            write!(line, "-> {}", fs::read_link(&path).unwrap().display()).unwrap();
        } else {
            write!(line, "{:o} {}.{:09}", found.mode() & 0o777, found.mtime(), found.mtime_nsec()).unwrap();
        }
        if found.is_file() {
            let content = longhaul_core::integrity::crc32c(&fs::read(&path).unwrap());
            write!(line, " {} {content:x}", found.len()).unwrap();
            write!(line, " names {}", found.nlink()).unwrap();
            inodes.push((found.ino(), name.clone()));
        }
        lines.push(line);
        if found.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| name.join(entry.unwrap().file_name())));
        }
    }
    inodes.sort();
    let mut sets: Vec<Vec<PathBuf>> = Vec::new();
    for pair in inodes.chunk_by(|one, other| one.0 == other.0) {
        sets.push(pair.iter().map(|(_, name)| name.clone()).collect());
    }
    lines.extend(sets.iter().filter(|set| set.len() > 1).map(|set| format!("{set:?}")));
    lines.sort();
    lines
}

fn at(seconds: i64, nanos: u32) -> FileTimes {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { SystemTime::UNIX_EPOCH - whole } else { SystemTime::UNIX_EPOCH + whole };
    FileTimes::new().set_modified(time + Duration::from_nanos(nanos.into()))
}

#[test]
fn everything_that_storage_engines_have_arrives_as_it_was() {
    let s = scratch();
    s.write("empty", b"");
    s.write("a/b/c/deep", b"deep");
    s.write("large", &(0..3_000_000_u32).map(|i| (i % 253) as u8).collect::<Vec<u8>>());
    let strange = s.from.join(OsStr::from_bytes(b"a\nb \xff\xfe -rf"));
    fs::write(&strange, b"strange").unwrap();
    fs::create_dir_all(s.from.join("hollow/inside")).unwrap();
    fs::hard_link(s.from.join("empty"), s.from.join("a/zz-empty")).unwrap();
    fs::hard_link(s.from.join("large"), s.from.join("a/b/also-large")).unwrap();
    symlink("a/b", s.from.join("link")).unwrap();
    symlink("../nowhere", s.from.join("a/dangling")).unwrap();
    fs::set_permissions(s.from.join("a/b/c/deep"), Permissions::from_mode(0o640)).unwrap();
    File::options().write(true).open(&strange).unwrap().set_times(at(-5, 123_456_789)).unwrap();
    for (directory, mode, seconds) in
        [("a/b", 0o750, 1), ("a", 0o711, 2), ("hollow", 0o500, 3), ("", 0o770, 4)]
    {
        let directory = s.from.join(directory);
        fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        File::open(&directory).unwrap().set_times(at(seconds, 7)).unwrap();
    }
    transfer(&s.source(), &mut s.sink(false)).unwrap();
    assert_eq!(picture(&s.to), picture(&s.from));
    assert_eq!(s.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn a_survey_knows_the_longest_part_of_any_name() {
    let longest = |s: &Scratch| s.source().survey(&()).unwrap().longest_name;
    let s = scratch();
    assert_eq!(longest(&s), 0);
    s.write("four/and/file", b"");
    assert_eq!(longest(&s), 4);
    symlink("and", s.from.join("four/linked")).unwrap();
    assert_eq!(longest(&s), 6);
    fs::hard_link(s.from.join("four/and/file"), s.from.join("another")).unwrap();
    assert_eq!(longest(&s), 7);
    fs::create_dir(s.from.join("four").join("n".repeat(255))).unwrap();
    assert_eq!(longest(&s), 255);
    let single = DirectorySource::new(s.from.join("another"), DirectoryOptions::default()).unwrap();
    assert_eq!(single.survey(&()).unwrap().longest_name, 0, "a state that is a file has no name");
}

// Catalogue: F41
#[test]
fn a_destination_with_too_long_a_name_is_refused_before_there_is_a_state() {
    let s = scratch();
    let preflight = |name: String| {
        DirectorySink::new(s.to.with_file_name(name), DirectorySinkOptions::default()).unwrap().preflight()
    };
    preflight("n".repeat(255)).unwrap();
    let error = preflight("n".repeat(256)).unwrap_err();
    let native = cfg!(target_os = "linux") && !PORTABLE;
    let (need, have) = if native { (Some(256), Some(255)) } else { (None, None) };
    let expected = SinkErrorKind::NameTooLong { need, have };
    assert_eq!(error.to_string(), SinkError::whole(expected).to_string());
}

#[test]
fn holes_are_neither_sent_nor_allocated() {
    let s = scratch();
    let path = s.write("sparse", b"start");
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"middle", 8 << 20).unwrap();
    file.set_len(16 << 20).unwrap();
    s.write("hollow", b"");
    File::options().write(true).open(s.from.join("hollow")).unwrap().set_len(5 << 20).unwrap();
    transfer(&s.source(), &mut s.sink(false)).unwrap();
    assert_eq!(picture(&s.to), picture(&s.from));
    if !PORTABLE {
        assert!(fs::metadata(s.to.join("sparse")).unwrap().blocks() * 512 < 1 << 20);
        assert_eq!(fs::metadata(s.to.join("hollow")).unwrap().blocks(), 0);
    }
}

#[test]
fn more_files_than_are_synced_one_by_one_arrive_too() {
    let s = scratch();
    (0..300).for_each(|i| drop(s.write(&format!("d{}/f{i}", i % 7), &[i as u8; 100])));
    let survey = s.source().survey(&()).unwrap();
    assert_eq!((survey.items, survey.bytes), (308, Some(30_000)));
    transfer(&s.source(), &mut s.sink(false)).unwrap();
    assert_eq!(picture(&s.to), picture(&s.from));
}

#[test]
fn one_file_lands_as_a_file_and_its_path_may_be_a_link() {
    let s = scratch();
    let path = s.write("one", b"content");
    let link = s.from.join("link");
    symlink(&path, &link).unwrap();
    let source = DirectorySource::new(&link, DirectoryOptions::default()).unwrap();
    assert_eq!(source.survey(&()).unwrap().shape, Shape::File);
    transfer(&source, &mut s.sink(false)).unwrap();
    assert_eq!(fs::read(&s.to).unwrap(), b"content");
    fs::write(&path, b"newer").unwrap();
    assert!(matches!(transfer(&source, &mut s.sink(false)).unwrap_err().kind, SinkErrorKind::NotEmpty));
    transfer(&source, &mut s.sink(true)).unwrap();
    assert_eq!(fs::read(&s.to).unwrap(), b"newer");
    assert_eq!(s.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn hard_links_may_be_sent_as_copies() {
    let s = scratch();
    fs::hard_link(s.write("one", b"x"), s.from.join("two")).unwrap();
    let options = DirectoryOptions { hard_links: HardLinks::Copy, ..DirectoryOptions::default() };
    let source = DirectorySource::new(&s.from, options).unwrap();
    assert_eq!(source.survey(&()).unwrap().bytes, Some(2));
    assert_eq!(s.source().survey(&()).unwrap().bytes, Some(1));
    transfer(&source, &mut s.sink(false)).unwrap();
    assert_eq!(fs::metadata(s.to.join("two")).unwrap().nlink(), 1);
}

fn survey(s: &Scratch, options: DirectoryOptions) -> Result<Survey, SourceError> {
    DirectorySource::new(&s.from, options)?.survey(&())
}

// Catalogue: B46, B49
#[test]
fn what_cant_be_sent_is_refused_by_name() {
    let s = scratch();
    fs::create_dir(s.from.join("d")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(s.from.join("d/socket")).unwrap();
    let error = survey(&s, DirectoryOptions::default()).unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::Special("socket")), "{error}");
    assert_eq!(error.item.as_bytes(), b"d/socket");
    let skip = DirectoryOptions { special: SpecialFiles::Skip, ..DirectoryOptions::default() };
    assert_eq!(survey(&s, skip).unwrap().warnings.special_skipped, 1);

    symlink("../../out", s.from.join("d/link")).unwrap();
    let error = survey(&s, skip).unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::LinkLeaves), "{error}");
    assert_eq!(error.item.as_bytes(), b"d/link");
    survey(&s, DirectoryOptions { links: LinksPolicy::Keep, ..skip }).unwrap();

    let missing = DirectorySource::new(s.from.join("none"), skip).unwrap_err();
    assert!(matches!(missing.kind, SourceErrorKind::Missing));
}

// Catalogue: B54
#[test]
fn set_id_and_sticky_bits_are_dropped_with_a_warning() {
    let s = scratch();
    fs::set_permissions(s.write("suid", b"x"), Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(s.source().survey(&()).unwrap().warnings.mode_bits_dropped, 1);
    transfer(&s.source(), &mut s.sink(false)).unwrap();
    assert_eq!(fs::metadata(s.to.join("suid")).unwrap().mode() & 0o7777, 0o755);
}

/// Walks to the end, and says which name changed.
fn walk_changed(source: &DirectorySource) -> Vec<u8> {
    let mut walk = source.walk().unwrap();
    loop {
        match walk.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the change was not noticed"),
            Err(error) => {
                assert!(matches!(error.kind, SourceErrorKind::Changed(_)), "{error}");
                return error.item.as_bytes().to_vec();
            }
        }
    }
}

// Catalogue: B45, B50, B62
#[test]
fn a_name_that_comes_or_goes_between_survey_and_walk_is_named() {
    type Change = fn(&Scratch);
    let changes: [(Change, &[u8]); 6] = [
        (
            |s| {
                fs::remove_file(s.from.join("e/other")).unwrap();
                fs::remove_dir(s.from.join("e")).unwrap();
                fs::write(s.from.join("e"), b"x").unwrap();
            },
            // Of what is another thing now the directory tells.
            b"",
        ),
        (|s| drop(s.write("d/new", b"x")), b"d/new"),
        (|s| fs::remove_file(s.from.join("d/file")).unwrap(), b"d"),
        (|s| fs::create_dir(s.from.join("e/new")).unwrap(), b"e/new"),
        (|s| fs::rename(s.from.join("e/other"), s.from.join("e/renamed")).unwrap(), b"e"),
        (|s| drop(s.write("d/file", b"longer than before")), b"d/file"),
    ];
    for (change, culprit) in changes {
        let s = scratch();
        for name in ["d/file", "d/second", "e/other", "third"] {
            s.write(name, b"x");
        }
        let source = s.source();
        source.survey(&()).unwrap();
        change(&s);
        assert_eq!(walk_changed(&source).escape_ascii().to_string(), culprit.escape_ascii().to_string());
    }
}

// Catalogue: B50, B58, B59, B60, B61, B64
#[test]
fn a_file_that_changes_while_it_is_read_is_never_taken_for_whole() {
    type Change = fn(&Path);
    let changes: [(Change, bool); 8] = [
        (|path| File::options().append(true).open(path).unwrap().set_len(300_000).unwrap(), true),
        (|path| File::options().write(true).open(path).unwrap().set_len(10).unwrap(), true),
        (|path| File::open(path).unwrap().set_times(at(99, 0)).unwrap(), true),
        (|path| fs::write(path, vec![2; 200_000]).unwrap(), true),
        (|path| fs::remove_file(path).unwrap(), true),
        (
            |path| {
                fs::write(path.with_extension("new"), vec![1; 200_000]).unwrap();
                fs::rename(path.with_extension("new"), path).unwrap();
            },
            true,
        ),
        (
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            true,
        ),
        // Reading moves the access time, which is no alarm.
        (|path| drop(fs::read(path).unwrap()), false),
    ];
    for (number, (change, noticed)) in changes.into_iter().enumerate() {
        for before_open in [true, false] {
            let s = scratch();
            let path = s.write("file", &vec![1; 200_000]);
            let source = s.source();
            let item: Item = source.walk().unwrap().next().unwrap().unwrap();
            let opened = (!before_open).then(|| source.open(&item).unwrap());
            change(&path);
            let result =
                opened.map_or_else(|| source.open(&item), Ok).and_then(|content| pour(content, |_, _| {}));
            match result {
                Ok(_) => assert!(!noticed, "change {number}, before open: {before_open}"),
                Err(error) => {
                    assert!(
                        noticed && matches!(error.kind, SourceErrorKind::Changed(_)),
                        "{number}: {error}"
                    );
                    assert_eq!(error.item.as_bytes(), b"file");
                }
            }
        }
    }
}

// Catalogue: F35, F89
#[test]
fn a_destination_that_cant_be_published_is_refused_before_anything_is_made() {
    let s = scratch();
    let kind = |to: &Path, replace| {
        let options = DirectorySinkOptions {
            replace,
            source_path: Some(s.from.clone()),
            ..DirectorySinkOptions::default()
        };
        DirectorySink::new(to, options).unwrap().preflight().map_err(|error| error.kind)
    };
    fs::create_dir(&s.to).unwrap();
    assert!(kind(&s.to, false).is_ok());
    fs::write(s.to.join("x"), b"").unwrap();
    assert!(matches!(kind(&s.to, false), Err(SinkErrorKind::NotEmpty)));
    assert!(kind(&s.to, true).is_ok());
    assert!(matches!(kind(&s.to.join("x"), false), Err(SinkErrorKind::NotEmpty)));
    assert!(matches!(kind(&s.to.join("y/z"), false), Err(SinkErrorKind::NoParent)));
    assert!(matches!(kind(&s.from.join("inside"), false), Err(SinkErrorKind::InsideSource)));
    assert!(matches!(kind(s.from.parent().unwrap(), true), Err(SinkErrorKind::InsideSource)));
    assert!(matches!(kind(Path::new("/proc"), true), Err(SinkErrorKind::MountPoint)));
    assert!(matches!(
        kind(Path::new("/"), true),
        Err(SinkErrorKind::MountPoint | SinkErrorKind::InsideSource)
    ));
    symlink("x", s.to.join("link")).unwrap();
    assert!(matches!(kind(&s.to.join("link"), true), Err(SinkErrorKind::OtherShape("a symbolic link"))));
    assert_eq!(s.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn an_old_directory_is_replaced_in_one_step_or_not_at_all() {
    let s = scratch();
    s.write("new", b"new");
    fs::create_dir(&s.to).unwrap();
    fs::write(s.to.join("old"), b"old").unwrap();
    let replaced = transfer(&s.source(), &mut s.sink(true));
    if PORTABLE {
        assert!(matches!(replaced.unwrap_err().kind, SinkErrorKind::NoAtomicRename(_)));
        assert!(s.to.join("old").exists());
    } else {
        replaced.unwrap();
        assert_eq!(picture(&s.to), picture(&s.from));
    }
    assert_eq!(s.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn a_destination_that_fills_up_meanwhile_keeps_what_it_has() {
    let s = scratch();
    s.write("new", b"new");
    let mut sink = s.sink(false);
    stage(&s.source(), &mut sink).unwrap();
    sink.sync(&()).unwrap();
    fs::create_dir(&s.to).unwrap();
    fs::write(s.to.join("theirs"), b"theirs").unwrap();
    assert!(matches!(sink.publish().unwrap_err().kind, SinkErrorKind::NotEmpty));
    sink.abort();
    assert_eq!(fs::read(s.to.join("theirs")).unwrap(), b"theirs");
    assert_eq!(s.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn an_aborted_or_forgotten_landing_leaves_nothing() {
    for abort in [true, false] {
        let s = scratch();
        s.write("d/file", b"x");
        let mut sink = s.sink(false);
        stage(&s.source(), &mut sink).unwrap();
        assert_eq!(s.leftovers().len(), 2);
        if abort {
            sink.abort();
        } else {
            drop(sink);
        }
        assert_eq!(s.leftovers(), Vec::<PathBuf>::new());
        assert!(!s.to.exists());
    }
}

#[test]
fn a_second_landing_is_told_who_holds_the_first_and_stale_staging_is_swept() {
    let s = scratch();
    s.write("file", b"x");
    let mut first = s.sink(false);
    first.begin(&Survey::default()).unwrap();
    match s.sink(false).begin(&Survey::default()).unwrap_err().kind {
        SinkErrorKind::Held(who) => assert!(who.contains(&std::process::id().to_string()), "{who}"),
        kind => panic!("{kind:?}"),
    }
    drop(first);
    let stale = s.to.with_file_name(".to.longhaul");
    fs::create_dir_all(stale.join("state/half")).unwrap();
    transfer(&s.source(), &mut s.sink(false)).unwrap();
    assert_eq!(s.leftovers(), Vec::<PathBuf>::new());
}

fn item(name: &str, what: What) -> Item {
    Item { name: Name::new(name.as_bytes()).unwrap(), mode: 0o700, what, ..Item::stream() }
}

fn file(name: &str) -> Item {
    item(name, What::File { size: 1, linked: false, sparse: false })
}

fn link(name: &str, target: &str) -> Item {
    item(name, What::SymbolicLink { target: target.as_bytes().into() })
}

// Catalogue: B33, B34, B46
#[test]
fn hostile_items_get_nowhere_and_the_rest_can_still_be_published() {
    let s = scratch();
    let mut sink = s.sink(false);
    sink.begin(&Survey::default()).unwrap();
    let mut ids = (0..).map(ItemId);
    let mut put = |item: Item| sink.put(ids.next().unwrap(), &item, b"x").map_err(|error| error.kind);
    put(file("d/file")).unwrap();
    put(link("link", "d")).unwrap();
    assert!(matches!(put(file("d/file")), Err(SinkErrorKind::NameTaken)));
    assert!(matches!(put(link("d/file", "x")), Err(SinkErrorKind::NameTaken)));
    assert!(matches!(put(file("d/file/below")), Err(SinkErrorKind::NameTaken)));
    assert!(matches!(put(file("link/file2")), Err(SinkErrorKind::NameTaken)));
    assert!(matches!(put(item("link", What::Directory)), Err(SinkErrorKind::NameTaken)));
    assert!(matches!(put(file("")), Err(SinkErrorKind::NameTaken)));
    assert!(matches!(put(link("out", "../x")), Err(SinkErrorKind::LinkLeaves)));
    assert!(matches!(put(item("hard", What::HardLink { to: ItemId(0) })), Err(SinkErrorKind::NoSuchLink)));
    put(item("d", What::Directory)).unwrap();
    assert!(matches!(put(item("d", What::Directory)), Err(SinkErrorKind::NameTaken)));
    assert!(matches!(put(file("d/late")), Err(SinkErrorKind::NameTaken)));
    put(item("", What::Directory)).unwrap();
    sink.sync(&()).unwrap();
    sink.publish().unwrap();
    assert_eq!(picture(&s.to).len(), 4);
}

#[test]
fn a_discarded_file_can_be_sent_again() {
    let s = scratch();
    let mut sink = s.sink(false);
    sink.begin(&Survey::default()).unwrap();
    for content in [b"bad", b"yes"] {
        let Place::File(place) = sink.open(ItemId(0), &file("d/file")).unwrap() else { panic!() };
        place.write_all_at(content, 0).unwrap();
        if content == b"bad" {
            sink.discard(ItemId(0)).unwrap();
        }
    }
    assert!(sink.sync(&()).is_ok() && sink.publish().is_err());
    sink.finish(ItemId(0), 3).unwrap();
    sink.put(ItemId(1), &item("", What::Directory), b"").unwrap();
    sink.sync(&()).unwrap();
    sink.publish().unwrap();
    assert_eq!(fs::read(s.to.join("d/file")).unwrap(), b"yes");
}

// Catalogue: B48
#[test]
fn what_was_planted_in_staging_is_never_written_through() {
    let s = scratch();
    let outside = s.write("outside", b"outside");
    let mut sink = s.sink(false);
    sink.begin(&Survey::default()).unwrap();
    let staging = s.to.with_file_name(".to.longhaul");
    let staged =
        fs::read_dir(&staging).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    let staged = staged.expect("the staged state");
    fs::hard_link(&outside, staged.join("hard")).unwrap();
    symlink(&outside, staged.join("soft")).unwrap();
    for (id, name) in [(0, "hard"), (1, "soft")] {
        assert!(sink.put(ItemId(id), &file(name), b"x").is_err(), "{name}");
        assert!(sink.open(ItemId(id), &file(name)).is_err(), "{name}");
    }
    assert_eq!(fs::read(&outside).unwrap(), b"outside");
}

// Catalogue: B55
#[test]
fn a_file_that_holds_more_than_its_size_says_is_never_taken_for_empty() {
    let path = Path::new("/proc/self/status");
    if !path.exists() {
        println!("skipped: this system makes up no files");
        return;
    }
    let source = DirectorySource::new(path, DirectoryOptions::default()).unwrap();
    let item = source.walk().unwrap().next().unwrap().unwrap();
    let error = source.open(&item).and_then(|content| pour(content, |_, _| {})).unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::Changed(_)), "{error}");
}

/// Runs a test again in a process of nobody's, if this one is root's: root is denied nothing.
fn as_nobody(name: &str, test: impl FnOnce()) {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    if fs::metadata("/proc/self").map_or(1, |own| own.uid()) != 0 {
        return test();
    }
    // Where the program lies nobody else may look.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = std::process::Command::new(&program);
    let output =
        command.args([name, "--exact", "--nocapture"]).uid(NOBODY).gid(NOBODY).current_dir("/").output();
    match output {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            let why = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.contains("1 passed"), "{said}\n{why}");
        }
        Err(error) => println!("skipped: nobody can't run it: {error}"),
    }
}

// Catalogue: B56, F90
#[test]
fn what_may_not_be_read_is_named_with_what_was_denied() {
    as_nobody("what_may_not_be_read_is_named_with_what_was_denied", || {
        let s = scratch();
        let denied = |error: SourceError, name: &str| {
            assert_eq!(error.item.as_bytes(), name.as_bytes(), "{error}");
            let SourceErrorKind::Io { error: why, .. } = &error.kind else { panic!("{error}") };
            assert_eq!(why.kind(), std::io::ErrorKind::PermissionDenied);
            assert!(error.hint().contains("may read it"), "{}", error.hint());
        };
        let file = s.write("d/file", b"x");
        fs::set_permissions(&file, Permissions::from_mode(0o0)).unwrap();
        let source = s.source();
        source.survey(&()).unwrap();
        let mut walk = source.walk().unwrap();
        let item = walk.next().unwrap().unwrap();
        denied(source.open(&item).map(drop).unwrap_err(), "d/file");
        fs::set_permissions(s.from.join("d"), Permissions::from_mode(0o0)).unwrap();
        denied(s.source().survey(&()).unwrap_err(), "d");
        fs::set_permissions(s.from.join("d"), Permissions::from_mode(0o700)).unwrap();
    });
}

// Catalogue: B38
#[test]
fn more_bytes_than_64_bits_count_are_refused_before_anything_moves() {
    // Few file systems let a file say that it is so long; the one in memory does.
    let Ok(shared) = tempfile::tempdir_in("/dev/shm") else { return println!("skipped: no /dev/shm") };
    for n in 0..3 {
        let file = File::create(shared.path().join(format!("f{n}"))).unwrap();
        if let Err(error) = file.set_len(i64::MAX as u64) {
            return println!("skipped: {error}");
        }
    }
    let error =
        DirectorySource::new(shared.path(), DirectoryOptions::default()).unwrap().survey(&()).unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::TooManyBytes), "{error}");
}
