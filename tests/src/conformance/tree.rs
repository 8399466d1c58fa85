//! States as trees of files: made, looked at, and summed up without longhaul's own walk.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, Permissions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use longhaul_core::integrity::{Integrity, Root, crc32c_combine};
use longhaul_state::landing::Staging;
use tempfile::TempDir;

/// A directory for one case: the source, and the destination in a home of its own.
///
/// In memory where there is such a file system, because some thousand transfers are made durable
/// here; `LONGHAUL_SCRATCH` names another place.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// An empty one.
    ///
    /// # Panics
    /// If there is no room for it.
    #[must_use]
    pub fn new() -> Self {
        let chosen = std::env::var_os("LONGHAUL_SCRATCH").map(PathBuf::from);
        let memory = Some(PathBuf::from("/dev/shm")).filter(|path| path.is_dir());
        let place = chosen.or(memory).unwrap_or_else(std::env::temp_dir);
        let scratch = Self(TempDir::new_in(place).expect("a scratch directory"));
        fs::create_dir(scratch.home()).expect("a home for the destination");
        scratch
    }

    /// Where the provider's state is to be made; nothing is there yet.
    #[must_use]
    pub fn source(&self) -> PathBuf {
        self.0.path().join("source")
    }

    /// The directory that holds the destination, and nothing else.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    /// Where the joiner's state lands.
    #[must_use]
    pub fn destination(&self) -> PathBuf {
        self.home().join("DEST")
    }

    /// The names beside and including the destination, but for what a later run goes on with.
    ///
    /// # Panics
    /// If it can't be read.
    #[must_use]
    pub fn residue(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home()).expect("home is there");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("a name").file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        // What a later run goes on with is no residue: all of it, and only if its journal claims something.
        let kept = Staging::of(&self.destination()).expect("home can be read");
        let claims =
            |staging: &Staging| matches!(&staging.journal, Ok(Some((_, claimed))) if claimed.bytes > 0);
        if kept.is_some_and(|staging| claims(&staging) && staging.path.is_dir() && staging.held.is_none()) {
            names.retain(|name| !matches!(name.as_str(), ".DEST.longhaul" | ".DEST.longhaul.journal"));
        }
        names.sort();
        names
    }
}

/// Bytes that a seed repeats and nothing compresses.
#[must_use]
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Writes a file, and the directories above it.
///
/// # Panics
/// If it can't be written.
pub fn write(path: &Path, content: &[u8]) {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).expect("a directory");
    }
    fs::write(path, content).expect("a file");
}

/// Makes a file of `len` bytes that are a hole, but for these pieces.
///
/// # Panics
/// If it can't be written.
pub fn write_sparse(path: &Path, len: u64, pieces: &[(u64, &[u8])]) {
    write(path, b"");
    let file = File::options().write(true).open(path).expect("just made");
    file.set_len(len).expect("a hole");
    for (offset, bytes) in pieces {
        file.write_all_at(bytes, *offset).expect("a piece");
    }
}

/// Sets mode and modification time of a file or directory.
///
/// # Panics
/// If that is not allowed.
pub fn set(path: &Path, mode: u32, mtime: (u64, u32)) {
    let modified = SystemTime::UNIX_EPOCH + Duration::new(mtime.0, mtime.1);
    let times = FileTimes::new().set_modified(modified);
    File::open(path).and_then(|file| file.set_times(times)).expect("times are set");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode is set");
}

/// What stands at a name, with everything that a transfer keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file: size, content, and the least of its names in the state.
    File {
        /// Permission bits.
        mode: u32,
        /// Modification time.
        mtime: (i64, i64),
        /// Length.
        size: u64,
        /// CRC-32C and BLAKE3 of the content.
        content: (u32, [u8; 32]),
        /// The least of the names of the same inode.
        first_name: Vec<u8>,
    },
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Modification time.
        mtime: (i64, i64),
    },
    /// A symbolic link.
    Link(Vec<u8>),
}

/// All names of a state, the root as the empty one.
pub type Tree = BTreeMap<Vec<u8>, Entry>;

/// Looks at everything below `root`.
///
/// # Panics
/// If something can't be read.
#[must_use]
pub fn look(root: &Path) -> Tree {
    let (mut tree, mut inodes) = (Tree::new(), BTreeMap::<(u64, u64), Vec<u8>>::new());
    let mut names = Vec::new();
    list(root, &mut Vec::new(), &mut names);
    names.sort();
    for name in names {
        let path = at(root, &name);
        let metadata = fs::symlink_metadata(&path).expect("a name just read");
        let (mode, mtime) = (metadata.mode() & 0o777, (metadata.mtime(), metadata.mtime_nsec()));
        let entry = if metadata.is_symlink() {
            Entry::Link(fs::read_link(&path).expect("a link").as_os_str().as_bytes().to_vec())
        } else if metadata.is_dir() {
            Entry::Directory { mode, mtime }
        } else {
            let inode = (metadata.dev(), metadata.ino());
            let first_name = inodes.entry(inode).or_insert_with(|| name.clone()).clone();
            Entry::File { mode, mtime, size: metadata.len(), content: sums(&path), first_name }
        };
        tree.insert(name, entry);
    }
    tree
}

fn at(root: &Path, name: &[u8]) -> PathBuf {
    if name.is_empty() { root.into() } else { root.join(std::ffi::OsStr::from_bytes(name)) }
}

fn list(root: &Path, name: &mut Vec<u8>, names: &mut Vec<Vec<u8>>) {
    names.push(name.clone());
    let path = at(root, name);
    if !fs::symlink_metadata(&path).expect("a name just read").is_dir() {
        return;
    }
    for entry in fs::read_dir(&path).expect("a readable directory") {
        let len = name.len();
        if len > 0 {
            name.push(b'/');
        }
        name.extend_from_slice(entry.expect("a name").file_name().as_bytes());
        list(root, name, names);
        name.truncate(len);
    }
}

fn sums(path: &Path) -> (u32, [u8; 32]) {
    let mut file = File::open(path).expect("a readable file");
    let (mut crc, mut hasher, mut buffer) = (0, blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        let len = file.read(&mut buffer).expect("a readable file");
        if len == 0 {
            return (crc, *hasher.finalize().as_bytes());
        }
        crc = crc32c_combine(crc, longhaul_core::integrity::crc32c(&buffer[..len]), len as u64);
        hasher.update(&buffer[..len]);
    }
}

/// The root of a tree by its definition alone: no code in common with what sums it up in a transfer.
///
/// # Panics
/// If the tree is none of a state.
#[must_use]
pub fn root_of(tree: &Tree, integrity: Integrity) -> Root {
    if integrity == Integrity::None {
        return Root { integrity, hash: [0; 32] };
    }
    let mut lanes = [0_u16; 1024];
    let mut add = |input: &[u8]| {
        let mut element = [0; 2048];
        blake3::Hasher::new().update(input).finalize_xof().fill(&mut element);
        for (lane, pair) in lanes.iter_mut().zip(element.chunks(2)) {
            *lane = lane.wrapping_add(u16::from_le_bytes([pair[0], pair[1]]));
        }
    };
    let (mut bytes, mut sets) = (0, BTreeMap::<&[u8], Vec<&[u8]>>::new());
    for (name, entry) in tree {
        let (kind, size, mode, mtime, tail): (u8, u64, u16, (i64, i64), Vec<u8>) = match entry {
            Entry::File { mode, mtime, size, content, first_name } => {
                if name == first_name {
                    bytes += size;
                }
                sets.entry(first_name).or_default().push(name);
                let mut checksum = [0; 32];
                match integrity {
                    Integrity::Crc32c => checksum[..4].copy_from_slice(&content.0.to_le_bytes()),
                    _ => checksum = content.1,
                }
                (1, *size, *mode as u16, *mtime, checksum.to_vec())
            }
            Entry::Directory { mode, mtime } => (2, 0, *mode as u16, *mtime, Vec::new()),
            Entry::Link(target) => (3, 0, 0, (0, 0), target.clone()),
        };
        let mut input = vec![kind];
        input.extend_from_slice(&(name.len() as u32).to_le_bytes());
        input.extend_from_slice(name);
        input.extend_from_slice(&size.to_le_bytes());
        input.extend_from_slice(&mode.to_le_bytes());
        input.extend_from_slice(&mtime.0.to_le_bytes());
        input.extend_from_slice(&(mtime.1 as u32).to_le_bytes());
        input.extend_from_slice(&tail);
        add(&input);
    }
    for names in sets.values().filter(|names| names.len() > 1) {
        let hash = |name: &[u8]| {
            let hash = *blake3::Hasher::new().update(b"longhaul name").update(name).finalize().as_bytes();
            u128::from_le_bytes(hash[..16].try_into().expect("16 bytes"))
        };
        let sum = names.iter().fold(0_u128, |sum, name| sum.wrapping_add(hash(name)));
        add(&[&[5][..], &sum.to_le_bytes()].concat());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"longhaul root").update(&[integrity.code()]);
    hasher.update(&(tree.len() as u64).to_le_bytes()).update(&bytes.to_le_bytes());
    for lane in lanes {
        hasher.update(&lane.to_le_bytes());
    }
    Root { integrity, hash: *hasher.finalize().as_bytes() }
}
