//! The disk fails to write.

use longhaul_tests::disk::{Blocks, Fault, FileSystem};
use longhaul_tests::transport::Transport;

use super::{PLAIN, assert_ended, assert_fetched, assert_shown, content, rig};

/// The kernel says it to one sync, drops what it could not write, and the next sync succeeds; where the page cache is
/// passed by, it says it to the write.
fn one_lost_write_is_made_good(file_system: FileSystem) {
    for transport in Transport::ALL {
        one_lost_write_is_made_good_by(file_system, transport);
    }
}

fn one_lost_write_is_made_good_by(file_system: FileSystem, transport: Transport) {
    let Some(rig) = rig(file_system) else { return };
    let mut rig = rig.by(transport);
    rig.faults().strike(Fault::Refuse, Blocks::one_of(&content(&rig, "large"), 5), 1);
    let ended = rig.fetch(&PLAIN).unwrap();
    assert_ended(&ended, 0);
    let again = ended.warnings().filter(|words| words.contains("fetched once more")).count();
    assert_eq!((rig.faults().struck(), again), (1, 1), "{:?}", ended.said);
    assert_fetched(&mut rig);
}

// Catalogue: F22, F23
#[test]
fn ext4_a_write_that_is_lost_once_is_fetched_once_more_into_new_files() {
    one_lost_write_is_made_good(FileSystem::Ext4);
}

// Catalogue: F22, F23
#[test]
fn xfs_a_write_that_is_lost_once_is_fetched_once_more_into_new_files() {
    one_lost_write_is_made_good(FileSystem::Xfs);
}

// Catalogue: F22, F23
#[test]
fn btrfs_a_write_that_is_lost_once_is_fetched_once_more_into_new_files() {
    one_lost_write_is_made_good(FileSystem::Btrfs);
}

// Catalogue: F22, F23
#[test]
fn writes_that_are_lost_again_leave_the_old_state_until_the_disk_is_well() {
    for (transport, words) in [
        (Transport::Std, "large: could not be made durable"),
        (Transport::Uring, "write failed: Input/output error"),
    ] {
        lost_writes_are_told(transport, words);
    }
}

fn lost_writes_are_told(transport: Transport, words: &str) {
    let Some(rig) = rig(FileSystem::Ext4) else { return };
    let mut rig = rig.by(transport);
    let old = rig.put_old().unwrap();
    rig.faults().strike(Fault::Refuse, Blocks::one_of(&content(&rig, "large"), 5), u64::MAX);
    let ended = rig.fetch(&["--replace"]).unwrap();
    assert_ended(&ended, 21);
    assert!(ended.stderr.contains("large: ") && ended.stderr.contains(words), "{}", ended.stderr);
    assert!(rig.faults().struck() >= 2, "fetched twice");
    rig.faults().mend();
    assert_shown(&mut rig, Some(&old));
    assert_ended(&rig.fetch(&["--replace"]).unwrap(), 0);
    assert_fetched(&mut rig);
}

/// A joiner that listens tells why, and who pushes comes again: to a destination that nobody holds any more.
// Catalogue: F22, F23
#[test]
fn a_write_that_is_lost_once_is_pushed_once_more_into_new_files() {
    for transport in Transport::ALL {
        let Some(rig) = rig(FileSystem::Ext4) else { return };
        let mut rig = rig.by(transport);
        rig.faults().strike(Fault::Refuse, Blocks::one_of(&content(&rig, "large"), 5), 1);
        let ended = rig.push(&PLAIN).unwrap();
        assert_ended(&ended, 0);
        let again = ended.warnings().filter(|words| words.contains("pushed once more")).count();
        assert_eq!((rig.faults().struck(), again), (1, 1), "{:?}", ended.said);
        assert_fetched(&mut rig);
    }
}

// Catalogue: F22, F23
#[test]
fn writes_that_are_lost_again_fail_the_push_with_what_the_joiner_says() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    let old = rig.put_old().unwrap();
    rig.faults().strike(Fault::Refuse, Blocks::one_of(&content(&rig, "large"), 5), u64::MAX);
    let ended = rig.push(&["--replace"]).unwrap();
    assert_ended(&ended, 21);
    assert!(ended.stderr.contains("large: ") && ended.stderr.contains("joiner"), "{}", ended.stderr);
    assert!(rig.faults().struck() >= 2, "pushed twice");
    rig.faults().mend();
    assert_shown(&mut rig, Some(&old));
    assert_ended(&rig.push(&["--replace"]).unwrap(), 0);
    assert_fetched(&mut rig);
}
