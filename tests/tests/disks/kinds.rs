//! Files and file systems of other kinds than most.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use longhaul_tests::conformance::tree::{Tree, look, noise};
use longhaul_tests::disk::{FileSystem, Rig, said};
use nix::mount::{MsFlags, mount};

use super::{PLAIN, assert_ended, assert_fetched, assert_shown, is_possible, longhaul, rig};

fn chattr(flags: &str, path: &Path) {
    said(Command::new("chattr").arg(flags).arg(path)).unwrap();
}

/// What a fetch of `source` onto another file system shows.
fn fetched_elsewhere(rig: &mut Rig, source: &Path) -> Tree {
    rig.serve_under(&[], source).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let destination = elsewhere.path().join("to");
    assert_ended(&rig.fetch_to(&destination).unwrap(), 0);
    look(&destination)
}

// Catalogue: B53
#[test]
fn files_that_cannot_be_changed_or_only_grow_are_read_as_any_other() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    let source = rig.home().join("source");
    said(Command::new("cp").arg("-a").arg(rig.source()).arg(&source)).unwrap();
    let state = look(&source);
    chattr("+i", &source.join("large"));
    chattr("+a", &source.join("a/medium"));
    chattr("+i", &source.join("empty"));
    assert!(fetched_elsewhere(&mut rig, &source) == state);
}

// Catalogue: B53
#[test]
fn a_destination_that_cannot_be_changed_is_refused_in_words() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    let old = rig.put_old().unwrap();
    for kept in [rig.home(), rig.destination()] {
        chattr("+i", &kept);
        let ended = rig.fetch(&["--replace"]).unwrap();
        assert_ended(&ended, 21);
        assert!(ended.stderr.contains("Operation not permitted"), "{}", ended.stderr);
        assert_shown(&mut rig, Some(&old));
        chattr("-i", &kept);
    }
    assert_ended(&rig.fetch(&["--replace"]).unwrap(), 0);
    assert_fetched(&mut rig);
}

// Catalogue: B53
#[test]
fn an_old_file_that_cannot_be_changed_is_not_replaced() {
    if !is_possible(FileSystem::Ext4) {
        return;
    }
    let make = |source: &Path| fs::write(source, noise(1, 2 << 20));
    let mut rig = Rig::with_source(&longhaul(), FileSystem::Ext4, &[], &make).unwrap();
    fs::write(rig.destination(), "old").unwrap();
    let old = look(&rig.destination());
    chattr("+i", &rig.destination());
    let ended = rig.fetch(&["--replace"]).unwrap();
    assert_ended(&ended, 21);
    assert!(ended.stderr.contains("Operation not permitted"), "{}", ended.stderr);
    assert_shown(&mut rig, Some(&old));
    chattr("-i", &rig.destination());
    let ended = rig.fetch(&["--replace"]).unwrap();
    assert_ended(&ended, 0);
    assert_fetched(&mut rig);
}

/// A swap file is read as any other: one that is in use would be the whole machine's.
// Catalogue: B57
#[test]
fn shared_compressed_uncopied_swap_and_deleted_files_are_read_for_their_content() {
    let Some(mut rig) = rig(FileSystem::Btrfs) else { return };
    let source = rig.home().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("whole"), noise(1, 2 << 20)).unwrap();
    let copy = |to: &str| {
        said(Command::new("cp").arg("--reflink=always").args([source.join("whole"), source.join(to)]))
            .unwrap();
    };
    copy("shared");
    for (name, flags) in [("uncopied", "+C"), ("compressed", "+c")] {
        fs::write(source.join(name), "").unwrap();
        chattr(flags, &source.join(name));
        fs::write(source.join(name), [noise(2, 10_000), vec![7; 1 << 20]].concat()).unwrap();
    }
    let swap = source.join("swap");
    said(Command::new("btrfs").args(["filesystem", "mkswapfile", "--size", "1M"]).arg(&swap)).unwrap();
    let mut deleted = fs::File::create_new(source.join("deleted")).unwrap();
    deleted.write_all(&noise(3, 1 << 20)).unwrap();
    fs::remove_file(source.join("deleted")).unwrap();
    let state = look(&source);
    assert!(fetched_elsewhere(&mut rig, &source) == state);
    drop(deleted);
    assert_eq!(state.len(), 6, "five files and their directory");
}

#[test]
fn a_file_system_that_promises_nothing_is_warned_of_once_and_said_in_the_summary() {
    let Some(rig) = rig(FileSystem::Ext4) else { return };
    let place = |name: &str| {
        let place = rig.mount_point().join(name);
        fs::create_dir(&place).unwrap();
        place
    };
    let (memory, over) = (place("memory"), place("over"));
    let layers = ["below", "above", "work"].map(|name| place(name).display().to_string());
    mount(Some("tmpfs"), &memory, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let layers = format!("lowerdir={},upperdir={},workdir={}", layers[0], layers[1], layers[2]);
    mount(Some("overlay"), &over, Some("overlay"), MsFlags::empty(), Some(layers.as_str())).unwrap();
    for (place, why) in [(&memory, "tmpfs"), (&over, "overlayfs")] {
        let ended = rig.fetch_to(&place.join("to")).unwrap();
        assert_ended(&ended, 0);
        let warned = ended.warnings().filter(|words| words.contains("durability is unproven")).count();
        let said = ended.last["durability"].as_str().unwrap();
        assert_eq!(warned, 1, "{:?}", ended.said);
        assert!(said.starts_with("unproven: ") && said.contains(why), "{said}");
        assert!(look(&place.join("to")) == rig.state());
        nix::mount::umount(place).unwrap();
    }
    let proven = rig.fetch(&PLAIN).unwrap();
    assert_eq!(proven.warnings().count(), 0);
    assert!(proven.last["durability"].is_null(), "{}", proven.last);
}
