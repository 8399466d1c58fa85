//! What one run made durable the next one keeps, if it is still what was claimed; and nothing else.

mod scratch;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, Prefix, RUN_LEN, RunHasher, crc32c};
use longhaul_core::item::{Timestamp, Version};
use longhaul_state::item::Name;
use longhaul_state::landing::Staging;
use longhaul_state::sink::{Checkpoint, Content, DirectorySink, DirectorySinkOptions, Resume, SinkErrorKind};
use longhaul_state::source::{Shape, Survey};
use longhaul_state::{Item, Place, Sink, What};

use scratch::Scratch;

const MIB: u64 = 1 << 20;

/// How often it is looked for what a sync in the background makes durable.
const LOOKS: u32 = 100_000;

/// What is done to a path, in words and in deed.
type Meddling = (&'static str, fn(&Path));

impl Scratch {
    fn staging(&self) -> PathBuf {
        self.path().join(".to.longhaul")
    }

    fn journal(&self) -> PathBuf {
        self.path().join(".to.longhaul.journal")
    }

    /// A sink that has begun.
    fn sink(&self, options: DirectorySinkOptions) -> DirectorySink {
        let mut sink = DirectorySink::new(self.to(), options).unwrap();
        sink.preflight().unwrap();
        sink.begin(&survey(Shape::Directory)).unwrap();
        sink
    }

    fn again(&self) -> DirectorySink {
        self.sink(DirectorySinkOptions::default())
    }

    /// Bytes that a later run can rely on.
    fn claimed(&self) -> u64 {
        let staging = Staging::of(&self.to()).unwrap();
        staging.and_then(|staging| staging.journal.unwrap()).map_or(0, |(_, claimed)| claimed.bytes)
    }

    /// Has the sink make everything durable that is finished, in the background, until that is claimed.
    fn checkpoint(&self, sink: &mut DirectorySink, bytes: u64) {
        self.checkpoint_with(sink, &[], bytes);
    }

    fn checkpoint_with(&self, sink: &mut DirectorySink, parts: &[(ItemId, Prefix)], bytes: u64) {
        for _ in 0..LOOKS {
            sink.checkpoint(parts).unwrap();
            if self.claimed() >= bytes {
                return;
            }
            std::thread::yield_now();
        }
        panic!("{} bytes are claimed, and not {bytes}", self.claimed());
    }
}

fn survey(shape: Shape) -> Survey {
    Survey { shape, items: 9, bytes: Some(2 * MIB), ..Survey::default() }
}

fn item(name: &str, size: u64, version: u8) -> Item {
    Item {
        name: Name::new(name.as_bytes()).unwrap(),
        mode: 0o640,
        mtime: Timestamp { seconds: 1_000_000, nanos: 5 },
        version: Version::new(&[version; 8]).unwrap(),
        what: What::File { size, linked: false, sparse: false },
    }
}

fn root() -> Item {
    Item { what: What::Directory, mode: 0o755, ..item("", 0, 0) }
}

fn bytes(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn fold(content: &[u8], upto: u64) -> ItemFold {
    let mut fold = ItemFold::new(Integrity::Crc32c);
    for (n, run) in content[..upto as usize].chunks(RUN_LEN as usize).enumerate() {
        let mut hasher = RunHasher::new(Integrity::Crc32c, n as u64 * RUN_LEN);
        hasher.update(run, crc32c(run));
        fold.push(hasher.finish().unwrap()).unwrap();
    }
    fold
}

fn checksum(content: &[u8]) -> Checksum {
    Checksum::Crc32c(crc32c(content))
}

fn file_of(place: Place) -> std::sync::Arc<File> {
    let Place::File(file) = place else { panic!("a directory gives files") };
    file
}

/// Lands a whole file.
fn land(sink: &mut DirectorySink, id: u32, item: &Item, content: &[u8]) {
    let file = file_of(sink.open(ItemId(id), item).unwrap());
    file.write_all_at(content, 0).unwrap();
    sink.finish(ItemId(id), content.len() as u64).unwrap();
    sink.vouch(item, content.len() as u64, &checksum(content)).unwrap();
}

fn reopen(sink: &mut DirectorySink, id: u32, item: &Item) -> Option<Content> {
    sink.reopen(ItemId(id), item, Integrity::Crc32c).unwrap().map(|kept| kept.content)
}

fn complete(mut sink: DirectorySink) {
    sink.put(ItemId(99), &root(), b"").unwrap();
    sink.sync(&()).unwrap();
    sink.publish().unwrap();
}

/// A run that made `content` durable under `item`, and ended.
fn one_run(scratch: &Scratch, item: &Item, content: &[u8]) {
    let mut sink = scratch.again();
    land(&mut sink, 0, item, content);
    scratch.checkpoint(&mut sink, content.len() as u64);
}

#[test]
fn whole_files_and_the_beginnings_of_others_are_gone_on_with() {
    let scratch = Scratch::new();
    let (small, large) = (bytes(2 * MIB), bytes(20 * MIB));
    let (whole, part) = (item("deep/down/whole", 2 * MIB, 1), item("part", 20 * MIB, 1));
    let mut sink = scratch.again();
    land(&mut sink, 0, &whole, &small);
    let file = file_of(sink.open(ItemId(1), &part).unwrap());
    file.write_all_at(&large[..17 << 20], 0).unwrap();
    let prefix = fold(&large, RUN_LEN).prefix().unwrap();
    scratch.checkpoint_with(&mut sink, &[(ItemId(1), prefix.clone())], 18 * MIB);
    drop(sink);
    assert_eq!(scratch.names(), [".to.longhaul", ".to.longhaul.journal"], "the lock is free");

    let mut sink = scratch.again();
    assert!(sink.holds());
    assert_eq!(reopen(&mut sink, 0, &whole), Some(Content::Whole(checksum(&small))));
    sink.finish(ItemId(0), 2 * MIB).unwrap();
    let kept = sink.reopen(ItemId(1), &part, Integrity::Crc32c).unwrap().unwrap();
    assert_eq!(kept.content, Content::Part(Box::new(prefix)));
    file_of(kept.place).write_all_at(&large[16 << 20..], RUN_LEN).unwrap();
    sink.finish(ItemId(1), 20 * MIB).unwrap();
    complete(sink);
    assert!(fs::read(scratch.to().join("deep/down/whole")).unwrap() == small);
    assert!(fs::read(scratch.to().join("part")).unwrap() == large);
    assert_eq!(fs::metadata(scratch.to().join("part")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(scratch.names(), ["to"], "nothing is left beside it");
}

// Catalogue: B41
#[test]
fn what_changed_at_the_source_is_not_kept() {
    let content = bytes(3000);
    let before = item("file", 3000, 1);
    for (now, integrity, what) in [
        (item("file", 3000, 2), Integrity::Crc32c, "version"),
        (item("file", 3001, 1), Integrity::Crc32c, "size"),
        (item("other", 3000, 1), Integrity::Crc32c, "name"),
        (item("file", 3000, 1), Integrity::Blake3, "checksum of another kind"),
        (Item { version: Version::default(), ..item("file", 3000, 1) }, Integrity::Crc32c, "no version"),
    ] {
        let scratch = Scratch::new();
        one_run(&scratch, &before, &content);
        let mut sink = scratch.again();
        assert!(sink.reopen(ItemId(0), &now, integrity).unwrap().is_none(), "{what}");
        let fresh = bytes(now.as_wire().what.size().unwrap());
        land(&mut sink, 0, &now, &fresh);
        complete(sink);
        assert!(fs::read(scratch.to().join(now.name.to_string())).unwrap() == fresh, "{what}");
    }
}

// Catalogue: B67, B68
#[test]
fn a_staged_file_that_is_not_what_was_claimed_is_not_kept() {
    let content = bytes(3000);
    let file = item("file", 3000, 1);
    let meddlings: [Meddling; 7] = [
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("longer", |path| File::options().write(true).open(path).unwrap().set_len(3001).unwrap()),
        ("shorter", |path| File::options().write(true).open(path).unwrap().set_len(2999).unwrap()),
        ("another inode", |path| {
            let content = fs::read(path).unwrap();
            fs::rename(path, path.with_file_name("aside")).unwrap();
            fs::write(path, content).unwrap();
        }),
        ("a symbolic link", |path| {
            fs::rename(path, path.with_file_name("aside")).unwrap();
            symlink("aside", path).unwrap();
        }),
        ("a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("a second name", |path| fs::hard_link(path, path.with_file_name("aside")).unwrap()),
    ];
    for (what, meddle) in meddlings {
        let scratch = Scratch::new();
        one_run(&scratch, &file, &content);
        meddle(&scratch.staging().join("state/file"));
        fs::write(scratch.staging().join("state/foreign"), b"planted").unwrap();
        symlink("/etc", scratch.staging().join("state/link")).unwrap();
        fs::set_permissions(scratch.staging(), fs::Permissions::from_mode(0o777)).unwrap();
        let mut sink = scratch.again();
        assert_eq!(reopen(&mut sink, 0, &file), None, "{what}");
        let mode = fs::metadata(scratch.staging()).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o700, "staging is its owner's alone again");
        land(&mut sink, 0, &file, &content);
        complete(sink);
        let names: Vec<_> =
            fs::read_dir(scratch.to()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "{what}: nothing foreign is published");
        assert_eq!(scratch.names(), ["to"], "{what}");
    }
}

// Catalogue: B68
#[test]
fn who_trusts_nothing_reads_what_is_kept() {
    let content = bytes(3000);
    let file = item("file", 3000, 1);
    let paranoid = || DirectorySinkOptions { paranoid: true, ..DirectorySinkOptions::default() };
    let scratch = Scratch::new();
    one_run(&scratch, &file, &content);
    let mut sink = scratch.sink(paranoid());
    assert!(reopen(&mut sink, 0, &file).is_some(), "it is what it was");
    drop(sink);
    let kept = scratch.staging().join("state/file");
    File::options().write(true).open(kept).unwrap().write_all_at(b"x", 1234).unwrap();
    let mut sink = scratch.sink(paranoid());
    assert_eq!(reopen(&mut sink, 0, &file), None, "one byte differs");
    land(&mut sink, 0, &file, &content);
    complete(sink);
    assert!(fs::read(scratch.to().join("file")).unwrap() == content);
}

#[test]
fn an_item_that_turned_out_wrong_is_not_kept_again() {
    let content = bytes(3000);
    let file = item("file", 3000, 1);
    let scratch = Scratch::new();
    one_run(&scratch, &file, &content);
    let mut sink = scratch.again();
    assert!(reopen(&mut sink, 0, &file).is_some());
    sink.discard(ItemId(0)).unwrap();
    land(&mut sink, 1, &item("other", 3000, 1), &content);
    scratch.checkpoint(&mut sink, 3000);
    drop(sink);
    let mut sink = scratch.again();
    assert_eq!(reopen(&mut sink, 0, &file), None);
    assert!(reopen(&mut sink, 1, &item("other", 3000, 1)).is_some());
}

#[test]
fn what_comes_while_the_disk_is_at_it_counts_with_the_next_checkpoint() {
    let scratch = Scratch::new();
    let mut sink = scratch.again();
    land(&mut sink, 0, &item("before", 3000, 1), &bytes(3000));
    assert_eq!(sink.checkpoint(&[]).unwrap(), Checkpoint::Begun);
    land(&mut sink, 1, &item("behind", 2000, 1), &bytes(2000));
    let claimed = (0..LOOKS).find_map(|_| {
        std::thread::yield_now();
        match sink.checkpoint(&[]).unwrap() {
            Checkpoint::Claimed { more } => Some(more),
            _ => None,
        }
    });
    assert_eq!((claimed, scratch.claimed()), (Some(true), 3000));
    scratch.checkpoint(&mut sink, 5000);
}

// Catalogue: F56
#[test]
fn a_run_that_is_interrupted_again_and_again_comes_to_its_end() {
    let scratch = Scratch::new();
    let content = bytes(2000);
    for run in 0..100_u32 {
        let mut sink = scratch.again();
        for n in 0..run {
            let file = item(&format!("dir{}/{n}", n % 7), 2000, 1);
            assert!(reopen(&mut sink, n, &file).is_some(), "file {n} in run {run}");
            // Every other run ends with some of them moved to their places, and not marked again.
            if n % 2 == run % 2 {
                sink.finish(ItemId(n), 2000).unwrap();
                sink.vouch(&file, content.len() as u64, &checksum(&content)).unwrap();
            }
        }
        land(&mut sink, run, &item(&format!("dir{}/{run}", run % 7), 2000, 1), &content);
        let claimed = scratch.claimed();
        scratch.checkpoint(&mut sink, claimed + 2000);
    }
    let mut sink = scratch.again();
    for n in 0..100 {
        let file = item(&format!("dir{}/{n}", n % 7), 2000, 1);
        assert!(reopen(&mut sink, n, &file).is_some(), "file {n}");
        sink.finish(ItemId(n), 2000).unwrap();
    }
    complete(sink);
    assert_eq!(fs::read_dir(scratch.to().join("dir3")).unwrap().count(), 14);
    assert_eq!(scratch.names(), ["to"]);
}

#[test]
fn what_was_being_tried_out_when_a_process_ended_is_cleared_away() {
    let scratch = Scratch::new();
    let file = item("file", 3000, 1);
    one_run(&scratch, &file, &bytes(3000));
    for name in ["probe", "probe.renamed", "index"] {
        fs::write(scratch.staging().join(name), b"").unwrap();
    }
    fs::create_dir(scratch.staging().join("probe.directory")).unwrap();
    fs::create_dir(scratch.staging().join("links")).unwrap();
    let mut sink = scratch.again();
    assert!(reopen(&mut sink, 0, &file).is_some());
    sink.finish(ItemId(0), 3000).unwrap();
    complete(sink);
    assert_eq!(scratch.names(), ["to"]);
}

#[test]
fn a_state_that_is_one_file_goes_on_too() {
    let scratch = Scratch::new();
    let content = bytes(20 * MIB);
    let file = Item { name: Name::root(), ..item("x", 20 * MIB, 1) };
    let begin = || {
        let mut sink = DirectorySink::new(scratch.to(), DirectorySinkOptions::default()).unwrap();
        sink.begin(&survey(Shape::File)).unwrap();
        sink
    };
    let mut sink = begin();
    let place = file_of(sink.open(ItemId(0), &file).unwrap());
    place.write_all_at(&content[..16 << 20], 0).unwrap();
    let prefix = fold(&content, RUN_LEN).prefix().unwrap();
    scratch.checkpoint_with(&mut sink, &[(ItemId(0), prefix.clone())], RUN_LEN);
    drop(sink);
    let mut sink = begin();
    let kept = sink.reopen(ItemId(0), &file, Integrity::Crc32c).unwrap().unwrap();
    assert_eq!(kept.content, Content::Part(Box::new(prefix)));
    file_of(kept.place).write_all_at(&content[16 << 20..], RUN_LEN).unwrap();
    sink.finish(ItemId(0), 20 * MIB).unwrap();
    sink.sync(&()).unwrap();
    sink.publish().unwrap();
    assert!(fs::read(scratch.to()).unwrap() == content);
    assert_eq!(scratch.names(), ["to"]);
}

#[test]
fn hard_links_are_made_anew_beside_what_is_kept() {
    let scratch = Scratch::new();
    let content = bytes(3000);
    let mut first = item("first", 3000, 1);
    first.what = What::File { size: 3000, linked: true, sparse: false };
    let second = Item { what: What::HardLink { to: ItemId(0) }, ..item("second", 0, 1) };
    let mut sink = scratch.again();
    land(&mut sink, 0, &first, &content);
    sink.put(ItemId(1), &second, b"").unwrap();
    scratch.checkpoint(&mut sink, 3000);
    drop(sink);
    let mut sink = scratch.again();
    assert!(reopen(&mut sink, 0, &first).is_some());
    sink.finish(ItemId(0), 3000).unwrap();
    sink.put(ItemId(1), &second, b"").unwrap();
    complete(sink);
    let inode = |name| fs::metadata(scratch.to().join(name)).unwrap().ino();
    assert_eq!(inode("first"), inode("second"));
}

#[test]
fn without_resume_everything_begins_anew() {
    let scratch = Scratch::new();
    let content = bytes(3000);
    let file = item("file", 3000, 1);
    one_run(&scratch, &file, &content);
    let mut sink = scratch.sink(DirectorySinkOptions { resume: false, ..DirectorySinkOptions::default() });
    assert!(!sink.holds());
    assert_eq!(reopen(&mut sink, 0, &file), None);
    drop(sink);
    assert_eq!(scratch.names(), Vec::<String>::new());
}

// Catalogue: F97
#[test]
fn the_journal_of_a_later_version_is_left_alone() {
    let scratch = Scratch::new();
    one_run(&scratch, &item("file", 3000, 1), &bytes(3000));
    let mut journal = fs::read(scratch.journal()).unwrap();
    journal[8] = 9;
    let crc = crc32c(&journal[..20]);
    journal[20..24].copy_from_slice(&crc.to_le_bytes());
    fs::write(scratch.journal(), &journal).unwrap();
    let mut sink = DirectorySink::new(scratch.to(), DirectorySinkOptions::default()).unwrap();
    let error = sink.begin(&survey(Shape::Directory)).unwrap_err();
    assert!(matches!(error.kind, SinkErrorKind::Journal(_)), "{error}");
    assert!(error.to_string().contains("version 9"), "{error}");
    drop(sink);
    assert!(fs::read(scratch.journal()).unwrap() == journal);
    assert!(scratch.staging().join("state/file").exists());
}

// Catalogue: B70
#[test]
fn whatever_else_bears_the_name_of_lock_or_journal_is_refused() {
    let plants: [Meddling; 3] = [
        ("a symbolic link", |path| symlink("elsewhere", path).unwrap()),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a FIFO", |path| {
            let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
            assert!(made.success());
        }),
    ];
    for name in [".to.longhaul.lock", ".to.longhaul.journal"] {
        for (what, plant) in plants {
            let scratch = Scratch::new();
            plant(&scratch.path().join(name));
            let mut sink = DirectorySink::new(scratch.to(), DirectorySinkOptions::default()).unwrap();
            assert!(sink.begin(&survey(Shape::Directory)).is_err(), "{name} is {what}");
            drop(sink);
            assert!(fs::symlink_metadata(scratch.path().join(name)).is_ok(), "{name} is {what}, and stays");
            assert!(!scratch.path().join("elsewhere").exists());
            // Looking at it neither follows nor waits.
            fs::create_dir(scratch.staging()).unwrap();
            let looked = Staging::of(&scratch.to()).map(|staging| staging.unwrap().journal);
            assert!(looked.is_err() || looked.unwrap().is_err(), "{name} is {what}");
        }
    }
}

#[test]
fn staging_is_found_told_and_given_up() {
    let scratch = Scratch::new();
    assert!(Staging::list(scratch.path()).unwrap().is_empty());
    assert!(Staging::of(&scratch.to()).unwrap().is_none());
    assert!(!Staging::discard(&scratch.to()).unwrap());
    let mut sink = scratch.again();
    land(&mut sink, 0, &item("file", 3000, 1), &bytes(3000));
    scratch.checkpoint(&mut sink, 3000);
    let found = Staging::list(scratch.path()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].destination, fs::canonicalize(scratch.path()).unwrap().join("to"));
    assert!(found[0].held.as_ref().unwrap().contains(&std::process::id().to_string()));
    let error = Staging::discard(&scratch.to()).unwrap_err();
    assert!(matches!(error.kind, SinkErrorKind::Held(_)), "{error}");
    drop(sink);
    let found = Staging::of(&scratch.staging()).unwrap().unwrap();
    let (journal, claimed) = found.journal.unwrap().unwrap();
    assert_eq!((claimed.files, claimed.bytes, journal.run, found.held), (1, 3000, 1, None));
    assert!(Staging::discard(&scratch.to()).unwrap());
    assert_eq!(scratch.names(), Vec::<String>::new());
}
