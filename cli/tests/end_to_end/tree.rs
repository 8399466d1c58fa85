//! A state with everything that is kept, and what it means that two are the same.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// More than a run of one lane, and no multiple of anything.
const BIG: usize = (20 << 20) + 12_345;
const SPARSE: u64 = 64 << 20;

/// Bytes that differ from place to place.
pub(crate) fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut x = seed.wrapping_mul(2) | 1;
    let mut all = vec![0; len];
    for byte in &mut all {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (x >> 24) as u8;
    }
    all
}

/// Makes everything: nested and empty directories, empty, small, big and sparse files, links of
/// both kinds, modes, times, and names that need care.
pub(crate) fn everything(root: &Path) {
    fs::create_dir_all(root.join("a/b/c/empty")).unwrap();
    fs::create_dir_all(root.join("many")).unwrap();
    File::create(root.join("empty-file")).unwrap();
    fs::write(root.join("a/small"), b"small").unwrap();
    fs::write(root.join("a/b/big"), bytes(BIG, 1)).unwrap();
    for n in 0..300 {
        fs::write(root.join(format!("many/{n:03}")), bytes(n * 37, n as u32)).unwrap();
    }

    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(SPARSE).unwrap();
    sparse.write_all_at(&bytes(5000, 2), 0).unwrap();
    sparse.write_all_at(&bytes(5000, 3), SPARSE / 2 + 4096).unwrap();

    fs::write(root.join("linked"), b"one file, three names").unwrap();
    fs::hard_link(root.join("linked"), root.join("a/linked-too")).unwrap();
    fs::hard_link(root.join("linked"), root.join("many/linked-as-well")).unwrap();
    symlink("a/small", root.join("to-small")).unwrap();
    symlink("../../linked", root.join("a/b/up")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();

    for name in [
        &b"-rf"[..],
        b"with space",
        b"new\nline",
        b"\xff\xfe",
        b"$(reboot)",
        b"\x1b[31m",
        "\u{e4}".as_bytes(),
    ] {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(root.join("n".repeat(255)), b"the longest name").unwrap();

    for (name, mode) in [("a/small", 0o600), ("empty-file", 0o444), ("a/b/c", 0o750), ("a", 0o700)] {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
    }
    for (name, seconds, nanos) in [
        ("a/small", 1_000_000_000, 123_456_789),
        ("many", 1_234_567_890, 1),
        ("a/b/c/empty", 86_400, 999_999_999),
    ] {
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        let file = File::open(root.join(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }
}

/// A tree as what matters of it, by name.
fn describe(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut by_inode: BTreeMap<(u64, u64), Vec<PathBuf>> = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_path_buf();
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if metadata.is_file() {
            by_inode.entry((metadata.dev(), metadata.ino())).or_default().push(name.clone());
        }
        all.insert(name, describe_one(&path, &metadata));
    }
    for mut names in by_inode.into_values().filter(|names| names.len() > 1) {
        names.sort();
        all.insert(names[0].join("(names)"), format!("{names:?}"));
    }
    all
}

fn describe_one(path: &Path, metadata: &Metadata) -> String {
    if metadata.is_symlink() {
        return format!("link to {}", fs::read_link(path).unwrap().display());
    }
    let attributes = format!("{:o} {}.{:09}", metadata.mode(), metadata.mtime(), metadata.mtime_nsec());
    if metadata.is_dir() {
        return format!("directory {attributes}");
    }
    assert!(metadata.is_file(), "{} is special", path.display());
    let content = fs::read(path).unwrap();
    format!("file {attributes} {} bytes {:08x}", content.len(), checksum(&content))
}

/// FNV-1a: enough to tell contents apart, and none of ours.
fn checksum(content: &[u8]) -> u64 {
    content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[track_caller]
pub(crate) fn assert_same(one: &Path, two: &Path) {
    let (one, two) = (describe(one), describe(two));
    for (name, what) in &one {
        assert_eq!(Some(what), two.get(name), "{}", name.display());
    }
    for name in two.keys() {
        assert!(one.contains_key(name), "{} is only in the second", name.display());
    }
}

/// Allocated bytes of a file.
pub(crate) fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}
