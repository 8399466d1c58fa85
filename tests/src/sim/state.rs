//! Model states: items with contents made of extents and holes.

use longhaul_core::integrity::{
    Checksum, Integrity, ItemFold, RUN_LEN, RunHasher, crc32c, crc32c_combine, crc32c_zeros,
};
use longhaul_core::item::{Timestamp, Version};
use longhaul_state::item::{Item, Name, What};

use super::Random;

/// A content: its data extents, in order; what lies between them is a hole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) extents: Vec<(u64, Vec<u8>)>,
}

/// A whole state, in the order of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) items: Vec<(Item, Content)>,
}

impl Content {
    fn draw(random: &mut Random) -> (Self, bool) {
        if random.below(60) == 0 {
            return (Self::sparse(random), true);
        }
        let size = match random.below(8) {
            0 => 0,
            1 => 1,
            2..6 => random.below(20_000),
            6 => random.below(400_000),
            _ => 4096 * random.below(100),
        };
        let extents = if size == 0 { Vec::new() } else { vec![(0, noise(size as usize, random))] };
        (Self { size, extents }, false)
    }

    /// Larger than a run, with little in it.
    fn sparse(random: &mut Random) -> Self {
        let size = 1 + random.below(60 << 20);
        let mut extents: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut at = random.below(30 << 20) / 4096 * 4096;
        while at < size && extents.len() < 5 {
            let len = (1 + random.below(30_000)).min(size - at);
            extents.push((at, noise(len as usize, random)));
            at += (len + random.below(40 << 20)).div_ceil(4096) * 4096 + 4096;
        }
        Self { size, extents }
    }

    /// What a read at `offset` of at most `len` bytes finds: bytes, or the length of a hole.
    pub(crate) fn read(&self, offset: u64, len: u64) -> Result<&[u8], u64> {
        for (start, bytes) in &self.extents {
            let end = start + bytes.len() as u64;
            if offset < *start {
                return Err(start - offset);
            }
            if offset < end {
                let from = (offset - start) as usize;
                let to = bytes.len().min(from + len as usize);
                return Ok(&bytes[from..to]);
            }
        }
        Err(self.size - offset)
    }

    /// The checksum of all logical bytes, the plain way.
    pub(crate) fn checksum(&self, integrity: Integrity) -> Checksum {
        if integrity == Integrity::Crc32c {
            let (mut crc, mut at) = (0, 0);
            for (start, extent) in &self.extents {
                crc = crc32c_combine(crc, crc32c_zeros(start - at), start - at);
                crc = crc32c_combine(crc, crc32c(extent), extent.len() as u64);
                at = start + extent.len() as u64;
            }
            return Checksum::Crc32c(crc32c_combine(crc, crc32c_zeros(self.size - at), self.size - at));
        }
        let mut bytes = vec![0; self.size as usize];
        for (start, extent) in &self.extents {
            bytes[*start as usize..*start as usize + extent.len()].copy_from_slice(extent);
        }
        let mut fold = ItemFold::new(integrity);
        for (n, run) in bytes.chunks(RUN_LEN as usize).enumerate() {
            let mut hasher = RunHasher::new(integrity, n as u64 * RUN_LEN);
            hasher.update(run, 0);
            fold.push(hasher.finish().expect("a run is not empty")).expect("runs in order");
        }
        fold.finish(self.size).expect("all runs")
    }
}

fn noise(len: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

impl State {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let files = match random.below(6) {
            0 => random.below(3),
            1..4 => random.below(40),
            _ => random.below(400),
        };
        let mut items = Vec::new();
        for n in 0..files {
            let (content, sparse) = Content::draw(random);
            let what = What::File { size: content.size, linked: false, sparse };
            items.push((item(&format!("d{}/f{n}", n % 7), what, random), content));
        }
        for n in 0..random.below(4) {
            let what = What::SymbolicLink { target: b"d0"[..].into() };
            items.push((item(&format!("l{n}"), what, random), Content::default()));
        }
        for n in 0..files.min(7) {
            items.push((item(&format!("d{n}"), What::Directory, random), Content::default()));
        }
        let mut root = item("x", What::Directory, random);
        root.name = Name::root();
        items.push((root, Content::default()));
        Self { items }
    }
}

fn item(name: &str, what: What, random: &mut Random) -> Item {
    Item {
        name: Name::new(name.as_bytes()).expect("a legal name"),
        mode: (random.below(0o1000)) as u16,
        mtime: Timestamp { seconds: random.next().cast_signed(), nanos: random.below(1_000_000_000) as u32 },
        version: Version::default(),
        what,
    }
}
