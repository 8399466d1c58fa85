//! How a state takes its place, and what becomes of the old one.

use super::*;
use crate::sink::SinkErrorKind;
use crate::source::Shape;

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
