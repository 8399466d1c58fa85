//! Records, to and from their bytes.

use longhaul_core::integrity::{Checksum, Integrity, Prefix, Root, crc32c};
use longhaul_core::item::{Timestamp, Version};

use crate::item::Name;
use crate::landing::RootAttributes;

/// Bytes around a record's body.
pub(super) const FRAME: usize = 8;

/// What is journaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A process begins to land.
    Run(Run),
    /// A file, or the beginning of one, is complete and verified; durable once a mark covers it.
    Claim(Claim),
    /// Nothing is claimed of this item any more.
    Forget(Name),
    /// Everything before this position of the journal is durable.
    Mark(u64),
    /// Everything is durable: it is published next.
    Ready(Ready),
}

/// A process that lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// 1, 2, 3, ...: what run `n` staged is moved to `kept.n` by the next.
    pub number: u32,
    /// When it began, in seconds of 1970.
    pub since: u64,
}

/// A file, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: Name,
    /// Its size at the source.
    pub size: u64,
    /// The source's mark of its content.
    pub version: Version,
    /// The staged file.
    pub inode: u64,
    /// The run that staged it.
    pub run: u32,
    /// How much is there, and its checksum.
    pub content: Content,
}

/// How much of a file is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// All of it.
    Whole(Checksum),
    /// Its first bytes.
    Part(Box<Prefix>),
}

impl Content {
    /// Bytes that are there, of a file of `size`.
    #[must_use]
    pub fn len(&self, size: u64) -> u64 {
        match self {
            Self::Whole(_) => size,
            Self::Part(prefix) => prefix.offset(),
        }
    }

    /// Which checksum vouches for them.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        match self {
            Self::Whole(checksum) => checksum.integrity(),
            Self::Part(prefix) => prefix.integrity(),
        }
    }
}

/// What is about to be published, so that it is recognised whether it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The staged state.
    pub staged: u64,
    /// The old state, if one is replaced.
    pub old: Option<u64>,
    /// What the root is given once it is published.
    pub root: Option<RootAttributes>,
    /// What it is.
    pub state: Agreed,
}

/// A state that both sides have the same of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Items.
    pub items: u64,
    /// Logical bytes.
    pub bytes: u64,
    /// Its root.
    pub root: Root,
}

/// What stands for a root that is given nothing.
const NO_ATTRIBUTES: RootAttributes =
    RootAttributes { mode: u16::MAX, mtime: Timestamp { seconds: 0, nanos: 0 } };

impl Record {
    const fn kind(&self) -> u8 {
        match self {
            Self::Run(_) => 1,
            Self::Claim(Claim { content: Content::Whole(_), .. }) => 2,
            Self::Claim(Claim { content: Content::Part(_), .. }) => 3,
            Self::Forget(_) => 4,
            Self::Mark(_) => 5,
            Self::Ready(_) => 6,
        }
    }

    /// Appends the record, as it stands at `position` of the journal with `nonce`.
    pub(super) fn emit(&self, nonce: u64, position: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0, 0, self.kind(), 0]);
        self.emit_body(out);
        let len = u16::try_from(out.len() - start - 4).expect("records are short");
        out[start..start + 2].copy_from_slice(&len.to_le_bytes());
        let crc = sum(nonce, position, &out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    fn emit_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Run(run) => {
                out.extend_from_slice(&run.number.to_le_bytes());
                out.extend_from_slice(&run.since.to_le_bytes());
            }
            Self::Claim(claim) => {
                let (offset, integrity, sums) = match &claim.content {
                    Content::Whole(checksum) => {
                        (claim.size, checksum.integrity(), checksum.as_sums().to_vec())
                    }
                    Content::Part(prefix) => (prefix.offset(), prefix.integrity(), prefix.sums().to_vec()),
                };
                for number in [claim.size, offset, claim.inode] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.extend_from_slice(&claim.run.to_le_bytes());
                let version = claim.version.as_bytes();
                out.extend_from_slice(&[integrity.code(), version.len() as u8]);
                out.extend_from_slice(&(sums.len() as u16).to_le_bytes());
                out.extend_from_slice(version);
                out.extend_from_slice(&sums);
                out.extend_from_slice(claim.name.as_bytes());
            }
            Self::Forget(name) => out.extend_from_slice(name.as_bytes()),
            Self::Mark(covers) => out.extend_from_slice(&covers.to_le_bytes()),
            Self::Ready(ready) => {
                for number in [ready.staged, ready.old.unwrap_or(0), ready.state.items, ready.state.bytes] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                let root = ready.root.unwrap_or(NO_ATTRIBUTES);
                out.extend_from_slice(&root.mode.to_le_bytes());
                out.extend_from_slice(&root.mtime.seconds.to_le_bytes());
                out.extend_from_slice(&root.mtime.nanos.to_le_bytes());
                out.push(ready.state.root.integrity.code());
                out.extend_from_slice(&ready.state.root.hash);
            }
        }
    }

    /// The record in `bytes`, from its length to its checksum; `None` if it is none.
    pub(super) fn parse(nonce: u64, position: u64, bytes: &[u8]) -> Option<Self> {
        let (checked, crc) = bytes.split_last_chunk::<4>()?;
        if sum(nonce, position, checked) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (head, body) = checked.split_first_chunk::<4>()?;
        let mut fields = Fields(body);
        let record = match head[2] {
            1 => Self::Run(Run { number: fields.u32()?, since: fields.u64()? }),
            kind @ (2 | 3) => Self::Claim(fields.claim(kind == 2)?),
            4 => Self::Forget(fields.name()?),
            5 => Self::Mark(fields.u64()?),
            6 => Self::Ready(fields.ready()?),
            _ => return None,
        };
        fields.0.is_empty().then_some(record)
    }
}

/// Bytes of the record that begins with these, all in all.
pub(super) fn len(head: [u8; 4]) -> usize {
    usize::from(u16::from_le_bytes([head[0], head[1]])) + FRAME
}

fn sum(nonce: u64, position: u64, record: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&nonce.to_le_bytes());
    place[8..].copy_from_slice(&position.to_le_bytes());
    longhaul_core::integrity::crc32c_combine(crc32c(&place), crc32c(record), record.len() as u64)
}

/// Takes a body apart.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Option<Name> {
        Name::new(std::mem::take(&mut self.0)).ok()
    }

    fn claim(&mut self, whole: bool) -> Option<Claim> {
        let (size, offset, inode) = (self.u64()?, self.u64()?, self.u64()?);
        let run = self.u32()?;
        let [integrity, version_len] = self.array()?;
        let integrity = Integrity::from_code(integrity)?;
        let sums_len = self.u16()?;
        let (version, rest) = self.0.split_at_checked(version_len.into())?;
        let (sums, rest) = rest.split_at_checked(sums_len.into())?;
        self.0 = rest;
        let content = if whole {
            (offset == size).then_some(())?;
            Content::Whole(Checksum::from_sums(integrity, sums)?)
        } else {
            (offset < size).then_some(())?;
            Content::Part(Box::new(Prefix::new(integrity, offset, sums)?))
        };
        Some(Claim { name: self.name()?, size, version: Version::new(version)?, inode, run, content })
    }

    fn ready(&mut self) -> Option<Ready> {
        let (staged, old, items, bytes) = (self.u64()?, self.u64()?, self.u64()?, self.u64()?);
        let mode = self.u16()?;
        let mtime = Timestamp { seconds: i64::from_le_bytes(self.array()?), nanos: self.u32()? };
        let attributes = RootAttributes { mode, mtime };
        let [integrity] = self.array()?;
        let root = Root { integrity: Integrity::from_code(integrity)?, hash: self.array()? };
        Some(Ready {
            staged,
            old: (old != 0).then_some(old),
            root: (attributes != NO_ATTRIBUTES).then_some(attributes),
            state: Agreed { items, bytes, root },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let claim = Claim {
            name: Name::new(*b"dir/file").unwrap(),
            size: 40 << 20,
            version: Version::new(&[7; 32]).unwrap(),
            inode: 42,
            run: 3,
            content: Content::Whole(Checksum::Blake3([9; 32])),
        };
        let prefix = Prefix::new(Integrity::Crc32c, 32 << 20, &[1, 2, 3, 4]).unwrap();
        let root = Root { integrity: Integrity::Crc32c, hash: [5; 32] };
        let state = Agreed { items: 7, bytes: 8, root };
        let attributes = RootAttributes { mode: 0o555, mtime: Timestamp { seconds: -1, nanos: 5 } };
        vec![
            Record::Run(Run { number: 3, since: 1_700_000_000 }),
            Record::Claim(claim.clone()),
            Record::Claim(Claim { content: Content::Whole(Checksum::None), ..claim.clone() }),
            Record::Claim(Claim { content: Content::Part(Box::new(prefix)), ..claim.clone() }),
            Record::Claim(Claim { name: Name::root(), version: Version::default(), ..claim }),
            Record::Forget(Name::new(*b"a").unwrap()),
            Record::Mark(99),
            Record::Ready(Ready { staged: 1, old: Some(2), root: Some(attributes), state }),
            Record::Ready(Ready { staged: 1, old: None, root: None, state }),
        ]
    }

    #[test]
    fn records_read_back() {
        for record in records() {
            let mut bytes = Vec::new();
            record.emit(1, 2, &mut bytes);
            assert_eq!(len(*bytes.first_chunk().unwrap()), bytes.len());
            assert_eq!(Record::parse(1, 2, &bytes), Some(record.clone()));
            assert_eq!(Record::parse(9, 2, &bytes), None, "of another journal: {record:?}");
            assert_eq!(Record::parse(1, 9, &bytes), None, "from elsewhere: {record:?}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        for record in records() {
            let mut bytes = Vec::new();
            record.emit(1, 2, &mut bytes);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Record::parse(1, 2, &bytes), None, "bit {bit} of {record:?}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for cut in 0..bytes.len() {
                assert_eq!(Record::parse(1, 2, &bytes[..cut]), None, "{cut} bytes of {record:?}");
            }
        }
    }
}
