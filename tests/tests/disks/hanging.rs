//! The disk does not answer, or slowly.

use longhaul_tests::command::PATIENCE;
use longhaul_tests::disk::{Blocks, Fault, FileSystem};

use super::{PLAIN, assert_ended, assert_fetched, assert_shown, content, rig};

/// The session fails by its stall timeout, and its provider with it. The process itself ends when the disk answers: a
/// call of the system that waits for a disk can't be given up.
// Catalogue: F29
#[test]
fn a_disk_that_hangs_stalls_the_session_and_nothing_is_claimed() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    rig.faults().strike(Fault::Hang, Blocks::of(&content(&rig, "large")), 1);
    let fetching = rig.start(&["--stall-timeout", "1s"]).unwrap();
    rig.faults().wait_until_struck();
    // Another one is served meanwhile: the provider waits for no disk but its own.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = rig.fetch_to(&elsewhere.path().join("to")).unwrap();
    assert_ended(&other, 0);
    rig.wait_until_provider_says(r#""kind":"stalled""#).unwrap();
    rig.faults().mend();
    let ended = fetching.wait(PATIENCE).unwrap();
    assert_ended(&ended, 30);
    assert_eq!(ended.events("installed").count(), 0, "{:?}", ended.said);
    assert_shown(&mut rig, None);
    assert_ended(&rig.fetch(&PLAIN).unwrap(), 0);
    assert_fetched(&mut rig);
}

// Catalogue: F30
#[test]
fn a_disk_of_a_megabyte_a_second_slows_the_transfer_down_and_nothing_else() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    rig.faults().slow(1 << 20);
    let ended = rig.fetch(&PLAIN).unwrap();
    assert_ended(&ended, 0);
    assert_eq!(ended.last["retries"], 0, "{:?}", ended.said);
    rig.faults().mend();
    assert_fetched(&mut rig);
}
