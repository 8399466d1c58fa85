//! What a survey remembers of all names, in constant memory.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::tree::Kind;

/// Sums are kept apart by directory, so that a difference points to few directories.
const BUCKETS: usize = 1024;

/// Order-independent sums of hashes: equal for equal trees, whatever the order they are walked in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Of the entries' kinds and names, by the directory that holds them.
    names: Box<[u64; BUCKETS]>,
    /// Of the files' names and sizes, by the file.
    sizes: Box<[u64; BUCKETS]>,
}

impl Fingerprint {
    pub(super) fn new() -> Self {
        Self { names: Box::new([0; BUCKETS]), sizes: Box::new([0; BUCKETS]) }
    }

    /// Adds an entry of the directory `parent`. A directory is known by its inode too: one that was
    /// replaced by another of the same name is another.
    pub(super) fn add_name(&mut self, parent: &[u8], name: &[u8], kind: Kind, inode: u64) {
        let sum = &mut self.names[bucket(parent)];
        *sum = sum.wrapping_add(name_hash(name, kind, inode));
    }

    pub(super) fn add_size(&mut self, name: &[u8], size: u64) {
        let sum = &mut self.sizes[bucket(name)];
        *sum = sum.wrapping_add(hash(&(name, size)));
    }

    pub(super) fn same_names(&self, other: &Self) -> bool {
        self.names == other.names
    }

    /// How the names in `parent` (and in the few directories that share its bucket) differ: if one
    /// name came, its hash; 0 if nothing differs.
    pub(super) fn difference(&self, before: &Self, parent: &[u8]) -> u64 {
        let bucket = bucket(parent);
        self.names[bucket].wrapping_sub(before.names[bucket])
    }

    /// Whether `name`, or a file that shares its bucket, has another size than before.
    pub(super) fn differs_in_size(&self, before: &Self, name: &[u8]) -> bool {
        let bucket = bucket(name);
        self.sizes[bucket] != before.sizes[bucket]
    }
}

/// What one entry adds to the sum of names.
pub(super) fn name_hash(name: &[u8], kind: Kind, inode: u64) -> u64 {
    hash(&(name, kind, if kind == Kind::Directory { inode } else { 0 }))
}

fn bucket(name: &[u8]) -> usize {
    (hash(name) % BUCKETS as u64) as usize
}

fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
