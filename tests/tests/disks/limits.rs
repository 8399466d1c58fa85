//! The process may not do what it must.

use longhaul_tests::disk::FileSystem;

use super::{PLAIN, assert_ended, assert_fetched, rig};

// Catalogue: F39
#[test]
fn a_limit_on_the_size_of_files_fails_in_words_and_kills_nobody() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    let ended = rig.fetch_under(&["prlimit", "--fsize=1000000"], &PLAIN).unwrap();
    assert_ended(&ended, 21);
    assert!(ended.stderr.contains("ile too large") && ended.stderr.contains("large: "), "{}", ended.stderr);
    assert_ended(&rig.fetch(&PLAIN).unwrap(), 0);
    assert_fetched(&mut rig);
}

/// What a process that ran out of descriptors may exit with: it says that the destination or the peer can't be opened.
const IN_WORDS: [i32; 4] = [1, 10, 20, 21];

// Catalogue: F40
#[test]
fn a_joiner_with_few_descriptors_needs_fewer_or_fails_in_words() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    let mut ends = [0, 0];
    for files in [6, 10, 14, 18, 24, 40] {
        let limit = format!("--nofile={files}");
        let ended = rig.fetch_under(&["prlimit", &limit], &["--replace"]).unwrap();
        let failed =
            ended.code.is_some_and(|code| IN_WORDS.contains(&code)) && ended.stderr.contains("open files");
        assert!(ended.code == Some(0) || failed, "{limit}: {ended:?}");
        ends[usize::from(failed)] += 1;
    }
    assert!(ends[0] > 0 && ends[1] > 0, "{ends:?}");
    assert_fetched(&mut rig);
}

// Catalogue: F40
#[test]
fn a_provider_with_few_descriptors_fails_in_words_and_serves_on() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    let mut ends = [0, 0];
    for files in [9, 10, 11, 12, 14, 18, 24, 40] {
        let limit = format!("--nofile={files}");
        let source = rig.source();
        rig.serve_under(&["prlimit", &limit], &source).unwrap();
        let ended = rig.fetch(&["--replace", "--stall-timeout", "2s"]).unwrap();
        println!("{limit}: {:?}: {}", ended.code, ended.stderr);
        let failed = ended.code.is_some_and(|code| [10, 20, 30].contains(&code)) && !ended.stderr.is_empty();
        assert!(ended.code == Some(0) || failed, "{limit}: {ended:?}");
        ends[usize::from(failed)] += 1;
    }
    assert!(ends[0] > 0, "{ends:?}");
    assert_fetched(&mut rig);
}
