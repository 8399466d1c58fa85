//! What is durable before what.

use super::*;

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
fn few_files_are_with_the_disk_together_before_one_is_waited_for() {
    let mut recorder = Recorder::default();
    land(LandingOptions::default(), &mut recorder, large(), 3).unwrap();
    assert!(recorder.position("WriteBack") > recorder.position("FinishDirectory d"));
    let begun = recorder.position("WriteBack");
    assert_eq!((0..3).map(|n| recorder.position(&format!("SyncFile d/f{n}"))).min(), Some(begun + 1));
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
