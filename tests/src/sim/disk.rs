//! The model disk, as Linux is: what was not synced may be lost, torn or reordered when the power
//! goes; a sync may fail, and then what it should have written is lost for ever, whatever the next
//! sync says.
//!
//! ```text
//! process ──writes──▶ cache (what everybody reads)  ──fsync──▶ disk (what a power cut leaves)
//!                       file: content, attributes               each part that was not synced:
//!                       directory: entries                      kept, lost or torn, as chance will
//! ```
//!
//! Nothing is assumed that POSIX does not say: the sync of a file does not keep its name, that of a
//! directory not the content of its files. One change of names is atomic, a rename included, and
//! changes of one name keep their order. The number of an inode that is gone is the next one's.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use longhaul_core::item::Timestamp;

use super::Random;
use super::bytes::Bytes;
use super::content::Piece;
use super::extents::Extents;

/// What Linux says when a disk fails.
pub(crate) const EIO: i32 = 5;
/// Disks tear at this many bytes.
pub(crate) const SECTOR: u64 = 512;

/// An inode, told from all others that ever were: processes see its number only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ino(pub(crate) u64);

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Link(Box<[u8]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) mtime: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Inode {
    kind: Kind,
    /// What processes know it by, while it has a name.
    number: u64,
    /// Its names in the cache.
    links: u64,
    /// What it holds, if that is bytes.
    bytes: Option<Bytes>,
    cache: Version,
    disk: Version,
    /// Writes since the last sync, in order, with the number of syncs that had begun.
    writes: Vec<(u64, u64, Piece)>,
    /// The shortest that it was made since then.
    cut: u64,
    /// Writing it back failed, and nobody who has it open was told.
    failed: bool,
}

/// What an inode holds, in the cache or on the disk.
#[derive(Clone, Debug)]
struct Version {
    attributes: Attributes,
    content: Extents,
    size: u64,
    names: BTreeMap<Box<[u8]>, Ino>,
}

/// One atomic change of names: the entry of a directory before and after.
#[derive(Clone, Debug)]
struct Change {
    entries: Vec<(Ino, Box<[u8]>, Option<Ino>)>,
}

/// Which of the two a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// What processes see.
    Cache,
    /// What a power cut would leave at the least.
    Disk,
}

/// A file system of one host.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    inodes: BTreeMap<Ino, Inode>,
    next: u64,
    /// Numbers of inodes that are gone: the last is taken first.
    free_numbers: Vec<u64>,
    /// Syncs in the background that were begun.
    begun: u64,
    /// Changes of names that are not on the disk, in order.
    changes: Vec<Change>,
    /// How often writing back has failed.
    failures: u64,
    /// Bytes that may still be written.
    pub(crate) free: u64,
}

impl Disk {
    /// The directory that all destinations stand in.
    pub(crate) const PARENT: Ino = Ino(1);

    pub(crate) fn new() -> Self {
        let mut disk = Self {
            inodes: BTreeMap::new(),
            next: 1,
            free_numbers: Vec::new(),
            begun: 0,
            changes: Vec::new(),
            failures: 0,
            free: 1 << 40,
        };
        disk.make(Kind::Directory, 0o755);
        disk
    }

    fn make(&mut self, kind: Kind, mode: u32) -> Ino {
        let ino = Ino(self.next);
        self.next += 1;
        let attributes = Attributes { mode, mtime: None };
        let version = Version { attributes, content: Extents::default(), size: 0, names: BTreeMap::new() };
        self.inodes.insert(
            ino,
            Inode {
                kind,
                number: self.free_numbers.pop().unwrap_or(ino.0),
                links: 0,
                bytes: None,
                cache: version.clone(),
                disk: version,
                writes: Vec::new(),
                cut: u64::MAX,
                failed: false,
            },
        );
        ino
    }

    fn inode(&mut self, ino: Ino) -> &mut Inode {
        self.inodes.get_mut(&ino).expect("inodes stay while the world does")
    }

    fn version(&self, ino: Ino, view: View) -> &Version {
        let inode = &self.inodes[&ino];
        if view == View::Cache { &inode.cache } else { &inode.disk }
    }

    /// The entry `name` of `directory`.
    pub(crate) fn look_up(&self, directory: Ino, name: &[u8], view: View) -> Option<Ino> {
        self.version(directory, view).names.get(name).copied()
    }

    /// Walks from `directory` along `name`.
    pub(crate) fn resolve(&self, directory: Ino, name: &[u8], view: View) -> Option<Ino> {
        name.split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
            .try_fold(directory, |at, part| self.look_up(at, part, view))
    }

    /// What processes know an inode by.
    pub(crate) fn number(&self, ino: Ino) -> u64 {
        self.inodes[&ino].number
    }

    /// How many names it has.
    pub(crate) fn links(&self, ino: Ino) -> u64 {
        self.inodes[&ino].links
    }

    /// A file of bytes, opened; if it is none, it becomes one.
    pub(crate) fn bytes(&mut self, ino: Ino) -> Bytes {
        self.inode(ino).bytes.get_or_insert_default().share()
    }

    pub(crate) fn kind(&self, ino: Ino) -> &Kind {
        &self.inodes[&ino].kind
    }

    pub(crate) fn attributes(&self, ino: Ino, view: View) -> &Attributes {
        &self.version(ino, view).attributes
    }

    /// A file's content and size.
    pub(crate) fn content(&self, ino: Ino, view: View) -> (&Extents, u64) {
        let version = self.version(ino, view);
        (&version.content, version.size)
    }

    pub(crate) fn entries(&self, ino: Ino, view: View) -> impl Iterator<Item = (&[u8], Ino)> {
        self.version(ino, view).names.iter().map(|(name, ino)| (&**name, *ino))
    }

    /// Makes an inode and its first name, exclusively.
    pub(crate) fn create(&mut self, directory: Ino, name: &[u8], kind: Kind, mode: u32) -> io::Result<Ino> {
        if self.inodes[&directory].kind != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if self.look_up(directory, name, View::Cache).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let ino = self.make(kind, mode);
        self.change(vec![(directory, name.into(), Some(ino))]);
        Ok(ino)
    }

    /// Changes names, all in one step.
    pub(crate) fn change(&mut self, entries: Vec<(Ino, Box<[u8]>, Option<Ino>)>) {
        // What is renamed has a name all the time.
        for ino in entries.iter().filter_map(|(.., to)| *to) {
            self.inode(ino).links += 1;
        }
        for (directory, name, to) in &entries {
            if let Some(old) = set_entry(&mut self.inode(*directory).cache, name, *to) {
                self.unlink(old);
            }
        }
        self.changes.push(Change { entries });
    }

    fn unlink(&mut self, ino: Ino) {
        let inode = self.inode(ino);
        inode.links -= 1;
        if inode.links == 0 {
            let number = inode.number;
            self.free_numbers.push(number);
        }
    }

    pub(crate) fn write(&mut self, ino: Ino, offset: u64, piece: Piece) -> io::Result<()> {
        if self.free < piece.len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.free -= piece.len;
        let begun = self.begun;
        let inode = self.inode(ino);
        inode.cache.content.write(offset, piece);
        inode.cache.size = inode.cache.size.max(offset + piece.len);
        match inode.writes.last_mut() {
            Some((since, start, last))
                if *since == begun && *start + last.len == offset && last.join(piece).is_some() =>
            {
                *last = last.join(piece).expect("just looked");
            }
            _ => inode.writes.push((begun, offset, piece)),
        }
        Ok(())
    }

    pub(crate) fn set_len(&mut self, ino: Ino, len: u64) {
        let inode = self.inode(ino);
        inode.cache.content.truncate(len);
        inode.cache.size = len;
        inode.cut = inode.cut.min(len);
        inode.writes.retain(|(_, offset, _)| *offset < len);
        for (_, offset, piece) in &mut inode.writes {
            piece.len = piece.len.min(len - *offset);
        }
    }

    pub(crate) fn set_attributes(&mut self, ino: Ino, mode: u32, mtime: Option<Timestamp>) {
        self.inode(ino).cache.attributes = Attributes { mode, mtime };
    }

    /// Fsync of a file or directory, which hears of an earlier failure once.
    pub(crate) fn sync(&mut self, ino: Ino) -> io::Result<()> {
        let inode = self.inode(ino);
        if std::mem::take(&mut inode.failed) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        inode.sync(u64::MAX);
        if inode.kind == Kind::Directory {
            self.settle(|change| change.entries.iter().any(|(directory, ..)| *directory == ino));
        }
        Ok(())
    }

    /// Sync of the whole file system, which hears of failures since `heard`, the answer to
    /// [`Disk::failures`] when the descriptor was opened.
    pub(crate) fn sync_all(&mut self, heard: u64) -> io::Result<()> {
        self.end_sync(u64::MAX, heard)
    }

    /// A sync of everything begins, in the background: it covers what was written before.
    pub(crate) const fn begin_sync(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// The sync that was begun as number `begun` is over; else as [`Disk::sync_all`].
    pub(crate) fn end_sync(&mut self, begun: u64, heard: u64) -> io::Result<()> {
        if self.failures > heard {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.settle(|_| true);
        self.inodes.values_mut().for_each(|inode| inode.sync(begun));
        Ok(())
    }

    /// How often writing back has failed.
    pub(crate) const fn failures(&self) -> u64 {
        self.failures
    }

    /// The disk fails while a file is written back: the kernel forgets what it could not write, says so
    /// once, and the next sync succeeds without it (Rebello et al., "Can Applications Recover from fsync
    /// Failures?", 2020).
    pub(crate) fn fail_writeback(&mut self, ino: Ino) {
        let inode = self.inode(ino);
        inode.writes.clear();
        inode.failed = true;
        self.failures += 1;
    }

    /// Files with writes that no sync has covered.
    pub(crate) fn unsynced(&self) -> Vec<Ino> {
        self.inodes.iter().filter(|(_, inode)| !inode.writes.is_empty()).map(|(ino, _)| *ino).collect()
    }

    /// Puts those changes of names on the disk that `wanted` names, and those that they rest on.
    fn settle(&mut self, wanted: impl Fn(&Change) -> bool) {
        let mut changes = std::mem::take(&mut self.changes);
        let mut needed = BTreeSet::new();
        let mut keep: Vec<bool> = changes.iter().map(wanted).collect();
        for (n, change) in changes.iter().enumerate().rev() {
            keep[n] |=
                change.entries.iter().any(|(directory, name, _)| needed.contains(&(*directory, &**name)));
            if keep[n] {
                needed.extend(change.entries.iter().map(|(directory, name, _)| (*directory, &**name)));
            }
        }
        let mut n = 0;
        changes.retain(|change| {
            n += 1;
            if keep[n - 1] {
                self.persist(change);
            }
            !keep[n - 1]
        });
        self.changes = changes;
    }

    fn persist(&mut self, change: &Change) {
        for (directory, name, to) in &change.entries {
            let _ = set_entry(&mut self.inode(*directory).disk, name, *to);
        }
    }

    /// The power goes: what was not synced is kept, lost or torn.
    pub(crate) fn lose_power(&mut self, random: &mut Random) {
        let mut lost = BTreeSet::new();
        for change in std::mem::take(&mut self.changes) {
            let rests_on_lost =
                change.entries.iter().any(|(directory, name, _)| lost.contains(&(*directory, name.clone())));
            if rests_on_lost || random.one_in(2) {
                lost.extend(change.entries.into_iter().map(|(directory, name, _)| (directory, name)));
            } else {
                self.persist(&change);
            }
        }
        for inode in self.inodes.values_mut() {
            if inode.disk.attributes != inode.cache.attributes && random.one_in(2) {
                inode.disk.attributes = inode.cache.attributes.clone();
            }
            inode.tear(random);
            inode.cache = inode.disk.clone();
        }
        self.count_links();
    }

    /// Counts names anew, and frees the numbers of what has none.
    fn count_links(&mut self) {
        let mut links: BTreeMap<Ino, u64> = BTreeMap::new();
        let mut pending = vec![Self::PARENT];
        while let Some(at) = pending.pop() {
            for inner in self.inodes[&at].cache.names.values() {
                let count = links.entry(*inner).or_default();
                *count += 1;
                if *count == 1 {
                    pending.push(*inner);
                }
            }
        }
        for (ino, inode) in &mut self.inodes {
            inode.links = links.get(ino).copied().unwrap_or(0);
        }
        let used: BTreeSet<u64> = self
            .inodes
            .iter()
            .filter(|(ino, _)| links.contains_key(*ino))
            .map(|(_, inode)| inode.number)
            .collect();
        let all = self.inodes.iter().filter(|(ino, _)| **ino != Self::PARENT).map(|(_, inode)| inode.number);
        let free: BTreeSet<u64> = all.filter(|number| !used.contains(number)).collect();
        self.free_numbers = free.into_iter().collect();
    }
}

impl Inode {
    /// What was written before the sync that was begun as number `begun`, and is not forgotten, reaches the disk.
    fn sync(&mut self, begun: u64) {
        if let Some(bytes) = &self.bytes {
            bytes.settle();
        }
        if self.disk.attributes != self.cache.attributes {
            self.disk.attributes = self.cache.attributes.clone();
        }
        self.disk.content.truncate(self.cut);
        self.writes.retain(|&(since, offset, piece)| {
            if since < begun {
                self.disk.content.write(offset, piece);
            }
            since >= begun
        });
        self.disk.size = self.cache.size;
        self.cut = u64::MAX;
    }

    /// Some of the writes reach the disk, whole or in part, in any order.
    fn tear(&mut self, random: &mut Random) {
        if self.cut != u64::MAX && random.one_in(2) {
            self.disk.content.truncate(self.cut);
            self.disk.size = self.cache.size;
        }
        self.cut = u64::MAX;
        if let Some(bytes) = &self.bytes {
            bytes.tear(random);
        }
        for (_, offset, piece) in self.writes.drain(..) {
            let sectors = piece.len.div_ceil(SECTOR);
            let (from, to) = match random.below(4) {
                0 => continue,
                1 => (0, sectors),
                2 => (0, random.below(sectors + 1)),
                _ => (random.below(sectors + 1), sectors),
            };
            let (from, to) = (from * SECTOR, (to * SECTOR).min(piece.len));
            if from < to {
                let part = piece.split_at(to).0.split_at(from).1;
                self.disk.content.write(offset + from, part);
                self.disk.size = self.disk.size.max(offset + to);
            }
        }
    }
}

/// Sets an entry, and says what it was.
fn set_entry(version: &mut Version, name: &[u8], to: Option<Ino>) -> Option<Ino> {
    match to {
        Some(ino) => version.names.insert(name.into(), ino),
        None => version.names.remove(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(len: u64) -> Piece {
        Piece { key: 9, at: 0, len, broken: 0 }
    }

    /// How often, in many power cuts, `holds` holds.
    fn often(disk: &Disk, holds: impl Fn(&Disk) -> bool) -> usize {
        let after = |seed| {
            let mut disk = disk.clone();
            disk.lose_power(&mut Random::new(seed));
            holds(&disk)
        };
        (0..200).filter(|seed| after(*seed)).count()
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_go() {
        let mut disk = Disk::new();
        let file = disk.create(Disk::PARENT, b"f", Kind::File, 0o600).unwrap();
        disk.write(file, 0, piece(100_000)).unwrap();
        let whole = |disk: &Disk| disk.content(file, View::Cache).1 == 100_000;
        let named = |disk: &Disk| disk.look_up(Disk::PARENT, b"f", View::Cache).is_some();
        assert!((1..200).contains(&often(&disk, whole)) && (1..200).contains(&often(&disk, named)));
        disk.sync(file).unwrap();
        assert!(often(&disk, whole) == 200 && often(&disk, named) < 200, "a file's sync keeps no name");
        disk.sync(Disk::PARENT).unwrap();
        assert_eq!(often(&disk, named), 200);
    }

    #[test]
    fn a_rename_happens_whole_or_not_at_all() {
        let mut disk = Disk::new();
        let file = disk.create(Disk::PARENT, b"f", Kind::File, 0o600).unwrap();
        let directory = disk.create(Disk::PARENT, b"d", Kind::Directory, 0o700).unwrap();
        disk.sync(Disk::PARENT).unwrap();
        disk.change(vec![(Disk::PARENT, b"f"[..].into(), None), (directory, b"g"[..].into(), Some(file))]);
        let there = |disk: &Disk| {
            let old = disk.look_up(Disk::PARENT, b"f", View::Cache).is_some();
            let new = disk.look_up(directory, b"g", View::Cache).is_some();
            assert!(old != new);
            new
        };
        assert!((1..200).contains(&often(&disk, there)));
        disk.sync(directory).unwrap();
        assert_eq!(often(&disk, there), 200);
    }

    #[test]
    fn a_failed_sync_loses_the_writes_although_the_next_one_succeeds() {
        let mut disk = Disk::new();
        let file = disk.create(Disk::PARENT, b"f", Kind::File, 0o600).unwrap();
        disk.sync(Disk::PARENT).unwrap();
        disk.write(file, 0, piece(4096)).unwrap();
        disk.fail_writeback(file);
        assert!(disk.sync(file).is_err() && disk.sync(file).is_ok(), "it says so once");
        assert_eq!(often(&disk, |disk| disk.content(file, View::Cache).0.iter().count() == 0), 200);
    }
}
