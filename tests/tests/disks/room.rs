//! There is no room, or none any more.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use longhaul_tests::command::PATIENCE;
use longhaul_tests::conformance::tree::noise;
use longhaul_tests::disk::{Blocks, Fault, FileSystem, Rig, said};
use longhaul_tests::transport::Transport;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;

use super::{assert_ended, assert_fetched, assert_shown, content, is_possible, longhaul, rig};

/// So slow that something is durable long before the end.
const SLOW: u32 = 1 << 20;
/// What takes the room.
const FILLER: &str = "filler";

/// Another writer, who takes all but so many bytes of the room: this file's.
fn fill(rig: &Rig, leave: u64) -> PathBuf {
    let path = rig.mount_point().join(FILLER);
    let file = File::create(&path).unwrap();
    let mut at = 0;
    loop {
        let room = fstatvfs(file.as_fd()).unwrap();
        // What is kept for root is used up, too, if nothing is to be left.
        let blocks = if leave == 0 { room.blocks_free() } else { room.blocks_available() };
        let free = blocks * room.fragment_size();
        let mut piece = free.saturating_sub(leave).min(1 << 30) / 4096 * 4096;
        while piece > 0 && fallocate(&file, FallocateFlags::empty(), at, piece.cast_signed()).is_err() {
            piece = piece / 2 / 4096 * 4096;
        }
        if piece == 0 {
            break;
        }
        at += piece.cast_signed();
    }
    path
}

/// It is refused with two numbers, before anything is made; and goes through when there is room.
fn is_refused_until(rig: &mut Rig, words: &str, make_room: impl Fn()) {
    let before = rig.names().unwrap();
    let ended = rig.fetch(&["--replace"]).unwrap();
    assert_ended(&ended, 22);
    assert!(ended.stderr.contains("not enough room: ") && ended.stderr.contains(words), "{}", ended.stderr);
    assert_eq!(rig.names().unwrap(), before);
    assert_eq!(ended.events("streaming").count(), 0, "{:?}", ended.said);
    make_room();
    assert_ended(&rig.fetch(&["--replace"]).unwrap(), 0);
    assert_fetched(rig);
}

// Catalogue: F19, F92
#[test]
fn a_file_system_that_is_too_full_is_refused_with_need_and_room() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    rig.put_old().unwrap();
    let filler = fill(&rig, 2 << 20);
    is_refused_until(&mut rig, "bytes needed", || fs::remove_file(&filler).unwrap());
}

// Catalogue: F21
#[test]
fn a_file_system_with_too_few_inodes_is_refused_with_need_and_room() {
    if !is_possible(FileSystem::Ext4) {
        return;
    }
    let mut rig = Rig::new(&longhaul(), FileSystem::Ext4, &["-N", "64"]).unwrap();
    let others = rig.mount_point().join("others");
    fs::create_dir(&others).unwrap();
    take_inodes(&others, 10);
    is_refused_until(&mut rig, "files and directories come", || fs::remove_dir_all(&others).unwrap());
}

/// Another writer, who leaves only so many inodes.
fn take_inodes(directory: &Path, leave: u64) {
    let files = File::open(directory).unwrap();
    for n in 0.. {
        let room = fstatvfs(files.as_fd()).unwrap();
        if room.files_free() <= leave || File::create(directory.join(n.to_string())).is_err() {
            return;
        }
    }
}

/// What is taken in the middle fails the fetch in words, and keeps the old state; the same command goes on when it is given
/// back.
fn goes_on_when_there_is_room_again(
    mut rig: Rig,
    words: &str,
    take: impl Fn(&Rig),
    give_back: impl Fn(&Rig),
) {
    let old = rig.put_old().unwrap();
    let (fetching, link) = rig.start_slowly(SLOW, &["--replace"]).unwrap();
    take(&rig);
    link.let_go();
    let ended = fetching.wait(PATIENCE).unwrap();
    assert_ended(&ended, 22);
    assert!(
        ended.stderr.contains(words) && ended.stderr.contains("run the same command"),
        "{}",
        ended.stderr
    );
    assert_shown(&mut rig, Some(&old));
    assert!(rig.durable() > 0);
    give_back(&rig);
    let ended = rig.fetch(&["--replace"]).unwrap();
    assert_ended(&ended, 0);
    assert!(ended.last["bytes_resumed"].as_u64() > Some(0), "{:?}", ended.said);
    give_back(&rig);
    assert_fetched(&mut rig);
}

fn fill_up(rig: &Rig) {
    fill(rig, 0);
}

fn empty(rig: &Rig) {
    // It may be gone already.
    let _ = fs::remove_file(rig.mount_point().join(FILLER));
}

// Catalogue: F19
#[test]
fn ext4_the_room_is_used_up_in_the_middle_and_the_same_command_goes_on_later() {
    let Some(rig) = rig(FileSystem::Ext4) else { return };
    goes_on_when_there_is_room_again(rig, "no space left", fill_up, empty);
}

// Catalogue: F19
#[test]
fn xfs_the_room_is_used_up_in_the_middle_and_the_same_command_goes_on_later() {
    let Some(rig) = rig(FileSystem::Xfs) else { return };
    goes_on_when_there_is_room_again(rig, "no space left", fill_up, empty);
}

/// Nothing is reserved for files that are this small, and come whole: the write itself finds no room.
fn a_write_finds_no_room(transport: Transport, by_path: impl Fn(Rig) -> Rig) {
    if !is_possible(FileSystem::Ext4) {
        return;
    }
    let make = |source: &Path| {
        fs::create_dir(source)?;
        (0..50).try_for_each(|n| fs::write(source.join(n.to_string()), noise(n, 30 * 4096)))
    };
    let rig = Rig::with_source(&longhaul(), FileSystem::Ext4, &[], &make).unwrap().by(transport);
    goes_on_when_there_is_room_again(by_path(rig), "no space left", fill_up, empty);
}

// Catalogue: F19
#[test]
fn a_write_that_finds_no_room_fails_in_words_and_the_same_command_goes_on_later() {
    a_write_finds_no_room(Transport::Std, |rig| rig);
}

// Catalogue: F19
#[test]
fn a_write_past_the_page_cache_that_finds_no_room_ends_so_by_any_transport() {
    for transport in Transport::ALL {
        a_write_finds_no_room(transport, Rig::past_the_cache);
    }
}

// Catalogue: F20
#[test]
fn a_quota_that_is_used_up_fails_in_words_and_the_same_command_goes_on_later() {
    let Some(rig) = rig(FileSystem::Btrfs) else { return };
    let btrfs = |rig: &Rig, arguments: &[&str]| {
        said(Command::new("btrfs").args(arguments).arg(rig.mount_point())).unwrap();
    };
    btrfs(&rig, &["quota", "enable"]);
    btrfs(&rig, &["quota", "rescan", "-w"]);
    let limit = |rig: &Rig| btrfs(rig, &["qgroup", "limit", "1M"]);
    let lift = |rig: &Rig| btrfs(rig, &["quota", "disable"]);
    goes_on_when_there_is_room_again(rig, "the quota is used up", limit, lift);
}

// Catalogue: F21
#[test]
fn the_inodes_are_used_up_in_the_middle_and_the_same_command_goes_on_later() {
    if !is_possible(FileSystem::Ext4) {
        return;
    }
    let rig = Rig::new(&longhaul(), FileSystem::Ext4, &["-N", "128"]).unwrap();
    let others = |rig: &Rig| rig.mount_point().join("others");
    fs::create_dir(others(&rig)).unwrap();
    let give_back = |rig: &Rig| {
        fs::remove_dir_all(others(rig)).unwrap();
        fs::create_dir(others(rig)).unwrap();
    };
    goes_on_when_there_is_room_again(rig, "no space left", |rig| take_inodes(&others(rig), 0), give_back);
}

// Catalogue: F28
#[test]
fn a_file_system_that_turns_read_only_fails_in_words_and_the_provider_serves_the_next() {
    let Some(mut rig) = rig(FileSystem::Ext4) else { return };
    let old = rig.put_old().unwrap();
    rig.remount_with("errors=remount-ro").unwrap();
    rig.faults().strike(Fault::Break, Blocks::of(&content(&rig, "large")), 1);
    // The disk takes nothing more: the journal is given up, and nothing can be written until it is mounted anew.
    let ended = rig.fetch(&["--replace"]).unwrap();
    assert_ended(&ended, 21);
    assert!(ended.stderr.contains("hint: "), "{}", ended.stderr);
    let ended = rig.fetch(&["--replace"]).unwrap();
    assert_ended(&ended, 21);
    assert!(ended.stderr.contains("Read-only file system"), "{}", ended.stderr);
    assert!(ended.stderr.contains("remount it writable"), "{}", ended.stderr);
    let elsewhere = tempfile::tempdir().unwrap();
    assert_ended(&rig.fetch_to(&elsewhere.path().join("to")).unwrap(), 0);
    rig.faults().mend();
    assert_shown(&mut rig, Some(&old));
    assert_ended(&rig.fetch(&["--replace"]).unwrap(), 0);
    assert_fetched(&mut rig);
}
