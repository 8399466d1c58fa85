//! The order of durability, told by an executor that only writes down what it is asked for.

use std::io;

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, RUN_LEN, Root, RunHasher};
use longhaul_core::item::Version;

use super::journal::{Agreed, Claim, Claimed, Content, Loaded, Ready};
use super::*;
use crate::item::{Item, Name, What};
use crate::sink::{SinkError, SinkErrorKind};
use crate::source::{Shape, Survey};

/// Where to fail, and how.
type Failure = (&'static str, fn() -> OpError);

/// Writes operations down; the one at which it is told to fail fails, once.
struct Recorder {
    log: Vec<String>,
    fail: Option<Failure>,
    destination: Destination,
    space: Space,
    probed: Probed,
    /// What an earlier run claims of whatever is looked for.
    claim: Option<Claim>,
    /// What it was about to publish, and which inodes stand at the destination and in staging.
    ready: Option<Ready>,
    identities: (Option<u64>, Option<u64>),
    /// Whether what is claimed is there.
    adopts: bool,
    /// Files to be read back.
    to_read: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            log: Vec::new(),
            fail: None,
            destination: Destination::Absent,
            space: Space {
                free_bytes: Some(1 << 40),
                free_inodes: None,
                longest_name: Some(255),
                syncs_tree: true,
                caveat: None,
            },
            probed: Probed { no_replace: true, exchange: true },
            claim: None,
            ready: None,
            identities: (None, None),
            adopts: true,
            to_read: 0,
        }
    }
}

impl Executor for Recorder {
    fn execute(&mut self, op: &FileOp, _payload: &[u8]) -> Result<OpReply, OpError> {
        let line = format!("{op:?}");
        let kind = line.split([' ', '{']).next().unwrap();
        let entry = match op {
            FileOp::Publish { how } => format!("Publish {how:?}"),
            FileOp::RemoveStaging { leftover } => format!("RemoveStaging {leftover:?}"),
            _ if op.name().is_root() => kind.to_owned(),
            _ => format!("{kind} {}", op.name()),
        };
        let failing = self.fail.take_if(|(at, _)| entry.starts_with(*at));
        self.log.push(entry);
        if let Some((_, error)) = failing {
            return Err(error());
        }
        Ok(match op {
            FileOp::Inspect => OpReply::Destination(self.destination),
            FileOp::MeasureSpace => OpReply::Space(self.space),
            FileOp::Probe => OpReply::Probed(self.probed),
            FileOp::LoadJournal => {
                let loaded = Loaded { run: 1, ready: self.ready, ..Loaded::default() };
                OpReply::Journal(self.claim.as_ref().map(|_| Box::new(loaded)))
            }
            FileOp::KeepStaged { .. } => OpReply::Claimed(Claimed { files: 1, bytes: 10 }),
            FileOp::Find { .. } => OpReply::Claim(self.claim.clone().map(Box::new)),
            FileOp::Adopt { .. } => OpReply::Found(self.adopts),
            FileOp::ReadBack { from } => {
                let at = from.unwrap_or(0);
                OpReply::ReadBack { next: (at < self.to_read).then_some(at + 1) }
            }
            FileOp::FindJournal | FileOp::PollSync => OpReply::Found(true),
            FileOp::Identify => {
                let (destination, staged) = self.identities;
                OpReply::Identities { destination, staged, is_directory: true }
            }
            FileOp::StartSync => OpReply::Covers(77),
            FileOp::CreateFile { .. } | FileOp::FinishFile { .. } | FileOp::PutFile { .. } => {
                OpReply::Inode(5)
            }
            _ => OpReply::Done,
        })
    }
}

impl Recorder {
    fn failing(at: &'static str, error: fn() -> OpError) -> Self {
        Self { fail: Some((at, error)), ..Self::default() }
    }

    fn position(&self, entry: &str) -> usize {
        self.log
            .iter()
            .position(|line| line.starts_with(entry))
            .unwrap_or_else(|| panic!("no {entry}: {:?}", self.log))
    }

    fn did(&self, entry: &str) -> bool {
        self.log.iter().any(|line| line.starts_with(entry))
    }
}

fn eio() -> OpError {
    OpError::Io(io::Error::from_raw_os_error(5))
}

fn kind(kind: io::ErrorKind) -> OpError {
    OpError::Io(kind.into())
}

fn item(name: &str, what: What) -> Item {
    Item { name: Name::new(name.as_bytes()).unwrap(), what, ..Item::stream() }
}

fn file(name: &str) -> Item {
    item(name, What::File { size: 1, linked: false, sparse: false })
}

fn large() -> Survey {
    Survey { bytes: Some(2 << 20), allocated: 2 << 20, items: 3, ..Survey::default() }
}

fn replacing() -> LandingOptions {
    LandingOptions { replace: true, ..LandingOptions::default() }
}

/// One request, carried out.
fn ask(
    landing: &mut Landing,
    recorder: &mut Recorder,
    request: impl FnOnce(&mut Landing),
) -> Result<(), SinkError> {
    request(landing);
    run(landing, recorder, &[], &mut || true)
}

/// A whole landing of `files` files in one directory.
fn land(
    options: LandingOptions,
    recorder: &mut Recorder,
    survey: Survey,
    files: u32,
) -> Result<Landing, SinkError> {
    let mut landing = Landing::new(options);
    let result = (|| {
        ask(&mut landing, recorder, |landing| landing.begin(&survey))?;
        for id in 0..files {
            ask(&mut landing, recorder, |landing| landing.put(ItemId(id), &file(&format!("d/f{id}"))))?;
        }
        ask(&mut landing, recorder, |landing| landing.put(ItemId(files), &item("d", What::Directory)))?;
        ask(&mut landing, recorder, |landing| landing.put(ItemId(files + 1), &item("", What::Directory)))?;
        ask(&mut landing, recorder, Landing::sync)?;
        ask(&mut landing, recorder, Landing::publish)?;
        ask(&mut landing, recorder, Landing::clean_up)
    })();
    if let Err(error) = result {
        let state = landing.state();
        ask(&mut landing, recorder, Landing::abort).unwrap();
        assert_ne!(state, LandingState::Published);
        return Err(error);
    }
    Ok(landing)
}

#[test]
fn a_landing_is_staged_synced_renamed_and_synced_again_in_this_order() {
    let mut recorder = Recorder::default();
    let landing = land(LandingOptions::default(), &mut recorder, large(), 1).unwrap();
    assert_eq!(landing.state(), LandingState::Published);
    assert_eq!(
        recorder.log.join("\n"),
        "Inspect\nMeasureSpace\nLock\nSweep\nMakeStaging\nSyncParent\nMakeStagedRoot\nProbe\n\
         PutFile d/f0\nFinishDirectory d\nFinishDirectory\n\
         SyncFile d/f0\nSyncDirectory d\nSyncDirectory\nSyncStaging\n\
         Publish NoReplace\nSyncParent\nRemoveStaging Nothing\nUnlock\nSyncParent"
    );
}

#[test]
fn many_files_are_covered_by_one_sync_of_the_tree() {
    let mut recorder = Recorder::default();
    land(LandingOptions::default(), &mut recorder, large(), 100).unwrap();
    assert!(!recorder.did("SyncFile"));
    assert!(recorder.position("SyncTree") > recorder.position("FinishDirectory d"));
    assert!(recorder.position("SyncTree") < recorder.position("Publish"));
}

#[test]
fn where_no_sync_covers_the_tree_each_file_is_synced_when_it_is_finished() {
    let mut landing = Landing::new(LandingOptions::default());
    let mut recorder = Recorder::default();
    recorder.space.syncs_tree = false;
    ask(&mut landing, &mut recorder, |landing| landing.begin(&large())).unwrap();
    landing.put(ItemId(0), &file("f"));
    let (_, op) = landing.poll_op().unwrap();
    assert!(matches!(op, FileOp::PutFile { sync: true, .. }), "{op:?}");
}

#[test]
fn a_small_state_is_landed_without_a_probe() {
    let mut recorder = Recorder::default();
    let survey = Survey { bytes: Some(1024), ..Survey::default() };
    land(LandingOptions::default(), &mut recorder, survey, 1).unwrap();
    assert!(!recorder.did("Probe"));
    assert!(recorder.position("SyncParent") > recorder.position("Publish"));
}

// Catalogue: F23
#[test]
fn any_failed_sync_is_final_and_nothing_is_published() {
    for at in ["SyncFile", "SyncDirectory d", "SyncStaging"] {
        let mut recorder = Recorder::failing(at, eio);
        let mut landing = Landing::new(LandingOptions::default());
        ask(&mut landing, &mut recorder, |landing| landing.begin(&large())).unwrap();
        ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(0), &file("d/f"))).unwrap();
        ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(1), &item("d", What::Directory)))
            .unwrap();
        ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(2), &item("", What::Directory)))
            .unwrap();
        let requests: [fn(&mut Landing); 3] = [Landing::sync, Landing::sync, Landing::publish];
        for request in requests {
            let error = ask(&mut landing, &mut recorder, request).unwrap_err();
            // Staging itself has no second inode.
            assert_eq!(error.lost_data(), at != "SyncStaging", "{at}: {error}");
        }
        assert!(!recorder.did("Publish"));
        assert_eq!(landing.state(), LandingState::Failed);
    }
}

#[test]
fn a_file_that_its_mode_keeps_shut_is_covered_by_a_sync_of_the_tree() {
    let mut recorder = Recorder::failing("SyncFile", || kind(io::ErrorKind::PermissionDenied));
    land(LandingOptions::default(), &mut recorder, large(), 1).unwrap();
    assert!(recorder.position("SyncTree") < recorder.position("SyncStaging"));
}

// Catalogue: B40, F92
#[test]
fn too_little_room_is_refused_with_both_numbers_before_anything_is_made() {
    let mut recorder = Recorder::default();
    recorder.space.free_bytes = Some(2 << 20);
    let error = land(LandingOptions::default(), &mut recorder, large(), 0).unwrap_err();
    let need = (2 << 20) + (2 << 20) / 100;
    assert!(
        matches!(error.kind, SinkErrorKind::NoSpace { need: Some(n), have: Some(h) } if (n, h) == (need, 2 << 20)),
        "{error}"
    );
    recorder.space = Space { free_bytes: None, free_inodes: Some(2), ..recorder.space };
    let error = land(LandingOptions::default(), &mut recorder, large(), 0).unwrap_err();
    assert!(matches!(error.kind, SinkErrorKind::NoInodes { need: 3, have: 2 }), "{error}");
    assert!(!recorder.did("Lock"));
}

// Catalogue: F41
#[test]
fn a_name_that_is_too_long_is_refused_with_both_numbers_before_anything_of_the_state_is_made() {
    let survey = Survey { longest_name: 144, ..large() };
    for resume in [false, true] {
        let options = LandingOptions { resume, ..LandingOptions::default() };
        let mut recorder = Recorder::default();
        recorder.space.longest_name = Some(144);
        land(options, &mut recorder, survey, 1).unwrap();
        let mut recorder = Recorder::default();
        recorder.space.longest_name = Some(143);
        let error = land(options, &mut recorder, survey, 1).unwrap_err();
        let both = SinkErrorKind::NameTooLong { need: Some(144), have: Some(143) };
        assert_eq!(error.to_string(), SinkError::whole(both).to_string());
        // With a journal it is known only under its lock what is needed still.
        assert!(!recorder.did("MakeStagedRoot") && recorder.did("Lock") == resume, "{:?}", recorder.log);
    }
}

// Catalogue: F41
#[test]
fn a_destination_whose_own_names_are_too_long_is_refused_before_anybody_is_dialled() {
    let destination = Destination::NameTooLong { need: 150, have: 143 };
    let mut recorder = Recorder { destination, ..Recorder::default() };
    let error =
        ask(&mut Landing::new(replacing()), &mut recorder, Landing::preflight).unwrap_err().to_string();
    assert!(error.contains("150") && error.contains("143"), "{error}");
}

// Catalogue: F41
#[test]
fn a_name_too_long_that_was_not_announced_fails_when_its_item_is_made() {
    let mut recorder = Recorder::default();
    let mut landing = Landing::new(LandingOptions::default());
    ask(&mut landing, &mut recorder, |landing| landing.begin(&large())).unwrap();
    for (id, at, what) in [(0, "PutFile", file("long")), (1, "FinishDirectory", item("d", What::Directory))] {
        recorder.fail = Some((at, || kind(io::ErrorKind::InvalidFilename)));
        let error = ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(id), &what)).unwrap_err();
        assert!(matches!(error.kind, SinkErrorKind::NameTooLong { need: None, have: None }), "{error}");
        assert_eq!(error.item, what.name);
    }
}

// Catalogue: F36
#[test]
fn how_a_state_takes_its_place_follows_from_what_is_there() {
    let old = Destination::Directory(7);
    let flagless = Probed { no_replace: false, exchange: false };
    let flags = Probed { no_replace: true, exchange: true };
    for (destination, probed, how, leftover) in [
        (Destination::Absent, flags, "NoReplace", "Nothing"),
        (Destination::Absent, flagless, "Claim", "Nothing"),
        (Destination::EmptyDirectory, flags, "OverEmpty", "Nothing"),
        (old, flags, "Exchange", "Old(7)"),
    ] {
        let mut recorder = Recorder { destination, probed, ..Recorder::default() };
        land(replacing(), &mut recorder, large(), 1).unwrap();
        assert!(recorder.did(&format!("Publish {how}")), "{destination:?}: {:?}", recorder.log);
        // The old state goes only once the new one is durable in its place.
        let (removed, published) = (recorder.position("RemoveStaging"), recorder.position("Publish"));
        assert_eq!(recorder.log[removed], format!("RemoveStaging {leftover}"));
        assert!(recorder.log[published..removed].contains(&"SyncParent".to_owned()));
    }
    let mut recorder = Recorder { destination: old, probed: flagless, ..Recorder::default() };
    let error = land(replacing(), &mut recorder, large(), 1).unwrap_err();
    assert!(matches!(error.kind, SinkErrorKind::NoAtomicRename(_)), "{error}");
}

// Catalogue: F36
#[test]
fn a_rename_without_the_flag_is_found_out_even_without_a_probe() {
    let mut recorder = Recorder::failing("Publish NoReplace", || kind(io::ErrorKind::Unsupported));
    land(LandingOptions::default(), &mut recorder, Survey { bytes: Some(1), ..Survey::default() }, 1)
        .unwrap();
    assert!(recorder.did("Publish Claim"));
}

#[test]
fn a_destination_of_another_shape_is_refused_even_with_replace() {
    let file_state = Survey { shape: Shape::File, ..large() };
    for (destination, survey) in [
        (Destination::File, large()),
        (Destination::Directory(7), file_state),
        (Destination::EmptyDirectory, file_state),
        (Destination::Other("a device"), large()),
    ] {
        let mut recorder = Recorder { destination, ..Recorder::default() };
        let error = land(replacing(), &mut recorder, survey, 0).unwrap_err();
        assert!(matches!(error.kind, SinkErrorKind::OtherShape(_)), "{destination:?}: {error}");
    }
}

// Catalogue: F35
#[test]
fn a_failed_rename_keeps_the_old_state_and_staging_is_removed() {
    let mut recorder = Recorder::failing("Publish", eio);
    recorder.destination = Destination::Directory(7);
    assert!(land(replacing(), &mut recorder, large(), 1).is_err());
    assert!(recorder.did("RemoveStaging Staged") && !recorder.did("RemoveStaging Old"));
}

// Catalogue: F24
#[test]
fn a_rename_whose_durability_is_in_doubt_is_left_as_it_is() {
    let mut recorder = Recorder { destination: Destination::Directory(7), ..Recorder::default() };
    let mut landing = Landing::new(replacing());
    let survey = Survey { bytes: Some(1), ..Survey::default() };
    ask(&mut landing, &mut recorder, |landing| landing.begin(&survey)).unwrap();
    ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(0), &item("", What::Directory))).unwrap();
    ask(&mut landing, &mut recorder, Landing::sync).unwrap();
    recorder.fail = Some(("SyncParent", eio));
    let error = ask(&mut landing, &mut recorder, Landing::publish).unwrap_err();
    assert!(matches!(error.kind, SinkErrorKind::InDoubt(_)) && !error.lost_data(), "{error}");
    assert_eq!(landing.state(), LandingState::InDoubt);
    ask(&mut landing, &mut recorder, Landing::abort).unwrap();
    assert!(!recorder.did("RemoveStaging"));
}

#[test]
fn missing_parents_are_made_once_and_an_item_that_fails_can_come_again() {
    let mut recorder = Recorder::default();
    let mut landing = Landing::new(LandingOptions::default());
    ask(&mut landing, &mut recorder, |landing| landing.begin(&large())).unwrap();
    recorder.fail = Some(("PutFile", || kind(io::ErrorKind::NotFound)));
    ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(0), &file("a/b/f"))).unwrap();
    assert!(
        recorder.log.ends_with(&["PutFile a/b/f", "MakeParents a/b/f", "PutFile a/b/f"].map(String::from))
    );
    recorder.fail = Some(("CreateFile", eio));
    assert!(ask(&mut landing, &mut recorder, |landing| landing.open(ItemId(1), &file("g"))).is_err());
    ask(&mut landing, &mut recorder, |landing| landing.open(ItemId(1), &file("g"))).unwrap();
    // A full disk found out by the reservation leaves no file behind.
    let big = item("big", What::File { size: 2 << 20, linked: false, sparse: false });
    recorder.fail = Some(("Reserve", || kind(io::ErrorKind::StorageFull)));
    let error = ask(&mut landing, &mut recorder, |landing| landing.open(ItemId(2), &big)).unwrap_err();
    assert!(matches!(error.kind, SinkErrorKind::NoSpace { .. }), "{error}");
    assert_eq!(error.item.as_bytes(), b"big");
    assert!(recorder.did("RemoveFile big"));
}

#[test]
fn an_incomplete_state_is_not_published() {
    let mut recorder = Recorder::default();
    let mut landing = Landing::new(LandingOptions::default());
    ask(&mut landing, &mut recorder, |landing| landing.begin(&large())).unwrap();
    ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(0), &file("f"))).unwrap();
    assert!(ask(&mut landing, &mut recorder, Landing::publish).is_err());
    ask(&mut landing, &mut recorder, Landing::sync).unwrap();
    assert!(ask(&mut landing, &mut recorder, Landing::publish).is_err());
    assert!(!recorder.did("Publish"));
}

#[test]
fn a_root_without_the_right_to_write_gets_its_mode_once_it_is_moved() {
    let mut recorder = Recorder::default();
    let mut landing = Landing::new(LandingOptions::default());
    ask(&mut landing, &mut recorder, |landing| landing.begin(&large())).unwrap();
    let root = Item { mode: 0o500, ..item("", What::Directory) };
    ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(0), &root)).unwrap();
    ask(&mut landing, &mut recorder, Landing::sync).unwrap();
    ask(&mut landing, &mut recorder, Landing::publish).unwrap();
    assert!(recorder.log.ends_with(&["Publish NoReplace", "SettleRoot", "SyncParent"].map(String::from)));
}

#[test]
fn a_root_that_was_exchanged_gets_its_time_again() {
    let mut recorder = Recorder { destination: Destination::Directory(9), ..Recorder::default() };
    let mut landing = Landing::new(LandingOptions { replace: true, ..LandingOptions::default() });
    ask(&mut landing, &mut recorder, |landing| landing.begin(&large())).unwrap();
    let root = item("", What::Directory);
    ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(0), &root)).unwrap();
    ask(&mut landing, &mut recorder, Landing::sync).unwrap();
    ask(&mut landing, &mut recorder, Landing::publish).unwrap();
    assert!(recorder.log.ends_with(&["Publish Exchange", "SettleRoot", "SyncParent"].map(String::from)));
}

// Catalogue: B29, B30
#[test]
fn a_name_that_the_file_system_takes_for_another_is_taken() {
    let mut recorder = Recorder::default();
    let mut landing = Landing::new(LandingOptions::default());
    ask(&mut landing, &mut recorder, |landing| landing.begin(&large())).unwrap();
    for (id, at, one, other) in [(0, "PutFile", "A", "a"), (2, "CreateFile", "\u{e9}", "e\u{301}")] {
        let put = |landing: &mut Landing, id, name| match at {
            "PutFile" => landing.put(ItemId(id), &file(name)),
            _ => landing.open(ItemId(id), &file(name)),
        };
        ask(&mut landing, &mut recorder, |landing| put(landing, id, one)).unwrap();
        // Files are made as new ones only: that is how such a file system says it.
        recorder.fail = Some((at, || kind(io::ErrorKind::AlreadyExists)));
        let error = ask(&mut landing, &mut recorder, |landing| put(landing, id + 1, other)).unwrap_err();
        assert!(matches!(error.kind, SinkErrorKind::NameTaken), "{error}");
        assert_eq!(error.item.as_bytes(), other.as_bytes());
    }
}

/// A landing of a state that is worth a journal, begun.
fn journaled(recorder: &mut Recorder) -> Landing {
    let mut landing = Landing::new(LandingOptions { resume: true, ..LandingOptions::default() });
    let survey = Survey { shape: Shape::Directory, bytes: Some(2 * SMALL_STATE), ..Survey::default() };
    ask(&mut landing, recorder, |landing| landing.begin(&survey)).unwrap();
    landing
}

fn versioned() -> Item {
    let what = What::File { size: 10, linked: false, sparse: false };
    Item { version: Version::new(&[1]).unwrap(), ..item("f", what) }
}

fn claim() -> Claim {
    let content = Content::Whole(Checksum::Crc32c(1));
    Claim { name: versioned().name, size: 10, version: versioned().version, inode: 5, run: 1, content }
}

#[test]
fn what_was_taken_over_is_forgotten_durably_before_it_is_removed() {
    let mut recorder = Recorder { claim: Some(claim()), ..Recorder::default() };
    let mut landing = journaled(&mut recorder);
    ask(&mut landing, &mut recorder, |landing| {
        landing.reopen(ItemId(0), &versioned(), Integrity::Crc32c);
    })
    .unwrap();
    assert!(landing.adopted().is_some());
    ask(&mut landing, &mut recorder, |landing| landing.discard(ItemId(0))).unwrap();
    // Else the inode might be another file's while the claim still stands.
    assert!(recorder.position("Forget f") < recorder.position("RemoveFile f"), "{:?}", recorder.log);
}

#[test]
fn what_is_claimed_and_is_not_there_is_forgotten_before_another_file_is_made() {
    let mut recorder = Recorder { claim: Some(claim()), adopts: false, ..Recorder::default() };
    let mut landing = journaled(&mut recorder);
    ask(&mut landing, &mut recorder, |landing| {
        landing.reopen(ItemId(0), &versioned(), Integrity::Crc32c);
    })
    .unwrap();
    assert!(landing.adopted().is_none());
    ask(&mut landing, &mut recorder, |landing| landing.open(ItemId(0), &versioned())).unwrap();
    assert!(recorder.position("Adopt f") < recorder.position("Forget f"), "{:?}", recorder.log);
    assert!(recorder.position("Forget f") < recorder.position("CreateFile f"), "{:?}", recorder.log);
}

#[test]
fn a_claimed_file_that_is_removed_for_its_links_is_forgotten_first() {
    let mut recorder = Recorder { claim: Some(claim()), ..Recorder::default() };
    let mut landing = journaled(&mut recorder);
    let linked = Item { what: What::File { size: 10, linked: true, sparse: false }, ..versioned() };
    ask(&mut landing, &mut recorder, |landing| landing.reopen(ItemId(0), &linked, Integrity::Crc32c))
        .unwrap();
    assert!(landing.adopted().is_some());
    recorder.fail = Some(("KeepLink", eio));
    assert!(ask(&mut landing, &mut recorder, |landing| landing.finish(ItemId(0), 10)).is_err());
    assert!(recorder.position("Forget f") < recorder.position("RemoveFile f"), "{:?}", recorder.log);
}

/// A landing with an open file of which a part is claimed, and counts.
fn partly_claimed(recorder: &mut Recorder) -> Landing {
    let mut landing = journaled(recorder);
    let what = What::File { size: 2 * RUN_LEN, linked: false, sparse: false };
    ask(&mut landing, recorder, |landing| landing.open(ItemId(0), &Item { what, ..versioned() })).unwrap();
    let mut fold = ItemFold::new(Integrity::Crc32c);
    let mut run = RunHasher::new(Integrity::Crc32c, 0);
    let zeros = vec![0; usize::try_from(RUN_LEN).unwrap()];
    run.update(&zeros, longhaul_core::integrity::crc32c(&zeros));
    fold.push(run.finish().unwrap()).unwrap();
    let parts = [(ItemId(0), fold.prefix().unwrap())];
    ask(&mut landing, recorder, |landing| landing.checkpoint(&parts)).unwrap();
    ask(&mut landing, recorder, |landing| landing.checkpoint(&[])).unwrap();
    assert!(recorder.did("Record") && recorder.did("Mark"));
    landing
}

// Catalogue: F22
#[test]
fn a_file_with_a_failed_write_is_not_gone_on_with() {
    let mut recorder = Recorder::default();
    let mut landing = partly_claimed(&mut recorder);
    ask(&mut landing, &mut recorder, |landing| landing.doubt(ItemId(0))).unwrap();
    assert!(recorder.did("Forget f"));
}

// Catalogue: F23
#[test]
fn no_part_of_a_file_is_gone_on_with_that_was_written_when_a_sync_failed() {
    for at in ["StartSync", "PollSync"] {
        let mut recorder = Recorder::default();
        let mut landing = partly_claimed(&mut recorder);
        recorder.fail = Some((at, eio));
        let checkpoints = [Landing::checkpoint; 2];
        let failed = checkpoints
            .iter()
            .any(|checkpoint| ask(&mut landing, &mut recorder, |landing| checkpoint(landing, &[])).is_err());
        assert!(failed && recorder.did("Forget f"), "{at}: {:?}", recorder.log);
        landing.abort();
        run(&mut landing, &mut recorder, b"", &mut || true).unwrap();
        assert!(recorder.did("LeaveStaging"), "{at}: {:?}", recorder.log);
    }
}

// Catalogue: F23
#[test]
fn a_file_that_is_durable_as_a_whole_is_gone_on_with_whatever_fails_later() {
    let mut recorder = Recorder::default();
    let mut landing = partly_claimed(&mut recorder);
    let what = What::File { size: 2 * RUN_LEN, linked: false, sparse: false };
    ask(&mut landing, &mut recorder, |landing| landing.finish(ItemId(0), 2 * RUN_LEN)).unwrap();
    let whole = Item { what, ..versioned() };
    ask(&mut landing, &mut recorder, |landing| landing.claim(&whole, 2 * RUN_LEN, &Checksum::Crc32c(1)))
        .unwrap();
    for _ in 0..2 {
        ask(&mut landing, &mut recorder, |landing| landing.checkpoint(&[])).unwrap();
    }
    recorder.fail = Some(("StartSync", eio));
    assert!(ask(&mut landing, &mut recorder, |landing| landing.checkpoint(&[])).is_err());
    assert!(!recorder.did("Forget"), "{:?}", recorder.log);
}

/// A landing that reads back what it has written, with one file and all that it needs.
fn reading_back(recorder: &mut Recorder) -> Landing {
    let options = LandingOptions { verify_after: true, resume: true, ..LandingOptions::default() };
    let mut landing = Landing::new(options);
    let survey = Survey { bytes: Some(10), items: 2, ..Survey::default() };
    ask(&mut landing, recorder, |landing| landing.begin(&survey)).unwrap();
    // Even what no later run could compare.
    let file = Item { version: Version::default(), ..versioned() };
    ask(&mut landing, recorder, |landing| landing.put(ItemId(0), &file)).unwrap();
    ask(&mut landing, recorder, |landing| landing.claim(&file, 10, &Checksum::Crc32c(1))).unwrap();
    ask(&mut landing, recorder, |landing| landing.put(ItemId(1), &item("", What::Directory))).unwrap();
    landing
}

#[test]
fn what_came_is_read_back_when_it_is_durable_and_before_it_is_published() {
    let mut recorder = Recorder { to_read: 3, ..Recorder::default() };
    let mut landing = reading_back(&mut recorder);
    assert!(recorder.did("Record"));
    ask(&mut landing, &mut recorder, Landing::sync).unwrap();
    assert_eq!(recorder.log.iter().filter(|line| line.starts_with("ReadBack")).count(), 4);
    assert!(recorder.position("SyncStaging") < recorder.position("ReadBack"));
    assert_eq!(landing.state(), LandingState::Durable);
}

// Catalogue: F26, F31
#[test]
fn what_has_rotted_is_named_forgotten_and_never_published() {
    let rotten: [fn() -> OpError; 2] = [
        || OpError::Rotten(versioned().name, Rotten::Differs),
        || OpError::Rotten(versioned().name, Rotten::Unreadable(4096, io::Error::from_raw_os_error(5))),
    ];
    for (rotten, offset) in rotten.into_iter().zip([None, Some(4096)]) {
        let mut recorder = Recorder::default();
        let mut landing = reading_back(&mut recorder);
        recorder.fail = Some(("ReadBack", rotten));
        let error = ask(&mut landing, &mut recorder, Landing::sync).unwrap_err();
        assert_eq!((error.item.as_bytes(), error.offset), (&b"f"[..], offset), "{error}");
        assert!(error.lost_data(), "{error}");
        assert!(recorder.did("Forget"), "{:?}", recorder.log);
        assert!(ask(&mut landing, &mut recorder, Landing::publish).is_err());
        assert!(!recorder.did("Publish"));
    }
}

#[test]
fn a_mark_covers_what_was_claimed_before_its_sync_began() {
    let mut recorder = Recorder::default();
    let mut landing = journaled(&mut recorder);
    assert!(recorder.position("BeginRun") < recorder.position("MakeStagedRoot"));
    ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(0), &versioned())).unwrap();
    ask(&mut landing, &mut recorder, |landing| landing.claim(&versioned(), 10, &Checksum::Crc32c(1)))
        .unwrap();
    ask(&mut landing, &mut recorder, |landing| landing.checkpoint(&[])).unwrap();
    assert!(recorder.position("PutFile f") < recorder.position("Record"));
    assert!(recorder.position("Record") < recorder.position("StartSync"));
    assert!(landing.has_unmarked() && !recorder.did("Mark"), "nothing counts before the sync is over");
    ask(&mut landing, &mut recorder, |landing| landing.checkpoint(&[])).unwrap();
    assert!(recorder.position("PollSync") < recorder.position("Mark"));
    assert!(!landing.has_unmarked());
}

#[test]
fn what_is_about_to_be_published_is_noted_when_it_is_durable_and_before_it_is_renamed() {
    let mut recorder = Recorder::default();
    let mut landing = journaled(&mut recorder);
    ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(0), &versioned())).unwrap();
    ask(&mut landing, &mut recorder, |landing| landing.put(ItemId(1), &item("", What::Directory))).unwrap();
    ask(&mut landing, &mut recorder, Landing::sync).unwrap();
    let root = Root { integrity: Integrity::Crc32c, hash: [0; 32] };
    landing.agreed(Agreed { items: 2, bytes: 10, root });
    ask(&mut landing, &mut recorder, Landing::publish).unwrap();
    ask(&mut landing, &mut recorder, Landing::clean_up).unwrap();
    let order = [
        "SyncStaging",
        "Mark",
        "RecordReady",
        "Publish",
        "SyncParent",
        "RemoveStaging",
        "RemoveJournal",
        "Unlock",
    ];
    let last = |entry: &str| recorder.log.iter().rposition(|line| line.starts_with(entry)).unwrap();
    let places: Vec<usize> = order.iter().map(|entry| last(entry)).collect();
    // (The parent is synced once more at the very end.)
    let at = |entry: &str| places[order.iter().position(|one| *one == entry).unwrap()];
    assert!(at("SyncStaging") < at("Mark") && at("Mark") < at("RecordReady"), "{:?}", recorder.log);
    assert!(at("RecordReady") < at("Publish") && at("Publish") < at("RemoveStaging"), "{:?}", recorder.log);
    assert!(
        at("RemoveStaging") < at("RemoveJournal") && at("RemoveJournal") < at("Unlock"),
        "{:?}",
        recorder.log
    );
}

#[test]
fn what_a_journal_claims_stays_when_a_landing_is_given_up() {
    for claims in [false, true] {
        let mut recorder = Recorder { claim: claims.then(claim), ..Recorder::default() };
        let mut landing = journaled(&mut recorder);
        landing.abort();
        assert!(run(&mut landing, &mut recorder, b"", &mut || true).is_ok());
        assert_eq!((recorder.did("LeaveStaging"), recorder.did("RemoveStaging")), (claims, !claims));
        assert_eq!(recorder.did("RemoveJournal"), !claims);
    }
}

#[test]
fn what_an_earlier_run_left_stays_when_it_can_not_be_taken_over_now() {
    for at in ["KeepStaged", "BeginRun", "MeasureSpace", "MakeStagedRoot"] {
        let mut recorder = Recorder { claim: Some(claim()), ..Recorder::failing(at, eio) };
        let mut landing = Landing::new(LandingOptions { resume: true, ..LandingOptions::default() });
        assert!(ask(&mut landing, &mut recorder, |landing| landing.begin(&large())).is_err(), "{at}");
        landing.abort();
        assert!(run(&mut landing, &mut recorder, b"", &mut || true).is_ok());
        assert!(recorder.did("LeaveStaging") && recorder.did("Unlock"), "{at}: {:?}", recorder.log);
        assert!(!recorder.did("RemoveStaging") && !recorder.did("RemoveJournal"), "{at}: {:?}", recorder.log);
    }
}

#[test]
fn what_could_not_be_seen_through_is_left_for_another_try() {
    let root = Root { integrity: Integrity::Crc32c, hash: [0; 32] };
    let state = Agreed { items: 2, bytes: 10, root };
    let ready = Ready { staged: 7, old: None, root: None, state };
    for (destination, at) in [(None, "Publish"), (None, "SyncParent"), (Some(7), "SyncParent")] {
        let mut recorder = Recorder {
            claim: Some(claim()),
            ready: Some(ready),
            identities: (destination, Some(7)),
            ..Recorder::failing(at, eio)
        };
        let mut landing = Landing::new(LandingOptions { resume: true, ..LandingOptions::default() });
        let recovered = ask(&mut landing, &mut recorder, Landing::recover);
        assert!(recovered.is_err(), "{at}: {:?}", recorder.log);
        landing.abort();
        assert!(run(&mut landing, &mut recorder, b"", &mut || true).is_ok());
        assert!(!recorder.did("RemoveStaging") && !recorder.did("RemoveJournal"), "{at}: {:?}", recorder.log);
    }
}
