//! What a journal claims, and when it is forgotten.

use longhaul_core::integrity::{Checksum, Integrity, ItemFold, RUN_LEN, Root, RunHasher};
use longhaul_core::item::Version;

use super::journal::{Agreed, Content};
use super::*;
use crate::source::Shape;

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
