//! What is refused before anything is made.

use super::*;
use crate::sink::SinkErrorKind;

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
