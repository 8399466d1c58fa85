//! The power goes while the real command writes to a real file system. Linux, as root; skipped with a word elsewhere.
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use longhaul_tests::carrier::Carrier;
use longhaul_tests::command::longhaul;
use longhaul_tests::crash::{Mode, Plan, Programs, Tally, crash};
use longhaul_tests::disk::{FileSystem, prepare};

/// So many states of each file system: the rig's own command tries more.
const STATES: u64 = 40;
/// Enough for these by far.
const TIME: Duration = Duration::from_mins(5);

/// The seed tells whose turn is first, too.
fn plan(modes: &[Mode], seed: u64) -> Plan {
    Plan {
        // Not btrfs: some of its crash states are the end of the kernel's thread that mounts them (Linux 6.18).
        file_systems: vec![FileSystem::Ext4, FileSystem::Xfs],
        modes: modes.to_vec(),
        carriers: Carrier::ALL.to_vec(),
        time: TIME,
        states: STATES,
        prefixes: false,
        seed,
        keep: Path::new(env!("CARGO_TARGET_TMPDIR")).into(),
        stop: std::sync::Arc::default(),
    }
}

/// What came of them; nothing where that is not possible.
fn try_some(modes: &[Mode], seed: u64) -> Option<Tally> {
    if let Err(why) = prepare() {
        println!("skipped: {why}");
        return None;
    }
    let programs = Programs { longhaul: longhaul(), rig: env!("CARGO_BIN_EXE_longhaul-tests").into() };
    let tried = crash(&programs, &plan(modes, seed), &mut |line| println!("{line}"));
    let tried = tried.unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{tried}");
    Some(tried.all())
}

// Catalogue: F32, F55
#[test]
fn the_power_goes_at_any_write_and_the_old_state_or_the_new_is_there() {
    if let Some(tally) = try_some(&[Mode::Small, Mode::Replace], 0) {
        assert!(tally.old > 0 && tally.new > 0, "{tally}");
    }
}

// Catalogue: F32, F55, F58
#[test]
fn the_power_goes_and_the_same_command_ends_well_past_the_lock_that_is_left() {
    if let Some(tally) = try_some(&[Mode::Interrupted], 2) {
        assert!(tally.locked > 0 && tally.kept > 0, "{tally}");
    }
}

#[test]
fn a_state_that_is_the_end_of_who_mounts_it_is_told_and_ends_the_run() {
    if let Err(why) = prepare() {
        return println!("skipped: {why}");
    }
    let scratch = tempfile::tempdir().unwrap();
    let rig = scratch.path().join("rig");
    fs::write(&rig, "#!/bin/sh\nread asked\nkill -SEGV $$\n").unwrap();
    fs::set_permissions(&rig, Permissions::from_mode(0o700)).unwrap();
    let plan = Plan { keep: scratch.path().into(), ..plan(&[Mode::Small], 0) };
    let wrong = crash(&Programs { longhaul: longhaul(), rig }, &plan, &mut |_| ()).unwrap_err();
    assert!(
        wrong.contains("the kernel died of this state") && wrong.contains("again: crash --again"),
        "{wrong}"
    );
}
