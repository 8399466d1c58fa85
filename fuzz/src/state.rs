//! States small enough for a fuzzer: contents in units instead of bytes, so that an item of many
//! runs costs little.

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Root};
use longhaul_core::item::{Item, ItemName, Timestamp, Version, What};

use crate::bytes::Choices;

/// Bytes that one unit of content stands for.
pub(crate) const UNIT: u64 = 4 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File { sparse: bool },
    Stream,
    Directory,
    SymbolicLink,
    HardLink,
}

/// An item and its content, a number a unit; 0 is a hole where there may be holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thing {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) units: Vec<u64>,
}

impl Thing {
    fn new(n: usize, kind: Kind, units: usize) -> Self {
        let salt = (n as u64 + 1) << 32;
        let unit = |at: u64| match kind {
            Kind::File { sparse: true } if at / 3 % 2 == 1 => 0,
            _ => salt + at + 1,
        };
        Self { name: format!("d/{n}").into_bytes(), kind, units: (0..units as u64).map(unit).collect() }
    }

    /// The same, made from its name alone: what an earlier run would have left of it.
    pub(crate) fn again(&self) -> Option<Self> {
        let n: u16 = std::str::from_utf8(&self.name).ok()?.strip_prefix("d/")?.parse().ok()?;
        Some(Self::new(n.into(), self.kind, self.units.len()))
    }

    pub(crate) fn size(&self) -> u64 {
        self.units.len() as u64 * UNIT
    }

    pub(crate) fn item(&self) -> Item<'_> {
        Item {
            name: ItemName::parse(&self.name).expect("names are made plain"),
            mode: 0o644,
            mtime: Timestamp::default(),
            version: Version::default(),
            what: match self.kind {
                Kind::File { sparse } => What::File { size: self.size(), linked: false, sparse },
                Kind::Stream => What::Stream,
                Kind::Directory => What::Directory,
                Kind::SymbolicLink => What::SymbolicLink { target: b"x" },
                Kind::HardLink => What::HardLink { to: ItemId(0) },
            },
        }
    }
}

/// A state of many small items, of few large ones, or of any.
pub(crate) fn any_state(choices: &mut Choices<'_>) -> Vec<Thing> {
    let shape = choices.byte();
    let count = match shape % 4 {
        0 | 1 => choices.below(4),
        2 => choices.below(24),
        // More than may be open at once.
        _ => 70 + choices.below(60),
    };
    let thing = |n| {
        if shape % 4 == 3 {
            return Thing::new(n, Kind::File { sparse: shape & 64 != 0 }, n % 3);
        }
        let units = choices.pick(&[0, 1, 2, 3, 7, 64, 65, 90, 200]);
        match choices.below(16) {
            0 => Thing::new(n, Kind::Stream, units),
            1 | 2 => Thing::new(n, Kind::File { sparse: true }, units),
            3 => Thing::new(n, Kind::Directory, 0),
            4 => Thing::new(n, Kind::SymbolicLink, 0),
            5 => Thing::new(n, Kind::HardLink, 0),
            // More than two runs.
            6 if n == 0 => Thing::new(n, Kind::File { sparse: shape & 64 != 0 }, 2 * 4096 + 100),
            _ => Thing::new(n, Kind::File { sparse: false }, units),
        }
    };
    (0..count).map(thing).collect()
}

/// Any mixing will do: what is guarded against are accidents of the machines.
pub(crate) fn sum(units: impl IntoIterator<Item = u64>) -> u64 {
    units.into_iter().fold(0x6c6f_6e67, |sum: u64, unit| {
        (sum ^ unit).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ (sum >> 7)
    })
}

/// In place of the CRC-32C of a payload.
pub(crate) fn crc(units: &[u64]) -> u32 {
    let sum = sum(units.iter().copied());
    (sum ^ (sum >> 32)) as u32
}

pub(crate) fn checksum(integrity: Integrity, units: &[u64]) -> Checksum {
    match integrity {
        Integrity::None => Checksum::None,
        Integrity::Crc32c => Checksum::Crc32c(crc(units)),
        Integrity::Blake3 => Checksum::Blake3([crc(units) as u8; 32]),
    }
}

/// Count, bytes and root of a state.
pub(crate) fn root<'a>(integrity: Integrity, things: impl Iterator<Item = &'a Thing>) -> (u64, u64, Root) {
    let (mut items, mut bytes, mut sums) = (0, 0, Vec::new());
    for thing in things {
        items += 1;
        bytes += thing.size();
        sums.push(sum(thing.name.iter().map(|byte| u64::from(*byte)).chain(thing.units.iter().copied())));
    }
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&sum(sums).to_le_bytes());
    (items, bytes, Root { integrity, hash })
}
