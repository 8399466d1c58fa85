//! Which clocks the code reads.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the clock on the wall is read, or its times are shown: the times of files, and what people are told of when
/// a lock was taken and a run began.
const WALL: [&str; 4] = [
    "cli/src/staging.rs",
    "state/src/landing/attributes.rs",
    "state/src/landing/site.rs",
    "state/src/landing/site_journal.rs",
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

// Catalogue: F63
/// A wall clock that leaps moves no deadline and no decision: nothing that decides reads it.
#[test]
fn the_clock_on_the_wall_is_read_for_nothing_but_what_people_see() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for part in ["core", "state", "transport", "transport-std", "transport-uring", "longhaul", "cli"] {
        sources(&root.join(part).join("src"), &mut found);
    }
    let reads = |path: &&PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME"].iter().any(|clock| text.contains(clock))
    };
    let mut reads: Vec<&str> =
        found.iter().filter(reads).map(|path| path.strip_prefix(root).unwrap().to_str().unwrap()).collect();
    reads.sort_unstable();
    assert_eq!(reads, WALL);
}
