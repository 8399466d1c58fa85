//! What is on the disk is not what was written: `--verify-after` is for that.

use std::fs;
use std::path::Path;

use longhaul_tests::conformance::tree::noise;
use longhaul_tests::disk::{Blocks, Fault, FileSystem, Rig};

use super::{PLAIN, assert_ended, assert_fetched, assert_shown, content, is_possible, longhaul, rig};

const VERIFY: [&str; 1] = ["--verify-after"];

/// The page cache holds the right bytes, the disk holds others: one block of so many writes.
fn is_found_and_fetched_once_more(file_system: FileSystem, fault: Fault) {
    let Some(mut rig) = rig(file_system) else { return };
    rig.faults().strike(fault, Blocks::one_of(&content(&rig, "large"), 5), 1);
    let ended = rig.fetch(&VERIFY).unwrap();
    assert_ended(&ended, 0);
    let again = ended.warnings().find(|words| words.contains("fetched once more"));
    assert!(
        rig.faults().struck() == 1 && again.is_some_and(|words| words.contains("large")),
        "{:?}",
        ended.said
    );
    assert_fetched(&mut rig);
}

// Catalogue: F31, F33
#[test]
fn ext4_a_bit_that_rots_after_its_sync_is_found_past_the_cache_and_fetched_once_more() {
    is_found_and_fetched_once_more(FileSystem::Ext4, Fault::Flip);
}

// Catalogue: F31, F33
#[test]
fn xfs_a_bit_that_rots_after_its_sync_is_found_past_the_cache_and_fetched_once_more() {
    is_found_and_fetched_once_more(FileSystem::Xfs, Fault::Flip);
}

// Catalogue: F26
#[test]
fn a_block_that_cannot_be_read_back_is_fetched_once_more() {
    is_found_and_fetched_once_more(FileSystem::Ext4, Fault::Spoil);
}

// Catalogue: F31
#[test]
fn a_bit_that_rots_at_a_joiner_that_listens_is_pushed_once_more() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    rig.faults().strike(Fault::Flip, Blocks::one_of(&content(&rig, "large"), 5), 1);
    let ended = rig.push(&VERIFY).unwrap();
    assert_ended(&ended, 0);
    let again = ended.warnings().find(|words| words.contains("pushed once more"));
    assert!(again.is_some_and(|words| words.contains("large")), "{:?}", ended.said);
    assert_fetched(&mut rig);
}

// Catalogue: F26
#[test]
fn a_block_that_can_never_be_read_back_is_named_with_its_offset() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    let old = rig.put_old().unwrap();
    rig.faults().strike(Fault::Spoil, Blocks::one_of(&content(&rig, "large"), 640), u64::MAX);
    let ended = rig.fetch(&["--verify-after", "--replace"]).unwrap();
    assert_ended(&ended, 21);
    // The file is read in runs of 256 KiB: this block is in the eleventh.
    assert!(ended.stderr.contains("large: at byte 2621440: reading back failed"), "{}", ended.stderr);
    assert_eq!(rig.faults().struck(), 2, "fetched twice");
    rig.faults().mend();
    assert_shown(&mut rig, Some(&old));
    assert_ended(&rig.fetch(&["--verify-after", "--replace"]).unwrap(), 0);
    assert_fetched(&mut rig);
}

// Catalogue: F33
#[test]
fn a_disk_that_keeps_nothing_of_what_it_acknowledges_is_found_out_when_it_is_read_back() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    rig.faults().strike(Fault::Forget, Blocks::of(&content(&rig, "large")), u64::MAX);
    let ended = rig.fetch(&VERIFY).unwrap();
    assert_ended(&ended, 23);
    assert!(ended.stderr.contains("large: read back from the disk, it is not what came"), "{}", ended.stderr);
    rig.faults().mend();
    assert_shown(&mut rig, None);
    assert_ended(&rig.fetch(&VERIFY).unwrap(), 0);
    assert_fetched(&mut rig);
}

/// This is why the option exists: a disk that lies to every call but a read is believed without it.
// Catalogue: F31, F33
#[test]
fn without_reading_back_a_disk_that_lies_is_believed() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    rig.faults().strike(Fault::Flip, Blocks::one_of(&content(&rig, "large"), 5), 1);
    let ended = rig.fetch(&PLAIN).unwrap();
    assert_ended(&ended, 0);
    assert_eq!((rig.faults().struck(), ended.warnings().count()), (1, 0), "{:?}", ended.said);
    let (shown, state) = (rig.shown().unwrap().unwrap(), rig.state());
    let differ: Vec<_> = state.keys().filter(|name| shown.get(*name) != state.get(*name)).collect();
    assert_eq!(differ, [b"large"]);
}

/// A rig whose state is what `make` makes.
fn rig_of(make: &dyn Fn(&Path) -> std::io::Result<()>) -> Option<Rig> {
    is_possible(FileSystem::Ext4).then(|| Rig::with_source(&longhaul(), FileSystem::Ext4, &[], make).unwrap())
}

// Catalogue: F31
#[test]
fn a_small_state_that_is_landed_without_a_journal_is_read_back_too() {
    let content = noise(1, 300_000);
    let Some(mut rig) = rig_of(&|source| fs::write(source, &content)) else { return };
    rig.faults().strike(Fault::Flip, Blocks::one_of(&content, 5), 1);
    let ended = rig.fetch(&VERIFY).unwrap();
    assert_ended(&ended, 0);
    assert_eq!((rig.faults().struck(), ended.warnings().count()), (1, 1), "{:?}", ended.said);
    assert_fetched(&mut rig);
}

/// Bytes of a file that comes before the link holds back: so few that its end comes with them, not behind what is read ahead.
const FIRST: usize = 64 << 10;

/// What is durable rots, and then the joiner is killed; the cache still holds the right bytes.
fn rots_between_two_runs(option: &str) {
    let content = noise(1, FIRST);
    let two_files = |source: &Path| {
        fs::create_dir(source)?;
        fs::write(source.join("first"), &content)?;
        fs::write(source.join("second"), noise(2, 2 << 20))
    };
    let Some(mut rig) = rig_of(&two_files) else { return };
    rig.faults().strike(Fault::Flip, Blocks::one_of(&content, 0), 1);
    // One lane: the first file comes before the link holds back, and counts then.
    let (fetching, _link) = rig.start_slowly(1 << 20, &["--lanes", "1"]).unwrap();
    fetching.end().unwrap();
    assert!(rig.faults().struck() == 1 && rig.durable() > 0);
    assert_ended(&rig.fetch(&[option]).unwrap(), 0);
    assert_fetched(&mut rig);
}

// Catalogue: F31
#[test]
fn what_an_earlier_run_left_is_read_back_before_it_is_published() {
    rots_between_two_runs("--verify-after");
}

// Catalogue: F31
#[test]
fn what_an_earlier_run_left_is_read_past_the_cache_before_it_is_kept() {
    rots_between_two_runs("--paranoid");
}
