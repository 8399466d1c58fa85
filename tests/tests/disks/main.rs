//! The real command on real file systems whose disk or limits fail. Linux, as root; skipped with a word elsewhere.
#![cfg(target_os = "linux")]

mod hanging;
mod kinds;
mod limits;
mod losing;
mod room;
mod rotting;

use longhaul_tests::command::{Ended, longhaul};
use longhaul_tests::conformance::tree::Tree;
use longhaul_tests::disk::{FileSystem, Rig, prepare};

/// What every fetch here is told, unless it matters.
const PLAIN: [&str; 0] = [];

/// Whether this machine has such disks; a word where it has not.
fn is_possible(file_system: FileSystem) -> bool {
    let why = match prepare() {
        Ok(()) if file_system.is_there() => return true,
        Ok(()) => format!("there is no mkfs.{file_system}"),
        Err(why) => why,
    };
    println!("skipped: {why}");
    false
}

/// A rig with a state of some MiB; nothing where that is not possible.
fn rig(file_system: FileSystem) -> Option<Rig> {
    is_possible(file_system).then(|| Rig::new(&longhaul(), file_system, &[]).unwrap())
}

/// What a file of the provider's state holds.
fn content(rig: &Rig, name: &str) -> Vec<u8> {
    std::fs::read(rig.source().join(name)).unwrap()
}

/// The fetch has ended so; else all that it said is told.
fn assert_ended(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{:?}{}", ended.said, ended.stderr);
}

/// The disk shows this, when it is mounted anew.
fn assert_shown(rig: &mut Rig, expected: Option<&Tree>) {
    let shown = rig.shown().unwrap();
    assert!(shown.as_ref() == expected, "{:?}", shown.map(|tree| tree.len()));
}

/// The disk shows the provider's state, when it is mounted anew, and nothing is left beside it.
fn assert_fetched(rig: &mut Rig) {
    let state = rig.state();
    assert_shown(rig, Some(&state));
    assert_eq!(rig.names().unwrap(), ["to"]);
}
